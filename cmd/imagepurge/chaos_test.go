//go:build linux

package main_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
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
	t.Logf("seed %d, %d customers, %d calls, deletes: %v; %d databases lost, breakers closed %d times, %d batches retried, %d bystanders missed, %d workers ended by themselves; felt: %v",
		h.seed, h.next, court.calls(), court.deletes(), len(h.lost), h.breakers, h.retried, len(h.missed), h.selves, n.met)
	court.wantCases(t.Context())
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
	if err := h.handIn(ctx, 100); err != nil {
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
	var beside sync.WaitGroup
	beside.Go(func() {
		r := rand.New(rand.NewPCG(seed, 2))
		n.torment(ctx, "links", n.linkFaults(r), r, func() { wait(ctx, spread(r, 100*time.Millisecond, 900*time.Millisecond)) })
	})
	beside.Go(func() {
		r := rand.New(rand.NewPCG(seed, 4))
		n.torment(ctx, "people", n.peopleFaults(), r, func() { wait(ctx, spread(r, time.Second, 3*time.Second)) })
	})
	r := rand.New(rand.NewPCG(seed, 1))
	n.torment(ctx, "servers", n.serverFaults(r), r, func() {
		n.between(ctx)
		wait(ctx, spread(r, 300*time.Millisecond, 1500*time.Millisecond))
	})
	beside.Wait()
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
	for _, f := range slices.Concat(n.serverFaults(r), n.linkFaults(r), n.peopleFaults()) {
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

// between is what the operator does once a fault is over.
func (n *nemesis) between(ctx context.Context) {
	if err := errors.Join(n.operate(ctx), n.h.handIn(ctx, 25)); err != nil {
		n.fail(err)
	}
}

// operate is what the operator does again and again: he starts again what has ended,
// closes breakers, and decides what waits for him.
func (n *nemesis) operate(ctx context.Context) error {
	ended, err := n.h.tend()
	closed, err2 := n.h.closeBreakers(ctx)
	decided, err3 := n.h.decide(ctx)
	for _, what := range slices.Concat(ended, closed, decided) {
		n.note("%s", what)
	}
	return errors.Join(err, err2, err3)
}

// shop uploads an image for one customer after another, each once: half of them are
// being purged just then, and what is new stands behind their targets.
func (n *nemesis) shop(ctx context.Context, r *rand.Rand) {
	done := make(map[int64]bool)
	for ctx.Err() == nil {
		wait(ctx, spread(r, 50*time.Millisecond, 250*time.Millisecond))
		n.h.mu.Lock()
		id := n.h.crowd.ID(r.IntN(n.h.next))
		n.h.mu.Unlock()
		if r.IntN(2) == 0 {
			// Where the database is down just now it is anybody.
			open, _ := column[int64](ctx, n.h, "SELECT customer_id FROM image_deletion_tasks WHERE listed AND finished_at IS NULL ORDER BY id")
			if len(open) > 0 {
				id = open[r.IntN(len(open))]
			}
		}
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
	if err := h.ensure(ctx); err != nil {
		n.fail(err)
	}
	limit := time.Now().Add(chaosPatience)
	h.until("everything has ended", func() bool {
		if time.Now().After(limit) {
			n.fail(fmt.Errorf("not everything has ended %v after the last fault", chaosPatience))
			return true
		}
		err := n.operate(ctx)
		open, err2 := h.one(ctx, "SELECT count(*) FROM image_deletion_tasks WHERE finished_at IS NULL OR "+undecided)
		if err = errors.Join(err, err2); err != nil {
			n.fail(err)
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
