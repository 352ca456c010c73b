package purge_test

import (
	"flag"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"pgregory.net/rapid"
)

var (
	runs = flag.Int("purge.runs", 3000, "how many seeds TestPromises/seeds runs")
	seed = flag.Uint64("purge.seed", 0, "run this seed alone, 0: all")
)

func simulate(c choices, change func(*settings)) *world {
	s := drawSettings(c)
	if change != nil {
		change(&s)
	}
	w := newWorld(c, s)
	w.run()
	return w
}

// TestPromises runs whole purges with faults at every effect and judges each by
// the promises of docs/protocol.md. Its failures name the seed:
//
//	go test ./jobs/purge -run TestPromises -purge.seed=N
func TestPromises(t *testing.T) {
	if *seed != 0 {
		w := simulate(newSeeded(*seed), nil)
		t.Logf("%v\n%v", w.settings, w.store)
		report(t, *seed, w, judge(w))
		return
	}
	var next, deletes, steps atomic.Int64
	var mu sync.Mutex
	outcomes := make(map[string]int)
	var failed atomic.Int64
	var group sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		group.Go(func() {
			for n := next.Add(1); n <= int64(*runs) && failed.Load() < 5; n = next.Add(1) {
				w := simulate(newSeeded(uint64(n)), nil)
				deletes.Add(int64(w.log.deletes))
				steps.Add(int64(w.order))
				broken := judge(w)
				mu.Lock()
				for _, k := range w.store.tasks {
					outcomes[string(k.outcome)]++
				}
				if len(broken) > 0 {
					failed.Add(1)
					report(t, uint64(n), w, broken)
				}
				mu.Unlock()
			}
		})
	}
	group.Wait()
	t.Logf("%d runs, %d events, %d DELETEs, outcomes %v", *runs, steps.Load(), deletes.Load(), outcomes)
	for _, o := range []string{"images_deleted", "no_images", "already_absent", "dry_run", "bystander_missing", "attempts_exhausted", "cancelled", "unexpected_response"} {
		if *runs >= 3000 && failed.Load() == 0 && outcomes[o] == 0 {
			t.Errorf("no run ended with %s: the simulation has become too tame", o)
		}
	}
}

func report(t *testing.T, seed uint64, w *world, broken map[string][]string) {
	t.Helper()
	for name, b := range broken {
		t.Errorf("seed %d: %s: %s\n  %v\n  %v", seed, name, b[0], w.settings, w.store)
	}
}

// drawn takes choices from rapid, which shrinks what it finds.
type drawn struct{ t *rapid.T }

func (d drawn) below(n int) int { return rapid.IntRange(0, n-1).Draw(d.t, "choice") }

func TestPromisesShrunk(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := simulate(drawn{t}, nil)
		for name, b := range judge(w) {
			t.Fatalf("%s: %s\n%v\n%v", name, b[0], w.settings, w.store)
		}
	})
}

// TestJudge takes one rule of the protocol away at a time, outside of the
// machine, and demands that the judge notices within so many seeds.
func TestJudge(t *testing.T) {
	const within = 3000
	for _, c := range []struct {
		without, promise string
		change           func(*settings)
	}{
		{"settle", "nothing else is deleted", nil},
		{"settle", "nothing is sent before it has settled", nil},
		{"settle", "nothing is forgotten", nil},
		{"intents", "nothing else is deleted", nil},
		{"fence", "nothing else is deleted", nil},
		{"deadline", "nothing else is deleted", nil},
		{"patience", "nothing else is deleted", nil},
		{"patience", "nothing is forgotten", nil},
		{"listing lag", "nothing else is deleted", nil},
		{"write order", "counters are true", nil},
		{"descending order", "nothing else is deleted", func(s *settings) { s.lies, s.mode, s.batching = true, "verified", "" }},
	} {
		t.Run(fmt.Sprintf("without %s breaks %s", c.without, c.promise), func(t *testing.T) {
			t.Parallel()
			for n := uint64(1); n <= within; n++ {
				w := simulate(newSeeded(n), func(s *settings) {
					s.faults += 3
					s.without = c.without
					if c.change != nil {
						c.change(s)
					}
				})
				if b := judge(w)[c.promise]; len(b) > 0 {
					t.Logf("seed %d: %s", n, b[0])
					return
				}
			}
			t.Errorf("the judge saw nothing in %d runs", within)
		})
	}
}
