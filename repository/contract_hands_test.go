package repository_test

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/imagepurge/imagepurge/jobs"
	"github.com/imagepurge/imagepurge/jobs/clearance"
	"github.com/imagepurge/imagepurge/jobs/purge"
	"github.com/imagepurge/imagepurge/simulation/memory"
)

// hand is a claimed task in the hands of a worker, with its machine.
type hand struct {
	by      workerOf
	rec     purge.Record
	machine *purge.Machine
	effect  purge.Effect
}

func (c *contract) take(w workerOf, r purge.Record) {
	cfg := purge.Config{
		RequestTimeout: w.timeout, Settle: w.settle, ListingLag: 20 * time.Second, ViewMaxAge: 2 * time.Minute,
		MaxAttempts: 4, BackoffBase: 10 * time.Second, BackoffMax: time.Minute,
		Batching: oneOf(&c.history, jobs.SingleDelete, jobs.SingleDelete, jobs.BatchDelete), Random: c.rng.Float64,
	}
	h := &hand{by: w, rec: r, machine: purge.New(cfg, r)}
	h.effect = h.machine.Step(c.now, purge.Claimed{})
	c.hands = append(c.hands, h)
}

func (c *contract) crash() string {
	i := c.below(len(c.hands))
	h := c.hands[i]
	c.hands = slices.Delete(c.hands, i, i+1)
	return fmt.Sprintf("of %s with task %d, epoch %d", h.by.name, h.rec.Task, h.rec.Epoch)
}

// work lets one worker write what its machines have to say: of one task, or of
// several in a group.
func (c *contract) work() (what string) {
	by := c.hands[c.below(len(c.hands))].by
	limit := oneOf(&c.history, 1, 1, 2, 3, 5)
	var group []*hand
	var writes []purge.Write
	for _, i := range c.rng.Perm(len(c.hands)) {
		h := c.hands[i]
		same := func(o *hand) bool { return o.rec.Task == h.rec.Task }
		if h.by.name != by.name || len(group) == limit || slices.ContainsFunc(group, same) {
			continue
		}
		if w, ok := c.advance(h); ok {
			group, writes = append(group, h), append(writes, w)
		}
	}
	c.past = append(c.past, writes...)
	for _, w := range writes {
		if w.Kind == purge.WriteIntent && c.chance(12) {
			what += c.interfere(w)
		}
		l, _ := c.mem.Customer(w.Customer.ID)
		if short := l.LeaseUntil.Add(-by.timeout - jobs.SendMargin); w.Kind == purge.WriteIntent && short.After(c.now) && c.chance(6) {
			c.now = short.Add(oneOf(&c.history, -time.Microsecond, 0, time.Microsecond)) // too little of the lease is left, or just enough
			c.pass()
		}
	}
	if len(writes) > 0 {
		results, ok := c.write(by, writes)
		for n, h := range group {
			if ok {
				c.tell(h, results[n], c.chance(6))
			} else {
				c.tell(h, purge.Result{Refused: purge.LeaseLost}, false)
			}
		}
	}
	c.hands = slices.DeleteFunc(c.hands, func(h *hand) bool { return h.effect == nil })
	return fmt.Sprintf("%sby %s: %s", what, by.name, short(writes))
}

// advance lets a machine go on until it has something to write.
func (c *contract) advance(h *hand) (w purge.Write, ok bool) {
	for {
		switch e := h.effect.(type) {
		case purge.AskSlot:
			if c.chance(4) {
				h.step(c.now, purge.Stop{Waiting: oneOf(&c.history, "", jobs.WaitBreaker)})
			} else {
				h.step(c.now, purge.SlotGranted{})
			}
		case purge.List:
			h.step(c.now, purge.Listed{Answer: c.list(h.rec.Customer.ID)})
		case purge.Send:
			h.step(c.now, purge.Answered{Answer: c.delete(h.rec.Customer.ID, e.Clearance.Intent().Targets)})
		case purge.Intend:
			return e.Write, true
		case purge.Save:
			return c.prepare(e.Write), true
		case purge.End:
			return c.prepare(e.Write), true
		default:
			h.effect = nil
			return w, false
		}
	}
}

func (h *hand) step(now time.Time, f purge.Fact) { h.effect = h.machine.Step(now, f) }

// prepare adds what the worker adds to a write.
func (c *contract) prepare(w purge.Write) purge.Write {
	if w.OverLimit {
		w.PauseBudget += c.between(5*time.Second, 50*time.Second)
	}
	if w.Breaker == nil && c.chance(2) {
		w.Breaker = &purge.Breaker{Reason: "api_unavailable", Kind: jobs.ListCall, HTTPStatus: w.HTTPStatus, Code: w.Code}
	}
	return w
}

// tell tells a machine what became of its write. Where the answer was lost an
// intent is given up, and every other write is repeated.
func (c *contract) tell(h *hand, r purge.Result, lost bool) {
	e := h.effect
	if end, ends := e.(purge.End); ends && r.Applied && !lost {
		c.met[map[bool]string{true: "finished", false: "gave back"}[end.Write.Kind == purge.WriteFinish]]++
	}
	_, intent := e.(purge.Intend)
	switch {
	case lost && !intent:
	case lost:
		h.step(c.now, purge.WriteFailed{})
	case !r.Applied:
		h.step(c.now, purge.WriteRefused{Why: r.Refused})
	case intent:
		h.step(c.now, purge.IntentCommitted{Clearance: r.Clearance})
	default:
		h.step(c.now, purge.Written{})
	}
}

func (h *history) newImage() jobs.Key {
	h.fresh++
	return jobs.KeyOf(fmt.Sprint("token ", h.fresh))
}

func (h *history) imagesOf(customer int64) []jobs.Key {
	if _, ok := h.images[customer]; !ok {
		for range 1 + h.below(4) {
			h.images[customer] = append(h.images[customer], h.newImage())
		}
	}
	return h.images[customer]
}

// list answers a listing: mostly with what is there, sometimes with less or more.
func (c *contract) list(customer int64) jobs.Answer {
	a := c.answer(oneOf(&c.history, jobs.ClassListed, jobs.ClassListed, jobs.ClassListed, jobs.ClassListed, jobs.ClassListed, jobs.ClassListed,
		jobs.ClassListed, jobs.ClassListed, jobs.ClassOverLimit, oneOf(&c.history, jobs.Classes()...)))
	if a.Class == jobs.ClassDeleted || a.Class == jobs.ClassNoImage {
		a.Class = jobs.ClassUnknown
	}
	images := slices.Clone(c.imagesOf(customer))
	switch c.below(8) {
	case 0:
		images = append(images, c.newImage())
		c.images[customer] = slices.Clone(images)
	case 1:
		if len(images) > 0 {
			images = slices.Delete(images, 0, 1)
		}
	}
	if a.Class == jobs.ClassListed {
		a.Images = images
	}
	return a
}

// delete answers a delete, and mostly does it.
func (c *contract) delete(customer int64, targets []clearance.Target) jobs.Answer {
	a := c.answer(oneOf(&c.history, jobs.ClassDeleted, jobs.ClassDeleted, jobs.ClassDeleted, jobs.ClassDeleted, jobs.ClassDeleted,
		jobs.ClassDeleted, jobs.ClassUnknown, jobs.ClassUnexpected, jobs.ClassOverLimit, jobs.ClassRefused, oneOf(&c.history, jobs.Classes()...)))
	if a.Class == jobs.ClassListed {
		a.Class = jobs.ClassDeleted
	}
	if a.Class == jobs.ClassDeleted && c.chance(85) || a.Class.MayHaveRun() && c.chance(50) {
		c.images[customer] = slices.DeleteFunc(slices.Clone(c.imagesOf(customer)), func(k jobs.Key) bool {
			return slices.ContainsFunc(targets, func(t clearance.Target) bool { return t.Key == k })
		})
	}
	return a
}

// answer is an answer of a class, with whatever stands beside it.
func (c *contract) answer(class jobs.Class) jobs.Answer {
	a := jobs.Answer{Class: class, SentAt: c.now, AnsweredAt: c.now.Add(c.between(time.Millisecond, time.Second) + 123*time.Nanosecond)}
	switch class {
	case jobs.ClassListed, jobs.ClassDeleted:
		return a
	case jobs.ClassNotSent:
		a.SentAt = time.Time{}
	case jobs.ClassOverLimit:
		a.RetryAfter = c.between(0, 20*time.Second)
	}
	a.HTTPStatus, a.Code = oneOf(&c.history, 0, 200, 401, 503), oneOf(&c.history, "", "8016", "503", "timeout")
	a.Message = oneOf(&c.history, "", "it was refused")
	return a
}

// staleWrite writes again what was written before: late, twice, or as nobody would.
func (c *contract) staleWrite() string {
	if len(c.past) == 0 {
		return "none"
	}
	from := max(0, len(c.past)-oneOf(&c.history, 1, 4, 30))
	w := c.past[from+c.below(len(c.past)-from)]
	changed := "unchanged"
	if c.chance(75) {
		w.Images, w.Calls = slices.Clone(w.Images), slices.Clone(w.Calls)
		changed = c.spoil(&w)
	}
	by := workerNamed(w.Owner)
	c.write(by, []purge.Write{w})
	return changed + ": " + short([]purge.Write{w})
}

// spoil changes one thing of a write.
func (c *contract) spoil(w *purge.Write) string {
	what := oneOf(&c.history, "epoch", "epoch", "owner", "sequence", "sequence", "kind", "rest", "rest", "customer", "outcome", "answer", "deleted", "sends",
		"state of an image", "shown", "breaker", "passed", "budget", "time", "review", "nothing else")
	// As the one who has the task now would have written it.
	if t := c.mem.Task(w.Task); t != nil && t.State == jobs.Running && c.chance(50) {
		w.Owner, w.Epoch, w.Counters.Sequence = t.Owner, t.Rec.Epoch, max(w.Counters.Sequence, t.Rec.Sequence)
	}
	switch what {
	case "epoch": // of the one who has the task now, or had it, or will
		if t := c.mem.Task(w.Task); t != nil {
			w.Owner, w.Epoch, w.Counters.Sequence = t.Owner, t.Rec.Epoch+int64(c.below(3)-1), max(w.Counters.Sequence, t.Rec.Sequence)
		}
	case "owner":
		w.Owner = oneOf(&c.history, contractWorkers...).name
	case "sequence":
		w.Counters.Sequence += c.below(3) - 1
	case "kind":
		if w.Kind == purge.WriteProgress {
			w.Kind = purge.WriteGiveBack
		} else if w.Kind == purge.WriteGiveBack {
			w.Kind = purge.WriteProgress
		}
	case "rest":
		w.Rest, w.RestFor = oneOf(&c.history, purge.RestKeep, purge.RestSettle, purge.RestClear), c.between(10*time.Second, time.Minute)
	case "customer":
		w.Customer.ID = int64(1 + c.below(5))
	case "outcome":
		w.Outcome = oneOf(&c.history, append(jobs.Outcomes(), "")...)
		w.State, _ = jobs.StateOf(oneOf(&c.history, w.Outcome, w.Outcome, jobs.NoImages))
	case "answer":
		if n := len(w.Calls); n > 0 {
			w.Calls[n-1].Class, w.Calls[n-1].AnsweredAt = oneOf(&c.history, jobs.ClassUnknown, jobs.ClassListed, ""), oneOf(&c.history, c.now, time.Time{})
		}
	case "shown":
		if n := len(w.Calls); n > 0 && w.Calls[n-1].Kind == jobs.ListCall {
			w.Calls[n-1].Shown = append(slices.Clone(w.Calls[n-1].Shown), c.newImage())
			w.Calls[n-1].ImagesSeen += c.below(2)
		}
	case "deleted":
		w.Deleted += c.below(3) - 1
	case "sends":
		if n := len(w.Images); n > 0 {
			w.Images[n-1].Sends = c.below(3) - 1
		}
	case "state of an image":
		if n := len(w.Images); n > 0 {
			w.Images[n-1].State = oneOf(&c.history, jobs.ImageStates()...)
			w.Images[n-1].Evidence = oneOf(&c.history, "", jobs.ByAnswer, jobs.ByListing)
			w.Images[n-1].Missing = c.chance(20)
		}
	case "breaker":
		w.Breaker = &purge.Breaker{Reason: "refused", Kind: oneOf(&c.history, jobs.ListCall, jobs.DeleteCall), HTTPStatus: oneOf(&c.history, 0, 401), Code: oneOf(&c.history, "", "8016")}
	case "passed":
		w.Passed = oneOf(&c.history, jobs.ListCall, jobs.DeleteCall)
	case "budget":
		w.PauseBudget = c.between(5*time.Second, time.Minute)
	case "time":
		w.After, w.VerifiedAt = c.between(5*time.Second, time.Minute), c.now
	case "review":
		w.ReviewAs, w.Waiting = oneOf(&c.history, jobs.Outcomes()...), oneOf(&c.history, jobs.Waitings()...)
	}
	return what
}

// short prints values in a line.
func short(v any) string {
	switch v := v.(type) {
	case []purge.Write:
		var all []string
		for _, w := range v {
			line := fmt.Sprintf("%s of %d by %s epoch %d seq %d rest %s %v", w.Kind, w.Task, w.Owner, w.Epoch, w.Counters.Sequence, w.Rest, w.RestFor)
			if w.Outcome != "" {
				line += " " + string(w.Outcome)
			}
			if w.Waiting != "" {
				line += fmt.Sprintf(" waits %s %v", w.Waiting, w.After)
			}
			if w.Breaker != nil {
				line += fmt.Sprintf(" breaker %s %s", w.Breaker.Reason, w.Breaker.Kind)
			}
			if w.Passed != "" {
				line += " passed " + string(w.Passed)
			}
			for _, im := range w.Images {
				line += fmt.Sprintf(" %v:%s", im.Key, im.State)
			}
			all = append(all, line)
		}
		return strings.Join(all, "; ")
	case []memory.NewTask:
		var all []string
		for _, n := range v {
			all = append(all, fmt.Sprintf("customer %d, %d named, %s %s, dry run %t", n.Customer, len(n.Named), n.Mode, n.Scope, n.DryRun))
		}
		return strings.Join(all, "; ")
	}
	return fmt.Sprint(v)
}
