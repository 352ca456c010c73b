package schedule_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/imagepurge/imagepurge/jobs/schedule"
)

// years are the zones of which the whole year is gone through, and the hours in
// which their clocks change, which every schedule of these tests is in or around.
var years = []struct {
	zone  string
	ticks []string // minute and hour
}{
	{"Europe/Berlin", []string{"30 2", "0 2", "0 3", "30 1", "0 1", "30 12"}},
	{"America/New_York", []string{"30 2", "0 2", "0 3", "30 1", "0 1", "30 12"}},
	{"Australia/Lord_Howe", []string{"15 2", "45 1", "0 2", "30 2", "0 3", "30 12"}},
	{"Asia/Kolkata", []string{"30 2", "0 2", "0 3", "30 1", "0 1", "30 12"}},
}

// checkYear wants one window for each date of 2026, in order, each of its real
// length.
func checkYear(t *testing.T, zone *time.Location, length time.Duration, all []schedule.Window) {
	t.Helper()
	date := time.Date(2026, time.January, 1, 0, 0, 0, 0, time.UTC)
	for _, w := range all {
		if got, want := w.OpensAt.In(zone).Format(time.DateOnly), date.Format(time.DateOnly); got != want {
			t.Fatalf("a window on %s (%v), want the one of %s", got, w.OpensAt, want)
		}
		if lasts := w.ClosesAt.Sub(w.OpensAt); lasts != length {
			t.Fatalf("the window of %s lasts %v, want %v", date.Format(time.DateOnly), lasts, length)
		}
		date = date.AddDate(0, 0, 1)
	}
	if date.Year() != 2027 || date.YearDay() != 1 {
		t.Fatalf("the last window is of the day before %v", date)
	}
}

func TestEveryNightOfAYearHasOneWindowOfItsRealLength(t *testing.T) {
	for _, y := range years {
		for _, tick := range y.ticks {
			t.Run(y.zone+" "+tick, func(t *testing.T) {
				plan := parse(t, tick+" * * *", "5h", y.zone)
				checkYear(t, plan.Zone(), 5*time.Hour, schedule.Of(plan).Windows(time.Date(2026, time.January, 1, 0, 0, 0, 0, plan.Zone()), 365))
			})
		}
	}
}

// The rows that workers make of it, looking at odd times and by turns: one a night.
func TestEveryNightOfAYearHasOneRun(t *testing.T) {
	for _, y := range years {
		for _, tick := range y.ticks {
			t.Run(y.zone+" "+tick, func(t *testing.T) {
				plan := parse(t, tick+" * * *", "5h", y.zone)
				runs := &record{}
				steppers := []*schedule.Stepper{schedule.NewStepper(schedule.Of(plan)), schedule.NewStepper(schedule.Of(plan))}
				// Every 113 minutes: at another minute of the night each time, and in
				// either pass of an hour that is repeated.
				end := time.Date(2027, time.January, 1, 0, 0, 0, 0, plan.Zone())
				for now, i := time.Date(2026, time.January, 1, 0, 0, 0, 0, plan.Zone()), 0; now.Before(end); now, i = now.Add(113*time.Minute), i+1 {
					runs.tell(steppers[i%2], now, schedule.Clock{})
				}
				checkYear(t, plan.Zone(), 5*time.Hour, runs.runs)
			})
		}
	}
}

// Two windows a night that touch: the nights in which clocks change neither lose
// nor double one, and the year has as many hours as it has.
func TestTwoWindowsANightThroughAYear(t *testing.T) {
	for _, y := range years {
		t.Run(y.zone, func(t *testing.T) {
			c := calendarOf(t, fmt.Sprintf("0 2 * * * for 1h0m0s; 0 22 * * * for 3h0m0s; in %s", y.zone))
			from := time.Date(2026, time.January, 1, 1, 0, 0, 0, c.Zone())
			all := c.Windows(from, 2*365)
			var sum time.Duration
			for i, w := range all {
				sum += w.ClosesAt.Sub(w.OpensAt)
				if want := []string{"02", "22"}[i%2]; w.OpensAt.In(c.Zone()).Format("15") != want && w.OpensAt.In(c.Zone()).Format("15:04") != "03:00" && w.OpensAt.In(c.Zone()).Format("15:04") != "02:30" {
					t.Fatalf("window %d opens at %v", i, w.OpensAt.In(c.Zone()))
				}
			}
			if sum != 365*4*time.Hour {
				t.Errorf("the year has %v of windows, want %v", sum, 365*4*time.Hour)
			}
			if last := all[len(all)-1].OpensAt.In(c.Zone()); last.Format(time.DateOnly) != "2026-12-31" {
				t.Errorf("the last opens at %v", last)
			}
		})
	}
}
