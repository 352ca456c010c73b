package capillary

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/imagepurge/imagepurge/jobs"
)

// A server that executes and then drops the connection: unknown, and exactly
// one request, on a new connection and on an old one.
func TestExecutedThenDropped(t *testing.T) {
	bothWires(t, func(t *testing.T, secure bool) {
		for _, drop := range []func(net.Conn){func(c net.Conn) { _ = c.Close() }, reset} {
			w := newWire(t, secure, func(w *wire, conn net.Conn, in *bufio.Reader) {
				for {
					r := w.request(in)
					if r == nil || r.Method == http.MethodDelete {
						drop(conn)
						return
					}
					reply(conn, 200, noImages)
				}
			})
			c := newClient(t, wireOptions(w))
			expect(t, c.Delete(t.Context(), permit(7)), jobs.ClassUnknown, 0, "reset")
			expect(t, c.List(t.Context(), customer(7)), jobs.ClassListed, 200, "")
			expect(t, c.Delete(t.Context(), permit(8)), jobs.ClassUnknown, 0, "reset")
			c.CloseIdleConnections()
			w.stop()
			if w.count("DELETE /v2/customers/7/") != 1 || w.count("DELETE /v2/customers/8/") != 1 {
				t.Errorf("requests: %v", w.requests)
			}
		}
	})
}

// A server that closes its idle connections just as a DELETE comes, in every
// way it can: never two requests for one clearance, and never "not sent" for
// one that arrived.
func TestIdleConnectionClosedUnderADelete(t *testing.T) {
	bothWires(t, func(t *testing.T, secure bool) {
		var turn atomic.Int64
		w := newWire(t, secure, func(w *wire, conn net.Conn, in *bufio.Reader) {
			for {
				r := w.request(in)
				if r == nil {
					return
				}
				if r.Method == http.MethodDelete {
					reply(conn, 200, success)
					continue
				}
				reply(conn, 200, noImages)
				switch turn.Add(1) % 5 {
				case 0: // closed behind the answer
					return
				case 1: // the same, by a RST
					reset(conn)
					return
				case 2: // closed once the request's first bytes are there
					_, _ = in.Peek(1)
					reset(conn)
					return
				case 3: // executed, then dropped
					w.request(in)
					return
				}
			}
		})
		c := newClient(t, wireOptions(w))
		answers := map[int64]jobs.Answer{}
		tally := map[string]int{}
		rounds := int64(300)
		if testing.Short() {
			rounds = 60
		}
		for id := int64(1); id <= rounds; id++ {
			c.List(t.Context(), customer(7))
			answers[id] = c.Delete(t.Context(), permit(id))
			tally[string(answers[id].Class)+" "+answers[id].Code]++
		}
		c.CloseIdleConnections()
		w.stop()
		for id, got := range answers {
			n := w.count(fmt.Sprintf("DELETE /v2/customers/%d/", id))
			switch {
			case n > 1:
				t.Errorf("customer %d: %d DELETEs", id, n)
			case n == 1 && got.Class != jobs.ClassDeleted && got.Class != jobs.ClassUnknown:
				t.Errorf("customer %d: arrived, and yet %s %q", id, got.Class, got.Code)
			case n == 0 && got.Class == jobs.ClassDeleted:
				t.Errorf("customer %d: deleted without a request", id)
			}
		}
		t.Log(tally)
	})
}

// An answer that was there before the question says nothing of it. The server
// sends a second answer, "success", behind that of the listing; the DELETE's
// own would be 8078.
func TestAnswerBeforeTheQuestion(t *testing.T) {
	bothWires(t, func(t *testing.T, secure bool) {
		var rounds atomic.Int64
		w := newWire(t, secure, func(w *wire, conn net.Conn, in *bufio.Reader) {
			framing := rounds.Add(1)
			for {
				r := w.request(in)
				if r == nil {
					return
				}
				if r.Method == http.MethodDelete {
					reply(conn, 200, noImageThere)
					continue
				}
				early := fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(success), success)
				if framing++; framing%2 == 0 {
					fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s%s", len(noImages), noImages, early)
				} else {
					fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n%s", len(noImages), noImages, early)
				}
			}
		})
		c := newClient(t, wireOptions(w))
		tally := map[string]int{}
		for id := int64(1); id <= 100; id++ {
			expect(t, c.List(t.Context(), customer(7)), jobs.ClassListed, 200, "")
			got := c.Delete(t.Context(), permit(id))
			tally[string(got.Class)+" "+got.Code]++
			if got.Class == jobs.ClassDeleted {
				t.Fatalf("round %d: believed an answer to nothing", id)
			}
		}
		t.Log(tally)
	})
}

// A redirect is a refusal. A 307 followed would be the DELETE again, elsewhere;
// a 302 a GET that looks like success.
func TestRedirectsAreNotFollowed(t *testing.T) {
	t.Parallel()
	for _, status := range []int{301, 302, 303, 307, 308} {
		var first, second atomic.Int32
		target := serve(t, func(w http.ResponseWriter, _ *http.Request) {
			second.Add(1)
			fmt.Fprint(w, success)
		})
		s := serve(t, func(w http.ResponseWriter, r *http.Request) {
			first.Add(1)
			http.Redirect(w, r, target.URL+r.RequestURI, status)
		})
		c := newClient(t, options(s.URL))
		expect(t, c.Delete(t.Context(), permit(7)), jobs.ClassRefused, status, "redirect")
		expect(t, c.List(t.Context(), customer(7)), jobs.ClassRefused, status, "redirect")
		if first.Load() != 2 || second.Load() != 0 {
			t.Errorf("%d: %d requests, %d at the other server", status, first.Load(), second.Load())
		}
	}
}

// Answers without an end or a sense are cut off, in bounded memory, and their
// connection isn't used again.
func TestBadAnswers(t *testing.T) {
	const head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
	forever := func(conn net.Conn, chunk string) {
		for {
			if _, err := conn.Write([]byte(chunk)); err != nil {
				return
			}
		}
	}
	block := strings.Repeat("x", 64<<10)
	for _, tt := range []struct {
		name   string
		status int
		code   string
		answer func(conn net.Conn, in *bufio.Reader)
	}{
		{"a gigabyte announced", 200, "unreadable", func(conn net.Conn, _ *bufio.Reader) {
			fmt.Fprint(conn, head+"Content-Length: 1073741824\r\n\r\n")
			forever(conn, block)
		}},
		{"endless", 200, "unreadable", func(conn net.Conn, _ *bufio.Reader) {
			fmt.Fprint(conn, head+"\r\n")
			forever(conn, block)
		}},
		{"endless in chunks", 200, "unreadable", func(conn net.Conn, _ *bufio.Reader) {
			fmt.Fprint(conn, head+"Transfer-Encoding: chunked\r\n\r\n")
			forever(conn, "10000\r\n"+block+"\r\n")
		}},
		{"just above the bound", 200, "unreadable", func(conn net.Conn, in *bufio.Reader) {
			fmt.Fprint(conn, head+"Transfer-Encoding: chunked\r\n\r\n100002\r\n"+strings.Repeat(" ", 1<<20+2)+"\r\n0\r\n\r\n")
			_, _ = in.Peek(1)
		}},
		{"cut by length", 200, "unreadable", func(conn net.Conn, _ *bufio.Reader) {
			fmt.Fprint(conn, head+"Content-Length: 1000\r\n\r\n"+success)
		}},
		{"cut by chunk", 200, "unreadable", func(conn net.Conn, _ *bufio.Reader) {
			fmt.Fprintf(conn, head+"Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n", len(success), success)
		}},
		{"a 403 cut", 403, "unreadable", func(conn net.Conn, _ *bufio.Reader) {
			fmt.Fprint(conn, "HTTP/1.1 403 Forbidden\r\nContent-Length: 1000\r\n\r\n<html>")
		}},
		{"compressed unasked", 200, "unreadable", func(conn net.Conn, in *bufio.Reader) {
			fmt.Fprint(conn, head+"Content-Encoding: gzip\r\nConnection: close\r\nContent-Length: 4\r\n\r\n\x1f\x8b\x08\x00")
			_, _ = in.Peek(1)
		}},
		{"slow body", 200, "timeout", func(conn net.Conn, in *bufio.Reader) {
			fmt.Fprint(conn, head+"Content-Length: 1000\r\n\r\n{")
			_, _ = in.Peek(1)
		}},
		{"silence", 0, "timeout", func(_ net.Conn, in *bufio.Reader) { _, _ = in.Peek(1) }},
		{"half a head", 0, "timeout", func(conn net.Conn, in *bufio.Reader) {
			fmt.Fprint(conn, "HTTP/1.1 200 OK\r\nX-")
			_, _ = in.Peek(1)
		}},
		{"head cut", 0, "unreadable", func(conn net.Conn, _ *bufio.Reader) { fmt.Fprint(conn, "HTTP/1.1 200 OK\r\nX-") }},
		{"header bomb", 0, "unreadable", func(conn net.Conn, _ *bufio.Reader) {
			fmt.Fprint(conn, "HTTP/1.1 200 OK\r\n")
			forever(conn, "X-Bomb: "+block+"\r\n")
		}},
		{"a header line without an end", 0, "unreadable", func(conn net.Conn, _ *bufio.Reader) {
			fmt.Fprint(conn, "HTTP/1.1 200 OK\r\nX-Bomb: ")
			forever(conn, block)
		}},
		{"103 for ever", 0, "unreadable", func(conn net.Conn, _ *bufio.Reader) {
			forever(conn, "HTTP/1.1 103 Early Hints\r\n\r\n")
		}},
		{"no HTTP", 0, "unreadable", func(conn net.Conn, _ *bufio.Reader) { fmt.Fprint(conn, "220 mail.example ESMTP\r\n") }},
		{"101", 101, "unreadable", func(conn net.Conn, in *bufio.Reader) {
			fmt.Fprint(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n")
			_, _ = in.Peek(1)
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bothWires(t, func(t *testing.T, secure bool) {
				w := newWire(t, secure, func(w *wire, conn net.Conn, in *bufio.Reader) {
					if w.request(in) != nil {
						tt.answer(conn, in)
					}
				})
				o := wireOptions(w)
				o.MaxBodyBytes = 1 << 20
				if tt.code == "timeout" {
					o.RequestTimeout = 2 * time.Second // for a busy machine's handshake
				}
				c := newClient(t, o)
				expect(t, c.Delete(t.Context(), permit(7)), jobs.ClassUnknown, tt.status, tt.code)
				expect(t, c.List(t.Context(), customer(7)), jobs.ClassUnknown, tt.status, tt.code)
				c.CloseIdleConnections()
				w.stop()
				if w.count("DELETE") != 1 || w.count("GET") != 1 || w.dials != 2 {
					t.Errorf("%v over %d connections, want one of each over two", w.requests, w.dials)
				}
			})
		})
	}
}

// The bound itself passes, and the buffer that grows to it.
func TestLargeListing(t *testing.T) {
	t.Parallel()
	body := `{"id":7,"profiles":"` + strings.Repeat("x", 1<<20-100) + `","customerImage":[{"file":{"s3Token":"a"}}]}`
	body += strings.Repeat(" ", 1<<20-len(body))
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/v2/customers/7" {
			w.Header().Set("Content-Length", fmt.Sprint(len(body)))
		}
		fmt.Fprint(w, body)
	})
	o := options(s.URL)
	o.MaxBodyBytes = 1 << 20
	c := newClient(t, o)
	for range 2 {
		got := c.List(t.Context(), customer(7))
		expect(t, got, jobs.ClassListed, 200, "")
		if len(got.Images) != 1 {
			t.Errorf("%d images", len(got.Images))
		}
	}
}

// What fails before the request: certainly not run.
func TestNoConnection(t *testing.T) {
	t.Parallel()
	untrusted := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("a request arrived") }))
	untrusted.Config.ErrorLog = quiet
	untrusted.StartTLS()
	t.Cleanup(untrusted.Close)
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = closed.Close()
	greeting := newWire(t, false, func(_ *wire, conn net.Conn, _ *bufio.Reader) { fmt.Fprint(conn, "220 hello\r\n") })
	fails := func(err error) func(context.Context, string, string) (net.Conn, error) {
		return func(context.Context, string, string) (net.Conn, error) { return nil, err }
	}
	for _, tt := range []struct {
		name, url, code string
		dial            func(context.Context, string, string) (net.Conn, error)
	}{
		{"refused", "http://" + closed.Addr().String(), "refused", nil},
		{"refused, TLS", "https://" + closed.Addr().String(), "refused", nil},
		{"no route", "http://127.0.0.1", "refused", fails(&net.OpError{Op: "dial", Err: syscall.EHOSTUNREACH})},
		{"DNS", "https://api.example", "dns", fails(&net.OpError{Op: "dial", Err: &net.DNSError{IsNotFound: true}})},
		{"DNS in time", "https://api.example", "dns", fails(&net.DNSError{IsTimeout: true})},
		{"unknown authority", untrusted.URL, "tls", nil},
		{"no TLS", "https://" + greeting.listener.Addr().String(), "tls", nil},
		{"dial timed out", "http://127.0.0.1", "timeout", fails(&net.OpError{Op: "dial", Err: syscall.ETIMEDOUT})},
		{"dial hangs", "https://127.0.0.1", "timeout", func(ctx context.Context, _, _ string) (net.Conn, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			o := options(tt.url)
			o.DialContext = tt.dial
			if tt.name == "dial hangs" {
				o.RequestTimeout = minRequestTimeout
			}
			c := newClient(t, o)
			expect(t, c.List(t.Context(), customer(7)), jobs.ClassNotRun, 0, tt.code)
			expect(t, c.Delete(t.Context(), permit(7)), jobs.ClassNotRun, 0, tt.code)
		})
	}
}

// A handshake that hangs ends with the call's deadline, and nothing was sent.
func TestHandshakeHangs(t *testing.T) {
	t.Parallel()
	w := newWire(t, false, func(w *wire, _ net.Conn, in *bufio.Reader) { _, _ = in.Discard(1 << 20) })
	o := options(strings.Replace(w.url, "http:", "https:", 1))
	o.RequestTimeout = minRequestTimeout
	expect(t, newClient(t, o).Delete(t.Context(), permit(7)), jobs.ClassNotRun, 0, "timeout")
}

func TestOldTLSIsRefused(t *testing.T) {
	t.Parallel()
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("a request arrived") }))
	s.Config.ErrorLog = quiet
	s.TLS = &tls.Config{MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}
	s.StartTLS()
	t.Cleanup(s.Close)
	o := options(s.URL)
	expect(t, newClient(t, o).Delete(t.Context(), permit(7)), jobs.ClassNotRun, 0, "tls")
}

// The process is stopping at once: what was written is unknown, what wasn't is
// not sent.
func TestCancelled(t *testing.T) {
	bothWires(t, func(t *testing.T, secure bool) {
		arrived := make(chan struct{}, 1)
		w := newWire(t, secure, func(w *wire, conn net.Conn, in *bufio.Reader) {
			if w.request(in) != nil {
				arrived <- struct{}{}
				_, _ = in.Peek(1)
			}
		})
		c := newClient(t, wireOptions(w))
		before, stop := context.WithCancel(t.Context())
		stop()
		expect(t, c.Delete(before, permit(7)), jobs.ClassNotSent, 0, "cancelled")
		expect(t, c.List(before, customer(7)), jobs.ClassNotRun, 0, "cancelled")
		if w.received() != 0 {
			t.Errorf("%d bytes arrived", w.received())
		}
		for _, call := range []func(context.Context) jobs.Answer{
			func(ctx context.Context) jobs.Answer { return c.Delete(ctx, permit(7)) },
			func(ctx context.Context) jobs.Answer { return c.List(ctx, customer(7)) },
		} {
			ctx, stop := context.WithCancel(t.Context())
			go func() { <-arrived; stop() }()
			expect(t, call(ctx), jobs.ClassUnknown, 0, "cancelled")
		}
		c.CloseIdleConnections()
		w.stop()
		if w.count("DELETE") != 1 || w.count("GET") != 1 {
			t.Errorf("requests: %v", w.requests)
		}
	})
}

// Cancelled while the connection is made: the dial may go on, the request may not.
func TestCancelledInTheDial(t *testing.T) {
	t.Parallel()
	w := newWire(t, false, answering)
	ctx, stop := context.WithCancel(t.Context())
	dialled := make(chan struct{})
	o := wireOptions(w)
	o.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		defer close(dialled)
		stop()
		conn, err := defaultDial(context.WithoutCancel(ctx), network, address)
		return conn, errors.Join(err)
	}
	c := newClient(t, o)
	expect(t, c.Delete(ctx, permit(7)), jobs.ClassNotSent, 0, "cancelled")
	<-dialled
	c.CloseIdleConnections()
	w.stop()
	if w.received() != 0 {
		t.Errorf("%d bytes arrived", w.received())
	}
}
