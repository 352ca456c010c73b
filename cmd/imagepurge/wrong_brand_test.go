package main_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

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
	if n := w.count(wrongBrand); n != 1 {
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

// Most customers of the list have no images with the other brand, and the answers that
// say so are under way when the only image shows whose API it is. They come long after
// the breaker has opened, and say nothing of ours.
func TestNothingIsRecordedOfAnotherBrand(t *testing.T) {
	t.Parallel()
	theirs := sandbox.Populate(233, 200, sandbox.PopulateOptions{Images: [6]float64{1, 1}, Org: 200002})
	var without, with []int64
	for _, id := range everyone(theirs) {
		if c, _ := theirs.Customer(id); len(c.Images) == 0 {
			without = append(without, id)
		} else {
			with = append(with, id)
		}
	}
	list := append(append(without[:3:3], with[0]), without[3:64]...)
	w := newWorld(t, sandbox.Options{Seed: 233, Population: theirs})
	to, err := url.Parse(w.ear.URL)
	if err != nil {
		t.Fatal(err)
	}
	proxy := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(to) }}
	var late atomic.Int32
	enough, goOn := make(chan struct{}), make(chan struct{})
	slow := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		switch path := r.URL.Path; {
		case strings.Contains(path, fmt.Sprint(list[0])): // lets all other calls be made at once
		case strings.Contains(path, fmt.Sprint(list[3])):
			<-enough
		default:
			if late.Add(1) == 25 {
				close(enough)
			}
			<-goOn
		}
		proxy.ServeHTTP(rw, r)
	}))
	defer slow.Close()
	w = w.with("CAPILLARY_BASE_URL=" + slow.URL)
	batch := w.enqueue(list)
	w.exec("UPDATE remote_organizations SET number = 100001")
	run := w.start("run", "--once")
	w.until("the breaker opened", func() bool { return w.count(wrongBrand) == 1 })
	<-time.After(2 * time.Second) // the worker has claimed again since
	close(goOn)
	if e := run.wait(); e.status != 1 {
		t.Errorf("%s", e)
	}
	for id, c := range w.came(batch) {
		if c.State != "pending" && id != list[0] { // it was answered before anything was known
			t.Errorf("customer %d ended: %+v", id, c)
		}
	}
}

const wrongBrand = "SELECT count(*) FROM organizations WHERE breaker_reason = 'wrong_organisation'"
