//go:build linux

package main_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"
)

var (
	chaosSeed = flag.Uint64("chaos.seed", 81, "of customers, faults and their order")
	chaosFor  = flag.Duration("chaos.for", 20*time.Second, "how long things go wrong, and until each kind was felt; for more than some minutes give -timeout as well")
)

// chaosPatience is how much longer a busy machine may take until each kind of fault was
// felt, and then until all work has ended.
const chaosPatience = 3 * time.Minute

// TestChaos lets real processes meet real faults, and then compares what the
// remote API says of itself with what is written down.
func TestChaos(t *testing.T) {
	if raceDetector {
		t.Skip("the race detector sees nothing here: what runs is the built program, without it; the pass without it runs this")
	}
	t.Parallel() // it mostly waits, and other tests beside it are one more thing that goes wrong
	n := inflict(t, *chaosSeed, *chaosFor, program)
	n.wantAll(t)
	h := n.h
	found, court, err := h.judgeAll(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("seed %d, %d customers, %d calls, deletes: %v; %d databases lost, breaker closed %d times, %d workers ended by themselves; felt: %v",
		h.seed, h.next, len(court.entries), court.deletes(), len(h.lost), h.breakers, h.selves, n.met)
	h.checkDatabase()
	if t.Failed() || len(found) > 0 {
		n.report(t, found, court)
	}
}

// inflict lets a house work while things go wrong, mends everything and waits for
// the end of all work.
func inflict(t *testing.T, seed uint64, d time.Duration, binary string) *nemesis {
	zerolog.SetGlobalLevel(zerolog.Disabled) // a library of the links writes to stderr otherwise
	customers := 300 + int(12*d.Seconds())
	h := newHouse(t, seed, customers, binary)
	n := newNemesis(h, d)
	t.Cleanup(func() {
		if t.Failed() {
			n.replay(t)
		}
	})
	ctx, cancel := context.WithTimeout(t.Context(), d+2*chaosPatience)
	defer cancel()
	if err := h.handIn(ctx, 120); err != nil {
		t.Fatal(err)
	}
	for place := range h.crew {
		if err := h.work(place); err != nil {
			t.Fatal(err)
		}
	}
	var lanes sync.WaitGroup
	meanwhile, enough := context.WithCancel(ctx)
	lanes.Go(func() { n.shop(meanwhile, rand.New(rand.NewPCG(seed, 3))) })
	var links sync.WaitGroup
	links.Go(func() {
		r := rand.New(rand.NewPCG(seed, 2))
		n.torment(ctx, "links", n.linkFaults(r), r, func() { wait(ctx, spread(r, 100*time.Millisecond, 900*time.Millisecond)) })
	})
	r := rand.New(rand.NewPCG(seed, 1))
	n.torment(ctx, "servers", n.serverFaults(r), r, func() {
		n.between(ctx)
		wait(ctx, spread(r, 300*time.Millisecond, 1500*time.Millisecond))
	})
	links.Wait()
	enough()
	lanes.Wait()
	n.heal(ctx)
	return n
}

// wantAll checks that the nemesis did its work: each kind of fault was felt.
func (n *nemesis) wantAll(t *testing.T) {
	for _, err := range n.faults {
		t.Errorf("the nemesis failed: %v", err)
	}
	kinds := []string{others}
	r := rand.New(rand.NewPCG(0, 0)) // of no consequence: the order is not looked at
	for _, f := range append(n.serverFaults(r), n.linkFaults(r)...) {
		kinds = append(kinds, f.kind)
	}
	for _, kind := range kinds {
		if n.met[kind] == 0 {
			t.Errorf("never happened: %s", kind)
		}
	}
}

// others is what a shop does meanwhile.
const others = "others upload an image"

// between is what the operator does once a fault is over: he starts again what has
// ended, closes a breaker, and hands in more.
func (n *nemesis) between(ctx context.Context) {
	ended, err := n.h.tend()
	if err != nil {
		n.fail(err)
	}
	for _, what := range ended {
		n.note("%s", what)
	}
	closed, err := n.h.closeBreaker(ctx)
	if err != nil {
		n.fail(err)
	}
	if closed {
		n.note("the operator closed the breaker")
	}
	if err := n.h.handIn(ctx, 30); err != nil {
		n.fail(err)
	}
}

// shop uploads an image for one customer after another of those that are purged
// of all, each once.
func (n *nemesis) shop(ctx context.Context, r *rand.Rand) {
	done := make(map[int64]bool)
	for ctx.Err() == nil {
		wait(ctx, spread(r, 50*time.Millisecond, 250*time.Millisecond))
		n.h.mu.Lock()
		s := n.h.stages[r.IntN(len(n.h.stages))]
		n.h.mu.Unlock()
		if len(s.all) == 0 {
			continue
		}
		id := s.all[r.IntN(len(s.all))]
		if done[id] {
			continue
		}
		done[id] = true
		if n.h.upload(ctx, id) == nil { // a customer may have five already, or be gone
			n.mu.Lock()
			n.met[others]++
			n.mu.Unlock()
		}
	}
}

// heal mends everything and waits until all has ended; then it stops the workers.
func (n *nemesis) heal(ctx context.Context) {
	h := n.h
	n.note("everything is mended")
	for _, s := range h.stages {
		if err := h.ensure(ctx, s); err != nil {
			n.fail(err)
		}
	}
	limit := time.Now().Add(chaosPatience)
	h.until("everything has ended", func() bool {
		if time.Now().After(limit) {
			n.fail(fmt.Errorf("not everything has ended %v after the last fault", chaosPatience))
			return true
		}
		ended, err := h.tend()
		for _, what := range ended {
			n.note("%s", what)
		}
		closed, err2 := h.closeBreaker(ctx)
		if closed {
			n.note("the operator closed the breaker")
		}
		open, err3 := h.one(ctx, "SELECT count(*) FROM image_deletion_tasks WHERE finished_at IS NULL")
		if err != nil || err2 != nil || err3 != nil {
			n.fail(errors.Join(err, err2, err3))
			return true
		}
		wait(ctx, 100*time.Millisecond)
		return open == 0
	})
	n.note("everything has ended")
	if _, err := h.stopCrew(); err != nil {
		n.fail(err)
	}
	for place, p := range h.crew {
		if status := p.cmd.ProcessState.ExitCode(); status != 143 {
			n.fail(fmt.Errorf("worker %d ended with %d: %s", place, status, lastLine(p.errOut.String())))
		}
	}
	h.pool.Reset() // its connections are of a server that has ended
}

// replay says how this came about, and how to see it again.
func (n *nemesis) replay(t *testing.T) {
	n.mu.Lock()
	defer n.mu.Unlock()
	t.Logf("seed %d; again: go test ./cmd/imagepurge -run '^%s$' -chaos.seed %d -chaos.for %v (the seed repeats the faults, not the processes' moments)\n%s",
		n.h.seed, t.Name(), n.h.seed, n.until.Sub(n.began), strings.Join(n.timeline, "\n"))
}

// report tells what the judge found, with the stories of the first customers.
func (n *nemesis) report(t *testing.T, found verdict, court *court) {
	for i, customer := range found.customers() {
		if i == 8 {
			t.Errorf("and %d customers more", len(found)-i)
			break
		}
		t.Errorf("customer %d:\n  %s\n%s", customer, strings.Join(found[customer], "\n  "), court.tell(customer))
	}
}
