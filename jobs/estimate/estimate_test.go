package estimate_test

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/imagepurge/imagepurge/jobs/estimate"
	"github.com/imagepurge/imagepurge/jobs/schedule"
)

var now = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

// nightly opens at one o'clock for five hours.
func nightly(t testing.TB) schedule.Plan { return plan(t, "0 1 * * *", "5h") }

func plan(t testing.TB, cron, window string) schedule.Plan {
	t.Helper()
	p, err := schedule.Parse(cron, window, "UTC")
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func at(day, hour, minute int) time.Time {
	return time.Date(2026, 11, day, hour, minute, 0, 0, time.UTC)
}

func TestEnds(t *testing.T) {
	t.Parallel()
	night := nightly(t)
	first, later := at(20, 1, 0), at(20, 2, 0)
	// A batch that is as long as n minutes alone at 600 calls a minute.
	minutes := func(id int64, n int64, order time.Time) estimate.Batch {
		return estimate.Batch{ID: id, Order: order, Customers: 200 * n, Calls: 3}
	}
	one := func(b ...estimate.Batch) []estimate.Organization {
		return []estimate.Organization{{Plan: night, Key: "k", Pace: 600, Batches: b}}
	}
	paused := minutes(1, 10, first)
	paused.Paused = true
	economy := estimate.Batch{ID: 2, Order: first, Customers: 2000, Calls: 1}
	for name, c := range map[string]struct {
		work []estimate.Organization
		want map[int64]estimate.End
	}{
		"within the next window": {one(minutes(1, 70, first)), map[int64]estimate.End{1: {At: at(24, 2, 10), Night: 1}}},
		"over three nights":      {one(minutes(1, 650, first)), map[int64]estimate.End{1: {At: at(26, 1, 50), Night: 3}}},
		"one after the other":    {one(minutes(2, 60, later), minutes(1, 60, first)), map[int64]estimate.End{1: {At: at(24, 2, 0), Night: 1}, 2: {At: at(24, 3, 0), Night: 1}}},
		"a small one beside a large one": {one(minutes(1, 100, first), minutes(2, 10, first)),
			map[int64]estimate.End{2: {At: at(24, 1, 20), Night: 1}, 1: {At: at(24, 2, 50), Night: 1}}},
		"turns go by customer, not by call": {one(estimate.Batch{ID: 1, Order: first, Customers: 4000, Calls: 3}, economy),
			map[int64]estimate.End{2: {At: at(24, 1, 0).Add(8000 * time.Minute / 600), Night: 1}, 1: {At: at(24, 1, 0).Add(14000 * time.Minute / 600), Night: 1}}},
		"a paused one holds up nobody": {one(paused, minutes(2, 60, later)), map[int64]estimate.End{1: {Unknown: estimate.Paused}, 2: {At: at(24, 2, 0), Night: 1}}},
		"two of one key share its pace": {[]estimate.Organization{
			{Plan: night, Key: "k", Pace: 600, Batches: []estimate.Batch{minutes(1, 60, first)}},
			{Plan: night, Key: "k", Pace: 600, Batches: []estimate.Batch{minutes(2, 10, later)}},
		}, map[int64]estimate.End{2: {At: at(24, 1, 20), Night: 1}, 1: {At: at(24, 2, 10), Night: 1}}},
		"two of one key in other windows don't meet": {[]estimate.Organization{
			{Plan: night, Key: "k", Pace: 600, Batches: []estimate.Batch{minutes(1, 60, first)}},
			{Plan: plan(t, "0 8 * * *", "1h"), Key: "k", Pace: 600, Batches: []estimate.Batch{minutes(2, 10, first)}},
		}, map[int64]estimate.End{1: {At: at(24, 2, 0), Night: 1}, 2: {At: at(24, 8, 10), Night: 1}}},
		"two keys have their own": {[]estimate.Organization{
			{Plan: night, Key: "k", Pace: 600, Batches: []estimate.Batch{minutes(1, 60, first)}},
			{Plan: night, Key: "l", Pace: 300, Batches: []estimate.Batch{minutes(2, 60, first)}},
		}, map[int64]estimate.End{1: {At: at(24, 2, 0), Night: 1}, 2: {At: at(24, 3, 0), Night: 1}}},
		"a stopped one leaves the pace to the other": {[]estimate.Organization{
			{Plan: night, Key: "k", Pace: 600, Stopped: "breaker open", Batches: []estimate.Batch{minutes(1, 60, first)}},
			{Plan: night, Key: "k", Pace: 600, Batches: []estimate.Batch{minutes(2, 60, first)}},
		}, map[int64]estimate.End{1: {Unknown: "breaker open"}, 2: {At: at(24, 2, 0), Night: 1}}},
		"longer than anyone plans": {one(minutes(1, 10_000_000, first)), map[int64]estimate.End{1: {Unknown: estimate.TooFar}}},
		"no pace":                  {[]estimate.Organization{{Plan: night, Batches: []estimate.Batch{minutes(1, 1, first)}}}, map[int64]estimate.End{1: {Unknown: estimate.NoPace}}},
		"nothing":                  {nil, map[int64]estimate.End{}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := estimate.Ends(now, c.work)
			if len(got) != len(c.want) {
				t.Errorf("got %v", got)
			}
			for id, want := range c.want {
				end := got[id]
				if d := end.At.Sub(want.At); end.Night != want.Night || end.Unknown != want.Unknown || d.Abs() > time.Second {
					t.Errorf("batch %d ends %+v, want %+v", id, end, want)
				}
			}
		})
	}
}

// In an open window it goes on from now.
func TestAnOpenWindowCountsFromNow(t *testing.T) {
	t.Parallel()
	from := at(24, 5, 30)
	got := estimate.Ends(from, []estimate.Organization{{Plan: nightly(t), Key: "k", Pace: 60, Batches: []estimate.Batch{{ID: 1, Customers: 40, Calls: 60}}}})
	if want := at(25, 1, 10); got[1].At.Sub(want).Abs() > time.Second || got[1].Night != 2 {
		t.Errorf("it ends %+v, want %v in the second night", got[1], want)
	}
}

// Whatever the work, the last batch ends when all calls are made, and no calls are
// made outside of windows: the order changes who waits, and never how long all takes.
func TestAllIsDoneWhenAllCallsAreMade(t *testing.T) {
	t.Parallel()
	for seed := range uint64(300) {
		random := rand.New(rand.NewPCG(seed, 1))
		o := estimate.Organization{Plan: nightly(t), Key: "k", Pace: float64(1 + random.IntN(2000))}
		var calls float64
		for id := range int64(1 + random.IntN(8)) {
			b := estimate.Batch{ID: id, Order: now.Add(time.Duration(random.IntN(3)) * time.Hour), Customers: int64(random.IntN(20_000)), Calls: 1 + 4*random.Float64()}
			calls += float64(b.Customers) * b.Calls
			o.Batches = append(o.Batches, b)
		}
		want := now.Add(13 * time.Hour) // one o'clock
		for left := time.Duration(calls / o.Pace * float64(time.Minute)); ; left -= 5 * time.Hour {
			if left <= 5*time.Hour {
				want = want.Add(left)
				break
			}
			want = want.Add(24 * time.Hour)
		}
		var last time.Time
		for id, e := range estimate.Ends(now, []estimate.Organization{o}) {
			if e.At.IsZero() || e.At.Hour() > 6 || e.At.Hour() < 1 {
				t.Fatalf("seed %d: batch %d ends %+v", seed, id, e)
			}
			if e.At.After(last) {
				last = e.At
			}
		}
		if last.Sub(want).Abs() > time.Second {
			t.Fatalf("seed %d: all is done %v, want %v", seed, last, want)
		}
	}
}
