package main_test

import (
	"strings"
	"testing"
	"time"

	"github.com/imagepurge/imagepurge/capillary/sandbox"
)

func TestWrongPasswordOpensTheBreaker(t *testing.T) {
	t.Parallel()
	crowd := present(71, 300, 2)
	w := newWorld(t, sandbox.Options{Seed: 71, Population: crowd, Latency: sandbox.FixedLatency(200 * time.Millisecond)}).
		with("CAPILLARY_RATE_PER_MINUTE=700")
	ids := everyone(crowd)
	batch := w.enqueue(ids)
	wrong := w.with("CAPILLARY_PASSWORD=" + wrongPassword)
	refused := func() (n int) {
		for _, e := range w.api.Journal().Entries() {
			if e.Status == 401 {
				n++
			}
		}
		return n
	}
	e := wrong.must(1, "run", "--once")
	for _, says := range []string{"refused", "401", "imagepurge: hint:"} {
		if !strings.Contains(e.err, says) {
			t.Errorf("says nothing of %q: %s", says, e)
		}
	}
	first := refused()
	t.Logf("%d calls were refused at the first start", first)
	if first != 1 {
		t.Errorf("%d calls were refused, a till could be locked", first)
	}
	untouched := func() {
		t.Helper()
		for id, x := range w.tasks(batch) {
			if x.State != "pending" || x.Attempts != 0 || x.Found != 0 {
				t.Fatalf("customer %d was touched: %+v", id, x)
			}
		}
		w.wantAtRest()
	}
	untouched()
	for range 3 {
		before := refused()
		wrong.must(1, "run", "--once")
		if n := refused() - before; n > 1 {
			t.Errorf("%d probes of one start", n)
		}
	}
	untouched()
	if e := w.must(3, "status", "--check"); !strings.Contains(e.out, "breaker") {
		t.Errorf("%s", e)
	}
	w.with("CAPILLARY_RATE_PER_MINUTE=60000").must(0, "run", "--once")
	w.wantTruth(batch, ids)
	w.wantHarmless(true)
	w.must(0, "status", "--check")
}

func TestAPIThatIsNotThere(t *testing.T) {
	t.Parallel()
	crowd := present(72, 60, 1)
	w := newWorld(t, sandbox.Options{Seed: 72, Population: crowd}).with("IMAGEPURGE_MAX_ATTEMPTS=100")
	ids := everyone(crowd)
	batch := w.enqueue(ids)
	away := w.with("CAPILLARY_BASE_URL=http://127.0.0.1:1")
	e := away.must(1, "run", "--once")
	if !strings.Contains(e.err, "api_unavailable") {
		t.Errorf("doesn't name the cause: %s", e)
	}
	for id, x := range w.tasks(batch) {
		if x.State != "pending" || x.Attempts > 3 {
			t.Errorf("customer %d: %+v", id, x)
		}
	}
	w.must(1, "run", "--once") // tasks wait for the address that was recorded
	w.must(0, "org", "set", "default", "base_url="+w.ear.URL, "--reason", "the address was mistyped")
	w.must(0, "run", "--once")
	w.wantTruth(batch, ids)
}

func TestPersonClosesTheBreaker(t *testing.T) {
	t.Parallel()
	crowd := present(73, 5, 1)
	w := newWorld(t, sandbox.Options{Seed: 73, Population: crowd})
	batch := w.enqueue(everyone(crowd))
	w.with("CAPILLARY_PASSWORD="+wrongPassword).must(1, "run", "--once")
	if e := w.must(0, "org", "list"); !strings.Contains(e.out, "open since") {
		t.Errorf("%s", e)
	}
	w.must(2, "org", "close-breaker", "default")
	w.must(0, "org", "close-breaker", "default", "--reason", "the password was changed")
	if e := w.must(0, "org", "show", "default"); strings.Contains(e.out, "open since") {
		t.Errorf("%s", e)
	}
	if n := w.count("SELECT count(*) FROM audit_entries WHERE reason = 'the password was changed' AND actor = $1", whoami(t)); n != 1 {
		t.Errorf("%d audit entries", n)
	}
	w.must(0, "run", "--once")
	w.wantTruth(batch, everyone(crowd))
}
