package worker_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/imagepurge/imagepurge/jobs"
	"github.com/imagepurge/imagepurge/jobs/worker"
	"github.com/imagepurge/imagepurge/simulation/memory"
)

// many returns n customers with 0 to 5 images each.
func many(n int) []int {
	images := make([]int, n)
	for i := range images {
		images[i] = i % 6
	}
	return images
}

func TestOncePurgesEverythingWithNPlus2Calls(t *testing.T) {
	t.Parallel()
	for _, perMinute := range []int{100, 700, 6000} {
		cfg := testConfig()
		cfg.Budget.PerMinute = perMinute
		w := newWorld(t, 1, cfg, many(120)...)
		w.run(3 * time.Hour)
		images, calls := 0, 0
		for _, n := range many(120) {
			images += n
			calls += n + 2
			if n == 0 {
				calls--
			}
		}
		if w.ended != worker.NothingLeft || w.calls != calls || w.deletes != images {
			t.Errorf("%d a minute: ended %q after %d calls with %d deletes, want %d with %d", perMinute, w.ended, w.calls, w.deletes, calls, images)
		}
		w.wantStates(map[jobs.State]int{jobs.Completed: 120})
	}
}

func TestTheWholeRateIsUsed(t *testing.T) {
	t.Parallel()
	cfg := testConfig()
	w := newWorld(t, 2, cfg, many(3000)...)
	w.run(10 * time.Minute)
	if want := 10 * cfg.Budget.PerMinute; w.calls < want*98/100 || w.calls > want {
		t.Errorf("%d calls in ten minutes, want 98 to 100 %% of %d", w.calls, want)
	}
	if w.most > cfg.Budget.Concurrency {
		t.Errorf("%d calls in flight, at most %d are allowed", w.most, cfg.Budget.Concurrency)
	}
}

func TestOnceWaitsForSettleTimes(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 3, testConfig(), 2)
	lost := false
	w.answer = func(id jobs.TaskID, kind jobs.Kind) *jobs.Answer {
		if kind == jobs.DeleteCall && !lost {
			lost = true
			w.ours.images[1] = w.ours.images[1][:1] // it ran
			return &jobs.Answer{Class: jobs.ClassUnknown, Code: "timeout"}
		}
		return nil
	}
	began := w.now
	w.run(time.Hour)
	task := w.store.Task(1)
	if w.ended != worker.NothingLeft || task.Outcome != jobs.ImagesDeleted || task.Rec.Attempts != 1 {
		t.Errorf("ended %q with outcome %q after %d attempts", w.ended, task.Outcome, task.Rec.Attempts)
	}
	if got := w.now.Sub(began); got < testConfig().Purge.Settle {
		t.Errorf("ended after %v, before the customer had settled", got)
	}
}

func TestStopGivesEverythingBackWithoutAnAttempt(t *testing.T) {
	t.Parallel()
	for seed := range uint64(50) {
		w := newWorld(t, seed, testConfig(), many(60)...)
		stopped := time.Duration(seed) * 53 * time.Millisecond
		w.stopAfter(stopped)
		began := w.now
		w.run(time.Minute)
		if w.ended != worker.Stopped {
			t.Fatalf("seed %d: ended %q, want %q", seed, w.ended, worker.Stopped)
		}
		w.wantStates(map[jobs.State]int{jobs.Completed: w.states()[jobs.Completed], jobs.Pending: 60 - w.states()[jobs.Completed]})
		for _, r := range w.store.Tasks() {
			for _, im := range r.Rec.Images {
				if im.State == jobs.Intended || im.State == jobs.Unknown {
					t.Errorf("seed %d: task %d has an image left %s", seed, r.ID, im.State)
				}
			}
		}
		// A write that was under way may still commit; none is begun.
		if late := w.lastIntent.Sub(began.Add(stopped)); late > 10*time.Millisecond {
			t.Errorf("seed %d: an intent %v after the stop", seed, late)
		}
	}
}

func TestRefusalOpensTheBreakerAndEndsOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 4, testConfig(), many(100)...)
	w.answer = func(jobs.TaskID, jobs.Kind) *jobs.Answer {
		return &jobs.Answer{Class: jobs.ClassRefused, HTTPStatus: 401, Code: "401"}
	}
	w.run(time.Hour)
	if w.ended != worker.Breaker || w.calls != 1 {
		t.Errorf("ended %q, want %q; %d calls were refused, want 1: credentials tried in a loop may lock the till", w.ended, worker.Breaker, w.calls)
	}
	w.wantStates(map[jobs.State]int{jobs.Pending: 100})

	// The next start makes one probe.
	w.again(time.Hour)
	if w.ended != worker.Breaker || w.calls != 1 {
		t.Errorf("ended %q after %d probes, want %q after 1", w.ended, w.calls, worker.Breaker)
	}

	// And when it passes, everything is done.
	w.answer = nil
	w.again(time.Hour)
	if w.ended != worker.NothingLeft {
		t.Errorf("ended %q, want %q", w.ended, worker.NothingLeft)
	}
	w.wantStates(map[jobs.State]int{jobs.Completed: 100})
}

func TestOutageOpensTheBreakerAfterTwentyCustomers(t *testing.T) {
	t.Parallel()
	cfg := testConfig()
	w := newWorld(t, 7, cfg, many(200)...)
	w.answer = func(jobs.TaskID, jobs.Kind) *jobs.Answer {
		return &jobs.Answer{Class: jobs.ClassUnknown, HTTPStatus: 503, Code: "503"}
	}
	w.run(time.Hour)
	if w.ended != worker.Breaker || w.breaker() != "api_unavailable" {
		t.Fatalf("ended %q with breaker %q", w.ended, w.breaker())
	}
	if w.calls < 20 || w.calls > 20+cfg.Budget.Concurrency {
		t.Errorf("%d calls before the breaker opened, want about 20", w.calls)
	}
}

func TestLimitBeginsSoManyCustomers(t *testing.T) {
	t.Parallel()
	cfg := testConfig()
	cfg.Limit = 10
	w := newWorld(t, 8, cfg, many(100)...)
	unknown := 0
	w.answer = func(id jobs.TaskID, kind jobs.Kind) *jobs.Answer {
		if kind == jobs.DeleteCall && unknown < 3 { // three have to settle, and are ended all the same
			unknown++
			return &jobs.Answer{Class: jobs.ClassUnknown, Code: "timeout"}
		}
		return nil
	}
	w.run(time.Hour)
	if got := w.states(); w.ended != worker.NothingLeft || got[jobs.Completed] != 10 || got[jobs.Pending] != 90 {
		t.Errorf("ended %q with tasks %v", w.ended, got)
	}
}

func TestLeasesAreRenewedWhileSlotsAreSlow(t *testing.T) {
	t.Parallel()
	cfg := testConfig()
	cfg.Budget.PerMinute = 2 // slots slower than the lease
	cfg.Claim.Lease = 15 * time.Second
	w := newWorld(t, 9, cfg, 1, 1, 1)
	w.run(3 * time.Hour)
	w.wantStates(map[jobs.State]int{jobs.Completed: 3})
	for _, r := range w.store.Tasks() {
		if r.Rec.Epoch != 1 {
			t.Errorf("task %d was claimed %d times", r.ID, r.Rec.Epoch)
		}
	}
}

func TestDatabaseAwayLosesNoAnswer(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 10, testConfig(), many(60)...)
	w.at(2*time.Second, func() { w.down = true })
	w.at(20*time.Second, func() { w.down = false })
	w.run(time.Hour)
	if w.ended != worker.NothingLeft {
		t.Errorf("ended %q", w.ended)
	}
	w.wantStates(map[jobs.State]int{jobs.Completed: 60})
}

func TestOverLimitPausesTheKeyAndCostsNoAttempt(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 11, testConfig(), many(60)...)
	var until, next time.Time
	w.answer = func(jobs.TaskID, jobs.Kind) *jobs.Answer {
		switch {
		case w.calls >= 20 && until.IsZero():
			until = w.now.Add(30 * time.Second)
			return &jobs.Answer{Class: jobs.ClassOverLimit, HTTPStatus: 429, Code: "429", RetryAfter: 30 * time.Second}
		case !until.IsZero() && next.IsZero() && w.now.After(until.Add(-29*time.Second)):
			next = w.now
		}
		return nil
	}
	w.run(time.Hour)
	w.wantStates(map[jobs.State]int{jobs.Completed: 60})
	if next.Before(until) {
		t.Errorf("a call at %v, though it was asked to wait until %v", next, until)
	}
	if len(w.slowed) != 1 || w.slowed[0].Asked != 30*time.Second || w.slowed[0].Age <= 0 || w.slowed[0].Age > time.Second {
		t.Errorf("the key was told %v", w.slowed)
	}
}

// A 429 of the address that gives out tokens says nothing of the key's pace: only
// this process waits, as long as it was asked to.
func TestOverLimitOfATokenTeachesNoPace(t *testing.T) {
	t.Parallel()
	for name, at := range map[string]int{"a listing": 20, "a DELETE": 31} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, 13, testConfig(), many(60)...)
			var until, next time.Time
			calls := 0
			w.answer = func(_ jobs.TaskID, kind jobs.Kind) *jobs.Answer {
				calls++
				switch {
				case until.IsZero() && calls >= at && (kind == jobs.DeleteCall) == (name == "a DELETE"):
					until = w.now.Add(30 * time.Second)
					return &jobs.Answer{Class: jobs.ClassOverLimit, HTTPStatus: 429, Code: "429", RetryAfter: 30 * time.Second, SentAt: notSent}
				case !until.IsZero() && next.IsZero() && w.now.After(until.Add(-29*time.Second)):
					next = w.now
				}
				return nil
			}
			w.run(time.Hour)
			w.wantStates(map[jobs.State]int{jobs.Completed: 60})
			if next.Before(until) {
				t.Errorf("a call at %v, though it was asked to wait until %v", next, until)
			}
			if paused := w.store.Organization().PausedUntil; len(w.slowed) > 0 || !paused.IsZero() {
				t.Errorf("the key was told %v, and pauses until %v", w.slowed, paused)
			}
		})
	}
}

func TestTheSameSeedIsTheSameNight(t *testing.T) {
	t.Parallel()
	night := func() (time.Time, int, int) {
		w := newWorld(t, 12, testConfig(), many(200)...)
		w.run(time.Hour)
		return w.now, w.steps, w.claims
	}
	end, steps, claims := night()
	end2, steps2, claims2 := night()
	if !end.Equal(end2) || steps != steps2 || claims != claims2 {
		t.Errorf("two nights of one seed differ: %v %d %d, %v %d %d", end, steps, claims, end2, steps2, claims2)
	}
}

// A core that asks to sleep has nothing to do until then: to step it more often changes
// nothing.
func TestACoreSleepsNoLongerThanItMay(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		settings func(*worker.Config)
		world    func(*world)
	}{
		"all is well": {},
		"idle, then work comes": {func(c *worker.Config) { c.Once = false }, func(w *world) {
			w.at(130*time.Second, func() { w.store.Enqueue(w.now, 2, memory.NewTask{Customer: 1}) })
		}},
		"slots slower than leases": {func(c *worker.Config) { c.Budget.PerMinute, c.Claim.Lease = 2, 15*time.Second }, nil},
		"a database that comes and goes": {nil, func(w *world) {
			for n := range 20 {
				w.at(time.Duration(n)*700*time.Millisecond, func() { w.down = n%2 == 1 })
			}
		}},
		"faults": {nil, func(w *world) {
			w.answer = func(id jobs.TaskID, _ jobs.Kind) *jobs.Answer {
				switch {
				case w.calls%7 == 3:
					return &jobs.Answer{Class: jobs.ClassUnknown, Code: "timeout"}
				case w.calls%11 == 3:
					return &jobs.Answer{Class: jobs.ClassOverLimit, RetryAfter: 3 * time.Second}
				}
				return nil
			}
		}},
		"refused at first": {func(c *worker.Config) { c.Once = false }, func(w *world) {
			w.answer = func(jobs.TaskID, jobs.Kind) *jobs.Answer {
				if w.calls < 3 {
					return &jobs.Answer{Class: jobs.ClassRefused, Code: "401"}
				}
				return nil
			}
		}},
		"stopped": {nil, func(w *world) { w.stopAfter(1500 * time.Millisecond) }},
		"paused for a while": {nil, func(w *world) {
			w.at(time.Second, func() { w.store.Pause(w.now) })
			w.at(20*time.Second, func() { w.store.Resume(w.now) })
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var traces [2][]string
			for i, restless := range []time.Duration{0, 7 * time.Millisecond} {
				cfg := testConfig()
				if c.settings != nil {
					c.settings(&cfg)
				}
				w := newWorld(t, 14, cfg, many(20)...)
				if w.restless = restless; c.world != nil {
					c.world(w)
				}
				w.run(10 * time.Minute)
				traces[i] = w.trace
			}
			if diff := cmp.Diff(traces[0], traces[1]); diff != "" {
				t.Errorf("stepped when it asked to be, and more often (-asked +often):\n%.3000s", diff)
			}
		})
	}
}
