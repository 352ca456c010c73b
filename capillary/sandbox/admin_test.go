package sandbox_test

import (
	"bytes"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/imagepurge/imagepurge/capillary/sandbox"
)

func TestAdminDrivesAndJudgesFromOutside(t *testing.T) {
	t.Parallel()
	w := withImages(t, 2, sandbox.Options{Now: newClock().Now, Limit: sandbox.Limit{PerMinute: 2}})
	nobody := func(r *http.Request) { r.Header.Del("Authorization") }
	at := func(path string) string { return fmt.Sprintf("/sandbox/customers/%d%s", id, path) }
	now := func() []string {
		var c sandbox.Customer
		if err := json.Unmarshal(w.do("GET", at(""), nil, nobody).raw, &c); err != nil {
			t.Fatal(err)
		}
		out := []string{}
		for _, img := range c.Images {
			out = append(out, img.Token)
		}
		return out
	}
	w.srv.Script(id, []sandbox.Fault{sandbox.FaultHTMLRan})
	w.delete(id, 1)
	w.list(id)
	w.list(id) // over the limit
	if diff := cmp.Diff(now(), tokens(id, 0)); diff != "" {
		t.Errorf("images (-got +want):\n%s", diff)
	}
	for _, c := range []struct {
		method, path  string
		status, after int
	}{
		{"POST", at("/images"), 200, 2},
		{"POST", at("/images?place=front"), 200, 3},
		{"POST", at("/images?replace=1"), 200, 3}, // the first one
		{"POST", at("/images?replace=3"), 400, 3},
		{"POST", at("/images"), 200, 4},
		{"POST", at("/images"), 200, 5},
		{"POST", at("/images"), 409, 5},
		{"DELETE", at("/images/5"), 404, 5},
		{"DELETE", at("/images/-1"), 404, 5},
		{"DELETE", at("/images/0"), 200, 4},
		{"PUT", at("/images/0"), 404, 4},
		{"POST", "/sandbox/customers/9/images", 409, 4},
		{"GET", "/sandbox/customers/x", 400, 4},
		{"GET", "/sandbox/nothing", 404, 4},
	} {
		if a := w.do(c.method, c.path, nil, nobody); a.status != c.status || len(now()) != c.after {
			t.Errorf("%s %s: status %d, %d images; want %d, %d", c.method, c.path, a.status, len(now()), c.status, c.after)
		}
	}
	for _, token0 := range now() {
		if token0 == token(id, 0) {
			t.Error("the replaced image is still there")
		}
	}

	var stats sandbox.Stats
	if err := json.Unmarshal(w.do("GET", "/sandbox/stats", nil, nobody).raw, &stats); err != nil {
		t.Fatal(err)
	}
	want := sandbox.Stats{Customers: 1, ImagesAtStart: 2, ImagesNow: 4, Counters: sandbox.Counters{
		Requests: 3, Lists: 2, Deletes: 1, DeletesExecuted: 1, ImagesDeleted: 1, ImagesRemoved: 2, ImagesAdded: 5,
		RateLimited: 1, Faults: map[sandbox.Fault]int{sandbox.FaultHTMLRan: 1}}}
	if diff := cmp.Diff(stats, want); diff != "" {
		t.Errorf("stats (-got +want):\n%s", diff)
	}
	entries, err := sandbox.ReadNDJSON(bytes.NewReader(w.do("GET", "/sandbox/journal", nil, nobody).raw))
	if diff := cmp.Diff(entries, w.srv.Journal().Entries()); err != nil || diff != "" {
		t.Errorf("journal: %v (-got +want):\n%s", err, diff)
	}
}

func TestAdminIsForLoopbackOnly(t *testing.T) {
	t.Parallel()
	for exposed, want := range map[bool]int{false: 403, true: 200} {
		srv := sandbox.New(sandbox.Options{Exposed: exposed})
		for address, want := range map[string]int{"192.0.2.1:1234": want, "127.0.0.1:1": 200, "[::1]:1": 200} {
			r := httptest.NewRequest("GET", "/sandbox/stats", nil)
			r.RemoteAddr = address
			rec := httptest.NewRecorder()
			srv.ServeHTTP(rec, r)
			if rec.Code != want {
				t.Errorf("exposed %v, from %s: %d, want %d", exposed, address, rec.Code, want)
			}
		}
	}
}

func TestStatsOfAPopulation(t *testing.T) {
	t.Parallel()
	p := sandbox.Populate(1, 500, sandbox.PopulateOptions{Unknown: 0.1, Merged: 0.1, Erased: 0.1})
	srv := sandbox.New(sandbox.Options{Population: p})
	customers, images := p.Counts()
	s := srv.Stats()
	if s.Customers != customers[sandbox.Present]+customers[sandbox.Merged] || s.ImagesAtStart != images || s.ImagesNow != images {
		t.Errorf("stats %+v, population %v with %d images", s, customers, images)
	}
	// One of the population set anew counts once.
	if err := srv.Model().Put(sandbox.Customer{ID: p.ID(0), Images: []sandbox.Image{image(p.ID(0), 0)}}); err != nil {
		t.Fatal(err)
	}
	was, _ := p.Customer(p.ID(0))
	wantImages, wantCustomers := images+1, s.Customers
	if was.Standing == sandbox.Present {
		wantImages -= len(was.Images)
	}
	if was.Standing == sandbox.Unknown || was.Standing == sandbox.Erased {
		wantCustomers++
	}
	if got := srv.Stats(); got.ImagesAtStart != wantImages || got.Customers != wantCustomers {
		t.Errorf("after Put: %+v, want %d images and %d customers", got, wantImages, wantCustomers)
	}
}

func TestListen(t *testing.T) {
	t.Parallel()
	srv := sandbox.New(sandbox.Options{HTTP2: true})
	t.Cleanup(srv.Close)
	if l, err := srv.Listen("0.0.0.0:0"); err == nil {
		l.Close()
		t.Error("listens on every address though not exposed")
	}
	plain, err := srv.Listen("")
	if err != nil {
		t.Fatal(err)
	}
	res, err := http.Get(plain.URL + "/sandbox/stats")
	if err != nil || res.StatusCode != 200 {
		t.Fatalf("plain: %v", err)
	}
	res.Body.Close()
	if err := plain.Close(); err != nil {
		t.Error(err)
	}
	if res, err := http.Get(plain.URL + "/sandbox/stats"); err == nil {
		res.Body.Close()
		t.Error("answers after Close")
	}

	secure, err := srv.ListenTLS("")
	if err != nil {
		t.Fatal(err)
	}
	defer secure.Close()
	for _, http2 := range []bool{false, true} {
		transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: secure.Roots}, Protocols: new(http.Protocols)}
		transport.Protocols.SetHTTP1(!http2)
		transport.Protocols.SetHTTP2(http2)
		defer transport.CloseIdleConnections()
		r, _ := http.NewRequest("GET", secure.URL+"/v2/customers/1?source=INSTORE", nil)
		r.SetBasicAuth(sandbox.DefaultKey().Username, sandbox.DefaultKey().BasicPassword())
		res, err := (&http.Client{Transport: transport}).Do(r)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		entries := srv.Journal().Entries()
		want := map[bool]string{false: "HTTP/1.1", true: "HTTP/2.0"}[http2]
		if got := entries[len(entries)-1].Proto; got != want || res.ProtoMajor == 2 != http2 {
			t.Errorf("protocol %s, want %s", got, want)
		}
	}
	if _, err := http.Get(secure.URL + "/sandbox/stats"); err == nil {
		t.Error("a client that does not know the certificate trusts it")
	}
}

func BenchmarkServer(b *testing.B) {
	p := sandbox.Populate(1, 1_000_000, sandbox.PopulateOptions{})
	srv := sandbox.New(sandbox.Options{Population: p})
	b.ReportAllocs()
	for n := 0; b.Loop(); n++ {
		c := p.ID(n / 2 % p.Len())
		r := httptest.NewRequest("GET", fmt.Sprintf("/v2/customers/%d?embed=CUSTOMERIMAGE&source=INSTORE", c), nil)
		if n%2 == 1 {
			r = httptest.NewRequest("DELETE", fmt.Sprintf("/v2/customers/%d/deleteImage?image_ids=0", c), nil)
		}
		r.SetBasicAuth(sandbox.DefaultKey().Username, sandbox.DefaultKey().BasicPassword())
		srv.ServeHTTP(httptest.NewRecorder(), r)
	}
}
