package schedule_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/imagepurge/imagepurge/jobs/schedule"
)

func days(t testing.TB, texts ...string) (all []schedule.Days) {
	t.Helper()
	for _, text := range texts {
		d, err := schedule.ParseDays(text)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, d)
	}
	return all
}

// calendarOf reads a calendar's text, and looks for overlaps from 2025 on.
func calendarOf(t testing.TB, text string) schedule.Calendar {
	t.Helper()
	read, err := schedule.ParseCalendar(text)
	if err != nil {
		t.Fatal(err)
	}
	c, err := schedule.NewCalendar(read.Entries(), nil, instant(t, "2025-01-01T00:00:00Z"))
	if err != nil {
		t.Fatal(err)
	}
	if _, blackout, found := strings.Cut(text, "not on "); found {
		c, err = schedule.NewCalendar(read.Entries(), days(t, strings.Split(blackout, ", ")...), instant(t, "2025-01-01T00:00:00Z"))
		if err != nil {
			t.Fatal(err)
		}
	}
	if got := c.String(); got != text {
		t.Fatalf("the calendar %q says %q", text, got)
	}
	return c
}

func TestCalendarWindows(t *testing.T) {
	for _, c := range []struct {
		name, text, from string
		want             [][2]string
	}{
		{"two entries take turns", "0 1 * * 1-5 for 5h0m0s; 0 22 * * 6 for 12h0m0s; in Europe/Berlin", "2026-12-04T12:00:00Z", [][2]string{
			{"2026-12-05T21:00:00Z", "2026-12-06T09:00:00Z"}, {"2026-12-07T00:00:00Z", "2026-12-07T05:00:00Z"}, {"2026-12-08T00:00:00Z", "2026-12-08T05:00:00Z"}}},
		{"they may touch", "0 1 * * * for 5h0m0s; 0 6 * * * for 1h0m0s; in UTC", "2026-12-04T00:00:00Z", [][2]string{
			{"2026-12-04T01:00:00Z", "2026-12-04T06:00:00Z"}, {"2026-12-04T06:00:00Z", "2026-12-04T07:00:00Z"}}},
		{"an open one is the first, whosever it is", "0 1 * * * for 5h0m0s; 0 12 * * * for 1h0m0s; in UTC", "2026-12-04T12:30:00Z", [][2]string{
			{"2026-12-04T12:00:00Z", "2026-12-04T13:00:00Z"}, {"2026-12-05T01:00:00Z", "2026-12-05T06:00:00Z"}}},

		{"a blackout date has none", "0 1 * * * for 5h0m0s; in Europe/Berlin; not on 2026-12-24", "2026-12-22T12:00:00Z", [][2]string{
			{"2026-12-23T00:00:00Z", "2026-12-23T05:00:00Z"}, {"2026-12-25T00:00:00Z", "2026-12-25T05:00:00Z"}}},
		{"a range has none, both ends included", "0 1 * * * for 5h0m0s; in UTC; not on 2026-12-24..2026-12-26", "2026-12-23T12:00:00Z", [][2]string{
			{"2026-12-27T01:00:00Z", "2026-12-27T06:00:00Z"}}},
		{"what reaches into one ends at its midnight", "0 22 * * * for 5h0m0s; in Europe/Berlin; not on 2026-12-24", "2026-12-22T12:00:00Z", [][2]string{
			{"2026-12-22T21:00:00Z", "2026-12-23T02:00:00Z"}, {"2026-12-23T21:00:00Z", "2026-12-23T23:00:00Z"}, {"2026-12-25T21:00:00Z", "2026-12-26T02:00:00Z"}}},
		{"a tick that would have joined the one that is left out opens", "0 22,1 * * * for 5h0m0s; in UTC; not on 2026-12-24", "2026-12-23T12:00:00Z", [][2]string{
			{"2026-12-23T22:00:00Z", "2026-12-24T00:00:00Z"}, {"2026-12-25T01:00:00Z", "2026-12-25T06:00:00Z"}, {"2026-12-25T22:00:00Z", "2026-12-26T03:00:00Z"}}},
		{"days of work are cut, and begin anew behind", "0 0 * * 1 for 168h0m0s; in UTC; not on 2026-12-24", "2026-12-20T12:00:00Z", [][2]string{
			{"2026-12-14T00:00:00Z", "2026-12-21T00:00:00Z"}, {"2026-12-21T00:00:00Z", "2026-12-24T00:00:00Z"}, {"2026-12-28T00:00:00Z", "2027-01-04T00:00:00Z"}}},
		{"a tick behind them opens, inside what the length would have been", "0 1 * * * for 96h0m0s; in UTC; not on 2026-12-24", "2026-12-22T12:00:00Z", [][2]string{
			{"2026-12-22T01:00:00Z", "2026-12-24T00:00:00Z"}, {"2026-12-25T01:00:00Z", "2026-12-29T01:00:00Z"}}},
		{"dates that meet are one", "0 1 * * * for 1h0m0s; in UTC; not on 2026-12-25, 2026-12-24..2026-12-25, 2026-12-26", "2026-12-23T12:00:00Z", [][2]string{
			{"2026-12-27T01:00:00Z", "2026-12-27T02:00:00Z"}}},
		{"months without any", "0 1 1 * * for 1h0m0s; in UTC; not on 2026-02-01..2026-12-01", "2026-01-01T12:00:00Z", [][2]string{
			{"2027-01-01T01:00:00Z", "2027-01-01T02:00:00Z"}}},
		// The clock goes from 00:00 to 01:00 on the 31st of March 2024 in Beirut.
		{"a midnight in the gap ends the date before it", "0 0 * * * for 5h0m0s; in Asia/Beirut; not on 2024-03-30", "2024-03-29T12:00:00Z", [][2]string{
			{"2024-03-30T22:00:00Z", "2024-03-31T03:00:00Z"}, {"2024-03-31T21:00:00Z", "2024-04-01T02:00:00Z"}}},
		{"and begins its own", "0 22 * * * for 5h0m0s; in Asia/Beirut; not on 2024-03-31", "2024-03-30T12:00:00Z", [][2]string{
			{"2024-03-30T20:00:00Z", "2024-03-30T22:00:00Z"}, {"2024-04-01T19:00:00Z", "2024-04-02T00:00:00Z"}}},
		// And from 00:00 back to 23:00 on the 27th of October: the 26th has 25 hours.
		{"a midnight that is put back ends at the second", "0 22 * * * for 5h0m0s; in Asia/Beirut; not on 2024-10-27", "2024-10-26T12:00:00Z", [][2]string{
			{"2024-10-26T19:00:00Z", "2024-10-26T22:00:00Z"}, {"2024-10-28T20:00:00Z", "2024-10-29T01:00:00Z"}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var want []schedule.Window
			for _, w := range c.want {
				want = append(want, window(t, w[0], w[1]))
			}
			calendar := calendarOf(t, c.text)
			if diff := cmp.Diff(want, calendar.Windows(instant(t, c.from), len(want))); diff != "" {
				t.Errorf("windows (-want +got):\n%s", diff)
			}
			for i, w := range want {
				state := calendar.At(w.OpensAt)
				if !state.Open || state.Window() != w && cmp.Diff(state.Window(), w) != "" {
					t.Errorf("at %v: %+v", w.OpensAt, state)
				}
				if i+1 < len(want) && !state.NextOpen.Equal(want[i+1].OpensAt) {
					t.Errorf("at %v the next is %v, want %v", w.OpensAt, state.NextOpen, want[i+1].OpensAt)
				}
			}
		})
	}
}

func TestOpeningsShowWhatIsLeftOut(t *testing.T) {
	calendar := calendarOf(t, "0 1 * * * for 2h0m0s; 0 22 * * 3 for 3h0m0s; in UTC; not on 2026-12-24")
	var got []string
	for _, o := range calendar.Openings(instant(t, "2026-12-23T12:00:00Z"), 3) {
		line := o.OpensAt.Format("02 15:04") + " " + o.ClosesAt.Sub(o.OpensAt).String() + " of " + string(rune('0'+o.Entry))
		if o.Cut {
			line += " cut"
		}
		if o.Skipped {
			line += " skipped"
		}
		got = append(got, line)
	}
	want := []string{"23 22:00 2h0m0s of 1 cut", "24 01:00 2h0m0s of 0 skipped", "25 01:00 2h0m0s of 0", "26 01:00 2h0m0s of 0"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("openings (-want +got):\n%s", diff)
	}
}

func TestOverlappingEntriesAreRefused(t *testing.T) {
	for _, c := range []struct {
		name, one, other, zone string
		says                   string // empty: they don't overlap
	}{
		{"every night", "0 1 * * * for 5h", "0 5 * * * for 1h", "UTC", "its window from Thu 2026-01-01 05:00 to Thu 2026-01-01 06:00 overlaps that of the other from Thu 2026-01-01 01:00"},
		{"at the same tick", "0 1 * * * for 5h", "0 1 * * * for 1h", "UTC", "overlaps"},
		{"over the week's end", "0 12 * * 6 for 48h", "0 1 * * 1 for 1h", "UTC", "from Mon 2026-01-05 01:00"},
		{"where the first of a month is a Saturday", "0 1 1 * * for 5h", "0 2 * * 6 for 1h", "UTC", "from Sat 2026-08-01 02:00"},
		{"in the night of spring alone", "0 1 * * * for 2h", "0 3 * * * for 1h", "Europe/Berlin", "from Sun 2026-03-29 03:00"},
		{"touching, and neither night moves them", "0 1 * * * for 1h", "0 2 * * * for 1h", "Europe/Berlin", ""},
		{"in that of America", "0 3 * * * for 1h", "0 23 * * * for 4h", "America/New_York", "from Sun 2026-03-08 03:00"},
		{"by half an hour", "15 2 * * * for 1h", "0 1 * * * for 1h", "Australia/Lord_Howe", ""},
		{"by half an hour's gap", "15 2 * * * for 1h", "0 1 * * * for 75m", "Australia/Lord_Howe", "from Sun 2026-10-04 02:30"},
		{"touching", "0 1 * * * for 5h", "0 6 * * * for 1h", "Asia/Kolkata", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			var plans []schedule.Plan
			for _, text := range []string{c.one, c.other} {
				expression, length, _ := strings.Cut(text, " for ")
				plans = append(plans, parse(t, expression, length, c.zone))
			}
			_, err := schedule.NewCalendar(plans, nil, instant(t, "2026-01-01T00:00:00Z"))
			var overlap *schedule.OverlapError
			switch {
			case c.says == "" && err != nil:
				t.Errorf("refused: %v", err)
			case c.says != "" && !errors.As(err, &overlap):
				t.Errorf("got %v, want an overlap", err)
			case c.says != "" && !strings.Contains(err.Error(), c.says):
				t.Errorf("got %q, which doesn't say %q", err, c.says)
			}
		})
	}
}

func TestBlackoutDatesDoNotHideAnOverlap(t *testing.T) {
	plans := []schedule.Plan{parse(t, "0 1 24 12 *", "5h", "UTC"), parse(t, "0 2 24 12 *", "1h", "UTC")}
	if c, err := schedule.NewCalendar(plans, days(t, "2026-12-24", "2027-12-24"), instant(t, "2026-01-01T00:00:00Z")); err == nil {
		t.Errorf("got %v", c)
	}
}

func TestCalendarsThatCannotBe(t *testing.T) {
	one := parse(t, "0 1 * * *", "1h", "UTC")
	many := make([]schedule.Plan, schedule.MaxPlans+1)
	for i := range many {
		many[i] = one
	}
	for name, plans := range map[string][]schedule.Plan{"none": nil, "too many": many, "two zones": {one, parse(t, "0 5 * * *", "1h", "Europe/Berlin")}} {
		if c, err := schedule.NewCalendar(plans, nil, time.Time{}); err == nil {
			t.Errorf("%s: got %v", name, c)
		}
	}
	for _, text := range []string{"", "never", "0 1 * * *", "0 1 * * * for 5h", "in UTC", "0 1 * * * for 5h; in Mars", "0 1 * * * for 5h; in UTC; not on ", "0 1 * * * for 5h; in UTC; not on 2026-02-30", "0 1 30 2 * for 5h; in UTC"} {
		if c, err := schedule.ParseCalendar(text); err == nil {
			t.Errorf("%q: got %v", text, c)
		}
	}
}

func TestParseDays(t *testing.T) {
	for text, want := range map[string]string{
		"2026-12-24": "2026-12-24", " 2026-12-24 .. 2026-12-26 ": "2026-12-24..2026-12-26", "2028-02-29": "2028-02-29", "2026-12-24..2026-12-24": "2026-12-24",
		"2027-01-01..2027-12-31": "2027-01-01..2027-12-31",
	} {
		if d, err := schedule.ParseDays(text); err != nil || d.String() != want {
			t.Errorf("%q: got %v, %v, want %s", text, d, err, want)
		}
	}
	for text, says := range map[string]string{
		"": "not a date", "2026-02-30": "not a date", "2027-02-29": "not a date", "24.12.2026": "not a date", "2026-12-24..": "not a date", "2026-12-24..25": "not a date", "..": "not a date",
		"2026-12-26..2026-12-24": "ends before it begins", "1999-12-31": "years", "2200-01-01": "years", "2026-01-01..2027-01-02": "366 days",
	} {
		_, err := schedule.ParseDays(text)
		var e *schedule.SettingError
		if !errors.As(err, &e) || e.Setting != schedule.SettingBlackout || !strings.Contains(e.Problem, says) {
			t.Errorf("%q: got %v, want %s", text, err, says)
		}
	}
}
