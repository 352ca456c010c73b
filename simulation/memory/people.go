package memory

import (
	"slices"
	"time"

	"github.com/imagepurge/imagepurge/jobs"
	"github.com/imagepurge/imagepurge/jobs/purge"
)

// Pause forbids all claims and intents.
func (s *Store) Pause(time.Time) { s.paused = true }

// Resume ends a pause.
func (s *Store) Resume(time.Time) { s.paused = false }

// PauseBatch forbids the claims and intents of a batch that is active.
func (s *Store) PauseBatch(_ time.Time, batch int64) { s.moveBatch(batch, active, pausedBatch) }

// ResumeBatch lets a paused batch go on.
func (s *Store) ResumeBatch(_ time.Time, batch int64) { s.moveBatch(batch, pausedBatch, active) }

func (s *Store) moveBatch(id int64, from, to batchState) {
	if i := s.findBatch(id); i >= 0 && s.batches[i].state == from {
		s.batches[i].state = to
	}
}

// CancelBatch forbids all further intents of a batch, and ends its tasks that
// nothing is in doubt of. The others are claimed as cancelled.
func (s *Store) CancelBatch(now time.Time, batch int64) {
	b := s.findBatch(batch)
	if b < 0 {
		return
	}
	s.batches[b].state = cancelledBatch
	for _, t := range s.tasks {
		if t.batch == b && t.State == jobs.Pending && !t.inDoubt() {
			t.State, t.Outcome, t.FinishedAt, t.Waiting, t.Rec.ReviewAs = jobs.Cancelled, jobs.CancelledOutcome, now, "", ""
		}
	}
}

// inDoubt says whether a delete of the task may have run or may still run.
func (t *Task) inDoubt() bool {
	return slices.ContainsFunc(t.Rec.Images, func(im purge.Image) bool {
		return im.State == jobs.Intended || im.State == jobs.Unknown
	})
}

// RetryBatch makes the failed tasks of a batch pending again, and those in review
// where asked; of a cancelled batch only those in doubt. It returns how many they are.
func (s *Store) RetryBatch(now time.Time, batch int64, review bool) int {
	b, n := s.findBatch(batch), 0
	if b < 0 {
		return 0
	}
	for _, t := range s.tasks {
		if t.batch == b && (s.batches[b].state != cancelledBatch || t.inDoubt()) && (t.State == jobs.Failed || review && t.State == jobs.Review) {
			t.retry(now)
			n++
		}
	}
	return n
}

// retry keeps the task's images, calls and epoch.
func (t *Task) retry(now time.Time) {
	t.State, t.Outcome, t.FinishedAt, t.VerifiedAt = jobs.Pending, "", time.Time{}, time.Time{}
	t.Code, t.Message, t.HTTPStatus, t.Due, t.Waiting = "", "", 0, now, ""
	c := &t.Rec.Counters
	c.Attempts, c.StillPresent, c.Contradictions, c.Refusals, c.Relisting, t.Rec.ReviewAs = 0, 0, 0, 0, false, ""
}

// Hold sets a legal hold on a customer.
func (s *Store) Hold(customer int64) { s.customers[s.customerOf(customer)].held = true }

// Release ends a legal hold.
func (s *Store) Release(customer int64) { s.customers[s.customerOf(customer)].held = false }

// CloseBreaker closes the breakers of all our organisations.
func (s *Store) CloseBreaker(time.Time) { clear(s.orgs) }
