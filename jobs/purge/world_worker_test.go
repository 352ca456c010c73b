package purge_test

import (
	"slices"
	"time"

	"github.com/imagepurge/imagepurge/jobs"
	"github.com/imagepurge/imagepurge/jobs/clearance"
	"github.com/imagepurge/imagepurge/jobs/purge"
)

// worker drives one machine at a time, and may crash or freeze anywhere.
type worker struct {
	w       *world
	name    string
	m       *purge.Machine
	rec     purge.Record
	life    int // raised by every crash and every claim: what was under way is void
	waiting int // the slot that is waited for
	frozen  time.Time
	viewed  bool // a listing was asked for under this claim

	heard heard // the listing the machine has heard and not written yet
	shown int   // images in the view in hand, for the ablation of the order
}

type heard struct {
	images []int
	asOf   time.Time
	fresh  bool
}

// hasView says whether the worker may rely on a listing that it has asked for.
// One whose lease is gone can't: its writes are fenced off.
func (k *worker) hasView() bool {
	return k.m != nil && k.viewed && k.w.store.holds(k.rec.Task, k.rec.Owner, k.rec.Epoch)
}

func (k *worker) poll() {
	if k.m == nil {
		if r, ok := k.w.store.claim(k.name, k.w.lease); ok {
			k.begin(r)
		}
	}
	k.w.after(time.Duration(500+k.w.below(1000))*time.Millisecond, k.poll)
}

func (k *worker) begin(r purge.Record) {
	k.life++
	k.rec, k.viewed, k.frozen = r, false, time.Time{}
	k.heard = heard{}
	lag := k.w.lag
	if k.w.without == "listing lag" {
		lag = 0
	}
	k.m = purge.New(purge.Config{
		RequestTimeout: k.w.timeout, Settle: k.w.settle, ListingLag: lag, ViewMaxAge: k.w.viewAge,
		MaxAttempts: k.w.attempts, BackoffBase: 2 * time.Second, BackoffMax: 20 * time.Second, Batching: k.w.batching,
		Random: func() float64 { return float64(k.w.below(1000)) / 1000 },
	}, r)
	k.later(k.w.lease/3, k.renew)
	if k.w.below(12) == 0 {
		why := []jobs.Waiting{"", jobs.WaitBreaker}[k.w.below(2)]
		k.later(k.w.upTo(4*time.Second), func() { k.step(purge.Stop{Waiting: why}) })
	}
	k.step(purge.Claimed{})
}

// later does something to the machine in hand: after it wakes, and never after a
// crash.
func (k *worker) later(d time.Duration, do func()) {
	life := k.life
	var try func()
	try = func() {
		switch {
		case k.life != life || k.m == nil:
		case k.frozen.After(k.w.now):
			k.w.after(k.frozen.Sub(k.w.now), try)
		default:
			do()
		}
	}
	k.w.after(d, try)
}

func (k *worker) renew() {
	kept := k.w.fault(40) || k.w.store.renew(k.rec.Task, k.rec.Owner, k.rec.Epoch, k.w.lease)
	if !kept && k.m.WaitsForSlot() {
		k.step(purge.WriteRefused{Why: purge.LeaseLost})
		if k.m == nil {
			return
		}
	}
	k.later(k.w.lease/3, k.renew)
}

// crash forgets all that is volatile.
func (k *worker) crash() {
	k.life++
	k.m = nil
}

// freeze stops the process for a time, which may outlast its lease.
func (k *worker) freeze() {
	k.frozen = k.w.now.Add(k.w.upTo([]time.Duration{2 * time.Second, k.w.lease, 3*k.w.lease + k.w.settle}[k.w.below(3)]))
}

func (k *worker) step(f purge.Fact) {
	e := k.m.Step(k.w.now, f)
	if e == nil {
		if k.m.Done() {
			k.crash()
		}
		return
	}
	if k.w.fault(25) {
		k.crash() // before the effect
		return
	}
	k.do(e)
	if k.m == nil {
		return
	}
	if k.w.fault(25) {
		k.crash() // after it, before its answer
	} else if k.w.fault(20) {
		k.freeze()
	}
}

func (k *worker) do(e purge.Effect) {
	switch e := e.(type) {
	case purge.AskSlot:
		k.waiting++
		mine, wait := k.waiting, k.w.upTo(700*time.Millisecond)
		if k.w.below(30) == 0 {
			wait = k.w.upTo(k.w.viewAge + k.w.lease)
		}
		k.later(wait, func() {
			if mine == k.waiting && k.m.WaitsForSlot() {
				k.step(purge.SlotGranted{})
			}
		})
	case purge.List:
		k.viewed = true
		k.list()
	case purge.Intend:
		k.commit(e.Write)
	case purge.Send:
		k.send(e.Clearance)
	case purge.Save:
		k.commit(e.Write)
	case purge.End:
		k.waiting++
		k.commit(e.Write)
	case purge.Drop:
		k.crash()
	}
}

// list makes a listing. What it shows is read somewhere between question and answer.
func (k *worker) list() {
	sent, latency := k.w.now, k.w.upTo(min(time.Second, k.w.timeout))
	give := func(after time.Duration, a jobs.Answer, h heard) {
		k.later(after, func() {
			a.SentAt, a.AnsweredAt = sent, k.w.now
			if a.Code == "dns" {
				a.SentAt = time.Time{}
			}
			k.heard = h
			k.step(purge.Listed{Answer: a})
		})
	}
	if k.w.fault(12) {
		a := []jobs.Answer{
			answer(jobs.ClassUnknown, 503, "503"), answer(jobs.ClassUnknown, 0, "timeout"), answer(jobs.ClassNotRun, 0, "dns"),
			answer(jobs.ClassOverLimit, 429, "429"), answer(jobs.ClassRefused, 401, "401"),
		}[k.w.below(5)]
		give(latency, a, heard{})
		return
	}
	life := k.life
	k.w.after(latency/2, func() {
		if k.life != life {
			return
		}
		shown, asOf := k.w.server.list()
		a := jobs.Answer{Class: jobs.ClassListed, HTTPStatus: 200}
		for _, i := range shown {
			a.Images = append(a.Images, keys[i])
		}
		if k.w.without == "descending order" {
			slices.Reverse(a.Images) // the machine's highest is the server's lowest
			k.shown = len(shown)
		}
		give(latency-latency/2, a, heard{slices.Clone(shown), asOf, true})
	})
}

// commit writes, with all that can happen to a transaction. All but intents are
// repeated until it is known what became of them.
func (k *worker) commit(wr purge.Write) {
	began, took, h := k.w.now, k.w.quick(), k.heard
	if k.w.fault(25) {
		took = k.w.upTo(3 * time.Second) // a slow commit
	}
	apply := func() purge.Result {
		k.w.log.hearing = h
		return k.w.store.write(wr, began)
	}
	tell := func(r purge.Result, err bool) {
		switch {
		case err && wr.Kind == purge.WriteIntent:
			k.step(purge.WriteFailed{})
		case err:
			k.later(100*time.Millisecond, func() { k.commit(wr) })
		case !r.Applied:
			k.step(purge.WriteRefused{Why: r.Refused})
		case r.Clearance != nil:
			k.heard = heard{}
			k.step(purge.IntentCommitted{Clearance: r.Clearance})
		default:
			k.heard = heard{}
			k.step(purge.Written{})
		}
	}
	if k.w.fault(25) {
		switch k.w.below(3) {
		case 0: // lost
		case 1: // applied, and nobody is told
			k.w.after(took, func() { apply() })
		case 2: // applied after the worker was told that nobody knows
			k.w.after(took+k.w.upTo(2*time.Second), func() { apply() })
		}
		k.later(took+time.Millisecond, func() { tell(purge.Result{}, true) })
		return
	}
	// The database commits whether or not the worker still lives.
	var r purge.Result
	k.w.after(took, func() { r = apply() })
	k.later(took+time.Millisecond, func() { tell(r, false) })
}

// send is the client: it spends the clearance right before the write.
func (k *worker) send(permit *clearance.Clearance) {
	k.later(k.w.quick(), func() {
		if k.w.fault(15) { // frozen before the write
			k.freeze()
			k.later(0, func() { k.write(permit) })
			return
		}
		k.write(permit)
	})
}

func (k *worker) write(permit *clearance.Clearance) {
	if k.w.without != "deadline" {
		if err := permit.Spend(k.w.now); err != nil {
			a := answer(jobs.ClassNotSent, 0, "late")
			a.AnsweredAt = k.w.now
			k.step(purge.Answered{Answer: a})
			return
		}
	}
	k.deliver(permit.Intent(), true)
}

func (k *worker) deliver(in clearance.Intent, first bool) {
	w := k.w
	w.log.sent(w, in)
	if w.without == "descending order" {
		in.Targets = slices.Clone(in.Targets)
		for i := range in.Targets {
			in.Targets[i].Position = k.shown - 1 - in.Targets[i].Position
		}
	}
	f, sent := w.server.draw(), w.now
	var runs time.Time
	if f.runs >= 0 {
		runs = sent.Add(f.runs)
	}
	r := w.server.receive(in, runs)
	var hit, missed bool
	if f.runs >= 0 {
		w.after(f.runs, func() { hit, missed = w.server.execute(r) })
	}
	k.later(f.answers, func() {
		a := f.answer
		if f.byResult {
			a = answer(jobs.ClassNoImage, 200, "8078")
			if hit && (!missed || w.below(2) == 0) {
				a = answer(jobs.ClassDeleted, 200, "")
				k.shown--
			}
		}
		if f.lie {
			k.shown--
		}
		if a.Class == jobs.ClassUnknown && w.without == "patience" && first {
			k.deliver(in, false) // a client that tries again
			return
		}
		a.SentAt, a.AnsweredAt = sent, w.now
		k.step(purge.Answered{Answer: a})
	})
}
