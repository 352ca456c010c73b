//go:build linux

package main_test

import (
	"encoding/json"
	"flag"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

var chaosBroken = flag.String("chaos.broken", "", "break the program before the chaos: all, or one of the names in TestChaosFindsWhatIsBroken")

// breakage is the program without one of its rules: texts of a file, and what
// stands there instead.
type breakage struct {
	file    string
	instead []string // old, new, …
}

var breakages = map[string]breakage{
	// A worker that was frozen writes and sends on, though another has the task.
	"fence": {"repository/writes.go", []string{
		"AND t.lease_epoch = w.epoch AND t.lease_owner = w.owner\n     AND t.call_sequence <= w.call_sequence\n", "\n",
		"\n     AND l.task_id = a.task_id AND l.lease_epoch = a.epoch AND l.lease_owner = a.owner\n", "\n",
	}},
	// A delete whose answer was lost is sent again.
	"resend": {"capillary/client.go", []string{
		"return c.do(ctx, http.MethodDelete, path, query.String(), permit, func", "judge := (func",
		"len(intent.Targets))\n\t})\n}", `len(intent.Targets))
	})
	if a := c.do(ctx, http.MethodDelete, path, query.String(), permit, judge); a.Class != jobs.ClassUnknown {
		return a
	}
	return c.do(ctx, http.MethodDelete, path, query.String(), nil, judge)
}`,
	}},
	// A delete whose answer was lost counts as one that never ran.
	"unknown": {"capillary/client.go", []string{"return verdict{class: jobs.ClassUnknown, code: word}", "return verdict{class: jobs.ClassNotRun, code: word}"}},
	// A customer does not rest after a delete whose outcome is unknown.
	"settle": {"cmd/imagepurge/run.go", []string{"Settle: c.s.Settle,", "Settle: time.Millisecond,"}},
	// Only the task whose delete it was lets its customer rest.
	"rest": {"repository/claims.go", []string{
		"<= clock_timestamp() AND coalesce(l.rest_until, '-infinity') <= clock_timestamp()\n", "<= clock_timestamp()\n",
		"(l.lease_until > clock_timestamp() OR l.rest_until > clock_timestamp())", "l.lease_until > clock_timestamp()",
	}},
	// Two labels of one organisation never learn that they are one.
	"labels": {"repository/remote.go", []string{
		"\t\tpinned = number\n", `		pinned = number
		var taken bool
		err := tx.QueryRow(ctx, "SELECT count(*) > 0 FROM remote_organizations WHERE number = $1", number).Scan(&taken)
		if err != nil || taken {
			return err
		}
`,
	}},
	// What another label's task has deleted is a surprise.
	"elsewhere": {"repository/claims.go", []string{"theirs.remote_id = mine.remote_id", "theirs.id = mine.id"}},
	// What others upload later becomes a target.
	"targets": {"jobs/purge/listing.go", []string{"target = first || m.rec.Scope == jobs.UntilEmpty", "target = true"}},
	// An intent that was withdrawn counts as a call.
	"withdrawn": {"jobs/purge/deleting.go", []string{"\tm.count.APICalls--\n", "\n"}},
}

// TestChaosFindsWhatIsBroken shows that the chaos test can fail: it takes one rule
// away from the workers, and the judge must find what comes of it.
func TestChaosFindsWhatIsBroken(t *testing.T) {
	if *chaosBroken == "" {
		t.Skip("takes more than a minute for each rule: -chaos.broken all, or one of", slices.Sorted(maps.Keys(breakages)))
	}
	for _, name := range slices.Sorted(maps.Keys(breakages)) {
		if *chaosBroken != "all" && *chaosBroken != name {
			continue
		}
		t.Run(name, func(t *testing.T) {
			n := inflict(t, *chaosSeed, *chaosFor, breakages[name].build(t))
			found, court, err := n.h.judgeAll(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if len(found) == 0 {
				t.Error("nothing was found")
			}
			for i, customer := range found.customers() {
				if i < 3 {
					t.Logf("found, of customer %d:\n  %s\n%s", customer, strings.Join(found[customer], "\n  "), court.tell(customer))
				}
			}
			t.Logf("seed %d, for %v: %d customers wrong, of %d of them a wrong image is gone; the nemesis itself: %v", n.h.seed, n.until.Sub(n.began).Round(time.Second), len(found), found.harmed(), n.faults)
		})
	}
}

// TestBreakagesFitTheProgram keeps them usable, since they are seldom used.
func TestBreakagesFitTheProgram(t *testing.T) {
	for _, b := range breakages {
		b.broken(t)
	}
}

// broken returns the file, and its text without the rule.
func (b breakage) broken(t *testing.T) (file, text string) {
	t.Helper()
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	file = filepath.Join(root, b.file)
	whole, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(b.instead); i += 2 {
		if n := strings.Count(string(whole), b.instead[i]); n != 1 {
			t.Errorf("%s has %q %d times, not once: the breakage is out of date", b.file, b.instead[i], n)
		}
	}
	return file, strings.NewReplacer(b.instead...).Replace(string(whole))
}

// build builds the program with the rule taken away.
func (b breakage) build(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	file, text := b.broken(t)
	patched, overlay := filepath.Join(dir, "patched.go"), filepath.Join(dir, "overlay.json")
	list, err := json.Marshal(map[string]map[string]string{"Replace": {file: patched}})
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string]string{patched: text, overlay: string(list)} {
		if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	binary := filepath.Join(dir, "imagepurge")
	if out, err := exec.Command("go", "build", "-race=false", "-overlay", overlay, "-o", binary, ".").CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	return binary
}
