package main_test

import (
	"flag"
	"testing"

	"github.com/imagepurge/imagepurge/capillary/sandbox"
)

var sideCustomers = flag.Int("side.customers", 2000, "customers for two processes side by side")

func TestTwoProcessesShareABatch(t *testing.T) {
	t.Parallel()
	crowd := sandbox.Populate(21, *sideCustomers, sandbox.PopulateOptions{Images: [6]float64{2, 4, 2, 1, 1, 1}})
	w := newWorld(t, sandbox.Options{Seed: 21, Population: crowd})
	ids := everyone(crowd)
	batch := w.enqueue(ids)
	one, two := w.start("run", "--once", "-o", "json"), w.start("run", "--once", "-o", "json")
	type ran []struct{ Ended int }
	total := 0
	for _, p := range []*process{one, two} {
		e := p.wait()
		if e.status != 0 {
			t.Fatalf("%s", e)
		}
		n := parse[ran](w, e.out)[0].Ended
		if n == 0 {
			t.Errorf("one of the two had nothing to do")
		}
		total += n
	}
	if total != len(ids) {
		t.Errorf("both say that they ended %d of %d customers", total, len(ids))
	}
	w.wantTruth(batch, ids)
	w.wantHarmless(true)
	w.wantCalls(batch, func(n int) int { return n + 2 })
	if n := w.count("SELECT count(DISTINCT lease_owner) FROM image_deletion_tasks"); n != 0 {
		t.Errorf("%d leases were not given back", n)
	}
}
