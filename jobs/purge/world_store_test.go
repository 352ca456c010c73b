package purge_test

import (
	"fmt"
	"slices"
	"time"

	"github.com/imagepurge/imagepurge/jobs"
	"github.com/imagepurge/imagepurge/jobs/clearance"
	"github.com/imagepurge/imagepurge/jobs/purge"
)

// store keeps the rows, with the fence of repository.Store.Write.
type store struct {
	w     *world
	tasks []*task
	// The customer's own row.
	owner                 string
	leased                jobs.TaskID
	epoch                 int64
	leaseUntil, restUntil time.Time

	intents []*intent
	forbid  purge.Refusal // intents are refused until forbidUntil
	until   time.Time
}

// task is a row of image_deletion_tasks with its image and call rows.
type task struct {
	rec        purge.Record
	state      jobs.State
	outcome    jobs.Outcome
	owner      string
	leaseUntil time.Time
	due        time.Time
	calls      map[int]jobs.Call
	deleted    int
	targets    map[int]bool // by what was told and listed, without the rows
	listed     bool
	shown      map[int]bool // ever, in a listing that was written
	last       []int        // the last listing that was written
	lastAsOf   time.Time
	code       string
	verifiedAt time.Time
}

// intent is a committed intent.
type intent struct {
	clearance.Intent
	sequence  int
	permit    *clearance.Clearance
	sent      int
	withdrawn bool
}

func newStore(w *world) *store {
	s := &store{w: w}
	for i, ts := range w.settings.tasks {
		t := &task{state: jobs.Pending, due: w.now, calls: map[int]jobs.Call{}, targets: map[int]bool{}, shown: map[int]bool{}}
		t.rec = purge.Record{
			Task: jobs.TaskID(i + 1), Customer: jobs.Customer{ID: 564703420, Source: "INSTORE"},
			Mode: w.mode, Scope: ts.scope, DryRun: ts.dryRun,
		}
		for _, id := range ts.named {
			t.rec.Named = append(t.rec.Named, keys[id])
			t.targets[id] = true
		}
		s.tasks = append(s.tasks, t)
		if w.below(12) == 0 {
			w.after(w.upTo(15*time.Second), func() { t.rec.Cancelled = true })
		}
	}
	if w.below(8) == 0 {
		w.after(w.upTo(5*time.Second), func() {
			s.forbid = []purge.Refusal{purge.Paused, purge.HeldBack, purge.BreakerOpen, purge.BudgetPause}[w.below(4)]
			s.until = w.now.Add(w.upTo(10 * time.Second))
		})
	}
	return s
}

func (s *store) isTarget(id jobs.TaskID, image int) bool { return s.tasks[id-1].targets[image] }

func (s *store) allEnded() bool {
	return !slices.ContainsFunc(s.tasks, func(t *task) bool { return !t.state.Final() })
}

// clearanceOutstanding says whether a DELETE may be on its way to its write.
func (s *store) clearanceOutstanding() bool {
	return slices.ContainsFunc(s.intents, func(in *intent) bool {
		return in.sent == 0 && !s.w.now.After(in.BeganAt.Add(in.Margin))
	})
}

// claim leases a task that is due.
func (s *store) claim(owner string, lease time.Duration) (purge.Record, bool) {
	now := s.w.now
	for _, t := range s.tasks {
		if t.state == jobs.Running && t.leaseUntil.Before(now) { // reclaim
			t.state, t.owner, t.due = jobs.Pending, "", now
		}
	}
	if now.Before(s.until) && s.forbid != purge.BudgetPause {
		return purge.Record{}, false
	}
	from := s.w.below(len(s.tasks))
	for i := range s.tasks {
		t := s.tasks[(from+i)%len(s.tasks)]
		if t.state != jobs.Pending || t.due.After(now) || s.leaseUntil.After(now) || s.restUntil.After(now) {
			continue
		}
		t.rec.Epoch++
		t.rec.Owner = owner
		t.state, t.owner, t.leaseUntil = jobs.Running, owner, now.Add(lease)
		s.owner, s.leased, s.epoch, s.leaseUntil, s.restUntil = owner, t.rec.Task, t.rec.Epoch, t.leaseUntil, time.Time{}
		r := t.rec
		r.Images = slices.Clone(t.rec.Images)
		r.Probe = s.w.below(20) == 0
		r.DeletedElsewhere = s.deletedElsewhere(t)
		return r, true
	}
	return purge.Record{}, false
}

func (s *store) deletedElsewhere(t *task) (keys []jobs.Key) {
	for _, o := range s.tasks {
		for _, im := range o.rec.Images {
			if o != t && im.State == jobs.Deleted {
				keys = append(keys, im.Key)
			}
		}
	}
	return keys
}

func (s *store) holds(id jobs.TaskID, owner string, epoch int64) bool {
	t := s.tasks[id-1]
	return t.owner == owner && t.rec.Epoch == epoch && s.owner == owner && s.leased == id && s.epoch == epoch
}

func (s *store) renew(id jobs.TaskID, owner string, epoch int64, d time.Duration) bool {
	if !s.holds(id, owner, epoch) || !s.leaseUntil.After(s.w.now) {
		return false
	}
	s.leaseUntil = s.w.now.Add(d)
	s.tasks[id-1].leaseUntil = s.leaseUntil
	return true
}

// write applies one write, all or nothing. began was read before it was begun.
func (s *store) write(wr purge.Write, began time.Time) purge.Result {
	now, t := s.w.now, s.tasks[wr.Task-1]
	if s.w.without != "fence" {
		if !s.holds(wr.Task, wr.Owner, wr.Epoch) {
			return purge.Result{Refused: purge.LeaseLost}
		}
		// A write whose sender was told that nobody knows may come after the next
		// one: it is older by its calls.
		if wr.Counters.Sequence < t.rec.Sequence && s.w.without != "write order" {
			return purge.Result{Refused: purge.LeaseLost}
		}
		if wr.Kind == purge.WriteIntent {
			switch {
			case t.rec.Cancelled:
				return purge.Result{Refused: purge.CancelledBy}
			case now.Before(s.until):
				return purge.Result{Refused: s.forbid}
			case !s.leaseUntil.After(now):
				return purge.Result{Refused: purge.LeaseLost}
			case !s.leaseUntil.After(now.Add(s.w.timeout + jobs.SendMargin)):
				return purge.Result{Refused: purge.LeaseShort}
			}
		}
	} else if t.state.Final() {
		return purge.Result{Refused: purge.LeaseLost}
	}
	if s.w.without == "intents" && wr.Kind == purge.WriteIntent {
		wr.Images, wr.Rest = nil, purge.RestKeep
	}
	for _, im := range wr.Images {
		if i := slices.IndexFunc(t.rec.Images, func(o purge.Image) bool { return o.Key == im.Key }); i >= 0 {
			t.rec.Images[i] = im
		} else {
			t.rec.Images = append(t.rec.Images, im)
		}
	}
	for _, c := range wr.Calls {
		t.calls[c.Sequence] = c
		for _, in := range s.intents {
			if in.Task == wr.Task && in.sequence == c.Sequence && in.Epoch == wr.Epoch && c.Kind == jobs.DeleteCall && c.Class != "" {
				in.withdrawn = c.SentAt.IsZero()
			}
		}
	}
	t.rec.Counters, t.deleted, t.code = wr.Counters, wr.Deleted, wr.Code
	switch wr.Rest {
	case purge.RestSettle:
		s.restUntil = now.Add(wr.RestFor)
	case purge.RestClear:
		s.restUntil = time.Time{}
	}
	if s.w.without == "settle" {
		s.restUntil = time.Time{}
	}
	var r purge.Result
	r.Applied = true
	switch wr.Kind {
	case purge.WriteIntent:
		s.noteIntent(wr, began, &r)
		s.leaseUntil = now.Add(s.w.lease)
		t.leaseUntil = s.leaseUntil
	case purge.WriteProgress:
		s.leaseUntil = now.Add(s.w.lease)
		t.leaseUntil = s.leaseUntil
	case purge.WriteGiveBack:
		t.state, t.owner, t.due, t.rec.ReviewAs = jobs.Pending, "", now.Add(wr.After), wr.ReviewAs
		if s.w.without == "settle" && wr.Waiting == jobs.WaitSettle {
			t.due = now
		}
		s.release()
	case purge.WriteFinish:
		t.state, t.owner, t.outcome, t.verifiedAt = wr.State, "", wr.Outcome, wr.VerifiedAt
		s.release()
	}
	s.w.log.wrote(s.w, t, wr)
	return r
}

func (s *store) release() { s.owner, s.leaseUntil = "", time.Time{} }

func (s *store) noteIntent(wr purge.Write, began time.Time, r *purge.Result) {
	in := &intent{
		Intent: clearance.Intent{
			Task: wr.Task, Epoch: wr.Epoch, Customer: wr.Customer, Targets: wr.Targets, BeganAt: began, Margin: jobs.SendMargin,
		},
		sequence: wr.Counters.Sequence,
	}
	in.permit = clearance.Issue(in.Intent)
	s.intents = append(s.intents, in)
	r.Clearance = in.permit
	if n := s.w.server.runnable(); n > 0 {
		s.w.log.overlap = append(s.w.log.overlap, fmt.Sprintf("%v: an intent while %d DELETEs may still run", s.w.now, n))
	}
}

func (s *store) String() string {
	var out string
	for _, t := range s.tasks {
		out += fmt.Sprintf("[task %d %s due %v lease %v outcome %q", t.rec.Task, t.state, t.due, t.leaseUntil, t.outcome)
		for _, im := range t.rec.Images {
			out += fmt.Sprintf(" %d:%s", images[im.Key], im.State)
		}
		out += "] "
	}
	return out
}
