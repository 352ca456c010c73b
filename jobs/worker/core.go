// Package worker claims tasks, keeps their leases, runs their purges side by
// side and stops in order.
//
// [Core] is all that is decided: a single-threaded stepper without I/O, clock or
// goroutine, which a seeded simulation can drive as well. [Worker] is the thin
// shell that does its effects.
package worker

import (
	"maps"
	"slices"
	"time"

	"github.com/imagepurge/imagepurge/jobs"
	"github.com/imagepurge/imagepurge/jobs/budget"
	"github.com/imagepurge/imagepurge/jobs/clearance"
	"github.com/imagepurge/imagepurge/jobs/purge"
)

// Timing of a worker that no setting changes.
const (
	pollEvery  = time.Second      // between claims that brought less than was asked for
	retryEvery = 2 * time.Second  // between claims while the database fails
	maxInHand  = 512              // tasks leased by one process
	claimAhead = time.Second      // of slots, for which tasks are in hand besides those under way
	outageAt   = 20               // transient faults on different customers, with no success between
	firstGuess = time.Second / 2  // latency of a call, before one was seen
	idleWait   = 10 * time.Second // the longest a worker with nothing to do sleeps
)

// Config is what a core keeps to.
type Config struct {
	Claim  purge.Claim // template; the core fills in Limit, Only and Probe
	Purge  purge.Config
	Budget budget.Config
	// Once: end as soon as no task can proceed any more.
	Once bool
	// Limit is how many tasks are begun, at most; 0: any number.
	Limit int
}

// Event is something that has happened.
type Event interface{ event() }

// The events.
type (
	// Started begins the work.
	Started struct{}
	// Tick: the time that [WakeAt] named has come.
	Tick struct{}
	// ClaimEnded brings claimed tasks, or the error that hindered it.
	ClaimEnded struct {
		Records []purge.Record
		Err     error
	}
	// Surveyed brings the outlook that was asked for.
	Surveyed struct {
		Outlook purge.Outlook
		Err     error
	}
	// Renewed brings the tasks whose lease stands, of those that were asked for.
	Renewed struct {
		Asked []purge.Lease
		Kept  []jobs.TaskID
		Err   error
	}
	// WriteEnded brings what became of a write. Err is set where nobody knows.
	WriteEnded struct {
		Task   jobs.TaskID
		Epoch  int64
		Result purge.Result
		Err    error
	}
	// CallEnded brings an answer.
	CallEnded struct {
		Task   jobs.TaskID
		Epoch  int64
		Kind   jobs.Kind
		Answer jobs.Answer
	}
	// SlotsReserved brings the answer of the key's row, and when it was asked and
	// answered.
	SlotsReserved struct {
		Block    budget.Block
		Sent, At time.Time
		Err      error
	}
	// OrganizationPinned brings the number of the remote organisation that is
	// recorded for ours.
	OrganizationPinned struct {
		Number int64
		Err    error
	}
	// StopAsked: no new claims and no new intents; give everything back.
	StopAsked struct{}
)

func (Started) event()            {}
func (Tick) event()               {}
func (ClaimEnded) event()         {}
func (Surveyed) event()           {}
func (Renewed) event()            {}
func (WriteEnded) event()         {}
func (CallEnded) event()          {}
func (OrganizationPinned) event() {}
func (SlotsReserved) event()      {}
func (StopAsked) event()          {}

// Effect is something to be done.
type Effect interface{ effect() }

// The effects.
type (
	// ClaimTasks asks the store for tasks; the answer is [ClaimEnded].
	ClaimTasks struct{ Claim purge.Claim }
	// Survey asks the store what is left to do; the answer is [Surveyed].
	Survey struct{}
	// RenewLeases prolongs leases; the answer is [Renewed].
	RenewLeases struct{ Leases []purge.Lease }
	// WriteTask commits a change; the answer is [WriteEnded]. All but an intent
	// are repeated until it is known what became of them.
	WriteTask struct{ Write purge.Write }
	// ListImages makes a listing; the answer is [CallEnded].
	ListImages struct {
		Lease    purge.Lease
		Customer jobs.Customer
	}
	// DeleteImage sends a DELETE; the answer is [CallEnded].
	DeleteImage struct {
		Lease     purge.Lease
		Clearance *clearance.Clearance
	}
	// ReserveSlots asks the key's row for call slots; the answer is
	// [SlotsReserved].
	ReserveSlots struct{ Ask budget.Ask }
	// SlowDown tells the key's row of a 429, which asked for a wait, or of none
	// that gave a time: 0. Age is how long ago its call was sent.
	SlowDown struct{ Asked, Age time.Duration }
	// StepPace lets the key's row see whether its pace has held.
	StepPace struct{}
	// PinOrganization records the number of the remote organisation, if none is
	// recorded; the answer is [OrganizationPinned].
	PinOrganization struct{ Number int64 }
	// WakeAt asks for a [Tick] at a time. The newest replaces the one before.
	WakeAt struct{ At time.Time }
	// Ended: everything in hand is given back or finished.
	Ended struct{ Why End }
)

func (ClaimTasks) effect()      {}
func (Survey) effect()          {}
func (RenewLeases) effect()     {}
func (WriteTask) effect()       {}
func (ListImages) effect()      {}
func (DeleteImage) effect()     {}
func (ReserveSlots) effect()    {}
func (SlowDown) effect()        {}
func (PinOrganization) effect() {}
func (StepPace) effect()        {}
func (WakeAt) effect()          {}
func (Ended) effect()           {}

// End says why a core has ended.
type End string

// The reasons to end.
const (
	Stopped     End = "stopped"      // it was asked to
	NothingLeft End = "nothing_left" // no task can proceed
	Breaker     End = "breaker"      // the organisation's breaker is open, and nothing else can proceed
)

// inHand is a claimed task.
type inHand struct {
	lease   purge.Lease
	machine *purge.Machine
	last    purge.Write   // the newest that is no intent
	kind    jobs.SlotKind // of the slot that is asked for, or under way
	renewed time.Time     // when its lease was last prolonged, at the latest
	calling bool          // a call of it is under way
	doubt   jobs.Class    // of an answer that names no organisation; empty: what it says. See [Core.ofOurs]
}

// shut is how far a refusal of our own, or another organisation's image, has come:
// claims that were under way when it came bring tasks that must not be begun, or believed.
type shut int

const (
	shutNot     shut = iota
	shutRefused      // a call was refused; the breaker's row is not written yet
	shutWritten      // it is; a claim from before may still bring tasks
	shutAsked        // a claim from after it is under way
)

// Core is a worker's decisions. It is not safe for concurrent use.
type Core struct {
	cfg    Config
	budget *budget.Budget

	tasks map[jobs.TaskID]*inHand
	order []jobs.TaskID // of claiming; determines the order of effects

	claiming    bool
	surveying   bool
	renewing    bool
	nextClaim   time.Time
	nextRenewal time.Time
	probed      bool // a probe was asked for before its time: once a start
	shut        shut
	refused     purge.Lease // whose write tells the breaker, while shut is shutRefused
	begun       int         // tasks begun, for the limit
	returned    map[jobs.TaskID]bool

	remote   int64 // number of the remote organisation; 0: not known yet
	unpinned bool  // none was on record when images without a number were seen
	pinning  bool
	nextPin  time.Time
	parked   []CallEnded // answers that wait for it
	foreign  shut        // how far it has come that images of another one were seen

	latency  time.Duration // of a call, smoothed
	faulty   map[jobs.TaskID]bool
	outlook  purge.Outlook
	surveyed time.Time
	fleet    Fleet

	listening bool      // work that comes is told: idle polls may be rare
	served    int64     // the batch that the last claimed task belongs to
	wakeAt    time.Time // a claim is due because work was told of; zero: none

	stopping bool
	ended    bool
	stats    Stats
}

// Stats is what a worker has done and is doing.
type Stats struct {
	InHand, InFlight         int
	Calls, Lists, Deletes    int
	OverLimit                int
	Finished                 map[jobs.State]int
	ImagesDeleted            int
	PacePerMinute            float64
	PausedUntil              time.Time
	Latency                  time.Duration
	Outlook                  purge.Outlook
	Fleet                    Fleet
	ClaimError, DatabaseFail error
	// Batches are those that tasks were claimed of.
	Batches map[int64]bool
}

// NewCore returns a core. Its first event is [Started].
func NewCore(cfg Config) *Core {
	return &Core{
		cfg: cfg, budget: budget.New(cfg.Budget), tasks: make(map[jobs.TaskID]*inHand), latency: firstGuess,
		faulty: make(map[jobs.TaskID]bool), returned: make(map[jobs.TaskID]bool),
		stats: Stats{Finished: make(map[jobs.State]int), Batches: make(map[int64]bool)},
	}
}

// Stats returns a copy of the core's numbers.
func (c *Core) Stats() Stats {
	s := c.stats
	s.Finished, s.Batches = maps.Clone(s.Finished), maps.Clone(s.Batches)
	s.InHand, s.InFlight = len(c.tasks), c.budget.InFlight()
	s.PacePerMinute, s.PausedUntil = c.budget.PerMinute(), c.budget.PausedUntil()
	s.Latency, s.Outlook, s.Fleet = c.latency, c.outlook, c.fleet
	return s
}

// Holding says whether a task is in hand.
func (c *Core) Holding() bool { return len(c.tasks) > 0 }

// Step takes what has happened and returns what is to be done.
func (c *Core) Step(now time.Time, ev Event) []Effect {
	if c.ended {
		return nil
	}
	var out []Effect
	switch ev := ev.(type) {
	case Started:
		c.nextClaim, c.nextRenewal = now, now.Add(c.renewEvery())
		c.budget.Cautious(true)
	case Tick:
	case ClaimEnded:
		out = c.claimed(now, ev)
	case Surveyed:
		c.surveying = false
		if ev.Err == nil {
			c.noteOutlook(now, ev.Outlook)
		} else {
			c.stats.DatabaseFail = ev.Err
		}
	case Renewed:
		out = c.renewed(now, ev)
	case WriteEnded:
		out = c.written(now, ev)
	case CallEnded:
		out = c.ofOurs(now, ev)
	case OrganizationPinned:
		out = c.pinned(now, ev)
	case SlotsReserved:
		out = c.reserved(now, ev)
	case Woken:
		c.woken(now, ev)
	case Beaten:
		c.beaten(ev)
	case StopAsked:
		c.stopping = true
		out = c.stopAll(now, "")
	}
	return c.goOn(now, out)
}

// goOn does what may always be done next: grant slots, claim, renew, survey, end.
func (c *Core) goOn(now time.Time, out []Effect) []Effect {
	granted, wake := c.budget.Grant(now)
	for _, id := range granted {
		out = append(out, c.step(now, jobs.TaskID(id), purge.SlotGranted{})...)
	}
	if len(c.parked) > 0 && !c.pinning && !now.Before(c.nextPin) {
		c.pinning = true
		out = append(out, PinOrganization{Number: c.parked[0].Answer.Organizations[0]})
	}
	if ask, ok, at := c.budget.Ask(now); ok {
		out = append(out, ReserveSlots{Ask: ask})
	} else if !at.IsZero() && (wake.IsZero() || at.Before(wake)) {
		wake = at
	}
	out = append(out, c.renewals(now)...)
	out = append(out, c.claims(now)...)
	if why, over := c.over(now); over {
		c.ended = true
		return append(out, Ended{Why: why})
	}
	return append(out, WakeAt{At: c.nextWake(now, wake)})
}

// reserved takes what the key's row said.
func (c *Core) reserved(now time.Time, ev SlotsReserved) (out []Effect) {
	if ev.Err != nil {
		c.stats.DatabaseFail = ev.Err
		c.budget.NotReserved(now)
		return nil
	}
	c.stats.DatabaseFail = nil
	c.budget.Reserved(ev.Sent, ev.At, ev.Block)
	if ev.Block.StepDue {
		out = append(out, StepPace{})
	}
	if ev.Block.Stopped {
		// A person has paused the work: what is in hand is given back at once.
		out = append(out, c.stopAll(now, "")...)
		c.nextClaim = now.Add(pollEvery)
	}
	return out
}

func (c *Core) nextWake(now, slot time.Time) time.Time {
	next := now.Add(idleWait)
	earlier := func(t time.Time) {
		// What was due before now and wasn't done waits for an event, not for time.
		if t.After(now) && t.Before(next) {
			next = t
		}
	}
	earlier(slot)
	if len(c.parked) > 0 && !c.pinning {
		earlier(c.nextPin)
	}
	if !c.stopping && !c.claiming {
		earlier(c.nextClaim)
	}
	if len(c.tasks) > 0 && !c.renewing {
		earlier(c.nextRenewal)
	}
	return next
}

// step drives one machine and turns its effect into the core's.
func (c *Core) step(now time.Time, id jobs.TaskID, f purge.Fact) []Effect {
	t := c.tasks[id]
	if t == nil {
		return nil
	}
	e := t.machine.Step(now, f)
	switch e := e.(type) {
	case purge.AskSlot:
		t.kind = e.Kind
		c.budget.Want(budget.ID(id), e.Slot)
	case purge.List:
		t.calling = true
		return []Effect{ListImages{Lease: t.lease, Customer: e.Customer}}
	case purge.Intend:
		return []Effect{WriteTask{Write: e.Write}}
	case purge.Send:
		t.calling = true
		c.budget.Leaves(budget.ID(id), now)
		return []Effect{DeleteImage{Lease: t.lease, Clearance: e.Clearance}}
	case purge.Save:
		return []Effect{WriteTask{Write: c.prepare(now, t, e.Write)}}
	case purge.End:
		c.budget.Forget(budget.ID(id))
		return []Effect{WriteTask{Write: c.prepare(now, t, e.Write)}}
	case purge.Drop:
		c.forget(id)
	}
	return nil
}

// prepare adds to a write what only the worker knows.
func (c *Core) prepare(now time.Time, t *inHand, w purge.Write) purge.Write {
	if w.OverLimit {
		w.PauseBudget = c.budget.OverLimit(now, w.PauseBudget)
		if w.Calls[len(w.Calls)-1].SentAt.IsZero() {
			w.PauseBudget = 0 // as in slowDown
		}
	}
	if w.Breaker == nil && c.outage() {
		w.Breaker = &purge.Breaker{Reason: "api_unavailable", Kind: jobs.ListCall, HTTPStatus: w.HTTPStatus, Code: w.Code}
	}
	t.last = w
	return w
}

// outage says whether so many customers met faults, with no success between,
// that it must be the API.
func (c *Core) outage() bool {
	if len(c.faulty) < outageAt {
		return false
	}
	clear(c.faulty)
	return true
}

func (c *Core) forget(id jobs.TaskID) {
	if t := c.tasks[id]; t != nil && t.calling {
		c.budget.Disown(budget.ID(id))
	} else {
		c.budget.Forget(budget.ID(id))
	}
	delete(c.tasks, id)
	c.order = slices.DeleteFunc(c.order, func(o jobs.TaskID) bool { return o == id })
}

// written handles what became of a write.
func (c *Core) written(now time.Time, ev WriteEnded) []Effect {
	// Whatever became of that write: where its lease was lost, the next call tells
	// whether all are still refused.
	if c.shut == shutRefused && c.refused == (purge.Lease{Task: ev.Task, Epoch: ev.Epoch}) {
		c.shut = shutWritten
	}
	t := c.tasks[ev.Task]
	if t == nil || t.lease.Epoch != ev.Epoch {
		return nil
	}
	id := ev.Task
	switch {
	case ev.Err != nil: // of intents only: all others are repeated
		c.budget.Unused(budget.ID(id))
		c.stats.DatabaseFail = ev.Err
		c.nextClaim = now.Add(retryEvery)
		return c.step(now, id, purge.WriteFailed{})
	case ev.Result.Clearance != nil:
		t.renewed = now
		out := c.step(now, id, purge.IntentCommitted{Clearance: ev.Result.Clearance})
		if t.machine.Done() || !slices.ContainsFunc(out, func(e Effect) bool { _, ok := e.(DeleteImage); return ok }) {
			c.budget.Unused(budget.ID(id))
		}
		return out
	case !ev.Result.Applied:
		c.budget.Unused(budget.ID(id))
		out := c.step(now, id, purge.WriteRefused{Why: ev.Result.Refused})
		if ev.Result.Refused == purge.BreakerOpen {
			out = append(out, c.stopAll(now, jobs.WaitBreaker)...)
		}
		if ev.Result.Refused == purge.BudgetPause {
			c.budget.Pause(now.Add(pollEvery / 10)) // the row is asked for how long
		}
		return out
	}
	c.stats.DatabaseFail = nil
	t.renewed = now
	w := t.last
	out := c.step(now, id, purge.Written{})
	if t.machine.Done() {
		c.note(w)
		c.forget(id)
	}
	if w.Breaker != nil {
		if c.foreign == shutRefused && w.Breaker.Reason == jobs.CodeWrongOrganisation {
			c.foreign = shutWritten
		}
		c.probed = true // what was just refused isn't tried again by this start
		out = append(out, c.stopAll(now, jobs.WaitBreaker)...)
	}
	return out
}

// note counts what a claim came to.
func (c *Core) note(w purge.Write) {
	if w.Kind == purge.WriteFinish {
		c.stats.Finished[w.State]++
		c.stats.ImagesDeleted += w.Deleted
		delete(c.returned, w.Task)
		return
	}
	if c.cfg.Limit > 0 {
		c.returned[w.Task] = true
	}
}

// ofOurs lets nothing pass that may be another remote organisation's. Which one is
// ours, the first listing with an image tells; its answer, and those that come
// meanwhile, wait until that is recorded.
//
// An answer that names no organisation is not believed if another one's images were
// seen while its task was in hand, whenever it comes and whatever the breaker says by
// then: it is unknown, and a later claim lists again. Nor is it if they were seen before,
// unless the claim shows that the breaker has known: it is refused, so that it does.
func (c *Core) ofOurs(now time.Time, ev CallEnded) []Effect {
	a, t := &ev.Answer, c.tasks[ev.Task]
	numbers := a.Organizations
	if c.unpinned && slices.Equal(numbers, []int64{0}) {
		numbers = nil // they name none, and none is on record
	}
	nameless := len(numbers) == 0 && tellsOfCustomer(a.Class)
	switch {
	case nameless && len(c.parked) > 0, len(numbers) == 1 && c.remote == 0:
		c.parked = append(c.parked, ev)
		return nil // goOn has the number recorded
	case nameless && t != nil && t.doubt != "":
		a.Class, a.Code, a.Images, a.Organizations = t.doubt, jobs.CodeWrongOrganisation, nil, nil
		a.Message = "images of another organisation were seen, and the answer does not show whose customer this is"
		if ev.Kind == jobs.DeleteCall {
			a.Class = jobs.ClassUnknown // it may have run here
		}
		return c.answered(now, ev)
	case len(numbers) == 0, len(numbers) == 1 && numbers[0] == c.remote:
		return c.answered(now, ev)
	}
	c.foreign = shutRefused
	for _, t := range c.tasks {
		t.doubt = jobs.ClassUnknown
	}
	a.Class, a.Code, a.Images, a.Organizations = jobs.ClassRefused, jobs.CodeWrongOrganisation, nil, nil
	a.Message = "the images belong to another organisation than those seen before"
	return append(c.answered(now, ev), c.stopAll(now, jobs.WaitBreaker)...)
}

// tellsOfCustomer says whether an answer would be recorded of the customer, and be
// false where the credentials are another organisation's.
func tellsOfCustomer(c jobs.Class) bool {
	switch c {
	case jobs.ClassRefused, jobs.ClassOverLimit, jobs.ClassNotRun, jobs.ClassUnknown, jobs.ClassNotSent:
		return false
	}
	return true
}

// pinned goes on with the answers that waited. Without an answer of the database
// they wait on.
func (c *Core) pinned(now time.Time, ev OrganizationPinned) (out []Effect) {
	c.pinning = false
	if ev.Err != nil {
		c.stats.DatabaseFail = ev.Err
		c.nextPin = now.Add(retryEvery)
		return nil
	}
	parked := c.parked
	c.parked = nil
	c.remote, c.unpinned = ev.Number, ev.Number == 0
	for _, p := range parked {
		out = append(out, c.ofOurs(now, p)...)
	}
	return out
}

// answered handles an answer of the API.
func (c *Core) answered(now time.Time, ev CallEnded) []Effect {
	t := c.tasks[ev.Task]
	if t == nil || t.lease.Epoch != ev.Epoch {
		c.budget.StrayEnded()
		if a := ev.Answer; a.Class == jobs.ClassOverLimit {
			c.budget.OverLimit(now, a.RetryAfter)
			return slowDown(now, a)
		}
		return nil
	}
	t.calling = false
	a := ev.Answer
	if a.SentAt.IsZero() {
		c.budget.Unused(budget.ID(ev.Task))
	} else {
		c.budget.Done(budget.ID(ev.Task), a.SentAt)
		c.stats.Calls++
		if d := a.AnsweredAt.Sub(a.SentAt); d > 0 {
			c.latency += (d - c.latency) / 8
		}
	}
	if a.Class != jobs.ClassNotSent {
		c.budget.Cautious(a.Class == jobs.ClassRefused || a.Code == jobs.CodeWrongOrganisation)
	}
	switch a.Class {
	case jobs.ClassOverLimit:
		c.stats.OverLimit++
	case jobs.ClassUnknown, jobs.ClassNotRun:
		if !c.stopping && a.Code != jobs.CodeTokenExpired && a.Code != jobs.CodeWrongOrganisation {
			c.faulty[ev.Task] = true
		}
	case jobs.ClassNotSent:
	default:
		clear(c.faulty)
	}
	var fact purge.Fact = purge.Answered{Answer: a}
	if ev.Kind == jobs.ListCall {
		c.stats.Lists++
		if a.Class == jobs.ClassListed && t.kind == jobs.SlotList {
			c.budget.Listed(budget.ID(ev.Task), len(a.Images))
		}
		fact = purge.Listed{Answer: a}
	} else {
		c.stats.Deletes++
	}
	out := c.step(now, ev.Task, fact)
	if a.Class == jobs.ClassOverLimit {
		out = append(out, slowDown(now, a)...)
	}
	if a.Class == jobs.ClassRefused {
		// All others stop at once, not only when the breaker's row is written.
		if c.shut != shutRefused {
			c.refused = t.lease
		}
		c.shut = shutRefused
		out = append(out, c.stopAll(now, jobs.WaitBreaker)...)
	}
	return out
}

// slowDown tells the key's row of a 429. One that met the call for a token says
// nothing of the key's pace: only this process waits.
func slowDown(now time.Time, a jobs.Answer) []Effect {
	if a.SentAt.IsZero() {
		return nil
	}
	return []Effect{SlowDown{Asked: a.RetryAfter, Age: now.Sub(a.SentAt)}}
}

func (c *Core) stopAll(now time.Time, waiting jobs.Waiting) []Effect {
	var out []Effect
	for _, id := range slices.Clone(c.order) {
		out = append(out, c.step(now, id, purge.Stop{Waiting: waiting})...)
	}
	return out
}

func (c *Core) renewEvery() time.Duration { return c.cfg.Claim.Lease / 3 }

func (c *Core) renewals(now time.Time) []Effect {
	if c.renewing || len(c.tasks) == 0 || now.Before(c.nextRenewal) {
		return nil
	}
	var leases []purge.Lease
	for _, id := range c.order {
		if t := c.tasks[id]; now.Sub(t.renewed) >= c.renewEvery()/2 {
			leases = append(leases, t.lease)
		}
	}
	c.nextRenewal = now.Add(c.renewEvery() / 2)
	if len(leases) == 0 {
		return nil
	}
	c.renewing = true
	return []Effect{RenewLeases{Leases: leases}}
}

func (c *Core) renewed(now time.Time, ev Renewed) []Effect {
	c.renewing = false
	if ev.Err != nil {
		c.stats.DatabaseFail = ev.Err
		c.nextRenewal = now.Add(min(retryEvery, c.renewEvery()/4))
		return nil
	}
	kept := make(map[jobs.TaskID]bool, len(ev.Kept))
	for _, id := range ev.Kept {
		kept[id] = true
	}
	var out []Effect
	for _, l := range ev.Asked {
		t := c.tasks[l.Task]
		if t == nil || t.lease.Epoch != l.Epoch {
			continue
		}
		if kept[l.Task] {
			t.renewed = now
		} else if t.machine.WaitsForSlot() {
			out = append(out, c.step(now, l.Task, purge.WriteRefused{Why: purge.LeaseLost})...)
		}
	}
	return out
}

// claims asks for tasks when too few are in hand.
func (c *Core) claims(now time.Time) []Effect {
	if c.stopping || c.claiming || c.shut == shutRefused || now.Before(c.nextClaim) {
		return nil
	}
	if now.Before(c.budget.PausedUntil()) {
		c.nextClaim = c.budget.PausedUntil()
		return nil
	}
	want := c.target() - len(c.tasks)
	if want <= c.target()/4 && len(c.tasks) > 0 {
		return nil
	}
	claim := c.cfg.Claim
	claim.Limit, claim.After = want, c.served
	if c.cfg.Limit > 0 {
		left := c.cfg.Limit - c.begun
		if left <= 0 {
			if len(c.returned) == 0 {
				return nil
			}
			claim.Only = slices.Sorted(maps.Keys(c.returned))
			left = len(claim.Only)
		}
		claim.Limit = min(claim.Limit, left)
	}
	// A start with Once makes one probe, where it found the breaker open: what was
	// just refused to itself isn't tried again.
	claim.ProbeNow = c.cfg.Once && !c.probed && c.outlook.Breaker != ""
	claim.Probe = !c.cfg.Once || claim.ProbeNow
	c.claiming, c.wakeAt = true, time.Time{}
	if c.shut == shutWritten {
		c.shut = shutAsked
	}
	if c.foreign == shutWritten {
		c.foreign = shutAsked
	}
	return []Effect{ClaimTasks{Claim: claim}}
}

// target is how many tasks to have in hand: those whose calls are under way at
// the present pace and latency, and some for the next slots.
func (c *Core) target() int {
	perSecond := c.budget.PerMinute() / 60
	under := perSecond * (c.latency + c.latency/2).Seconds()
	ahead := perSecond * claimAhead.Seconds()
	return min(4+int(under+ahead), maxInHand, 2*c.cfg.Budget.Concurrency)
}

func (c *Core) claimed(now time.Time, ev ClaimEnded) []Effect {
	c.claiming = false
	if c.shut == shutAsked {
		c.shut = shutNot
	}
	known := c.foreign == shutAsked
	if known {
		c.foreign = shutWritten // unless a task tells
	}
	if ev.Err != nil {
		c.stats.ClaimError = ev.Err
		c.nextClaim = now.Add(retryEvery)
		return nil
	}
	c.stats.ClaimError = nil
	var out []Effect
	for _, r := range ev.Records {
		c.served = r.Batch
		if r.Probe {
			c.probed = true
		}
		if !c.returned[r.Task] {
			c.begun++
		}
		delete(c.returned, r.Task)
		c.stats.Batches[r.Batch] = true
		if c.tasks[r.Task] != nil {
			// Its lease ran out and we have claimed it again ourselves: what the old
			// machine knows is in the rows.
			c.forget(r.Task)
		}
		t := &inHand{
			lease: purge.Lease{Task: r.Task, Epoch: r.Epoch}, machine: purge.New(c.cfg.Purge, r), renewed: now,
		}
		if r.Foreign || known && !r.Probe {
			c.foreign = shutNot // the breaker says so itself, or has closed since
		}
		if c.foreign != shutNot {
			t.doubt = jobs.ClassRefused
		}
		c.tasks[r.Task] = t
		c.order = append(c.order, r.Task)
		out = append(out, c.step(now, r.Task, purge.Claimed{})...)
		switch {
		case c.stopping:
			out = append(out, c.step(now, r.Task, purge.Stop{})...)
		case c.shut != shutNot && !r.Probe:
			out = append(out, c.step(now, r.Task, purge.Stop{Waiting: jobs.WaitBreaker})...)
		}
	}
	if len(ev.Records) == 0 {
		c.nextClaim = c.orWoken(now.Add(pollEvery))
		if len(c.tasks) == 0 && !c.surveying && !c.stopping {
			c.surveying = true
			out = append(out, Survey{})
		}
		return out
	}
	c.nextClaim = now
	return out
}

// noteOutlook takes what is left to do, and decides when to look again.
func (c *Core) noteOutlook(now time.Time, o purge.Outlook) {
	c.outlook, c.surveyed = o, now
	c.stats.DatabaseFail = nil
	if o.Ready || o.Leased || !o.Waiting {
		c.nextClaim = c.orWoken(now.Add(c.pollAfter(o)))
		return
	}
	c.nextClaim = c.orWoken(now.Add(min(max(o.NextDue.Sub(o.Now), pollEvery/4), c.pollAfter(o))))
}

// over says whether the work has ended.
func (c *Core) over(now time.Time) (End, bool) {
	if len(c.tasks) > 0 || c.claiming || c.surveying {
		return "", false
	}
	if c.stopping {
		return Stopped, true
	}
	if !c.cfg.Once {
		return "", false
	}
	if c.cfg.Limit > 0 && c.begun >= c.cfg.Limit && len(c.returned) == 0 {
		return NothingLeft, true
	}
	if !c.surveyed.Equal(now) {
		return "", false
	}
	o := c.outlook
	switch {
	case o.Leased:
		return "", false
	case o.Breaker != "" && (o.Ready || o.Waiting):
		return Breaker, c.probed
	case o.Paused:
		return NothingLeft, true
	}
	return NothingLeft, !o.Ready && !o.Waiting
}
