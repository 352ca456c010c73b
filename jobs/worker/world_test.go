package worker

import (
	"errors"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/imagepurge/imagepurge/jobs"
	"github.com/imagepurge/imagepurge/jobs/budget"
	"github.com/imagepurge/imagepurge/jobs/clearance"
	"github.com/imagepurge/imagepurge/jobs/purge"
)

// world does the effects of one core under a clock of its own: a store and an
// API that always behave, unless a test says otherwise. One seed decides how
// long everything takes.
type world struct {
	t      *testing.T
	core   *Core
	now    time.Time
	random *rand.Rand
	queue  []scheduled
	wake   time.Time
	ended  End
	over   bool
	steps  int

	tasks  []*row
	key    budget.Row
	number int64 // of the organisation, in the images' tokens; 0: they name none
	pinned int64
	// unnumbered: the images' tokens have no number in them.
	unnumbered bool
	silent     int // listings without an image that were answered before one with
	spoke      bool
	pins       int
	breaker    string
	// answer replaces the API's answer to a call.
	answer func(id jobs.TaskID, kind jobs.Kind) *jobs.Answer
	// dbDown makes every statement fail.
	dbDown bool

	lists, deletes, claims, renewals int
	inFlight, most                   int
	lastIntent                       time.Time
}

type scheduled struct {
	at time.Time
	n  int
	do func() Event
}

type row struct {
	id       jobs.TaskID
	images   int
	state    string // pending, running, or final
	outcome  jobs.Outcome
	due      time.Time
	epoch    int64
	until    time.Time
	attempts int
	waiting  jobs.Waiting
	rows     []purge.Image
	counters purge.Counters
}

func newWorld(t *testing.T, seed uint64, cfg Config, images ...int) *world {
	w := &world{t: t, now: time.Date(2026, 11, 23, 1, 0, 0, 0, time.UTC), random: rand.New(rand.NewPCG(seed, 1))}
	for i, n := range images {
		w.tasks = append(w.tasks, &row{id: jobs.TaskID(i + 1), images: n, state: "pending", due: w.now})
	}
	w.key = budget.Row{Limit: float64(cfg.Budget.PerMinute)}
	w.core = NewCore(cfg)
	return w
}

func testConfig() Config {
	return Config{
		Claim: purge.Claim{Organization: 1, Owner: "w", Lease: time.Minute},
		Purge: purge.Config{
			RequestTimeout: 5 * time.Second, Settle: 30 * time.Second, ListingLag: 5 * time.Second, ViewMaxAge: 10 * time.Second,
			MaxAttempts: 5, BackoffBase: time.Second, BackoffMax: time.Minute, Batching: jobs.SingleDelete, Random: func() float64 { return 0.5 },
		},
		Budget: budget.Config{PerMinute: 600, Concurrency: 64, ViewMaxAge: 10 * time.Second, Random: func() float64 { return 0.5 }},
		Once:   true,
	}
}

// run steps the core until it has ended, or the time is over.
func (w *world) run(atMost time.Duration) {
	w.t.Helper()
	until := w.now.Add(atMost)
	w.feed(Started{})
	for !w.over {
		next := w.wake
		if len(w.queue) > 0 && (next.IsZero() || !w.queue[0].at.After(next)) {
			next = w.queue[0].at
		}
		if next.IsZero() || next.After(until) {
			w.now = until
			return
		}
		w.now = next
		if len(w.queue) > 0 && !w.queue[0].at.After(w.now) {
			do := w.queue[0].do
			w.queue = w.queue[1:]
			w.feed(do())
			continue
		}
		w.wake = time.Time{}
		w.feed(Tick{})
	}
}

func (w *world) feed(ev Event) {
	w.steps++
	if w.steps > 2_000_000 {
		w.t.Fatal("the core does not come to rest")
	}
	for _, e := range w.core.Step(w.now, ev) {
		w.do(e)
	}
}

func (w *world) later(least, most time.Duration, do func() Event) {
	at := w.now.Add(least + time.Duration(w.random.Int64N(int64(most-least)+1)))
	w.queue = append(w.queue, scheduled{at, w.steps, do})
	slices.SortStableFunc(w.queue, func(a, b scheduled) int { return a.at.Compare(b.at) })
}

var errDown = errors.New("the database is away")

func (w *world) do(e Effect) {
	switch e := e.(type) {
	case WakeAt:
		if !e.At.After(w.now) {
			w.t.Fatalf("asked to be woken at %v, not after now: a loop that turns at full speed", e.At.Sub(w.now))
		}
		w.wake = e.At
	case Ended:
		w.over, w.ended = true, e.Why
	case ClaimTasks:
		w.claims++
		w.later(time.Millisecond, 5*time.Millisecond, func() Event { return w.claim(e.Claim) })
	case ReserveSlots:
		sent := w.now
		w.later(time.Millisecond, 3*time.Millisecond, func() Event {
			if w.dbDown {
				return SlotsReserved{Sent: sent, At: w.now, Err: errDown}
			}
			ev := SlotsReserved{Sent: sent, At: w.now}
			w.key, ev.Block = w.key.Reserve(w.now, e.Ask)
			return ev
		})
	case PinOrganization:
		w.pins++
		w.later(time.Millisecond, 300*time.Millisecond, func() Event {
			if w.dbDown {
				return OrganizationPinned{Err: errDown}
			}
			if w.pinned == 0 {
				w.pinned = e.Number
			}
			return OrganizationPinned{Number: w.pinned}
		})
	case SlowDown:
		w.key, _ = w.key.OverLimit(w.now, e.Age, e.Asked)
	case StepPace:
		w.key, _ = w.key.Step(w.now)
	case Survey:
		w.later(time.Millisecond, 2*time.Millisecond, func() Event { return Surveyed{Outlook: w.outlook()} })
	case RenewLeases:
		w.renewals++
		w.later(time.Millisecond, 5*time.Millisecond, func() Event { return w.renew(e.Leases) })
	case WriteTask:
		w.later(time.Millisecond, 10*time.Millisecond, func() Event { return w.write(e.Write) })
	case ListImages:
		w.call(e.Lease, jobs.ListCall, nil)
	case DeleteImage:
		w.call(e.Lease, jobs.DeleteCall, e.Clearance)
	}
}

func (w *world) row(id jobs.TaskID) *row { return w.tasks[id-1] }

func (w *world) claim(c purge.Claim) Event {
	if w.dbDown {
		return ClaimEnded{Err: errDown}
	}
	var out []purge.Record
	for _, r := range w.tasks {
		if len(out) == c.Limit || r.state != "pending" || r.due.After(w.now) || c.Only != nil && !slices.Contains(c.Only, r.id) {
			continue
		}
		if w.breaker != "" && (!c.ProbeNow || len(out) == 1) {
			continue
		}
		r.state, r.until, r.waiting = "running", w.now.Add(c.Lease), ""
		r.epoch++
		out = append(out, purge.Record{
			Task: r.id, Batch: 1, Owner: "w", Epoch: r.epoch, Customer: jobs.Customer{ID: int64(r.id), Source: "INSTORE"},
			Mode: jobs.Verified, Scope: jobs.Snapshot, Images: slices.Clone(r.rows), Counters: r.counters, Probe: w.breaker != "",
		})
	}
	return ClaimEnded{Records: out}
}

func (w *world) outlook() purge.Outlook {
	o := purge.Outlook{Now: w.now, Breaker: w.breaker}
	for _, r := range w.tasks {
		switch {
		case r.state == "pending" && !r.due.After(w.now):
			o.Ready = true
		case r.state == "pending":
			if !o.Waiting || r.due.Before(o.NextDue) {
				o.Waiting, o.NextDue = true, r.due
			}
		case r.state == "running":
			o.Leased, o.LeaseTo = true, r.until
		}
	}
	return o
}

func (w *world) renew(leases []purge.Lease) Event {
	ev := Renewed{Asked: leases}
	if w.dbDown {
		ev.Err = errDown
		return ev
	}
	for _, l := range leases {
		if r := w.row(l.Task); r.state == "running" && r.epoch == l.Epoch && r.until.After(w.now) {
			r.until = w.now.Add(w.core.cfg.Claim.Lease)
			ev.Kept = append(ev.Kept, l.Task)
		}
	}
	return ev
}

func (w *world) write(wr purge.Write) Event {
	ev := WriteEnded{Task: wr.Task, Epoch: wr.Epoch}
	r := w.row(wr.Task)
	if w.dbDown {
		if wr.Kind == purge.WriteIntent {
			ev.Err = errDown
			return ev
		}
		w.later(time.Second, time.Second, func() Event { return w.write(wr) }) // repeated, as the shell does
		return Tick{}
	}
	if r.epoch != wr.Epoch || r.state != "running" {
		ev.Result.Refused = purge.LeaseLost
		return ev
	}
	ev.Result.Applied = true
	r.counters, r.attempts = wr.Counters, wr.Counters.Attempts
	for _, im := range wr.Images {
		if i := slices.IndexFunc(r.rows, func(o purge.Image) bool { return o.Key == im.Key }); i >= 0 {
			r.rows[i] = im
		} else {
			r.rows = append(r.rows, im)
		}
	}
	if wr.Breaker != nil {
		w.breaker = wr.Breaker.Reason
	}
	if wr.Passed != "" {
		w.breaker = ""
	}
	switch wr.Kind {
	case purge.WriteIntent:
		w.lastIntent = w.now
		r.until = w.now.Add(w.core.cfg.Claim.Lease)
		ev.Result.Clearance = clearance.Issue(clearance.Intent{Task: wr.Task, Epoch: wr.Epoch, Customer: wr.Customer, Targets: wr.Targets, BeganAt: w.now, Margin: time.Second})
	case purge.WriteGiveBack:
		r.state, r.due, r.waiting = "pending", w.now.Add(wr.After), wr.Waiting
	case purge.WriteFinish:
		r.state, r.outcome = string(wr.State), wr.Outcome
	}
	return ev
}

// notSent in an answer's SentAt says that nothing went to the customer's address.
var notSent = time.Unix(0, 1)

func (w *world) call(l purge.Lease, kind jobs.Kind, c *clearance.Clearance) {
	w.inFlight++
	w.most = max(w.most, w.inFlight)
	sent := w.now
	w.later(50*time.Millisecond, 400*time.Millisecond, func() Event {
		w.inFlight--
		a := w.respond(l.Task, kind, c)
		if a.AnsweredAt = w.now; a.SentAt.Equal(notSent) {
			a.SentAt = time.Time{}
		} else {
			a.SentAt = sent
		}
		if w.spoke = w.spoke || len(a.Images) > 0; !w.spoke {
			w.silent++
		}
		return CallEnded{Task: l.Task, Epoch: l.Epoch, Kind: kind, Answer: a}
	})
}

func (w *world) respond(id jobs.TaskID, kind jobs.Kind, c *clearance.Clearance) jobs.Answer {
	if w.answer != nil {
		if a := w.answer(id, kind); a != nil {
			return *a
		}
	}
	r := w.row(id)
	if kind == jobs.ListCall {
		w.lists++
		a := jobs.Answer{Class: jobs.ClassListed}
		for i := range r.images {
			a.Images = append(a.Images, jobs.KeyOf(string(rune('a'+i))))
		}
		if w.unnumbered && r.images > 0 {
			a.Organizations = []int64{0}
		}
		if w.number > 0 && r.images > 0 {
			a.Organizations = []int64{w.number}
		}
		return a
	}
	w.deletes++
	if c.Intent().Targets[0].Position != r.images-1 {
		w.t.Errorf("task %d: DELETE index %d of %d images", id, c.Intent().Targets[0].Position, r.images)
	}
	r.images--
	return jobs.Answer{Class: jobs.ClassDeleted}
}

func (w *world) states() map[string]int {
	m := make(map[string]int)
	for _, r := range w.tasks {
		m[r.state]++
	}
	return m
}

func (w *world) stopAfter(d time.Duration) { w.later(d, d, func() Event { return StopAsked{} }) }
