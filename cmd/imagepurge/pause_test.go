package main_test

import (
	"testing"
	"time"

	"github.com/imagepurge/imagepurge/capillary/sandbox"
)

// Ten workers, and one word: within five seconds none of them sends anything, listings
// included.
func TestPauseActsOnTenWorkers(t *testing.T) {
	t.Parallel()
	crowd := present(221, 1500, 2)
	w := newWorld(t, sandbox.Options{Seed: 221, Population: crowd, Latency: sandbox.UniformLatency(50*time.Millisecond, 250*time.Millisecond)}).
		with("CAPILLARY_RATE_PER_MINUTE=1800", "IMAGEPURGE_VIEW_MAX_AGE=10s")
	w.enqueue(everyone(crowd))
	var workers []*process
	for range 10 {
		workers = append(workers, w.start("run", "--once"))
	}
	// All of them work, each with customers in hand.
	w.until("ten workers work", func() bool {
		return w.count("SELECT count(DISTINCT lease_owner) FROM image_deletion_tasks WHERE state = 'running'") == 10
	})
	asked := time.Now()
	w.must(0, "pause", "--reason", "the vendor calls")
	told := time.Now()
	calls := func() int { return w.api.Journal().Counters().Requests }
	seen := -1
	w.until("nothing is sent any more", func() bool {
		n := calls()
		after(t, 3*time.Second)
		same := n == seen
		seen = n
		return same
	})
	var last time.Time
	for _, e := range w.api.Journal().Entries() {
		if e.Actor == sandbox.ActorAPI && e.ReceivedAt.After(last) {
			last = e.ReceivedAt
		}
	}
	t.Logf("the last call came %v after the command was started, %v after it had ended", last.Sub(asked).Round(time.Millisecond), last.Sub(told).Round(time.Millisecond))
	if d := last.Sub(told); d > 5*time.Second {
		t.Errorf("a call was sent %v after the pause", d)
	}
	for _, p := range workers {
		p.wait() // run --once ends: nothing can proceed
	}
	w.wantAtRest()
	w.must(0, "resume", "--reason", "agreed")
	w.wantHarmless(true)
}
