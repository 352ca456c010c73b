package schedule_test

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/imagepurge/imagepurge/jobs/schedule"
)

// A run from 01:00 to 06:00 on the 15th, and calendars that were not its own.
func TestAnOpenRunStandsWhateverTheCalendarSays(t *testing.T) {
	run := window(t, "2025-01-15T01:00:00Z", "2025-01-15T06:00:00Z")
	for _, c := range []struct {
		name, calendar, now string
		run                 bool   // it is open
		due                 string // the opening of a window whose run is to be made
		next                string
	}{
		{"its own calendar", "0 1 * * * for 5h0m0s; in UTC", "2025-01-15T03:00:00Z", true, "", "2025-01-16T01:00:00Z"},
		{"another hour", "0 13 * * * for 5h0m0s; in UTC", "2025-01-15T03:00:00Z", true, "", "2025-01-15T13:00:00Z"},
		{"another zone", "0 1 * * * for 5h0m0s; in Europe/Berlin", "2025-01-15T03:00:00Z", true, "", "2025-01-16T00:00:00Z"},
		{"a shorter window", "0 1 * * * for 1h0m0s; in UTC", "2025-01-15T03:00:00Z", true, "", "2025-01-16T01:00:00Z"},
		{"a longer window", "0 1 * * * for 12h0m0s; in UTC", "2025-01-15T03:00:00Z", true, "", "2025-01-16T01:00:00Z"},
		{"a blackout date", "0 1 * * * for 5h0m0s; in UTC; not on 2025-01-15", "2025-01-15T03:00:00Z", true, "", "2025-01-16T01:00:00Z"},
		{"a tick inside the run joins it", "0 4 * * * for 5h0m0s; in UTC", "2025-01-15T04:30:00Z", true, "", "2025-01-16T04:00:00Z"},
		{"also after its end: no run is added", "0 4 * * * for 5h0m0s; in UTC", "2025-01-15T06:00:00Z", false, "", "2025-01-16T04:00:00Z"},
		{"nor by a tick before it", "30 0 * * * for 8h0m0s; in UTC", "2025-01-15T07:00:00Z", false, "", "2025-01-16T00:30:00Z"},
		{"a window that begins at its end opens", "0 6 * * * for 1h0m0s; in UTC", "2025-01-15T06:00:00Z", false, "2025-01-15T06:00:00Z", "2025-01-16T06:00:00Z"},
		{"a window of the same day opens, late as well", "0 13 * * * for 5h0m0s; in UTC", "2025-01-15T17:59:59Z", false, "2025-01-15T13:00:00Z", "2025-01-16T13:00:00Z"},
		{"one that is over is not made up", "0 13 * * * for 5h0m0s; in UTC", "2025-01-15T18:00:00Z", false, "", "2025-01-16T13:00:00Z"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := calendarOf(t, c.calendar).Standing(run, instant(t, c.now))
			var want schedule.Standing
			if want.NextOpen = instant(t, c.next); c.run {
				want.Run = run
			}
			var due time.Time
			if c.due != "" {
				due = instant(t, c.due)
			}
			if !got.Due.OpensAt.Equal(due) {
				t.Errorf("due is %v, want %v", got.Due, c.due)
			}
			got.Due = schedule.Window{}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("standing (-want +got):\n%s", diff)
			}
		})
	}
}

func TestAStepperThatIsRefusedAsksAgainLater(t *testing.T) {
	stepper := schedule.NewStepper(calendarOf(t, "0 1 * * * for 5h0m0s; in UTC"))
	now := instant(t, "2025-01-15T02:00:00Z")
	w := window(t, "2025-01-15T01:00:00Z", "2025-01-15T06:00:00Z")
	next := schedule.WakeAt{At: instant(t, "2025-01-16T01:00:00Z")}
	for range 2 {
		if diff := cmp.Diff([]schedule.Effect{schedule.MakeRun{Window: w}, next}, stepper.Step(now, schedule.Clock{})); diff != "" {
			t.Fatalf("asking (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff([]schedule.Effect{next}, stepper.Step(now, schedule.Made{})); diff != "" {
			t.Fatalf("refused (-want +got):\n%s", diff)
		}
	}
	if diff := cmp.Diff([]schedule.Effect{schedule.OpenRun{Run: w}, schedule.WakeAt{At: w.ClosesAt}}, stepper.Step(now, schedule.Made{Run: w})); diff != "" {
		t.Fatalf("made (-want +got):\n%s", diff)
	}
}

// house is several workers and the table of runs.
type house struct {
	record
	workers []*schedule.Stepper
	working []schedule.Window // what each works on
	ended   []schedule.Window // what each has ended by itself
}

func (h *house) tell(t *rapid.T, i int, now time.Time, event schedule.Event) (wake time.Time) {
	for _, e := range h.record.tell(h.workers[i], now, event) {
		switch e := e.(type) {
		case schedule.CloseRun:
			if e.Run != h.working[i] {
				t.Fatalf("worker %d closes %v, while it works on %v", i, e.Run, h.working[i])
			}
			h.working[i] = schedule.Window{}
		case schedule.OpenRun:
			if h.working[i] != (schedule.Window{}) || e.Run == h.ended[i] {
				t.Fatalf("worker %d opens %v, while it works on %v, after it has ended %v", i, e.Run, h.working[i], h.ended[i])
			}
			h.working[i] = e.Run
		case schedule.WakeAt:
			wake = e.At
		}
	}
	return wake
}

// Whatever calendars workers are started with, whoever adopts them when, and
// whenever anyone looks: runs are apart; while one is open every worker that looks
// works on it and on no other; one is made only by a calendar in use, for a window
// that is open; and an open run keeps its end.
func TestWorkersWithAnyCalendarsKeepToOneRun(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		first := drawPlan(t)
		from := drawInstant(t, first.Zone())
		calendars := []schedule.Calendar{schedule.Of(first)}
		for range rapid.IntRange(0, 2).Draw(t, "further calendars") {
			c, err := schedule.NewCalendar([]schedule.Plan{drawPlan(t)}, drawBlackout(t, from), from)
			if err != nil {
				t.Fatal(err)
			}
			calendars = append(calendars, c)
		}
		draw := func(what string) schedule.Calendar { return rapid.SampledFrom(calendars).Draw(t, what) }
		h := &house{}
		for range rapid.IntRange(1, 3).Draw(t, "workers") {
			h.workers = append(h.workers, schedule.NewStepper(draw("calendar")))
			h.working, h.ended = append(h.working, schedule.Window{}), append(h.ended, schedule.Window{})
		}
		now := from
		for range rapid.IntRange(1, 25).Draw(t, "steps") {
			i := rapid.IntRange(0, len(h.workers)-1).Draw(t, "worker")
			var event schedule.Event = schedule.Clock{}
			switch rapid.IntRange(0, 9).Draw(t, "event") {
			case 0: // started anew
				h.workers[i], h.working[i], h.ended[i] = schedule.NewStepper(draw("calendar")), schedule.Window{}, schedule.Window{}
			case 1:
				h.workers[i].Use(draw("calendar"))
			case 2:
				if h.working[i] != (schedule.Window{}) {
					// What it had been told may be old: it has been looking away.
					h.tell(t, i, now, schedule.Clock{})
					event, h.ended[i], h.working[i] = schedule.RunEnded{Run: h.working[i]}, h.working[i], schedule.Window{}
				}
			}
			before := slices.Clone(h.runs)
			wake := h.tell(t, i, now, event)
			if len(h.runs) > len(before) {
				made := h.runs[len(h.runs)-1]
				if !made.Contains(now) || slices.ContainsFunc(before, made.Overlaps) {
					t.Fatalf("at %v the run %v is made, beside %v", now, made, before)
				}
				if !slices.ContainsFunc(calendars, func(c schedule.Calendar) bool { return c.At(now).Window() == made }) {
					t.Fatalf("at %v the run %v is made, of no calendar", now, made)
				}
			}
			due := h.newest(now)
			if !due.Contains(now) || due == h.ended[i] {
				due = schedule.Window{}
			}
			if h.working[i] != due {
				t.Fatalf("at %v worker %d works on %v, want %v", now, i, h.working[i], due)
			}
			if !wake.After(now) || due != (schedule.Window{}) && !wake.Equal(due.ClosesAt) {
				t.Fatalf("at %v worker %d wakes at %v, working on %v", now, i, wake, due)
			}
			if rapid.Bool().Draw(t, "wakes") {
				now = wake
			} else {
				now = now.Add(time.Duration(rapid.Int64Range(0, int64(36*time.Hour)).Draw(t, "passes")))
			}
		}
	})
}
