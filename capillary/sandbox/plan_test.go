package sandbox_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/imagepurge/imagepurge/capillary/sandbox"
)

var kinds = []sandbox.Kind{sandbox.KindList, sandbox.KindDelete, sandbox.KindDelete, sandbox.KindList}

func everyFault(chance float64) map[sandbox.Fault]float64 {
	out := map[sandbox.Fault]float64{}
	for _, f := range sandbox.AllFaults() {
		out[f] = chance
	}
	return out
}

// ask takes each customer's requests in its own order, customers mixed by the
// order given.
func ask(p *sandbox.Plan, order []int) map[int][]sandbox.Fault {
	out := map[int][]sandbox.Fault{}
	for _, c := range order {
		_, f := p.Next(id+int64(c), kinds[len(out[c])%len(kinds)])
		out[c] = append(out[c], f)
	}
	return out
}

func TestThePlanIsTheSameWhateverTheInterleaving(t *testing.T) {
	t.Parallel()
	var order []int
	for c := range 200 {
		order = append(order, slices.Repeat([]int{c}, 8)...)
	}
	o := sandbox.Faults{Seed: 7, Chance: everyFault(0.02)}
	want := ask(sandbox.NewPlan(o, sandbox.Population{}), order)
	for seed := range uint64(5) {
		rand.New(rand.NewPCG(seed, 0)).Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })
		if diff := cmp.Diff(ask(sandbox.NewPlan(o, sandbox.Population{}), order), want); diff != "" {
			t.Fatalf("shuffled with %d (-got +want):\n%s", seed, diff)
		}
	}
	o.Seed = 8
	if cmp.Equal(ask(sandbox.NewPlan(o, sandbox.Population{}), order), want) {
		t.Error("another seed gives the same plan")
	}
}

func TestThePlanKeepsItsChancesAndBounds(t *testing.T) {
	t.Parallel()
	p := sandbox.NewPlan(sandbox.Faults{Seed: 1, Chance: map[sandbox.Fault]float64{
		sandbox.FaultLostAnswer: 0.2, sandbox.Fault8080Ran: 0.1, sandbox.FaultStaleListing: 0.1,
	}, MaxPerCustomer: 2}, sandbox.Population{})
	got := map[sandbox.Fault]int{}
	for c := range int64(2000) {
		mine := 0
		for n := range 20 {
			kind := kinds[n%2]
			ordinal, f := p.Next(c, kind)
			if ordinal != n+1 {
				t.Fatalf("ordinal %d, want %d", ordinal, n+1)
			}
			if !f.Meets(kind) {
				t.Fatalf("%s met a %s", f, kind)
			}
			if f != sandbox.NoFault {
				mine++
			}
			if n == 0 {
				got[f]++
			}
		}
		if mine > 2 {
			t.Fatalf("customer %d met %d faults", c, mine)
		}
	}
	// The first request is a listing: 8080 cannot meet it.
	if n := got[sandbox.FaultLostAnswer]; n < 340 || n > 460 {
		t.Errorf("%d lost answers among 2000 first requests, want about 400", n)
	}
	if n := got[sandbox.FaultStaleListing]; n < 150 || n > 250 {
		t.Errorf("%d stale listings among 2000 first requests, want about 200", n)
	}
}

func TestScriptsGoBeforeTheDrawnPlan(t *testing.T) {
	t.Parallel()
	p := sandbox.NewPlan(sandbox.Faults{Chance: map[sandbox.Fault]float64{sandbox.FaultBusy: 1}}, sandbox.Population{})
	p.Script(1, []sandbox.Fault{sandbox.NoFault, sandbox.Fault8080Ran, sandbox.FaultCutBody})
	p.ScriptKind(1, sandbox.KindDelete, []sandbox.Fault{sandbox.FaultLostAnswer})
	var got []sandbox.Fault
	for _, k := range []sandbox.Kind{"list", "list", "delete", "delete", "list", "list"} {
		_, f := p.Next(1, k)
		got = append(got, f)
	}
	want := []sandbox.Fault{sandbox.NoFault, sandbox.FaultBusy, sandbox.FaultLostAnswer, sandbox.Fault8080Ran, sandbox.FaultCutBody, sandbox.FaultBusy}
	if diff := cmp.Diff(got, want); diff != "" {
		t.Errorf("faults (-got +want):\n%s", diff)
	}
}

func TestCountsChooseSoManyCustomers(t *testing.T) {
	t.Parallel()
	pop := sandbox.Populate(3, 300, sandbox.PopulateOptions{Unknown: 0.2})
	met := func(count map[sandbox.Fault]int, pop sandbox.Population) map[sandbox.Fault][]int64 {
		p := sandbox.NewPlan(sandbox.Faults{Seed: 5, Count: count}, pop)
		out := map[sandbox.Fault][]int64{}
		for i := range pop.Len() {
			for n, k := range []sandbox.Kind{"list", "delete", "delete", "list", "delete"} {
				if _, f := p.Next(pop.ID(i), k); f != sandbox.NoFault {
					out[f] = append(out[f], pop.ID(i))
					if c, _ := pop.Customer(pop.ID(i)); len(c.Images) == 0 || c.Standing != sandbox.Present {
						t.Errorf("%s for a customer without images: %+v", f, c)
					}
					if n == 0 {
						t.Errorf("%s at the first listing", f)
					}
				}
			}
		}
		return out
	}
	got := met(map[sandbox.Fault]int{sandbox.FaultLostAnswer: 100, sandbox.FaultStaleListing: 80}, pop)
	if len(got[sandbox.FaultLostAnswer]) != 100 || len(got[sandbox.FaultStaleListing]) != 80 {
		t.Errorf("met %d and %d, want 100 and 80", len(got[sandbox.FaultLostAnswer]), len(got[sandbox.FaultStaleListing]))
	}
	for _, c := range got[sandbox.FaultStaleListing] {
		if slices.Contains(got[sandbox.FaultLostAnswer], c) {
			t.Errorf("customer %d met both, though there are enough others", c)
		}
	}
	few := sandbox.Populate(3, 10, sandbox.PopulateOptions{Images: [6]float64{0, 1}})
	got = met(map[sandbox.Fault]int{sandbox.FaultLostAnswer: 8, sandbox.FaultBusy: 8, sandbox.FaultHTMLRan: 99}, few)
	if len(got[sandbox.FaultLostAnswer]) != 8 || len(got[sandbox.FaultBusy]) != 8 || len(got[sandbox.FaultHTMLRan]) != 10 {
		t.Errorf("too few customers: %v", got)
	}
}

func TestScriptedOthers(t *testing.T) {
	t.Parallel()
	w := withImages(t, 3, sandbox.Options{})
	w.srv.ScriptOthers(id, []sandbox.Act{
		{Request: 2, Deed: sandbox.DeedRemove, Index: 0},
		{Request: 2, Deed: sandbox.DeedUpload, After: true},
		{Request: 3, Deed: sandbox.DeedReplace, Index: 0},
		{Request: 4, Deed: sandbox.DeedPrepend},
		{Request: 4, Deed: sandbox.DeedRemove, Index: 4}, // none there
	})
	if diff := cmp.Diff(w.list(id).listed(t), tokens(id, 0, 1, 2)); diff != "" {
		t.Fatalf("first request (-got +want):\n%s", diff)
	}
	w.delete(id, 1) // meant for 1, hits 2: 0 went before
	if got := w.truth(id); len(got) != 2 || got[0] != token(id, 1) {
		t.Fatalf("after the second request: %v", got)
	}
	third := w.list(id).listed(t)
	if len(third) != 2 || third[0] == token(id, 1) {
		t.Fatalf("third request, after the replacement: %v", third)
	}
	if fourth := w.list(id).listed(t); len(fourth) != 3 || !cmp.Equal(fourth[1:], third) {
		t.Fatalf("fourth request, after the prepending: %v", fourth)
	}
	type row struct {
		actor   sandbox.Actor
		kind    sandbox.Kind
		removed []sandbox.Removal
		added   int
		after   int
	}
	var got []row
	for _, e := range w.srv.Journal().Customer(id) {
		got = append(got, row{e.Actor, e.Kind, e.Removed, len(e.Added), e.After})
	}
	others, api := sandbox.ActorOthers, sandbox.ActorAPI
	want := []row{
		{api, "list", nil, 0, 3},
		{others, "remove", []sandbox.Removal{{Token: token(id, 0)}}, 0, 2},
		{api, "delete", []sandbox.Removal{{Token: token(id, 2), Position: 1}}, 0, 1},
		{others, "upload", nil, 1, 2},
		{others, "upload", []sandbox.Removal{{Token: token(id, 1)}}, 1, 2},
		{api, "list", nil, 0, 2},
		{others, "upload", nil, 1, 3},
		{others, "remove", nil, 0, 3},
		{api, "list", nil, 0, 3},
	}
	if diff := cmp.Diff(got, want, cmp.AllowUnexported(row{})); diff != "" {
		t.Errorf("journal (-got +want):\n%s", diff)
	}
	if s := w.srv.Stats(); s.ImagesNow != 3 || s.ImagesAtStart != 3 || s.ImagesAdded != 3 || s.ImagesRemoved != 2 || s.ImagesDeleted != 1 {
		t.Errorf("stats %+v", s)
	}
}

func TestDrawnOthersEndAndAreRepeatable(t *testing.T) {
	t.Parallel()
	run := func(seed uint64) (acts []sandbox.Act, after int) {
		p := sandbox.NewOthersPlan(sandbox.Others{Seed: seed, MaxPerCustomer: 3, Chance: map[sandbox.Deed]float64{
			sandbox.DeedUpload: 0.2, sandbox.DeedRemove: 0.2}})
		for c := range int64(50) {
			mine := 0
			for n := range 30 {
				before, behind := p.Next(c, n+1)
				acts = append(append(acts, before...), behind...)
				mine += len(before) + len(behind)
				after += len(behind)
			}
			if mine != 3 {
				t.Errorf("customer %d met %d deeds in 30 requests, want 3", c, mine)
			}
		}
		return acts, after
	}
	acts, after := run(1)
	again, _ := run(1)
	other, _ := run(2)
	same := cmp.AllowUnexported(sandbox.Act{})
	if !cmp.Equal(acts, again, same) || cmp.Equal(acts, other, same) {
		t.Error("the deeds do not follow the seed")
	}
	if after < 40 || after > 110 {
		t.Errorf("%d of %d deeds after the request, want about half", after, len(acts))
	}
}

// A whole world run twice from one seed leaves the same images and the same
// deletions, in whatever order the customers come.
func TestAWorldIsRepeatable(t *testing.T) {
	t.Parallel()
	pop := sandbox.Populate(11, 60, sandbox.PopulateOptions{})
	run := func(seed uint64, backwards bool) map[int64][]string {
		o := sandbox.Options{Seed: seed, Population: pop, Now: newClock().Now,
			Faults: sandbox.Faults{Chance: map[sandbox.Fault]float64{
				sandbox.FaultLostAnswer: 0.1, sandbox.FaultSuccessNotRun: 0.1, sandbox.FaultRunsTwice: 0.1, sandbox.FaultBusy: 0.1}},
			Others: sandbox.Others{Chance: map[sandbox.Deed]float64{
				sandbox.DeedUpload: 0.1, sandbox.DeedRemove: 0.1, sandbox.DeedReplace: 0.1, sandbox.DeedPrepend: 0.1}}}
		w := newWorld(t, o)
		out := map[int64][]string{}
		for i := range pop.Len() {
			if backwards {
				i = pop.Len() - 1 - i
			}
			c := pop.ID(i)
			w.list(c)
			for range 3 {
				w.delete(c, 0)
			}
			out[c] = w.truth(c)
			for _, d := range w.srv.Judge().Deleted(c) {
				out[c] = append(out[c], fmt.Sprintln(d.Removal, d.Actor, d.Kind, d.Fault))
			}
		}
		return out
	}
	want := run(1, false)
	if diff := cmp.Diff(run(1, true), want); diff != "" {
		t.Errorf("the same seed, backwards (-got +want):\n%s", diff)
	}
	if cmp.Equal(run(2, false), want) {
		t.Error("another seed gives the same world")
	}
	deeds := map[string]bool{}
	for _, rows := range want {
		for _, r := range rows {
			for _, k := range []string{"others upload", "others remove", "runs_twice", "lost_answer"} {
				deeds[k] = deeds[k] || strings.Contains(r, k)
			}
		}
	}
	for _, k := range []string{"others upload", "others remove", "runs_twice", "lost_answer"} {
		if !deeds[k] {
			t.Errorf("no %s happened: the test shows little", k)
		}
	}
}

func TestLateByIsWithinItsBounds(t *testing.T) {
	t.Parallel()
	p := sandbox.NewPlan(sandbox.Faults{LateBy: 8 * time.Second}, sandbox.Population{})
	seen := map[time.Duration]bool{}
	for c := range int64(100) {
		d := p.LateBy(c, 1)
		if d < 4*time.Second || d > 8*time.Second || d != p.LateBy(c, 1) {
			t.Fatalf("customer %d: %v", c, d)
		}
		seen[d] = true
	}
	if len(seen) < 90 {
		t.Errorf("%d different delays of 100", len(seen))
	}
}
