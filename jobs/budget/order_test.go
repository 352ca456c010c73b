package budget_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/imagepurge/imagepurge/jobs"
	"github.com/imagepurge/imagepurge/jobs/budget"
)

func TestOrderOfSlots(t *testing.T) {
	b := newAlone(600, 10)
	view := func(age time.Duration) jobs.Slot {
		return jobs.Slot{Kind: jobs.SlotDelete, ViewAt: midnight.Add(-age), Left: 1}
	}
	b.Want(1, jobs.Slot{Kind: jobs.SlotList})
	b.Want(2, jobs.Slot{Kind: jobs.SlotVerify})
	b.Want(3, view(time.Second))
	b.Want(4, view(5*time.Second))
	b.Want(5, jobs.Slot{Kind: jobs.SlotVerify})
	b.Want(6, view(3*time.Second))
	b.Want(7, jobs.Slot{Kind: jobs.SlotList})
	if got, want := fmt.Sprint(b.drain(midnight, 40)), "[4 6 3 2 5 1 7]"; got != want {
		t.Errorf("slots went to %v, want %v", got, want)
	}
}

func TestWishIsReplacedAndWithdrawn(t *testing.T) {
	b := newAlone(600, 10)
	b.Want(1, jobs.Slot{Kind: jobs.SlotList})
	b.Want(1, jobs.Slot{Kind: jobs.SlotVerify})
	b.Want(2, jobs.Slot{Kind: jobs.SlotVerify})
	b.Forget(2)
	if got := fmt.Sprint(b.drain(midnight, 40)); got != "[1]" {
		t.Errorf("slots went to %v, want [1]", got)
	}
}

// Views whose deletes don't end must not be joined by ever more views, which would
// all grow too old: a ninth is the last that begins within half a view's age at 100 a
// minute.
func TestNewListingsWaitForLiveViews(t *testing.T) {
	b := newAlone(100, 100)
	now, views := midnight, 0
	listing := make(map[budget.ID]bool)
	for id := range budget.ID(40) {
		b.Want(id, jobs.Slot{Kind: jobs.SlotList})
		listing[id] = true
	}
	for range 400 {
		now = now.Add(time.Second)
		got, _ := b.grant(now)
		for _, id := range got {
			b.Leaves(id, now)
			if !listing[id] {
				continue // its delete is under way, and stays so
			}
			listing[id] = false
			views++
			b.Done(id, now)
			b.Listed(id, 5)
			b.Want(id, jobs.Slot{Kind: jobs.SlotDelete, ViewAt: now, Left: 5})
		}
	}
	if views < 1 || views > 9 {
		t.Errorf("%d views at a time, want at most 9", views)
	}
	for id := range budget.ID(40) {
		if !listing[id] {
			b.Forget(id)
		}
	}
	if got, _ := b.grant(now.Add(time.Second)); len(got) == 0 {
		t.Error("no new listing when all views are gone")
	}
}
