package purge_test

import (
	"slices"
	"testing"
	"time"

	"github.com/imagepurge/imagepurge/jobs"
	"github.com/imagepurge/imagepurge/jobs/clearance"
	"github.com/imagepurge/imagepurge/jobs/purge"
)

// stage is where a history is played: a customer at a server that deletes by
// position, the store's fence and clocks, and machines by the name of their worker.
// A script says what happens, in order.
type stage struct {
	t       *testing.T
	without string // the safeguard that is taken away, outside of the machine
	now     time.Time
	cfg     purge.Config
	lease   time.Duration

	there []int // the server's images, in index order
	hits  []int // what DELETEs removed
	stale []int // what the next listing shows instead; nil: what is there

	tasks            []*purge.Record
	due              map[jobs.TaskID]time.Time
	ended            map[jobs.TaskID]jobs.Outcome
	holder           string // worker that has the customer
	leased           jobs.TaskID
	leaseUntil, rest time.Time
	forbidden        purge.Refusal
}

// player is one claim of a worker.
type player struct {
	s    *stage
	name string
	rec  purge.Record
	m    *purge.Machine
	e    purge.Effect
	last purge.Write
}

func newStage(t *testing.T, without string, images ...int) *stage {
	s := &stage{
		t: t, without: without, now: time.Date(2026, 1, 1, 1, 0, 0, 0, time.UTC), lease: 90 * time.Second, there: images,
		cfg: purge.Config{
			RequestTimeout: 30 * time.Second, Settle: 2 * time.Minute, ListingLag: 30 * time.Second, ViewMaxAge: 1000 * time.Hour,
			MaxAttempts: 10, BackoffBase: 5 * time.Second, BackoffMax: time.Hour, Random: func() float64 { return 0 },
		},
		due: make(map[jobs.TaskID]time.Time), ended: make(map[jobs.TaskID]jobs.Outcome),
	}
	return s
}

// task adds a task for the named images; none: for all.
func (s *stage) task(ids ...int) jobs.TaskID {
	r := &purge.Record{Task: jobs.TaskID(len(s.tasks) + 1), Customer: jobs.Customer{ID: 564703420, Source: "INSTORE"}, Mode: jobs.Verified, Scope: jobs.Snapshot}
	for _, id := range ids {
		r.Named = append(r.Named, keys[id])
	}
	s.tasks = append(s.tasks, r)
	s.due[r.Task] = s.now
	return r.Task
}

func (s *stage) pass(d time.Duration) { s.now = s.now.Add(d) }

// mayClaim says whether the store would lease the task now.
func (s *stage) mayClaim(id jobs.TaskID) bool {
	resting := s.rest.After(s.now) && s.without != "the customer's rest"
	return s.ended[id] == "" && !s.due[id].After(s.now) && !resting &&
		(s.holder == "" || !s.leaseUntil.After(s.now))
}

// claim leases a task to a worker.
func (s *stage) claim(worker string, id jobs.TaskID) *player {
	s.t.Helper()
	if !s.mayClaim(id) {
		s.t.Fatalf("%s can't claim task %d: due in %v, the customer rests for %v, ended %q",
			worker, id, s.due[id].Sub(s.now), s.rest.Sub(s.now), s.ended[id])
	}
	r := s.tasks[id-1]
	r.Epoch++
	r.Owner = worker
	s.holder, s.leased, s.leaseUntil, s.rest = worker, id, s.now.Add(s.lease), time.Time{}
	rec := *r
	rec.Images = slices.Clone(r.Images)
	p := &player{s: s, name: worker, rec: rec, m: purge.New(s.cfg, rec)}
	p.step(purge.Claimed{})
	return p
}

// claimWhenDue lets time pass until the task may be claimed.
func (s *stage) claimWhenDue(worker string, id jobs.TaskID) *player {
	s.t.Helper()
	for n := 0; !s.mayClaim(id) && n < 3600; n++ {
		s.pass(time.Second)
	}
	return s.claim(worker, id)
}

func (p *player) step(f purge.Fact) { p.e = p.m.Step(p.s.now, f) }

// commit writes as repository.Store.Write does.
func (p *player) commit(w purge.Write) {
	s, r := p.s, p.s.tasks[p.rec.Task-1]
	if s.without != "the fence" && (s.holder != p.name || s.leased != w.Task || r.Epoch != w.Epoch) {
		p.step(purge.WriteRefused{Why: purge.LeaseLost})
		return
	}
	if w.Kind == purge.WriteIntent && s.without != "the fence" {
		switch {
		case s.forbidden != "":
			p.step(purge.WriteRefused{Why: s.forbidden})
			return
		case !s.leaseUntil.After(s.now.Add(s.cfg.RequestTimeout + jobs.SendMargin)):
			p.step(purge.WriteRefused{Why: purge.LeaseShort})
			return
		}
	}
	p.last = w
	lost := s.without == "intents" && w.Kind == purge.WriteIntent
	for _, im := range w.Images {
		if lost {
			break
		}
		if i := slices.IndexFunc(r.Images, func(o purge.Image) bool { return o.Key == im.Key }); i >= 0 {
			r.Images[i] = im
		} else {
			r.Images = append(r.Images, im)
		}
	}
	r.Counters = w.Counters
	switch {
	case lost || s.without == "the settle time" && w.Rest == purge.RestSettle:
	case w.Rest == purge.RestSettle:
		s.rest = s.now.Add(w.RestFor)
	case w.Rest == purge.RestClear:
		s.rest = time.Time{}
	}
	switch w.Kind {
	case purge.WriteIntent:
		s.leaseUntil = s.now.Add(s.lease)
		p.step(purge.IntentCommitted{Clearance: clearance.Issue(clearance.Intent{
			Task: w.Task, Epoch: w.Epoch, Customer: w.Customer, Targets: w.Targets, BeganAt: s.now, Margin: jobs.SendMargin,
		})})
		return
	case purge.WriteProgress:
		s.leaseUntil = s.now.Add(s.lease)
	case purge.WriteGiveBack:
		s.holder, s.due[w.Task], r.ReviewAs = "", s.now.Add(w.After), w.ReviewAs
		if s.without == "the settle time" {
			s.due[w.Task] = s.now
		}
	case purge.WriteFinish:
		s.holder, s.ended[w.Task] = "", w.Outcome
	}
	p.step(purge.Written{})
}

// to goes on until the machine wants a call made, or has ended.
func (p *player) to() *player {
	for n := 0; n < 20 && !p.m.Done(); n++ {
		switch e := p.e.(type) {
		case purge.AskSlot:
			p.step(purge.SlotGranted{})
		case purge.Save:
			p.commit(e.Write)
		case purge.End:
			p.commit(e.Write)
		case purge.Intend:
			p.commit(e.Write)
		case purge.List, purge.Send:
			return p
		case purge.Drop:
			return p
		}
	}
	return p
}

// toIntent goes on until the machine asks for the slot of a delete.
func (p *player) toIntent() *player {
	p.s.t.Helper()
	for range 20 {
		switch e := p.e.(type) {
		case purge.AskSlot:
			if e.Kind == jobs.SlotDelete {
				return p
			}
			p.step(purge.SlotGranted{})
		case purge.Save:
			p.commit(e.Write)
		default:
			p.s.t.Fatalf("%s: effect %T, want the slot of a delete", p.name, p.e)
		}
	}
	return p
}

// list lets the machine list, and shows it what is there, or what is stale.
func (p *player) list() *player {
	p.s.t.Helper()
	if _, ok := p.to().e.(purge.List); !ok {
		p.s.t.Fatalf("%s: effect %T after %s %s, want a listing", p.name, p.e, p.last.Kind, p.last.Outcome)
	}
	shown := p.s.there
	if p.s.stale != nil {
		shown, p.s.stale = p.s.stale, nil
	}
	a := listed(shown...)
	a.SentAt, a.AnsweredAt = p.s.now, p.s.now
	p.step(purge.Listed{Answer: a})
	return p
}

// deletes goes on to the send of the DELETE for the image, and returns its index.
func (p *player) deletes(image int) int {
	p.s.t.Helper()
	e, ok := p.to().e.(purge.Send)
	if !ok {
		p.s.t.Fatalf("%s: effect %T after %s %q, want a send", p.name, p.e, p.last.Kind, p.last.Waiting)
	}
	t := e.Clearance.Intent().Targets
	if len(t) != 1 || t[0].Key != keys[image] {
		p.s.t.Fatalf("%s: the DELETE is meant for %v, want image %d", p.name, t, image)
	}
	return t[0].Position
}

// leaves says whether the DELETE may leave now: its clearance is spent.
func (p *player) leaves() error {
	return p.e.(purge.Send).Clearance.Spend(p.s.now)
}

// answer tells the machine what became of its DELETE.
func (p *player) answer(a jobs.Answer) *player {
	a.SentAt, a.AnsweredAt = p.s.now, p.s.now
	if a.Class == jobs.ClassNotSent {
		a.SentAt = time.Time{}
	}
	p.step(purge.Answered{Answer: a})
	return p
}

// runs executes a DELETE at the server.
func (s *stage) runs(index int) {
	if index >= len(s.there) {
		return
	}
	s.hits = append(s.hits, s.there[index])
	s.there = slices.Delete(slices.Clone(s.there), index, index+1)
}

// honest plays the task to its end at an honest server.
func (s *stage) honest(id jobs.TaskID) jobs.Outcome {
	s.t.Helper()
	for range 20 {
		if s.ended[id] != "" {
			return s.ended[id]
		}
		p := s.claimWhenDue("W2", id)
		for !p.to().m.Done() {
			if e, ok := p.e.(purge.Send); ok {
				t := e.Clearance.Intent().Targets[0]
				a := noImage
				if t.Position < len(s.there) {
					a = deleted
				}
				s.runs(t.Position)
				p.answer(a)
				continue
			}
			p.list()
		}
	}
	s.t.Fatalf("task %d does not end", id)
	return ""
}

// back demands that the claim has given the task back, and why.
func (p *player) back(why jobs.Waiting) {
	p.s.t.Helper()
	if !p.to().m.Done() || p.last.Kind != purge.WriteGiveBack || p.last.Waiting != why {
		p.s.t.Fatalf("%s: effect %T, last write %s %q %s, want it given back for %q", p.name, p.e, p.last.Kind, p.last.Waiting, p.last.Outcome, why)
	}
}

// hit demands that the history is the harmful one: the DELETEs removed these.
func (s *stage) hit(images ...int) {
	s.t.Helper()
	if !slices.Equal(s.hits, images) {
		s.t.Fatalf("the DELETEs removed %v, want %v: the history is not the one that it is told as", s.hits, images)
	}
}

// unharmed demands that only these were removed, and all of them.
func (s *stage) unharmed(images ...int) {
	s.t.Helper()
	slices.Sort(s.hits)
	if !slices.Equal(s.hits, images) {
		s.t.Errorf("the DELETEs removed %v, want %v alone", s.hits, images)
	}
}
