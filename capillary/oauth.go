package capillary

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/imagepurge/imagepurge/jobs"
)

const (
	tokenPath   = "/v3/oauth/token/generate" //nolint:gosec // a path, no credential
	tokenHeader = "X-CAP-API-OAUTH-TOKEN"    //nolint:gosec // a header's name
	typeHeader  = "X-CAP-API-ATTRIBUTION-ENTITY-TYPE"
	codeHeader  = "X-CAP-API-ATTRIBUTION-ENTITY-CODE"

	// The API page: tokens live 5 to 60 minutes. A life that can't be is taken for
	// the shortest, one that is longer than a day for the longest.
	shortestLife = 5 * time.Minute
	longestLife  = time.Hour
	absurdLife   = 24 * time.Hour
	renewBefore  = 30 * time.Second
	// tokenRetry is how long a failure to fetch a token holds for those that ask next.
	tokenRetry    = time.Second
	maxTokenBytes = 64 << 10
)

// auth is how calls authenticate: with a fixed header, or with tokens.
type auth struct {
	fixed  credentials
	tokens *tokenKeeper
}

// pass is the permission to make one request.
type pass struct {
	sign  credentials
	token *token // nil: Basic
}

// Authenticate takes the credentials of o for all calls that begin from now on.
// Everything else in o is left aside. Its errors name no value.
func (c *Client) Authenticate(o Options) error {
	next := &auth{}
	switch {
	case o.OAuthKey == "" && o.OAuthSecret == "":
		basic, err := o.basic()
		if err != nil {
			return err
		}
		next.fixed = basic
	case o.Username != "" || o.Password != "" || o.PasswordMD5 != "":
		return errors.New("credentials for Basic and for OAuth exclude each other")
	case o.OAuthKey == "" || o.OAuthSecret == "":
		return errors.New("OAuth needs both key and secret")
	case (o.AttributionType == "") != (o.AttributionCode == ""):
		return errors.New("the attribution needs both type and code")
	case !headerValue(o.AttributionType) || !headerValue(o.AttributionCode):
		return errors.New("the attribution holds a character that a header can't carry")
	default:
		next.tokens = &tokenKeeper{
			now: c.now, timeout: c.timeout, attributionType: o.AttributionType, attributionCode: o.AttributionCode,
			fetch: c.fetcher(o.OAuthKey, o.OAuthSecret),
		}
	}
	if before := c.auth.Swap(next); before != nil {
		before.close()
	}
	return nil
}

func headerValue(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r > '~' })
}

func (a *auth) pass(ctx context.Context) (pass, *tokenFailure) {
	if a.tokens == nil {
		return pass{sign: a.fixed}, nil
	}
	t, failed := a.tokens.get(ctx)
	if failed != nil {
		return pass{}, failed
	}
	return pass{sign: t.sign, token: t}, nil
}

// judge looks at the answer of a kind of call. It is true where the token was at
// fault, and a new one may mend it; a 401 with a token that was fetched for that very
// reason is a refusal like any other. A key that may list and not delete is refused,
// however many listings its tokens are good for.
func (a *auth) judge(p pass, kind jobs.Kind, answer jobs.Answer) bool {
	switch {
	case p.token == nil, answer.HTTPStatus == 0:
		return false
	case answer.HTTPStatus != http.StatusUnauthorized:
		a.tokens.proven(p.token, kind)
		return false
	case answer.Class != jobs.ClassRefused:
		return false
	}
	return a.tokens.rejected(p.token, kind)
}

func (a *auth) close() {
	if a.tokens != nil {
		a.tokens.close()
	}
}

// token is one as it was given. Its text is in sign alone: see credentials.
type token struct {
	sign    credentials
	renewAt time.Time
	until   time.Time
	suspect map[jobs.Kind]bool // fetched since one was not taken for such a call, and not taken itself as yet
}

// tokenFailure is why there is no token.
type tokenFailure struct {
	verdict    verdict
	status     int
	retryAfter time.Duration
}

// fetched is what one call for a token came to.
type fetched struct {
	value  string
	life   time.Duration
	failed *tokenFailure
}

// tokenKeeper keeps the token, and fetches the next one before it ends. However many
// calls wait, one fetches; it is on nobody's deadline but its own.
type tokenKeeper struct {
	fetch                            func(context.Context) fetched
	now                              func() time.Time
	timeout                          time.Duration
	attributionType, attributionCode string

	mu      sync.Mutex
	current *token
	suspect map[jobs.Kind]bool
	renewal chan struct{} // closed when the one under way has ended; nil: none is
	cancel  context.CancelFunc
	failure *tokenFailure // of the last one
	retryAt time.Time
	group   sync.WaitGroup
}

// get returns a token, at once where there is one.
func (t *tokenKeeper) get(ctx context.Context) (*token, *tokenFailure) {
	for {
		t.mu.Lock()
		now := t.now()
		if c := t.current; c != nil && now.Before(c.until) {
			if !now.Before(c.renewAt) {
				t.renew(now)
			}
			t.mu.Unlock()
			return c, nil
		}
		t.current = nil
		t.renew(now)
		renewal, failure := t.renewal, t.failure
		t.mu.Unlock()
		if renewal == nil { // the last one failed just now
			return nil, failure
		}
		select {
		case <-renewal:
		case <-ctx.Done():
			return nil, &tokenFailure{}
		}
	}
}

// renew starts a renewal, unless one is under way or has just failed.
func (t *tokenKeeper) renew(now time.Time) {
	if t.renewal != nil || now.Before(t.retryAt) {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), t.timeout)
	done := make(chan struct{})
	t.renewal, t.cancel = done, cancel
	t.group.Go(func() {
		got := t.fetch(ctx)
		cancel()
		t.mu.Lock()
		defer t.mu.Unlock()
		t.renewal, t.cancel = nil, nil
		defer close(done)
		if t.failure = got.failed; got.failed != nil {
			t.retryAt = t.now().Add(tokenRetry)
			return
		}
		// Its life is counted from before it was asked for.
		t.retryAt = time.Time{}
		t.current = newToken(t.signer(got.value), now, got.life, maps.Clone(t.suspect))
	})
}

func newToken(sign credentials, asked time.Time, life time.Duration, suspect map[jobs.Kind]bool) *token {
	switch {
	case life <= 0:
		life = shortestLife
	case life > absurdLife:
		life = longestLife
	}
	renewAfter := max(min(life*8/10, life-renewBefore), life/2)
	return &token{sign: sign, renewAt: asked.Add(renewAfter), until: asked.Add(life - min(life/10, 5*time.Second)), suspect: suspect}
}

func (t *tokenKeeper) signer(value string) credentials {
	return func(r *http.Request) {
		r.Header.Set(tokenHeader, value)
		if t.attributionType != "" {
			r.Header.Set(typeHeader, t.attributionType)
			r.Header.Set(codeHeader, t.attributionCode)
		}
	}
}

// proven: the token was taken for such a call.
func (t *tokenKeeper) proven(of *token, kind jobs.Kind) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if of.suspect[kind] || t.suspect[kind] && of == t.current {
		delete(of.suspect, kind)
		delete(t.suspect, kind)
	}
}

// rejected: the token was not taken. It is dropped, and the next one is fetched at
// once, so that the next call needn't wait. It is true where the next may be taken.
func (t *tokenKeeper) rejected(of *token, kind jobs.Kind) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.current == of {
		t.current = nil
	}
	hopeless := of.suspect[kind]
	if t.suspect == nil {
		t.suspect = make(map[jobs.Kind]bool)
	}
	t.suspect[kind] = true
	if !hopeless && t.current == nil {
		t.renew(t.now())
	}
	return !hopeless
}

// close ends a renewal that is under way and waits for it.
func (t *tokenKeeper) close() {
	t.mu.Lock()
	if t.cancel != nil {
		t.cancel()
	}
	t.mu.Unlock()
	t.group.Wait()
}

// noToken answers a call that got no token: nothing of it was sent.
func (c *Client) noToken(parent, timed context.Context, f tokenFailure) jobs.Answer {
	if f.verdict.class == "" { // its own deadline was over first
		f.verdict = verdict{class: jobs.ClassNotRun, code: "token_unavailable"}
		if contextWord(parent, timed) == "cancelled" {
			f.verdict.code = "cancelled"
		}
	}
	a := c.answer(f.verdict, f.status, time.Time{})
	a.RetryAfter = f.retryAfter
	return a
}

// newTokenTransport shares the dial and the TLS of the calls. A connection serves
// one call: they are many minutes apart.
func newTokenTransport(d *dialer) *http.Transport {
	var protocols http.Protocols
	protocols.SetHTTP1(true)
	return &http.Transport{
		Protocols:              &protocols,
		DialContext:            d.connect,
		TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: d.tls.RootCAs, ServerName: d.tls.ServerName, NextProtos: []string{"http/1.1"}},
		DisableCompression:     true,
		DisableKeepAlives:      true,
		MaxResponseHeaderBytes: maxResponseHeaderBytes,
	}
}

// fetcher returns the call for a token. A func, as credentials are, so that no
// printer finds the secret.
func (c *Client) fetcher(key, secret string) func(context.Context) fetched {
	return func(ctx context.Context) fetched {
		body, err := json.Marshal(map[string]string{"key": key, "secret": secret})
		if err != nil {
			return fetched{failed: unavailable(0)}
		}
		defer clear(body)
		target := url.URL{Scheme: c.base.Scheme, Host: c.base.Host, Path: tokenPath}
		request, err := http.NewRequestWithContext(ctx, http.MethodPost, target.String(), bytes.NewReader(body))
		if err != nil {
			return fetched{failed: unavailable(0)}
		}
		request.Header = http.Header{"Accept": {"application/json"}, "Content-Type": {"application/json"}, "User-Agent": {c.userAgent}}
		// No http.Client here either: the secret follows no redirect.
		response, err := c.tokenTransport.RoundTrip(request)
		if err != nil {
			return fetched{failed: unavailable(0)} // its text can hold an address
		}
		defer response.Body.Close()
		answer, err := io.ReadAll(io.LimitReader(response.Body, maxTokenBytes+1))
		defer clear(answer)
		if status := response.StatusCode; status != http.StatusOK && status != http.StatusCreated {
			f := noTokenBecause(status)
			f.retryAfter = retryAfter(response.Header, c.now())
			return fetched{failed: f}
		}
		if err != nil || len(answer) > maxTokenBytes {
			return fetched{failed: unavailable(response.StatusCode)}
		}
		return readToken(answer, response.StatusCode)
	}
}

func unavailable(status int) *tokenFailure {
	return &tokenFailure{verdict: verdict{class: jobs.ClassNotRun, code: "token_unavailable"}, status: status}
}

// noTokenBecause is the call's class where no token was given. Nothing was sent to
// the customer's address, so nothing is unknown.
func noTokenBecause(status int) *tokenFailure {
	v := byStatus(status, "")
	switch v.class {
	case jobs.ClassRefused, jobs.ClassOverLimit:
		return &tokenFailure{verdict: v, status: status}
	case jobs.ClassInvalid: // the key itself is at fault, not a customer
		return &tokenFailure{verdict: verdict{class: jobs.ClassRefused, code: strconv.Itoa(status)}, status: status}
	}
	return unavailable(status)
}

// readToken reads the answer's body. A success without a token may be told as an
// error in a body of its own; nobody has documented it: no token.
func readToken(body []byte, status int) fetched {
	var in struct {
		Data *struct {
			AccessToken string      `json:"accessToken"`
			TTLSeconds  json.Number `json:"ttlSeconds"`
		} `json:"data"`
	}
	if err := json.Unmarshal(body, &in); err != nil || in.Data == nil || in.Data.AccessToken == "" || !headerValue(in.Data.AccessToken) {
		return fetched{failed: unavailable(status)}
	}
	seconds, err := in.Data.TTLSeconds.Float64()
	if err != nil || seconds <= 0 {
		seconds = 0
	}
	return fetched{value: in.Data.AccessToken, life: time.Duration(min(seconds, 2*absurdLife.Seconds()) * float64(time.Second))}
}
