package main_test

import (
	"flag"
	"fmt"
	"slices"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/imagepurge/imagepurge/capillary/sandbox"
)

var (
	sharedFor  = flag.Duration("shared.for", 8*time.Second, "how long TestWorkersShareTheLimit works; from 1m on it asks for its use of the limit, too")
	sharedRate = flag.Int("shared.rate", 1200, "calls a minute that TestWorkersShareTheLimit is allowed")
)

// Three processes keep one key's limit, and leave none of it unused, also where one of
// them is killed in the middle.
func TestWorkersShareTheLimit(t *testing.T) {
	t.Parallel()
	for _, kill := range []bool{false, true} {
		t.Run(fmt.Sprintf("kill %t", kill), func(t *testing.T) {
			if *sharedFor < time.Minute {
				t.Parallel() // a figure is taken one at a time
			}
			crowd := present(190, int(sharedFor.Minutes()*float64(*sharedRate))/3+300, 2)
			w := newWorld(t, sandbox.Options{Seed: 190, Population: crowd, Latency: sandbox.UniformLatency(20*time.Millisecond, 120*time.Millisecond),
				Limit: sandbox.Limit{PerMinute: *sharedRate}}).
				with(fmt.Sprintf("CAPILLARY_RATE_PER_MINUTE=%d", *sharedRate), "IMAGEPURGE_VIEW_MAX_AGE=10s")
			w.enqueue(everyone(crowd))
			stood := standstill(t)
			var workers []*process
			for range 3 {
				workers = append(workers, w.start("run", "--once"))
			}
			calls := func() int { return w.api.Journal().Counters().Requests }
			w.until("calls are made", func() bool { return calls() > *sharedRate/60 })
			from, first := time.Now(), calls()
			after(t, *sharedFor/2)
			if kill {
				workers[1].signal(syscall.SIGKILL)
			}
			after(t, *sharedFor/2-time.Since(from.Add(*sharedFor/2)))
			took, made := time.Since(from), calls()-first
			for n, p := range workers {
				if !kill || n != 1 {
					p.signal(syscall.SIGTERM)
				}
			}
			for _, p := range workers {
				p.wait()
			}
			used := float64(made) / (took.Minutes() * float64(*sharedRate))
			t.Logf("%d calls in %v: %.2f %% of the limit", made, took.Round(time.Millisecond), 100*used)
			if n := w.api.Journal().Counters().RateLimited; n > 0 {
				t.Errorf("%d calls were over the limit", n)
			}
			w.wantEvenly(*sharedRate, stood())
			if *sharedFor >= time.Minute && used < 0.98 {
				t.Errorf("%.2f %% of the limit was used, want 98 %%", 100*used)
			}
		})
	}
}

// standstill says by how much this process was woken late at most, from here on: by so
// much a busy machine delays calls, and the sandbox that notes them.
func standstill(t testing.TB) func() time.Duration {
	var worst atomic.Int64
	go func() {
		const step = 10 * time.Millisecond
		for t.Context().Err() == nil {
			began := time.Now()
			after(t, step)
			if late := time.Since(began) - step; int64(late) > worst.Load() {
				worst.Store(int64(late))
			}
		}
	}()
	return func() time.Duration { return time.Duration(worst.Load()) }
}

// wantEvenly checks that calls came as evenly as their slots: in no span more than its
// slots, and those of the time that a call may be late by.
func (w *world) wantEvenly(perMinute int, stood time.Duration) {
	w.Helper()
	late := 250*time.Millisecond + stood
	var arrivals []time.Time
	for _, e := range w.api.Journal().Entries() {
		if e.Actor == sandbox.ActorAPI {
			arrivals = append(arrivals, e.ReceivedAt)
		}
	}
	slices.SortFunc(arrivals, time.Time.Compare)
	for _, span := range []time.Duration{2 * time.Second, 5 * time.Second, 20 * time.Second} {
		most := int((span+late).Minutes()*float64(perMinute)) + 1
		for i := most; i < len(arrivals); i++ {
			if d := arrivals[i].Sub(arrivals[i-most]); d < span {
				w.Errorf("%d calls within %v, want at most %d in %v", most+1, d, most, span)
				return
			}
		}
	}
}
