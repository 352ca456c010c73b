package purge

import (
	"slices"
	"time"

	"github.com/imagepurge/imagepurge/jobs"
)

// step 2: the listing's answer.
func (m *Machine) listed(a jobs.Answer) Effect {
	if a.Code != jobs.CodeTokenExpired {
		m.expired = false
	}
	tells := !slices.Contains([]jobs.Class{
		jobs.ClassRefused, jobs.ClassOverLimit, jobs.ClassNotRun, jobs.ClassUnknown, jobs.ClassNotSent,
	}, a.Class)
	if tells && m.rec.Foreign && !slices.ContainsFunc(a.Organizations, func(n int64) bool { return n > 0 }) {
		return m.notOurs(a)
	}
	m.rec.Foreign = m.rec.Foreign && !tells // from here on ours were shown
	m.noteListing(a)
	if a.Class != jobs.ClassListed {
		m.fault = fault{a.Code, a.Message, a.HTTPStatus}
	}
	if m.rec.Probe && tells {
		m.passed = jobs.ListCall
	}
	switch a.Class {
	case jobs.ClassListed:
		return m.reconcile(a)
	case jobs.ClassErased:
		return m.gone(jobs.CustomerErased)
	case jobs.ClassNotFound:
		if m.count.Listed {
			return m.gone(jobs.CustomerGone)
		}
		return m.gone(jobs.CustomerNotFound)
	case jobs.ClassMerged:
		return m.ended(jobs.MergedCustomer)
	case jobs.ClassRefused:
		return m.refusedForAll(jobs.ListCall, a)
	case jobs.ClassOverLimit:
		m.overLimit, m.pauseBudget = true, a.RetryAfter
		return m.save(jobs.Slot{Kind: relist(m.want.Kind)})
	case jobs.ClassInvalid:
		if m.count.Listed {
			return m.ended(jobs.UnexpectedResponse)
		}
		return m.ended(jobs.InvalidCustomer)
	case jobs.ClassNotRun, jobs.ClassUnknown, jobs.ClassNotSent:
		if a.Code == jobs.CodeTokenExpired && !m.expired {
			// No attempt: the next call has a new token.
			m.expired = true
			return m.save(jobs.Slot{Kind: relist(m.want.Kind)})
		}
		return m.transient()
	}
	return m.ended(jobs.UnexpectedResponse)
}

// notOurs gives back a task whose answer may be another organisation's: a customer
// without images there, or unknown there, says nothing of ours, and is not recorded as
// if it did. The next probe is made with another customer.
func (m *Machine) notOurs(a jobs.Answer) Effect {
	a.Class, a.Code = jobs.ClassRefused, jobs.CodeWrongOrganisation
	m.noteListing(a)
	m.fault = fault{jobs.CodeWrongOrganisation, "the answer does not show whose customers these are", 0}
	m.breaker = &Breaker{Reason: jobs.CodeWrongOrganisation, Kind: jobs.ListCall, Code: jobs.CodeWrongOrganisation}
	return m.giveBack(m.cfg.BackoffMax, jobs.WaitBreaker)
}

func (m *Machine) noteListing(a jobs.Answer) {
	seen, shown := -1, []jobs.Key(nil)
	if a.Class == jobs.ClassListed {
		seen, shown = len(a.Images), slices.Clone(a.Images)
	}
	if !a.SentAt.IsZero() {
		m.count.APICalls++
	}
	m.count.Sequence++
	m.calls = append(m.calls, jobs.Call{
		Sequence: m.count.Sequence, Kind: jobs.ListCall, Position: -1,
		SentAt: a.SentAt, AnsweredAt: a.AnsweredAt,
		Class: a.Class, HTTPStatus: a.HTTPStatus, Code: a.Code, ImagesSeen: seen, Shown: shown,
	})
}

// gone ends the task of a customer that is not there any more. Whether a delete
// of ours had run before cannot be told, so nothing is said to be deleted by it.
func (m *Machine) gone(o jobs.Outcome) Effect {
	for i := range m.images {
		switch m.images[i].State {
		case jobs.Planned, jobs.Unknown:
			m.set(i, jobs.Absent, jobs.ByListing)
		}
	}
	return m.ended(o)
}

// ended finishes without a listing that shows the images; a cancelled task stays
// cancelled. Where an image is unknown and no listing can tell, a person decides.
func (m *Machine) ended(o jobs.Outcome) Effect {
	if m.rec.Cancelled && !m.any(jobs.Unknown) {
		o = jobs.CancelledOutcome
	}
	return m.finish(o, time.Time{})
}

// relist is the kind of slot for making again the listing that a slot of kind k
// was for.
func relist(k jobs.SlotKind) jobs.SlotKind {
	if k == jobs.SlotVerify {
		return jobs.SlotVerify
	}
	return jobs.SlotList
}

// steps 2 and 8: compare the rows with the listing, by identity.
func (m *Machine) reconcile(a jobs.Answer) Effect {
	at := make(map[jobs.Key]int, len(a.Images))
	for i, k := range a.Images {
		at[k] = i
	}
	first := !m.count.Listed
	contradicts := !first && m.contradictedBy(at)
	m.writeNew(a.Images, first)

	if contradicts && !m.count.Relisting {
		// The listing is stale, or an image came back, or one is missing: it is no
		// view. What it shows is doubted, never hidden: a row does not say deleted
		// while the last listing showed the image.
		m.doubt(at)
		m.count.Relisting = true
		return m.giveBack(m.cfg.ListingLag, jobs.WaitListingLag)
	}
	m.count.Relisting = false
	returned := m.settle(at)
	missing := m.noteMissing(at)
	m.view, m.viewAt, m.live = slices.Clone(a.Images), a.AnsweredAt, true
	m.count.Listed = true

	switch {
	case m.rec.Cancelled:
		return m.finish(jobs.CancelledOutcome, time.Time{})
	case missing: // before anything else: at worst it was us
		return m.finish(jobs.BystanderMissing, time.Time{})
	case m.reviewAs != "":
		return m.finish(m.reviewAs, time.Time{})
	case m.rec.DryRun:
		return m.finish(jobs.DryRun, a.AnsweredAt)
	case m.countTargets() == 0:
		if m.rec.Named != nil {
			return m.finish(jobs.AlreadyAbsent, a.AnsweredAt)
		}
		return m.finish(jobs.NoImages, a.AnsweredAt)
	case m.rec.Scope == jobs.UntilEmpty && m.countTargets() > jobs.MaxTargets:
		return m.finish(jobs.StillPresent, time.Time{})
	}
	if returned {
		m.count.StillPresent++
		if m.count.StillPresent >= jobs.MaxRepeats {
			return m.finish(jobs.StillPresent, time.Time{})
		}
	}
	if !m.any(jobs.Planned) {
		// Every target is gone in a listing made after its last delete.
		return m.finish(jobs.ImagesDeleted, a.AnsweredAt)
	}
	if m.exhausted() {
		return m.finish(jobs.AttemptsExhausted, time.Time{})
	}
	return m.save(m.askDelete())
}

// contradictedBy says whether the listing shows what the rows say is gone, or lacks
// what they say is there.
func (m *Machine) contradictedBy(at map[jobs.Key]int) bool {
	for _, im := range m.images {
		_, shown := at[im.Key]
		switch im.State {
		case jobs.Deleted, jobs.Absent:
			if shown {
				return true
			}
		case jobs.Planned:
			// Others have removed it, or this listing is older than the one before.
			if !shown {
				return true
			}
		case jobs.Bystander:
			if !shown && !im.Missing && !slices.Contains(m.rec.DeletedElsewhere, im.Key) {
				return true
			}
		}
	}
	return false
}

// writeNew writes down images that were not seen before: targets of the first
// listing, named ones whenever they appear, everything in scope until_empty;
// bystanders else.
func (m *Machine) writeNew(keys []jobs.Key, first bool) {
	for pos, k := range keys {
		if i, ok := m.find(k); ok {
			if m.images[i].Position != pos || m.images[i].Missing {
				m.images[i].Position, m.images[i].Missing = pos, false
				m.dirty[k] = true
			}
			continue
		}
		target := slices.Contains(m.rec.Named, k)
		if m.rec.Named == nil {
			target = first || m.rec.Scope == jobs.UntilEmpty
		}
		im := Image{Key: k, Position: pos, State: jobs.Bystander}
		if target {
			im.State = jobs.Planned
			m.count.Found++
		}
		if !first {
			m.count.New++
		}
		m.images = append(m.images, im)
		m.dirty[k] = true
	}
}

// doubt takes back what a listing contradicts, until the next one decides. The
// evidence stays on the row: it tells a doubted deletion from one whose answer
// never came.
func (m *Machine) doubt(at map[jobs.Key]int) {
	for i, im := range m.images {
		if _, shown := at[im.Key]; !shown {
			continue
		}
		switch im.State {
		case jobs.Deleted:
			m.set(i, jobs.Unknown, im.Evidence)
		case jobs.Absent:
			m.set(i, jobs.Planned, im.Evidence)
		}
	}
}

// settle decides every target by the listing. It reports whether one is still
// there that was said to be gone.
func (m *Machine) settle(at map[jobs.Key]int) (returned bool) {
	for i, im := range m.images {
		_, shown := at[im.Key]
		switch im.State {
		case jobs.Unknown, jobs.Planned:
			switch {
			case shown && im.Evidence != "":
				returned = true
				m.set(i, jobs.Planned, "")
			case shown && im.State == jobs.Unknown:
				m.set(i, jobs.Planned, "")
			case !shown && im.State == jobs.Unknown:
				m.set(i, jobs.Deleted, jobs.ByListing)
			case !shown:
				m.set(i, jobs.Absent, jobs.ByListing)
			}
		case jobs.Deleted, jobs.Absent:
			if shown {
				returned = true
				m.set(i, jobs.Planned, "")
			}
		}
	}
	return returned
}

// noteMissing marks the bystanders that are gone, and reports whether one of
// them is not explained by another task of ours.
func (m *Machine) noteMissing(at map[jobs.Key]int) (unexplained bool) {
	for i, im := range m.images {
		if _, shown := at[im.Key]; shown || im.State != jobs.Bystander || im.Missing {
			continue
		}
		m.images[i].Missing = true
		m.dirty[im.Key] = true
		if !slices.Contains(m.rec.DeletedElsewhere, im.Key) {
			unexplained = true
		}
	}
	return unexplained
}

func (m *Machine) countTargets() int {
	n := 0
	for _, im := range m.images {
		if im.State != jobs.Bystander {
			n++
		}
	}
	return n
}
