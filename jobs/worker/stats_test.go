package worker_test

import (
	"testing"
	"time"

	"github.com/imagepurge/imagepurge/jobs"
	"github.com/imagepurge/imagepurge/jobs/purge"
	"github.com/imagepurge/imagepurge/jobs/worker"
)

// Whoever watches a worker learns of every statement that failed, and of the next that
// did not.
func TestADatabaseThatFailsIsSaid(t *testing.T) {
	t.Parallel()
	busy := func() *world {
		w := hand(t, 0, 0)
		w.told(w.records(1))
		want[worker.ListImages](t, w.told(w.slots(1)))
		return w
	}
	for name, c := range map[string]struct {
		event func(*world) worker.Event
		mends func(*world) []worker.Effect
	}{
		"a survey": {func(*world) worker.Event { return worker.Surveyed{Err: errDown} }, func(w *world) []worker.Effect {
			return w.told(worker.Surveyed{})
		}},
		"slots": {func(w *world) worker.Event { return worker.SlotsReserved{Sent: w.now, At: w.now, Err: errDown} }, func(w *world) []worker.Effect {
			return w.told(w.slots(0))
		}},
		"a renewal": {func(*world) worker.Event { return worker.Renewed{Err: errDown} }, func(w *world) []worker.Effect {
			end, _ := written(w.answered(1, jobs.ListCall, none), 1)
			return w.commit(end)
		}},
		"an organisation": {func(*world) worker.Event { return worker.OrganizationPinned{Err: errDown} }, nil},
		"an intent":       {func(*world) worker.Event { return worker.WriteEnded{Task: 1, Epoch: 1, Err: errDown} }, nil},
	} {
		w := busy()
		if name == "an intent" {
			a := none
			a.Images, a.Organizations = w.ours.images[2], []int64{w.ours.number}
			a.Images = []jobs.Key{{1}}
			pin := want[worker.PinOrganization](t, w.answered(1, jobs.ListCall, a))
			save, _ := written(w.told(worker.OrganizationPinned{Number: pin.Number}), 1)
			w.commit(save)
			w.told(w.slots(1))
		}
		if w.told(c.event(w)); w.core.Stats().DatabaseFail != errDown || w.core.Stats().ClaimError != nil {
			t.Errorf("%s that failed: %v", name, w.core.Stats().DatabaseFail)
		}
		if c.mends == nil {
			continue
		}
		if c.mends(w); w.core.Stats().DatabaseFail != nil {
			t.Errorf("after %s: %v", name, w.core.Stats().DatabaseFail)
		}
	}
	w := hand(t)
	if w.told(worker.ClaimEnded{Err: errDown}); w.core.Stats().ClaimError != errDown {
		t.Error(w.core.Stats().ClaimError)
	}
	if w.told(worker.ClaimEnded{}); w.core.Stats().ClaimError != nil {
		t.Error(w.core.Stats().ClaimError)
	}
}

// The numbers are the receiver's own.
func TestStats(t *testing.T) {
	t.Parallel()
	w := hand(t, 0, 0)
	if w.core.Holding() {
		t.Error("it holds a task at first")
	}
	w.told(w.records(1))
	want[worker.ListImages](t, w.told(w.slots(1)))
	w.told(worker.Surveyed{Outlook: purge.Outlook{Ready: true}})
	w.told(worker.Beaten{Fleet: worker.Fleet{Live: 3, Sharing: 4}})
	w.store.NoteOverLimit(w.now, 0, time.Minute)
	s := w.core.Stats()
	if !w.core.Holding() || s.InHand != 1 || s.InFlight != 1 || s.PacePerMinute != 600 || s.Latency != time.Second/2 || !s.Outlook.Ready || s.Fleet.Live != 3 {
		t.Errorf("%+v", s)
	}
	s.Batches[9], s.Finished[jobs.Failed] = true, 9
	if now := w.core.Stats(); now.Batches[9] || now.Finished[jobs.Failed] > 0 {
		t.Errorf("changed by whoever looked: %+v", now)
	}
	w.answered(1, jobs.ListCall, jobs.Answer{Class: jobs.ClassOverLimit, RetryAfter: time.Minute})
	if got := w.core.Stats(); got.PausedUntil.Sub(w.now) != time.Minute || got.OverLimit != 1 || got.InFlight != 0 {
		t.Errorf("%+v", got)
	}
}
