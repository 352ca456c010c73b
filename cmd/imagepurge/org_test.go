package main_test

import (
	"strings"
	"testing"
	"time"

	"github.com/imagepurge/imagepurge/capillary/sandbox"
)

func TestAWorkerThatDiffersRefuses(t *testing.T) {
	t.Parallel()
	crowd := present(161, 4, 1)
	w := newWorld(t, sandbox.Options{Seed: 161, Population: crowd})
	batch := w.enqueue(everyone(crowd))
	w.must(0, "run", "--once", "--limit", "1")
	e := w.with("IMAGEPURGE_MODE=economy", "CAPILLARY_SOURCE=WEB").must(1, "run", "--once")
	for _, says := range []string{"mode is economy here, and verified is recorded", "source is WEB here, and INSTORE is recorded", "imagepurge org set default mode=economy source=WEB --reason"} {
		if !strings.Contains(e.err, says) {
			t.Errorf("doesn't say %q: %s", says, e)
		}
	}
	e = w.with("CAPILLARY_BASE_URL=http://127.0.0.1:1").must(1, "run", "--once")
	for _, says := range []string{"base_url is http://127.0.0.1:1 here, and " + w.ear.URL + " is recorded, for which tasks wait", "imagepurge org set default base_url=http://127.0.0.1:1 --reason"} {
		if !strings.Contains(e.err, says) {
			t.Errorf("doesn't say %q: %s", says, e)
		}
	}
	// Written otherwise, it is the same.
	w.with("CAPILLARY_BASE_URL="+w.ear.URL+"/v2/").must(0, "run", "--once")
	w.wantTruth(batch, everyone(crowd))
	// No task waits: another address is recorded, and said.
	if e := w.with("CAPILLARY_BASE_URL=http://127.0.0.1:1").must(0, "run", "--once"); !strings.Contains(e.err, "the base URL was changed") {
		t.Errorf("%s", e)
	}
	if n := w.count("SELECT count(*) FROM audit_entries WHERE action = 'organization.move'"); n != 1 {
		t.Errorf("%d audit entries", n)
	}
}

// A customer who failed would be looked for wherever the organisation is by then: as
// long as that is possible, only a person moves it.
func TestFailedCustomersFollowNoAddress(t *testing.T) {
	t.Parallel()
	few, more := present(166, 2, 1), present(166, 3, 2)
	w := newWorld(t, sandbox.Options{Seed: 166, Population: few})
	elsewhere := w.another("elsewhere", sandbox.Options{Seed: 167, Population: more})
	there := w.with("CAPILLARY_BASE_URL=" + elsewhere.url)
	calls := func() int { return elsewhere.api.Journal().Counters().Requests }
	batch := w.enqueue([]int64{few.ID(0), more.ID(2)}) // the second is unknown here
	w.must(3, "run", "--once")
	retry := func() { w.must(0, "batch", "retry", number(batch), "--reason", "the API was down") }
	for i, first := range []func(){func() {}, retry, func() { w.must(3, "run", "--once") }, retry} {
		first()
		e := there.must(1, "run", "--once")
		for _, says := range []string{"base_url is " + elsewhere.url + " here, and " + w.ear.URL + " is recorded, for which tasks wait or may be tried again",
			"imagepurge org set default base_url=" + elsewhere.url + " --reason", "for another platform use an organisation of its own"} {
			if !strings.Contains(e.err, says) {
				t.Errorf("%d: doesn't say %q: %s", i, says, e)
			}
		}
		if n := calls(); n > 0 {
			t.Fatalf("%d: %d calls elsewhere", i, n)
		}
	}
	// A person says that it is the same platform. The other way round nothing follows, either.
	w.must(0, "org", "set", "default", "base_url="+elsewhere.url, "--reason", "moved to another cluster")
	w.must(1, "run", "--once")
	there.must(0, "run", "--once")
	if n := elsewhere.api.Journal().Counters().ImagesDeleted; n != 2 {
		t.Errorf("%d images were deleted where the customers are now", n)
	}
}

func TestOrgSetStandsAboveSettings(t *testing.T) {
	t.Parallel()
	crowd := present(162, 6, 2)
	w := newWorld(t, sandbox.Options{Seed: 162, Population: crowd})
	w.must(0, "run", "--once")
	for _, args := range [][]string{{"mode=economy"}, {"mode=fast", "--reason", "x"}, {"rate=5", "--reason", "x"}, {"--reason", "x"}, {"base_url=", "--reason", "x"}, {"mode=economy", "mode=verified", "--reason", "x"}} {
		w.must(2, append([]string{"org", "set", "default"}, args...)...)
	}
	w.must(2, "org", "set", "nobody", "mode=economy", "--reason", "x")
	w.must(0, "org", "set", "default", "mode=economy", "--reason", "fewer calls")
	if n := w.count("SELECT count(*) FROM audit_entries WHERE action = 'organization.set' AND reason = 'fewer calls' AND actor = $1", whoami(t)); n != 1 {
		t.Errorf("%d audit entries", n)
	}
	batch := w.with("IMAGEPURGE_MODE=verified").enqueue(everyone(crowd))
	if e := w.with("IMAGEPURGE_MODE=verified").must(0, "run", "--once"); !strings.Contains(e.err, "a person has decided") {
		t.Errorf("%s", e)
	}
	w.wantCalls(batch, func(n int) int { return n + 1 })
	if e := w.must(0, "org", "show", "default"); !strings.Contains(e.out, "decided by a person") || !strings.Contains(e.out, "economy") || !strings.Contains(e.out, "basic") {
		t.Errorf("%s", e)
	}
	type shown struct {
		Host, Authentication string
		Settings             map[string]struct{ Value, From string }
	}
	if got := parse[shown](w, w.must(0, "org", "show", "default", "-o", "json").out); got.Settings["mode"].Value != "economy" || "http://"+got.Host != w.ear.URL || got.Authentication != "basic" {
		t.Errorf("%+v", got)
	}
	w.must(0, "org", "set", "default", "mode=", "--reason", "as the settings say")
	w.with("IMAGEPURGE_MODE=paranoid").must(0, "run", "--once")
	w.must(1, "run", "--once") // verified, by default
}

// A running worker takes over what a person sets, in order, and goes on.
func TestRunningWorkersTakeOver(t *testing.T) {
	t.Parallel()
	w, ids, batch, worker := steady(t, 163, 120)
	w.must(0, "org", "set", "default", "mode=economy", "--reason", "fewer calls")
	w.until("the worker says so", func() bool { return strings.Contains(worker.errOut.String(), "work begins again") })
	if n := w.count("SELECT count(*) FROM image_deletion_tasks WHERE state = 'completed'"); n == len(ids) {
		t.Error("all was purged before the worker took it over")
	}
	w.until("all is purged", func() bool {
		return w.count("SELECT count(*) FROM image_deletion_tasks WHERE state = 'completed'") == len(ids)
	})
	worker.stop()
	w.wantTruth(batch, ids)
	w.wantHarmless(true)
}

// A worker whose credentials would go elsewhere than a person has confirmed ends.
func TestRunningWorkersEndForAnotherAddress(t *testing.T) {
	t.Parallel()
	w, _, _, worker := steady(t, 164, 120)
	w.must(0, "org", "set", "default", "base_url=http://127.0.0.1:1", "--reason", "moved")
	e := worker.wait()
	if e.status != 1 || !strings.Contains(e.err, "base_url is "+w.ear.URL+" here, and http://127.0.0.1:1 is recorded") {
		t.Errorf("%s", e)
	}
	w.wantAtRest()
}

// What --once and --limit ask for is kept across such a change.
func TestALimitHoldsAcrossAChangeOfSettings(t *testing.T) {
	t.Parallel()
	const limit = 60
	crowd := present(165, 150, 2)
	w := newWorld(t, sandbox.Options{Seed: 165, Population: crowd, Latency: sandbox.UniformLatency(5*time.Millisecond, 30*time.Millisecond)}).
		with("CAPILLARY_RATE_PER_MINUTE=1200")
	w.enqueue(everyone(crowd))
	worker := w.start("run", "--once", "--limit", number(limit), "-o", "json")
	w.until("some are purged", func() bool { return w.count("SELECT count(*) FROM image_deletion_tasks WHERE state = 'completed'") > 5 })
	w.must(0, "org", "set", "default", "mode=economy", "--reason", "fewer calls")
	e := worker.wait()
	if e.status != 0 || !strings.Contains(e.err, "work begins again") {
		t.Fatalf("%s", e)
	}
	type ran []struct{ Ended int }
	if n := w.count("SELECT count(*) FROM image_deletion_tasks WHERE state = 'completed'"); n != limit || parse[ran](w, e.out)[0].Ended != n {
		t.Errorf("%d customers: %s", n, e)
	}
	w.wantHarmless(true)
	w.wantAtRest()
}
