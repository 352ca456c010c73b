package budget_test

import (
	"flag"
	"fmt"
	"testing"
	"time"
)

var minutes = flag.Int("budget.minutes", 3, "how long TestSlotsAreUsed works; from 10 on with slow answers, too")

// The figures of the protocol: 100 calls a minute, 32 purges, five images each.
func TestViewsStayFresh(t *testing.T) {
	w := newWorld(100, 32, 32)
	w.run(30 * time.Minute)
	if w.oldest > 10*time.Second || w.relisted > 0 {
		t.Errorf("the oldest view a delete relied on was %v, %d were too old", w.oldest, w.relisted)
	}
	// n + 2 calls a customer.
	if calls := float64(len(w.sent)) / float64(w.finished); calls > 7.1 {
		t.Errorf("%.2f calls a customer, want 7", calls)
	}
	t.Logf("oldest view %v; %d calls, %d customers", w.oldest, len(w.sent), w.finished)
}

func TestSlotsAreUsed(t *testing.T) {
	for _, perMinute := range []int{100, 700, 1500, 6000} {
		for _, latency := range []time.Duration{50 * time.Millisecond, 300 * time.Millisecond, time.Second, 3 * time.Second} {
			if latency > time.Second && *minutes < 10 {
				continue
			}
			t.Run(fmt.Sprintf("%d a minute, %v", perMinute, latency), func(t *testing.T) {
				t.Parallel()
				perSecond := float64(perMinute) / 60
				// As the worker takes tasks in hand, and as many calls in flight as it allows.
				inHand := min(4+int(perSecond*(1.5*latency.Seconds()+1)), 512)
				w := newWorld(perMinute, 256, inHand)
				w.images = func() int { return w.r.IntN(6) }
				w.latency = func() time.Duration { // half to one and a half of the mean
					return latency/2 + time.Duration(w.r.Int64N(int64(latency)))
				}
				w.run(time.Duration(*minutes) * time.Minute)
				use := float64(len(w.sent)) / float64(*minutes*perMinute)
				sliding, calendar := most(w.sent)
				t.Logf("%4d/min, %5v: %.2f %% used, oldest view %v, %d views too old, at most %d in a sliding minute", perMinute, latency, 100*use, w.oldest, w.relisted, sliding)
				if sliding > perMinute || calendar > perMinute {
					t.Errorf("%d in a sliding minute, %d in a calendar minute", sliding, calendar)
				}
				if want := 0.98; use < want && latency <= time.Second {
					t.Errorf("%.2f %% of the slots were used, want %v %%", 100*use, 100*want)
				}
				if w.oldest > 10*time.Second+time.Second {
					t.Errorf("a delete relied on a view %v old", w.oldest)
				}
			})
		}
	}
}

// A key so slow that a view would be too old for the next slot must not list for
// ever: its customers are purged all the same.
func TestSlowKeyStillDeletes(t *testing.T) {
	for _, perMinute := range []int{2, 3, 5, 6, 7, 12} {
		w := newWorld(perMinute, 4, 4)
		w.run(2 * time.Hour)
		sliding, calendar := most(w.sent)
		t.Logf("%2d/min: %d calls, %d customers, %d views too old", perMinute, len(w.sent), w.finished, w.relisted)
		if sliding > perMinute || calendar > perMinute {
			t.Errorf("%d a minute: %d in a sliding minute, %d in a calendar minute", perMinute, sliding, calendar)
		}
		if w.finished < 2*perMinute {
			t.Errorf("%d a minute: %d customers in two hours", perMinute, w.finished)
		}
	}
}
