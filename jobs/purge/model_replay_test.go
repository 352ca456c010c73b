package purge_test

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/imagepurge/imagepurge/jobs"
	"github.com/imagepurge/imagepurge/jobs/clearance"
	"github.com/imagepurge/imagepurge/jobs/purge"
)

// A trace is what the model in docs/protocol says has happened, one line a step.
// The facts among the lines are given to real machines; every effect of theirs
// must then be the line that follows in the trace.

// tick is how long one tick of the model is here. jobs.SendMargin is one tick.
const tick = jobs.SendMargin

// replay holds a store and the machines of the model's two workers.
type replay struct {
	cfg  purge.Config
	now  time.Time
	rec  purge.Record
	runs [2]*claimed

	leased    int // the worker that has the customer, or nobody's
	due, rest time.Time
	mode      jobs.Mode
	scope     jobs.Scope
	steps     int
}

const nobodys = -1

// claimed is a machine, what it has asked for, and the permit of its DELETE.
type claimed struct {
	m      *purge.Machine
	e      purge.Effect
	epoch  int64
	permit *clearance.Clearance
}

func newReplay(c modelConfig) *replay {
	r := &replay{now: time.Date(2026, 1, 1, 1, 0, 0, 0, time.UTC), mode: c.mode(), scope: c.scope(), leased: nobodys}
	r.cfg = purge.Config{
		RequestTimeout: tick, ViewMaxAge: 1000 * time.Hour, BackoffBase: 2 * tick, BackoffMax: 2 * tick,
		Batching: jobs.SingleDelete, MaxAttempts: math.MaxInt, Random: func() float64 { return 0 },
	}
	if c.has("-DBATCH") {
		r.cfg.Batching = jobs.BatchDelete
	}
	r.newTask(nil)
	return r
}

func (r *replay) newTask(named []jobs.Key) {
	r.rec = purge.Record{
		Task: r.rec.Task + 1, Epoch: r.rec.Epoch, Customer: jobs.Customer{ID: 564703420, Source: "INSTORE"},
		Mode: r.mode, Scope: r.scope, Named: named,
	}
	r.due, r.leased = r.now, nobodys
}

// play replays a trace, and says at which line the machine parts from it.
func (r *replay) play(trace string) error {
	for n, line := range strings.Split(strings.TrimSpace(trace), "\n") {
		if err := r.line(line); err != nil {
			return fmt.Errorf("line %d, %q: %w", n+1, line, err)
		}
	}
	return nil
}

func (r *replay) line(line string) error {
	words := strings.Fields(line)
	if w, ok := map[string]int{"W0": 0, "W1": 1}[words[0]]; ok {
		r.steps++
		return r.worker(w, words[1], words[2:])
	}
	switch words[0] {
	case "settings":
		return r.settings(words[1:])
	case "named":
		mask, err := strconv.Atoi(words[1])
		for i := 1; 1<<i <= mask; i++ {
			if mask>>i&1 == 1 {
				r.rec.Named = append(r.rec.Named, keys[i])
			}
		}
		return err
	case "tick":
		r.now = r.now.Add(tick)
	case "cancel":
		r.rec.Cancelled = true
	case "task2":
		r.newTask(r.rec.Named)
	case "failover":
		r.failOver()
	case "rows":
		return r.rows(strings.Join(words[1:], " "))
	case "hold", "release": // the model says what follows
	default:
		return errors.New("no such line")
	}
	return nil
}

func (r *replay) settings(words []string) error {
	for i := 0; i+1 < len(words); i += 2 {
		n, err := strconv.Atoi(words[i+1])
		if err != nil {
			return err
		}
		switch words[i] {
		case "listing_lag":
			r.cfg.ListingLag = time.Duration(n) * tick
		case "settle":
			r.cfg.Settle = time.Duration(n) * tick
		case "attempts":
			if n > 0 {
				r.cfg.MaxAttempts = n
			}
		}
	}
	return nil
}

// failOver loses the newest intent, and nothing is claimed for one settle time.
func (r *replay) failOver() {
	for i := range r.rec.Images {
		if r.rec.Images[i].State == jobs.Intended {
			r.rec.Images[i].State = jobs.Planned
		}
	}
	r.leased, r.rest, r.due = nobodys, time.Time{}, r.now.Add(r.cfg.Rest())
}

// worker takes one step of a worker.
func (r *replay) worker(w int, step string, words []string) error {
	if step == "claim" {
		return r.claim(w, words)
	}
	k := r.runs[w]
	if k == nil {
		return errors.New("nothing is claimed")
	}
	switch step {
	case "crash":
		r.runs[w] = nil
	case "freezes", "wakes":
	case "listed":
		return r.listed(k, words)
	case "listing":
		return r.answerListing(k, answer(jobs.Class(words[0]), 0, "model"))
	case "view_old":
		return r.viewOld(k)
	case "intend":
		return r.intend(w, k, words)
	case "refused":
		return r.refused(w, k, purge.Refusal(words[0]))
	case "send":
		return r.send(k)
	case "answer":
		return r.answered(k, jobs.Class(words[0]))
	case "save", "back", "finish":
		return r.write(w, k, step, strings.Join(words, " "))
	case "lease_lost":
		return r.leaseLost(w, k)
	default:
		return errors.New("no such step")
	}
	return nil
}

// claim hands the task to a new machine, which knows the rows alone.
func (r *replay) claim(w int, words []string) error {
	if r.due.After(r.now) || r.rest.After(r.now) {
		return fmt.Errorf("due in %v, and the customer rests for %v", r.due.Sub(r.now), r.rest.Sub(r.now))
	}
	if words[1] == "1" != r.rec.Cancelled {
		return fmt.Errorf("cancelled is %v", r.rec.Cancelled)
	}
	r.rec.Epoch++
	r.rec.Owner, r.rec.Probe, r.rest, r.leased = strconv.Itoa(w), words[3] == "1", time.Time{}, w
	rec := r.rec
	rec.Images = slices.Clone(rec.Images)
	k := &claimed{m: purge.New(r.cfg, rec), epoch: rec.Epoch}
	k.e = k.m.Step(r.now, purge.Claimed{})
	r.runs[w] = k
	return nil
}

func (r *replay) fenced(w int, k *claimed) bool { return r.leased == w && r.rec.Epoch == k.epoch }

// grant gives the slot that the machine waits for.
func (r *replay) grant(k *claimed, now time.Time, want ...jobs.SlotKind) error {
	ask, ok := k.e.(purge.AskSlot)
	if !ok || !slices.Contains(want, ask.Kind) {
		return fmt.Errorf("the machine's effect is %T %+v, want a slot of kind %v", k.e, k.e, want)
	}
	k.e = k.m.Step(now, purge.SlotGranted{})
	return nil
}

func (r *replay) answerListing(k *claimed, a jobs.Answer) error {
	if _, ok := k.e.(purge.List); !ok {
		if err := r.grant(k, r.now, jobs.SlotList, jobs.SlotVerify); err != nil {
			return err
		}
	}
	if _, ok := k.e.(purge.List); !ok {
		return fmt.Errorf("the machine's effect is %T, want a listing", k.e)
	}
	a.SentAt, a.AnsweredAt = r.now, r.now
	k.e = k.m.Step(r.now, purge.Listed{Answer: a})
	return nil
}

func (r *replay) listed(k *claimed, words []string) error {
	var ids []int
	for _, s := range words {
		if s == "(stale)" {
			continue
		}
		id, err := strconv.Atoi(s)
		if err != nil {
			return err
		}
		ids = append(ids, id)
	}
	return r.answerListing(k, listed(ids...))
}

func (r *replay) viewOld(k *claimed) error {
	if err := r.grant(k, r.now.Add(r.cfg.ViewMaxAge+tick), jobs.SlotDelete); err != nil {
		return err
	}
	if _, ok := k.e.(purge.List); !ok {
		return fmt.Errorf("the machine's effect is %T, want another listing", k.e)
	}
	return nil
}

// asksIntent grants the delete's slot and returns the intent that follows.
func (r *replay) asksIntent(k *claimed) (purge.Write, error) {
	if err := r.grant(k, r.now, jobs.SlotDelete); err != nil {
		return purge.Write{}, err
	}
	e, ok := k.e.(purge.Intend)
	if !ok {
		return purge.Write{}, fmt.Errorf("the machine's effect is %T, want an intent", k.e)
	}
	return e.Write, nil
}

func (r *replay) intend(w int, k *claimed, words []string) error {
	wr, err := r.asksIntent(k)
	if err != nil {
		return err
	}
	var got []string
	for _, t := range wr.Targets {
		got = append(got, fmt.Sprintf("%d@%d", images[t.Key], t.Position))
	}
	if !slices.Equal(got, words) {
		return fmt.Errorf("the machine intends %v", got)
	}
	if !r.fenced(w, k) {
		return errors.New("an intent of a worker that does not have the customer")
	}
	r.apply(wr)
	k.permit = clearance.Issue(clearance.Intent{
		Task: wr.Task, Epoch: wr.Epoch, Customer: wr.Customer, Targets: wr.Targets, BeganAt: r.now, Margin: jobs.SendMargin,
	})
	k.e = k.m.Step(r.now, purge.IntentCommitted{Clearance: k.permit})
	return nil
}

func (r *replay) refused(w int, k *claimed, why purge.Refusal) error {
	if _, err := r.asksIntent(k); err != nil {
		return err
	}
	k.e = k.m.Step(r.now, purge.WriteRefused{Why: why})
	if why == purge.LeaseLost {
		return r.dropped(w, k)
	}
	return nil
}

func (r *replay) send(k *claimed) error {
	e, ok := k.e.(purge.Send)
	if !ok || e.Clearance != k.permit {
		return fmt.Errorf("the machine's effect is %T, want a send under its intent", k.e)
	}
	return k.permit.Spend(r.now)
}

func (r *replay) answered(k *claimed, c jobs.Class) error {
	if _, ok := k.e.(purge.Send); !ok {
		return fmt.Errorf("the machine's effect is %T, want a send", k.e)
	}
	a := answer(c, 0, "model")
	a.SentAt, a.AnsweredAt = r.now, r.now
	if c == jobs.ClassNotSent {
		a.SentAt = time.Time{}
		var late *clearance.LateError
		if err := k.permit.Spend(r.now); !errors.As(err, &late) {
			return fmt.Errorf("the clearance says %v, want that it is too late", err)
		}
	}
	k.e = k.m.Step(r.now, purge.Answered{Answer: a})
	return nil
}

// write commits what the machine wants written, if it is what the model says.
func (r *replay) write(w int, k *claimed, step, word string) error {
	got, wr := "nothing", purge.Write{}
	switch e := k.e.(type) {
	case purge.Save:
		got, wr = "save", e.Write
	case purge.End:
		wr = e.Write
		if got = "back " + string(wr.Waiting); wr.Kind == purge.WriteFinish {
			got = "finish " + string(wr.Outcome)
		}
	}
	if want := strings.TrimSpace(step + " " + word); strings.TrimSpace(got) != want {
		return fmt.Errorf("the machine wants %q written, its effect is %T", got, k.e)
	}
	if !r.fenced(w, k) {
		return errors.New("a write of a worker that does not have the customer")
	}
	if want, ok := map[jobs.Waiting]time.Duration{jobs.WaitSettle: r.cfg.Rest(), jobs.WaitListingLag: r.cfg.ListingLag}[wr.Waiting]; ok && wr.After != want {
		return fmt.Errorf("given back for %v, want %v", wr.After, want)
	}
	r.apply(wr)
	k.e = k.m.Step(r.now, purge.Written{})
	if step == "save" {
		return nil
	}
	r.due, r.leased, r.runs[w] = r.now.Add(wr.After), nobodys, nil
	if !k.m.Done() {
		return errors.New("the machine goes on after its end")
	}
	return nil
}

func (r *replay) leaseLost(w int, k *claimed) error {
	switch k.e.(type) {
	case purge.Save, purge.End:
	default:
		return fmt.Errorf("the machine's effect is %T, want a write", k.e)
	}
	if r.fenced(w, k) {
		return errors.New("the worker has the customer")
	}
	k.e = k.m.Step(r.now, purge.WriteRefused{Why: purge.LeaseLost})
	return r.dropped(w, k)
}

func (r *replay) dropped(w int, k *claimed) error {
	r.runs[w] = nil
	if _, ok := k.e.(purge.Drop); !ok || !k.m.Done() {
		return fmt.Errorf("the machine's effect is %T, want that it drops the task", k.e)
	}
	return nil
}

// apply commits a write.
func (r *replay) apply(wr purge.Write) {
	for _, im := range wr.Images {
		if i := slices.IndexFunc(r.rec.Images, func(o purge.Image) bool { return o.Key == im.Key }); i >= 0 {
			r.rec.Images[i] = im
		} else {
			r.rec.Images = append(r.rec.Images, im)
		}
	}
	r.rec.Counters = wr.Counters
	if wr.Kind == purge.WriteGiveBack {
		r.rec.ReviewAs = wr.ReviewAs
	}
	switch wr.Rest {
	case purge.RestSettle:
		r.rest = r.now.Add(wr.RestFor)
	case purge.RestClear:
		r.rest = time.Time{}
	}
}

// rows compares the store's rows with the model's.
func (r *replay) rows(want string) error {
	number := map[jobs.ImageState]string{jobs.Planned: "1", jobs.Intended: "2", jobs.Unknown: "3", jobs.Deleted: "4", jobs.Absent: "5", jobs.Bystander: "b"}
	var got []string
	for _, im := range slices.SortedFunc(slices.Values(r.rec.Images), func(a, b purge.Image) int { return images[a.Key] - images[b.Key] }) {
		s := fmt.Sprintf("%d=%s", images[im.Key], number[im.State])
		if im.Evidence != "" {
			s += "e"
		}
		got = append(got, s)
	}
	got = append(got, fmt.Sprintf("rest %d", max(0, r.rest.Sub(r.now))/tick))
	if g := strings.Join(got, " "); g != want {
		return fmt.Errorf("the rows are %q", g)
	}
	return nil
}
