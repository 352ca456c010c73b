package schedule_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/imagepurge/imagepurge/jobs/schedule"
)

// A bubble's clock begins at midnight UTC of 1 January 2000.

func TestRunnerWakesAtOpeningsAndClosings(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		runner := schedule.NewRunner(slog.New(slog.DiscardHandler))
		var woken []time.Time
		runner.Add(parse(t, "30 0 * * *", "1h30m10s", "UTC"), func() { woken = append(woken, time.Now().UTC()) })
		runner.Start()
		time.Sleep(3 * time.Hour)
		if err := runner.Stop(t.Context()); err != nil {
			t.Fatal(err)
		}
		at := map[string]bool{}
		for i, wake := range woken {
			at[wake.Format(time.TimeOnly)] = true
			if i > 0 && wake.Sub(woken[i-1]) > time.Minute {
				t.Errorf("got no wake between %v and %v", woken[i-1], wake)
			}
		}
		for _, edge := range []string{"00:30:00", "02:00:10"} {
			if !at[edge] {
				t.Errorf("got no wake at %s: %v", edge, woken)
			}
		}
		before := len(woken)
		time.Sleep(time.Hour)
		if len(woken) != before {
			t.Errorf("got %d wakes after Stop", len(woken)-before)
		}
	})
}

func TestRunnerOpensRunsTogetherWithAStepper(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		// 02:30 in Berlin, over the nights of spring and autumn 2000: 26
		// March at 01:00Z, 29 October at 00:30Z and no second time.
		plan := parse(t, "30 2 * * *", "5h", "Europe/Berlin")
		for _, c := range []struct{ from, opens, closes string }{
			{"2000-03-25T12:00:00Z", "2000-03-26T01:00:00Z", "2000-03-26T06:00:00Z"},
			{"2000-10-28T12:00:00Z", "2000-10-29T00:30:00Z", "2000-10-29T05:30:00Z"},
		} {
			time.Sleep(time.Until(instant(t, c.from)))
			stepper := schedule.NewStepper(plan)
			var opened, closed []time.Time
			look := func() {
				for _, effect := range stepper.Step(time.Now(), schedule.Clock{}) {
					switch effect.(type) {
					case schedule.OpenRun:
						opened = append(opened, time.Now())
					case schedule.CloseRun:
						closed = append(closed, time.Now())
					}
				}
			}
			look()
			runner := schedule.NewRunner(slog.New(slog.DiscardHandler))
			runner.Add(plan, look)
			runner.Start()
			time.Sleep(20 * time.Hour)
			if err := runner.Stop(t.Context()); err != nil {
				t.Fatal(err)
			}
			checkInstants(t, opened, c.opens)
			checkInstants(t, closed, c.closes)
		}
	})
}

func TestRunnerSkipsWhileAWakeIsAtWork(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		runner := schedule.NewRunner(slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})))
		var slow, quick atomic.Int32
		runner.Add(parse(t, "@hourly", "1h", "UTC"), func() { slow.Add(1); time.Sleep(10*time.Minute + time.Second) })
		runner.Add(parse(t, "@hourly", "1h", "UTC"), func() { quick.Add(1) })
		runner.Start()
		time.Sleep(10*time.Minute + 30*time.Second)
		if slow, quick := slow.Load(), quick.Load(); slow != 1 || quick != 10 {
			t.Errorf("got %d slow and %d quick wakes, want 1 and 10", slow, quick)
		}
		time.Sleep(2 * time.Minute)

		// The slow one is at work: Stop waits for it as long as it may.
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := runner.Stop(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v, want the deadline", err)
		}
		begun := time.Now()
		if err := runner.Stop(t.Context()); err != nil {
			t.Error(err)
		}
		if time.Since(begun) == 0 {
			t.Error("got no wait for the wake at work")
		}
		synctest.Wait() // robfig logs its own stop a moment after it
		if !strings.Contains(log.String(), `level=DEBUG msg="cron: skip"`) {
			t.Errorf("got a log without the skip:\n%s", log.String())
		}
	})
}

func TestRunnerStopsUnstarted(t *testing.T) {
	if err := schedule.NewRunner(slog.New(slog.DiscardHandler)).Stop(t.Context()); err != nil {
		t.Error(err)
	}
}
