package worker

import (
	"testing"
	"time"

	"github.com/imagepurge/imagepurge/jobs/purge"
)

// idle is a core that has found nothing to do.
func idle(t *testing.T, listening bool, o purge.Outlook) *world {
	t.Helper()
	cfg := testConfig()
	cfg.Once = false
	w := newWorld(t, 1, cfg)
	w.core.Step(w.now, Started{})
	w.core.Step(w.now, Woken{Listening: listening})
	w.core.Step(w.now, ClaimEnded{})
	w.now = w.now.Add(wakeSpread) // of the bell that told whether it is listening
	w.core.Step(w.now, Tick{})
	w.core.Step(w.now, ClaimEnded{})
	w.core.Step(w.now, Surveyed{Outlook: o})
	return w
}

// claimsAfter says how long it is until the core claims, told of nothing.
func (w *world) claimsAfter() time.Duration {
	const step = 10 * time.Millisecond
	for d := time.Duration(0); d < time.Minute; d += step {
		if contains[ClaimTasks](w.core.Step(w.now.Add(d), Tick{})) {
			return d
		}
	}
	w.t.Fatal("it never claims again")
	return 0
}

func TestAnIdleWorkerPollsRarelyWhereItIsToldOfWork(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		listening bool
		outlook   purge.Outlook
		want      time.Duration // with Random at its middle
	}{
		"not told":               {want: pollEvery},
		"told":                   {listening: true, want: idlePoll - idlePoll/10},
		"told, a task is ready":  {listening: true, outlook: purge.Outlook{Ready: true}, want: pollEvery},
		"told, a task is due":    {listening: true, outlook: purge.Outlook{Waiting: true, NextDue: time.Unix(3, 0), Now: time.Unix(0, 0)}, want: 3 * time.Second},
		"told, a task is leased": {listening: true, outlook: purge.Outlook{Leased: true}, want: idlePoll - idlePoll/10},
	} {
		if got := idle(t, c.listening, c.outlook).claimsAfter(); got != c.want {
			t.Errorf("%s: it claims after %v, want %v", name, got, c.want)
		}
	}
}

func TestABellMakesAnIdleWorkerClaimAtOnce(t *testing.T) {
	t.Parallel()
	w := idle(t, true, purge.Outlook{})
	w.core.Step(w.now, Woken{Listening: true})
	if got := w.claimsAfter(); got > wakeSpread {
		t.Errorf("it claims after %v", got)
	}
}

// The claim or the look that is under way may have been answered before the work
// came.
func TestWorkThatComesDuringAClaimIsNotPassedBy(t *testing.T) {
	t.Parallel()
	cfg := testConfig()
	cfg.Once = false
	for _, during := range []string{"claim", "survey"} {
		w := newWorld(t, 1, cfg)
		w.core.Step(w.now, Started{})
		if during == "claim" {
			w.core.Step(w.now, Woken{Listening: true})
		}
		w.core.Step(w.now, ClaimEnded{})
		if during == "survey" {
			w.core.Step(w.now, Woken{Listening: true})
		}
		w.core.Step(w.now, Surveyed{})
		if got := w.claimsAfter(); got > wakeSpread {
			t.Errorf("work came during the %s: it claims after %v", during, got)
		}
	}
}

func TestABellRungTwiceIsRungOnce(t *testing.T) {
	t.Parallel()
	b := NewBell()
	b.Listening(true)
	b.Ring()
	<-b.rings()
	select {
	case <-b.rings():
		t.Error("it rings again")
	default:
	}
	if none := (*Bell)(nil); none.rings() != nil {
		t.Error("no bell rings")
	}
}
