package sandbox

import (
	"context"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Server is the remote API over HTTP. It is an http.Handler, for httptest or
// any server; Listen starts one. Close it when done.
type Server struct {
	o      Options
	model  *Model
	plan   *Plan
	others *OthersPlan
	gate   *gate

	stop    context.Context
	stopNow context.CancelFunc

	mu      sync.Mutex
	closed  bool
	late    int           // executions still to come
	settled chan struct{} // closed while late is 0
	running sync.WaitGroup

	atStart func() (customers, images int)
}

// New returns a server that nobody calls yet.
func New(o Options) *Server {
	o = o.withDefaults()
	s := &Server{
		o: o,
		model: NewModel(ModelOptions{
			Seed: o.Seed, Org: o.Org, Population: o.Population, MultiIndex: o.MultiIndex, Uploads: o.Uploads,
			MaxLag: max(o.ListingLag, o.Faults.StaleBy), ErrorStatus: o.ErrorStatus, Journal: NewJournal(o.JournalTo),
		}),
		plan:    NewPlan(o.Faults, o.Population),
		others:  NewOthersPlan(o.Others),
		gate:    newGate(o),
		settled: make(chan struct{}),
	}
	close(s.settled)
	s.stop, s.stopNow = context.WithCancel(context.Background())
	s.atStart = sync.OnceValues(s.countAtStart)
	return s
}

// Model is the server's state, to prepare it and to look at the truth.
func (s *Server) Model() *Model { return s.model }

// Journal is what happened.
func (s *Server) Journal() *Journal { return s.model.journal }

// Judge judges the journal as it is now.
func (s *Server) Judge() *Judge { return NewJudge(s.model.journal.Entries()) }

// Script is [Plan.Script] of the server's plan.
func (s *Server) Script(customer int64, faults []Fault) { s.plan.Script(customer, faults) }

// ScriptKind is [Plan.ScriptKind] of the server's plan.
func (s *Server) ScriptKind(customer int64, kind Kind, faults []Fault) {
	s.plan.ScriptKind(customer, kind, faults)
}

// ScriptOthers is [OthersPlan.Script] of the server's plan.
func (s *Server) ScriptOthers(customer int64, acts []Act) { s.others.Script(customer, acts) }

// Pending is how many requests are still to execute late.
func (s *Server) Pending() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.late
}

// Settle waits until no request is still to execute late, or returns the
// context's error.
func (s *Server) Settle(ctx context.Context) error {
	s.mu.Lock()
	settled := s.settled
	s.mu.Unlock()
	select {
	case <-settled:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Close ends hanging answers and waits for the server's goroutines. Late
// requests that have not executed never will; they are journaled as lost.
func (s *Server) Close() {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.stopNow()
	s.running.Wait()
}

// ServeHTTP serves the API, and the admin endpoints under /sandbox/.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if strings.HasPrefix(r.URL.Path, "/sandbox/") {
		s.serveAdmin(w, r)
		return
	}
	now := s.o.Now()
	req, status, allow := route(r)
	req.ReceivedAt = now
	if req.Kind == KindToken && status == 0 {
		s.model.Refuse(now, req, s.gate.serveToken(w, r, now))
		return
	}
	key := s.gate.who(r, now)
	if key == nil {
		w.Header().Set("WWW-Authenticate", `Basic realm="example"`)
		s.refuse(w, req, http.StatusUnauthorized)
		return
	}
	// Counted at the arrival, before anything else can delay the request.
	if ok, wait := s.gate.allow(key, now); !ok {
		s.setRetryAfter(w, now, wait)
		s.refuse(w, req, http.StatusTooManyRequests)
		return
	}
	if status == 0 && req.Kind == KindUpload {
		req.Sizes, status = readUpload(w, r)
	}
	if status != 0 {
		if allow != "" {
			w.Header().Set("Allow", allow)
		}
		s.refuse(w, req, status)
		return
	}
	s.serve(w, r, req)
}

// serve carries a well-formed request through its faults and its latency.
func (s *Server) serve(w http.ResponseWriter, r *http.Request, req Request) {
	req.Ordinal, req.Fault = s.plan.Next(req.Customer, req.Kind)
	before, after := s.others.Next(req.Customer, req.Ordinal)
	if req.Fault.Late() {
		s.runLate(req, before, after)
		s.write(w, r, s.model.harm(req, Reply{}))
		return
	}
	latency := s.o.Latency.At(unit(draw(s.o.Seed, saltLatency, req.Customer, int64(req.Ordinal))))
	if latency > 0 {
		// A caller who leaves does not stop what the server has begun: the
		// wait ends with the server only.
		if s.o.Sleep(s.stop, latency/2) != nil {
			s.model.Refuse(s.o.Now(), req, 0)
			panic(http.ErrAbortHandler)
		}
	}
	req.Gone = r.Context().Err() != nil
	req.Lag = s.lag(req)
	reply := s.apply(req, before, after)
	if latency > 0 {
		ctx, cancel := context.WithCancel(r.Context())
		defer cancel()
		defer context.AfterFunc(s.stop, cancel)()
		if s.o.Sleep(ctx, latency-latency/2) != nil {
			panic(http.ErrAbortHandler)
		}
	}
	s.write(w, r, reply)
}

func (s *Server) apply(req Request, before, after []Act) Reply {
	for _, act := range before {
		s.model.Do(s.o.Now(), req.Customer, act)
	}
	reply := s.model.Apply(s.o.Now(), req)
	for _, act := range after {
		s.model.Do(s.o.Now(), req.Customer, act)
	}
	return reply
}

func (s *Server) lag(req Request) time.Duration {
	if req.Fault == FaultStaleListing {
		return s.o.Faults.StaleBy
	}
	return time.Duration(unit(draw(s.o.Seed, saltLag, req.Customer, int64(req.Ordinal))) * float64(s.o.ListingLag))
}

// runLate executes a request some time from now, whoever still waits for it.
func (s *Server) runLate(req Request, before, after []Act) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		s.model.Refuse(req.ReceivedAt, req, 0)
		return
	}
	if s.late == 0 {
		s.settled = make(chan struct{})
	}
	s.late++
	s.running.Go(func() {
		if s.o.Sleep(s.stop, s.plan.LateBy(req.Customer, req.Ordinal)) == nil {
			s.apply(req, before, after)
		} else {
			s.model.Refuse(s.o.Now(), req, s.model.harm(req, Reply{}).Status)
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.late--; s.late == 0 {
			close(s.settled)
		}
	})
}

func (s *Server) refuse(w http.ResponseWriter, req Request, status int) {
	s.model.Refuse(s.o.Now(), req, status)
	bits := draw(s.o.Seed, saltFaultShape, req.Customer, int64(status))
	s.writeWhole(w, refusedBy(status, bits, nil), false)
}

func (s *Server) setRetryAfter(w http.ResponseWriter, now time.Time, wait time.Duration) {
	// Rounded up: a caller who comes exactly then must be served.
	switch s.o.Limit.RetryAfter {
	case RetryAfterSeconds:
		w.Header().Set("Retry-After", strconv.FormatInt(int64((wait+time.Second-1)/time.Second), 10))
	case RetryAfterDate:
		at := now.Add(wait + time.Second - 1).UTC().Truncate(time.Second)
		w.Header().Set("Retry-After", at.Format(http.TimeFormat))
	}
}
