package main_test

import (
	"io"
	"net"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/imagepurge/imagepurge/capillary/sandbox"
)

// hush is a way to a database whose connections can fall silent: neither closed
// nor answered, as behind a firewall that has forgotten them. New ones go through.
type hush struct {
	mu     sync.Mutex
	silent chan struct{} // closed: what is open now carries nothing more
	all    []net.Conn
}

// newHush returns the way, and the URL through it.
func newHush(w *world, database string) (*hush, string) {
	w.Helper()
	cfg, err := pgx.ParseConfig(database)
	if err != nil {
		w.Fatal(err)
	}
	kind, there := pgNetwork(cfg.Host, cfg.Port)
	ear, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		w.Fatal(err)
	}
	h := &hush{silent: make(chan struct{})}
	w.Cleanup(func() {
		_ = ear.Close()
		h.mu.Lock()
		defer h.mu.Unlock()
		for _, c := range h.all {
			_ = c.Close()
		}
	})
	go func() {
		for {
			here, err := ear.Accept()
			if err != nil {
				return
			}
			h.join(here, kind, there)
		}
	}()
	u := url.URL{Scheme: "postgres", User: url.UserPassword(cfg.User, cfg.Password), Host: ear.Addr().String(), Path: "/" + cfg.Database, RawQuery: "sslmode=disable"}
	return h, u.String()
}

func (h *hush) join(here net.Conn, kind, address string) {
	there, err := net.Dial(kind, address)
	if err != nil {
		_ = here.Close()
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.all = append(h.all, here, there)
	silent := h.silent
	pipe := func(to, from net.Conn) {
		_, _ = io.Copy(to, muted{from, silent})
		select {
		case <-silent: // not even its end is told
		default:
			_ = to.Close()
			_ = from.Close()
		}
	}
	go pipe(here, there)
	go pipe(there, here)
}

// muted reads nothing more once it is to be silent.
type muted struct {
	net.Conn
	silent chan struct{}
}

func (m muted) Read(p []byte) (int, error) {
	n, err := m.Conn.Read(p)
	select {
	case <-m.silent:
		return 0, io.EOF
	default:
		return n, err
	}
}

func (h *hush) fall() {
	h.mu.Lock()
	defer h.mu.Unlock()
	close(h.silent)
	h.silent = make(chan struct{})
}

func TestWorkGoesOnWhenConnectionsFallSilent(t *testing.T) {
	t.Parallel()
	crowd := present(103, 150, 3)
	w := newWorld(t, sandbox.Options{Seed: 103, Population: crowd, Latency: sandbox.UniformLatency(10*time.Millisecond, 60*time.Millisecond)}).
		quick().with("CAPILLARY_RATE_PER_MINUTE=3000")
	ids := everyone(crowd)
	batch := w.enqueue(ids)
	h, address := newHush(w, w.env["DATABASE_URL"])
	p := w.with("DATABASE_URL="+address).start("run", "--once")
	w.until("deletes are under way", func() bool { return len(w.deletes()) > 60 })
	h.fall()
	if e := p.wait(); e.status != 0 || e.took > patience/2 {
		t.Errorf("%s", e)
	}
	w.wantTruth(batch, ids)
	w.wantHarmless(true)
	w.wantAtRest()
}
