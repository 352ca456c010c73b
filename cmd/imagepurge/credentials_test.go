package main_test

import (
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/imagepurge/imagepurge/capillary/sandbox"
)

// tokens is a world whose programs authenticate with OAuth.
func tokens(t *testing.T, seed uint64, crowd sandbox.Population, ttl time.Duration) *world {
	key := till
	key.OAuthKey, key.OAuthSecret = "key-of-the-test", "sesame-of-tokens-0815"
	w := newWorld(t, sandbox.Options{Seed: seed, Population: crowd, Keys: []sandbox.Key{key}, TokenTTL: ttl, Latency: sandbox.UniformLatency(time.Millisecond, 20*time.Millisecond)})
	secret := w.file("oauth-secret", key.OAuthSecret+"\n")
	return w.with("CAPILLARY_USERNAME", "CAPILLARY_PASSWORD", "CAPILLARY_OAUTH_KEY="+key.OAuthKey, "CAPILLARY_OAUTH_SECRET_FILE="+filepath.Join(w.dir, secret))
}

// Tokens end and are revoked in the middle: nothing is lost, no breaker opens, and
// no DELETE is sent twice.
func TestOAuthWithTokensThatEnd(t *testing.T) {
	t.Parallel()
	crowd := present(171, 150, 2)
	w := tokens(t, 171, crowd, 2*time.Second).with("CAPILLARY_RATE_PER_MINUTE=3000", "IMAGEPURGE_CONCURRENCY=8")
	ids := everyone(crowd)
	batch := w.enqueue(ids)
	worker := w.start("run", "--once")
	for range 3 {
		seen := len(w.deletes())
		w.until("more deletes", func() bool { return len(w.deletes()) > seen+30 || !worker.running() })
		w.api.RevokeTokens()
	}
	e := worker.wait()
	if e.status != 0 || strings.Contains(e.err, "breaker opened") || strings.Contains(e.out+e.err, "sesame-of-tokens") || strings.Contains(e.out+e.err, "key-of-the-test") {
		t.Errorf("%s", e)
	}
	w.wantTruth(batch, ids)
	w.wantHarmless(true)
	made := 0
	for _, x := range w.api.Journal().Entries() {
		if x.Kind == sandbox.KindToken {
			made++
		}
	}
	t.Logf("%d tokens in %v", made, e.took)
	if limit := 6 + int(e.took/time.Second); made < 4 || made > limit {
		t.Errorf("%d tokens were fetched in %v", made, e.took)
	}
	if e := w.must(0, "org", "show", "default"); !strings.Contains(e.out, "oauth") || strings.Contains(e.out, "key-of-the-test") {
		t.Errorf("%s", e)
	}
}

func TestAWrongOAuthSecretOpensTheBreaker(t *testing.T) {
	t.Parallel()
	crowd := present(172, 30, 1)
	w := tokens(t, 172, crowd, time.Minute)
	batch := w.enqueue(everyone(crowd))
	e := w.with("CAPILLARY_OAUTH_SECRET_FILE", "CAPILLARY_OAUTH_SECRET="+wrongPassword).must(1, "run", "--once")
	if !strings.Contains(e.err, "refused") || !strings.Contains(e.err, "401") {
		t.Errorf("%s", e)
	}
	if n := len(w.api.Journal().Entries()); n > 3 {
		t.Errorf("%d calls with a wrong secret", n)
	}
	w.must(0, "run", "--once")
	w.wantTruth(batch, everyone(crowd))
}

// wrongPasswordFile is a world whose window is always open, and whose password stands
// in the file "password": as yet the wrong one.
func wrongPasswordFile(t *testing.T, seed uint64, crowd sandbox.Population) *world {
	t.Helper()
	w := newWorld(t, sandbox.Options{Seed: seed, Population: crowd})
	name := w.file("password", wrongPassword+"\n")
	return w.always().with("CAPILLARY_PASSWORD", "CAPILLARY_PASSWORD_FILE="+filepath.Join(w.dir, name))
}

// A password in a file that is mended while the worker runs.
func TestAMendedPasswordFileNeedsNoRestart(t *testing.T) {
	t.Parallel()
	for name, mend := range map[string]func(*world, *process){
		"before the probe": func(w *world, _ *process) {
			w.exec("UPDATE organizations SET probe_at = clock_timestamp()") // rather than wait a minute
		},
		"SIGHUP": func(w *world, worker *process) {
			worker.signal(syscall.SIGHUP)
			w.until("it was read again", func() bool { return strings.Contains(worker.errOut.String(), "credentials were read again") })
			w.must(0, "org", "close-breaker", "default", "--reason", "the password was changed")
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			crowd := present(173, 10, 1)
			w := wrongPasswordFile(t, 173, crowd)
			ids := everyone(crowd)
			batch := w.enqueue(ids)
			worker := w.start("run")
			w.until("the breaker opens", func() bool {
				return w.count("SELECT count(*) FROM organizations WHERE breaker_reason = 'refused'") == 1
			})
			if e := w.must(0, "status"); !strings.Contains(e.out, "org close-breaker default") || !strings.Contains(e.out, "next probe") {
				t.Errorf("status doesn't say what to type: %s", e)
			}
			// An empty file, as in the middle of a change: the old one stays.
			w.file("password", "")
			worker.signal(syscall.SIGHUP)
			w.until("the empty file is named", func() bool { return strings.Contains(worker.errOut.String(), "CAPILLARY_PASSWORD_FILE is empty") })
			w.file("password", till.Password+"\n")
			mend(w, worker)
			w.until("all is purged", func() bool {
				return w.count("SELECT count(*) FROM image_deletion_tasks WHERE state = 'completed'") == len(ids)
			})
			worker.stop()
			w.wantTruth(batch, ids)
			if n := w.count("SELECT count(*) FROM organizations WHERE breaker_reason IS NOT NULL"); n != 0 {
				t.Error("the breaker is still open")
			}
		})
	}
}

// A secret that was changed while the worker ran is not forgotten when its work
// begins again, and a SIGHUP at that moment doesn't end it.
func TestAChangedPasswordOutlivesABeginning(t *testing.T) {
	t.Parallel()
	crowd := present(174, 10, 1)
	w := wrongPasswordFile(t, 174, crowd) // whose content nobody sees: there is no work yet
	worker := w.start("run")
	w.until("it works", func() bool { return w.count("SELECT count(*) FROM workers") == 1 })
	w.file("password", till.Password+"\n")
	worker.signal(syscall.SIGHUP)
	w.until("it was read again", func() bool { return strings.Contains(worker.errOut.String(), "credentials were read again") })
	w.must(0, "org", "set", "default", "mode=economy", "--reason", "fewer calls")
	w.until("work begins again", func() bool {
		worker.signal(syscall.SIGHUP)
		return strings.Contains(worker.errOut.String(), "work begins again")
	})
	for range 20 {
		worker.signal(syscall.SIGHUP)
	}
	// From here on the file mends nothing: what the worker has must be the secret
	// that it read before it began again.
	w.file("password", "")
	ids := everyone(crowd)
	batch := w.with("CAPILLARY_PASSWORD_FILE", "CAPILLARY_PASSWORD="+till.Password).enqueue(ids)
	w.until("all is purged", func() bool {
		return w.count("SELECT count(*) FROM image_deletion_tasks WHERE state = 'completed'") == len(ids)
	})
	worker.stop()
	w.wantTruth(batch, ids)
	w.wantHarmless(true)
}
