package sandbox_test

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/imagepurge/imagepurge/capillary/sandbox"
)

// The clock begins on the full minute, 10:00:00.
func TestLimit(t *testing.T) {
	t.Parallel()
	// A story: seconds to pass, and the status of the call then.
	type call struct {
		after  time.Duration
		status int
	}
	for _, c := range []struct {
		name  string
		limit sandbox.Limit
		story []call
	}{
		{"sliding: the turn of the minute does not help", sandbox.Limit{PerMinute: 2, Window: sandbox.WindowSliding},
			[]call{{50 * time.Second, 200}, {5 * time.Second, 200}, {6 * time.Second, 429}, {48 * time.Second, 429},
				{time.Second, 200}, {time.Second, 429}, {4 * time.Second, 200}}},
		{"calendar: the turn of the minute helps", sandbox.Limit{PerMinute: 2, Window: sandbox.WindowCalendar},
			[]call{{50 * time.Second, 200}, {5 * time.Second, 200}, {4 * time.Second, 429}, {time.Second, 200}, {0, 200}, {0, 429}}},
		{"both refuse what either would", sandbox.Limit{PerMinute: 2},
			[]call{{50 * time.Second, 200}, {5 * time.Second, 200}, {5 * time.Second, 429}, {50 * time.Second, 200}}},
		{"refused calls do not count", sandbox.Limit{PerMinute: 1},
			[]call{{0, 200}, {30 * time.Second, 429}, {30 * time.Second, 200}}},
		{"refused calls count where said", sandbox.Limit{PerMinute: 1, CountRefused: true},
			[]call{{0, 200}, {30 * time.Second, 429}, {30 * time.Second, 429}, {60 * time.Second, 200}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			clock := newClock()
			w := withImages(t, 1, sandbox.Options{Now: clock.Now, Limit: c.limit})
			for n, step := range c.story {
				clock.Advance(step.after)
				if a := w.list(id); a.status != step.status {
					t.Fatalf("call %d at %v: status %d, want %d", n, clock.Now(), a.status, step.status)
				}
			}
		})
	}
}

func TestLimitIsStrictUnderParallelCalls(t *testing.T) {
	t.Parallel()
	clock := newClock()
	w := withImages(t, 1, sandbox.Options{Now: clock.Now, Limit: sandbox.Limit{PerMinute: 25}})
	var served atomic.Int32
	var wg sync.WaitGroup
	for range 60 {
		wg.Go(func() {
			if w.list(id).status == 200 {
				served.Add(1)
			}
		})
	}
	wg.Wait()
	if n := served.Load(); n != 25 {
		t.Errorf("%d of 60 calls served, limit 25", n)
	}
	if got := w.srv.Stats(); got.RateLimited != 35 || got.Requests != 60 {
		t.Errorf("stats %+v", got)
	}
}

func TestRetryAfter(t *testing.T) {
	t.Parallel()
	for form, want := range map[sandbox.RetryAfter]string{
		sandbox.RetryAfterNone: "", sandbox.RetryAfterSeconds: "58", sandbox.RetryAfterDate: "Mon, 01 Jun 2026 10:01:01 GMT",
	} {
		clock := newClock()
		w := withImages(t, 1, sandbox.Options{Now: clock.Now, Limit: sandbox.Limit{PerMinute: 1, RetryAfter: form}})
		clock.Advance(500 * time.Millisecond)
		w.list(id)
		clock.Advance(2500 * time.Millisecond)
		a := w.list(id)
		if got := a.header.Get("Retry-After"); a.status != 429 || got != want {
			t.Errorf("%q: status %d, Retry-After %q, want %q", form, a.status, got, want)
		}
		// Who comes exactly then is served.
		clock.Advance(58 * time.Second)
		if a := w.list(id); a.status != 200 {
			t.Errorf("%q: status %d after the wait", form, a.status)
		}
	}
}

func TestAuthentication(t *testing.T) {
	t.Parallel()
	clock := newClock()
	w := withImages(t, 1, sandbox.Options{Now: clock.Now, TokenTTL: 5 * time.Minute, Limit: sandbox.Limit{PerMinute: 100}})
	path := fmt.Sprintf("/v2/customers/%d/deleteImage?image_ids=0", id)
	for name, change := range map[string]func(*http.Request){
		"none":           func(r *http.Request) { r.Header.Del("Authorization") },
		"plain password": func(r *http.Request) { r.SetBasicAuth("till.example", "example-password") },
		"upper-case hash": func(r *http.Request) {
			r.SetBasicAuth("till.example", strings.ToUpper(sandbox.DefaultKey().BasicPassword()))
		},
		"another user":         func(r *http.Request) { r.SetBasicAuth("till.other", sandbox.DefaultKey().BasicPassword()) },
		"a token never issued": func(r *http.Request) { r.Header.Set("X-CAP-API-OAUTH-TOKEN", "header.x.signature") },
	} {
		if a := w.do("DELETE", path, nil, change); a.status != 401 {
			t.Errorf("%s: status %d", name, a.status)
		}
		if e := w.lastEntry(); e.Status != 401 || e.Executed || e.Customer != id {
			t.Errorf("%s: entry %+v", name, e)
		}
	}
	if got := w.truth(id); len(got) != 1 {
		t.Fatalf("deleted without authentication")
	}

	// md5("example-password"), as another program computes it.
	if got, want := sandbox.DefaultKey().BasicPassword(), "cc4436eff149ba9761aaac07b36360ea"; got != want {
		t.Errorf("hash %q", got)
	}
	if a := w.do("POST", "/v3/oauth/token/generate", strings.NewReader(`{"key":"example-key","secret":"x"}`)); a.status != 401 {
		t.Errorf("wrong secret: %d", a.status)
	}
	if a := w.do("POST", "/v3/oauth/token/generate", strings.NewReader(`{`)); a.status != 400 {
		t.Errorf("broken token call: %d", a.status)
	}
	a := w.do("POST", "/v3/oauth/token/generate", strings.NewReader(`{"key":"example-key","secret":"example-secret"}`))
	token := a.body["data"].(map[string]any)["accessToken"].(string)
	with := func(r *http.Request) {
		r.Header.Del("Authorization")
		r.Header.Set("X-CAP-API-OAUTH-TOKEN", token)
	}
	list := fmt.Sprintf("/v2/customers/%d?embed=CUSTOMERIMAGE&source=INSTORE", id)
	clock.Advance(5*time.Minute - time.Second)
	if a := w.do("GET", list, nil, with); a.status != 200 {
		t.Errorf("with a token: %d", a.status)
	}
	clock.Advance(time.Second)
	if a := w.do("GET", list, nil, with); a.status != 401 {
		t.Errorf("with an old token: %d", a.status)
	}
}

func TestEachKeyHasItsOwnLimit(t *testing.T) {
	t.Parallel()
	other := sandbox.Key{Username: "till.other", Password: "another"}
	w := withImages(t, 1, sandbox.Options{Keys: []sandbox.Key{sandbox.DefaultKey(), other}, Now: newClock().Now,
		Limit: sandbox.Limit{PerMinute: 1}})
	list := fmt.Sprintf("/v2/customers/%d?embed=CUSTOMERIMAGE&source=INSTORE", id)
	asOther := func(r *http.Request) { r.SetBasicAuth(other.Username, other.BasicPassword()) }
	got := []int{w.list(id).status, w.do("GET", list, nil, asOther).status, w.list(id).status, w.do("GET", list, nil, asOther).status}
	if diff := cmp.Diff(got, []int{200, 200, 429, 429}); diff != "" {
		t.Errorf("statuses (-got +want):\n%s", diff)
	}
}
