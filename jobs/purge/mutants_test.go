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

// A token may be refused once between two listings that were answered; the second in a
// row costs an attempt.
func TestATokenMayEndOnceBetweenTwoListings(t *testing.T) {
	b := newBench(t)
	b.feed(noToken, listed(1), deleted, noToken, listed())
	b.wantEnd(jobs.ImagesDeleted)
	if n := b.last.Counters.Attempts; n != 0 {
		t.Errorf("%d attempts", n)
	}
}

// The listing that decides a batch shows what an earlier one said to be gone: it is
// planned again and counts as still there, whatever became of the batch.
func TestABatchsListingShowsWhatWasGone(t *testing.T) {
	for name, before := range map[string]func(*bench){
		"deleted": func(b *bench) {
			b.feed(listed(1, 2, 3), noImage)
			b.claim().feed(listed(1, 2), noImage)
		},
		"absent": func(b *bench) {
			b.feed(listed(1, 2, 3), busy)
			b.claim().feed(listed(1, 2))
			b.claim().feed(listed(1, 2), noImage)
		},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, batching)
			before(b)
			b.wantRows("1:unknown 2:unknown 3:" + name + "/listing")
			if b.rec.StillPresent != 0 {
				t.Fatalf("%d deletions proved wrong before", b.rec.StillPresent)
			}
			b.claim().feed(listed(1, 3))
			b.wantRows("1:intended 2:deleted/listing 3:intended")
			if b.rec.StillPresent != 1 {
				t.Errorf("%d deletions proved wrong, want 1", b.rec.StillPresent)
			}
		})
	}
}

// A refusal of another call stops this one: its faults may be the same outage, and cost
// no attempt.
func TestFaultsWhileTheBreakerOpensCostNoAttempt(t *testing.T) {
	for name, c := range map[string]struct {
		before []jobs.Answer
		wait   jobs.Waiting
	}{
		"of a listing": {nil, jobs.WaitBreaker}, "of a delete": {[]jobs.Answer{listed(1)}, jobs.WaitSettle},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			if c.before == nil {
				until[purge.List](b)
			} else {
				until[purge.Send](b, c.before...)
			}
			b.stop(jobs.WaitBreaker)
			b.feed(timeout)
			if b.last.Waiting != c.wait || b.last.Counters.Attempts != 0 {
				t.Errorf("it waits for %q after %d attempts", b.last.Waiting, b.last.Counters.Attempts)
			}
		})
	}
}

// The first stop says what the task waits for.
func TestTheFirstStopCounts(t *testing.T) {
	b := newBench(t)
	until[purge.List](b)
	b.stop("")
	b.stop(jobs.WaitBreaker)
	b.feed(listed(1))
	b.wantBack("", 0)
}

func TestAStopBeforeTheClaimIsTold(t *testing.T) {
	b := newBench(t)
	b.m = purge.New(b.cfg, b.rec)
	b.step(purge.Stop{})
	b.feed()
	b.wantBack("", 0)
	b.wantCalls()
}

func TestALeaseLostDuringAListing(t *testing.T) {
	b := newBench(t)
	e := until[purge.List](b)
	if b.step(purge.WriteRefused{Why: purge.LeaseLost}); b.e != nil {
		t.Fatalf("effect %T: the listing's answer comes first", b.e)
	}
	b.e = e
	b.step(purge.Listed{Answer: b.answered(listed(1))})
	if _, ok := b.e.(purge.Save); !ok {
		t.Errorf("effect %T, want that the store decides", b.e)
	}
}

// A view is relied on up to its age, by the clock that says more.
func TestAViewsAge(t *testing.T) {
	for _, c := range []struct {
		name            string
		monotonic, wall time.Duration
		fresh           bool
	}{
		{"at its age", 10 * time.Second, 10 * time.Second, true},
		{"older by both", 10*time.Second + 1, 10*time.Second + 1, false},
		{"older by the monotonic clock alone", 11 * time.Second, time.Second, false},
		{"older by the wall clock alone", time.Second, 11 * time.Second, false},
		{"before it by the monotonic clock alone", -time.Nanosecond, time.Second, false},
		{"before it by the wall clock alone", time.Second, -time.Nanosecond, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBench(t)
			b.now = time.Now() // carries a monotonic reading
			until[purge.List](b)
			a := listed(1)
			a.SentAt, a.AnsweredAt = b.now, b.now
			b.step(purge.Listed{Answer: a})
			until[purge.AskSlot](b)
			b.now = slept(b.now.Add(c.monotonic), c.wall-c.monotonic)
			b.step(purge.SlotGranted{})
			if _, fresh := b.e.(purge.Intend); fresh != c.fresh {
				t.Errorf("effect %T", b.e)
			}
		})
	}
}

// What is left of the listing lag ends with it: at that moment nothing is left.
func TestARestEndsWithTheListingLag(t *testing.T) {
	for left, want := range map[time.Duration]purge.Rest{time.Nanosecond: purge.RestSettle, 0: purge.RestClear} {
		b := newBench(t, func(b *bench) { b.cfg.ViewMaxAge = time.Minute })
		until[purge.Intend](b, listed(1, 2), deleted)
		ran := b.rec.Images[1].AnsweredAt
		if ran.IsZero() {
			ran = b.now
		}
		until[purge.Send](b)
		b.now = ran.Add(b.cfg.ListingLag - left)
		b.step(purge.Answered{Answer: answer(jobs.ClassNotRun, 200, "521")})
		w := b.e.(purge.End).Write
		if w.Rest != want || w.RestFor != left {
			t.Errorf("with %v left: rest %s for %v", left, w.Rest, w.RestFor)
		}
	}
}

// A fact at the wrong time stops the machine, where what it would act on is there, too.
func TestFactAfterADeletePanics(t *testing.T) {
	slot := func(b *bench) { until[purge.AskSlot](b, listed(1, 2), deleted) }
	for _, c := range []struct {
		to   func(*bench)
		fact purge.Fact
	}{
		{slot, purge.Claimed{}}, {slot, purge.Listed{}}, {slot, purge.IntentCommitted{}}, {slot, purge.WriteFailed{}},
		{slot, purge.Answered{}}, {slot, purge.Written{}}, {slot, purge.WriteRefused{Why: purge.Paused}},
		{func(b *bench) { until[purge.List](b) }, purge.SlotGranted{}},
	} {
		func() {
			b := newBench(t)
			c.to(b)
			defer func() {
				if recover() == nil {
					t.Errorf("%T at the wrong time: no panic", c.fact)
				}
			}()
			b.step(c.fact)
		}()
	}
}

// Every step that random histories take is in the machine's table, but for what these
// bring about and no worker does.
func TestStepsAreInTheTable(t *testing.T) {
	beyond := func(s purge.Transition) bool {
		return s.Fact == "listed" && s.Detail == "not_sent" || s.Fact == "answered" && s.Detail == "listed" || s.Fact == "claimed" && s.Why == "settle"
	}
	table := make(map[purge.Transition]bool)
	for _, s := range purge.Transitions() {
		table[s] = true
	}
	taken := make(map[purge.Transition]bool)
	for seed := range uint64(300) {
		r := newTrial(newSeeded(seed+1), few)
		r.cfg.Watch = func(s purge.Transition) { taken[s] = true }
		r.run()
	}
	for s := range taken {
		if !table[s] && !beyond(s) {
			t.Errorf("the table lacks %+v", s)
		}
	}
}
