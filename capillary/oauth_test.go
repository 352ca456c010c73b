package capillary

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/imagepurge/imagepurge/jobs"
)

const (
	testKey    = "key-of-the-test"
	testSecret = "secret-of-the-test"
)

// platform is an API that wants tokens, as tokens as a test makes it.
type platform struct {
	mu      sync.Mutex
	made    int
	valid   map[string]bool
	calls   []string                                // method and token of each
	answer  func(w http.ResponseWriter, n int) bool // of the token call; false: as usual
	refuse  bool                                    // no token is taken
	headers http.Header
}

func (p *platform) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if r.URL.Path == tokenPath {
		p.made++
		var in map[string]string
		body, _ := io.ReadAll(r.Body)
		_ = json.Unmarshal(body, &in)
		if p.answer != nil && p.answer(w, p.made) {
			return
		}
		if r.Method != http.MethodPost || in["key"] != testKey || in["secret"] != testSecret || len(in) != 2 {
			w.WriteHeader(401)
			return
		}
		value := fmt.Sprintf("token.%d.signature", p.made)
		p.valid[value] = true
		fmt.Fprintf(w, `{"data":{"accessToken":%q,"ttlSeconds":300},"errors":null}`, value)
		return
	}
	value := r.Header.Get(tokenHeader)
	p.calls, p.headers = append(p.calls, r.Method+" "+value), r.Header.Clone()
	switch {
	case p.refuse || !p.valid[value]:
		w.WriteHeader(401)
	case r.Method == http.MethodDelete:
		_, _ = io.WriteString(w, success)
	default:
		_, _ = io.WriteString(w, noImages)
	}
}

func (p *platform) revoke() {
	p.mu.Lock()
	defer p.mu.Unlock()
	clear(p.valid)
}

func (p *platform) seen() (made int, calls []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.made, append([]string(nil), p.calls...)
}

func newPlatform(t *testing.T) (*platform, *Client) {
	t.Helper()
	p := &platform{valid: map[string]bool{}}
	s := serve(t, p.ServeHTTP)
	return p, newClient(t, Options{
		BaseURL: s.URL, OAuthKey: testKey, OAuthSecret: testSecret, AttributionType: "TILL", AttributionCode: "till.of.the.test",
		RequestTimeout: 5 * time.Second, Now: time.Now,
	})
}

func TestTokensAreUsed(t *testing.T) {
	p, c := newPlatform(t)
	for range 3 {
		expect(t, c.List(t.Context(), customer(7)), jobs.ClassListed, 200, "")
		expect(t, c.Delete(t.Context(), permit(7)), jobs.ClassDeleted, 200, "")
	}
	made, calls := p.seen()
	if made != 1 || len(calls) != 6 {
		t.Errorf("%d tokens for %q", made, calls)
	}
	if p.headers.Get(typeHeader) != "TILL" || p.headers.Get(codeHeader) != "till.of.the.test" || p.headers.Get("Authorization") != "" {
		t.Errorf("headers: %v", p.headers)
	}
}

// A call with it did not run, and is not sent again: each call has a slot, and a
// DELETE its intent. The next call has a new token.
func TestATokenThatIsNotTakenAnyMore(t *testing.T) {
	p, c := newPlatform(t)
	expect(t, c.List(t.Context(), customer(7)), jobs.ClassListed, 200, "")
	p.revoke()
	expect(t, c.List(t.Context(), customer(7)), jobs.ClassNotRun, 401, "token_expired")
	expect(t, c.List(t.Context(), customer(7)), jobs.ClassListed, 200, "")
	p.revoke()
	before, _ := p.seen()
	got := c.Delete(t.Context(), permit(7))
	expect(t, got, jobs.ClassNotRun, 401, "token_expired")
	if got.SentAt.IsZero() {
		t.Error("it was sent, and its time is not told")
	}
	expect(t, c.Delete(t.Context(), permit(7)), jobs.ClassDeleted, 200, "")
	made, calls := p.seen()
	if made != before+1 {
		t.Errorf("%d tokens were fetched", made-before)
	}
	deletes := 0
	for _, call := range calls {
		if strings.HasPrefix(call, "DELETE") {
			deletes++
		}
	}
	if deletes != 2 {
		t.Errorf("two clearances, %d DELETEs: %q", deletes, calls)
	}
}

// A key that may list and not delete: that its tokens are good for listings does not
// make each refused DELETE a token that has ended.
func TestAKeyThatMayNotDelete(t *testing.T) {
	p := &platform{valid: map[string]bool{}}
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodDelete {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		p.ServeHTTP(w, r)
	})
	c := newClient(t, Options{BaseURL: s.URL, OAuthKey: testKey, OAuthSecret: testSecret, RequestTimeout: 5 * time.Second, Now: time.Now})
	for n := range 5 {
		expect(t, c.List(t.Context(), customer(7)), jobs.ClassListed, 200, "")
		if a := c.Delete(t.Context(), permit(7)); n > 0 && a.Class != jobs.ClassRefused {
			t.Errorf("DELETE %d: %+v", n+1, a)
		}
	}
	if made, _ := p.seen(); made > 5 { // one for each DELETE that was refused
		t.Errorf("%d tokens were fetched", made)
	}
}

// A 401 with a token that was fetched for a 401 is a refusal: each further call
// may lock the till.
func TestASecond401IsARefusal(t *testing.T) {
	for name, call := range map[string]func(*Client) jobs.Answer{
		"list":   func(c *Client) jobs.Answer { return c.List(context.Background(), customer(7)) },
		"delete": func(c *Client) jobs.Answer { return c.Delete(context.Background(), permit(7)) },
	} {
		t.Run(name, func(t *testing.T) {
			p, c := newPlatform(t)
			p.refuse = true
			expect(t, call(c), jobs.ClassNotRun, 401, "token_expired")
			expect(t, call(c), jobs.ClassRefused, 401, "401")
			expect(t, call(c), jobs.ClassRefused, 401, "401")
			if _, calls := p.seen(); len(calls) != 3 {
				t.Errorf("%d calls: %q", len(calls), calls)
			}
			// Once it is mended, all is as before.
			p.mu.Lock()
			p.refuse = false
			p.mu.Unlock()
			if a := call(c); a.Class != jobs.ClassListed && a.Class != jobs.ClassDeleted {
				t.Errorf("%+v", a)
			}
			p.revoke()
			expect(t, call(c), jobs.ClassNotRun, 401, "token_expired")
			if a := call(c); a.Class != jobs.ClassListed && a.Class != jobs.ClassDeleted {
				t.Errorf("%+v", a)
			}
		})
	}
}

// Without a token nothing is sent, so nothing is unknown.
func TestTokenEndpointFaults(t *testing.T) {
	for name, c := range map[string]struct {
		status int
		body   string
		class  jobs.Class
		seen   int
		code   string
	}{
		"wrong secret": {401, "", jobs.ClassRefused, 401, "401"},
		"forbidden":    {403, "", jobs.ClassRefused, 403, "403"},
		"invalid":      {400, "", jobs.ClassRefused, 400, "400"},
		"redirect":     {307, "", jobs.ClassRefused, 307, "redirect"},
		"over limit":   {429, "", jobs.ClassOverLimit, 429, "429"},
		"fault":        {503, "", jobs.ClassNotRun, 503, "token_unavailable"},
		"time-out":     {504, "", jobs.ClassNotRun, 504, "token_unavailable"},
		"no JSON":      {200, "<html>", jobs.ClassNotRun, 200, "token_unavailable"},
		"no token":     {200, `{"data":{"accessToken":"","ttlSeconds":300}}`, jobs.ClassNotRun, 200, "token_unavailable"},
		"no data":      {200, `{"data":null,"errors":[{"code":1}]}`, jobs.ClassNotRun, 200, "token_unavailable"},
		"a header":     {200, `{"data":{"accessToken":"a\nb","ttlSeconds":300}}`, jobs.ClassNotRun, 200, "token_unavailable"},
		"endless":      {200, strings.Repeat(" ", maxTokenBytes+1), jobs.ClassNotRun, 200, "token_unavailable"},
	} {
		t.Run(name, func(t *testing.T) {
			p, client := newPlatform(t)
			p.answer = func(w http.ResponseWriter, _ int) bool {
				w.Header().Set("Location", tokenPath)
				w.Header().Set("Retry-After", "7")
				w.WriteHeader(c.status)
				_, _ = io.WriteString(w, c.body)
				return true
			}
			for range 2 {
				got := client.Delete(t.Context(), permit(7))
				if got.Class != c.class || got.HTTPStatus != c.seen || got.Code != c.code || !got.SentAt.IsZero() {
					t.Errorf("%+v", got)
				}
				if c.status == 429 && got.RetryAfter != 7*time.Second {
					t.Errorf("Retry-After %v", got.RetryAfter)
				}
				if text := fmt.Sprintf("%+v %v", got, client); strings.Contains(text, testSecret) || strings.Contains(text, testKey) {
					t.Errorf("a secret is told: %s", text)
				}
			}
			if made, calls := p.seen(); len(calls) != 0 || made > 2 {
				t.Errorf("%d token calls, and %q", made, calls)
			}
		})
	}
}

func TestOAuthOptions(t *testing.T) {
	good := Options{BaseURL: "https://x.example", OAuthKey: testKey, OAuthSecret: testSecret, RequestTimeout: time.Second, Now: time.Now}
	for name, change := range map[string]func(*Options){
		"no secret":      func(o *Options) { o.OAuthSecret = "" },
		"no key":         func(o *Options) { o.OAuthKey = "" },
		"with Basic":     func(o *Options) { o.Username = testUser },
		"half a till":    func(o *Options) { o.AttributionType = "TILL" },
		"a broken till":  func(o *Options) { o.AttributionType, o.AttributionCode = "TILL", "a\r\nb" },
		"the other half": func(o *Options) { o.AttributionCode = "x" },
	} {
		o := good
		change(&o)
		if _, err := New(o); err == nil || strings.Contains(err.Error(), testSecret) || strings.Contains(err.Error(), testKey) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := New(good); err != nil {
		t.Error(err)
	}
}

// New credentials hold for the calls that begin after them.
func TestAuthenticate(t *testing.T) {
	p, c := newPlatform(t)
	wrong := Options{OAuthKey: testKey, OAuthSecret: "x"}
	if err := c.Authenticate(wrong); err != nil {
		t.Fatal(err)
	}
	expect(t, c.List(t.Context(), customer(7)), jobs.ClassRefused, 401, "401")
	if err := c.Authenticate(Options{OAuthKey: testKey}); err == nil {
		t.Error("half of the credentials are taken")
	}
	if err := c.Authenticate(Options{OAuthKey: testKey, OAuthSecret: testSecret}); err != nil {
		t.Fatal(err)
	}
	expect(t, c.List(t.Context(), customer(7)), jobs.ClassListed, 200, "")
	if made, _ := p.seen(); made != 2 {
		t.Errorf("%d token calls", made)
	}
}

// keeper is one whose fetch a test makes; it counts.
func keeper(life time.Duration, fetch func(ctx context.Context, n int) *tokenFailure) (*tokenKeeper, func() int) {
	var mu sync.Mutex
	n := 0
	k := &tokenKeeper{now: time.Now, timeout: 20 * time.Second}
	k.fetch = func(ctx context.Context) fetched {
		mu.Lock()
		n++
		nth := n
		mu.Unlock()
		if failed := fetch(ctx, nth); failed != nil {
			return fetched{failed: failed}
		}
		return fetched{value: fmt.Sprint(nth), life: life}
	}
	return k, func() int { mu.Lock(); defer mu.Unlock(); return n }
}

func (t *token) text() string {
	r := &http.Request{Header: http.Header{}}
	t.sign(r)
	return r.Header.Get(tokenHeader)
}

func TestOneRenewalForAllThatWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k, count := keeper(5*time.Minute, func(context.Context, int) *tokenFailure { goBy(time.Second); return nil })
		defer k.close()
		for round := range 5 {
			var (
				group sync.WaitGroup
				got   [50]*token
			)
			for i := range got {
				group.Go(func() {
					var failed *tokenFailure
					if got[i], failed = k.get(t.Context()); failed != nil || got[i].text() != fmt.Sprint(round+1) {
						t.Errorf("round %d: %v", round, failed)
					}
				})
			}
			group.Wait()
			if n := count(); n != round+1 || t.Failed() {
				t.Fatalf("round %d: %d fetches", round, n)
			}
			for i, each := range got { // as when the platform revokes it under all of them
				k.proven(each, jobs.ListCall)
				if i%2 == 0 && !k.rejected(each, jobs.ListCall) {
					t.Error("hopeless, though the token was taken before")
				}
			}
		}
	})
}

func TestTokenIsRenewedBeforeItEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k, count := keeper(5*time.Minute, func(context.Context, int) *tokenFailure { goBy(time.Second); return nil })
		defer k.close()
		get := func() string {
			t.Helper()
			got, failed := k.get(t.Context())
			if failed != nil {
				t.Fatal(failed)
			}
			return got.text()
		}
		began := time.Now()
		get()
		goBy(4*time.Minute - time.Since(began) - time.Nanosecond)
		if text := get(); text != "1" || count() != 1 {
			t.Errorf("%s after %d fetches", text, count())
		}
		goBy(time.Nanosecond)
		for range 10 { // nobody waits for it
			if text := get(); text != "1" {
				t.Errorf("%s", text)
			}
		}
		if waited := time.Since(began); waited != 4*time.Minute {
			t.Errorf("waited until %v", waited)
		}
		goBy(2 * time.Second)
		if text := get(); text != "2" || count() != 2 {
			t.Errorf("%s after %d fetches", text, count())
		}
		goBy(time.Hour) // nobody asked: it has ended
		if text := get(); text != "3" {
			t.Errorf("%s", text)
		}
	})
}

func TestADeadlineHoldsWhileWaitingForAToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k, _ := keeper(5*time.Minute, func(ctx context.Context, _ int) *tokenFailure { <-ctx.Done(); return unavailable(0) })
		defer k.close()
		began := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		if _, failed := k.get(ctx); failed == nil || time.Since(began) != 3*time.Second {
			t.Errorf("%v after %v", failed, time.Since(began))
		}
		// The renewal has its own deadline, and what it came to is told to who waits.
		if _, failed := k.get(t.Context()); failed == nil || failed.verdict.class != jobs.ClassNotRun || time.Since(began) != 20*time.Second {
			t.Errorf("%v after %v", failed, time.Since(began))
		}
	})
}

func TestAFailedRenewalKeepsTheOldToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k, count := keeper(5*time.Minute, func(_ context.Context, n int) *tokenFailure {
			if n == 1 {
				return nil
			}
			return unavailable(503)
		})
		defer k.close()
		began := time.Now()
		for time.Since(began) < 5*time.Minute-5*time.Second {
			if got, failed := k.get(t.Context()); failed != nil || got.text() != "1" {
				t.Fatalf("after %v: %v", time.Since(began), failed)
			}
			goBy(100 * time.Millisecond)
		}
		if n := count(); n < 10 || n > 60 { // once a second from 4m on
			t.Errorf("%d fetches", n)
		}
		if _, failed := k.get(t.Context()); failed == nil {
			t.Error("a token that has ended is given out")
		}
	})
}

func TestLivesOfTokens(t *testing.T) {
	at := time.Now()
	for life, want := range map[time.Duration][2]time.Duration{
		5 * time.Minute:       {4 * time.Minute, 5*time.Minute - 5*time.Second},
		time.Hour:             {48 * time.Minute, time.Hour - 5*time.Second},
		time.Minute:           {30 * time.Second, 55 * time.Second},
		10 * time.Second:      {5 * time.Second, 9 * time.Second},
		0:                     {4 * time.Minute, 5*time.Minute - 5*time.Second},
		-time.Hour:            {4 * time.Minute, 5*time.Minute - 5*time.Second},
		25 * time.Hour:        {48 * time.Minute, time.Hour - 5*time.Second},
		100 * 365 * time.Hour: {48 * time.Minute, time.Hour - 5*time.Second},
	} {
		if got := newToken(nil, at, life, nil); got.renewAt.Sub(at) != want[0] || got.until.Sub(at) != want[1] {
			t.Errorf("%v: renewed after %v, over after %v", life, got.renewAt.Sub(at), got.until.Sub(at))
		}
	}
	for seconds, want := range map[string]time.Duration{`300`: 5 * time.Minute, `"300"`: 5 * time.Minute, `1e30`: 48 * time.Hour, `-1`: 0, `null`: 0} {
		if got := readToken([]byte(`{"data":{"accessToken":"t","ttlSeconds":`+seconds+`}}`), 200); got.failed != nil || got.life != want {
			t.Errorf("%s: %v %v", seconds, got.life, got.failed)
		}
	}
}

// goBy lets time pass: in a bubble it costs none.
func goBy(d time.Duration) { <-time.After(d) }
