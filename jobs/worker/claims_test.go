package worker_test

import (
	"slices"
	"testing"
	"time"

	"github.com/imagepurge/imagepurge/jobs"
	"github.com/imagepurge/imagepurge/jobs/purge"
	"github.com/imagepurge/imagepurge/jobs/worker"
	"github.com/imagepurge/imagepurge/simulation/memory"
)

// A worker has in hand what is under way at the pace and the latency of its calls, and
// what the next second's slots are for; no more than twice its calls, nor than 512.
func TestHowManyTasksAreInHand(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ perMinute, concurrency, want int }{
		{600, 64, 4 + 17}, // 10 a second, for 0.75 and 1 seconds
		{2, 64, 4}, {6000, 64, 128}, {6000, 8, 16}, {60000, 1000, 512},
	} {
		cfg := testConfig()
		cfg.Budget.PerMinute, cfg.Budget.Concurrency = c.perMinute, c.concurrency
		w := newWorld(t, 1, cfg)
		effects := w.told(worker.Started{})
		if wake := want[worker.WakeAt](t, effects).At.Sub(w.now); wake != 10*time.Second {
			t.Errorf("it sleeps for %v while it waits for an answer", wake)
		}
		if got := want[worker.ClaimTasks](t, effects).Claim.Limit; got != c.want {
			t.Errorf("%d a minute, %d at a time: claims %d, want %d", c.perMinute, c.concurrency, got, c.want)
		}
	}
}

// The latency that counts is smoothed: an eighth of what was seen last.
func TestTheLatencyIsThatOfTheCalls(t *testing.T) {
	t.Parallel()
	w := hand(t, 0)
	w.told(w.records(1))
	want[worker.ListImages](t, w.told(w.slots(1)))
	a := none
	a.SentAt, a.AnsweredAt = w.now, w.now.Add(4500*time.Millisecond)
	w.told(worker.CallEnded{Task: 1, Epoch: 1, Kind: jobs.ListCall, Answer: a})
	if got := w.core.Stats(); got.Latency != time.Second || got.Calls != 1 || got.Lists != 1 || got.Deletes != 0 {
		t.Errorf("%+v", got)
	}
}

// No more is claimed while a quarter or less is missing.
func TestClaimsAreMadeForAQuarter(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ first, limit int }{{15, 6}, {16, 0}, {20, 0}} { // of 21
		w := hand(t, make([]int, 30)...)
		claim, ok := first[worker.ClaimTasks](w.told(w.records(c.first)))
		if ok != (c.limit > 0) || claim.Claim.Limit != c.limit {
			t.Errorf("with %d in hand it claims %d, want %d", c.first, claim.Claim.Limit, c.limit)
		}
	}
	// But for nothing at all, however few are wanted.
	cfg := testConfig()
	cfg.Budget.Concurrency = 1
	w := newWorld(t, 1, cfg, 0, 0)
	w.run(time.Minute)
	w.wantStates(map[jobs.State]int{jobs.Completed: 2})
}

// What is told of a claim: the batch that was served last, and whether it may probe.
func TestWhatAClaimAsksFor(t *testing.T) {
	t.Parallel()
	for _, once := range []bool{true, false} {
		cfg := testConfig()
		cfg.Once = once
		w := newWorld(t, 1, cfg, 0)
		w.store.Enqueue(w.now, 7, memory.NewTask{Customer: 2})
		claim := want[worker.ClaimTasks](t, w.told(worker.Started{})).Claim
		if claim.After != 0 || claim.Probe == once || claim.ProbeNow || claim.Only != nil || claim.Owner != "w" {
			t.Errorf("once: %v: the first claim %+v", once, claim)
		}
		claim = want[worker.ClaimTasks](t, w.told(w.records(2))).Claim
		if claim.After != 7 || claim.Probe == once || claim.ProbeNow {
			t.Errorf("once: %v: the second claim %+v", once, claim)
		}
		if got := w.core.Stats().Batches; len(got) != 2 || !got[1] || !got[7] {
			t.Errorf("batches %v", got)
		}
	}
}

// With a limit no more tasks are begun than that; those that were given back are
// claimed again, and only those.
func TestALimitCountsCustomers(t *testing.T) {
	t.Parallel()
	cfg := testConfig()
	cfg.Limit = 3
	w := newWorld(t, 1, cfg, 0, 0, 1, 0, 0)
	again := 0
	w.answer = func(id jobs.TaskID, _ jobs.Kind) *jobs.Answer {
		if id == 3 && again < 2 {
			again++
			return &jobs.Answer{Class: jobs.ClassUnknown, Code: "timeout"}
		}
		return nil
	}
	var claims []purge.Claim
	w.claiming = func(c purge.Claim) { claims = append(claims, c) }
	w.run(time.Hour)
	if w.ended != worker.NothingLeft || w.states()[jobs.Completed] != 3 || again != 2 {
		t.Errorf("ended %q with tasks %v", w.ended, w.states())
	}
	for i, c := range claims {
		if i == 0 && (c.Limit != 3 || c.Only != nil) || i > 0 && (c.Limit != 1 || !slices.Equal(c.Only, []jobs.TaskID{3})) {
			t.Errorf("claim %d: %d of %v", i, c.Limit, c.Only)
		}
	}
	if w.now.Sub(w.began) > 10*time.Second {
		t.Errorf("it took %v", w.now.Sub(w.began))
	}
}
