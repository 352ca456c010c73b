package memory

import (
	"bytes"
	"cmp"
	"slices"
	"time"

	"github.com/imagepurge/imagepurge/jobs"
	"github.com/imagepurge/imagepurge/jobs/purge"
)

// asideRounds and aside are the repository's: how often a claim goes on that only
// met tasks whose customers are taken, and how long such a task waits at least.
const (
	asideRounds = 100
	aside       = 5 * time.Second
)

// ClaimTasks leases up to c.Limit tasks that are due, as repository's does.
func (s *Store) ClaimTasks(now time.Time, c purge.Claim) []purge.Record {
	if c.Limit <= 0 || s.label(c.Organization) < 0 {
		return nil
	}
	for range asideRounds {
		claimed, met := s.claimRound(now, &c)
		if len(claimed) > 0 || !met {
			return claimed
		}
	}
	return nil
}

// claimRound is one run of the claim's statement. It says whether it met any task.
func (s *Store) claimRound(now time.Time, c *purge.Claim) (claimed []purge.Record, met bool) {
	probing, ok := s.mayClaim(now, c)
	if !ok {
		return nil, false
	}
	due := s.due(now, c, probing)
	for _, t := range due {
		if !s.lease(now, c, t) {
			continue
		}
		if probing {
			o := &s.orgs[t.label]
			o.ProbeTask, o.ProbeAt = t.ID, now.Add(o.ProbeDelay)
		}
		claimed = append(claimed, s.record(t, probing))
	}
	return claimed, len(due) > 0
}

// mayClaim says whether anything may be claimed now, and whether it is a probe.
func (s *Store) mayClaim(now time.Time, c *purge.Claim) (probing, ok bool) {
	if s.paused || s.seen != s.server || s.claimsFrom.After(now) {
		return false, false
	}
	o := &s.orgs[s.label(c.Organization)]
	if o.Reason == "" {
		return false, true
	}
	turn := c.Probe && (c.ProbeNow || !o.ProbeAt.After(now))
	return true, turn
}

// due returns the tasks to lease: those that were begun before those that were not.
// A probe is one task, and not one that was refused if there is another.
func (s *Store) due(now time.Time, c *purge.Claim, probing bool) []*Task {
	due := s.readyDue(now, c, s.waitingDue(now, c))
	s.found = due
	takeTurns(due)
	slices.SortFunc(due, func(a, b *Task) int {
		if probing && a.Rec.Refusals != b.Rec.Refusals {
			return cmp.Compare(a.Rec.Refusals, b.Rec.Refusals)
		}
		return cmp.Or(cmp.Compare(a.rank(), b.rank()), a.order.Compare(b.order), cmp.Compare(a.turn, b.turn),
			cmp.Compare(a.served(c.After), b.served(c.After)), cmp.Compare(a.Batch, b.Batch), cmp.Compare(a.ID, b.ID))
	})
	limit := c.Limit
	if probing {
		limit = 1
	}
	return due[:min(len(due), limit)]
}

// takeTurns counts the tasks of each batch and order.
func takeTurns(due []*Task) {
	compare := func(a, b *Task) int {
		return cmp.Or(cmp.Compare(a.rank(), b.rank()), a.order.Compare(b.order), cmp.Compare(a.Batch, b.Batch))
	}
	slices.SortFunc(due, func(a, b *Task) int { return cmp.Or(compare(a, b), cmp.Compare(a.ID, b.ID)) })
	for i, t := range due {
		t.turn = 1
		if i > 0 && compare(due[i-1], t) == 0 {
			t.turn = due[i-1].turn + 1
		}
	}
}

// rank says whether a task is begun: that comes first.
func (t *Task) rank() int {
	if t.Waiting != "" && t.Rec.Epoch > 0 {
		return 0
	}
	return 1
}

// served says whether a batch has had its turn when the given one was the last.
func (t *Task) served(last int64) int {
	if t.Batch <= last {
		return 1
	}
	return 0
}

func (s *Store) waitingDue(now time.Time, c *purge.Claim) []*Task {
	due := s.found[:0]
	for _, t := range s.tasks {
		if t.Waiting == "" || !s.claimable(now, c, t) {
			continue
		}
		if t.Waiting == jobs.WaitCustomer && s.customers[t.customer].busy(now) {
			continue
		}
		due = append(due, t)
	}
	if len(due) > c.Limit {
		due = earliestOfEachBatch(due, c.Limit)
	}
	return due
}

// earliestOfEachBatch keeps what is due first in each batch.
func earliestOfEachBatch(due []*Task, limit int) []*Task {
	slices.SortFunc(due, func(a, b *Task) int {
		return cmp.Or(cmp.Compare(a.batch, b.batch), a.Due.Compare(b.Due), cmp.Compare(a.ID, b.ID))
	})
	kept, n := due[:0], 0
	for i, t := range due {
		if i > 0 && t.batch != due[i-1].batch {
			n = 0
		}
		if n++; n <= limit {
			kept = append(kept, t)
		}
	}
	slices.SortFunc(kept, func(a, b *Task) int { return cmp.Compare(a.ID, b.ID) })
	return kept
}

func (s *Store) readyDue(now time.Time, c *purge.Claim, due []*Task) []*Task {
	for i := range s.batches {
		s.batches[i].met = 0
	}
	for _, t := range s.tasks {
		if t.Waiting != "" || !s.claimable(now, c, t) {
			continue
		}
		if b := &s.batches[t.batch]; b.met < c.Limit {
			b.met++
			due = append(due, t)
		}
	}
	return due
}

func (s *Store) claimable(now time.Time, c *purge.Claim, t *Task) bool {
	return t.State == jobs.Pending && !t.Due.After(now) && s.labels[t.label] == c.Organization &&
		s.batches[t.batch].state != pausedBatch && (c.Batch == 0 || c.Batch == t.Batch) &&
		!s.customers[t.customer].held && (c.Only == nil || slices.Contains(c.Only, t.ID))
}

// lease gives the task to the claim's owner, or lets it wait for its customer.
func (s *Store) lease(now time.Time, c *purge.Claim, t *Task) bool {
	cust := &s.customers[t.customer]
	if cust.busy(now) {
		t.Waiting, t.Due = jobs.WaitCustomer, later(now.Add(aside), cust.RestUntil)
		return false
	}
	r := &t.Rec
	r.Epoch = max(r.Epoch, s.epochFloor) + 1
	r.Owner = c.Owner
	t.State, t.Waiting, t.Owner, t.LeaseUntil = jobs.Running, "", c.Owner, now.Add(c.Lease)
	if t.StartedAt.IsZero() {
		t.StartedAt = now
	}
	r.Mode, r.Scope = cmp.Or(r.Mode, c.Mode), cmp.Or(r.Scope, c.Scope)
	if r.Customer.Source == "" {
		r.Customer.Source, r.Customer.AccountID = c.Source, cmp.Or(r.Customer.AccountID, c.AccountID)
	}
	cust.row = true
	cust.Customer = Customer{Task: t.ID, Owner: c.Owner, Epoch: r.Epoch, LeaseUntil: t.LeaseUntil}
	return true
}

// record is what a claim hands out: all that its receiver could alter is his.
func (s *Store) record(t *Task, probing bool) purge.Record {
	r := t.Rec
	r.Foreign = probing && s.orgs[t.label].Reason == jobs.CodeWrongOrganisation
	r.Probe, r.Cancelled = probing, s.batches[t.batch].state == cancelledBatch
	if r.Epoch == 1 {
		r.Images = nil
		return r
	}
	r.Images = slices.Clone(r.Images)
	slices.SortFunc(r.Images, func(a, b purge.Image) int {
		return cmp.Or(cmp.Compare(a.Position, b.Position), compareKeys(a.Key, b.Key))
	})
	for _, o := range s.tasks {
		if o == t || o.customer != t.customer {
			continue
		}
		for i := range o.Rec.Images {
			if o.Rec.Images[i].State == jobs.Deleted {
				r.DeletedElsewhere = append(r.DeletedElsewhere, o.Rec.Images[i].Key)
			}
		}
	}
	return r
}

func compareKeys(a, b jobs.Key) int { return bytes.Compare(a[:], b[:]) }

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// ReclaimTasks gives back the tasks whose leases have run out, and returns how
// many they were. The customer's row keeps its rest.
func (s *Store) ReclaimTasks(now time.Time) int {
	n := 0
	for _, t := range s.tasks {
		if t.State == jobs.Running && t.LeaseUntil.Before(now) {
			t.State, t.Owner, t.LeaseUntil, t.Due, t.Waiting = jobs.Pending, "", time.Time{}, now, ""
			n++
		}
	}
	return n
}

// RenewLeases prolongs leases by d and returns the tasks whose lease stands. One
// that has run out is not renewed.
func (s *Store) RenewLeases(now time.Time, owner string, leases []purge.Lease, d time.Duration) []jobs.TaskID {
	var kept []jobs.TaskID
	for _, l := range leases {
		t := s.Task(l.Task)
		if t == nil || !t.heldBy(owner, l.Epoch) || !s.sameServer(l.Epoch) {
			continue
		}
		cust := &s.customers[t.customer]
		if !cust.leasedTo(l.Task, owner, l.Epoch) || !cust.LeaseUntil.After(now) {
			continue
		}
		cust.LeaseUntil = now.Add(d)
		t.LeaseUntil = cust.LeaseUntil
		kept = append(kept, l.Task)
	}
	return kept
}

func (t *Task) heldBy(owner string, epoch int64) bool {
	return t.State == jobs.Running && t.Rec.Epoch == epoch && t.Owner == owner
}

func (c *customer) leasedTo(id jobs.TaskID, owner string, epoch int64) bool {
	return c.row && c.Task == id && c.Epoch == epoch && c.Owner == owner
}

// SweepRests removes the rows of customers that are neither leased nor rest.
func (s *Store) SweepRests(now time.Time) {
	for i := range s.customers {
		if c := &s.customers[i]; c.row && c.Task == 0 && c.RestUntil.Before(now) {
			c.release()
		}
	}
}

func (c *customer) release() { c.row, c.Customer = false, Customer{} }
