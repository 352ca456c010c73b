package schedule_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/imagepurge/imagepurge/jobs/schedule"
)

func window(t testing.TB, opens, closes string) schedule.Window {
	t.Helper()
	return schedule.Window{OpensAt: instant(t, opens), ClosesAt: instant(t, closes)}
}

func TestWindows(t *testing.T) {
	for _, c := range []struct {
		name, expression, length, zone, from string
		want                                 [][2]string
	}{
		{"an open window is the first", "0 1 * * *", "5h", "UTC", "2025-01-15T05:59:59Z", [][2]string{
			{"2025-01-15T01:00:00Z", "2025-01-15T06:00:00Z"}, {"2025-01-16T01:00:00Z", "2025-01-16T06:00:00Z"}}},
		{"the end is no longer inside", "0 1 * * *", "5h", "UTC", "2025-01-15T06:00:00Z", [][2]string{
			{"2025-01-16T01:00:00Z", "2025-01-16T06:00:00Z"}}},
		{"five hours are five hours in spring", "0 1 * * *", "5h", "Europe/Berlin", "2025-03-29T12:00:00Z", [][2]string{
			{"2025-03-30T00:00:00Z", "2025-03-30T05:00:00Z"}, {"2025-03-30T23:00:00Z", "2025-03-31T04:00:00Z"}}},
		{"and in autumn", "0 1 * * *", "5h", "Europe/Berlin", "2025-10-25T12:00:00Z", [][2]string{
			{"2025-10-25T23:00:00Z", "2025-10-26T04:00:00Z"}, {"2025-10-27T00:00:00Z", "2025-10-27T05:00:00Z"}}},
		{"a tick inside joins and doesn't extend", "0 22,1 * * *", "5h", "UTC", "2025-01-15T12:00:00Z", [][2]string{
			{"2025-01-15T22:00:00Z", "2025-01-16T03:00:00Z"}, {"2025-01-16T22:00:00Z", "2025-01-17T03:00:00Z"}}},
		{"a tick at the end opens the next", "0 22,3 * * *", "5h", "UTC", "2025-01-15T12:00:00Z", [][2]string{
			{"2025-01-15T22:00:00Z", "2025-01-16T03:00:00Z"}, {"2025-01-16T03:00:00Z", "2025-01-16T08:00:00Z"}}},
		{"a window over several days", "0 1 * * SAT", "48h", "UTC", "2025-01-19T12:00:00Z", [][2]string{
			{"2025-01-18T01:00:00Z", "2025-01-20T01:00:00Z"}, {"2025-01-25T01:00:00Z", "2025-01-27T01:00:00Z"}}},
		{"a yearly window", "@yearly", "5h", "UTC", "2025-06-15T12:00:00Z", [][2]string{
			{"2026-01-01T00:00:00Z", "2026-01-01T05:00:00Z"}, {"2027-01-01T00:00:00Z", "2027-01-01T05:00:00Z"}}},

		// Longer than the pauses.
		{"the day of 23 hours loses nothing", "0 1 * * *", "24h", "Europe/Berlin", "2025-03-29T12:00:00Z", [][2]string{
			{"2025-03-29T00:00:00Z", "2025-03-30T00:00:00Z"}, {"2025-03-30T00:00:00Z", "2025-03-30T23:00:00Z"}, {"2025-03-30T23:00:00Z", "2025-03-31T23:00:00Z"}}},
		{"nor where its tick is in the gap", "30 2 * * *", "24h", "Europe/Berlin", "2025-03-29T12:00:00Z", [][2]string{
			{"2025-03-29T01:30:00Z", "2025-03-30T01:00:00Z"}, {"2025-03-30T01:00:00Z", "2025-03-31T00:30:00Z"}, {"2025-03-31T00:30:00Z", "2025-04-01T00:30:00Z"}}},
		{"the day of 25 hours has an hour's pause", "0 1 * * *", "24h", "Europe/Berlin", "2025-10-26T12:00:00Z", [][2]string{
			{"2025-10-25T23:00:00Z", "2025-10-26T23:00:00Z"}, {"2025-10-27T00:00:00Z", "2025-10-28T00:00:00Z"}}},
		{"the ticks of a gap count as the last of them", "*/30 * * * *", "45m", "Europe/Berlin", "2025-03-30T00:50:00Z", [][2]string{
			{"2025-03-30T01:00:00Z", "2025-03-30T01:45:00Z"}, {"2025-03-30T02:00:00Z", "2025-03-30T02:45:00Z"}}},
		{"real time is up before the wall clock's", "0 * * * *", "2h", "Europe/Berlin", "2025-10-26T00:00:00Z", [][2]string{
			{"2025-10-26T00:00:00Z", "2025-10-26T02:00:00Z"}, {"2025-10-26T02:00:00Z", "2025-10-26T04:00:00Z"}}},
		// 740 hours after noon of the 1st of December it is 08:00.
		{"the fold starts anew on the first, at noon", "0 * * * *", "5h", "UTC", "2025-01-01T10:30:00Z", [][2]string{
			{"2025-01-01T08:00:00Z", "2025-01-01T12:00:00Z"}, {"2025-01-01T12:00:00Z", "2025-01-01T17:00:00Z"}, {"2025-01-01T17:00:00Z", "2025-01-01T22:00:00Z"}}},
		{"and a night on the first is left as it is", "0 22-23,0-4 * * *", "10h", "UTC", "2025-01-31T21:00:00Z", [][2]string{
			{"2025-01-31T22:00:00Z", "2025-02-01T08:00:00Z"}, {"2025-02-01T22:00:00Z", "2025-02-02T08:00:00Z"}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			plan := parse(t, c.expression, c.length, c.zone)
			var want []schedule.Window
			for _, w := range c.want {
				want = append(want, window(t, w[0], w[1]))
			}
			if diff := cmp.Diff(want, plan.Windows(instant(t, c.from), len(want))); diff != "" {
				t.Errorf("windows (-want +got):\n%s", diff)
			}
		})
	}
	if got := parse(t, "0 1 * * *", "5h", "UTC").Windows(time.Time{}, 0); len(got) != 0 {
		t.Errorf("got %v for no windows", got)
	}
}

func TestAt(t *testing.T) {
	plan := parse(t, "30 2 * * *", "5h", "Europe/Berlin")
	for _, c := range []struct {
		name, now string
		want      schedule.State
	}{
		{"before", "2025-03-30T00:59:59Z", schedule.State{NextOpen: instant(t, "2025-03-30T01:00:00Z")}},
		{"at the beginning, in the gap", "2025-03-30T01:00:00Z", schedule.State{
			Open: true, OpenedAt: instant(t, "2025-03-30T01:00:00Z"), ClosesAt: instant(t, "2025-03-30T06:00:00Z"), NextOpen: instant(t, "2025-03-31T00:30:00Z")}},
		{"just before the end", "2025-03-30T05:59:59.999999999Z", schedule.State{
			Open: true, OpenedAt: instant(t, "2025-03-30T01:00:00Z"), ClosesAt: instant(t, "2025-03-30T06:00:00Z"), NextOpen: instant(t, "2025-03-31T00:30:00Z")}},
		{"at the end", "2025-03-30T06:00:00Z", schedule.State{NextOpen: instant(t, "2025-03-31T00:30:00Z")}},
		{"02:30 for the second time", "2025-10-26T01:30:00Z", schedule.State{
			Open: true, OpenedAt: instant(t, "2025-10-26T00:30:00Z"), ClosesAt: instant(t, "2025-10-26T05:30:00Z"), NextOpen: instant(t, "2025-10-27T01:30:00Z")}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, plan.At(instant(t, c.now))); diff != "" {
				t.Errorf("state (-want +got):\n%s", diff)
			}
		})
	}
}

func BenchmarkAt(b *testing.B) {
	for _, c := range [][2]string{{"0 1 * * *", "5h"}, {"0 * * * *", "5h"}, {"* * * * *", "1m"}, {"* * * * *", "61s"}, {"@yearly", "5h"}} {
		b.Run(c[0]+" "+c[1], func(b *testing.B) {
			plan := parse(b, c[0], c[1], "Europe/Berlin")
			now := instant(b, "2025-05-30T12:00:00Z")
			for b.Loop() {
				plan.At(now)
			}
		})
	}
}
