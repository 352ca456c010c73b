package worker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/imagepurge/imagepurge/jobs"
	"github.com/imagepurge/imagepurge/jobs/budget"
	"github.com/imagepurge/imagepurge/jobs/clearance"
	"github.com/imagepurge/imagepurge/jobs/purge"
)

// Store is what a worker needs of the database.
type Store interface {
	ClaimTasks(context.Context, purge.Claim) ([]purge.Record, error)
	RenewLeases(ctx context.Context, owner string, leases []purge.Lease, d time.Duration) ([]jobs.TaskID, error)
	// Write applies a group of writes in one commit. An error that says
	// ErrRefusedByDatabase will be the same the next time; any other leaves open
	// what became of them.
	Write(context.Context, purge.Terms, []purge.Write) ([]purge.Result, error)
	Outlook(ctx context.Context, organization, batch int64) (purge.Outlook, error)
	ReclaimTasks(context.Context) (int, error)
	NoteServer(ctx context.Context, rest time.Duration) (changed bool, err error)
	SweepRests(context.Context) error
	FoldArrivals(context.Context) error
	// PinOrganization records the number of the remote organisation if none is
	// recorded, and returns the one that is.
	PinOrganization(ctx context.Context, organization, number int64) (int64, error)
	// ReserveSlots asks the row that all workers of an API key share, and tells
	// whether a person has paused the organisation; NoteOverLimit and StepPace
	// change its pace.
	ReserveSlots(ctx context.Context, organization int64, a budget.Ask) (budget.Block, error)
	NoteOverLimit(ctx context.Context, organization int64, age, asked time.Duration) (budget.Learnt, error)
	StepPace(ctx context.Context, organization int64) (budget.Learnt, error)
	// Beat says that this worker is there, and returns who else is.
	Beat(context.Context, Beat) (Fleet, error)
}

// ErrRefusedByDatabase says that a constraint forbids a write: a programming
// error, which no repetition mends.
var ErrRefusedByDatabase = errors.New("refused by the database")

// API is what a worker needs of the remote API. Both calls end within the
// request time-out and always return an answer.
type API interface {
	List(context.Context, jobs.Customer) jobs.Answer
	Delete(context.Context, *clearance.Clearance) jobs.Answer
}

// Options are what a worker is made of.
type Options struct {
	Config Config
	Terms  purge.Terms
	Store  Store
	API    API
	Now    func() time.Time // with a monotonic reading
	Log    *slog.Logger
	// PID and Version are shown to whoever asks which workers there are.
	PID     int
	Version string
	// Bell wakes the worker when work comes; nil: it polls.
	Bell *Bell
	// Watch is called with the worker's numbers about once a second, and once at
	// the end, from one goroutine. It must not block.
	Watch func(Stats)
	// BeforeProbe is called before the call that probes an open breaker, so that
	// credentials can be read again: it may be that they were mended.
	BeforeProbe func(context.Context)
}

// Sizes of the shell.
const (
	writers       = 2   // commits under way at a time
	groupSize     = 128 // writes in one commit
	maintainEvery = 5 * time.Second
	watchEvery    = time.Second
	// stopGrace is how long beyond the request time-out an orderly stop may take:
	// for the last answers to be written.
	stopGrace  = 3 * time.Second
	firstRetry = 100 * time.Millisecond
	lastRetry  = 5 * time.Second
)

// Worker does the effects of a [Core].
type Worker struct {
	o      Options
	core   *Core
	events chan Event
	writes chan purge.Write
	pulse  chan Stats
	group  sync.WaitGroup

	maintained time.Time
	failing    string // the database's fault as it was logged last
	told       bool   // of work that comes, as it was logged last
}

// New returns a worker for one organisation.
func New(o Options) *Worker {
	if o.Watch == nil {
		o.Watch = func(Stats) {}
	}
	o.Store = bind(o.Store, o.Terms.Lease)
	return &Worker{
		o: o, core: NewCore(o.Config),
		events: make(chan Event, 2*maxInHand), writes: make(chan purge.Write, 2*maxInHand), pulse: make(chan Stats, 1),
	}
}

// Run works until nothing is left (with Once), or until stop is closed and
// everything in hand is recorded and given back. When ctx ends it returns at
// once: what was under way is on record as intended, and is settled and
// reconciled by whoever claims it next.
func (w *Worker) Run(ctx context.Context, stop <-chan struct{}) (End, Stats, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer func() { cancel(); w.group.Wait() }()
	for range writers {
		w.group.Go(func() { w.write(ctx) })
	}
	w.group.Go(func() { w.beat(ctx) })
	w.toBeat()
	if w.o.Bell != nil {
		w.o.Bell.Ring() // to learn whether it is told of work
	}
	wake := time.NewTimer(0)
	defer wake.Stop()
	watch := time.NewTicker(watchEvery)
	defer watch.Stop()
	pulse := time.NewTicker(beatEvery)
	defer pulse.Stop()

	var (
		ev      Event = Started{}
		overdue <-chan time.Time
	)
	for {
		for _, e := range w.core.Step(w.o.Now(), ev) {
			switch e := e.(type) {
			case WakeAt:
				wake.Reset(max(0, e.At.Sub(w.o.Now())))
			case Ended:
				stats := w.core.Stats()
				w.o.Watch(stats)
				cancel()
				w.group.Wait()
				w.leave(ctx, stats)
				return e.Why, stats, nil
			default:
				w.do(ctx, e)
			}
		}
		select {
		case <-ctx.Done():
			return Stopped, w.core.Stats(), context.Cause(ctx)
		case <-stop:
			stop, ev = nil, StopAsked{}
			overdue = time.After(w.o.Terms.RequestTimeout + stopGrace)
		case <-overdue:
			// What is not written is on record as intended, and will be settled.
			return Stopped, w.core.Stats(), fmt.Errorf("stopped with %d customers not given back: the database did not answer; their leases run out, and they settle", w.core.Stats().InHand)
		case ev = <-w.events:
		case <-wake.C:
			ev = Tick{}
		case <-w.o.Bell.rings():
			ev = w.rung()
		case <-pulse.C:
			w.toBeat()
			ev = Tick{}
		case <-watch.C:
			w.watch()
			ev = Tick{}
		}
	}
}

func (w *Worker) watch() {
	s := w.core.Stats()
	fault := ""
	switch {
	case s.DatabaseFail != nil:
		fault = s.DatabaseFail.Error()
	case s.ClaimError != nil:
		fault = s.ClaimError.Error()
	}
	if fault != w.failing {
		if fault != "" {
			w.o.Log.Error("database failed: no new intents; answers are kept and written when it is back", "error", fault)
		} else {
			w.o.Log.Info("database answered again")
		}
		w.failing = fault
	}
	w.o.Watch(s)
}

// do starts one effect; its event comes back through the loop.
func (w *Worker) do(ctx context.Context, e Effect) {
	switch e := e.(type) {
	case WriteTask:
		w.writes <- e.Write // has room for all that can be in hand
	case ListImages:
		w.start(ctx, func() Event {
			a := w.o.API.List(ctx, e.Customer)
			return CallEnded{Task: e.Lease.Task, Epoch: e.Lease.Epoch, Kind: jobs.ListCall, Answer: a}
		})
	case DeleteImage:
		w.start(ctx, func() Event {
			a := w.o.API.Delete(ctx, e.Clearance)
			return CallEnded{Task: e.Lease.Task, Epoch: e.Lease.Epoch, Kind: jobs.DeleteCall, Answer: a}
		})
	case ReserveSlots:
		w.start(ctx, func() Event { return w.reserve(ctx, e.Ask) })
	case PinOrganization:
		w.start(ctx, func() Event {
			number, err := w.o.Store.PinOrganization(ctx, w.o.Terms.Organization, e.Number)
			return OrganizationPinned{Number: number, Err: err}
		})
	case SlowDown:
		w.group.Go(func() { w.slowDown(ctx, e) })
	case StepPace:
		w.group.Go(func() { w.stepPace(ctx) })
	case ClaimTasks:
		w.start(ctx, func() Event { return w.claim(ctx, e.Claim) })
	case Survey:
		w.start(ctx, func() Event {
			o, err := w.o.Store.Outlook(ctx, w.o.Terms.Organization, w.o.Config.Claim.Batch)
			return Surveyed{Outlook: o, Err: err}
		})
	case RenewLeases:
		w.start(ctx, func() Event {
			kept, err := w.o.Store.RenewLeases(ctx, w.o.Config.Claim.Owner, e.Leases, w.o.Terms.Lease)
			return Renewed{Asked: e.Leases, Kept: kept, Err: err}
		})
	}
}

func (w *Worker) start(ctx context.Context, f func() Event) {
	w.group.Go(func() { w.tell(ctx, f()) })
}

func (w *Worker) tell(ctx context.Context, ev Event) {
	select {
	case w.events <- ev:
	case <-ctx.Done():
	}
}

// claim looks after what all workers share before it claims. Only one is under
// way at a time.
func (w *Worker) claim(ctx context.Context, c purge.Claim) Event {
	if now := w.o.Now(); now.Sub(w.maintained) >= maintainEvery {
		if err := w.maintain(ctx); err != nil {
			return ClaimEnded{Err: err}
		}
		w.maintained = now
	}
	records, err := w.o.Store.ClaimTasks(ctx, c)
	if err == nil && len(records) == 0 {
		// Nothing may be due because the server has changed.
		var changed bool
		if changed, err = w.o.Store.NoteServer(ctx, w.o.Config.Purge.WorstCase()); changed {
			w.o.Log.Warn("database server changed (fail-over): nothing is claimed until a delete that it may have lost can't run any more", "wait", w.o.Config.Purge.WorstCase())
		}
	}
	if w.o.BeforeProbe != nil && slices.ContainsFunc(records, func(r purge.Record) bool { return r.Probe }) {
		w.o.BeforeProbe(ctx)
	}
	return ClaimEnded{Records: records, Err: err}
}

func (w *Worker) maintain(ctx context.Context) error {
	n, err := w.o.Store.ReclaimTasks(ctx)
	if err != nil {
		return err
	}
	if n > 0 {
		w.o.Log.Warn("leases ran out: tasks were taken back", "tasks", n)
	}
	if err := w.o.Store.SweepRests(ctx); err != nil {
		return err
	}
	return w.o.Store.FoldArrivals(ctx)
}

// write commits what has gathered while the last commit was under way.
func (w *Worker) write(ctx context.Context) {
	for {
		var group []purge.Write
		select {
		case <-ctx.Done():
			return
		case first := <-w.writes:
			group = append(group, first)
		}
	gather:
		for len(group) < groupSize {
			select {
			case next := <-w.writes:
				group = append(group, next)
			default:
				break gather
			}
		}
		results, err := w.o.Store.Write(ctx, w.o.Terms, group)
		if err == nil {
			for i, r := range results {
				w.report(ctx, group[i], r)
			}
			continue
		}
		// Nobody knows what was committed. Intents are given up: nothing was sent.
		for _, wr := range group {
			if wr.Kind == purge.WriteIntent {
				w.tell(ctx, WriteEnded{Task: wr.Task, Epoch: wr.Epoch, Err: err})
			}
		}
		for _, wr := range group {
			if wr.Kind != purge.WriteIntent {
				w.insist(ctx, wr)
			}
		}
	}
}

// insist repeats a write until it is known what became of it. Its values are
// absolute and its fence is its epoch, so that it can't be applied twice.
func (w *Worker) insist(ctx context.Context, wr purge.Write) {
	wait := firstRetry
	for {
		results, again := w.o.Store.Write(ctx, w.o.Terms, []purge.Write{wr})
		if again == nil {
			w.report(ctx, wr, results[0])
			return
		}
		if errors.Is(again, ErrRefusedByDatabase) {
			w.o.Log.Error("the database refused a write: the task is left to its lease; please report this",
				"task", wr.Task, "kind", wr.Kind, "error", again)
			w.tell(ctx, WriteEnded{Task: wr.Task, Epoch: wr.Epoch, Result: purge.Result{Refused: purge.LeaseLost}})
			return
		}
		if wait == firstRetry {
			w.o.Log.Error("an answer could not be written: it is kept and tried again", "task", wr.Task, "error", again)
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
		wait = min(2*wait, lastRetry)
	}
}

// report tells the core of a write, and the log of a task that ended.
func (w *Worker) report(ctx context.Context, wr purge.Write, r purge.Result) {
	if r.Applied {
		switch wr.Kind {
		case purge.WriteFinish:
			level := slog.LevelInfo
			if wr.State == jobs.Review || wr.State == jobs.Failed {
				level = slog.LevelWarn
			}
			w.o.Log.Log(ctx, level, "task ended", "task", wr.Task, "state", wr.State, "outcome", wr.Outcome,
				"images_found", wr.Counters.Found, "images_deleted", wr.Deleted, "api_calls", wr.Counters.APICalls,
				"attempts", wr.Counters.Attempts, "error_code", wr.Code)
		case purge.WriteGiveBack:
			w.o.Log.Debug("task given back", "task", wr.Task, "waiting_for", wr.Waiting, "after", wr.After,
				"attempts", wr.Counters.Attempts, "error_code", wr.Code)
		}
		if b := wr.Breaker; b != nil {
			w.o.Log.Error("breaker opened: the organisation's calls are refused; see: imagepurge status",
				"reason", b.Reason, "call", b.Kind, "http_status", b.HTTPStatus, "error_code", b.Code)
		}
	}
	w.tell(ctx, WriteEnded{Task: wr.Task, Epoch: wr.Epoch, Result: r})
}
