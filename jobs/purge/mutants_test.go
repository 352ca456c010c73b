package purge_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/imagepurge/imagepurge/jobs"
	"github.com/imagepurge/imagepurge/jobs/purge"
)

// Faults of the source that lived until these tests (tools/mutate).

// Task A deletes image 2 and gives the customer back before its next DELETE is sent. A
// listing may still show image 2 at index 1: if task B is claimed within the listing
// lag, its DELETE index 1 hits image 3.
func TestARestOutlivesAnIntentThatIsNotSent(t *testing.T) {
	for name, giveBack := range map[string]func(s *stage, p *player, w purge.Write){
		"stopped while it was committed": func(s *stage, p *player, w purge.Write) {
			p.step(purge.Stop{})
			p.commit(w)
		},
		"committed too late for its view": func(s *stage, p *player, w purge.Write) {
			s.pass(2 * time.Second)
			p.commit(w)
		},
		"nobody knows whether it was committed": func(_ *stage, p *player, _ purge.Write) { p.step(purge.WriteFailed{}) },
		"refused": func(s *stage, p *player, w purge.Write) {
			s.forbidden = purge.Paused
			p.commit(w)
			s.forbidden = ""
		},
	} {
		for _, waits := range []time.Duration{0, 20 * time.Second} {
			t.Run(fmt.Sprintf("%s, after %v", name, waits), func(t *testing.T) {
				s := newStage(t, "", 1, 2, 3)
				s.cfg.ViewMaxAge = time.Minute
				if name == "committed too late for its view" {
					s.cfg.ViewMaxAge = waits + time.Second
				}
				a, b := s.task(1, 2), s.task(2)
				p := s.claim("W0", a).list()
				s.runs(p.deletes(2))
				p.answer(deleted)
				last := s.now // moment at which the server had fewer images at the latest
				p.toIntent()
				s.pass(waits)
				p.step(purge.SlotGranted{})
				giveBack(s, p, p.e.(purge.Intend).Write)
				if p.to(); !p.m.Done() || p.last.Kind != purge.WriteGiveBack {
					t.Fatalf("effect %T after %s, want the task given back", p.e, p.last.Kind)
				}
				s.pass(last.Add(s.cfg.ListingLag - time.Second).Sub(s.now))
				if s.mayClaim(b) {
					t.Fatalf("%v after the delete %s", s.now.Sub(last), never)
				}
				s.pass(time.Second)
				if !s.mayClaim(b) {
					t.Errorf("the customer rests for %v beyond the listing lag", s.rest.Sub(s.now))
				}
				if got := s.honest(b); got != jobs.AlreadyAbsent {
					t.Errorf("task B ended %s", got)
				}
				s.unharmed(2)
			})
		}
	}
	t.Run("without the rest image 3 is hit", func(t *testing.T) {
		s := newStage(t, "the customer's rest", 1, 2, 3)
		a, b := s.task(1, 2), s.task(2)
		p := s.claim("W0", a).list()
		s.runs(p.deletes(2))
		p.answer(deleted).toIntent()
		p.step(purge.SlotGranted{})
		w := p.e.(purge.Intend).Write
		p.step(purge.Stop{})
		p.commit(w)
		p.to()
		s.pass(s.cfg.ListingLag / 2)
		s.stale = []int{1, 2, 3}
		s.runs(s.claim("W1", b).list().deletes(2))
		s.hit(2, 3)
	})
}

// A bystander that was missed and is listed again is no longer missing: if it goes once
// more, that is noticed once more.
func TestABystanderThatCameBackIsMissedAgain(t *testing.T) {
	b := newBench(t, named(1))
	b.feed(listed(1, 2), busy)
	missed := func() {
		t.Helper()
		b.claim().feed(listed(1))
		b.wantBack(jobs.WaitListingLag, 30*time.Second)
		b.claim().feed(listed(1))
		b.wantEnd(jobs.BystanderMissing)
		b.wantRows("1:planned 2:bystander/missing")
	}
	missed()
	b.claim().feed(listed(1, 2), busy) // a person's retry
	b.wantRows("1:planned 2:bystander")
	missed()
}

// What an earlier DELETE of the image was answered says nothing of the one that is
// intended now: after a crash it would be taken for its answer.
func TestAnIntentForgetsTheAnswerBefore(t *testing.T) {
	b := newBench(t)
	b.feed(listed(1), busy)
	if im := b.rec.Images[0]; im.AnsweredAt.IsZero() || im.HTTPStatus != 200 || im.Code != "521" {
		t.Fatalf("after the answer the row is %+v", im)
	}
	b.claim()
	w := until[purge.Intend](b, listed(1)).Write
	if im := w.Images[0]; !im.AnsweredAt.IsZero() || im.HTTPStatus != 0 || im.Code != "" || !im.IntendedAt.Equal(b.now) {
		t.Errorf("the intent's row is %+v at %v", im, b.now)
	}
}
