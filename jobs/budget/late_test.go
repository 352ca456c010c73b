package budget_test

import (
	"testing"
	"time"
	"unsafe"

	"github.com/imagepurge/imagepurge/jobs"
	"github.com/imagepurge/imagepurge/jobs/budget"
)

// A second lowering, while the first still waits, shortens nothing: the minute that
// has passed holds the calls of the quickest pace.
func TestTwoLoweringsWait(t *testing.T) {
	now, r := midnight, budget.Row{Limit: 700}
	ask := budget.Ask{Slots: 8, Urgent: 8, Age: 10 * time.Second}
	var given []time.Time
	reserve := func() {
		var b budget.Block
		r, b = r.Reserve(now, ask)
		for n := range b.Slots {
			given = append(given, now.Add(b.First+time.Duration(n)*b.Interval))
		}
	}
	run := func(d time.Duration) {
		for end := now.Add(d); now.Before(end); now = now.Add(50 * time.Millisecond) {
			reserve()
		}
	}
	run(time.Minute)
	r = r.Lower(now, 350)
	run(5 * time.Second)
	r = r.Lower(now, 100)
	lowered := now
	run(3 * time.Minute)
	for i, at := range given {
		if at.Before(lowered) {
			continue
		}
		before := 0
		for _, other := range given[:i+1] {
			if at.Sub(other) < time.Minute {
				before++
			}
		}
		if before > 100 {
			t.Fatalf("%v after the second lowering, %d calls in a minute", at.Sub(lowered), before)
		}
	}
	if last := given[len(given)-1]; now.Sub(last) > 2*time.Second {
		t.Errorf("no slot for %v", now.Sub(last))
	}
}

// A slot that is lost anyway does not pay for a call that was sent late.
func TestLostSlotsPayForNothing(t *testing.T) {
	now := midnight
	b := newAlone(700, 8)
	for id := range budget.ID(2) {
		b.Want(id, jobs.Slot{Kind: jobs.SlotDelete, ViewAt: now, Left: 1})
	}
	ask, _, _ := b.Ask(now)
	b.Reserved(now, now, budget.Block{Slots: ask.Slots, Interval: budget.Interval(700, 10*time.Second), Limit: 700, Pace: 700})
	granted, _ := b.Grant(now)
	if ask.Slots != 2 || len(granted) != 1 {
		t.Fatalf("asked for %d, granted %v", ask.Slots, granted)
	}
	b.Forget(1 - granted[0]) // its slot is left over
	now = now.Add(600 * time.Millisecond)
	b.Leaves(granted[0], now) // its commit took long
	b.Want(7, jobs.Slot{Kind: jobs.SlotDelete, ViewAt: now, Left: 1})
	b.Grant(now)
	if ask, _, _ := b.Ask(now); ask.Slots != 2 {
		t.Errorf("asks for %d slots, want one to use and one to let pass", ask.Slots)
	}
}

// slept is a time on a machine that slept: its monotonic clock stood still.
func slept(t time.Time, d time.Duration) time.Time {
	t = t.Add(d)
	(*[2]int64)(unsafe.Pointer(&t))[1] -= int64(d)
	return t
}

// Slots of before a machine slept are lost, also those whose answer came meanwhile.
func TestAMachineThatSleptHasNoSlots(t *testing.T) {
	now := time.Now()
	awake := slept(now.Add(20*time.Millisecond), time.Hour)
	if awake.Sub(now) != 20*time.Millisecond || awake.Round(0).Sub(now.Round(0)) < time.Hour {
		t.Fatalf("the test's clock: %v, %v", awake.Sub(now), awake.Round(0).Sub(now.Round(0)))
	}
	for name, answered := range map[string]time.Time{"before": now, "meanwhile": awake} {
		b := newAlone(700, 8)
		for id := range budget.ID(3) {
			b.Want(id, jobs.Slot{Kind: jobs.SlotVerify})
		}
		b.Ask(now)
		b.Reserved(now, answered, budget.Block{Slots: 3, First: 10 * time.Millisecond, Interval: budget.Interval(700, 10*time.Second), Limit: 700, Pace: 700})
		if got, _ := b.Grant(awake.Add(20 * time.Millisecond)); len(got) > 0 {
			t.Errorf("answered %s: %d slots of an hour ago are used", name, len(got))
		}
		if ask, asks, _ := b.Ask(awake.Add(time.Second)); !asks || ask.Slots != 3 {
			t.Errorf("answered %s: asks for %d", name, ask.Slots)
		}
	}
	// One that was granted before, and is sent now, costs the next.
	b := newAlone(700, 8)
	b.Want(1, jobs.Slot{Kind: jobs.SlotVerify})
	b.Ask(now)
	b.Reserved(now, now, budget.Block{Slots: 1, Interval: budget.Interval(700, 10*time.Second), Limit: 700, Pace: 700})
	b.Grant(now)
	b.Leaves(1, awake)
	b.Want(2, jobs.Slot{Kind: jobs.SlotVerify})
	if ask, _, _ := b.Ask(awake.Add(time.Second)); ask.Slots != 2 {
		t.Errorf("asks for %d slots, want one to use and one to let pass", ask.Slots)
	}
}

// By day the limit is lower than what was learnt at night: that is kept.
func TestALowerHourForgetsNothing(t *testing.T) {
	night := budget.Pace{Current: 450, Held: 500, Settled: true, Strikes: []time.Time{midnight.Add(-2 * time.Hour)}, Since: midnight.Add(-61 * time.Minute)}
	day := night.Step(midnight, 350, 350*60)
	if day.At(350) != 350 || day.At(700) != 450 || day.Accepts(350) != 0 || day.Accepts(700) != 500 {
		t.Errorf("%+v", day)
	}
}

// The database's clock is put back by a day: neither the pause nor the 429s of its
// future count.
func TestAClockThatIsPutBack(t *testing.T) {
	r := struck(budget.Row{Limit: 700}, midnight, time.Minute)
	now := midnight.Add(-24 * time.Hour)
	ask := budget.Ask{Slots: 1, Urgent: 1, Age: 10 * time.Second}
	if _, b := r.Reserve(now, ask); b.Slots != 1 || b.Paused != 0 {
		t.Errorf("%+v", b)
	}
	r = struck(r, now, 0)
	if got := r.Pace.PausedUntil.Sub(now); got != 5*time.Second || len(r.Pace.Strikes) != 1 {
		t.Errorf("pauses for %v after %d 429s", got, len(r.Pace.Strikes))
	}
}
