package purge_test

import (
	"testing"
	"time"

	"github.com/imagepurge/imagepurge/jobs"
	"github.com/imagepurge/imagepurge/jobs/purge"
)

// until goes on to an effect of the same type as e.
func until[E purge.Effect](b *bench, answers ...jobs.Answer) E {
	b.t.Helper()
	for range 20 {
		if e, ok := b.e.(E); ok && len(answers) == 0 {
			return e
		}
		switch e := b.e.(type) {
		case purge.AskSlot:
			b.step(purge.SlotGranted{})
		case purge.Save:
			b.apply(e.Write)
			b.step(purge.Written{})
		case purge.Intend:
			b.apply(e.Write)
			b.step(purge.IntentCommitted{Clearance: b.permit(e.Write)})
		case purge.List:
			b.calls = append(b.calls, "list")
			b.step(purge.Listed{Answer: b.answered(answers[0])})
			answers = answers[1:]
		case purge.Send:
			b.calls = append(b.calls, "delete")
			b.step(purge.Answered{Answer: b.answered(answers[0])})
			answers = answers[1:]
		default:
			b.t.Fatalf("effect %T", b.e)
		}
	}
	b.t.Fatal("no such effect")
	panic("unreachable")
}

// stop asks the machine to stop; what is under way must end first.
func (b *bench) stop(waiting jobs.Waiting) {
	b.t.Helper()
	e := b.e
	if b.step(purge.Stop{Waiting: waiting}); b.e == nil {
		b.e = e
	} else if _, ok := b.e.(purge.End); !ok {
		b.t.Fatalf("a stop leads to %T", b.e)
	}
}

func TestStop(t *testing.T) {
	t.Run("while it waits for the first slot", func(t *testing.T) {
		b := newBench(t)
		until[purge.AskSlot](b)
		b.stop("")
		b.feed()
		b.wantBack("", 0)
		b.wantCalls()
	})
	t.Run("during the listing", func(t *testing.T) {
		b := newBench(t)
		until[purge.List](b)
		b.stop("")
		b.feed(listed(1))
		b.wantBack("", 0)
		b.wantRows("1:planned")
	})
	t.Run("while the listing is written", func(t *testing.T) {
		b := newBench(t)
		until[purge.Save](b, listed(1))
		b.stop("")
		b.feed()
		b.wantBack("", 0)
	})
	t.Run("while it waits for a delete's slot", func(t *testing.T) {
		b := newBench(t)
		until[purge.AskSlot](b, listed(1))
		b.stop(jobs.WaitBreaker)
		b.feed()
		b.wantBack(jobs.WaitBreaker, 0)
	})
	t.Run("during the intent: it is withdrawn", func(t *testing.T) {
		b := newBench(t)
		until[purge.Intend](b, listed(1))
		b.stop("")
		b.feed()
		b.wantBack("", 0)
		b.wantRows("1:planned")
		b.wantRest(purge.RestClear, 0)
		if b.rec.Images[0].Sends != 0 || b.rec.APICalls != 1 {
			t.Errorf("%d sends, %d calls", b.rec.Images[0].Sends, b.rec.APICalls)
		}
		if c := b.last.Calls[len(b.last.Calls)-1]; c.Class != jobs.ClassNotSent || c.Kind != jobs.DeleteCall {
			t.Errorf("the withdrawn delete is recorded as %+v", c)
		}
	})
	for _, c := range []struct {
		answer jobs.Answer
		rows   string
		wait   jobs.Waiting
		after  time.Duration
	}{
		{deleted, "1:planned 2:deleted/answer", "", 0},
		{busy, "1:planned 2:planned", "", 0},
		{noImage, "1:planned 2:planned", "", 0},
		{tooMany, "1:planned 2:planned", "", 0},
		{timeout, "1:planned 2:unknown", jobs.WaitSettle, 150 * time.Second},
	} {
		t.Run("during a delete that ends "+string(c.answer.Class), func(t *testing.T) {
			b := newBench(t)
			until[purge.Send](b, listed(1, 2))
			b.stop("")
			b.feed(c.answer)
			b.wantBack(c.wait, c.after)
			b.wantRows(c.rows)
		})
	}
	t.Run("twice, and after the end", func(t *testing.T) {
		b := newBench(t)
		b.stop("")
		e := b.e
		if b.step(purge.Stop{}); b.e != nil {
			t.Errorf("a second stop leads to %T", b.e)
		}
		b.e = e
		b.feed()
		if b.step(purge.Stop{}); b.e != nil {
			t.Errorf("a stop after the end leads to %T", b.e)
		}
	})
	t.Run("interruptions are no attempts", func(t *testing.T) {
		b := newBench(t)
		until[purge.List](b)
		b.stop("")
		b.feed(timeout)
		b.wantBack("", 0)
		if b.last.Counters.Attempts != 0 {
			t.Errorf("%d attempts", b.last.Counters.Attempts)
		}
	})
}

func TestFactThatDoesNotFitPanics(t *testing.T) {
	for _, f := range []purge.Fact{
		purge.Claimed{}, purge.Listed{}, purge.IntentCommitted{}, purge.WriteFailed{}, purge.Answered{}, purge.Written{},
		purge.WriteRefused{Why: purge.Paused},
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%T while a slot is waited for: no panic", f)
				}
			}()
			b := newBench(t)
			until[purge.AskSlot](b)
			b.step(f)
		}()
	}
}
