package capillary

import (
	"bufio"
	"context"
	"errors"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/imagepurge/imagepurge/jobs"
)

// answering is a wire server that answers everything with success.
func answering(w *wire, conn net.Conn, in *bufio.Reader) {
	for {
		r := w.request(in)
		if r == nil {
			return
		}
		body := noImages
		if r.Method == http.MethodDelete {
			body = success
		}
		reply(conn, 200, body)
	}
}

// bothWires runs a test over plain TCP and over TLS.
func bothWires(t *testing.T, test func(t *testing.T, secure bool)) {
	t.Parallel()
	for name, secure := range map[string]bool{"plain": false, "TLS": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, secure)
		})
	}
}

func wireOptions(w *wire) Options {
	o := options(w.url)
	o.RootCAs = w.roots
	return o
}

// Protocol, step 6: late by the monotonic clock, late by the wall clock, or a
// wall clock set back: not a byte arrives, on a new connection or an old one.
func TestLateDelete(t *testing.T) {
	bothWires(t, func(t *testing.T, secure bool) {
		for name, move := range map[string]func(time.Time) time.Time{
			"monotonic":     func(now time.Time) time.Time { return now.Add(16 * time.Second) },
			"wall":          func(now time.Time) time.Time { return now.Round(0).Add(16 * time.Second) },
			"wall set back": func(now time.Time) time.Time { return now.Round(0).Add(-time.Hour) },
		} {
			for _, warm := range []bool{false, true} {
				w := newWire(t, secure, answering)
				k := newClock()
				o := wireOptions(w)
				o.Now = k.Now
				c := newClient(t, o)
				if warm {
					expect(t, c.List(t.Context(), customer(7)), jobs.ClassListed, 200, "")
				}
				before := w.received()
				late := permitFor(7, k.Now(), 0)
				k.set(move)
				expect(t, c.Delete(t.Context(), late), jobs.ClassNotSent, 0, "late")
				expect(t, c.Delete(t.Context(), late), jobs.ClassNotSent, 0, "spent")
				c.CloseIdleConnections()
				w.stop()
				if n := w.received(); n != before {
					t.Errorf("%s, warm %v: %d bytes arrived", name, warm, n-before)
				}
			}
		}
	})
}

// Time that passes while the connection is made counts: the clearance is
// looked at after dial and handshake.
func TestLateThroughDialOrHandshake(t *testing.T) {
	bothWires(t, func(t *testing.T, secure bool) {
		for _, place := range []string{"dial", "first bytes"} {
			if place == "first bytes" && !secure {
				continue // there the first bytes are the request's own
			}
			w := newWire(t, secure, answering)
			k := newClock()
			late := func() { k.set(func(now time.Time) time.Time { return now.Add(16 * time.Second) }) }
			o := wireOptions(w)
			o.Now = k.Now
			o.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
				conn, err := defaultDial(ctx, network, address)
				if place == "dial" {
					late()
					return conn, err
				}
				return &faultConn{Conn: conn, onWrite: func(p []byte) (int, error) {
					late()
					return conn.Write(p)
				}}, err
			}
			c := newClient(t, o)
			expect(t, c.Delete(t.Context(), permitFor(7, k.Now(), 0)), jobs.ClassNotSent, 0, "late")
			c.CloseIdleConnections()
			w.stop()
			if w.received() != 0 {
				t.Errorf("%s: %d bytes arrived", place, w.received())
			}
		}
	})
}

// One clearance, many callers at once and one after the other: one request.
func TestOneClearanceIsOneRequest(t *testing.T) {
	bothWires(t, func(t *testing.T, secure bool) {
		w := newWire(t, secure, answering)
		c := newClient(t, wireOptions(w))
		once := permit(7)
		var wg sync.WaitGroup
		var deleted, spent atomic.Int32
		for range 16 {
			wg.Go(func() {
				switch got := c.Delete(t.Context(), once); {
				case got.Class == jobs.ClassDeleted:
					deleted.Add(1)
				case got.Class == jobs.ClassNotSent && got.Code == "spent" && got.SentAt.IsZero():
					spent.Add(1)
				default:
					t.Errorf("answer %+v", got)
				}
			})
		}
		wg.Wait()
		expect(t, c.Delete(t.Context(), once), jobs.ClassNotSent, 0, "spent")
		c.CloseIdleConnections()
		w.stop()
		if deleted.Load() != 1 || spent.Load() != 15 || w.count("DELETE") != 1 {
			t.Errorf("%d deleted, %d spent, %d requests", deleted.Load(), spent.Load(), w.count("DELETE"))
		}
	})
}

// faultConn is a connection whose writes a test decides.
type faultConn struct {
	net.Conn
	onWrite func(p []byte) (int, error)
}

func (f *faultConn) Write(p []byte) (int, error) { return f.onWrite(p) }

// A write that fails: with no byte taken nothing was sent, and the clearance is
// gone all the same; with one byte taken it is unknown. net/http would write
// the first again, and over TLS the second too: it sees 0 in both.
func TestFailingWrite(t *testing.T) {
	bothWires(t, func(t *testing.T, secure bool) {
		for _, taken := range []int{0, 1, 40} {
			w := newWire(t, secure, answering)
			var fail atomic.Bool
			var writes atomic.Int32
			o := wireOptions(w)
			o.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
				conn, err := defaultDial(ctx, network, address)
				return &faultConn{Conn: conn, onWrite: func(p []byte) (int, error) {
					if !fail.Load() {
						return conn.Write(p)
					}
					if writes.Add(1) > 1 {
						return 0, syscall.EPIPE // TLS's own alert at its end
					}
					n, _ := conn.Write(p[:taken])
					return n, syscall.ECONNRESET
				}}, err
			}
			c := newClient(t, o)
			expect(t, c.List(t.Context(), customer(7)), jobs.ClassListed, 200, "") // so that the connection is an old one
			fail.Store(true)
			once := permit(7)
			got := c.Delete(t.Context(), once)
			if taken == 0 {
				expect(t, got, jobs.ClassNotSent, 0, "reset")
			} else {
				expect(t, got, jobs.ClassUnknown, 0, "reset")
				if got.SentAt.IsZero() {
					t.Error("unknown, and no time of sending")
				}
			}
			fail.Store(false)
			expect(t, c.Delete(t.Context(), once), jobs.ClassNotSent, 0, "spent")
			c.CloseIdleConnections()
			w.stop()
			if n := w.count("DELETE"); n != 0 {
				t.Errorf("%d taken: %d DELETEs arrived", taken, n)
			}
		}
	})
}

// A listing of which nothing left may go out on another connection: that is
// one request still. One that was written isn't repeated, though GET may be.
func TestListingOnStaleConnection(t *testing.T) {
	t.Parallel()
	w := newWire(t, false, answering)
	var fail atomic.Bool
	o := wireOptions(w)
	o.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := defaultDial(ctx, network, address)
		return &faultConn{Conn: conn, onWrite: func(p []byte) (int, error) {
			if fail.CompareAndSwap(true, false) {
				return 0, syscall.EPIPE
			}
			return conn.Write(p)
		}}, err
	}
	c := newClient(t, o)
	expect(t, c.List(t.Context(), customer(7)), jobs.ClassListed, 200, "")
	fail.Store(true)
	expect(t, c.List(t.Context(), customer(7)), jobs.ClassListed, 200, "")
	if n := w.count("GET"); n != 2 {
		t.Errorf("%d requests, want 2", n)
	}

	second := newWire(t, false, func(w *wire, conn net.Conn, in *bufio.Reader) {
		if w.request(in) != nil {
			reply(conn, 200, noImages)
			w.request(in) // and close, without a word
		}
	})
	c = newClient(t, wireOptions(second))
	expect(t, c.List(t.Context(), customer(7)), jobs.ClassListed, 200, "")
	expect(t, c.List(t.Context(), customer(7)), jobs.ClassUnknown, 0, "reset")
	if n := second.count("GET"); n != 2 {
		t.Errorf("%d requests, want 2", n)
	}
}

// A call that ends on its connection costs that one alone: net/http, which would begin it again, must not try it on
// all the others.
func TestACallThatIsOverLeavesOtherConnections(t *testing.T) {
	t.Parallel()
	const conns = 3
	for name, end := range map[string]func(c *Client){
		"a listing that was written and lost": func(c *Client) {
			expect(t, c.List(t.Context(), customer(8)), jobs.ClassUnknown, 0, "reset")
		},
		"a late DELETE": func(c *Client) {
			late := permitFor(7, time.Now().Add(-time.Minute), 0)
			expect(t, c.Delete(t.Context(), late), jobs.ClassNotSent, 0, "late")
		},
	} {
		together := make(chan struct{})
		var waiting atomic.Int32
		w := newWire(t, false, func(w *wire, conn net.Conn, in *bufio.Reader) {
			for {
				if r := w.request(in); r == nil || r.URL.Path == "/v2/customers/8" {
					return
				}
				if waiting.Add(1) == conns {
					close(together)
				}
				<-together
				reply(conn, 200, noImages)
			}
		})
		c := newClient(t, wireOptions(w))
		var wg sync.WaitGroup
		for range conns {
			wg.Go(func() { expect(t, c.List(t.Context(), customer(7)), jobs.ClassListed, 200, "") })
		}
		wg.Wait()
		end(c)
		for range conns {
			expect(t, c.List(t.Context(), customer(7)), jobs.ClassListed, 200, "")
		}
		c.CloseIdleConnections()
		w.stop()
		if w.dials != conns {
			t.Errorf("%s: %d connections, want %d", name, w.dials, conns)
		}
	}
}

// The guard itself: nothing passes a connection that no call has armed, that
// was armed for another request, twice, in parts, or after the call's end.
func TestGuard(t *testing.T) {
	t.Parallel()
	const whole = "DELETE /v2/customers/7/deleteImage?image_ids=0 HTTP/1.1\r\nHost: h\r\n\r\n"
	type parts struct {
		g       *guardConn
		c       *call
		written *strings.Builder
	}
	build := func() parts {
		var written strings.Builder
		out := new(atomic.Int64)
		raw := &faultConn{onWrite: func(p []byte) (int, error) { return written.Write(p) }}
		line, _, _ := strings.Cut(whole, "Host")
		_, abort := context.WithCancelCause(context.Background())
		return parts{
			&guardConn{Conn: countingConn{raw, out}, out: out},
			&call{line: []byte(line), clearance: permit(7), now: time.Now, abort: abort},
			&written,
		}
	}
	for _, tt := range []struct {
		name string
		do   func(p parts) error
		want error
		left bool // something was written after all
	}{
		{"armed", func(p parts) error { p.c.took(p.g); _, err := p.g.Write([]byte(whole)); return err }, nil, true},
		{"armed before for a call that wrote nothing", func(p parts) error {
			(&call{line: p.c.line, now: time.Now, abort: p.c.abort}).took(p.g)
			p.c.took(p.g)
			_, err := p.g.Write([]byte(whole))
			if !p.c.seal().left {
				t.Error("it was written for the call before")
			}
			return err
		}, nil, true},
		{"not armed", func(p parts) error { _, err := p.g.Write([]byte(whole)); return err }, errUnarmed, false},
		{"twice", func(p parts) error {
			p.c.took(p.g)
			_, _ = p.g.Write([]byte(whole))
			_, err := p.g.Write([]byte(whole))
			return err
		}, errUnarmed, true},
		{"twice, armed again", func(p parts) error {
			p.c.took(p.g)
			_, _ = p.g.Write([]byte(whole))
			p.c.took(p.g)
			_, err := p.g.Write([]byte(whole))
			return err
		}, errSecond, true},
		{"another index", func(p parts) error {
			p.c.took(p.g)
			_, err := p.g.Write([]byte(strings.Replace(whole, "=0", "=1", 1)))
			return err
		}, errForeign, false},
		{"another index that begins alike", func(p parts) error {
			p.c.took(p.g)
			_, err := p.g.Write([]byte(strings.Replace(whole, "=0", "=01", 1)))
			return err
		}, errForeign, false},
		{"a listing's connection", func(p parts) error {
			p.c.took(p.g)
			_, err := p.g.Write([]byte("GET / HTTP/1.1\r\n\r\n"))
			return err
		}, errForeign, false},
		{"in parts", func(p parts) error { p.c.took(p.g); _, err := p.g.Write([]byte(whole[:60])); return err }, errForeign, false},
		{"two in one", func(p parts) error { p.c.took(p.g); _, err := p.g.Write([]byte(whole + whole)); return err }, errForeign, false},
		{"after the end", func(p parts) error { p.c.took(p.g); p.c.seal(); _, err := p.g.Write([]byte(whole)); return err }, errSealed, false},
		{"after a refusal", func(p parts) error {
			p.c.took(p.g)
			_, _ = p.g.Write([]byte("x"))
			p.c.took(p.g)
			_, err := p.g.Write([]byte(whole))
			return err
		}, errForeign, false},
		{"a server that speaks first", func(p parts) error {
			p.c.took(p.g)
			p.g.mu.Lock()
			p.g.dirty = true
			p.g.mu.Unlock()
			_, err := p.g.Write([]byte(whole))
			return err
		}, errSpoke, false},
		{"another's connection", func(p parts) error { p.c.took(p.g.Conn); _, err := p.g.Write([]byte(whole)); return err }, errUnarmed, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p := build()
			if err := tt.do(p); !errors.Is(err, tt.want) {
				t.Errorf("error %v, want %v", err, tt.want)
			}
			want := ""
			if tt.left {
				want = whole
			}
			if p.written.String() != want {
				t.Errorf("written: %q", p.written)
			}
			if got := p.c.seal().left; got != tt.left {
				t.Errorf("left is %v, want %v", got, tt.left)
			}
		})
	}
}

// What is told is why a DELETE was refused first.
func TestTheFirstRefusalIsTold(t *testing.T) {
	t.Parallel()
	_, abort := context.WithCancelCause(t.Context())
	c := &call{line: []byte("DELETE / HTTP/1.1\r\n"), clearance: permit(7), now: time.Now, abort: abort}
	for _, g := range []*guardConn{{out: new(atomic.Int64)}, {out: new(atomic.Int64), dirty: true}} {
		c.took(g)
		if _, err := g.Write([]byte("GET / HTTP/1.1\r\n\r\n")); err == nil {
			t.Error("it was written")
		}
	}
	if got := c.seal().refusal; !errors.Is(got, errForeign) {
		t.Errorf("%v, want %v", got, errForeign)
	}
}
