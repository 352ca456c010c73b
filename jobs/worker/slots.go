package worker

import (
	"context"
	"math"
	"time"

	"github.com/imagepurge/imagepurge/jobs/budget"
)

// reserve asks the key's row for slots. The row's clock is read between the two
// times that go with the answer.
func (w *Worker) reserve(ctx context.Context, a budget.Ask) Event {
	sent := w.o.Now()
	block, err := w.o.Store.ReserveSlots(ctx, w.o.Terms.Organization, a)
	return SlotsReserved{Block: block, Sent: sent, At: w.o.Now(), Err: err}
}

// slowDown tells the row of a 429 until it knows: all workers of the key slow down
// by it.
func (w *Worker) slowDown(ctx context.Context, e SlowDown) {
	met := w.o.Now()
	for wait := firstRetry; ; wait = min(2*wait, lastRetry) {
		learnt, err := w.o.Store.NoteOverLimit(ctx, w.o.Terms.Organization, e.Age+w.o.Now().Sub(met), e.Asked)
		if err == nil {
			w.o.Log.Warn("over the API's limit (429): all workers of the key wait, and go on more slowly",
				"wait", learnt.Pause.Round(time.Second), "calls_per_minute", math.Round(learnt.Pace), "configured", math.Round(learnt.Limit))
			w.tellLearnt(learnt)
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
	}
}

// stepPace lets the row raise its pace. Where that fails it is due again.
func (w *Worker) stepPace(ctx context.Context) {
	learnt, err := w.o.Store.StepPace(ctx, w.o.Terms.Organization)
	if err == nil {
		w.tellLearnt(learnt)
	}
}

func (w *Worker) tellLearnt(l budget.Learnt) {
	if l.New {
		w.o.Log.Warn("the API accepts fewer calls than configured: the pace stays below; to change it: imagepurge org set-rate",
			"accepts_about", math.Round(l.Accepts), "configured", math.Round(l.Limit), "calls_per_minute", math.Round(l.Pace))
	}
}
