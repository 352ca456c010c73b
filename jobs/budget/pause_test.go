package budget_test

import (
	"math"
	"testing"
	"time"

	"github.com/imagepurge/imagepurge/jobs"
	"github.com/imagepurge/imagepurge/jobs/budget"
)

func near(got, want float64) bool { return math.Abs(got-want) < want/100 }

// struck is a row after a 429 at now, of a call that was sent just before.
func struck(r budget.Row, now time.Time, asked time.Duration) budget.Row {
	r, _ = r.OverLimit(now, 10*time.Millisecond, asked)
	return r
}

// busy lets a row's pace hold, used to the full, for so long.
func busy(r budget.Row, now time.Time, d time.Duration) (budget.Row, time.Time) {
	for end := now.Add(d); now.Before(end); {
		now = now.Add(time.Minute)
		r.Reserved += int64(r.Pace.At(r.Limit))
		r, _ = r.Step(now)
	}
	return r, now
}

func TestPauseAfter429(t *testing.T) {
	r := budget.Row{Limit: 700}
	now := midnight
	r = struck(r, now, 17*time.Second)
	if got := r.Pace.PausedUntil.Sub(now); got != 17*time.Second {
		t.Errorf("pauses for %v, want what was asked for", got)
	}
	if got := r.Pace.At(700); !near(got, 630) {
		t.Errorf("%v a minute after a 429, want nine tenths", got)
	}
	// A call that was under way with the first, and asks for more.
	r, _ = r.OverLimit(now.Add(2*time.Second), 3*time.Second, 30*time.Second)
	if got := r.Pace.PausedUntil.Sub(now); got != 32*time.Second || !near(r.Pace.At(700), 630) {
		t.Errorf("pauses for %v at %v a minute, want 32s and 630", got, r.Pace.At(700))
	}
	ask := budget.Ask{Slots: 1, Urgent: 1, Age: 10 * time.Second}
	if _, b := r.Reserve(now.Add(31*time.Second), ask); b.Slots > 0 || b.Paused != time.Second {
		t.Errorf("%+v within the longer pause", b)
	}
	if _, b := r.Reserve(now.Add(32*time.Second), ask); b.Slots != 1 {
		t.Errorf("%+v after the pause", b)
	}
}

func TestPausesGrow(t *testing.T) {
	r, now := budget.Row{Limit: 700}, midnight
	for _, want := range []time.Duration{5, 10, 20, 40, 60, 60, 60} {
		r = struck(r, now, 0)
		if got := r.Pace.PausedUntil.Sub(now); got != want*time.Second {
			t.Errorf("pauses for %v, want %v", got, want*time.Second)
		}
		now = r.Pace.PausedUntil.Add(time.Second)
	}
	r = struck(r, now, 48*time.Hour)
	if got := r.Pace.PausedUntil.Sub(now); got != time.Hour {
		t.Errorf("pauses for %v, want at most an hour", got)
	}
	for range 60 {
		now = r.Pace.PausedUntil.Add(time.Second)
		r = struck(r, now, time.Second)
	}
	if got := r.Pace.At(700); !near(got, 70) {
		t.Errorf("%v a minute after many 429s, want a tenth", got)
	}
}

func TestPaceComesBack(t *testing.T) {
	r, now := struck(budget.Row{Limit: 700}, midnight, time.Second), midnight.Add(time.Second)
	r = struck(r, now.Add(time.Second), time.Second)
	now = r.Pace.PausedUntil
	want := 700 * 0.9 * 0.8
	for range 10 {
		if got := r.Pace.At(700); !near(got, want) {
			t.Fatalf("%v a minute, want %v", got, want)
		}
		r, now = busy(r, now, time.Minute)
		want = min(700, want+35)
	}
	if r.Pace.Current != 0 || r.Pace.Accepts(700) != 0 {
		t.Errorf("the pace is back, and yet %+v", r.Pace)
	}
	now = now.Add(time.Hour)
	if r = struck(r, now, 0); r.Pace.PausedUntil.Sub(now) != 5*time.Second {
		t.Errorf("pauses for %v an hour later, want the first pause again", r.Pace.PausedUntil.Sub(now))
	}
}

// An API that accepts half of what is configured: the pace settles below that, says
// so, and tries a little more once an hour.
func TestPaceSettles(t *testing.T) {
	const accepts = 350
	r, now := budget.Row{Limit: 700}, midnight
	strikes, quiet := 0, 0
	for range 40 {
		if r.Pace.At(700) > accepts {
			now = now.Add(30 * time.Second)
			r = struck(r, now, 0)
			now = r.Pace.PausedUntil
			strikes, quiet = strikes+1, 0
			continue
		}
		r, now = busy(r, now, time.Minute)
		quiet++
	}
	if strikes < 3 || strikes > 5 || quiet < 30 {
		t.Errorf("%d 429s, then %d quiet minutes", strikes, quiet)
	}
	if got := r.Pace.Accepts(700); got < 0.7*accepts || got > accepts {
		t.Errorf("the API is said to accept %v a minute, and accepts %v", got, accepts)
	}
	if got, want := r.Pace.At(700), 0.9*r.Pace.Accepts(700); !near(got, want) {
		t.Errorf("stays at %v a minute, want %v", got, want)
	}
	before := r.Pace.At(700)
	r, now = busy(r, now, time.Hour)
	if got := r.Pace.At(700); !near(got, before+14) {
		t.Errorf("%v a minute an hour later, want one small step from %v", got, before)
	}
	// The step that is one too many leads back below what held.
	for r.Pace.At(700) <= accepts {
		r, now = busy(r, now, time.Hour)
	}
	held := r.Pace.Held
	if r = struck(r, now, 0); !near(r.Pace.At(700), 0.9*held) || r.Pace.Held != held {
		t.Errorf("%v a minute after a step too many, want nine tenths of %v", r.Pace.At(700), held)
	}
}

// Three minutes in which the API refuses everything, after the whole limit has held:
// whatever the pace, the first call after each pause is refused. That says nothing
// about the pace.
func TestAStormTeachesLittle(t *testing.T) {
	r, now := busy(budget.Row{Limit: 700}, midnight, 10*time.Minute)
	if r.Pace.Held != 700 || r.Pace.At(700) != 700 {
		t.Fatalf("ten quiet minutes at the whole limit, and %+v", r.Pace)
	}
	strikes := 0
	for end := now.Add(3 * time.Minute); now.Before(end); strikes++ {
		r.Reserved += 3
		r = struck(r, now.Add(time.Second), 0)
		now = r.Pace.PausedUntil
	}
	if got := r.Pace.At(700); strikes < 5 || !near(got, 630) || !near(r.Pace.Accepts(700), 630) {
		t.Errorf("%v a minute after %d 429s of a storm, and said to accept %v; want nine tenths", got, strikes, r.Pace.Accepts(700))
	}
	r, now = busy(r, now, 6*time.Hour)
	if r.Pace.Current != 0 || r.Pace.Accepts(700) != 0 {
		t.Errorf("six hours later: %+v", r.Pace)
	}
	// One that lasts for an hour is no storm any more.
	for end := now.Add(time.Hour); now.Before(end); {
		r.Reserved += 3
		r = struck(r, now.Add(time.Second), 0)
		now = r.Pace.PausedUntil
	}
	if got := r.Pace.At(700); !near(got, 70) {
		t.Errorf("%v a minute after an hour of 429s, want a tenth", got)
	}
}

// The API's limit is lowered to half, after the whole one has held: what held once
// does not keep the pace up.
func TestALoweredLimitIsLearnt(t *testing.T) {
	const accepts = 350
	r, now := busy(budget.Row{Limit: 700}, midnight, 10*time.Minute)
	strikes := 0
	for range 40 {
		pace := r.Pace.At(700)
		if pace <= accepts {
			r, now = busy(r, now, time.Minute)
			continue
		}
		r.Reserved += accepts
		now = now.Add(time.Duration(accepts / pace * float64(time.Minute)))
		r = struck(r, now, 0)
		now = r.Pace.PausedUntil
		strikes++
	}
	if got := r.Pace.Accepts(700); strikes > 6 || got < 0.6*accepts || got > accepts {
		t.Errorf("after %d 429s the API is said to accept %v a minute, and accepts %v", strikes, got, accepts)
	}
}

// Who took part of the limit a day ago may be gone: the pace searches again.
func TestASettledPaceIsForgotten(t *testing.T) {
	r, now := budget.Row{Limit: 700}, midnight
	for range 5 {
		r = struck(r, now, 0)
		now = r.Pace.PausedUntil.Add(time.Second)
	}
	r, now = busy(r, now, 2*time.Minute)
	if r.Pace.Accepts(700) == 0 || r.Pace.At(700) > 350 {
		t.Fatalf("%+v", r.Pace)
	}
	r, now = busy(r, now, 5*time.Hour) // a night
	if got := r.Pace.At(700); got > 350 {
		t.Errorf("%v a minute five hours after the last 429", got)
	}
	now = now.Add(19 * time.Hour)
	if r, _ = busy(r, now, 20*time.Minute); r.Pace.Current != 0 {
		t.Errorf("in the next night: %+v", r.Pace)
	}
}

// A pace at which nobody worked has not held.
func TestIdleMinutesProveNothing(t *testing.T) {
	r, now := budget.Row{Limit: 700}, midnight
	for range 3 {
		r = struck(r, now, 0)
		now = r.Pace.PausedUntil.Add(time.Second)
	}
	before := r.Pace.At(700)
	for range 30 {
		now = now.Add(time.Minute)
		r, _ = r.Step(now)
	}
	if r.Pace.Held != 0 || r.Pace.At(700) != before {
		t.Errorf("after half an idle hour: %+v", r.Pace)
	}
	for range 90 {
		now = now.Add(time.Minute)
		r, _ = r.Step(now)
	}
	if r.Pace.Current != 0 {
		t.Errorf("two idle hours later: %+v", r.Pace)
	}
}

func TestPauseOfAnotherProcess(t *testing.T) {
	b := newAlone(700, 10)
	b.Want(1, jobs.Slot{Kind: jobs.SlotVerify})
	until := midnight.Add(time.Minute)
	b.Pause(until)
	b.Pause(midnight) // a shorter one changes nothing
	if got, next := b.grant(midnight); len(got) > 0 || !next.Equal(until) {
		t.Errorf("granted %v, next at %v", got, next)
	}
	if got, _ := b.grant(until); len(got) != 1 || !near(b.PerMinute(), 700) {
		t.Errorf("granted %v at %v a minute", got, b.PerMinute())
	}
}

// A night with a 429 in it keeps going, and gets back to its pace.
func TestWorkGoesOnAfterA429(t *testing.T) {
	w := newWorld(700, 32, 40)
	w.run(2 * time.Minute)
	before := len(w.sent)
	w.b.OverLimit(w.now, 0)
	w.row = struck(w.row, w.now, 0)
	paused := w.now
	w.run(20 * time.Minute)
	for _, s := range w.sent[before:] {
		// Calls that were granted before may still leave: their commit was under way.
		if d := s.Sub(paused); d > 100*time.Millisecond && d < 5*time.Second {
			t.Fatalf("sent %v into the pause", d)
		}
	}
	last := len(w.sent)
	w.run(10 * time.Minute)
	if n := len(w.sent) - last; n < 6860 {
		t.Errorf("%d calls in ten minutes, want 7000 again", n)
	}
}

func TestNothingIsSentWhileTheRowCannotBeAsked(t *testing.T) {
	b := newAlone(700, 10)
	b.Want(1, jobs.Slot{Kind: jobs.SlotVerify})
	if _, asks, _ := b.Ask(midnight); !asks {
		t.Fatal("the row is not asked")
	}
	if got, _ := b.Grant(midnight.Add(time.Minute)); len(got) > 0 {
		t.Errorf("granted %v before the row has answered", got)
	}
	b.NotReserved(midnight)
	if got, _ := b.Grant(midnight.Add(time.Minute)); len(got) > 0 {
		t.Errorf("granted %v though the row could not be asked", got)
	}
	if got, _ := b.grant(midnight.Add(time.Minute)); len(got) != 1 {
		t.Errorf("granted %v when it could", got)
	}
}
