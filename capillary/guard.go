package capillary

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/imagepurge/imagepurge/jobs/clearance"
)

// Why a write was refused before its first byte. A *clearance.LateError and
// clearance.ErrSpent come from the clearance itself.
var (
	errUnarmed          = errors.New("capillary: a write that no call has announced")
	errSealed           = errors.New("capillary: the call is over")
	errSecond           = errors.New("capillary: the call's request was written before")
	errForeign          = errors.New("capillary: not the call's whole request in one piece")
	errSpoke            = errors.New("capillary: the server spoke before it was asked")
	errStale            = errors.New("capillary: the connection took no byte of the request")
	headersEnd          = []byte("\r\n\r\n")
	_          net.Conn = (*guardConn)(nil)
	_          net.Conn = countingConn{}
)

// call is one List or Delete on its way through net/http, which may hold more
// than one connection and write more than once for it. What left this machine
// is read from here and never guessed from net/http's errors.
type call struct {
	line      []byte               // the request line that is to be written
	clearance *clearance.Clearance // nil: a listing
	now       func() time.Time
	abort     context.CancelCauseFunc

	mu      sync.Mutex
	conn    *guardConn // the last one that net/http chose; nil: none yet
	sealed  bool       // no write may begin any more
	left    bool       // bytes of the request may have left this machine
	sentAt  time.Time  // of the write, where left
	refusal error      // the first reason for which a DELETE wasn't written
}

// took is httptrace's GotConn: the connection may now carry this call's
// request, once.
func (c *call) took(conn net.Conn) {
	g, ok := conn.(*guardConn)
	if !ok {
		return // no connection of ours: nothing announces the write, nothing is armed
	}
	c.mu.Lock()
	c.conn = g
	c.mu.Unlock()
	g.arm(c)
}

// begin decides, right before the first byte, whether p may be written. Only
// here is a clearance spent (step 6: checked just before the write).
func (c *call) begin(p []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.refusal != nil:
		return c.refusal
	case c.sealed:
		return errSealed
	case c.left:
		c.abort(errSecond) // or net/http would try every idle connection
		return errSecond
	case !bytes.HasPrefix(p, c.line) || bytes.Index(p, headersEnd) != len(p)-len(headersEnd):
		// Never the head of a request alone: a deadline between two flushes
		// would leave a part of it on the wire.
		return c.refuse(errForeign)
	}
	now := c.now()
	if c.clearance != nil {
		if err := c.clearance.Spend(now); err != nil {
			return c.refuse(err)
		}
	}
	c.left, c.sentAt = true, now
	return nil
}

// refuse ends a DELETE: it isn't tried on another connection, whatever
// net/http thinks of it. A listing of which nothing left may be.
func (c *call) refuse(err error) error {
	if c.clearance != nil && c.refusal == nil {
		c.refusal = err
		c.abort(err)
	}
	return err
}

// tookNothing takes back begin's word: the kernel took not one byte. The
// clearance stays spent.
func (c *call) tookNothing() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.left, c.sentAt = false, time.Time{}
	_ = c.refuse(errStale)
}

// fate is what a call has come to once no write can begin any more.
type fate struct {
	connected bool // a connection was there
	left      bool
	spoken    bool // the server said something after the request
	sentAt    time.Time
	refusal   error
}

// seal forbids every later write and says what has become of the request. A
// goroutine of net/http that comes to its write only now is refused.
func (c *call) seal() fate {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sealed = true
	f := fate{left: c.left, sentAt: c.sentAt, refusal: c.refusal}
	if c.conn != nil {
		f.connected, f.spoken = true, c.left && c.conn.hasSpoken()
	}
	return f
}

// guardConn stands between net/http and an established connection, above TLS.
// It lets a request pass only where its call has armed it, whole, and once.
// As it is no *tls.Conn, net/http can't take it for HTTP/2 either.
type guardConn struct {
	net.Conn
	out *atomic.Int64 // bytes the kernel took, TLS's own included

	mu    sync.Mutex
	call  *call // armed; nil after its write
	frame frame // of the answer to the last request
	spoke bool  // some of that answer has come
	dirty bool  // bytes have come that are no answer to anything
}

func (g *guardConn) arm(c *call) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.call = c
}

func (g *guardConn) hasSpoken() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.spoke
}

// Read hands on what belongs to the answer. What else comes ends the
// connection: nobody may take it for the answer to the next request.
func (g *guardConn) Read(p []byte) (int, error) {
	n, err := g.Conn.Read(p)
	g.mu.Lock()
	defer g.mu.Unlock()
	own := g.frame.take(p[:n])
	g.spoke = g.spoke || own > 0
	if own < n || g.dirty {
		g.dirty = true
		clear(p[own:n])
		err = nil
		if own == 0 {
			err = errSpoke
		}
	}
	return own, err
}

func (g *guardConn) Write(p []byte) (int, error) {
	g.mu.Lock()
	c, dirty := g.call, g.dirty
	g.call = nil
	g.spoke = false
	if c != nil && !dirty {
		g.frame.ask()
	}
	g.mu.Unlock()
	if c == nil {
		return 0, errUnarmed
	}
	if dirty {
		c.mu.Lock()
		defer c.mu.Unlock()
		return 0, c.refuse(errSpoke)
	}
	if err := c.begin(p); err != nil {
		return 0, err
	}
	before := g.out.Load()
	n, err := g.Conn.Write(p)
	// TLS reports 0 where half a record has left, and net/http would then
	// write the request again: the count below TLS decides, not n.
	if err != nil && n == 0 && g.out.Load() == before {
		c.tookNothing()
	}
	return n, err
}

// countingConn counts what the kernel took. It lies below TLS.
type countingConn struct {
	net.Conn
	out *atomic.Int64
}

func (c countingConn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	c.out.Add(int64(n))
	return n, err
}

// defaultDial is a variable for TestMain alone, which lets nothing but
// loopback addresses pass.
var defaultDial = new(net.Dialer).DialContext

// dialer makes connections, with a deadline of its own: net/http lets a dial
// go on for later calls when the call that began it has given up.
type dialer struct {
	dial    func(ctx context.Context, network, address string) (net.Conn, error)
	tls     *tls.Config
	timeout time.Duration
}

// connect dials, and bounds for how long the kernel may go on sending by itself.
func (d *dialer) connect(ctx context.Context, network, address string) (net.Conn, error) {
	conn, err := d.dial(ctx, network, address)
	if err == nil {
		if err = boundSending(conn, d.timeout); err != nil {
			_ = conn.Close()
		}
	}
	if err != nil {
		return nil, &connectError{word: connectWord(err, "refused")}
	}
	return conn, nil
}

// boundSending ends what the kernel does with bytes after write(2), and after
// close(2) too: it sends them again for minutes until the peer has acknowledged
// them (seen: a DELETE that arrived 55 s after its write, 25 s after it was given up).
//
// Linger 0 makes every end of the connection throw them away at once: a call that
// was given up, and a process that dies. The user time-out is for a process that is
// there and doesn't run. Both together: TCP sends nothing once the caller is gone,
// nor later than the request time-out after the write, or than 2 s where that is
// more. A packet that has left TCP is beyond this: one that waits for its
// neighbour's address (ARP) may leave 3 s later.
func boundSending(conn net.Conn, timeout time.Duration) error {
	socket, ok := conn.(interface {
		syscall.Conn
		SetLinger(seconds int) error
	})
	if !ok {
		return nil // no socket: a test's own connection
	}
	raw, err := socket.SyscallConn()
	if err != nil {
		return err
	}
	// The kernel counts from its first retransmission, which comes less than a
	// second behind the write unless the round trip is longer than a tenth of one.
	timeout -= min(timeout/2, time.Second)
	var refused error
	err = raw.Control(func(fd uintptr) { refused = setUserTimeout(fd, timeout) })
	return errors.Join(err, refused, socket.SetLinger(0))
}

func (d *dialer) plain(ctx context.Context, network, address string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, d.timeout)
	defer cancel()
	conn, err := d.connect(ctx, network, address)
	if err != nil {
		return nil, err
	}
	out := new(atomic.Int64)
	return &guardConn{Conn: countingConn{conn, out}, out: out}, nil
}

// secure does the handshake here, so that it is over before a request's write
// is guarded, and offers HTTP/1.1 alone.
func (d *dialer) secure(ctx context.Context, network, address string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, d.timeout)
	defer cancel()
	conn, err := d.connect(ctx, network, address)
	if err != nil {
		return nil, err
	}
	out := new(atomic.Int64)
	secured := tls.Client(countingConn{conn, out}, d.tls)
	if err := secured.HandshakeContext(ctx); err != nil {
		_ = conn.Close()
		return nil, &connectError{word: connectWord(err, "tls")}
	}
	return &guardConn{Conn: secured, out: out}, nil
}

// connectError is a connection that didn't come about, in one of our words. The
// cause is dropped: it can hold addresses and certificates' texts.
type connectError struct{ word string }

func (e *connectError) Error() string { return "capillary: connect: " + e.word }

func connectWord(err error, otherwise string) string {
	var dns *net.DNSError
	var network net.Error
	switch {
	case errors.As(err, &dns):
		return "dns"
	case errors.Is(err, context.Canceled):
		return "cancelled"
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &network) && network.Timeout():
		return "timeout"
	}
	return otherwise
}
