package memory

import (
	"time"

	"github.com/imagepurge/imagepurge/jobs"
	"github.com/imagepurge/imagepurge/jobs/purge"
)

// Who paused, and why, as [Store.Outlook] tells it.
const (
	PausedBy    = "operator"
	PauseReason = "simulated"
)

// Outlook says what is left to do, or to do for one batch, and what that waits
// for. Of a stranger it knows nothing.
func (s *Store) Outlook(now time.Time, organization, batch int64) purge.Outlook {
	label := s.label(organization)
	if label < 0 {
		return purge.Outlook{}
	}
	org := s.orgs[label]
	o := purge.Outlook{
		Now: now, Breaker: org.Reason, BreakerCode: org.Code, BreakerStatus: org.HTTPStatus,
		BreakerSince: org.Since, NextProbeAt: org.ProbeAt, Paused: s.paused,
	}
	if s.paused {
		o.PausedBy, o.PauseReason = PausedBy, PauseReason
	}
	if s.claimsFrom.After(now) {
		o.NoClaimsUntil = s.claimsFrom
	}
	for _, t := range s.tasks {
		if t.label != label || batch != 0 && t.Batch != batch {
			continue
		}
		s.survey(t, &o)
	}
	return o
}

func (s *Store) survey(t *Task, o *purge.Outlook) {
	switch {
	case t.State == jobs.Running:
		if !o.Leased || t.LeaseUntil.Before(o.LeaseTo) {
			o.Leased, o.LeaseTo = true, t.LeaseUntil
		}
	case t.State != jobs.Pending:
	case s.batches[t.batch].state == pausedBatch:
		o.Blocked = true
	case s.customers[t.customer].held: // time brings nothing
	case t.Waiting == "":
		o.Ready = true
	case !o.Waiting || t.Due.Before(o.NextDue):
		o.Waiting, o.NextDue = true, t.Due
	}
}
