package schedule_test

import (
	"testing"
	"time"
	_ "time/tzdata" // not the machine's

	"github.com/google/go-cmp/cmp"
	"github.com/robfig/cron/v3"

	"github.com/imagepurge/imagepurge/jobs/schedule"
)

func parse(t testing.TB, expression, window, zone string) schedule.Plan {
	t.Helper()
	plan, err := schedule.Parse(expression, window, zone)
	if err != nil {
		t.Fatal(err)
	}
	return plan
}

func instant(t testing.TB, text string) time.Time {
	t.Helper()
	at, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		t.Fatal(err)
	}
	return at
}

func ticks(plan cron.Schedule, from time.Time, n int) []time.Time {
	var all []time.Time
	for range n {
		from = plan.Next(from)
		all = append(all, from)
	}
	return all
}

func checkInstants(t *testing.T, got []time.Time, want ...string) {
	t.Helper()
	var texts []string
	for _, at := range got {
		texts = append(texts, at.UTC().Format(time.RFC3339Nano))
	}
	if diff := cmp.Diff(want, texts); diff != "" {
		t.Errorf("instants (-want +got):\n%s", diff)
	}
}

// The nights in which clocks change: three ticks, the second in that night.
// robfig says what robfig/cron makes of the second by itself: that it agrees,
// that it has no tick in that night, or that it has two.
func TestNextWhereClocksChange(t *testing.T) {
	const (
		agrees = "agrees"
		skips  = "skips the night"
		twice  = "runs twice"
	)
	for _, c := range []struct {
		zone, expression, from string
		want                   [3]string
		robfig                 string
	}{
		// 30 March 2025: 02:00 CET → 03:00 CEST at 01:00Z.
		{"Europe/Berlin", "0 1 * * *", "2025-03-28T12:00:00Z",
			[3]string{"2025-03-29T00:00:00Z", "2025-03-30T00:00:00Z", "2025-03-30T23:00:00Z"}, agrees},
		{"Europe/Berlin", "0 2 * * *", "2025-03-28T12:00:00Z",
			[3]string{"2025-03-29T01:00:00Z", "2025-03-30T01:00:00Z", "2025-03-31T00:00:00Z"}, skips},
		{"Europe/Berlin", "30 2 * * *", "2025-03-28T12:00:00Z",
			[3]string{"2025-03-29T01:30:00Z", "2025-03-30T01:00:00Z", "2025-03-31T00:30:00Z"}, skips},
		{"Europe/Berlin", "0 3 * * *", "2025-03-28T12:00:00Z",
			[3]string{"2025-03-29T02:00:00Z", "2025-03-30T01:00:00Z", "2025-03-31T01:00:00Z"}, agrees},
		// 26 October 2025: 03:00 CEST → 02:00 CET at 01:00Z.
		{"Europe/Berlin", "0 2 * * *", "2025-10-24T12:00:00Z",
			[3]string{"2025-10-25T00:00:00Z", "2025-10-26T00:00:00Z", "2025-10-27T01:00:00Z"}, twice},
		{"Europe/Berlin", "30 2 * * *", "2025-10-24T12:00:00Z",
			[3]string{"2025-10-25T00:30:00Z", "2025-10-26T00:30:00Z", "2025-10-27T01:30:00Z"}, twice},
		{"Europe/Berlin", "0 3 * * *", "2025-10-24T12:00:00Z",
			[3]string{"2025-10-25T01:00:00Z", "2025-10-26T02:00:00Z", "2025-10-27T02:00:00Z"}, agrees},

		// 9 March 2025: 02:00 EST → 03:00 EDT at 07:00Z; 2 November: 02:00 EDT → 01:00 EST at 06:00Z.
		{"America/New_York", "30 2 * * *", "2025-03-07T12:00:00Z",
			[3]string{"2025-03-08T07:30:00Z", "2025-03-09T07:00:00Z", "2025-03-10T06:30:00Z"}, skips},
		{"America/New_York", "0 3 * * *", "2025-03-07T12:00:00Z",
			[3]string{"2025-03-08T08:00:00Z", "2025-03-09T07:00:00Z", "2025-03-10T07:00:00Z"}, agrees},
		{"America/New_York", "30 1 * * *", "2025-10-31T12:00:00Z",
			[3]string{"2025-11-01T05:30:00Z", "2025-11-02T05:30:00Z", "2025-11-03T06:30:00Z"}, twice},
		{"America/New_York", "30 2 * * *", "2025-10-31T12:00:00Z",
			[3]string{"2025-11-01T06:30:00Z", "2025-11-02T07:30:00Z", "2025-11-03T07:30:00Z"}, agrees},

		// Half an hour: 6 October 2024, 02:00 +1030 → 02:30 +11 at 15:30Z the day before.
		{"Australia/Lord_Howe", "15 2 * * *", "2024-10-04T00:00:00Z",
			[3]string{"2024-10-04T15:45:00Z", "2024-10-05T15:30:00Z", "2024-10-06T15:15:00Z"}, skips},
		{"Australia/Lord_Howe", "30 2 * * *", "2024-10-04T00:00:00Z",
			[3]string{"2024-10-04T16:00:00Z", "2024-10-05T15:30:00Z", "2024-10-06T15:30:00Z"}, agrees},
		{"Australia/Lord_Howe", "0 3 * * *", "2024-10-04T00:00:00Z",
			[3]string{"2024-10-04T16:30:00Z", "2024-10-05T16:00:00Z", "2024-10-06T16:00:00Z"}, skips},
		// 7 April 2024: 02:00 +11 → 01:30 +1030 at 15:00Z the day before.
		{"Australia/Lord_Howe", "45 1 * * *", "2024-04-05T00:00:00Z",
			[3]string{"2024-04-05T14:45:00Z", "2024-04-06T14:45:00Z", "2024-04-07T15:15:00Z"}, twice},
		{"Australia/Lord_Howe", "0 2 * * *", "2024-04-05T00:00:00Z",
			[3]string{"2024-04-05T15:00:00Z", "2024-04-06T15:30:00Z", "2024-04-07T15:30:00Z"}, skips},
		{"Australia/Lord_Howe", "30 2 * * *", "2024-04-05T00:00:00Z",
			[3]string{"2024-04-05T15:30:00Z", "2024-04-06T16:00:00Z", "2024-04-07T16:00:00Z"}, agrees},

		{"Asia/Kolkata", "30 2 * * *", "2025-03-28T12:00:00Z",
			[3]string{"2025-03-28T21:00:00Z", "2025-03-29T21:00:00Z", "2025-03-30T21:00:00Z"}, agrees},
		{"Asia/Kolkata", "0 0 * * *", "2025-10-24T12:00:00Z",
			[3]string{"2025-10-24T18:30:00Z", "2025-10-25T18:30:00Z", "2025-10-26T18:30:00Z"}, agrees},

		// Midnight itself is in the gap: 4 November 2018, 00:00 → 01:00 at 03:00Z.
		{"America/Sao_Paulo", "0 0 * * *", "2018-11-02T12:00:00Z",
			[3]string{"2018-11-03T03:00:00Z", "2018-11-04T03:00:00Z", "2018-11-05T02:00:00Z"}, skips},
		// 18 February 2018: 00:00 → 23:00 of the 17th at 02:00Z.
		{"America/Sao_Paulo", "0 0 * * *", "2018-02-16T12:00:00Z",
			[3]string{"2018-02-17T02:00:00Z", "2018-02-18T03:00:00Z", "2018-02-19T03:00:00Z"}, agrees},
		{"America/Sao_Paulo", "30 23 * * *", "2018-02-16T12:00:00Z",
			[3]string{"2018-02-17T01:30:00Z", "2018-02-18T01:30:00Z", "2018-02-19T02:30:00Z"}, twice},
		// 26 April 2024: 00:00 → 01:00 at 22:00Z the day before.
		{"Africa/Cairo", "30 0 * * *", "2024-04-24T12:00:00Z",
			[3]string{"2024-04-24T22:30:00Z", "2024-04-25T22:00:00Z", "2024-04-26T21:30:00Z"}, skips},
		// 31 March 2024: 00:00 → 01:00 at 22:00Z the day before; 27 October: 00:00 → 23:00 of the 26th at 21:00Z.
		{"Asia/Beirut", "0 0 * * *", "2024-03-29T12:00:00Z",
			[3]string{"2024-03-29T22:00:00Z", "2024-03-30T22:00:00Z", "2024-03-31T21:00:00Z"}, skips},
		{"Asia/Beirut", "0 0 * * *", "2024-10-25T12:00:00Z",
			[3]string{"2024-10-25T21:00:00Z", "2024-10-26T22:00:00Z", "2024-10-27T22:00:00Z"}, agrees},
	} {
		t.Run(c.zone+" "+c.expression+" "+c.from[:10], func(t *testing.T) {
			from := instant(t, c.from)
			plan := parse(t, c.expression, "5h", c.zone)
			checkInstants(t, ticks(plan, from, 3), c.want[:]...)

			alone, err := cron.ParseStandard(c.expression)
			if err != nil {
				t.Fatal(err)
			}
			theirs := ticks(alone, from.In(plan.Zone()), 3)
			got := agrees
			if last := instant(t, c.want[2]); theirs[1].Equal(last) {
				got = skips
			} else if !theirs[2].Equal(last) {
				got = twice
			}
			if got != c.robfig {
				t.Errorf("robfig alone: got %q, want %q: %v", got, c.robfig, theirs)
			}
		})
	}
}

func TestNextWithinAnHour(t *testing.T) {
	plan := parse(t, "*/15 * * * *", "10m", "Europe/Berlin")
	t.Run("the ticks of the gap and the one behind it are one", func(t *testing.T) {
		checkInstants(t, ticks(plan, instant(t, "2025-03-30T00:40:00Z"), 3),
			"2025-03-30T00:45:00Z", "2025-03-30T01:00:00Z", "2025-03-30T01:15:00Z")
	})
	t.Run("the second pass through the repeated hour has none", func(t *testing.T) {
		checkInstants(t, ticks(plan, instant(t, "2025-10-26T00:40:00Z"), 3),
			"2025-10-26T00:45:00Z", "2025-10-26T02:00:00Z", "2025-10-26T02:15:00Z")
	})
	t.Run("asked in the second pass", func(t *testing.T) {
		checkInstants(t, ticks(plan, instant(t, "2025-10-26T01:05:00Z"), 1), "2025-10-26T02:00:00Z")
	})
}

func TestNextIsAfter(t *testing.T) {
	plan := parse(t, "0 1 * * *", "5h", "UTC")
	for _, c := range []struct{ after, want string }{
		{"2025-01-15T00:59:59.999999999Z", "2025-01-15T01:00:00Z"},
		{"2025-01-15T01:00:00Z", "2025-01-16T01:00:00Z"},
		{"2025-01-15T01:00:00.000000001Z", "2025-01-16T01:00:00Z"},
	} {
		checkInstants(t, []time.Time{plan.Next(instant(t, c.after))}, c.want)
	}
}

func TestNextInOddCalendars(t *testing.T) {
	for _, c := range []struct {
		name, expression, zone, from string
		want                         []string
	}{
		{"the end of a leap year, where Go's ZoneBounds are short", "0 1 * * *", "Europe/Berlin", "2028-12-29T12:00:00Z",
			[]string{"2028-12-30T00:00:00Z", "2028-12-31T00:00:00Z", "2029-01-01T00:00:00Z", "2029-01-02T00:00:00Z"}},
		{"the eight years without a leap day", "0 1 29 2 *", "UTC", "2096-03-29T12:00:00Z",
			[]string{"2104-02-29T01:00:00Z", "2108-02-29T01:00:00Z"}},
		{"Samoa had no 30 December 2011", "0 1 * * *", "Pacific/Apia", "2011-12-28T20:00:00Z",
			[]string{"2011-12-29T11:00:00Z", "2011-12-30T10:00:00Z", "2011-12-30T11:00:00Z", "2011-12-31T11:00:00Z"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			plan := parse(t, c.expression, "5h", c.zone)
			checkInstants(t, ticks(plan, instant(t, c.from), len(c.want)), c.want...)
		})
	}
}
