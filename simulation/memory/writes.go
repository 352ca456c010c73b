package memory

import (
	"slices"
	"time"

	"github.com/imagepurge/imagepurge/jobs"
	"github.com/imagepurge/imagepurge/jobs/clearance"
	"github.com/imagepurge/imagepurge/jobs/purge"
)

// Write applies a group of writes, each by itself all or nothing, and returns a
// result for each. began is the worker's clock before it. A group that breaks a
// constraint of the database panics with a [*ConstraintError], and changes
// nothing: the repository returns an error there, which no repetition mends.
//
// All of a group is judged by what stood before it, as in the repository's one
// statement.
func (s *Store) Write(now, began time.Time, t purge.Terms, writes []purge.Write) []purge.Result {
	results := make([]purge.Result, len(writes))
	for n := range writes {
		results[n].Refused = s.refuses(now, t, &writes[n])
		results[n].Applied = results[n].Refused == ""
	}
	for n := range writes {
		if results[n].Applied {
			s.check(&writes[n])
		}
	}
	for n := range writes {
		w := &writes[n]
		if !results[n].Applied {
			continue
		}
		s.apply(now, t.Lease, w)
		if w.Kind == purge.WriteIntent {
			results[n].Clearance = clearance.Issue(clearance.Intent{
				Task: w.Task, Epoch: w.Epoch, Customer: w.Customer, Targets: w.Targets, BeganAt: began, Margin: jobs.SendMargin,
			})
		}
	}
	s.moveBreaker(now, writes, results)
	s.pauseBudget(now, writes, results)
	return results
}

// refuses is the fence: why a write is not accepted, or nothing.
func (s *Store) refuses(now time.Time, terms purge.Terms, w *purge.Write) purge.Refusal {
	t := s.Task(w.Task)
	if t == nil || !t.heldBy(w.Owner, w.Epoch) {
		return purge.LeaseLost
	}
	intent, lost := w.Kind == purge.WriteIntent, purge.LeaseLost
	if intent && t.LeaseUntil.After(now) {
		lost = purge.LeaseShort
	}
	if !s.sameServer(w.Epoch) || w.Counters.Sequence < t.Rec.Sequence || s.labels[t.label] != terms.Organization {
		return lost
	}
	cust := s.customerIn(t, w)
	if intent {
		if why := s.forbids(now, t, cust); why != "" {
			return why
		}
	}
	if cust == nil || !cust.leasedTo(w.Task, w.Owner, w.Epoch) {
		return lost
	}
	if intent && !cust.LeaseUntil.After(now.Add(terms.RequestTimeout+jobs.SendMargin)) {
		return lost
	}
	return ""
}

// customerIn returns the customer whom the write names.
func (s *Store) customerIn(t *Task, w *purge.Write) *customer {
	i := t.customer
	if t.Customer != w.Customer.ID {
		i = s.findCustomer(w.Customer.ID)
	}
	if i < 0 {
		return nil
	}
	return &s.customers[i]
}

// forbids says what people or the API have said against a new intent.
func (s *Store) forbids(now time.Time, t *Task, cust *customer) purge.Refusal {
	b := s.batches[t.batch].state
	switch {
	case t.Rec.DryRun, b == cancelledBatch:
		return purge.CancelledBy
	case b == pausedBatch, s.paused:
		return purge.Paused
	case cust != nil && cust.held:
		return purge.HeldBack
	case s.orgs[t.label].Reason != "" && s.orgs[t.label].ProbeTask != t.ID:
		return purge.BreakerOpen
	case s.key.Pace.PausedUntil.After(now):
		return purge.BudgetPause
	}
	return ""
}

func (s *Store) apply(now time.Time, lease time.Duration, w *purge.Write) {
	t := s.tasks[w.Task-1]
	s.moveLease(now, lease, t, w)
	t.Code, t.Message, t.HTTPStatus = w.Code, w.Message, w.HTTPStatus
	t.Rec.Counters, t.Deleted = w.Counters, w.Deleted
	t.VerifiedAt = stored(w.VerifiedAt)
	t.Waiting = ""
	switch w.Kind {
	case purge.WriteGiveBack:
		t.State, t.Owner, t.Waiting, t.Rec.ReviewAs = jobs.Pending, "", w.Waiting, w.ReviewAs
		t.Due = now.Add(w.After)
		if w.Rest == purge.RestSettle {
			t.Due = later(t.Due, now.Add(w.RestFor))
		}
	case purge.WriteFinish:
		t.State, t.Owner, t.Outcome, t.FinishedAt, t.Rec.ReviewAs = w.State, "", w.Outcome, now, ""
	}
	for i := range w.Images {
		t.putImage(now, w.Images[i])
	}
	for i := range w.Calls {
		t.putCall(w.Calls[i], Caller{w.Owner, w.Epoch})
	}
}

// moveLease sets the leases of the customer's row and of the task's, and the
// rest. A lease that ran out is not brought back.
func (s *Store) moveLease(now time.Time, lease time.Duration, t *Task, w *purge.Write) {
	c := &s.customers[t.customer]
	if w.Kind == purge.WriteIntent || w.Kind == purge.WriteProgress {
		if w.Kind == purge.WriteIntent || c.LeaseUntil.After(now) {
			c.LeaseUntil = now.Add(lease)
		}
		t.LeaseUntil = c.LeaseUntil
	} else {
		t.LeaseUntil = time.Time{}
		if w.Rest == purge.RestClear || w.Rest == purge.RestKeep && !c.RestUntil.After(now) {
			c.release()
			return
		}
		c.Customer = Customer{RestUntil: c.RestUntil}
	}
	switch w.Rest {
	case purge.RestSettle:
		c.RestUntil = now.Add(w.RestFor)
	case purge.RestClear:
		c.RestUntil = time.Time{}
	}
}

// putImage writes an image's row. The time of an intent is the database's.
func (t *Task) putImage(now time.Time, im purge.Image) {
	i := t.findImage(im.Key)
	before := time.Time{}
	if i >= 0 {
		before = t.Rec.Images[i].IntendedAt
	}
	im.AnsweredAt, im.IntendedAt = stored(im.AnsweredAt), before
	if im.State == jobs.Intended {
		im.IntendedAt = now
	}
	if i < 0 {
		t.Rec.Images = append(t.Rec.Images, im)
		return
	}
	t.Rec.Images[i] = im
}

func (t *Task) findImage(k jobs.Key) int {
	for i := range t.Rec.Images {
		if t.Rec.Images[i].Key == k {
			return i
		}
	}
	return -1
}

// putCall writes a call's row. Of one that is there only the answer is added.
func (t *Task) putCall(c jobs.Call, by Caller) {
	c.SentAt, c.AnsweredAt = stored(c.SentAt), stored(c.AnsweredAt)
	i, there := t.findCall(c.Sequence)
	if there {
		row := &t.Calls[i]
		row.SentAt, row.AnsweredAt, row.Class, row.HTTPStatus, row.Code = c.SentAt, c.AnsweredAt, c.Class, c.HTTPStatus, c.Code
		return
	}
	if c.Kind != jobs.DeleteCall {
		c.Position, c.Key, c.Targets = -1, jobs.Key{}, 0
	}
	if c.ImagesSeen < 0 {
		c.ImagesSeen, c.Shown = -1, nil
	}
	t.Calls = slices.Insert(t.Calls, i, c)
	t.Callers = slices.Insert(t.Callers, i, by)
}

// findCall looks from the end, where calls are added.
func (t *Task) findCall(sequence int) (i int, there bool) {
	for i := len(t.Calls) - 1; i >= 0; i-- {
		if t.Calls[i].Sequence <= sequence {
			if t.Calls[i].Sequence == sequence {
				return i, true
			}
			return i + 1, false
		}
	}
	return 0, false
}

// stored is a time as the database keeps it: in whole microseconds.
func stored(t time.Time) time.Time {
	if t.IsZero() {
		return t
	}
	return t.Round(time.Microsecond)
}

const (
	firstProbe = time.Minute
	lastProbe  = time.Hour
)

// moveBreaker lets the first write of the group that says something of the
// breaker decide: a refusal opens it, or puts off the next probe; a probe that
// passed closes it.
func (s *Store) moveBreaker(now time.Time, writes []purge.Write, results []purge.Result) {
	for n := range writes {
		w := &writes[n]
		if !results[n].Applied {
			continue
		}
		o := &s.orgs[s.Task(w.Task).label]
		if !o.concerns(w) {
			continue
		}
		switch {
		case w.Passed == "":
			o.refused(now, w.Breaker)
		case o.Reason != "":
			*o = Organization{}
		}
		return
	}
}

// concerns says whether a write says something of the breaker as it stands.
func (o *Organization) concerns(w *purge.Write) bool {
	probe := o.ProbeTask == w.Task
	if w.Breaker != nil && (o.Reason == "" || probe || w.Breaker.Reason == jobs.CodeWrongOrganisation && o.Reason != jobs.CodeWrongOrganisation) {
		return true
	}
	return w.Passed != "" && probe && (o.Kind == w.Passed || o.Kind == jobs.ListCall || o.Reason == "api_unavailable")
}

func (o *Organization) refused(now time.Time, b *purge.Breaker) {
	if o.Reason == "" {
		o.Reason, o.Kind, o.Since, o.ProbeDelay = b.Reason, b.Kind, now, firstProbe
	} else {
		o.ProbeDelay = min(2*o.ProbeDelay, lastProbe)
		if b.Reason == jobs.CodeWrongOrganisation && o.Reason != b.Reason { // it tells more than what has opened it
			o.Reason, o.Kind, o.Code, o.HTTPStatus = b.Reason, b.Kind, b.Code, b.HTTPStatus
		}
	}
	if o.Code == "" {
		o.Code = b.Code
	}
	if o.HTTPStatus == 0 {
		o.HTTPStatus = b.HTTPStatus
	}
	o.ProbeAt, o.ProbeTask = now.Add(o.ProbeDelay), 0
}

// pauseBudget lets all workers of the key wait. A pause only grows.
func (s *Store) pauseBudget(now time.Time, writes []purge.Write, results []purge.Result) {
	longest := time.Duration(0)
	for n := range writes {
		if results[n].Applied {
			longest = max(longest, writes[n].PauseBudget)
		}
	}
	if longest > 0 {
		s.key.Pace.PausedUntil = later(s.key.Pace.PausedUntil, now.Add(longest))
	}
}
