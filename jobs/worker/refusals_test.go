package worker_test

import (
	"testing"
	"time"

	"github.com/imagepurge/imagepurge/jobs"
	"github.com/imagepurge/imagepurge/jobs/purge"
	"github.com/imagepurge/imagepurge/jobs/worker"
)

// hand is a world whose core is driven by hand; its first claim is under way.
func hand(t *testing.T, images ...int) *world {
	t.Helper()
	w := newWorld(t, 1, testConfig(), images...)
	w.store.PinOrganization(w.ours.number)
	want[worker.ClaimTasks](t, w.told(worker.Started{}))
	return w
}

// records claims so many tasks.
func (w *world) records(n int) worker.ClaimEnded {
	c := w.cfg.Claim
	c.Limit, c.Probe = n, true
	return worker.ClaimEnded{Records: w.claim(c)}
}

// commit applies a write and tells the core.
func (w *world) commit(wr purge.Write) []worker.Effect {
	w.Helper()
	terms := purge.Terms{Organization: 1, Lease: w.cfg.Claim.Lease, RequestTimeout: w.cfg.Purge.RequestTimeout}
	r := w.store.Write(w.now, w.now, terms, []purge.Write{wr})[0]
	return w.told(worker.WriteEnded{Task: wr.Task, Epoch: wr.Epoch, Result: r})
}

// answered ends a call.
func (w *world) answered(id jobs.TaskID, kind jobs.Kind, a jobs.Answer) []worker.Effect {
	a.SentAt, a.AnsweredAt = w.now, w.now
	return w.told(worker.CallEnded{Task: id, Epoch: w.store.Task(id).Rec.Epoch, Kind: kind, Answer: a})
}

// written returns the write of a task among the effects.
func written(effects []worker.Effect, id jobs.TaskID) (purge.Write, bool) {
	for _, e := range effects {
		if e, ok := e.(worker.WriteTask); ok && e.Write.Task == id {
			return e.Write, true
		}
	}
	return purge.Write{}, false
}

var (
	refused = jobs.Answer{Class: jobs.ClassRefused, HTTPStatus: 401, Code: "401"}
	none    = jobs.Answer{Class: jobs.ClassListed, HTTPStatus: 200}
)

// A claim that was under way when a call was refused brings tasks of a time when nobody
// knew: they are given back, also when the breaker's row is written by then. Those of a
// later claim are begun.
func TestTasksOfAClaimFromBeforeARefusalAreGivenBack(t *testing.T) {
	t.Parallel()
	for _, recorded := range []bool{false, true} {
		w := hand(t, 1, 1, 1)
		want[worker.ClaimTasks](t, w.told(w.records(1)))
		want[worker.ListImages](t, w.told(w.slots(1)))
		early := w.records(1) // the statement; its answer is on its way
		effects := w.answered(1, jobs.ListCall, refused)
		report, ok := written(effects, 1)
		if _, asks := first[worker.ClaimTasks](effects); !ok || report.Breaker == nil || asks {
			t.Fatalf("%v", effects)
		}
		if recorded {
			w.commit(report)
		}
		effects = w.told(early)
		if back, ok := written(effects, 2); !ok || back.Kind != purge.WriteGiveBack || back.Waiting != jobs.WaitBreaker {
			t.Errorf("recorded: %v: %v", recorded, effects)
		} else {
			w.commit(back)
		}
		if _, asks := first[worker.ClaimTasks](effects); asks != recorded {
			t.Errorf("recorded: %v: claims again: %v", recorded, asks)
		}
		if !recorded {
			want[worker.ClaimTasks](t, w.commit(report))
		}
		w.store.CloseBreaker(w.now)
		if effects = w.told(w.records(1)); len(w.core.Stats().Batches) == 0 || !w.core.Holding() {
			t.Errorf("recorded: %v: the task of a later claim is not begun: %v", recorded, effects)
		}
		if back, ok := written(effects, 1); ok {
			t.Errorf("recorded: %v: %+v", recorded, back)
		}
	}
}

// The probe of a breaker that another worker has opened is made, although a refusal of
// our own is not recorded yet.
func TestAProbeIsMadeWhileARefusalIsBeingWritten(t *testing.T) {
	t.Parallel()
	w := hand(t, 1, 1)
	w.told(w.records(1))
	want[worker.ListImages](t, w.told(w.slots(1)))
	probe := w.records(1)
	probe.Records[0].Probe = true
	w.answered(1, jobs.ListCall, refused)
	if back, ok := written(w.told(probe), 2); ok {
		t.Errorf("%+v", back)
	}
}

// What a refusal leaves unknown is tried by one call at a time.
func TestAfterARefusalOneCallAtATime(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1, testConfig(), many(60)...)
	w.answer = func(jobs.TaskID, jobs.Kind) *jobs.Answer {
		if w.calls == 1 {
			return nil // and the others are all made at once
		}
		if w.lastIntent.IsZero() {
			w.store.FailOver(w.store.Snapshot()) // the refusal itself is lost with its lease
			w.lastIntent = w.now
		}
		return &refused
	}
	w.run(20 * time.Second)
	before := w.calls
	if w.goOn(time.Minute); before < 3 || w.calls != before+1 || w.ended != worker.Breaker {
		t.Errorf("%d calls were under way; %d were made after the refusal, then %q", before, w.calls-before, w.ended)
	}
}

// No call is made of tasks that come while the worker stops.
func TestTasksThatComeWhileStoppingAreGivenBack(t *testing.T) {
	t.Parallel()
	w := hand(t, 1)
	w.told(worker.StopAsked{})
	effects := w.told(w.records(1))
	back, ok := written(effects, 1)
	if !ok || back.Kind != purge.WriteGiveBack || back.Waiting != "" || back.Counters.Attempts != 0 {
		t.Fatalf("%v", effects)
	}
	if end := want[worker.Ended](t, w.commit(back)); end.Why != worker.Stopped {
		t.Error(end)
	}
	if effects := w.told(worker.Tick{}); effects != nil {
		t.Errorf("after its end: %v", effects)
	}
}

// Twenty customers that met faults, with no success between, are an outage.
func TestAnOutageIsOfTwentyCustomers(t *testing.T) {
	t.Parallel()
	timeout := &jobs.Answer{Class: jobs.ClassUnknown, Code: "timeout"}
	for name, c := range map[string]struct {
		customers, opened int
		fifteenth         *jobs.Answer
	}{
		"nineteen customers":               {19, 0, timeout},
		"twenty":                           {20, 1, timeout},
		"one that can't be reached":        {20, 1, &jobs.Answer{Class: jobs.ClassNotRun, Code: "refused"}},
		"a success between":                {20, 0, &none},
		"a customer that is unknown":       {20, 0, &jobs.Answer{Class: jobs.ClassNotFound}},
		"a 429 between":                    {20, 1, &jobs.Answer{Class: jobs.ClassOverLimit, RetryAfter: time.Second}},
		"a call that was not sent between": {21, 1, &jobs.Answer{Class: jobs.ClassNotSent, SentAt: notSent}},
		"a token that had expired":         {20, 0, &jobs.Answer{Class: jobs.ClassNotRun, Code: jobs.CodeTokenExpired}},
	} {
		w := newWorld(t, 1, testConfig(), make([]int, c.customers)...)
		w.cfg.Purge.MaxAttempts = 1 // each fault is another customer's
		w.core = worker.NewCore(w.cfg)
		n := 0
		w.answer = func(id jobs.TaskID, _ jobs.Kind) *jobs.Answer {
			if n++; n == 15 {
				return c.fifteenth
			}
			if name == "a token that had expired" && n > 20 {
				return nil
			}
			return timeout
		}
		w.run(10 * time.Minute)
		if w.opened != c.opened {
			t.Errorf("%s: the breaker opened %d times, want %d; %v", name, w.opened, c.opened, w.states())
		}
	}
}

// The faults of one customer are none, nor are those of a worker that is being stopped:
// they may be its own doing.
func TestFaultsThatAreNoOutage(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1, testConfig(), 1)
	w.cfg.Purge.MaxAttempts = 30
	w.core = worker.NewCore(w.cfg)
	w.answer = func(jobs.TaskID, jobs.Kind) *jobs.Answer {
		return &jobs.Answer{Class: jobs.ClassUnknown, Code: "timeout"}
	}
	if w.run(time.Hour); w.calls != 30 || w.opened > 0 {
		t.Errorf("the breaker opened %d times after %d calls for one customer", w.opened, w.calls)
	}

	w = newWorld(t, 1, testConfig(), many(60)...)
	w.takes = func(jobs.TaskID, jobs.Kind) time.Duration {
		return map[bool]time.Duration{true: 4 * time.Second}[w.calls > 1]
	}
	w.answer = func(jobs.TaskID, jobs.Kind) *jobs.Answer {
		if w.calls == 1 {
			return nil
		}
		return &jobs.Answer{Class: jobs.ClassUnknown, Code: "cancelled"}
	}
	w.stopAfter(3 * time.Second)
	if w.run(time.Minute); w.most < 20 || w.opened > 0 || w.ended != worker.Stopped {
		t.Errorf("%s: the breaker opened %d times, %d calls were under way", w.ended, w.opened, w.most)
	}
}
