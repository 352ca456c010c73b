package simulation_test

import (
	"flag"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/imagepurge/imagepurge/jobs/purge"
	"github.com/imagepurge/imagepurge/simulation"
)

var (
	nights = flag.Int("simulation.nights", 3000, "how many nights TestNights runs")
	seed   = flag.Uint64("simulation.seed", 1, "the first seed of TestNights")
)

// TestNights runs whole nights of the real code with faults at every effect.
// What it finds is told by:
//
//	go run ./cmd/simulate --tell --seed N
func TestNights(t *testing.T) {
	n := *nights
	if raceDetector {
		n /= 10
	}
	run(t, simulation.Options{First: *seed, Nights: n / 10, Size: simulation.Size{Customers: 20}})
	r := run(t, simulation.Options{First: *seed, Nights: n})
	t.Logf("%d nights, %d customers, %d calls, %d images deleted, %d steps", r.Nights, r.Customers, r.Calls, r.Deletes, r.Steps)
	hit, missed := simulation.Transitions(r)
	t.Logf("%d of %d transitions were taken", len(hit), len(hit)+len(missed))
	for _, l := range hit {
		if strings.Contains(l, "NOT IN THE TABLE") {
			t.Errorf("the purge took a transition that its table lacks: %s", l)
		}
	}
	if n < 3000 {
		return
	}
	if len(missed) > 15 {
		t.Errorf("%d transitions were never taken: the simulation has become too tame:\n%s", len(missed), strings.Join(missed, "\n"))
	}
	for what, n := range r.Faults {
		if n == 0 {
			t.Errorf("%s never happened", what)
		}
	}
	if len(r.Faults) < 40 {
		t.Errorf("only %d kinds of faults happened: %v", len(r.Faults), r.Faults)
	}
}

func run(t *testing.T, o simulation.Options) *simulation.Report {
	t.Helper()
	r, err := simulation.Nights(o)
	if err != nil {
		t.Fatal(err)
	}
	if r.Found == nil {
		return r
	}
	first := r.Found.Violations[0]
	s, err := simulation.Shrink(r.Found.Seed, o.Size, first.Promise, 2000)
	if err != nil {
		t.Fatal(err)
	}
	t.Fatalf("seed %d: %s: %s\n%s\n%s\nreplay it with: go run ./cmd/simulate --tell %s", r.Found.Seed, first.Promise, first.What, s.Settings,
		strings.Join(s.Lines, "\n"), simulation.Replay(s.Seed, s.Size))
	return nil
}

func TestTheSameSeedIsTheSameNight(t *testing.T) {
	for seed := uint64(1); seed <= 40; seed++ {
		_, first, _, err := simulation.Tell(seed, simulation.Size{})
		if err != nil {
			t.Fatal(err)
		}
		_, again, _, _ := simulation.Tell(seed, simulation.Size{})
		if diff := cmp.Diff(first, again); diff != "" {
			t.Fatalf("seed %d runs another way the second time (-first +again):\n%s", seed, diff)
		}
	}
}

// The short way past the client's decoder says what the long way says.
func TestAnswersAreReadAsTheClientReadsThem(t *testing.T) {
	short := run(t, simulation.Options{First: 1, Nights: 300})
	long := run(t, simulation.Options{First: 1, Nights: 300, Bytes: true})
	if diff := cmp.Diff(short, long); diff != "" {
		t.Errorf("nights come to something else when every answer goes through the decoder (-short +long):\n%s", diff)
	}
}

func TestTransitionsAreListedOnce(t *testing.T) {
	seen := make(map[purge.Transition]bool)
	for _, x := range purge.Transitions() {
		if seen[x] {
			t.Errorf("%+v stands twice", x)
		}
		seen[x] = true
	}
	if len(seen) < 80 {
		t.Errorf("only %d transitions", len(seen))
	}
}

// A violation's history is shrunk, and what is left still breaks the promise.
func TestShrinkKeepsTheViolation(t *testing.T) {
	// No promise is broken, so one is looked for that nights without a fault break as
	// well: none. A night that keeps it comes back as it is.
	s, err := simulation.Shrink(1, simulation.Size{}, simulation.NothingElseDeleted, 10)
	if err != nil || len(s.Violations) != 0 || s.Seed != 1 {
		t.Errorf("%+v, %v", s, err)
	}
	if got, want := simulation.Replay(7, simulation.Size{Customers: 2, Workers: 1, Keep: []int{3, 9}}), "--seed 7 --customers 2 --workers 1 --faults 3,9"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	if got, want := simulation.Replay(7, simulation.Size{Keep: []int{}}), fmt.Sprintf("--seed %d --faults 0", 7); got != want {
		t.Errorf("%q, want %q", got, want)
	}
}
