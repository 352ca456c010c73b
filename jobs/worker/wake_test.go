package worker_test

import (
	"testing"
	"time"

	"github.com/imagepurge/imagepurge/jobs/purge"
	"github.com/imagepurge/imagepurge/jobs/worker"
)

// idle is a core that has found nothing to do.
func idle(t *testing.T, listening bool, o purge.Outlook) *world {
	t.Helper()
	cfg := testConfig()
	cfg.Once = false
	w := newWorld(t, 1, cfg)
	w.told(worker.Started{})
	w.told(worker.Woken{Listening: listening})
	w.told(worker.ClaimEnded{})
	w.now = w.now.Add(200 * time.Millisecond) // of the bell that told whether it is listening
	w.told(worker.Tick{})
	w.told(worker.ClaimEnded{})
	w.told(worker.Surveyed{Outlook: o})
	return w
}

// claimsAfter says how long it is until the core claims, told of nothing.
func (w *world) claimsAfter() time.Duration {
	const step = 10 * time.Millisecond
	for d := time.Duration(0); d < time.Minute; d += step {
		if _, ok := first[worker.ClaimTasks](w.core.Step(w.now.Add(d), worker.Tick{})); ok {
			return d
		}
	}
	w.Fatal("it never claims again")
	return 0
}

func TestAnIdleWorkerPollsRarelyWhereItIsToldOfWork(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		listening bool
		outlook   purge.Outlook
		want      time.Duration // with Random at its middle
	}{
		"not told":               {want: time.Second},
		"told":                   {listening: true, want: 4500 * time.Millisecond},
		"told, a task is ready":  {listening: true, outlook: purge.Outlook{Ready: true}, want: time.Second},
		"told, a task is due":    {listening: true, outlook: purge.Outlook{Waiting: true, NextDue: time.Unix(3, 0), Now: time.Unix(0, 0)}, want: 3 * time.Second},
		"told, a task is leased": {listening: true, outlook: purge.Outlook{Leased: true}, want: 4500 * time.Millisecond},
	} {
		if got := idle(t, c.listening, c.outlook).claimsAfter(); got != c.want {
			t.Errorf("%s: it claims after %v, want %v", name, got, c.want)
		}
	}
}

func TestABellMakesAnIdleWorkerClaimAtOnce(t *testing.T) {
	t.Parallel()
	w := idle(t, true, purge.Outlook{})
	w.told(worker.Woken{Listening: true})
	if got := w.claimsAfter(); got != 100*time.Millisecond {
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
		w.told(worker.Started{})
		if during == "claim" {
			w.told(worker.Woken{Listening: true})
		}
		w.told(worker.ClaimEnded{})
		if during == "survey" {
			w.told(worker.Woken{Listening: true})
		}
		w.told(worker.Surveyed{})
		if got := w.claimsAfter(); got != 100*time.Millisecond {
			t.Errorf("work came during the %s: it claims after %v", during, got)
		}
	}
}
