package repository_test

import (
	"flag"
	"fmt"
	"strings"
	"testing"
	"time"
)

var (
	contractRuns = flag.Int("contract.runs", 12, "how many histories TestContract runs")
	contractSeed = flag.Uint64("contract.seed", 0, "run this history alone, 0: all")
)

const (
	contractLength  = 90 // operations of a history
	contractBatches = 5
)

// TestContract holds the simulation's store to this one. A random history of what
// workers, people and time do is applied to both; after each operation what it
// returned and all that it left must be the same. A failure prints the history up
// to the operation that shows a difference, and its seed:
//
//	go test ./repository -run TestContract -contract.seed=N
func TestContract(t *testing.T) {
	c := newContract(t)
	if *contractSeed != 0 {
		c.run(*contractSeed)
		t.Log(c.story())
		return
	}
	counts := make(map[string]int)
	for seed := uint64(1); seed <= uint64(*contractRuns) && !t.Failed(); seed++ {
		c.run(seed)
		counts["operations"] += len(c.done)
		for _, op := range c.done {
			counts[op.name]++
		}
		for word, n := range c.met {
			counts[word] += n
		}
	}
	t.Logf("%d histories: %v", *contractRuns, counts)
	for _, word := range steps() {
		if counts[word] == 0 && !t.Failed() {
			t.Errorf("no history met %q: they have become too tame", word)
		}
	}
	if want := *contractRuns * (contractLength + 4); counts["operations"] != want {
		t.Errorf("%d operations, want %d", counts["operations"], want)
	}
}

// operation is one step of a history, as it is printed.
type operation struct {
	at         time.Duration // since the history's beginning
	name, what string
}

// story prints what was done.
func (c *contract) story() string {
	var b strings.Builder
	for i, op := range c.done {
		fmt.Fprintf(&b, "%3d %9v  %s %s\n", i+1, op.at, op.name, op.what)
	}
	return b.String()
}

// differ reports that the two stores differ, once a history.
func (c *contract) differ(what, diff string) {
	c.d.Helper()
	c.d.Fatalf("seed %d: after %d operations the stores differ in %s (- repository, + memory):\n%s\n%s\nreplay: go test ./repository -run TestContract -contract.seed=%d",
		c.seed, len(c.done), what, diff, c.story(), c.seed)
}
