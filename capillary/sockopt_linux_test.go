package capillary

import (
	"bufio"
	"context"
	"crypto/x509"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/imagepurge/imagepurge/jobs"
)

// watchedConn is a socket that a test looks at.
type watchedConn struct {
	*net.TCPConn
	onWrite func(*net.TCPConn)
	closed  *atomic.Int32
}

func (w watchedConn) Write(p []byte) (int, error) {
	if w.onWrite != nil {
		w.onWrite(w.TCPConn)
	}
	return w.TCPConn.Write(p)
}

func (w watchedConn) Close() error {
	err := w.TCPConn.Close()
	if w.closed != nil {
		w.closed.Add(1)
	}
	return err
}

// watching dials as the client does by itself.
func watching(onWrite func(*net.TCPConn), closed *atomic.Int32) func(context.Context, string, string) (net.Conn, error) {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := defaultDial(ctx, network, address)
		if err != nil {
			return nil, err
		}
		return watchedConn{conn.(*net.TCPConn), onWrite, closed}, nil
	}
}

// The bounds on the kernel stand before the first byte, on the connection of every call, the token's too.
func TestKernelIsBoundOnEveryConnection(t *testing.T) {
	t.Parallel()
	for timeout, want := range map[time.Duration]int{
		// Short of the time-out by what goes by before the kernel counts.
		minRequestTimeout: 50, time.Second: 500, 2 * time.Second: 1000, 30 * time.Second: 29000,
	} {
		for _, secure := range []bool{false, true} {
			s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				switch {
				case r.URL.Path == tokenPath:
					fmt.Fprint(w, `{"data":{"accessToken":"a","ttlSeconds":3600}}`)
				case r.Method == http.MethodDelete:
					fmt.Fprint(w, success)
				default:
					fmt.Fprint(w, noImages)
				}
			}))
			s.Config.ErrorLog = quiet
			if secure {
				s.StartTLS()
			} else {
				s.Start()
			}
			t.Cleanup(s.Close)
			var mu sync.Mutex
			seen := map[*net.TCPConn]bool{}
			o := options(s.URL)
			o.Username, o.Password, o.OAuthKey, o.OAuthSecret = "", "", "key", "secret"
			o.RequestTimeout = timeout
			if secure {
				o.RootCAs = x509.NewCertPool()
				o.RootCAs.AddCert(s.Certificate())
			}
			o.DialContext = watching(func(conn *net.TCPConn) {
				mu.Lock()
				defer mu.Unlock()
				seen[conn] = true
				raw, err := conn.SyscallConn()
				if err != nil {
					t.Error(err)
					return
				}
				_ = raw.Control(func(fd uintptr) {
					after, err := unix.GetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT)
					if err != nil || after != want {
						t.Errorf("time-out %v, TLS %v: user time-out %d ms, %v, want %d", timeout, secure, after, err, want)
					}
					linger, err := unix.GetsockoptLinger(int(fd), unix.SOL_SOCKET, unix.SO_LINGER)
					if err != nil || linger.Onoff == 0 || linger.Linger != 0 {
						t.Errorf("time-out %v, TLS %v: linger %+v, %v", timeout, secure, linger, err)
					}
				})
			}, nil)
			c := newClient(t, o)
			c.List(t.Context(), customer(7)) // a slow machine may not make it in 100 ms
			c.Delete(t.Context(), permit(7))
			mu.Lock()
			if len(seen) < 2 && timeout > time.Second {
				t.Errorf("%d connections were written to, want the token's and the calls'", len(seen))
			}
			mu.Unlock()
		}
	}
}

// otherSocket is a connection whose options go to another socket.
type otherSocket struct {
	watchedConn
	options syscall.Conn
}

func (o otherSocket) SyscallConn() (syscall.RawConn, error) { return o.options.SyscallConn() }

// A connection whose kernel takes no bounds is not used, and not left open.
func TestKernelThatTakesNoBounds(t *testing.T) {
	t.Parallel()
	w := newWire(t, false, answering)
	for name, close := range map[string]bool{"the option is refused": false, "the socket is closed": true} {
		datagrams, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = datagrams.Close() })
		if close {
			_ = datagrams.Close()
		}
		var closed atomic.Int32
		o := wireOptions(w)
		o.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
			conn, err := defaultDial(ctx, network, address)
			if err != nil {
				return nil, err
			}
			return otherSocket{watchedConn{conn.(*net.TCPConn), nil, &closed}, datagrams}, nil
		}
		c := newClient(t, o)
		expect(t, c.List(t.Context(), customer(7)), jobs.ClassNotRun, 0, "refused")
		expect(t, c.Delete(t.Context(), permit(7)), jobs.ClassNotRun, 0, "refused")
		if closed.Load() != 2 {
			t.Errorf("%s: %d of 2 connections were closed", name, closed.Load())
		}
	}
	w.stop()
	if w.received() != 0 {
		t.Errorf("%d bytes arrived", w.received())
	}
}

// When a call that was given up returns, its connection has ended: linger 0 needs that.
func TestGivenUpIsClosedAtItsReturn(t *testing.T) {
	bothWires(t, func(t *testing.T, secure bool) {
		for _, end := range []string{"cancelled", "timeout"} {
			arrived := make(chan struct{}, 1)
			w := newWire(t, secure, func(w *wire, _ net.Conn, in *bufio.Reader) {
				if w.request(in) != nil {
					arrived <- struct{}{}
					_, _ = in.Peek(1)
				}
			})
			var closed atomic.Int32
			o := wireOptions(w)
			o.DialContext = watching(nil, &closed)
			ctx, stop := context.WithCancel(t.Context())
			if end == "timeout" {
				o.RequestTimeout = time.Second
			} else {
				go func() { <-arrived; stop() }()
			}
			got := newClient(t, o).Delete(ctx, permit(7))
			if closed.Load() == 0 {
				t.Errorf("%s: the call has returned, and its connection is open", end)
			}
			stop()
			expect(t, got, jobs.ClassUnknown, 0, end)
		}
	})
}
