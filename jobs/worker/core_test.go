package worker

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/imagepurge/imagepurge/jobs"
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
		if w.ended != NothingLeft {
			t.Fatalf("%d a minute: ended %q, want %q: %v", perMinute, w.ended, NothingLeft, w.states())
		}
		images, calls := 0, 0
		for _, n := range many(120) {
			images += n
			calls += n + 2
			if n == 0 {
				calls--
			}
		}
		if got := w.lists + w.deletes; got != calls || w.deletes != images {
			t.Errorf("%d a minute: %d calls with %d deletes, want %d with %d", perMinute, got, w.deletes, calls, images)
		}
		if diff := cmp.Diff(map[string]int{"completed": 120}, w.states()); diff != "" {
			t.Errorf("%d a minute: states (-want +got):\n%s", perMinute, diff)
		}
	}
}

func TestTheWholeRateIsUsed(t *testing.T) {
	t.Parallel()
	cfg := testConfig()
	w := newWorld(t, 2, cfg, many(3000)...)
	w.run(10 * time.Minute)
	if got, want := w.lists+w.deletes, 10*cfg.Budget.PerMinute; got < want*98/100 || got > want {
		t.Errorf("%d calls in ten minutes, want 98 to 100 %% of %d", got, want)
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
			w.row(id).images-- // it ran
			return &jobs.Answer{Class: jobs.ClassUnknown, Code: "timeout"}
		}
		return nil
	}
	began := w.now
	w.run(time.Hour)
	if w.ended != NothingLeft || w.row(1).outcome != jobs.ImagesDeleted {
		t.Fatalf("ended %q with outcome %q", w.ended, w.row(1).outcome)
	}
	if got := w.now.Sub(began); got < testConfig().Purge.Settle {
		t.Errorf("ended after %v, before the customer had settled", got)
	}
	if w.row(1).attempts != 1 {
		t.Errorf("attempts = %d, want 1", w.row(1).attempts)
	}
}

func TestStopGivesEverythingBackWithoutAnAttempt(t *testing.T) {
	t.Parallel()
	for seed := range uint64(50) {
		w := newWorld(t, seed, testConfig(), many(60)...)
		w.stopAfter(time.Duration(seed) * 37 * time.Millisecond)
		w.run(time.Minute)
		if w.ended != Stopped {
			t.Fatalf("seed %d: ended %q, want %q", seed, w.ended, Stopped)
		}
		for _, r := range w.tasks {
			if r.state == "running" || r.attempts != 0 {
				t.Errorf("seed %d: task %d is %s with %d attempts", seed, r.id, r.state, r.attempts)
			}
			for _, im := range r.rows {
				if im.State == jobs.Intended || im.State == jobs.Unknown {
					t.Errorf("seed %d: task %d has an image left %s", seed, r.id, im.State)
				}
			}
		}
	}
}

func TestNoIntentAfterStop(t *testing.T) {
	t.Parallel()
	for seed := range uint64(50) {
		w := newWorld(t, seed, testConfig(), many(60)...)
		stopped := time.Duration(seed)*53*time.Millisecond + time.Second
		w.stopAfter(stopped)
		began := w.now
		w.run(time.Minute)
		// A write that was under way may still commit; none is begun.
		if late := w.lastIntent.Sub(began.Add(stopped)); late > 10*time.Millisecond {
			t.Errorf("seed %d: an intent %v after the stop", seed, late)
		}
	}
}

func TestRefusalOpensTheBreakerAndEndsOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 4, testConfig(), many(100)...)
	refusals := 0
	w.answer = func(jobs.TaskID, jobs.Kind) *jobs.Answer {
		refusals++
		return &jobs.Answer{Class: jobs.ClassRefused, HTTPStatus: 401, Code: "401"}
	}
	w.run(time.Hour)
	if w.ended != Breaker {
		t.Fatalf("ended %q, want %q", w.ended, Breaker)
	}
	if refusals != 1 {
		t.Errorf("%d calls were refused, want 1: credentials tried in a loop may lock the till", refusals)
	}
	if diff := cmp.Diff(map[string]int{"pending": 100}, w.states()); diff != "" {
		t.Errorf("states (-want +got):\n%s", diff)
	}
	for _, r := range w.tasks {
		if r.attempts != 0 {
			t.Errorf("task %d: %d attempts", r.id, r.attempts)
		}
	}

	// The next start makes one probe.
	again := newWorld(t, 5, testConfig())
	again.tasks, again.breaker, again.answer = w.tasks, "refused", w.answer
	for _, r := range again.tasks {
		r.due = again.now
	}
	refusals = 0
	again.run(time.Hour)
	if again.ended != Breaker || refusals != 1 {
		t.Errorf("ended %q after %d probes, want %q after 1", again.ended, refusals, Breaker)
	}

	// And when it passes, everything is done.
	mended := newWorld(t, 6, testConfig())
	mended.tasks, mended.breaker = w.tasks, "refused"
	for _, r := range mended.tasks {
		r.due = mended.now
	}
	mended.run(time.Hour)
	if mended.ended != NothingLeft {
		t.Errorf("ended %q, want %q: %v", mended.ended, NothingLeft, mended.states())
	}
}

func TestOutageOpensTheBreakerAfterTwentyCustomers(t *testing.T) {
	t.Parallel()
	cfg := testConfig()
	w := newWorld(t, 7, cfg, many(200)...)
	faults := 0
	w.answer = func(jobs.TaskID, jobs.Kind) *jobs.Answer {
		faults++
		return &jobs.Answer{Class: jobs.ClassUnknown, HTTPStatus: 503, Code: "503"}
	}
	w.run(time.Hour)
	if w.ended != Breaker || w.breaker != "api_unavailable" {
		t.Fatalf("ended %q with breaker %q", w.ended, w.breaker)
	}
	if faults < outageAt || faults > outageAt+cfg.Budget.Concurrency {
		t.Errorf("%d calls before the breaker opened, want about %d", faults, outageAt)
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
	if diff := cmp.Diff(map[string]int{"completed": 10, "pending": 90}, w.states()); diff != "" || w.ended != NothingLeft {
		t.Errorf("ended %q, states (-want +got):\n%s", w.ended, diff)
	}
}

func TestLeasesAreRenewedWhileSlotsAreSlow(t *testing.T) {
	t.Parallel()
	cfg := testConfig()
	cfg.Budget.PerMinute = 2 // slots slower than the lease
	cfg.Claim.Lease = 15 * time.Second
	w := newWorld(t, 9, cfg, 1, 1, 1)
	w.run(3 * time.Hour)
	if diff := cmp.Diff(map[string]int{"completed": 3}, w.states()); diff != "" {
		t.Errorf("states (-want +got):\n%s", diff)
	}
	for _, r := range w.tasks {
		if r.epoch != 1 {
			t.Errorf("task %d was claimed %d times", r.id, r.epoch)
		}
	}
}

func TestDatabaseAwayLosesNoAnswer(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 10, testConfig(), many(60)...)
	w.later(2*time.Second, 2*time.Second, func() Event { w.dbDown = true; return Tick{} })
	w.later(20*time.Second, 20*time.Second, func() Event { w.dbDown = false; return Tick{} })
	w.run(time.Hour)
	if diff := cmp.Diff(map[string]int{"completed": 60}, w.states()); diff != "" || w.ended != NothingLeft {
		t.Fatalf("ended %q, states (-want +got):\n%s", w.ended, diff)
	}
	for _, r := range w.tasks {
		if r.attempts != 0 {
			t.Errorf("task %d: %d attempts for the database's fault", r.id, r.attempts)
		}
	}
}

func TestOverLimitPausesTheKeyAndCostsNoAttempt(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 11, testConfig(), many(60)...)
	var until time.Time
	calls := 0
	w.answer = func(jobs.TaskID, jobs.Kind) *jobs.Answer {
		calls++
		if calls == 20 {
			until = w.now.Add(30 * time.Second)
			return &jobs.Answer{Class: jobs.ClassOverLimit, HTTPStatus: 429, Code: "429", RetryAfter: 30 * time.Second}
		}
		return nil
	}
	w.run(time.Hour)
	if diff := cmp.Diff(map[string]int{"completed": 60}, w.states()); diff != "" {
		t.Errorf("states (-want +got):\n%s", diff)
	}
	for _, r := range w.tasks {
		if r.attempts != 0 {
			t.Errorf("task %d: %d attempts for a 429", r.id, r.attempts)
		}
	}
	if w.now.Before(until) {
		t.Error("the work ended before the pause was over")
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
			if diff := cmp.Diff(map[string]int{"completed": 60}, w.states()); diff != "" {
				t.Errorf("states (-want +got):\n%s", diff)
			}
			if next.Before(until) {
				t.Errorf("a call at %v, though it was asked to wait until %v", next, until)
			}
			if p := w.key.Pace; len(p.Strikes) > 0 || p.Current > 0 || !p.PausedUntil.IsZero() {
				t.Errorf("the key's pace has learnt from it: %+v", p)
			}
			for _, r := range w.tasks {
				if r.attempts != 0 {
					t.Errorf("task %d: %d attempts for a 429", r.id, r.attempts)
				}
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
