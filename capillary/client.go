package capillary

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/imagepurge/imagepurge/jobs"
	"github.com/imagepurge/imagepurge/jobs/clearance"
)

const (
	// A request is far smaller than this, so net/http hands it to the
	// connection in one write; the guard refuses one that isn't.
	writeBufferBytes       = 64 << 10
	maxResponseHeaderBytes = 64 << 10
	// Shorter than any gateway's known keep-alive, so that a stale connection,
	// which costs a DELETE its clearance, is rare.
	idleConnTimeout = 20 * time.Second
)

// Client calls one API as one till. It is safe for concurrent use.
type Client struct {
	base      *url.URL
	auth      *atomic.Pointer[auth] // see Authenticate
	transport *http.Transport
	// tokenTransport is for the call that fetches a token alone: its body is none
	// that the guard lets pass.
	tokenTransport *http.Transport
	timeout        time.Duration
	userAgent      string
	maxBodyBytes   int64
	now            func() time.Time
}

// New makes a client. Its errors name no credential.
func New(o Options) (*Client, error) {
	base, err := parseBase(o.BaseURL, o.AllowPlainHTTP)
	if err != nil {
		return nil, err
	}
	switch {
	case o.RequestTimeout < minRequestTimeout:
		return nil, fmt.Errorf("request time-out %v is shorter than %v", o.RequestTimeout, minRequestTimeout)
	case o.MaxIdleConns < 0:
		return nil, errors.New("the number of idle connections is negative")
	case o.MaxBodyBytes < 0 || o.MaxBodyBytes > math.MaxInt32:
		return nil, errors.New("the bound of a body is negative or above 2 GiB")
	case strings.ContainsFunc(o.UserAgent, func(r rune) bool { return r < ' ' || r == 0x7f }):
		return nil, errors.New("the user agent holds a control character")
	case o.Now == nil:
		return nil, errors.New("no clock")
	}
	c := &Client{
		base:         base,
		auth:         new(atomic.Pointer[auth]),
		timeout:      o.RequestTimeout,
		userAgent:    o.UserAgent,
		maxBodyBytes: o.MaxBodyBytes,
		now:          o.Now,
	}
	if c.userAgent == "" {
		c.userAgent = defaultUserAgent
	}
	if c.maxBodyBytes == 0 {
		c.maxBodyBytes = defaultMaxBodyBytes
	}
	idle := o.MaxIdleConns
	if idle == 0 {
		idle = defaultMaxIdleConns
	}
	d := &dialer{dial: o.DialContext, timeout: o.RequestTimeout, tls: &tls.Config{
		MinVersion: tls.VersionTLS12,
		RootCAs:    o.RootCAs,
		ServerName: base.Hostname(),
		NextProtos: []string{"http/1.1"},
	}}
	if d.dial == nil {
		d.dial = defaultDial
	}
	// HTTP/1.1 alone: on HTTP/2 Go resends a request whose stream was reset in
	// certain ways (tried: one DELETE went out 2,215 times). Proxy stays nil: a
	// proxy may repeat a DELETE by itself, as HTTP calls it idempotent.
	var protocols http.Protocols
	protocols.SetHTTP1(true)
	c.transport = &http.Transport{
		Protocols:              &protocols,
		DialContext:            d.plain,
		DialTLSContext:         d.secure,
		DisableCompression:     true,
		MaxIdleConns:           idle,
		MaxIdleConnsPerHost:    idle,
		IdleConnTimeout:        idleConnTimeout,
		MaxResponseHeaderBytes: maxResponseHeaderBytes,
		WriteBufferSize:        writeBufferBytes,
	}
	c.tokenTransport = newTokenTransport(d)
	if err := c.Authenticate(o); err != nil {
		return nil, err
	}
	return c, nil
}

// CloseIdleConnections closes the connections that no call uses.
// It waits for a token that is being fetched.
func (c *Client) CloseIdleConnections() {
	c.auth.Load().close()
	c.transport.CloseIdleConnections()
}

// String names the API, and nothing else of the client.
func (c *Client) String() string {
	if c == nil {
		return "capillary client (nil)"
	}
	return "capillary client of " + c.base.String()
}

// GoString is for %#v.
func (c *Client) GoString() string { return c.String() }

// Format is for every other verb.
func (c *Client) Format(s fmt.State, _ rune) { _, _ = io.WriteString(s, c.String()) }

// LogValue is for slog.
func (c *Client) LogValue() slog.Value { return slog.StringValue(c.String()) }

// List asks for a customer's images, in index order. Only an answer of
// [jobs.ClassListed] holds any.
func (c *Client) List(ctx context.Context, customer jobs.Customer) jobs.Answer {
	if customer.ID <= 0 || customer.Source == "" {
		// Without a source the API says 8016, which would stop the whole organisation.
		return c.notMade(jobs.ClassInvalid)
	}
	// The reference page prints the path as …/setImage; this is the form of its
	// example and of the older docs (API page, "Get customer image").
	query := "embed=CUSTOMERIMAGE&source=" + url.QueryEscape(customer.Source)
	if customer.AccountID != "" {
		query += "&accountId=" + url.QueryEscape(customer.AccountID)
	}
	path := "/v2/customers/" + strconv.FormatInt(customer.ID, 10)
	return c.do(ctx, http.MethodGet, path, query, nil, func(status int, body []byte) verdict {
		return classifyListing(status, body, customer.ID)
	})
}

// Delete sends the DELETE that the clearance permits, if its time isn't over
// at the write. An answer whose class [jobs.Class.MayHaveRun] must never be
// followed by another DELETE before a listing has shown the image.
func (c *Client) Delete(ctx context.Context, permit *clearance.Clearance) jobs.Answer {
	if permit == nil {
		return c.notMade(jobs.ClassNotSent)
	}
	intent := permit.Intent()
	var query strings.Builder
	for i, target := range intent.Targets {
		// Highest index first (step 3). An index named twice would be two deletes.
		if target.Position < 0 || target.Position > math.MaxInt32 || i > 0 && target.Position >= intent.Targets[i-1].Position {
			return c.notMade(jobs.ClassNotSent)
		}
		if i > 0 {
			query.WriteByte('&')
		}
		query.WriteString("image_ids=" + strconv.Itoa(target.Position))
	}
	if intent.Customer.ID <= 0 || query.Len() == 0 {
		return c.notMade(jobs.ClassNotSent)
	}
	path := "/v2/customers/" + strconv.FormatInt(intent.Customer.ID, 10) + "/deleteImage"
	return c.do(ctx, http.MethodDelete, path, query.String(), permit, func(status int, body []byte) verdict {
		return classifyDelete(status, body, len(intent.Targets))
	})
}

// notMade answers a call whose arguments can't make a request.
func (c *Client) notMade(class jobs.Class) jobs.Answer {
	return c.answer(verdict{class: class, code: "invalid"}, 0, time.Time{})
}

func (c *Client) answer(v verdict, status int, sentAt time.Time) jobs.Answer {
	a := read(v, status)
	a.SentAt, a.AnsweredAt = sentAt, c.now()
	return a
}

// attempt is one call as it goes out.
type attempt struct {
	method, path, query string
	permit              *clearance.Clearance // nil: a listing
	classify            func(int, []byte) verdict
	pass                pass
}

// do makes one call. permit is nil for a listing. A call whose token was not taken
// did not run; it is not sent again here: a listing needs a call slot of its own, and
// a DELETE a committed intent.
func (c *Client) do(parent context.Context, method, path, query string, permit *clearance.Clearance, classify func(int, []byte) verdict) jobs.Answer {
	timed, cancel := context.WithTimeout(parent, c.timeout)
	defer cancel()
	who := c.auth.Load()
	granted, failed := who.pass(timed)
	if failed != nil {
		return c.noToken(parent, timed, *failed)
	}
	answer := c.once(parent, timed, attempt{method, path, query, permit, classify, granted})
	kind := jobs.ListCall
	if permit != nil {
		kind = jobs.DeleteCall
	}
	if who.judge(granted, kind, answer) {
		return c.answer(verdict{class: jobs.ClassNotRun, code: jobs.CodeTokenExpired}, answer.HTTPStatus, answer.SentAt)
	}
	return answer
}

// once sends one request.
func (c *Client) once(parent, timed context.Context, what attempt) jobs.Answer {
	method, path, query, permit := what.method, what.path, what.query, what.permit
	ctx, abort := context.WithCancelCause(timed)
	defer abort(nil)

	// No Idempotency-Key of any spelling: net/http would take the DELETE for
	// replayable. No Expect, no Content-Type, no body.
	request := (&http.Request{
		Method: method,
		URL:    &url.URL{Scheme: c.base.Scheme, Host: c.base.Host, Path: path, RawQuery: query},
		Header: http.Header{"Accept": {"application/json"}, "User-Agent": {c.userAgent}},
	})
	what.pass.sign(request)
	call := &call{
		line:      []byte(method + " " + path + "?" + query + " HTTP/1.1\r\n"),
		clearance: permit,
		now:       c.now,
		abort:     abort,
	}
	request = request.WithContext(httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GotConn: func(info httptrace.GotConnInfo) { call.took(info.Conn) },
	}))

	// The transport itself, no http.Client: nothing there follows redirects.
	response, err := c.transport.RoundTrip(request)
	if err != nil {
		f := call.seal()
		return c.answer(f.verdict(parent, ctx, permit != nil, err), 0, f.sentAt)
	}
	status := response.StatusCode
	var body []byte
	var cut error
	if status == http.StatusSwitchingProtocols {
		cut = errCut // its body is the connection, which no context closes
	} else if call.seal().left {
		body, cut = readBody(response, c.maxBodyBytes)
		defer clear(body) // somebody's profile
	}
	f := call.seal()
	// A body that wasn't read to its end takes its connection along.
	_ = response.Body.Close()
	switch {
	case !f.left:
		// An answer to nothing: some servers speak first.
		return c.answer(f.verdict(parent, ctx, permit != nil, errSpoke), 0, time.Time{})
	case cut != nil:
		// Whatever the status: the body decides, and it isn't known.
		word := contextWord(parent, ctx)
		if word == "" {
			word = "unreadable"
		}
		return c.answer(verdict{class: jobs.ClassUnknown, code: word}, status, f.sentAt)
	}
	answer := c.answer(what.classify(status, body), status, f.sentAt)
	answer.RetryAfter = retryAfter(response.Header, answer.AnsweredAt)
	return answer
}

// verdict of a call without an answer (API page, the table's last two lines).
// isDelete tells an intent that was withdrawn from a listing that didn't run.
func (f fate) verdict(parent, ctx context.Context, isDelete bool, err error) verdict {
	word := contextWord(parent, ctx)
	if f.left {
		switch {
		case word != "":
		case f.spoken:
			word = "unreadable"
		default:
			word = "reset"
		}
		return verdict{class: jobs.ClassUnknown, code: word}
	}
	withdrawn := jobs.ClassNotRun
	if isDelete {
		withdrawn = jobs.ClassNotSent
	}
	var late *clearance.LateError
	var connect *connectError
	switch {
	case errors.As(f.refusal, &late):
		return verdict{class: withdrawn, code: "late"}
	case errors.Is(f.refusal, clearance.ErrSpent):
		return verdict{class: withdrawn, code: "spent"}
	case f.refusal != nil:
		return verdict{class: withdrawn, code: "reset"}
	case word == "cancelled":
		return verdict{class: withdrawn, code: word}
	case errors.As(err, &connect):
		return verdict{class: jobs.ClassNotRun, code: connect.word}
	case word != "" && !f.connected:
		return verdict{class: jobs.ClassNotRun, code: word}
	case word != "":
		return verdict{class: withdrawn, code: word}
	}
	return verdict{class: withdrawn, code: "reset"}
}

// contextWord says by what a call was ended from this side; empty: it wasn't.
func contextWord(parent, ctx context.Context) string {
	switch {
	case errors.Is(parent.Err(), context.Canceled):
		return "cancelled"
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return "timeout"
	}
	return ""
}

var errCut = errors.New("capillary: the body was cut off")

// readBody reads a whole body, or as much of it as the bound allows. A buffer
// that got too small is cleared: it holds a part of somebody's profile.
func readBody(response *http.Response, bound int64) ([]byte, error) {
	if response.ContentLength > bound {
		return nil, errCut
	}
	size := min(max(response.ContentLength+1, 4<<10), 256<<10, bound+1) // the length is the server's word
	buffer := make([]byte, 0, size)
	for {
		n, err := response.Body.Read(buffer[len(buffer):cap(buffer)])
		buffer = buffer[:len(buffer)+n]
		switch {
		case int64(len(buffer)) > bound:
			clear(buffer)
			return nil, errCut
		case errors.Is(err, io.EOF):
			return buffer, nil
		case err != nil:
			clear(buffer)
			return nil, errCut
		case len(buffer) == cap(buffer):
			grown := make([]byte, len(buffer), min(2*int64(cap(buffer)), bound+1))
			copy(grown, buffer)
			clear(buffer)
			buffer = grown
		}
	}
}
