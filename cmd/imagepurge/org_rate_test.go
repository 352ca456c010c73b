package main_test

import (
	"strings"
	"testing"
	"time"

	"github.com/imagepurge/imagepurge/capillary/sandbox"
)

// The rate is changed while workers run: all of them follow within seconds.
func TestSetRateActsOnRunningWorkers(t *testing.T) {
	t.Parallel()
	crowd := present(201, 2000, 1)
	w := newWorld(t, sandbox.Options{Seed: 201, Population: crowd}).with("CAPILLARY_RATE_PER_MINUTE=240")
	w.enqueue(everyone(crowd))
	workers := []*process{w.start("run", "--once"), w.start("run", "--once")}
	calls := func() int { return w.api.Journal().Counters().Requests }
	w.until("calls are made", func() bool { return calls() > 4 })
	e := w.must(0, "org", "set-rate", "default", "6000", "--reason", "agreed with the vendor")
	if !strings.Contains(e.out, "6,000 calls a minute") {
		t.Errorf("%s", e)
	}
	before, raised := calls(), time.Now()
	w.until("150 calls are made", func() bool { return calls() > before+150 })
	// At the old rate they take 37 seconds, however fast this machine is.
	if took := w.api.Journal().Entries()[before+150].ReceivedAt.Sub(raised); took > 30*time.Second {
		t.Errorf("150 calls came within %v after the rate was raised to 6000 a minute", took)
	}
	w.must(0, "org", "set-rate", "default", "60", "--reason", "the vendor calls")
	w.until("what was under way is over", func() bool {
		before = calls()
		after(t, time.Second)
		return calls() == before
	})
	after(t, 4*time.Second)
	// The minute that has passed holds far more than 60: nothing follows for a while.
	if n := calls() - before; n > 2 {
		t.Errorf("%d calls in 4 seconds after the rate was lowered to 60 a minute", n)
	}
	if e := w.must(0, "org", "show", "default"); !strings.Contains(e.out, "rate set       60 calls a minute, by a person; configured 240") || !strings.Contains(e.out, "at the API     organisation") {
		t.Errorf("%s", e)
	}
	if e := w.must(0, "org", "set-rate", "default", "settings"); !strings.Contains(e.out, "240 calls a minute") {
		t.Errorf("%s", e)
	}
	for _, bad := range []string{"0", "-5", "1", "many", "2000000"} {
		w.must(2, "org", "set-rate", "default", bad)
	}
	w.must(2, "org", "set-rate", "nobody", "100")
	if n := w.count("SELECT count(*) FROM audit_entries WHERE action = 'organization.set_rate'"); n != 3 {
		t.Errorf("%d entries in the audit log, want 3", n)
	}
	for _, p := range workers {
		p.stop()
	}
	w.wantHarmless(true)
}

// An API that accepts less than is configured: after three 429s within an hour the
// pace stays below what it accepts, and says so.
func TestThePaceThatTheAPIAcceptsIsLearnt(t *testing.T) {
	t.Parallel()
	crowd := present(202, 3000, 1)
	w := newWorld(t, sandbox.Options{Seed: 202, Population: crowd, Limit: sandbox.Limit{PerMinute: 60, Window: sandbox.WindowSliding, RetryAfter: sandbox.RetryAfterSeconds}}).
		with("CAPILLARY_RATE_PER_MINUTE=6000")
	batch := w.enqueue(everyone(crowd))
	p := w.start("run", "--once")
	w.until("a 429 has lowered the pace", func() bool {
		return w.count("SELECT count(*) FROM rate_budgets WHERE pace < 6000 AND paused_until > now()") == 1
	})
	over := w.api.Journal().Counters().RateLimited
	after(t, 3*time.Second)
	// Those under way, and what was reserved before: a quarter of a second. At the pace
	// there would be 300.
	if n := w.api.Journal().Counters().RateLimited; n > over+50 {
		t.Errorf("%d more answers 429 within the pause", n-over)
	}
	if n := w.count("SELECT count(*) FROM image_deletion_tasks WHERE attempts > 0"); n > 0 {
		t.Errorf("%d tasks have an attempt for a 429", n)
	}
	// As if it had happened twice more within the hour, and the lower pace had held.
	w.exec("UPDATE rate_budgets SET pace = 50, held = 55, settled = true")
	if e := w.must(0, "status"); !strings.Contains(e.out, "the API accepts about 55 a minute; configured 6,000; the pace is 50") {
		t.Errorf("%s", e)
	}
	if e := w.must(0, "org", "show", "default"); !strings.Contains(e.out, "the API accepts about 55 a minute") {
		t.Errorf("%s", e)
	}
	// 3,000 customers, three calls each, at 50 a minute: three hours.
	if e := w.must(0, "batch", "show", number(batch)); !strings.Contains(e.out, "done about") && !strings.Contains(e.out, "about") {
		t.Errorf("no estimate: %s", e)
	}
	p.stop()
	w.wantHarmless(true)
}
