package purge_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/imagepurge/imagepurge/jobs"
	"github.com/imagepurge/imagepurge/jobs/purge"
)

// An intent is committed before anything is sent, with the answer of the delete
// before it in the same write.
func TestIntent(t *testing.T) {
	b := newBench(t)
	e := until[purge.Intend](b, listed(0, 1, 2), deleted)
	w := e.Write
	if w.Kind != purge.WriteIntent || w.Rest != purge.RestSettle || w.RestFor != time.Second+30*time.Second+2*time.Minute+30*time.Second {
		t.Errorf("%s, rest %s for %v", w.Kind, w.Rest, w.RestFor)
	}
	if len(w.Targets) != 1 || w.Targets[0].Position != 1 || w.Targets[0].Key != keys[1] {
		t.Errorf("targets %v", w.Targets)
	}
	// Image 0 has not changed since the listing was written.
	var states []jobs.ImageState
	for _, im := range w.Images {
		states = append(states, im.State)
	}
	if d := cmp.Diff([]jobs.ImageState{jobs.Intended, jobs.Deleted}, states); d != "" {
		t.Error(d)
	}
	if n := len(w.Calls); n != 2 || w.Calls[0].Class != jobs.ClassDeleted || w.Calls[1].Class != "" || !w.Calls[1].AnsweredAt.IsZero() {
		t.Errorf("calls %+v", w.Calls)
	}
	if w.Counters.APICalls != 3 || w.Images[0].Sends != 1 {
		t.Errorf("%d calls, %d sends: both rise with the intent", w.Counters.APICalls, w.Images[0].Sends)
	}
}

func TestIntentRefused(t *testing.T) {
	for _, c := range []struct {
		why     purge.Refusal
		outcome jobs.Outcome
		waiting jobs.Waiting
	}{
		{why: purge.LeaseShort}, {why: purge.Paused}, {why: purge.HeldBack},
		{why: purge.BreakerOpen, waiting: jobs.WaitBreaker},
		{why: purge.CancelledBy, outcome: jobs.CancelledOutcome},
	} {
		t.Run(string(c.why), func(t *testing.T) {
			b := newBench(t)
			until[purge.Intend](b, listed(1, 2))
			b.step(purge.WriteRefused{Why: c.why})
			b.feed()
			if c.outcome != "" {
				b.wantEnd(c.outcome)
			} else {
				b.wantBack(c.waiting, 0)
			}
			b.wantRows("1:planned 2:planned")
			b.wantRest(purge.RestClear, 0)
			untouched(t, b)
		})
	}
	t.Run("budget_pause", func(t *testing.T) {
		b := newBench(t)
		until[purge.Intend](b, listed(1, 2))
		b.step(purge.WriteRefused{Why: purge.BudgetPause})
		b.feed()
		if _, ok := b.e.(purge.List); !ok { // its view is dead, as after a 429 of its own
			t.Errorf("effect %T, want another listing", b.e)
		}
		untouched(t, b)
	})
	t.Run("lease_lost", func(t *testing.T) {
		b := newBench(t)
		until[purge.Intend](b, listed(1, 2))
		b.step(purge.WriteRefused{Why: purge.LeaseLost})
		if _, ok := b.e.(purge.Drop); !ok || !b.m.Done() {
			t.Errorf("effect %T", b.e)
		}
	})
}

// untouched demands that no trace of a delete is left: nothing was sent.
func untouched(t *testing.T, b *bench) {
	t.Helper()
	if b.rec.APICalls != 1 || b.rec.Images[0].Sends != 0 || b.rec.Images[1].Sends != 0 {
		t.Errorf("%d calls, %d and %d sends, want the listing alone", b.rec.APICalls, b.rec.Images[0].Sends, b.rec.Images[1].Sends)
	}
	if b.rec.Sequence != 1 {
		t.Errorf("sequence %d: a call that never was has a number", b.rec.Sequence)
	}
}

func TestIntentWithUnknownFate(t *testing.T) {
	b := newBench(t)
	e := until[purge.Intend](b, listed(1, 2), deleted)
	b.apply(e.Write) // it was committed, and nobody was told
	b.step(purge.WriteFailed{})
	b.feed()
	b.wantBack(jobs.WaitBackoff, 5*time.Second)
	b.wantRows("1:planned 2:deleted/answer")
	if b.rec.Images[0].Sends != 0 || b.rec.Images[1].Sends != 1 || b.rec.APICalls != 2 {
		t.Errorf("%+v", b.rec)
	}
	if c := b.last.Calls[len(b.last.Calls)-1]; c.Class != jobs.ClassNotSent || !c.SentAt.IsZero() {
		t.Errorf("recorded as %+v", c)
	}
}

func TestLeaseLost(t *testing.T) {
	lost := purge.WriteRefused{Why: purge.LeaseLost}
	t.Run("while a call is under way, its answer comes first", func(t *testing.T) {
		b := newBench(t)
		until[purge.Send](b, listed(1))
		e := b.e
		if b.step(lost); b.e != nil {
			t.Fatalf("effect %T", b.e)
		}
		b.e = e
		b.feed(deleted)
		b.wantRows("1:deleted/answer")
	})
	t.Run("while a slot is waited for, what is known is offered once, and nothing is sent", func(t *testing.T) {
		b := newBench(t)
		until[purge.AskSlot](b, listed(1, 2), deleted)
		b.step(lost)
		end, ok := b.e.(purge.End)
		if !ok || end.Write.Kind != purge.WriteGiveBack || end.Write.After != 0 || end.Write.Deleted != 1 {
			t.Fatalf("effect %+v", b.e)
		}
		b.step(lost)
		if _, ok := b.e.(purge.Drop); !ok || !b.m.Done() {
			t.Errorf("effect %T", b.e)
		}
	})
	for name, to := range map[string]func(*bench){
		"while a listing is written": func(b *bench) { until[purge.Save](b, listed(1)) },
		"at the end":                 func(b *bench) { until[purge.End](b, listed()) },
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			to(b)
			b.step(lost)
			if _, ok := b.e.(purge.Drop); !ok || !b.m.Done() {
				t.Errorf("effect %T", b.e)
			}
		})
	}
}
