package worker

import (
	"testing"
	"time"

	"github.com/imagepurge/imagepurge/jobs"
	"github.com/imagepurge/imagepurge/jobs/budget"
	"github.com/imagepurge/imagepurge/jobs/purge"
)

// frozen is a worker whose first listing is under way when its lease runs out, and
// that has claimed the same customer again meanwhile.
func frozen(t *testing.T, cfg Config) *world {
	t.Helper()
	w := newWorld(t, 1, cfg, 1)
	w.core.Step(w.now, Started{})
	if effects := w.core.Step(w.now, w.claim(cfg.Claim)); !contains[ReserveSlots](effects) || !contains[ClaimTasks](effects) {
		t.Fatalf("no slot is asked for, or no further claim: %v", effects)
	}
	slot := budget.Block{Slots: 1, Interval: 100 * time.Millisecond, Limit: 600, Pace: 600}
	if effects := w.core.Step(w.now, SlotsReserved{Block: slot, Sent: w.now, At: w.now}); !contains[ListImages](effects) {
		t.Fatalf("no listing: %v", effects)
	}
	w.now = w.now.Add(2 * time.Minute)
	w.tasks[0].state = "pending" // its lease ran out
	again := w.claim(cfg.Claim)
	if len(again.(ClaimEnded).Records) != 1 {
		t.Fatal("nothing was claimed again")
	}
	if contains[ListImages](w.core.Step(w.now, again)) {
		t.Error("a second call is made while nobody knows whether the first is accepted")
	}
	return w
}

func contains[E Effect](effects []Effect) bool {
	for _, e := range effects {
		if _, ok := e.(E); ok {
			return true
		}
	}
	return false
}

// Found by the simulation: a call whose task was taken back while it was under way
// was not counted any more, and more calls were in flight than allowed.
func TestACallOfATaskThatWasTakenBackStillCounts(t *testing.T) {
	t.Parallel()
	cfg := testConfig()
	cfg.Claim.Limit = 1
	w := frozen(t, cfg)
	before := w.core.budget.InFlight()
	sent := w.now.Add(-time.Minute / 2)
	w.core.Step(w.now, CallEnded{Task: 1, Epoch: 1, Kind: jobs.ListCall, Answer: jobs.Answer{Class: jobs.ClassListed, SentAt: sent, AnsweredAt: w.now}})
	if before < 1 {
		t.Errorf("%d calls in flight while one is", before)
	}
	if got := w.core.budget.InFlight(); got != before-1 {
		t.Errorf("%d calls in flight after the answer, want %d", got, before-1)
	}
}

// Found by the simulation: a refusal that could not be written, for its lease was
// lost, kept the worker from claiming for good.
func TestARefusalWhoseLeaseWasLostDoesNotStopTheWorkerForGood(t *testing.T) {
	t.Parallel()
	cfg := testConfig()
	w := newWorld(t, 1, cfg, 1, 1)
	var refused, taken bool
	w.answer = func(id jobs.TaskID, kind jobs.Kind) *jobs.Answer {
		if refused {
			return nil
		}
		refused = true
		// Its lease ran out while it was frozen; the claim that brings it again is
		// on its way to the worker.
		r := w.row(id)
		r.epoch++
		r.state = "pending"
		w.later(0, 0, func() Event {
			taken = true
			return ClaimEnded{Records: []purge.Record{{
				Task: id, Batch: 1, Owner: "w", Epoch: r.epoch, Customer: jobs.Customer{ID: int64(id), Source: "INSTORE"},
				Mode: jobs.Verified, Scope: jobs.Snapshot,
			}}}
		})
		return &jobs.Answer{Class: jobs.ClassRefused, HTTPStatus: 403, Code: "403"}
	}
	w.run(time.Hour)
	if !taken || w.ended != NothingLeft {
		t.Errorf("ended %q with %v, want that all is purged", w.ended, w.states())
	}
}
