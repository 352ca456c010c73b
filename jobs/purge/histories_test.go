package purge_test

import (
	"errors"
	"os"
	"regexp"
	"slices"
	"testing"
	"time"

	"github.com/imagepurge/imagepurge/jobs"
	"github.com/imagepurge/imagepurge/jobs/clearance"
	"github.com/imagepurge/imagepurge/jobs/purge"
)

// The shortest histories in which something goes wrong once one part of the
// protocol is missing: the last table of docs/protocol.md, and the counterexamples
// of docs/protocol/check-model.sh -t. Each is played twice: with that part, where
// the harmful step must not come, and without it, where the wrong image must be
// hit, so that it is the history that it is told as.
//
// Images 1, 2, 3; targets 1 and 2, where nothing else is said. "D1" is DELETE index 1.
type shortHistory struct {
	name  string
	model []string // the configurations of the model that it stands for
	safe  func(t *testing.T)
	harm  func(t *testing.T)
}

const never = "the task may be claimed"

// underWay plays to the moment where the DELETE for image 2 has left.
func underWay(s *stage, id jobs.TaskID) (p *player, index int) {
	s.t.Helper()
	p = s.claim("W0", id).list()
	index = p.deletes(2)
	if err := p.leaves(); err != nil {
		s.t.Fatal(err)
	}
	return p, index
}

// bothRun plays a second worker that trusts what it sees, while the first DELETE
// is still under way.
func bothRun(s *stage, id jobs.TaskID, first int) {
	s.t.Helper()
	second := s.claim("W1", id).list().deletes(2)
	s.runs(first)
	s.runs(second)
	s.hit(2, 3)
}

// lateAndHonest lets the DELETE under way run at the last moment, and the task go
// on to its end.
func lateAndHonest(s *stage, id jobs.TaskID, index int, want jobs.Outcome) {
	s.t.Helper()
	if s.mayClaim(id) {
		s.t.Fatal(never)
	}
	for !s.mayClaim(id) {
		s.pass(time.Second)
	}
	s.pass(-time.Second)
	s.runs(index)
	s.pass(time.Second)
	if got := s.honest(id); got != want {
		s.t.Errorf("task %d ended %s, want %s", id, got, want)
	}
}

var histories = []shortHistory{
	{
		name:  "intent rows",
		model: []string{"no intent rows", "no intent rows, effect"},
		safe: func(t *testing.T) {
			s := newStage(t, "", 1, 2, 3)
			id := s.task(1, 2)
			_, d1 := underWay(s, id) // and W0 crashes
			s.pass(s.lease + time.Second)
			lateAndHonest(s, id, d1, jobs.ImagesDeleted)
			s.unharmed(1, 2)
		},
		harm: func(t *testing.T) {
			s := newStage(t, "intents", 1, 2, 3)
			id := s.task(1, 2)
			_, d1 := underWay(s, id)
			s.pass(s.lease + time.Second)
			bothRun(s, id, d1)
		},
	},
	{
		name:  "the settle time",
		model: []string{"no settle time", "settle shorter than lateness"},
		safe: func(t *testing.T) {
			s := newStage(t, "", 1, 2, 3)
			id := s.task(1, 2)
			p, d1 := underWay(s, id)
			p.answer(timeout).back(jobs.WaitSettle)
			lateAndHonest(s, id, d1, jobs.ImagesDeleted)
			s.unharmed(1, 2)
		},
		harm: func(t *testing.T) {
			s := newStage(t, "the settle time", 1, 2, 3)
			id := s.task(1, 2)
			p, d1 := underWay(s, id)
			p.answer(timeout).to()
			bothRun(s, id, d1)
		},
	},
	{
		name:  "a rest after an intent that covers the send, the request and the settle time",
		model: []string{"rest of an intent shorter than its lateness"},
		safe: func(t *testing.T) {
			s := newStage(t, "", 1, 2, 3)
			id := s.task(1, 2)
			_, d1 := underWay(s, id)
			s.pass(jobs.SendMargin + s.cfg.RequestTimeout + s.cfg.Settle - time.Second)
			lateAndHonest(s, id, d1, jobs.ImagesDeleted)
			s.unharmed(1, 2)
		},
		harm: func(t *testing.T) {
			s := newStage(t, "", 1, 2, 3)
			id := s.task(1, 2)
			_, d1 := underWay(s, id)
			s.pass(s.lease + time.Second)
			s.rest = s.now
			bothRun(s, id, d1)
		},
	},
	{
		name:  "the listing lag in the rest",
		model: []string{"no listing lag in the rest"},
		safe: func(t *testing.T) {
			s := newStage(t, "", 1, 2, 3)
			id := s.task(1, 2)
			p, d1 := underWay(s, id)
			p.answer(timeout).back(jobs.WaitSettle)
			s.pass(s.cfg.Settle)
			s.runs(d1) // a listing may go on showing image 2 for the lag
			if s.mayClaim(id) {
				t.Fatal(never)
			}
			s.honest(id)
			s.unharmed(1, 2)
		},
		harm: func(t *testing.T) {
			s := newStage(t, "the settle time", 1, 2, 3)
			id := s.task(1, 2)
			p, d1 := underWay(s, id)
			s.runs(d1)
			p.answer(timeout).to()
			s.stale = []int{1, 2, 3}
			s.runs(s.claim("W1", id).list().deletes(2))
			s.hit(2, 3)
		},
	},
	{
		name:  "reconciling by listing",
		model: []string{"blind retry of an unknown delete"},
		safe: func(t *testing.T) {
			s := newStage(t, "", 1, 2, 3)
			id := s.task(1, 2)
			p, d1 := underWay(s, id)
			s.runs(d1)
			if err := p.leaves(); !errors.Is(err, clearance.ErrSpent) {
				t.Errorf("the DELETE may be sent again: %v", err)
			}
			p.answer(timeout).back(jobs.WaitSettle)
			s.honest(id)
			s.unharmed(1, 2)
		},
		harm: func(t *testing.T) {
			s := newStage(t, "", 1, 2, 3)
			_, d1 := underWay(s, s.task(1, 2))
			s.runs(d1)
			s.runs(d1)
			s.hit(2, 3)
		},
	},
	{
		name:  "descending order, against a success that ran nothing",
		model: []string{"ascending, one lying success"},
		safe: func(t *testing.T) {
			s := newStage(t, "", 1, 2, 3)
			id := s.task(1, 3)
			p := s.claim("W0", id).list()
			p.deletes(3)
			p.answer(deleted) // it ran nothing
			s.runs(p.deletes(1))
			p.answer(deleted).list().back(jobs.WaitListingLag)
			s.honest(id)
			s.unharmed(1, 3)
		},
		harm: func(t *testing.T) {
			s := newStage(t, "", 1, 2, 3)
			view := slices.Delete([]int{1, 2, 3}, 0, 1) // D0 says that image 1 is gone
			s.runs(slices.Index(view, 3))
			s.hit(2)
		},
	},
	{
		name:  "descending order, against a view that is not shifted",
		model: []string{"ascending, view not shifted"},
		safe: func(t *testing.T) {
			s := newStage(t, "", 1, 2, 3)
			p := s.claim("W0", s.task(1, 2)).list()
			d1 := p.deletes(2)
			s.runs(d1)
			d0 := p.answer(deleted).deletes(1)
			s.runs(d0)
			s.unharmed(1, 2)
			if d1 != 1 || d0 != 0 {
				t.Errorf("DELETE index %d, then %d", d1, d0)
			}
		},
		harm: func(t *testing.T) {
			s := newStage(t, "", 1, 2, 3)
			s.runs(0)
			s.runs(1) // where the listing had shown image 2
			s.hit(1, 3)
		},
	},
	{
		name:  "the epoch in the fence",
		model: []string{"no fencing"},
		safe: func(t *testing.T) {
			s := newStage(t, "", 1, 2, 3)
			id := s.task(1, 2)
			w0 := s.claim("W0", id).list().toIntent() // and freezes
			s.pass(s.lease + time.Second)
			w1 := s.claim("W1", id).list()
			s.runs(w1.deletes(2))
			w1.answer(deleted)
			if _, ok := w0.to().e.(purge.Drop); !ok {
				t.Fatalf("W0 wakes: effect %T, want that it drops the task", w0.e)
			}
			s.runs(w1.deletes(1))
			w1.answer(deleted).list().to()
			s.unharmed(1, 2)
		},
		harm: func(t *testing.T) {
			s := newStage(t, "the fence", 1, 2, 3)
			id := s.task(1, 2)
			w0 := s.claim("W0", id).list().toIntent()
			s.pass(s.lease + time.Second)
			w1 := s.claim("W1", id).list()
			s.runs(w1.deletes(2))
			s.runs(w0.deletes(2))
			s.hit(2, 3)
		},
	},
	{
		name:  "the deadline for sending",
		model: []string{"no send deadline"},
		safe: func(t *testing.T) {
			s := newStage(t, "", 1, 2, 3)
			id := s.task(1, 2)
			w0 := s.claim("W0", id).list()
			w0.deletes(2) // intended, and W0 freezes
			w1 := s.claimWhenDue("W1", id).list()
			s.runs(w1.deletes(2))
			w1.answer(deleted)
			var late *clearance.LateError
			if err := w0.leaves(); !errors.As(err, &late) {
				t.Fatalf("W0 wakes and may send: %v", err)
			}
			if _, ok := w0.answer(notSent).to().e.(purge.Drop); !ok {
				t.Errorf("W0: effect %T, want that it drops the task", w0.e)
			}
			s.unharmed(2)
		},
		harm: func(t *testing.T) {
			s := newStage(t, "", 1, 2, 3)
			id := s.task(1, 2)
			w0 := s.claim("W0", id).list()
			d1 := w0.deletes(2)
			s.runs(s.claimWhenDue("W1", id).list().deletes(2))
			s.runs(d1)
			s.hit(2, 3)
		},
	},
	{
		name:  "identity by content",
		model: []string{"identity is the slot; others only while quiet"},
		safe: func(t *testing.T) {
			s := newStage(t, "", 9, 2, 3) // 1 was replaced in its slot
			id := s.task(1)
			s.claim("W0", id).list().to()
			if s.ended[id] != jobs.AlreadyAbsent {
				t.Errorf("it ended %q", s.ended[id])
			}
			s.unharmed()
		},
		harm: func(t *testing.T) {
			s := newStage(t, "", 9, 2, 3)
			s.stale = []int{1, 2, 3} // what the slots say
			s.runs(s.claim("W0", s.task(1)).list().deletes(1))
			s.hit(9)
		},
	},
	{
		name:  "the verifying listing",
		model: []string{"no verifying listing: economy, lying success"},
		safe: func(t *testing.T) {
			s := newStage(t, "", 1, 2, 3)
			id := s.task(1)
			p := s.claim("W0", id).list()
			p.deletes(1)
			p.answer(deleted).list().back(jobs.WaitListingLag)
			s.honest(id)
			s.unharmed(1)
		},
		harm: func(t *testing.T) {
			s := newStage(t, "", 1, 2, 3)
			id := s.task(1)
			s.tasks[0].Mode = jobs.Economy
			p := s.claim("W0", id).list()
			p.deletes(1)
			p.answer(deleted).to()
			if s.ended[id] != jobs.ImagesDeleted || !slices.Contains(s.there, 1) {
				t.Errorf("ended %q, and %v are there", s.ended[id], s.there)
			}
		},
	},
	{
		name: "a rest that belongs to the customer, after an unexpected answer",
		model: []string{
			"rest does not belong to the customer, second task", "review before it is settled, second task, no rest",
		},
		safe: func(t *testing.T) {
			s := newStage(t, "", 1, 2, 3)
			a, b := s.task(1, 2), s.task(1, 2)
			p, d1 := underWay(s, a)
			p.answer(strange).back(jobs.WaitSettle) // no review yet
			if s.mayClaim(b) {
				t.Fatal(never)
			}
			lateAndHonest(s, a, d1, jobs.UnexpectedResponse)
			if got := s.honest(b); got != jobs.ImagesDeleted {
				t.Errorf("the second task ended %s", got)
			}
			s.unharmed(1, 2)
		},
		harm: func(t *testing.T) {
			s := newStage(t, "the customer's rest", 1, 2, 3)
			a, b := s.task(1, 2), s.task(1, 2)
			p, d1 := underWay(s, a)
			p.answer(strange).to()
			bothRun(s, b, d1)
		},
	},
	{
		name: "a rest for the listing lag after a delete that ran",
		model: []string{
			"no rest for the listing lag, second task", "no rest for the listing lag, second task, economy",
		},
		safe: func(t *testing.T) {
			for _, mode := range []jobs.Mode{jobs.Verified, jobs.Economy} {
				s := newStage(t, "", 1, 2, 3)
				a, b := s.task(1), s.task(1)
				s.tasks[0].Mode = mode
				s.honest(a)
				s.pass(s.cfg.ListingLag - time.Second)
				if s.mayClaim(b) {
					t.Fatalf("%s: %s", mode, never)
				}
				if got := s.honest(b); got != jobs.AlreadyAbsent {
					t.Errorf("%s: the second task ended %s", mode, got)
				}
				s.unharmed(1)
			}
		},
		harm: func(t *testing.T) {
			s := newStage(t, "the customer's rest", 1, 2, 3)
			a, b := s.task(1), s.task(1)
			s.honest(a)
			s.stale = []int{1, 2, 3}
			s.runs(s.claim("W1", b).list().deletes(1))
			s.hit(1, 2)
		},
	},
	{
		name:  "another listing after one that contradicts the rows",
		model: []string{"no wait for the listing lag"},
		safe: func(t *testing.T) {
			s := newStage(t, "", 1, 2, 3)
			id := s.task(1)
			p := s.claim("W0", id).list()
			s.runs(p.deletes(1))
			s.stale = []int{1, 2, 3}
			p.answer(deleted).list().back(jobs.WaitListingLag)
			if im := s.tasks[0].Images[0]; im.State != jobs.Unknown {
				t.Errorf("the row says %s of an image that was just listed", im.State)
			}
			s.honest(id)
			s.unharmed(1)
		},
		harm: func(t *testing.T) {
			s := newStage(t, "", 1, 2, 3)
			id := s.task(1)
			p := s.claim("W0", id).list()
			s.runs(p.deletes(1))
			p.answer(deleted).to()
			s.pass(s.lease + time.Second)
			s.tasks[0].Relisting = true // whatever it contradicts, the next listing is believed
			s.stale = []int{1, 2, 3}
			s.runs(s.claimWhenDue("W1", id).list().deletes(1))
			s.hit(1, 2)
		},
	},
	{
		name:  "a second look at a planned image that a listing lacks",
		model: []string{"a missing target is not looked for twice"},
		safe: func(t *testing.T) {
			s := newStage(t, "", 1) // just uploaded
			id := s.task()
			listedOnce(s, id)
			s.stale = []int{} // from before the upload
			s.claimWhenDue("W0", id).list().back(jobs.WaitListingLag)
			if im := s.tasks[0].Images[0]; im.State != jobs.Planned {
				t.Errorf("one listing makes the row %s", im.State)
			}
			s.honest(id)
			s.unharmed(1)
		},
		harm: func(t *testing.T) {
			s := newStage(t, "", 1)
			id := s.task()
			listedOnce(s, id)
			s.tasks[0].Relisting = true // whatever it contradicts, the next listing is believed
			s.stale = []int{}
			s.claimWhenDue("W0", id).list().to()
			if s.ended[id] != jobs.ImagesDeleted || !slices.Contains(s.there, 1) {
				t.Errorf("ended %q, and %v are there", s.ended[id], s.there)
			}
		},
	},
	{
		name:  "the pause after a fail-over",
		model: []string{"fail-over loses the intent, no pause after it"},
		safe: func(t *testing.T) {
			s := newStage(t, "", 1, 2, 3)
			id := s.task(1, 2)
			_, d1 := underWay(s, id)
			s.failOver(s.cfg.Settle)
			lateAndHonest(s, id, d1, jobs.ImagesDeleted)
			s.unharmed(1, 2)
		},
		harm: func(t *testing.T) {
			s := newStage(t, "", 1, 2, 3)
			id := s.task(1, 2)
			_, d1 := underWay(s, id)
			s.failOver(0)
			bothRun(s, id, d1)
		},
	},
	{
		name:  "listing again after 429",
		model: []string{`"did not run" that ran, not listed again after 429`},
		safe: func(t *testing.T) {
			s := newStage(t, "", 1, 2, 3)
			id := s.task(1, 2)
			p, d1 := underWay(s, id)
			s.runs(d1)
			if p.answer(tooMany).to(); !is[purge.List](p.e) {
				t.Fatalf("effect %T after a 429, want another listing", p.e)
			}
			p.list().back(jobs.WaitListingLag) // image 2 is missing: looked for once more
			s.honest(id)
			s.unharmed(1, 2)
		},
		harm: func(t *testing.T) {
			s := newStage(t, "", 1, 2, 3)
			_, d1 := underWay(s, s.task(1, 2))
			s.runs(d1)
			s.runs(d1) // the view still says so
			s.hit(2, 3)
		},
	},
	{
		name:  "no cancelled task before it is settled",
		model: []string{"cancelled before it is settled", "cancelled before it is settled, second task, no rest"},
		safe: func(t *testing.T) {
			s := newStage(t, "", 1, 2, 3)
			a, b := s.task(1, 2), s.task(1, 2)
			p, d1 := underWay(s, a)
			s.tasks[0].Cancelled = true
			p.answer(timeout).back(jobs.WaitSettle)
			if s.mayClaim(b) {
				t.Fatal(never)
			}
			lateAndHonest(s, a, d1, jobs.CancelledOutcome)
			if im := s.tasks[0].Images[1]; im.State != jobs.Deleted {
				t.Errorf("image 2 is recorded %s", im.State)
			}
			s.unharmed(2)
		},
		harm: func(t *testing.T) { endsBeforeItHasSettled(t, jobs.CancelledOutcome) },
	},
	{
		name:  "no task out of attempts before it is settled",
		model: []string{"attempts exhausted before it is settled", "attempts exhausted before it is settled, second task, no rest"},
		safe: func(t *testing.T) {
			s := newStage(t, "", 1, 2, 3)
			s.cfg.MaxAttempts = 1
			a, b := s.task(1, 2), s.task(1, 2)
			p, d1 := underWay(s, a)
			p.answer(timeout).back(jobs.WaitSettle)
			if s.mayClaim(b) {
				t.Fatal(never)
			}
			lateAndHonest(s, a, d1, jobs.AttemptsExhausted)
			s.unharmed(2)
		},
		harm: func(t *testing.T) { endsBeforeItHasSettled(t, jobs.AttemptsExhausted) },
	},
	{
		name:  "a believed listing before an end",
		model: []string{"an end by attempts with something unknown"},
		safe: func(t *testing.T) {
			s := newStage(t, "", 1, 2, 3)
			s.cfg.MaxAttempts = 2
			id := s.task(1, 2)
			p, d1 := underWay(s, id)
			s.runs(d1)
			p.answer(timeout).back(jobs.WaitSettle)
			for range 3 { // more than its attempts
				p = s.claimWhenDue("W0", id).to()
				p.step(purge.Listed{Answer: timeout})
				p.back(jobs.WaitBackoff)
			}
			if o := s.honest(id); o != jobs.AttemptsExhausted || slices.ContainsFunc(s.tasks[0].Images, func(im purge.Image) bool {
				return im.State == jobs.Unknown
			}) {
				t.Errorf("it ended with %s, its images are %+v", o, s.tasks[0].Images)
			}
			s.unharmed(2)
		},
		harm: func(t *testing.T) {
			s := newStage(t, "", 1, 2, 3)
			id := s.task(1, 2)
			p, d1 := underWay(s, id)
			s.runs(d1)
			p.answer(timeout).back(jobs.WaitSettle)
			s.hit(2) // an end here would leave for good what is not known
			if im := s.tasks[0].Images; !slices.ContainsFunc(im, func(im purge.Image) bool { return im.State == jobs.Unknown }) {
				t.Errorf("nothing is in doubt: %+v", im)
			}
		},
	},
	{
		name:  "an intent that asks for holds",
		model: []string{"the intent asks for no hold"},
		safe: func(t *testing.T) {
			for _, why := range []purge.Refusal{purge.HeldBack, purge.Paused} {
				s := newStage(t, "", 1, 2, 3)
				id := s.task(1, 2)
				p := s.claim("W0", id).list().toIntent()
				s.forbidden = why
				p.back("")
				s.unharmed()
				s.forbidden = ""
				s.honest(id)
				s.unharmed(1, 2)
			}
		},
		harm: func(t *testing.T) {
			s := newStage(t, "the fence", 1, 2, 3)
			p := s.claim("W0", s.task(1, 2)).list().toIntent()
			s.forbidden = purge.HeldBack
			s.runs(p.deletes(2))
			s.hit(2)
		},
	},
	{
		name:  "a count of missing indexes",
		model: []string{"server always answers 8078, nobody counts"},
		safe: func(t *testing.T) {
			s := newStage(t, "", 1, 2, 3)
			id := s.task(1)
			p := s.claim("W0", id)
			for range jobs.MaxRepeats {
				p.list().deletes(1)
				p.answer(noImage)
			}
			p.to()
			if s.ended[id] != jobs.IndexContradiction {
				t.Errorf("it ended %q", s.ended[id])
			}
		},
		harm: func(t *testing.T) {
			s := newStage(t, "", 1, 2, 3)
			id := s.task(1)
			for range 10 {
				s.tasks[0].Contradictions = 0
				p := s.claimWhenDue("W0", id).list()
				p.deletes(1)
				p.answer(noImage).to()
				s.pass(s.lease + time.Second)
			}
			if s.ended[id] != "" {
				t.Errorf("it ended %q: it does not go round for ever", s.ended[id])
			}
		},
	},
	{
		name:  "a lease that is renewed while a slot is waited for",
		model: []string{"slots slower than the lease, no renewal"},
		safe: func(t *testing.T) {
			s := newStage(t, "", 1, 2, 3)
			p := s.claim("W0", s.task(1)).list().toIntent()
			for range 10 { // what jobs/worker does
				s.pass(s.lease / 3)
				s.leaseUntil = s.now.Add(s.lease)
			}
			s.runs(p.deletes(1))
			s.unharmed(1)
		},
		harm: func(t *testing.T) {
			s := newStage(t, "", 1, 2, 3)
			id := s.task(1)
			for range 10 {
				p := s.claimWhenDue("W0", id).list().toIntent()
				s.pass(s.lease - time.Second)
				p.back("")
			}
			s.hit()
		},
	},
}

// listedOnce plays a task that was shown image 1, and whose DELETE did not run.
func listedOnce(s *stage, id jobs.TaskID) {
	s.t.Helper()
	p := s.claim("W0", id).list()
	p.deletes(1)
	p.answer(busy).back(jobs.WaitBackoff)
}

// endsBeforeItHasSettled ends the first task by force while its DELETE is under
// way, and nobody keeps the customer's rest.
func endsBeforeItHasSettled(t *testing.T, o jobs.Outcome) {
	s := newStage(t, "the customer's rest", 1, 2, 3)
	a, b := s.task(1, 2), s.task(1, 2)
	p, d1 := underWay(s, a)
	p.answer(timeout).to()
	s.ended[a] = o
	bothRun(s, b, d1)
}

func is[E purge.Effect](e purge.Effect) bool {
	_, ok := e.(E)
	return ok
}

// failOver loses the newest intent with the old primary.
func (s *stage) failOver(pause time.Duration) {
	for _, r := range s.tasks {
		for i := range r.Images {
			if r.Images[i].State == jobs.Intended {
				r.Images[i].State = jobs.Planned
			}
		}
		s.due[r.Task] = s.now.Add(pause)
	}
	s.holder, s.rest = "", time.Time{}
}

func TestHistories(t *testing.T) {
	for _, h := range histories {
		t.Run("with "+h.name, h.safe)
		t.Run("without "+h.name+" the history is harmful", h.harm)
	}
}

// beyond are configurations that break no rule of ours: what the protocol
// assumes of the outside does not hold in them (docs/protocol.md, promises).
var beyond = regexp.MustCompile(`^(others|tail first|head first|batch, |a gateway repeats|late without bound|freeze between)`)

// TestEveryCounterexampleIsAHistory holds the histories to the model: each of its
// ablations that fails is played here.
func TestEveryCounterexampleIsAHistory(t *testing.T) {
	script, err := os.ReadFile("../../docs/protocol/check-model.sh")
	if err != nil {
		t.Fatal(err)
	}
	played := make(map[string]bool)
	for _, h := range histories {
		for _, m := range h.model {
			played[m] = false
		}
	}
	for _, m := range regexp.MustCompile(`(?m)^(?:check|quick) +(\w+) +'([^']+)'`).FindAllStringSubmatch(string(script), -1) {
		result, name := m[1], m[2]
		if result == "holds" || result == "ends" {
			continue
		}
		if _, ok := played[name]; ok {
			played[name] = true
		} else if !beyond.MatchString(name) {
			t.Errorf("the model's counterexample %q is no history here", name)
		}
	}
	for name, is := range played {
		if !is {
			t.Errorf("the model has no failing configuration %q", name)
		}
	}
}
