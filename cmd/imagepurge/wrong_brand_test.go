package main_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/imagepurge/imagepurge/capillary/sandbox"
)

// The credentials of another brand behind the name of the first: its customers' images
// show whose they are, and nothing of them is deleted.
func TestTheListOfOneBrandDoesNotPurgeAnother(t *testing.T) {
	t.Parallel()
	mine := sandbox.Populate(231, 20, sandbox.PopulateOptions{Images: [6]float64{0, 0, 1}})
	theirs := sandbox.Populate(232, 20, sandbox.PopulateOptions{Images: [6]float64{0, 0, 1}, Org: 200002})
	w := newWorld(t, sandbox.Options{Seed: 231, Population: mine})
	first := w.enqueue(everyone(mine)[:10])
	w.must(0, "run", "--once")
	w.wantTruth(first, everyone(mine)[:10])

	other := w.another("brand-b", sandbox.Options{Seed: 232, Population: theirs})
	w.must(0, "org", "set", "default", "base_url="+other.url, "--reason", "moved")
	w.enqueue(everyone(theirs))
	swapped := w.with("CAPILLARY_BASE_URL=" + other.url)
	e := swapped.must(1, "run", "--once")
	if !strings.Contains(e.err, "wrong_organisation") {
		t.Errorf("%s", e)
	}
	if n := other.api.Journal().Counters().Lists; n == 0 {
		t.Fatal("nobody was listed: nothing is shown")
	}
	if n := other.api.Journal().Counters().Deletes; n != 0 {
		t.Errorf("%d DELETEs reached the other brand", n)
	}
	if e := w.must(3, "status", "--check"); !strings.Contains(e.out, "wrong_organisation") {
		t.Errorf("%s", e)
	}
	if n := w.count("SELECT count(*) FROM organizations WHERE breaker_reason = 'wrong_organisation'"); n != 1 {
		t.Error("the breaker is closed")
	}
	customer := fmt.Sprint(everyone(theirs)[0])
	if e := swapped.must(1, "doctor", "--customer", customer); !strings.Contains(e.out, "not of organisation 100001") || !strings.Contains(e.out, "another brand's") {
		t.Errorf("%s", e)
	}
	if e := swapped.run("customer", customer, "--check-now"); strings.Contains(e.out, "checked now: gone") || !strings.Contains(e.out+e.err, "wrong_organisation") {
		t.Errorf("%s", e)
	}
}
