package purge_test

import (
	"fmt"
	"slices"
	"time"

	"github.com/imagepurge/imagepurge/jobs"
	"github.com/imagepurge/imagepurge/jobs/clearance"
	"github.com/imagepurge/imagepurge/jobs/purge"
)

// A trial is one task against one shelf: the customer's images as the server really
// has them. Where the simulation judges what a whole night came to, a trial looks at
// every single DELETE before it is carried out, and at every row as it is written.
// Others only upload meanwhile, so each index must name the right image, whatever the
// answers were.
type trial struct {
	choices
	cfg       purge.Config
	rec       purge.Record
	ascending bool // how the server reads several indexes
	uploads   int  // how often others upload, at most

	now       time.Time
	restUntil time.Time
	due       time.Time
	steps     int

	shelf   []int
	fresh   int
	past    []snapshot // what a stale listing may show
	running []*request // DELETEs that may still run

	m         *purge.Machine
	committed *clearance.Clearance // stands, and nothing was sent under it
	shown     []jobs.Key           // by the last listing; nil: it failed
	shownAt   time.Time
	since     map[jobs.Key]bool // a DELETE for it was sent since that listing
	everShown map[jobs.Key]bool
	wanted    map[jobs.Key]bool // what may be deleted, kept apart from the machine's rows
	lowest    int               // index of the last DELETE of this view
	answer    map[jobs.Key]jobs.Answer
	gone      bool // the platform said that the customer is gone

	outcome jobs.Outcome
	sends   int
	broken  []string
}

func newTrial(c choices, most int) *trial {
	r := &trial{
		choices: c, now: time.Date(2026, 1, 1, 1, 0, 0, 0, time.UTC),
		since: make(map[jobs.Key]bool), everShown: make(map[jobs.Key]bool), wanted: make(map[jobs.Key]bool), answer: make(map[jobs.Key]jobs.Answer),
		cfg: purge.Config{
			RequestTimeout: 30 * time.Second, Settle: 2 * time.Minute, ListingLag: 30 * time.Second, ViewMaxAge: 10 * time.Second,
			MaxAttempts: 6, BackoffBase: 5 * time.Second, BackoffMax: time.Minute, Batching: jobs.SingleDelete,
			Random: func() float64 { return 0.5 },
		},
		rec: purge.Record{
			Task: 7, Owner: "me", Customer: jobs.Customer{ID: 564703420, Source: "INSTORE"},
			Mode: []jobs.Mode{jobs.Verified, jobs.Economy, jobs.Paranoid}[c.below(3)], Scope: jobs.Snapshot,
		},
	}
	for range c.below(most + 1) {
		r.upload()
	}
	switch c.below(4) {
	case 0, 1:
		for id := range len(r.shelf) + 2 {
			if c.below(2) == 0 {
				r.rec.Named = append(r.rec.Named, keys[id])
				r.wanted[keys[id]] = true
			}
		}
	case 2:
		r.rec.Scope = jobs.UntilEmpty
	}
	if c.below(4) == 0 {
		r.cfg.Batching, r.ascending = jobs.BatchDelete, c.below(2) == 0
	}
	if !r.ascending { // else it can hit the new image: docs/protocol.md, calls per customer
		r.uploads = c.below(6)
	}
	return r
}

func (r *trial) fail(format string, args ...any) {
	r.broken = append(r.broken, fmt.Sprintf("%v, step %d: ", r.now.Format("15:04:05.000"), r.steps)+fmt.Sprintf(format, args...))
}

func (r *trial) upload() {
	r.shelf = append(slices.Clone(r.shelf), r.fresh)
	for i := range r.past { // an upload is seen at once: only deletes lag
		r.past[i].images = append(slices.Clone(r.past[i].images), r.fresh)
	}
	r.fresh++
}

// advance lets time go by, and with it what is still running.
func (r *trial) advance(d time.Duration) {
	to := r.now.Add(d)
	for len(r.running) > 0 && !r.running[0].runsAt.After(to) {
		q := r.running[0]
		r.running = r.running[1:]
		r.now = q.runsAt
		r.execute(q.permit, nil)
	}
	r.now = to
	if r.uploads > 0 && r.below(12) == 0 {
		r.uploads--
		r.upload()
	}
}

// execute carries a DELETE out: all of it, or the targets of which part holds.
func (r *trial) execute(in clearance.Intent, part func() bool) {
	r.past = append(r.past, snapshot{r.now, slices.Clone(r.shelf)})
	targets := slices.Clone(in.Targets)
	if r.ascending {
		slices.Reverse(targets)
	}
	for _, t := range targets {
		if t.Position >= len(r.shelf) || part != nil && !part() {
			continue
		}
		gone := keys[r.shelf[t.Position]]
		r.shelf = slices.Delete(slices.Clone(r.shelf), t.Position, t.Position+1)
		if !slices.ContainsFunc(targets, func(m clearance.Target) bool { return m.Key == gone }) {
			r.fail("DELETE %v removed image %d, for which it was not meant", in.Targets, images[gone])
		}
	}
}

// run drives machine after machine until the task has ended.
func (r *trial) run() {
	for r.outcome == "" && len(r.broken) == 0 && r.steps < 2000 {
		r.claim()
	}
	if r.outcome == "" && len(r.broken) == 0 {
		r.fail("the task does not end: %+v", r.rec)
	}
}

func (r *trial) claim() {
	for _, at := range []time.Time{r.restUntil, r.due} {
		if at.After(r.now) {
			r.advance(at.Sub(r.now))
		}
	}
	r.committed, r.lowest, r.shown, r.shownAt = nil, -1, nil, time.Time{}
	r.rec.Epoch++
	rec := r.rec
	rec.Images = slices.Clone(rec.Images)
	r.m = purge.New(r.cfg, rec)
	e := r.m.Step(r.now, purge.Claimed{})
	for e != nil && len(r.broken) == 0 {
		r.steps++
		r.advance(r.pause())
		if r.below(60) == 0 {
			r.crash(e)
			return
		}
		if r.below(60) == 0 {
			if instead := r.m.Step(r.now, purge.Stop{}); instead != nil {
				e = instead
				continue
			}
		}
		e = r.step(e)
	}
}

func (r *trial) pause() time.Duration {
	if r.below(25) == 0 {
		return 11 * time.Second // no view lives as long
	}
	return time.Duration(1+r.below(300)) * time.Millisecond
}

// crash ends the process in the middle of an effect: a write may be committed or
// not, a DELETE may have left.
func (r *trial) crash(e purge.Effect) {
	half := r.below(2) == 0
	switch e := e.(type) {
	case purge.Save:
		if half {
			r.commit(e.Write)
		}
	case purge.End:
		if half {
			r.commit(e.Write)
		}
	case purge.Intend:
		if half {
			r.commit(e.Write)
		}
	case purge.Send:
		if e.Clearance.Spend(r.now) == nil {
			r.judge(e.Clearance)
			r.leave(e.Clearance.Intent())
		}
	}
	r.due = r.now.Add(2 * time.Minute) // the lease
}

// step does one effect and hands the machine its fact.
func (r *trial) step(e purge.Effect) purge.Effect {
	switch e := e.(type) {
	case purge.AskSlot:
		return r.m.Step(r.now, purge.SlotGranted{})
	case purge.List:
		return r.list()
	case purge.Intend:
		return r.intend(e.Write)
	case purge.Send:
		return r.m.Step(r.now, purge.Answered{Answer: r.send(e.Clearance)})
	case purge.Save:
		return r.save(e.Write)
	case purge.End:
		return r.save(e.Write)
	case purge.Drop:
		return nil
	}
	r.fail("effect %T", e)
	return nil
}

func (r *trial) save(w purge.Write) purge.Effect {
	if r.below(60) == 0 {
		r.due = r.now.Add(time.Second)
		return r.m.Step(r.now, purge.WriteRefused{Why: purge.LeaseLost})
	}
	r.commit(w)
	return r.m.Step(r.now, purge.Written{})
}

func (r *trial) intend(w purge.Write) purge.Effect {
	why := []purge.Refusal{purge.LeaseShort, purge.Paused, purge.HeldBack, purge.BreakerOpen, purge.BudgetPause, purge.LeaseLost, purge.CancelledBy}
	switch n := r.below(40); {
	case n == 39:
		if r.below(2) == 0 {
			r.commit(w)
		}
		return r.m.Step(r.now, purge.WriteFailed{})
	case n == 38:
		refusal := why[r.below(len(why))]
		r.rec.Cancelled = r.rec.Cancelled || refusal == purge.CancelledBy
		return r.m.Step(r.now, purge.WriteRefused{Why: refusal})
	}
	r.commit(w)
	r.committed = clearance.Issue(clearance.Intent{
		Task: w.Task, Epoch: w.Epoch, Customer: w.Customer, Targets: w.Targets, BeganAt: r.now, Margin: jobs.SendMargin,
	})
	if r.below(25) == 0 {
		r.advance(11 * time.Second) // the commit took so long
	}
	return r.m.Step(r.now, purge.IntentCommitted{Clearance: r.committed})
}

// list answers a listing: mostly with the shelf, as it is or as it was within the lag.
func (r *trial) list() purge.Effect {
	var a jobs.Answer
	if r.below(12) == 0 {
		all := []jobs.Answer{busy, dns, timeout, tooMany, refused, notSent}
		a = all[r.below(len(all))]
	} else {
		from := r.shelf
		r.past = slices.DeleteFunc(r.past, func(p snapshot) bool { return p.until.Before(r.now.Add(-r.cfg.ListingLag)) })
		if n := len(r.past); n > 0 && r.below(2) == 0 {
			from = r.past[r.below(n)].images
		}
		a = listed(from...)
	}
	a = r.stamp(a)
	if a.Class == jobs.ClassListed {
		r.shown, r.shownAt, r.lowest = append([]jobs.Key{}, a.Images...), a.AnsweredAt, len(a.Images)
		for _, k := range a.Images {
			if r.rec.Named == nil && (r.rec.Scope == jobs.UntilEmpty || !r.rec.Listed) {
				r.wanted[k] = true
			}
			r.everShown[k] = true
		}
		clear(r.since)
	} else {
		r.shown = nil
	}
	return r.m.Step(r.now, purge.Listed{Answer: a})
}

func (r *trial) stamp(a jobs.Answer) jobs.Answer {
	if a.Code != "dns" && a.Class != jobs.ClassNotSent {
		a.SentAt = r.now
	}
	r.advance(time.Duration(1+r.below(400)) * time.Millisecond)
	a.AnsweredAt = r.now
	return a
}

// leave lets a DELETE out of which nothing is heard: it runs now, later, or never.
func (r *trial) leave(in clearance.Intent) {
	switch r.below(3) {
	case 0:
		r.execute(in, nil)
	case 1:
		r.running = append(r.running, &request{permit: in, runsAt: r.now.Add(time.Duration(1+r.below(60)) * time.Second)})
	}
}

// send is the client: it lets nothing out after the intent's deadline.
func (r *trial) send(permit *clearance.Clearance) jobs.Answer {
	if permit.Spend(r.now) != nil {
		for _, t := range permit.Intent().Targets {
			r.answer[t.Key] = notSent
		}
		return r.stamp(notSent)
	}
	r.judge(permit)
	return r.delete(permit.Intent())
}

// delete carries out what has been judged, or does not, and answers truly.
func (r *trial) delete(in clearance.Intent) jobs.Answer {
	a := deleted
	if r.below(3) == 0 {
		all := []jobs.Answer{
			busy, busy, busy, busy, busy, dns, dns, notSent, noImage, noImage, noImage, noImage, noImage, tooMany, tooMany,
			timeout, timeout, timeout, timeout, timeout, timeout, refused, refused, strange, listed(), badCall, erased, notFound, merged,
		}
		a = all[r.below(len(all))]
	}
	switch {
	case a.Class == jobs.ClassDeleted:
		r.execute(in, nil)
	case a.Class == jobs.ClassNoImage && len(in.Targets) > 1:
		r.execute(in, func() bool { return r.below(2) == 0 })
	case a.Class.MayHaveRun(), a.Class == jobs.ClassListed:
		r.leave(in)
	case a.Class == jobs.ClassErased, a.Class == jobs.ClassNotFound:
		r.gone = true
	}
	for _, t := range in.Targets {
		r.answer[t.Key], r.since[t.Key] = a, true
	}
	return r.stamp(a)
}
