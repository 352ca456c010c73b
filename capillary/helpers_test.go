package capillary

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/imagepurge/imagepurge/jobs"
	"github.com/imagepurge/imagepurge/jobs/clearance"
)

const (
	testUser     = "till-of-the-test"
	testPassword = "a-password-of-the-test"
	success      = `{"data":[{"code":200,"message":"Success","status":"true"}],"warnings":[],"errors":[]}`
	noImages     = `{"id":7,"customerImage":[]}`
	noImageThere = `{"data":[],"warnings":[{"status":false,"code":8078,"message":"No Image passed to be deleted"}],"errors":[]}`
)

type noLog struct{}

func (noLog) Write(p []byte) (int, error) {
	fmt.Fprintf(os.Stderr, "the process's log was written to: %s", p)
	os.Exit(1)
	return 0, nil
}

// quiet is for servers whose clients are meant to go away.
var quiet = log.New(io.Discard, "", 0)

// TestMain refuses to dial anything that isn't local: no test may reach the
// real API, whatever its options say.
func TestMain(m *testing.M) {
	dial := defaultDial
	defaultDial = func(ctx context.Context, network, address string) (net.Conn, error) {
		host, _, err := net.SplitHostPort(address)
		if err != nil || !net.ParseIP(host).IsLoopback() {
			fmt.Fprintf(os.Stderr, "a test dialled %s, which isn't local\n", address)
			os.Exit(1)
		}
		return dial(ctx, network, address)
	}
	log.SetOutput(noLog{}) // net/http logs bytes of answers that it can't place
	goleak.VerifyTestMain(m)
}

func options(baseURL string) Options {
	return Options{
		BaseURL: baseURL, Username: testUser, Password: testPassword,
		RequestTimeout: 20 * time.Second, Now: time.Now,
	}
}

func newClient(t testing.TB, o Options) *Client {
	t.Helper()
	c, err := New(o)
	if err != nil {
		t.Fatalf("New: %v", err)
	}
	t.Cleanup(c.CloseIdleConnections)
	return c
}

// serve starts a server that is closed after the client.
func serve(t testing.TB, h http.HandlerFunc) *httptest.Server {
	t.Helper()
	s := httptest.NewUnstartedServer(h)
	s.Config.ErrorLog = quiet
	s.Start()
	t.Cleanup(s.Close)
	return s
}

func customer(id int64) jobs.Customer { return jobs.Customer{ID: id, Source: "INSTORE"} }

// permitFor is a clearance begun now; positions are highest first.
func permitFor(id int64, began time.Time, positions ...int) *clearance.Clearance {
	in := clearance.Intent{Task: 1, Epoch: 1, Customer: customer(id), BeganAt: began, Margin: 15 * time.Second}
	for _, p := range positions {
		in.Targets = append(in.Targets, clearance.Target{Key: jobs.KeyOf(fmt.Sprint(id, p)), Position: p})
	}
	return clearance.Issue(in)
}

func permit(id int64) *clearance.Clearance { return permitFor(id, time.Now(), 0) }

// clock is a clock that a test moves.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func newClock() *clock { return &clock{now: time.Now()} }

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) set(f func(time.Time) time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = f(c.now)
}

// wire is a server one level below HTTP: it answers connections, and writes
// down every request whose head has arrived whole.
type wire struct {
	listener net.Listener
	url      string
	roots    *x509.CertPool
	wg       sync.WaitGroup

	mu       sync.Mutex
	requests []string // method and path of each
	bytes    int      // of requests, whole or not
	conns    map[net.Conn]struct{}
	dials    int
}

// newWire calls handle for each connection, which is closed after it.
func newWire(t testing.TB, secure bool, handle func(w *wire, conn net.Conn, in *bufio.Reader)) *wire {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := &wire{listener: l, url: "http://" + l.Addr().String(), conns: map[net.Conn]struct{}{}}
	if secure {
		model := httptest.NewTLSServer(nil)
		w.roots = x509.NewCertPool()
		w.roots.AddCert(model.Certificate())
		w.listener = tls.NewListener(l, &tls.Config{Certificates: model.TLS.Certificates, NextProtos: []string{"h2", "http/1.1"}})
		model.Close()
		w.url = "https://" + l.Addr().String()
	}
	w.wg.Go(func() {
		for {
			conn, err := w.listener.Accept()
			if err != nil {
				return
			}
			w.mu.Lock()
			w.conns[conn] = struct{}{}
			w.dials++
			w.mu.Unlock()
			w.wg.Go(func() {
				defer func() {
					_ = conn.Close()
					w.mu.Lock()
					delete(w.conns, conn)
					w.mu.Unlock()
				}()
				handle(w, conn, bufio.NewReader(io.TeeReader(conn, countBytes{w})))
			})
		}
	})
	t.Cleanup(w.stop)
	return w
}

type countBytes struct{ w *wire }

func (c countBytes) Write(p []byte) (int, error) {
	c.w.mu.Lock()
	defer c.w.mu.Unlock()
	c.w.bytes += len(p)
	return len(p), nil
}

// stop ends all connections and waits for their handlers.
func (w *wire) stop() {
	_ = w.listener.Close()
	w.mu.Lock()
	for conn := range w.conns {
		_ = conn.Close()
	}
	w.mu.Unlock()
	w.wg.Wait()
}

// request reads one request; nil: there is none.
func (w *wire) request(in *bufio.Reader) *http.Request {
	r, err := http.ReadRequest(in)
	if err != nil {
		return nil
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.requests = append(w.requests, r.Method+" "+r.URL.Path)
	return r
}

// count is how many requests of that beginning have arrived.
func (w *wire) count(prefix string) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := 0
	for _, r := range w.requests {
		if strings.HasPrefix(r, prefix) {
			n++
		}
	}
	return n
}

func (w *wire) received() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.bytes
}

func reply(conn net.Conn, status int, body string) {
	fmt.Fprintf(conn, "HTTP/1.1 %d %s\r\nContent-Length: %d\r\n\r\n%s", status, http.StatusText(status), len(body), body)
}

// reset makes the connection's end a RST where it can.
func reset(conn net.Conn) {
	if t, ok := conn.(*tls.Conn); ok {
		conn = t.NetConn()
	}
	if t, ok := conn.(*net.TCPConn); ok {
		_ = t.SetLinger(0)
		_ = t.Close()
	}
}

// expect compares the parts of an answer that decide.
func expect(t *testing.T, got jobs.Answer, class jobs.Class, status int, code string) {
	t.Helper()
	if got.Class != class || got.HTTPStatus != status || got.Code != code {
		t.Errorf("answer is %s %d %q (%s), want %s %d %q", got.Class, got.HTTPStatus, got.Code, got.Message, class, status, code)
	}
	if got.Message == "" || got.AnsweredAt.IsZero() {
		t.Errorf("answer without message or time: %+v", got)
	}
	if (got.Class == jobs.ClassNotSent || got.Class == jobs.ClassNotRun && got.HTTPStatus == 0) && !got.SentAt.IsZero() {
		t.Errorf("%s, and yet sent at %v", got.Class, got.SentAt)
	}
}
