package clearance_test

import (
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"

	"github.com/imagepurge/imagepurge/jobs"
	"github.com/imagepurge/imagepurge/jobs/clearance"
)

const margin = time.Second

func issue(began time.Time) *clearance.Clearance {
	return clearance.Issue(clearance.Intent{
		Task: 7, Epoch: 3, Customer: jobs.Customer{ID: 564703420},
		Targets: []clearance.Target{{Key: jobs.KeyOf("a"), Position: 2}}, BeganAt: began, Margin: margin,
	})
}

func TestSpentOnce(t *testing.T) {
	began := time.Now()
	c := issue(began)
	if err := c.Spend(began); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if err := c.Spend(began); !errors.Is(err, clearance.ErrSpent) {
			t.Errorf("spent again: %v", err)
		}
	}
}

func TestOneWinner(t *testing.T) {
	began := time.Now()
	for range 200 {
		c := issue(began)
		var won, spent atomic.Int32
		var group sync.WaitGroup
		start := make(chan struct{})
		for range 16 {
			group.Go(func() {
				<-start
				switch err := c.Spend(began.Add(time.Millisecond)); {
				case err == nil:
					won.Add(1)
				case errors.Is(err, clearance.ErrSpent):
					spent.Add(1)
				default:
					t.Error(err)
				}
			})
		}
		close(start)
		group.Wait()
		if won.Load() != 1 || spent.Load() != 15 {
			t.Fatalf("%d winners, %d losers", won.Load(), spent.Load())
		}
	}
}

func TestDeadline(t *testing.T) {
	began := time.Now()
	plain := began.Round(0) // no monotonic reading
	for _, c := range []struct {
		name       string
		began, now time.Time
		late       bool
	}{
		{"at once", began, began, false},
		{"at the last moment", began, began.Add(margin), false},
		{"a nanosecond later", began, began.Add(margin + 1), true},
		{"a process that was frozen: both clocks went on", began, began.Add(time.Minute), true},
		{"a machine that slept: only the wall clock went on", began, monotonic(began.Add(time.Minute), -time.Minute), true},
		{"wall clock set back meanwhile: only the monotonic one tells", began, monotonic(began, margin+1), true},
		{"wall clock set back before the intent", began, monotonic(began.Add(-time.Nanosecond), time.Nanosecond), true},
		{"both clocks before the intent", began, began.Add(-time.Nanosecond), true},
		{"monotonic clock before the intent", began, monotonic(began, -time.Nanosecond), true},
		{"wall clock set forward a little", began, monotonic(began.Add(margin/2), -margin/2), false},
		{"no monotonic reading, in time", plain, plain.Add(margin), false},
		{"no monotonic reading, late", plain, plain.Add(margin + 1), true},
		{"no monotonic reading, set back", plain, plain.Add(-1), true},
		{"only the intent has one, in time", began, plain.Add(margin), false},
		{"only the intent has one, late", began, plain.Add(margin + 1), true},
		{"only the send has one, late", plain, began.Add(margin + 1), true},
		{"no time of the intent", time.Time{}, began, true},
		{"no time of the send", began, time.Time{}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := issue(c.began)
			err := p.Spend(c.now)
			var late *clearance.LateError
			if errors.As(err, &late) != c.late || (err != nil) != c.late {
				t.Fatalf("got %v, want late %v", err, c.late)
			}
			if late != nil && (late.Margin != margin || late.Error() == "") {
				t.Errorf("%+v", late)
			}
			// In time or late, it is used up.
			if err := p.Spend(c.began); !errors.Is(err, clearance.ErrSpent) {
				t.Errorf("spent again: %v", err)
			}
		})
	}
}

func TestZeroClearancePermitsNothing(t *testing.T) {
	if err := new(clearance.Clearance).Spend(time.Now()); err == nil {
		t.Error("a clearance that nobody issued was spent")
	}
}

func TestIntentStands(t *testing.T) {
	began := time.Now()
	c := issue(began)
	if in := c.Intent(); in.Task != 7 || in.Epoch != 3 || in.Targets[0].Position != 2 || !in.BeganAt.Equal(began) {
		t.Errorf("%+v", in)
	}
	targets := []clearance.Target{{Position: 2}}
	c = clearance.Issue(clearance.Intent{Targets: targets, BeganAt: began, Margin: margin})
	targets[0].Position = 1
	c.Intent().Targets[0].Position = 0
	if got := c.Intent().Targets[0].Position; got != 2 {
		t.Errorf("index %d, want the committed one, 2", got)
	}
}

// monotonic moves only the monotonic reading of t, which a time.Time keeps in
// its second word. No arithmetic of the time package can.
func monotonic(t time.Time, d time.Duration) time.Time {
	(*[2]int64)(unsafe.Pointer(&t))[1] += int64(d)
	return t
}
