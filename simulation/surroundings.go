package simulation

import (
	"time"

	"github.com/imagepurge/imagepurge/capillary/sandbox"
	"github.com/imagepurge/imagepurge/jobs"
)

// surroundings plans what happens around the workers, at times that the seed draws.
func (w *world) surroundings() {
	times := func(n int, within time.Duration, do func()) {
		for range n {
			w.after(w.upTo(within), do)
		}
	}
	// Most of the work of a night with --once is done in its first minutes; with a
	// schedule in the first minutes of a window.
	soon := 2 * time.Minute
	if !w.once {
		soon = 6 * time.Hour
	}
	times(w.others, min(soon, 5*time.Minute), w.othersAct)
	times(w.standings, min(soon, 10*time.Minute), w.changeStanding)
	times(w.people, soon, w.peopleAct)
	times(w.outages, soon, w.outage)
	times(w.failOvers, soon, w.failOver)
	times(w.storms, soon, w.storm)
	times(w.clockSteps, soon, func() { w.machine().setClock() })
	times(w.sleeps, soon, func() {
		p := w.machine()
		if w.happens("a machine sleeps") {
			p.sleep(pick(w.chance, w.upTo(time.Minute), w.upTo(3*time.Hour)))
		}
	})
	if w.freezes > 0 {
		times(1, soon, func() {
			if w.happens("a worker freezes") {
				w.machine().freeze()
			}
		})
	}
	if w.crashes > 0 {
		times(1, soon, func() {
			if w.happens("SIGTERM") {
				w.machine().stop()
			}
		})
	}
}

func (w *world) machine() *process { return pick(w.chance, w.procs...) }

func (p *process) setClock() {
	if !p.w.happens("a machine's wall clock is set") {
		return
	}
	d := p.w.upTo(pick(p.w.chance, 2*time.Second, time.Hour))
	if p.w.one(2) {
		d = -d
	}
	p.clockOff += d
	p.say("its wall clock is set by %v", d)
}

// workAt is when a worker that looks for work may find some, as things stand; in
// the past: now.
func (w *world) workAt() time.Duration {
	f := w.hist.forbidden
	if f.everything > 0 {
		return longest
	}
	next := longest
	for _, t := range w.store.Tasks() {
		reason, probe := w.store.Breaker(w.label(t.Batch))
		switch {
		case t.State == jobs.Running:
			next = min(next, t.LeaseUntil.Sub(w.begins)+1)
		case t.State != jobs.Pending || f.customers[t.Customer] > 0 || f.batches[t.Batch] == 1:
		case reason != "":
			next = min(next, max(probe.Sub(w.begins), t.Due.Sub(w.begins)))
		default:
			next = min(next, t.Due.Sub(w.begins))
		}
	}
	return next
}

// breakerIs says whether an organisation's breaker is open for this reason.
func (w *world) breakerIs(reason string) bool {
	for label := int64(1); label <= int64(w.labels); label++ {
		if is, _ := w.store.Breaker(label); is == reason {
			return true
		}
	}
	return false
}

// othersAct changes a customer's images by other hands.
func (w *world) othersAct() {
	customer := int64(firstCustomer + w.IntN(w.customers))
	acts := w.IntN(5)
	quiet := w.quiet(customer)
	if !quiet && !w.wild && (acts != 0 || w.batching == jobs.BatchDelete) {
		w.after(w.upTo(2*time.Second), w.othersAct) // promise 1 assumes that they don't
		return
	}
	if !w.happens("others change images") {
		return
	}
	images := w.api.Images(customer)
	if w.api.Now(customer).Standing != sandbox.Present {
		return
	}
	h := &w.hist
	at := 0
	if len(images) > 0 {
		at = w.IntN(len(images))
	}
	// An upload at the end shifts nothing and can't be hit.
	if !quiet && (acts != 0 || w.batching == jobs.BatchDelete) {
		h.disturbed[customer] = true
	}
	h.othersActed[customer] = w.now
	gone := func() {
		if len(images) > 0 {
			h.removed = append(h.removed, removal{at: w.now, customer: customer, image: w.key(images[at].Token)})
		}
	}
	switch acts {
	case 0:
		w.say("others upload an image of customer %d", customer)
		w.api.Upload(w.clock(), customer, 1)
	case 1:
		w.say("others put an image in front of customer %d's", customer)
		w.api.Prepend(w.clock(), customer)
	case 2, 3:
		w.say("others delete image %d of customer %d", at, customer)
		gone()
		w.api.Remove(w.clock(), customer, at)
	case 4:
		w.say("others replace image %d of customer %d", at, customer)
		gone()
		w.api.Replace(w.clock(), customer, at)
	}
}

// quiet says whether no listing of the customer is relied on and no DELETE can run.
func (w *world) quiet(customer int64) bool {
	if w.flying[customer] > 0 || w.hist.clearanceOutstanding(w, customer) {
		return false
	}
	lease, leased := w.store.Customer(customer)
	if !leased {
		return true
	}
	for _, p := range w.procs {
		if p.core != nil && p.viewed[lease.Task] == lease.Epoch && lease.Owner == p.owner {
			return false
		}
	}
	return true
}

func (w *world) changeStanding() {
	if !w.happens("a customer's account changes") {
		return
	}
	customer := int64(firstCustomer + w.IntN(w.customers))
	to := pick(w.chance, sandbox.Erased, sandbox.Unknown, sandbox.Merged)
	w.say("customer %d is %s from now on", customer, to)
	for _, img := range w.api.Images(customer) {
		w.hist.removed = append(w.hist.removed, removal{at: w.now, customer: customer, image: w.key(img.Token)})
	}
	w.hist.turned[customer] = true
	w.api.Turn(customer, to, customer+1_000_000_000)
}

// peopleAct is what people do to tasks; what they forbid they allow again.
func (w *world) peopleAct() {
	if !w.happens("a person decides") {
		return
	}
	now, later := w.databaseTime(), w.upTo(3*time.Minute)
	defer w.rouse()
	f := &w.hist.forbidden
	again := func(what string, undo func(time.Time)) {
		w.say("a person: %s", what)
		w.after(later, func() {
			w.say("a person: no longer %s", what)
			undo(w.databaseTime())
			w.rouse()
		})
	}
	batch := int64(1 + w.IntN(2*w.labels))
	customer := int64(firstCustomer + w.IntN(w.customers))
	switch w.IntN(5) {
	case 0:
		if f.everything > 0 {
			return
		}
		w.store.Pause(now)
		f.everything++
		again("everything is paused", func(now time.Time) { f.everything--; w.store.Resume(now) })
	case 1:
		if f.batches[batch] > 0 {
			return
		}
		w.store.PauseBatch(now, batch)
		f.batches[batch]++
		again("a batch is paused", func(now time.Time) { f.batches[batch]--; w.store.ResumeBatch(now, batch) })
	case 2:
		if f.customers[customer] > 0 {
			return
		}
		w.store.Hold(customer)
		f.customers[customer]++
		again("a customer is held", func(time.Time) { f.customers[customer]--; w.store.Release(customer) })
	case 3:
		w.say("a person cancels batch %d", batch)
		w.store.CancelBatch(now, batch)
		f.batches[batch] = 1 << 30
	case 4:
		w.say("a person closes the breaker")
		w.store.CloseBreaker(now)
		w.hist.trusted = w.now
	}
}

// decideAgain is people who see that their decisions are lost.
func (w *world) decideAgain() {
	now, f := w.databaseTime(), w.hist.forbidden
	if w.store.Resume(now); f.everything > 0 {
		w.store.Pause(now)
	}
	for batch := int64(1); batch <= int64(2*w.labels); batch++ {
		switch w.store.ResumeBatch(now, batch); {
		case f.batches[batch] == 1:
			w.store.PauseBatch(now, batch)
		case f.batches[batch] > 1:
			w.store.CancelBatch(now, batch)
		}
	}
	for i := range w.customers {
		customer := int64(firstCustomer + i)
		if w.store.Release(customer); f.customers[customer] > 0 {
			w.store.Hold(customer)
		}
	}
}

// storm is weather that all calls meet.
func (w *world) storm() {
	if !w.happens("a storm") {
		return
	}
	until := w.now + w.upTo(5*time.Minute)
	kinds := 3
	if w.strangers != nil {
		kinds = 6
	}
	switch w.IntN(kinds) {
	default:
		w.say("the credentials open another brand's until %v", until)
		w.weather.strange = until
		w.weather.season++
		// Where no customer with an image is left no probe can tell: a person looks.
		w.after(until-w.now+2*time.Hour, func() {
			if w.breakerIs(jobs.CodeWrongOrganisation) && w.weather.strange <= w.now {
				w.say("a person closes the breaker")
				w.store.CloseBreaker(w.databaseTime())
				w.hist.trusted = w.now
				w.rouse()
			}
		})
	case 0:
		w.say("the credentials are refused until %v", until)
		w.weather.refused = until
	case 1:
		w.say("every call meets a 429 until %v", until)
		w.weather.limited = until
		w.weather.retryAfter = pick(w.chance, 0, time.Second, 30*time.Second)
	case 2:
		w.say("the API is down until %v", until)
		w.weather.down = until
	}
}
