package worker_test

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/imagepurge/imagepurge/jobs"
	"github.com/imagepurge/imagepurge/jobs/budget"
	"github.com/imagepurge/imagepurge/jobs/purge"
	"github.com/imagepurge/imagepurge/jobs/worker"
	"github.com/imagepurge/imagepurge/simulation/memory"
)

// world is all that one core meets: the store in memory, and an API that plays two
// brands. It is stepped by a clock of its own, and a seed decides how long everything
// takes. Task n is customer n's.
type world struct {
	*testing.T
	cfg    worker.Config
	core   *worker.Core
	store  *memory.Store
	began  time.Time
	now    time.Time
	random *rand.Rand
	queue  []scheduled
	wake   time.Time
	ended  worker.End // empty while it works
	steps  int

	ours, theirs brand
	// reach says whose API a call reaches.
	reach func(jobs.TaskID, jobs.Kind) *brand
	// answer replaces the API's answer to a call, unless it returns nil.
	answer func(jobs.TaskID, jobs.Kind) *jobs.Answer
	// takes replaces how long a call takes, unless it returns 0.
	takes func(jobs.TaskID, jobs.Kind) time.Duration
	// claiming is told of every claim.
	claiming func(purge.Claim)
	// down makes every statement fail.
	down bool
	// restless, unless 0, is how often the core is stepped although it asked to sleep.
	restless time.Duration
	trace    []string // effects, but for wake-ups

	calls, listed, deletes, claims, surveys, pins int
	inFlight, most, opened                        int // opened: the breaker
	lastIntent, lastCall                          time.Time
	renewed                                       []renewal
	slowed                                        []worker.SlowDown
	asked                                         budget.Ask  // of the key's row, last
	intent                                        purge.Write // that is under way
	foreign                                       time.Time   // when another brand's image was seen first
	tellers                                       map[jobs.TaskID]teller
	early, late                                   int // answers of another brand that named none, before and after that
}

// brand is what one remote organisation has.
type brand struct {
	number int64 // in its images' tokens; 0: they name none
	images map[int64][]jobs.Key
}

// teller is the call that told last of a customer.
type teller struct {
	theirs bool // it named nobody, and was another brand's
	late   bool // and another brand's image was seen before its answer
}

type renewal struct {
	at     time.Time
	leases []purge.Lease
}

type scheduled struct {
	at time.Time
	do func() worker.Event // nil: nothing that the core is told
}

// newWorld has a customer with so many images for each number.
func newWorld(t *testing.T, seed uint64, cfg worker.Config, images ...int) *world {
	w := &world{
		T: t, cfg: cfg, now: time.Date(2026, 11, 23, 1, 0, 0, 0, time.UTC), random: rand.New(rand.NewPCG(seed, 1)),
		store: memory.New(memory.Options{Organization: 1, PerMinute: cfg.Budget.PerMinute}),
		ours:  brand{100001, map[int64][]jobs.Key{}}, theirs: brand{200002, map[int64][]jobs.Key{}}, tellers: map[jobs.TaskID]teller{},
	}
	w.began = w.now
	w.reach = func(jobs.TaskID, jobs.Kind) *brand { return &w.ours }
	for i, n := range images {
		w.give(&w.ours, int64(i+1), n)
		w.store.Enqueue(w.now, 1, memory.NewTask{Customer: int64(i + 1)})
	}
	w.core = worker.NewCore(cfg)
	return w
}

func (w *world) give(b *brand, customer int64, images int) {
	for i := range images {
		b.images[customer] = append(b.images[customer], jobs.KeyOf(fmt.Sprint(b.number, customer, i)))
	}
}

func testConfig() worker.Config {
	half := func() float64 { return 0.5 }
	return worker.Config{
		Claim: purge.Claim{Organization: 1, Owner: "w", Lease: time.Minute, Mode: jobs.Verified, Scope: jobs.Snapshot, Source: "INSTORE"},
		Purge: purge.Config{
			RequestTimeout: 5 * time.Second, Settle: 30 * time.Second, ListingLag: 5 * time.Second, ViewMaxAge: 10 * time.Second,
			MaxAttempts: 5, BackoffBase: time.Second, BackoffMax: time.Minute, Batching: jobs.SingleDelete, Random: half,
		},
		Budget: budget.Config{PerMinute: 600, Concurrency: 64, ViewMaxAge: 10 * time.Second, Random: half},
		Once:   true,
	}
}

// run steps the core until it has ended, or the time is over.
func (w *world) run(atMost time.Duration) {
	w.Helper()
	w.ended = ""
	w.feed(worker.Started{})
	w.goOn(atMost)
}

func (w *world) goOn(atMost time.Duration) {
	w.Helper()
	until := w.now.Add(atMost)
	for w.ended == "" {
		next := w.wake
		if len(w.queue) > 0 && (next.IsZero() || !w.queue[0].at.After(next)) {
			next = w.queue[0].at
		}
		if r := w.now.Add(w.restless); w.restless > 0 && r.Before(until) && (next.IsZero() || r.Before(next)) {
			w.now = r
			w.feed(worker.Tick{})
			continue
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
		w.feed(worker.Tick{})
	}
}

// again starts another core on what the last one has left.
func (w *world) again(atMost time.Duration) {
	w.Helper()
	w.core, w.queue, w.wake, w.calls = worker.NewCore(w.cfg), nil, time.Time{}, 0
	w.run(atMost)
}

func (w *world) feed(ev worker.Event) []worker.Effect {
	w.Helper()
	if ev == nil {
		return nil
	}
	if w.steps++; w.steps > 2_000_000 {
		w.Fatal("the core does not come to rest")
	}
	effects := w.core.Step(w.now, ev)
	for _, e := range effects {
		if _, wake := e.(worker.WakeAt); !wake {
			w.trace = append(w.trace, fmt.Sprintf("%v %T", w.now, e))
		}
		w.do(e)
	}
	return effects
}

func (w *world) after(least, most time.Duration, do func() worker.Event) {
	at := w.now.Add(least + time.Duration(w.random.Int64N(int64(most-least)+1)))
	w.queue = append(w.queue, scheduled{at, do})
	slices.SortStableFunc(w.queue, func(a, b scheduled) int { return a.at.Compare(b.at) })
}

// at does something after so long.
func (w *world) at(d time.Duration, do func()) {
	w.after(d, d, func() worker.Event { do(); return nil })
}

func (w *world) stopAfter(d time.Duration) {
	w.after(d, d, func() worker.Event { return worker.StopAsked{} })
}

var errDown = errors.New("the database is away")

// statement runs at one instant of the database; the core is told a little later.
func (w *world) statement(run func(), tell func(error) worker.Event) {
	w.after(time.Millisecond, 5*time.Millisecond, func() worker.Event {
		if w.down {
			return tell(errDown)
		}
		run()
		w.after(0, 5*time.Millisecond, func() worker.Event { return tell(nil) })
		return nil
	})
}

func (w *world) do(e worker.Effect) {
	switch e := e.(type) {
	case worker.WakeAt:
		if !e.At.After(w.now) {
			w.Fatalf("asked to be woken at %v, not after now: a loop that turns at full speed", e.At.Sub(w.now))
		}
		w.wake = e.At
	case worker.Ended:
		w.ended = e.Why
	case worker.ClaimTasks:
		w.claims++
		if w.claiming != nil {
			w.claiming(e.Claim)
		}
		var records []purge.Record
		w.statement(func() { records = w.claim(e.Claim) }, func(err error) worker.Event {
			return worker.ClaimEnded{Records: records, Err: err}
		})
	case worker.ReserveSlots:
		w.asked = e.Ask
		ev := worker.SlotsReserved{Sent: w.now}
		w.statement(func() { ev.Block = w.store.ReserveSlots(w.now, e.Ask) }, func(err error) worker.Event {
			ev.At, ev.Err = w.now, err
			return ev
		})
	case worker.PinOrganization:
		w.pins++
		var number int64
		w.statement(func() { number = w.store.PinOrganization(e.Number) }, func(err error) worker.Event {
			return worker.OrganizationPinned{Number: number, Err: err}
		})
	case worker.SlowDown:
		w.slowed = append(w.slowed, e)
		w.store.NoteOverLimit(w.now, e.Age, e.Asked)
	case worker.StepPace:
		w.store.StepPace(w.now)
	case worker.Survey:
		w.surveys++
		var o purge.Outlook
		w.statement(func() { o = w.store.Outlook(w.now, 1, 0) }, func(err error) worker.Event {
			return worker.Surveyed{Outlook: o, Err: err}
		})
	case worker.RenewLeases:
		w.renewed = append(w.renewed, renewal{w.now, e.Leases})
		var kept []jobs.TaskID
		w.statement(func() { kept = w.store.RenewLeases(w.now, w.cfg.Claim.Owner, e.Leases, w.cfg.Claim.Lease) }, func(err error) worker.Event {
			return worker.Renewed{Asked: e.Leases, Kept: kept, Err: err}
		})
	case worker.WriteTask:
		w.write(e.Write)
	case worker.ListImages:
		w.call(e.Lease, jobs.ListCall, func(b *brand) jobs.Answer { return w.list(b, e.Customer.ID) })
	case worker.DeleteImage:
		w.call(e.Lease, jobs.DeleteCall, func(b *brand) jobs.Answer {
			i := e.Clearance.Intent()
			return w.delete(b, i.Customer.ID, i.Targets[0].Position, i.Targets[0].Key)
		})
	}
}

func (w *world) claim(c purge.Claim) []purge.Record {
	w.store.ReclaimTasks(w.now)
	w.store.SweepRests(w.now)
	records := w.store.ClaimTasks(w.now, c)
	if len(records) == 0 {
		w.store.NoteServer(w.now, w.cfg.Purge.WorstCase())
	}
	return records
}

// write commits one write. Where nobody knows what became of it an intent is given up,
// and all others are repeated, as the shell does.
func (w *world) write(wr purge.Write) {
	ev, began := worker.WriteEnded{Task: wr.Task, Epoch: wr.Epoch}, w.now
	terms := purge.Terms{Organization: 1, Lease: w.cfg.Claim.Lease, RequestTimeout: w.cfg.Purge.RequestTimeout}
	w.statement(func() {
		before := w.breaker()
		ev.Result = w.store.Write(w.now, began, terms, []purge.Write{wr})[0]
		if before == "" && w.breaker() != "" {
			w.opened++
		}
		if ev.Result.Applied {
			w.judge(wr)
		}
	}, func(err error) worker.Event {
		if err != nil && wr.Kind != purge.WriteIntent {
			w.at(time.Second, func() { w.write(wr) })
			return nil
		}
		ev.Err = err
		return ev
	})
}

// judge holds what is recorded against what was known: once an image of another brand
// was seen, no customer's task ends by an answer of that brand.
func (w *world) judge(wr purge.Write) {
	if wr.Kind == purge.WriteIntent {
		w.lastIntent = w.now
	}
	if by := w.tellers[wr.Task]; wr.Kind == purge.WriteFinish && by.theirs && by.late {
		w.Errorf("task %d ended as %s by an answer of another brand", wr.Task, wr.Outcome)
	}
}

// notSent in an answer's SentAt says that nothing went to the customer's address.
var notSent = time.Unix(0, 1)

func (w *world) call(l purge.Lease, kind jobs.Kind, serve func(*brand) jobs.Answer) {
	w.calls++
	w.inFlight++
	w.most = max(w.most, w.inFlight)
	sent, reached := w.now, w.reach(l.Task, kind)
	w.lastCall = sent
	least, most := 50*time.Millisecond, 400*time.Millisecond
	if w.takes != nil {
		if d := w.takes(l.Task, kind); d > 0 {
			least, most = d, d
		}
	}
	w.after(least, most, func() worker.Event {
		w.inFlight--
		a := jobs.Answer{}
		if other := w.other(l.Task, kind); other != nil {
			a = *other
		} else {
			a = serve(reached)
		}
		a.AnsweredAt, a.SentAt = w.now, cmp.Or(a.SentAt, sent)
		if a.SentAt.Equal(notSent) {
			a.SentAt = time.Time{}
		}
		if w.foreign.IsZero() && len(a.Organizations) > 0 && reached == &w.theirs {
			w.foreign = w.now
		}
		by := teller{theirs: reached == &w.theirs && len(a.Organizations) == 0, late: !w.foreign.IsZero()}
		switch w.tellers[l.Task] = by; {
		case by.theirs && by.late:
			w.late++
		case by.theirs:
			w.early++
		}
		return worker.CallEnded{Task: l.Task, Epoch: l.Epoch, Kind: kind, Answer: a}
	})
}

func (w *world) other(id jobs.TaskID, kind jobs.Kind) *jobs.Answer {
	if w.answer == nil {
		return nil
	}
	return w.answer(id, kind)
}

func (w *world) list(b *brand, customer int64) jobs.Answer {
	w.listed++
	a := jobs.Answer{Class: jobs.ClassListed, HTTPStatus: 200, Images: slices.Clone(b.images[customer])}
	if len(a.Images) > 0 {
		a.Organizations = []int64{b.number}
	}
	return a
}

func (w *world) delete(b *brand, customer int64, position int, key jobs.Key) jobs.Answer {
	w.deletes++
	images := b.images[customer]
	if position >= len(images) || images[position] != key {
		w.Errorf("customer %d: DELETE of index %d, which is not the image that was meant", customer, position)
		return jobs.Answer{Class: jobs.ClassNoImage, HTTPStatus: 200, Code: "8078"}
	}
	b.images[customer] = slices.Delete(images, position, position+1)
	return jobs.Answer{Class: jobs.ClassDeleted, HTTPStatus: 200}
}

// states counts the tasks in each state.
func (w *world) states() map[jobs.State]int {
	m := make(map[jobs.State]int)
	for _, t := range w.store.Tasks() {
		m[t.State]++
	}
	return m
}

// wantStates compares the tasks' states, and that none of them has met a fault.
func (w *world) wantStates(want map[jobs.State]int) {
	w.Helper()
	maps.DeleteFunc(want, func(_ jobs.State, n int) bool { return n == 0 })
	if got := w.states(); !maps.Equal(got, want) {
		w.Errorf("ended %q with tasks %v, want %v", w.ended, got, want)
	}
	for _, t := range w.store.Tasks() {
		if t.Rec.Attempts != 0 {
			w.Errorf("task %d: %d attempts", t.ID, t.Rec.Attempts)
		}
	}
}

func (w *world) breaker() string {
	reason, _ := w.store.Breaker(1)
	return reason
}
