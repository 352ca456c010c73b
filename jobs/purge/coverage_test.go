package purge_test

import (
	"testing"
	"time"

	"github.com/imagepurge/imagepurge/jobs"
	"github.com/imagepurge/imagepurge/jobs/purge"
)

// The listing that decides a batch may show an image that an earlier one showed to be
// gone: it is there, whatever the row said.
func TestImageThatComesBackAfterABatch(t *testing.T) {
	b := newBench(t, batching)
	b.feed(listed(1, 2, 3), deleted)
	b.claim().feed(listed(1, 2), deleted)
	b.claim()
	b.feed(listed(1, 3))
	b.wantRows("1:intended 2:deleted/listing 3:intended")
	if b.rec.StillPresent != 2 {
		t.Errorf("%d deletions proved wrong, want 2", b.rec.StillPresent)
	}
	b.feed(deleted)
	b.claim().feed(listed())
	b.wantEnd(jobs.ImagesDeleted)
}

// A customer who is gone leaves no row in doubt: one that stayed unknown would keep the
// customer's other tasks waiting.
func TestCustomerGoneSettlesWhatIsUnknown(t *testing.T) {
	for _, answer := range []jobs.Answer{notFound, erased} {
		b := newBench(t)
		b.feed(listed(1, 2), timeout)
		b.claim().feed(answer)
		b.wantRows("1:absent/listing 2:absent/listing")
	}
}

// A view is as old as the answer that showed it, not as the question.
func TestViewIsAsOldAsItsAnswer(t *testing.T) {
	b := newBench(t)
	b.feed(listed(1), busy)
	b.claim()
	until[purge.List](b)
	a := listed(1)
	a.SentAt, a.AnsweredAt = b.now, b.now.Add(9*time.Second)
	b.now = a.AnsweredAt
	b.step(purge.Listed{Answer: a})
	b.apply(b.e.(purge.Save).Write)
	b.step(purge.Written{})
	if got := b.e.(purge.AskSlot).ViewAt; !got.Equal(a.AnsweredAt) {
		t.Errorf("the view is of %v, want %v", got, a.AnsweredAt)
	}
}

// A fact that is none stops the machine as one at the wrong time does.
func TestNoFactPanics(t *testing.T) {
	b := newBench(t)
	until[purge.AskSlot](b)
	defer func() {
		if recover() == nil {
			t.Error("no panic")
		}
	}()
	b.step(nil)
}

// What a watcher is told is the whole story of a machine: each step begins where the
// one before ended, and names what happened and what follows.
func TestWatchIsToldEveryStep(t *testing.T) {
	effects, facts := make(map[string]bool), make(map[string]bool)
	for seed := range uint64(300) {
		r := newTrial(newSeeded(seed+1), few)
		phase := ""
		r.cfg.Watch = func(s purge.Transition) {
			if s.Fact == "claimed" {
				phase = "unclaimed"
			}
			if s.From != phase || s.To == "" || s.Fact == "" {
				t.Fatalf("seed %d: after %q comes %+v", seed+1, phase, s)
			}
			if said := s.Detail != ""; said != (s.Fact == "listed" || s.Fact == "answered" || s.Fact == "write_refused") {
				t.Errorf("seed %d: %+v", seed+1, s)
			}
			if s.Why != "" && s.Effect != "end" {
				t.Errorf("seed %d: %+v", seed+1, s)
			}
			phase = s.To
			effects[s.Effect], facts[s.Fact] = true, true
		}
		r.run()
	}
	for _, e := range []string{"", "ask_slot", "list", "intend", "send", "save", "end", "drop"} {
		if !effects[e] {
			t.Errorf("no step has the effect %q", e)
		}
	}
	for _, f := range []string{"claimed", "slot_granted", "listed", "intent_committed", "write_refused", "write_failed", "answered", "written", "stop"} {
		if !facts[f] {
			t.Errorf("no step has the fact %q", f)
		}
	}
}
