package worker_test

import (
	"bytes"
	"cmp"
	"context"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/imagepurge/imagepurge/jobs"
	"github.com/imagepurge/imagepurge/jobs/budget"
	"github.com/imagepurge/imagepurge/jobs/clearance"
	"github.com/imagepurge/imagepurge/jobs/purge"
	"github.com/imagepurge/imagepurge/jobs/worker"
	"github.com/imagepurge/imagepurge/simulation/memory"
)

// shell is a whole worker with its goroutines, in a bubble of testing/synctest: on the
// store in memory, and with the world's customers behind the API.
type shell struct {
	*world
	worker.Options
	stop chan struct{}
	log  lines

	mu  sync.Mutex
	met []statement
	// on may make a statement slow, or fail.
	on func(ctx context.Context, name string) error
	// fails lets a commit fail before it is applied, or after.
	fails func([]purge.Write) (before, after error)
	// beforeCall may make a call slow.
	beforeCall func(context.Context)
	learnt     budget.Learnt // what the key answers to a 429, and to a step
}

// statement is one that the worker has sent.
type statement struct {
	name   string
	at     time.Duration // since the shell began
	limit  time.Duration // until its context ends by itself
	writes []purge.Write // of a commit
	beat   worker.Beat
	age    time.Duration // of a 429
}

// lines is a log.
type lines struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

// count says how many lines have all of the parts.
func (l *lines) count(parts ...string) (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for line := range strings.Lines(l.text.String()) {
		all := true
		for _, p := range parts {
			all = all && strings.Contains(line, p)
		}
		if all {
			n++
		}
	}
	return n
}

// bubble runs a test on a worker whose customers have so many images.
func bubble(t *testing.T, cfg worker.Config, images []int, test func(*shell)) {
	t.Helper()
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &shell{world: newWorld(t, 1, cfg), stop: make(chan struct{})}
		s.began = time.Now()
		for i, n := range images {
			s.give(&s.ours, int64(i+1), n)
			s.store.Enqueue(s.began, 1, memory.NewTask{Customer: int64(i + 1)})
		}
		s.beforeCall = func(ctx context.Context) { pause(ctx, 300*time.Millisecond) }
		s.Options = worker.Options{
			Config: cfg, Store: tables{s}, API: remote{s}, Now: time.Now, PID: 77, Version: "v1",
			Terms: purge.Terms{Organization: 1, Lease: cfg.Claim.Lease, RequestTimeout: cfg.Purge.RequestTimeout, Host: "here"},
			Log:   slog.New(slog.NewTextHandler(&s.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
		}
		test(s)
	})
}

// teach adds to what the key answers.
func (s *shell) teach(l budget.Learnt) budget.Learnt {
	l.New, l.Accepts = l.New || s.learnt.New, cmp.Or(l.Accepts, s.learnt.Accepts)
	return l
}

// pause waits, in the bubble's time.
func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// after does something after so long.
func (s *shell) after(d time.Duration, do func()) { time.AfterFunc(d, do) }

// sent returns the statements of a name.
func (s *shell) sent(name string) (found []statement) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, m := range s.met {
		if m.name == name {
			found = append(found, m)
		}
	}
	return found
}

// statement sends one to the tables.
func (s *shell) statement(ctx context.Context, m statement, run func(now time.Time)) error {
	m.at = time.Since(s.began)
	if deadline, ok := ctx.Deadline(); ok {
		m.limit = time.Until(deadline)
	}
	s.mu.Lock()
	s.met = append(s.met, m)
	s.mu.Unlock()
	if s.on != nil {
		if err := s.on(ctx, m.name); err != nil {
			return err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	run(time.Now())
	return ctx.Err()
}

// tables are the worker's store.
type tables struct{ *shell }

func (s tables) ClaimTasks(ctx context.Context, c purge.Claim) (records []purge.Record, err error) {
	err = s.statement(ctx, statement{name: "ClaimTasks"}, func(now time.Time) { records = s.store.ClaimTasks(now, c) })
	return records, err
}

func (s tables) RenewLeases(ctx context.Context, owner string, leases []purge.Lease, d time.Duration) (kept []jobs.TaskID, err error) {
	err = s.statement(ctx, statement{name: "RenewLeases"}, func(now time.Time) { kept = s.store.RenewLeases(now, owner, leases, d) })
	return kept, err
}

func (s tables) Write(ctx context.Context, t purge.Terms, writes []purge.Write) (results []purge.Result, err error) {
	var before, after error
	err = s.statement(ctx, statement{name: "Write", writes: writes}, func(now time.Time) {
		if s.fails != nil {
			before, after = s.fails(writes)
		}
		if before == nil {
			results = s.store.Write(now, now, t, writes)
		}
	})
	return results, cmp.Or(err, before, after)
}

func (s tables) Outlook(ctx context.Context, organization, batch int64) (o purge.Outlook, err error) {
	err = s.statement(ctx, statement{name: "Outlook"}, func(now time.Time) { o = s.store.Outlook(now, organization, batch) })
	return o, err
}

func (s tables) ReclaimTasks(ctx context.Context) (n int, err error) {
	err = s.statement(ctx, statement{name: "ReclaimTasks"}, func(now time.Time) { n = s.store.ReclaimTasks(now) })
	return n, err
}

func (s tables) NoteServer(ctx context.Context, rest time.Duration) (changed bool, err error) {
	err = s.statement(ctx, statement{name: "NoteServer", age: rest}, func(now time.Time) { changed = s.store.NoteServer(now, rest) })
	return changed, err
}

func (s tables) SweepRests(ctx context.Context) error {
	return s.statement(ctx, statement{name: "SweepRests"}, s.store.SweepRests)
}

func (s tables) FoldArrivals(ctx context.Context) error {
	return s.statement(ctx, statement{name: "FoldArrivals"}, func(time.Time) {})
}

func (s tables) PinOrganization(ctx context.Context, _, number int64) (pinned int64, err error) {
	err = s.statement(ctx, statement{name: "PinOrganization"}, func(time.Time) { pinned = s.store.PinOrganization(number) })
	return pinned, err
}

func (s tables) ReserveSlots(ctx context.Context, _ int64, a budget.Ask) (b budget.Block, err error) {
	err = s.statement(ctx, statement{name: "ReserveSlots"}, func(now time.Time) { b = s.store.ReserveSlots(now, a) })
	return b, err
}

func (s tables) NoteOverLimit(ctx context.Context, _ int64, age, asked time.Duration) (l budget.Learnt, err error) {
	err = s.statement(ctx, statement{name: "NoteOverLimit", age: age}, func(now time.Time) { l = s.store.NoteOverLimit(now, age, asked) })
	return s.teach(l), err
}

func (s tables) StepPace(ctx context.Context, _ int64) (l budget.Learnt, err error) {
	err = s.statement(ctx, statement{name: "StepPace"}, func(now time.Time) { l = s.store.StepPace(now) })
	return s.teach(l), err
}

func (s tables) Beat(ctx context.Context, b worker.Beat) (f worker.Fleet, err error) {
	err = s.statement(ctx, statement{name: "Beat", beat: b}, func(now time.Time) { f = s.store.Beat(now, b) })
	return f, err
}

// remote is the worker's API.
type remote struct{ *shell }

func (s remote) List(ctx context.Context, c jobs.Customer) jobs.Answer {
	return s.call(ctx, jobs.TaskID(c.ID), jobs.ListCall, func() jobs.Answer { return s.list(&s.ours, c.ID) })
}

func (s remote) Delete(ctx context.Context, c *clearance.Clearance) jobs.Answer {
	i := c.Intent()
	return s.call(ctx, i.Task, jobs.DeleteCall, func() jobs.Answer {
		return s.delete(&s.ours, i.Customer.ID, i.Targets[0].Position, i.Targets[0].Key)
	})
}

func (s remote) call(ctx context.Context, id jobs.TaskID, kind jobs.Kind, serve func() jobs.Answer) jobs.Answer {
	sent := time.Now()
	s.beforeCall(ctx)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls++
	a := s.other(id, kind)
	if a == nil {
		served := serve()
		a = &served
	}
	a.SentAt, a.AnsweredAt = sent, time.Now()
	return *a
}
