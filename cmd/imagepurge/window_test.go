package main_test

import (
	"flag"
	"slices"
	"testing"
	"time"

	"github.com/imagepurge/imagepurge/capillary/sandbox"
)

var (
	windowCustomers = flag.Int("window.customers", 20, "customers of TestTheWindowIsFromAListingToItsDelete")
	windowRate      = flag.String("window.rate", "6000", "calls a minute of the same")
)

// What others change between a listing and the delete that relies on it can't be
// noticed in time: the width of that window, by the server's own clock. In paranoid
// mode every delete has a listing of its own.
func TestTheWindowIsFromAListingToItsDelete(t *testing.T) {
	t.Parallel()
	for _, mode := range []string{"verified", "paranoid"} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			crowd := present(85, *windowCustomers, 3)
			w := newWorld(t, sandbox.Options{Seed: 85, Population: crowd, Latency: sandbox.UniformLatency(50*time.Millisecond, 300*time.Millisecond)}).
				with("CAPILLARY_RATE_PER_MINUTE="+*windowRate, "IMAGEPURGE_MODE="+mode)
			w.enqueue(everyone(crowd))
			w.must(0, "run", "--once")
			var widths []time.Duration
			listed, relied := make(map[int64]time.Time), make(map[int64]int)
			for _, e := range w.api.Journal().Entries() {
				switch e.Kind {
				case sandbox.KindList:
					listed[e.Customer], relied[e.Customer] = e.ExecutedAt, 0
				case sandbox.KindDelete:
					widths = append(widths, e.ExecutedAt.Sub(listed[e.Customer]))
					if relied[e.Customer]++; mode == "paranoid" && relied[e.Customer] > 1 {
						t.Errorf("customer %d: a second DELETE relies on one listing", e.Customer)
					}
				}
			}
			if len(widths) != 3**windowCustomers {
				t.Fatalf("%d DELETEs, want %d", len(widths), 3**windowCustomers)
			}
			slices.Sort(widths)
			t.Logf("%s at %s a minute: from a listing to its DELETE %v in the middle, %v in 95 of 100, %v at most", mode, *windowRate,
				widths[len(widths)/2].Round(time.Millisecond), widths[len(widths)*95/100].Round(time.Millisecond), widths[len(widths)-1].Round(time.Millisecond))
		})
	}
}
