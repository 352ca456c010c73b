package budget_test

import (
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/imagepurge/imagepurge/jobs"
	"github.com/imagepurge/imagepurge/jobs/budget"
)

// The limit holds by the times at which calls were sent, however long the
// commits between slot and send take.
func TestLimitIsKept(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		perMinute := rapid.SampledFrom([]int{2, 3, 10, 60, 100, 700}).Draw(t, "per minute")
		w := newWorld(perMinute, rapid.IntRange(1, 64).Draw(t, "concurrency"), rapid.IntRange(1, 64).Draw(t, "in hand"))
		slow := rapid.IntRange(0, 5000).Draw(t, "slowest commit")
		latency := rapid.IntRange(1, 5000).Draw(t, "slowest call")
		images := rapid.IntRange(0, 5).Draw(t, "images")
		idle := rapid.IntRange(0, 100).Draw(t, "idle seconds before")
		w.r.Uint64()
		w.commit = func() time.Duration { return time.Duration(w.r.IntN(slow+1)) * time.Millisecond }
		w.latency = func() time.Duration { return time.Duration(w.r.IntN(latency)+1) * time.Millisecond }
		w.images = func() int { return w.r.IntN(images + 1) }
		w.now = w.now.Add(time.Duration(idle) * time.Second)
		w.run(5 * time.Minute)
		sliding, calendar := most(w.sent)
		if sliding > perMinute || calendar > perMinute {
			t.Fatalf("%d calls in a sliding minute, %d in a calendar minute; %d allowed", sliding, calendar, perMinute)
		}
		if len(w.sent) == 0 {
			t.Fatal("nothing was sent")
		}
	})
}

// All commits stall and end at once: the worst that a database can do.
func TestLimitIsKeptWhenCommitsEndTogether(t *testing.T) {
	for _, perMinute := range []int{60, 100, 6000} {
		w := newWorld(perMinute, 256, 200)
		stall := func() time.Duration { // to the next half minute
			return w.now.Truncate(30 * time.Second).Add(30 * time.Second).Sub(w.now)
		}
		w.commit = stall
		w.run(10 * time.Minute)
		if sliding, calendar := most(w.sent); sliding > perMinute || calendar > perMinute {
			t.Errorf("%d calls in a sliding minute, %d in a calendar minute; %d allowed", sliding, calendar, perMinute)
		}
	}
}

func TestSlotsThatNobodyUsedAreLost(t *testing.T) {
	b := newAlone(60, 10)
	now := midnight
	if got, _ := b.grant(now); len(got) != 0 {
		t.Fatalf("granted %v to nobody", got)
	}
	now = now.Add(time.Hour)
	for id := range budget.ID(5) {
		b.Want(id, jobs.Slot{Kind: jobs.SlotVerify})
	}
	got, next := b.grant(now)
	if len(got) != 1 {
		t.Fatalf("granted %v after an idle hour, want one", got)
	}
	b.Unused(got[0]) // nothing was sent: its slot is lost, too
	if got, _ := b.grant(now); len(got) != 0 {
		t.Errorf("granted %v in the same moment", got)
	}
	at := now
	for got = nil; len(got) == 0; {
		at = next
		got, next = b.grant(at)
	}
	if wait := at.Sub(now); len(got) != 1 || wait < time.Second || wait > 1100*time.Millisecond {
		t.Errorf("granted %v after %v, want one after about a second", got, wait)
	}
}

func TestConcurrency(t *testing.T) {
	b := newAlone(60_000, 2)
	now := midnight
	for id := range budget.ID(3) {
		b.Want(id, jobs.Slot{Kind: jobs.SlotVerify})
	}
	var granted []budget.ID
	for range 10 {
		got, _ := b.grant(now)
		granted = append(granted, got...)
		now = now.Add(10 * time.Millisecond)
	}
	if fmt.Sprint(granted) != "[0 1]" || b.InFlight() != 2 {
		t.Fatalf("granted %v", granted)
	}
	if _, next := b.grant(now); !next.IsZero() {
		t.Errorf("asks to be woken at %v, while only an answer can help", next)
	}
	b.Leaves(0, now)
	b.Done(0, now)
	if got, _ := b.grant(now); fmt.Sprint(got) != "[2]" {
		t.Errorf("granted %v after an answer", got)
	}
}
