package worker_test

import (
	"testing"
	"time"

	"github.com/imagepurge/imagepurge/jobs"
	"github.com/imagepurge/imagepurge/jobs/budget"
	"github.com/imagepurge/imagepurge/jobs/purge"
	"github.com/imagepurge/imagepurge/jobs/worker"
)

// told steps the core and leaves what it asks for to the test.
func (w *world) told(ev worker.Event) []worker.Effect { return w.core.Step(w.now, ev) }

// first returns the first effect of a kind.
func first[E worker.Effect](effects []worker.Effect) (e E, ok bool) {
	for _, other := range effects {
		if e, ok = other.(E); ok {
			return e, true
		}
	}
	return e, false
}

// want fails unless the effects have one of a kind.
func want[E worker.Effect](t *testing.T, effects []worker.Effect) E {
	t.Helper()
	e, ok := first[E](effects)
	if !ok {
		t.Fatalf("no %T in %v", e, effects)
	}
	return e
}

// slots is what the key's row answers.
func (w *world) slots(n int) worker.SlotsReserved {
	return worker.SlotsReserved{Sent: w.now, At: w.now, Block: budget.Block{Slots: n, Interval: 100 * time.Millisecond, Limit: 600, Pace: 600}}
}

// one is a claim of one task.
func (w *world) one() purge.Claim {
	c := w.cfg.Claim
	c.Limit = 1
	return c
}

// frozen is a worker whose first listing is under way when its lease runs out, and
// that has claimed the same customer again meanwhile.
func frozen(t *testing.T) *world {
	t.Helper()
	w := newWorld(t, 1, testConfig(), 1)
	w.store.PinOrganization(w.ours.number)
	w.told(worker.Started{})
	want[worker.ClaimTasks](t, w.told(worker.ClaimEnded{Records: w.claim(w.one())}))
	want[worker.ListImages](t, w.told(w.slots(1)))
	w.now = w.now.Add(2 * time.Minute) // its lease ran out
	records := w.claim(w.one())
	if len(records) != 1 || records[0].Epoch != 2 {
		t.Fatalf("claimed again: %+v", records)
	}
	if _, ok := first[worker.ListImages](w.told(worker.ClaimEnded{Records: records})); ok {
		t.Error("a second call is made while nobody knows whether the first is accepted")
	}
	return w
}

// stray is the answer to the call of the lease that ran out.
func (w *world) stray(a jobs.Answer) []worker.Effect {
	a.SentAt, a.AnsweredAt = w.now.Add(-30*time.Second), w.now
	return w.told(worker.CallEnded{Task: 1, Epoch: 1, Kind: jobs.ListCall, Answer: a})
}

// Found by the simulation: a call whose task was taken back while it was under way
// was not counted any more, and more calls were in flight than allowed.
func TestACallOfATaskThatWasTakenBackStillCounts(t *testing.T) {
	t.Parallel()
	w := frozen(t)
	before := w.core.Stats().InFlight
	w.stray(jobs.Answer{Class: jobs.ClassListed})
	if got := w.core.Stats().InFlight; before != 1 || got != 0 {
		t.Errorf("%d calls in flight while one is, %d after its answer", before, got)
	}
}

// A 429 counts for the key, whoever met it.
func TestAStrayOverLimitPausesTheKey(t *testing.T) {
	t.Parallel()
	w := frozen(t)
	slow := want[worker.SlowDown](t, w.stray(jobs.Answer{Class: jobs.ClassOverLimit, RetryAfter: 20 * time.Second}))
	if slow.Asked != 20*time.Second || slow.Age != 30*time.Second {
		t.Errorf("the key is told %+v", slow)
	}
	if got := w.core.Stats().PausedUntil.Sub(w.now); got != 20*time.Second {
		t.Errorf("this process pauses for %v", got)
	}
}

// The task that is in hand again is given back. No breaker knows why, so that the next
// answer that names nobody tells it.
func TestAStrayImageOfAnotherBrandStopsAll(t *testing.T) {
	t.Parallel()
	w := frozen(t)
	pin := want[worker.PinOrganization](t, w.stray(jobs.Answer{
		Class: jobs.ClassListed, Images: []jobs.Key{{1}}, Organizations: []int64{w.theirs.number},
	}))
	back := want[worker.WriteTask](t, w.told(worker.OrganizationPinned{Number: w.store.PinOrganization(pin.Number)})).Write
	if back.Epoch != 2 || back.Kind != purge.WriteGiveBack || back.Waiting != jobs.WaitBreaker || back.Breaker != nil {
		t.Errorf("%+v", back)
	}
	result := w.store.Write(w.now, w.now, purge.Terms{Organization: 1, Lease: time.Minute}, []purge.Write{back})[0]
	w.told(worker.WriteEnded{Task: 1, Epoch: 2, Result: result})
	w.told(worker.ClaimEnded{Records: w.claim(w.one())})
	w.now = w.now.Add(time.Second)
	want[worker.ListImages](t, append(w.told(worker.Tick{}), w.told(w.slots(1))...))
	back = want[worker.WriteTask](t, w.told(worker.CallEnded{Task: 1, Epoch: 3, Kind: jobs.ListCall, Answer: jobs.Answer{Class: jobs.ClassListed}})).Write
	if back.Kind != purge.WriteGiveBack || back.Breaker == nil || back.Breaker.Reason != jobs.CodeWrongOrganisation {
		t.Errorf("%+v", back)
	}
}

// Found by the simulation: a refusal that could not be written, for its lease was
// lost, kept the worker from claiming for good.
func TestARefusalWhoseLeaseWasLostDoesNotStopTheWorkerForGood(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1, testConfig(), 1, 1)
	refused := false
	w.answer = func(jobs.TaskID, jobs.Kind) *jobs.Answer {
		if refused {
			return nil
		}
		refused = true
		w.store.FailOver(w.store.Snapshot()) // no lease from before holds any more
		return &jobs.Answer{Class: jobs.ClassRefused, HTTPStatus: 403, Code: "403"}
	}
	w.run(time.Hour)
	if w.ended != worker.NothingLeft || w.opened > 0 {
		t.Errorf("ended %q, the breaker opened %d times", w.ended, w.opened)
	}
	w.wantStates(map[jobs.State]int{jobs.Completed: 2})
}
