package purge

import (
	"slices"
	"time"

	"github.com/imagepurge/imagepurge/jobs"
	"github.com/imagepurge/imagepurge/jobs/clearance"
)

// steps 3 and 5: choose the planned target with the highest index, and commit
// the intent to delete it.
func (m *Machine) intend(now time.Time) Effect {
	m.targets = m.choose()
	if len(m.targets) == 0 {
		panic("purge: a delete's slot without a planned target")
	}
	for _, t := range m.targets {
		i, _ := m.find(t.Key)
		m.set(i, jobs.Intended, "")
		m.images[i].Sends++
		m.images[i].IntendedAt = now
		m.images[i].AnsweredAt = time.Time{}
		m.images[i].HTTPStatus, m.images[i].Code = 0, ""
	}
	m.count.Sequence++
	m.count.APICalls++
	m.calls = append(m.calls, jobs.Call{
		Sequence: m.count.Sequence, Kind: jobs.DeleteCall,
		Position: m.targets[0].Position, Key: m.targets[0].Key, ImagesSeen: -1, Targets: len(m.targets),
	})
	m.rest, m.restFor = RestSettle, m.cfg.WorstCase()
	m.phase = intending
	w := m.write(WriteIntent)
	w.Targets = slices.Clone(m.targets)
	return Intend{Write: w}
}

// choose returns the planned target with the highest index. Nothing behind it
// moves when it goes, so the indexes of all other targets stay valid. With
// batching, and only where every image of the view is a target, it returns them
// all: such a call can hit nothing but targets however the server reads it.
func (m *Machine) choose() []clearance.Target {
	var planned []clearance.Target
	for pos, k := range slices.Backward(m.view) {
		if i, ok := m.find(k); ok && m.images[i].State == jobs.Planned {
			planned = append(planned, clearance.Target{Key: k, Position: pos})
		}
	}
	if m.cfg.Batching == jobs.BatchDelete && len(planned) == len(m.view) {
		return planned
	}
	return planned[:min(1, len(planned))]
}

// refused handles a write that the store did not accept.
func (m *Machine) refused(now time.Time, why Refusal) Effect {
	if why == LeaseLost {
		switch m.phase {
		case listing, sending:
			return nil // its answer comes first; the store then decides
		case waitingForSlot:
			// Renewing came too late, but perhaps nobody has claimed the task yet, and
			// there may be an answer that is not written down.
			return m.giveBack(0, "")
		}
		m.phase = done
		m.live = false
		return Drop{}
	}
	m.must(intending, WriteRefused{})
	// Nothing of the write was committed, and nothing will be sent.
	m.unsend()
	m.calls = m.calls[:len(m.calls)-1]
	m.count.Sequence--
	m.clearRest(now)
	switch why {
	case CancelledBy:
		return m.finish(jobs.CancelledOutcome, time.Time{})
	case BudgetPause:
		m.live = false
		return m.save(jobs.Slot{Kind: jobs.SlotList})
	case BreakerOpen:
		return m.giveBack(0, jobs.WaitBreaker)
	}
	return m.giveBack(0, "")
}

// unsend takes back what intend had counted: nothing left this machine.
func (m *Machine) unsend() {
	m.count.APICalls--
	for _, t := range m.targets {
		i, _ := m.find(t.Key)
		m.images[i].Sends--
		m.set(i, jobs.Planned, "")
	}
}

// withdraw gives up an intent that is committed, or may be, before anything was
// sent under it.
func (m *Machine) withdraw(now time.Time, after time.Duration, waiting jobs.Waiting) Effect {
	m.noteDelete(jobs.Answer{Class: jobs.ClassNotSent, AnsweredAt: now})
	m.unsend()
	m.clearRest(now)
	return m.giveBack(after, waiting)
}

// clearRest ends the customer's rest, for no answer is outstanding. A listing may
// still show what was just deleted: this task's rows would contradict it, another
// task's can't. So nobody else has the customer before the lag is over.
func (m *Machine) clearRest(now time.Time) {
	m.rest, m.restFor = RestClear, 0
	if m.deletedAt.IsZero() {
		return
	}
	if left := m.cfg.ListingLag - now.Sub(m.deletedAt); left > 0 {
		m.rest, m.restFor = RestSettle, left
	}
}

// noteDelete completes the record of the delete under way.
func (m *Machine) noteDelete(a jobs.Answer) {
	call := jobs.Call{
		Sequence: m.count.Sequence, Kind: jobs.DeleteCall,
		Position: m.targets[0].Position, Key: m.targets[0].Key, ImagesSeen: -1, Targets: len(m.targets),
		SentAt: a.SentAt, AnsweredAt: a.AnsweredAt,
		Class: a.Class, HTTPStatus: a.HTTPStatus, Code: a.Code,
	}
	if n := len(m.calls); n > 0 && m.calls[n-1].Sequence == call.Sequence {
		m.calls[n-1] = call
	} else {
		m.calls = append(m.calls, call)
	}
	for _, t := range m.targets {
		i, _ := m.find(t.Key)
		m.images[i].AnsweredAt = a.AnsweredAt
		m.images[i].HTTPStatus, m.images[i].Code = a.HTTPStatus, a.Code
		m.dirty[t.Key] = true
	}
}

// step 7: the delete's answer.
func (m *Machine) answered(now time.Time, a jobs.Answer) Effect {
	m.noteDelete(a)
	if a.Class != jobs.ClassDeleted {
		m.fault = fault{a.Code, a.Message, a.HTTPStatus}
		m.live = false
	}
	if m.rec.Probe && !slices.Contains([]jobs.Class{
		jobs.ClassRefused, jobs.ClassOverLimit, jobs.ClassNotRun, jobs.ClassUnknown, jobs.ClassNotSent, jobs.ClassUnexpected,
	}, a.Class) {
		m.passed = jobs.DeleteCall
	}
	if batch := len(m.targets) > 1; a.Class == jobs.ClassDeleted || a.Class == jobs.ClassNoImage && batch {
		m.deletedAt = now
	}
	m.clearRest(now)

	switch a.Class {
	case jobs.ClassDeleted:
		return m.deleted()
	case jobs.ClassNotSent:
		m.unsend()
		return m.giveBack(m.cfg.BackoffBase, jobs.WaitBackoff)
	case jobs.ClassNotRun:
		if a.SentAt.IsZero() {
			m.unsend()
		} else {
			m.plan()
		}
		return m.transient()
	case jobs.ClassOverLimit:
		if a.SentAt.IsZero() { // it was the call for a token that met it
			m.unsend()
		} else {
			m.plan()
		}
		m.overLimit, m.pauseBudget = true, a.RetryAfter
		return m.save(jobs.Slot{Kind: jobs.SlotList})
	case jobs.ClassNoImage:
		m.count.Contradictions++
		third := m.count.Contradictions >= jobs.MaxRepeats
		if len(m.targets) > 1 {
			// One index of several: the others may have been deleted.
			if third {
				m.reviewAs = jobs.IndexContradiction
			}
			return m.letListingDecide("")
		}
		m.plan()
		if third {
			return m.finish(jobs.IndexContradiction, time.Time{})
		}
		return m.save(jobs.Slot{Kind: jobs.SlotVerify})
	case jobs.ClassErased:
		m.plan()
		return m.gone(jobs.CustomerErased)
	case jobs.ClassNotFound:
		m.plan()
		return m.gone(jobs.CustomerGone)
	case jobs.ClassMerged:
		m.plan()
		return m.finish(jobs.MergedCustomer, time.Time{})
	case jobs.ClassRefused:
		m.plan()
		return m.refusedForAll(jobs.DeleteCall, a)
	case jobs.ClassInvalid:
		m.plan()
		return m.finish(jobs.UnexpectedResponse, time.Time{})
	case jobs.ClassUnknown:
	default:
		m.reviewAs = jobs.UnexpectedResponse
	}
	// Unknown: it may have run, and may still run. Nothing is sent for this
	// customer until it has settled and a listing has shown what is there.
	for _, t := range m.targets {
		i, _ := m.find(t.Key)
		m.set(i, jobs.Unknown, "")
	}
	m.rest, m.restFor = RestSettle, m.cfg.Rest()
	if !m.rec.Probe && m.stopWaiting != jobs.WaitBreaker {
		m.count.Attempts++
	}
	return m.giveBack(m.cfg.Rest(), jobs.WaitSettle)
}

// plan sets the targets of the delete under way back to planned.
func (m *Machine) plan() {
	for _, t := range m.targets {
		i, _ := m.find(t.Key)
		m.set(i, jobs.Planned, "")
	}
}

// deleted goes on after a success.
func (m *Machine) deleted() Effect {
	if len(m.targets) > 1 {
		return m.letListingDecide(jobs.ByAnswer)
	}
	gone := m.targets[0]
	i, _ := m.find(gone.Key)
	m.set(i, jobs.Deleted, jobs.ByAnswer)
	m.view = slices.Delete(m.view, gone.Position, gone.Position+1)
	switch {
	case !m.any(jobs.Planned):
		m.live = false
		if m.rec.Mode == jobs.Economy && m.rec.Scope == jobs.Snapshot {
			return m.finish(jobs.ImagesDeleted, time.Time{})
		}
		return m.save(jobs.Slot{Kind: jobs.SlotVerify}) // step 8: verify
	case m.rec.Mode == jobs.Paranoid:
		m.live = false
		return m.save(jobs.Slot{Kind: jobs.SlotVerify})
	}
	return m.ask(m.askDelete())
}

// letListingDecide ends a call with several indexes. What it does is not
// documented: nothing is concluded from its answer, the next listing decides. The
// listing may lag, and a stale one would offer indexes of images that are gone, so
// it is waited for rather than made twice.
func (m *Machine) letListingDecide(e jobs.Evidence) Effect {
	for _, t := range m.targets {
		i, _ := m.find(t.Key)
		m.set(i, jobs.Unknown, e)
	}
	m.count.Relisting = true
	return m.giveBack(m.cfg.ListingLag, jobs.WaitListingLag)
}
