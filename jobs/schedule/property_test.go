package schedule_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/robfig/cron/v3"
	"pgregory.net/rapid"

	"github.com/imagepurge/imagepurge/jobs/schedule"
)

var (
	zones = rapid.SampledFrom([]string{
		"UTC", "Europe/Berlin", "Europe/Dublin", "America/New_York", "America/St_Johns", "America/Santiago",
		"Australia/Lord_Howe", "Asia/Kolkata", "Asia/Beirut", "Africa/Cairo", "Africa/Casablanca", "Pacific/Chatham",
	})
	expressions = rapid.Custom(func(t *rapid.T) string {
		return fmt.Sprintf("%s %s %s * %s",
			rapid.SampledFrom([]string{"0", "30", "59", "0,30", "*/15", "7-9", "*"}).Draw(t, "minute"),
			rapid.SampledFrom([]string{"*", "0", "1", "2", "23", "1,3", "22-23,0-4", "*/5", "8,11,14"}).Draw(t, "hour"),
			rapid.SampledFrom([]string{"*", "*", "?", "1", "*/3", "29,30"}).Draw(t, "day"),
			rapid.SampledFrom([]string{"*", "*", "SUN", "mon-fri"}).Draw(t, "weekday"))
	})
	lengths = rapid.OneOf(
		rapid.SampledFrom([]time.Duration{time.Nanosecond, time.Minute, 90 * time.Minute, 5 * time.Hour, 24 * time.Hour, 25 * time.Hour, schedule.MaxLength}),
		rapid.Map(rapid.Int64Range(int64(10*time.Minute), int64(schedule.MaxLength)), func(n int64) time.Duration { return time.Duration(n) }),
	)
)

func drawPlan(t *rapid.T) schedule.Plan {
	zone, err := time.LoadLocation(zones.Draw(t, "zone"))
	if err != nil {
		t.Fatal(err)
	}
	plan, err := schedule.New(expressions.Draw(t, "expression"), lengths.Draw(t, "length"), zone)
	if err != nil {
		t.Fatal(err)
	}
	return plan
}

// drawInstant draws an instant, every second one from the days around a
// change of the plan's clocks.
func drawInstant(t *rapid.T, zone *time.Location) time.Time {
	at := time.Unix(rapid.Int64Range(1577836800, 2208988800).Draw(t, "unix"), 0).In(zone) // 2020 to 2040
	if _, change := at.ZoneBounds(); rapid.Bool().Draw(t, "near a change") && !change.IsZero() {
		at = change.Add(time.Duration(rapid.Int64Range(-48*60, 30*60).Draw(t, "minutes off")) * time.Minute)
	}
	return at.Add(time.Duration(rapid.SampledFrom([]int{0, 0, 1, 999999999}).Draw(t, "nanoseconds")))
}

func wallOf(at time.Time) time.Time {
	return time.Date(at.Year(), at.Month(), at.Day(), at.Hour(), at.Minute(), at.Second(), at.Nanosecond(), time.UTC)
}

// ticksByWatching watches the zone's clock minute by minute: whatever wall
// minutes of the expression it reaches or passes for the first time are a
// tick. It is the definition, without any arithmetic of zones.
func ticksByWatching(t *rapid.T, plan schedule.Plan, from, until time.Time) []time.Time {
	parsed, err := cron.ParseStandard(plan.Expression())
	if err != nil {
		t.Fatal(err)
	}
	spec := parsed.(*cron.SpecSchedule)
	spec.Location = time.UTC
	var all []time.Time
	at := from.Truncate(time.Minute).Add(-3 * time.Hour).In(plan.Zone())
	seen := wallOf(at)
	for ; !at.After(until); at = at.Add(time.Minute) {
		wall := wallOf(at)
		if !wall.After(seen) {
			continue
		}
		if tick := spec.Next(seen); !tick.After(wall) && at.After(from) {
			all = append(all, at)
		}
		seen = wall
	}
	return all
}

func TestNextIsWhatWatchingTheClockShows(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		plan := drawPlan(t)
		from := drawInstant(t, plan.Zone())
		until := from.Add(36 * time.Hour)
		var got []time.Time
		for at := plan.Next(from); !at.After(until); at = plan.Next(at) {
			if at.Location() != plan.Zone() {
				t.Fatalf("got %v, want it in %v", at, plan.Zone())
			}
			if len(got) > 0 && !at.After(got[len(got)-1]) {
				t.Fatalf("got %v after %v, want it later", at, got[len(got)-1])
			}
			got = append(got, at)
		}
		if diff := cmp.Diff(ticksByWatching(t, plan, from, until), got); diff != "" {
			t.Fatalf("ticks of %v after %v (-watched +got):\n%s", plan, from, diff)
		}
	})
}

func TestNextDoesNotDependOnTheLastAnswer(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		plan := drawPlan(t)
		from := drawInstant(t, plan.Zone())
		next := plan.Next(from)
		between := from.Add(time.Duration(rapid.Int64Range(0, int64(next.Sub(from))-1).Draw(t, "between")))
		if again := plan.Next(between); !again.Equal(next) {
			t.Fatalf("%v: got %v after %v, want %v as after %v", plan, again, between, next, from)
		}
	})
}

func TestEveryDayOfAYearHasItsTickOnce(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		zone := zones.Draw(t, "zone")
		hour, minute := rapid.IntRange(0, 23).Draw(t, "hour"), rapid.IntRange(0, 59).Draw(t, "minute")
		year := rapid.IntRange(2015, 2040).Draw(t, "year")
		plan, err := schedule.Parse(fmt.Sprintf("%d %d * * *", minute, hour), "5h", zone)
		if err != nil {
			t.Fatal(err)
		}
		day := time.Date(year, time.January, 1, hour, minute, 0, 0, time.UTC)
		at := plan.Next(time.Date(year-1, time.December, 31, hour, minute, 0, 0, plan.Zone()))
		for ; day.Year() == year; day = day.AddDate(0, 0, 1) {
			start, _ := at.ZoneBounds()
			if shown := wallOf(at); !shown.Equal(day) && (!at.Equal(start) || shown.Before(day) || shown.After(day.Add(time.Hour))) {
				t.Fatalf("%v: got %v, want the tick of %v", plan, at, day)
			}
			at = plan.Next(at)
		}
	})
}

// drawBlackout draws dates around an instant, some of which meet or overlap.
func drawBlackout(t *rapid.T, near time.Time) (all []schedule.Days) {
	for range rapid.IntRange(0, 4).Draw(t, "blackouts") {
		first := time.Date(near.Year(), near.Month(), near.Day()+rapid.IntRange(-10, 20).Draw(t, "day"), 0, 0, 0, 0, time.UTC)
		all = append(all, schedule.Days{First: first, Last: first.AddDate(0, 0, rapid.SampledFrom([]int{0, 0, 1, 6, 40}).Draw(t, "more days"))})
	}
	return all
}

// shut is a plan with blackout dates.
func shut(t *rapid.T, plan schedule.Plan, blackout []schedule.Days) schedule.Plan {
	c, err := schedule.NewCalendar([]schedule.Plan{plan}, blackout, time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	return c.Entries()[0]
}

// blackedOut tells whether the date that the zone's clock shows is one of them.
func blackedOut(at time.Time, zone *time.Location, blackout []schedule.Days) bool {
	local := at.In(zone)
	date := time.Date(local.Year(), local.Month(), local.Day(), 0, 0, 0, 0, time.UTC)
	return slices.ContainsFunc(blackout, func(d schedule.Days) bool { return !date.Before(d.First) && !date.After(d.Last) })
}

// Nothing is open on a blackout date, and nothing else is lost by it: each tick on
// another date is inside a window of the same calendar.
func TestBlackoutDatesTakeNoMoreThanTheirDays(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		bare := drawPlan(t)
		from := drawInstant(t, bare.Zone())
		blackout := drawBlackout(t, from)
		plan := shut(t, bare, blackout)
		for _, w := range plan.Windows(from, 8) {
			for at := w.OpensAt; at.Before(w.ClosesAt); at = at.Add(time.Hour) {
				if blackedOut(at, plan.Zone(), blackout) {
					t.Fatalf("%v without %v: %v is open at %v", plan, blackout, w, at)
				}
			}
			if blackedOut(w.ClosesAt.Add(-1), plan.Zone(), blackout) {
				t.Fatalf("%v without %v: %v ends late", plan, blackout, w)
			}
		}
		at := from
		for range 40 {
			at = bare.Next(at)
			if open := plan.At(at).Open; open == blackedOut(at, plan.Zone(), blackout) {
				t.Fatalf("%v without %v: open at its tick %v: %v", plan, blackout, at, open)
			}
		}
	})
}

func TestWindowsAreAFoldOfTheTicks(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		bare := drawPlan(t)
		from := drawInstant(t, bare.Zone())
		blackout := drawBlackout(t, from)
		plan := shut(t, bare, blackout)
		windows := plan.Windows(from, 12)
		for i, window := range windows {
			if tick := plan.Next(window.OpensAt.Add(-1)); !tick.Equal(window.OpensAt) {
				t.Fatalf("%v: %v opens without a tick", plan, window)
			}
			if i == len(windows)-1 {
				break
			}
			next := windows[i+1].OpensAt
			if next.Before(window.ClosesAt) {
				t.Fatalf("%v: %v reaches into the next window, %v", plan, window, windows[i+1])
			}
			if tick := plan.Next(window.ClosesAt.Add(-1)); !tick.Equal(next) {
				t.Fatalf("%v: %v, then the tick %v, but the next window opens at %v", plan, window, tick, next)
			}
			lasts := window.ClosesAt.Sub(window.OpensAt)
			cut := lasts < plan.Length() && blackedOut(window.ClosesAt, plan.Zone(), blackout) && !blackedOut(window.ClosesAt.Add(-1), plan.Zone(), blackout)
			if lasts == plan.Length() || cut {
				continue
			}
			// What may end a window early is its successor only: a month's
			// anchor, or a day that clocks have made shorter.
			noon := time.Date(next.Year(), next.Month(), 1, 12, 0, 0, 0, plan.Zone())
			anchored := !noon.After(next) && plan.Next(noon.Add(-1)).Equal(next)
			shortened := lasts+time.Hour >= plan.Length() && wallOf(next).Sub(wallOf(window.OpensAt))+time.Hour >= plan.Length()
			if lasts > plan.Length() || !window.ClosesAt.Equal(next) || !anchored && !shortened {
				t.Fatalf("%v: %v lasts %v, next %v", plan, window, lasts, next)
			}
		}
	})
}

func TestWindowsAreTheSameWheneverOneLooks(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		bare := drawPlan(t)
		from := drawInstant(t, bare.Zone())
		plan := shut(t, bare, drawBlackout(t, from))
		windows := plan.Windows(from, 12)
		span := windows[11].OpensAt.Sub(windows[0].OpensAt)
		now := windows[0].OpensAt.Add(time.Duration(rapid.Int64Range(0, int64(span)-1).Draw(t, "now")))
		if edge := windows[rapid.IntRange(0, 9).Draw(t, "window")]; rapid.Bool().Draw(t, "at an edge") {
			now = rapid.SampledFrom([]time.Time{edge.OpensAt, edge.ClosesAt.Add(-1), edge.ClosesAt}).Draw(t, "edge")
		}
		var want schedule.State
		rest := windows
		for len(rest) > 0 && !rest[0].ClosesAt.After(now) {
			rest = rest[1:]
		}
		want.NextOpen = rest[0].OpensAt
		if rest[0].Contains(now) {
			want = schedule.State{Open: true, OpenedAt: rest[0].OpensAt, ClosesAt: rest[0].ClosesAt, NextOpen: rest[1].OpensAt}
		}
		if diff := cmp.Diff(want, plan.At(now)); diff != "" {
			t.Fatalf("%v at %v (-want +got):\n%s", plan, now, diff)
		}
		if diff := cmp.Diff(rest, plan.Windows(now, len(rest))); diff != "" {
			t.Fatalf("windows of %v from %v (-want +got):\n%s", plan, now, diff)
		}
	})
}
