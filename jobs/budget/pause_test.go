package budget_test

import (
	"math"
	"testing"
	"time"

	"github.com/imagepurge/imagepurge/jobs"
	"github.com/imagepurge/imagepurge/jobs/budget"
)

func near(got, want float64) bool { return math.Abs(got-want) < want/100 }

func TestPauseAfter429(t *testing.T) {
	b := budget.New(budget.Config{PerMinute: 700, Concurrency: 10, ViewMaxAge: 10 * time.Second})
	now := midnight
	b.Want(1, jobs.Slot{Kind: jobs.SlotVerify})

	// The API says for how long.
	if got := b.OverLimit(now, 17*time.Second); got != 17*time.Second {
		t.Errorf("pauses for %v, want what was asked for", got)
	}
	if got, next := b.Grant(now.Add(16 * time.Second)); len(got) > 0 || !next.Equal(now.Add(17*time.Second)) {
		t.Errorf("granted %v, next at %v", got, next)
	}
	if !near(b.PerMinute(), 630) {
		t.Errorf("%v a minute after a 429, want nine tenths", b.PerMinute())
	}
	if got := b.OverLimit(now.Add(time.Second), 0); got != 16*time.Second || !near(b.PerMinute(), 630) {
		t.Errorf("a 429 that was under way with the first: pause %v at %v a minute", got, b.PerMinute())
	}
	if got := b.OverLimit(now.Add(2*time.Second), 30*time.Second); got != 30*time.Second {
		t.Errorf("a longer one: %v", got)
	}
	if got, _ := b.Grant(now.Add(31 * time.Second)); len(got) > 0 {
		t.Errorf("granted %v within the longer pause", got)
	}
	if got, _ := b.Grant(now.Add(32 * time.Second)); len(got) != 1 {
		t.Errorf("granted %v after the pause", got)
	}
}

func TestPausesGrow(t *testing.T) {
	b := budget.New(budget.Config{PerMinute: 700, Concurrency: 10, ViewMaxAge: 10 * time.Second})
	now := midnight
	for _, want := range []time.Duration{5, 10, 20, 40, 60, 60, 60} {
		if got := b.OverLimit(now, 0); got != want*time.Second {
			t.Errorf("pauses for %v, want %v", got, want*time.Second)
		}
		now = b.PausedUntil()
	}
	if got := b.OverLimit(now, 48*time.Hour); got != time.Hour {
		t.Errorf("pauses for %v, want at most an hour", got)
	}
	for range 60 {
		now = b.PausedUntil()
		b.OverLimit(now, time.Second)
	}
	if !near(b.PerMinute(), 70) {
		t.Errorf("%v a minute after many 429s, want a tenth", b.PerMinute())
	}
}

func TestPaceComesBack(t *testing.T) {
	b := budget.New(budget.Config{PerMinute: 700, Concurrency: 10, ViewMaxAge: 10 * time.Second})
	now := midnight
	for range 60 {
		b.OverLimit(now, time.Second)
		now = b.PausedUntil()
	}
	want := 70.0
	for minute := 1; minute <= 20; minute++ {
		now = now.Add(time.Minute)
		b.Grant(now)
		want = min(700, want+35)
		if !near(b.PerMinute(), want) {
			t.Fatalf("%v a minute after %d quiet minutes, want %v", b.PerMinute(), minute, want)
		}
	}
	// A long quiet time forgets how often it was hit.
	b.Grant(now.Add(20 * time.Minute))
	if got := b.OverLimit(now.Add(20*time.Minute), 0); got != 5*time.Second {
		t.Errorf("pauses for %v, want the first pause again", got)
	}
}

func TestPauseOfAnotherProcess(t *testing.T) {
	b := budget.New(budget.Config{PerMinute: 700, Concurrency: 10, ViewMaxAge: 10 * time.Second})
	b.Want(1, jobs.Slot{Kind: jobs.SlotVerify})
	until := midnight.Add(time.Minute)
	b.Pause(until)
	b.Pause(midnight) // a shorter one changes nothing
	if got, next := b.Grant(midnight); len(got) > 0 || !next.Equal(until) {
		t.Errorf("granted %v, next at %v", got, next)
	}
	if got, _ := b.Grant(until); len(got) != 1 || !near(b.PerMinute(), 700) {
		t.Errorf("granted %v at %v a minute", got, b.PerMinute())
	}
}

// A night with a 429 in it keeps going, and gets back to its pace.
func TestWorkGoesOnAfterA429(t *testing.T) {
	w := newWorld(700, 32, 40)
	w.run(2 * time.Minute)
	before := len(w.sent)
	w.b.OverLimit(w.now, 0)
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
