package purge

import (
	"fmt"
	"slices"
	"time"

	"github.com/imagepurge/imagepurge/jobs"
	"github.com/imagepurge/imagepurge/jobs/clearance"
)

// phase is what the machine waits for.
type phase int

const (
	unclaimed phase = iota
	waitingForSlot
	listing
	saving
	intending
	sending
	ending
	done
)

// fault is the last trouble, as it is recorded.
type fault struct {
	code, message string
	status        int
}

// Machine purges one customer for one claim of a task. Its zero value is of no
// use; see [New]. It is not safe for concurrent use.
type Machine struct {
	cfg Config
	rec Record

	images []Image
	dirty  map[jobs.Key]bool // rows that the store does not know yet
	calls  []jobs.Call       // calls that the store does not know yet
	count  Counters

	phase phase
	want  jobs.Slot // what the slot is for

	view   []jobs.Key // in index order
	viewAt time.Time  // when its listing's answer came
	live   bool

	expired bool // the last listing's OAuth token was not taken

	targets   []clearance.Target // of the intent under way
	deletedAt time.Time          // when a DELETE last answered that it ran, or ran in part

	fault       fault
	rest        Rest
	restFor     time.Duration
	breaker     *Breaker
	passed      jobs.Kind
	overLimit   bool
	pauseBudget time.Duration
	reviewAs    jobs.Outcome

	stopping    bool
	stopWaiting jobs.Waiting
}

// New makes the machine for a claimed task. Its first fact is [Claimed].
func New(cfg Config, rec Record) *Machine {
	return &Machine{
		cfg:      cfg,
		rec:      rec,
		images:   slices.Clone(rec.Images),
		dirty:    make(map[jobs.Key]bool),
		count:    rec.Counters,
		rest:     RestKeep,
		reviewAs: rec.ReviewAs,
	}
}

// WaitsForSlot says whether the machine waits for a call slot: nothing of it is
// under way.
func (m *Machine) WaitsForSlot() bool { return m.phase == waitingForSlot }

// Done says whether the machine has nothing left to do.
func (m *Machine) Done() bool { return m.phase == done }

// Step takes what has happened and returns what is to be done next, or nil
// where the effect under way still goes on or the machine is done. A fact that
// does not fit what is under way is a programming error, and panics: going on
// with a purge whose order of steps is broken could delete a wrong image.
func (m *Machine) Step(now time.Time, f Fact) Effect {
	if m.cfg.Watch == nil {
		return m.step(now, f)
	}
	from := m.phase
	e := m.step(now, f)
	m.cfg.Watch(transition(from, f, m.phase, e))
	return e
}

func (m *Machine) step(now time.Time, f Fact) Effect {
	if s, ok := f.(Stop); ok {
		return m.stop(s)
	}
	switch f := f.(type) {
	case Claimed:
		m.must(unclaimed, f)
		return m.start()
	case SlotGranted:
		m.must(waitingForSlot, f)
		if m.want.Kind == jobs.SlotDelete && m.fresh(now) {
			return m.intend(now)
		}
		return m.list()
	case Listed:
		m.must(listing, f)
		return m.listed(f.Answer)
	case IntentCommitted:
		m.must(intending, f)
		m.clean()
		if m.stopping {
			return m.withdraw(now, 0, m.stopWaiting)
		}
		if !m.fresh(now) { // the commit took so long
			return m.withdraw(now, 0, "")
		}
		m.phase = sending
		return Send(f)
	case WriteFailed:
		m.must(intending, f)
		return m.withdraw(now, m.cfg.BackoffBase, jobs.WaitBackoff)
	case Answered:
		m.must(sending, f)
		return m.answered(now, f.Answer)
	case WriteRefused:
		return m.refused(now, f.Why)
	case Written:
		if m.phase == ending {
			m.phase = done
			return nil
		}
		m.must(saving, f)
		m.clean()
		return m.ask(m.want)
	}
	panic(fmt.Sprintf("purge of task %d: no such fact: %T", m.rec.Task, f))
}

func (m *Machine) must(p phase, f Fact) {
	if m.phase != p {
		panic(fmt.Sprintf("purge of task %d: fact %T in phase %d", m.rec.Task, f, m.phase))
	}
}

// step 1: what is left over from before. The customer has settled, or the claim would
// not have handed them out.
func (m *Machine) start() Effect {
	for i := range m.images {
		if m.images[i].State == jobs.Intended { // its sender died
			m.set(i, jobs.Unknown, "")
		}
	}
	if m.rec.Cancelled && !m.any(jobs.Unknown) {
		return m.finish(jobs.CancelledOutcome, time.Time{})
	}
	return m.ask(jobs.Slot{Kind: jobs.SlotList})
}

func (m *Machine) stop(s Stop) Effect {
	if m.stopping || m.phase == ending || m.phase == done {
		return nil
	}
	m.stopping, m.stopWaiting = true, s.Waiting
	if m.phase == unclaimed || m.phase == waitingForSlot {
		return m.giveBack(0, s.Waiting)
	}
	return nil // what is under way ends first
}

// ask waits for a slot, or gives the task back where the worker is stopping.
func (m *Machine) ask(slot jobs.Slot) Effect {
	if m.stopping {
		return m.giveBack(0, m.stopWaiting)
	}
	m.phase, m.want = waitingForSlot, slot
	return AskSlot{slot}
}

// askDelete asks for the slot of the next delete of the view.
func (m *Machine) askDelete() jobs.Slot {
	left := 0
	for _, k := range m.view {
		if i, ok := m.find(k); ok && m.images[i].State == jobs.Planned {
			left++
		}
	}
	return jobs.Slot{Kind: jobs.SlotDelete, ViewAt: m.viewAt, Left: left}
}

// fresh says whether the view may still be relied on, by the monotonic and by the
// wall clock: only the wall clock tells that the machine has slept.
func (m *Machine) fresh(now time.Time) bool {
	mono, wall := now.Sub(m.viewAt), now.Round(0).Sub(m.viewAt.Round(0))
	return m.live && max(mono, wall) <= m.cfg.ViewMaxAge && min(mono, wall) >= 0
}

func (m *Machine) list() Effect {
	m.phase = listing
	m.live = false
	return List{Customer: m.rec.Customer}
}

// save commits what has been learned and then asks for a slot.
func (m *Machine) save(then jobs.Slot) Effect {
	m.phase, m.want = saving, then
	return Save{Write: m.write(WriteProgress)}
}

func (m *Machine) giveBack(after time.Duration, waiting jobs.Waiting) Effect {
	m.phase = ending
	m.live = false
	w := m.write(WriteGiveBack)
	w.After, w.Waiting, w.ReviewAs = after, waiting, m.reviewAs
	return End{Write: w}
}

// step 9: finish. verifiedAt is when the listing that shows the outcome was
// answered.
func (m *Machine) finish(o jobs.Outcome, verifiedAt time.Time) Effect {
	m.phase = ending
	m.live = false
	switch o {
	case jobs.ImagesDeleted, jobs.NoImages, jobs.AlreadyAbsent, jobs.DryRun:
		m.fault = fault{} // overcome
	case jobs.AttemptsExhausted, m.rec.ReviewAs:
		if m.fault == (fault{}) {
			m.fault = m.faultBefore()
		}
	}
	w := m.write(WriteFinish)
	w.Outcome, w.VerifiedAt = o, verifiedAt
	w.State, _ = jobs.StateOf(o)
	return End{Write: w}
}

// faultBefore is the fault that an earlier claim met last: the code of the delete
// that was answered last. A listing's fault ends in the claim that meets it.
func (m *Machine) faultBefore() (f fault) {
	var at time.Time
	for _, im := range m.images {
		if im.Code != "" && im.AnsweredAt.After(at) {
			at, f = im.AnsweredAt, fault{code: im.Code, status: im.HTTPStatus}
		}
	}
	return f
}

// write gathers everything that the store does not know yet.
func (m *Machine) write(kind WriteKind) Write {
	w := Write{
		Task: m.rec.Task, Owner: m.rec.Owner, Epoch: m.rec.Epoch, Kind: kind, Customer: m.rec.Customer,
		Calls: slices.Clone(m.calls), Counters: m.count,
		Code: m.fault.code, Message: m.fault.message, HTTPStatus: m.fault.status,
		Rest: m.rest, RestFor: m.restFor,
		Breaker: m.breaker, Passed: m.passed, OverLimit: m.overLimit, PauseBudget: m.pauseBudget,
	}
	for _, im := range m.images {
		if m.dirty[im.Key] {
			w.Images = append(w.Images, im)
		}
		if im.State == jobs.Deleted {
			w.Deleted++
		}
	}
	return w
}

// clean notes that the last write is committed.
func (m *Machine) clean() {
	clear(m.dirty)
	m.calls = m.calls[:0]
	m.rest, m.restFor = RestKeep, 0
	m.breaker, m.passed = nil, ""
	m.overLimit, m.pauseBudget = false, 0
}

func (m *Machine) find(k jobs.Key) (int, bool) {
	i := slices.IndexFunc(m.images, func(im Image) bool { return im.Key == k })
	return i, i >= 0
}

func (m *Machine) set(i int, s jobs.ImageState, e jobs.Evidence) {
	m.images[i].State, m.images[i].Evidence = s, e
	m.dirty[m.images[i].Key] = true
}

func (m *Machine) any(s jobs.ImageState) bool {
	return slices.ContainsFunc(m.images, func(im Image) bool { return im.State == s })
}

// exhausted says whether the task may meet no further transient fault.
func (m *Machine) exhausted() bool { return m.count.Attempts >= m.cfg.MaxAttempts }

// transient handles a fault that may pass: an attempt, and a back-off. While an image
// is unknown only a listing ends the task, however many attempts that takes.
func (m *Machine) transient() Effect {
	if m.stopping && m.stopWaiting != jobs.WaitBreaker {
		return m.giveBack(0, m.stopWaiting) // perhaps our own doing
	}
	if m.rec.Probe || m.stopWaiting == jobs.WaitBreaker {
		return m.giveBack(0, jobs.WaitBreaker) // the breaker is open: costs no attempt
	}
	m.count.Attempts++
	if m.exhausted() && !m.any(jobs.Unknown) {
		return m.finish(jobs.AttemptsExhausted, time.Time{})
	}
	return m.giveBack(m.backoff(), jobs.WaitBackoff)
}

// backoff doubles with every attempt and is spread over its upper half, so that
// customers that failed together do not come back together.
func (m *Machine) backoff() time.Duration {
	d := m.cfg.BackoffBase
	for i := 1; i < m.count.Attempts && d < m.cfg.BackoffMax; i++ {
		d *= 2
	}
	d = min(d, m.cfg.BackoffMax)
	return d/2 + time.Duration(m.cfg.Random()*float64(d)/2)
}

// refusedForAll gives the task back untouched and reports to the breaker. A task
// that is refused again and again while others are not goes to a person.
func (m *Machine) refusedForAll(kind jobs.Kind, a jobs.Answer) Effect {
	reason := "refused"
	if a.Code == jobs.CodeWrongOrganisation {
		reason = jobs.CodeWrongOrganisation
	}
	m.breaker = &Breaker{Reason: reason, Kind: kind, HTTPStatus: a.HTTPStatus, Code: a.Code}
	if !m.rec.Probe {
		m.count.Refusals++
		if m.count.Refusals >= jobs.MaxRepeats {
			m.count.Attempts++
			return m.finish(jobs.UnexpectedResponse, time.Time{})
		}
	}
	return m.giveBack(0, jobs.WaitBreaker)
}
