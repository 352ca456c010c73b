package repository_test

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/imagepurge/imagepurge/jobs/budget"
)

// A clock of the test's own, found before the database's.
const fakeClock = `
CREATE SCHEMA fake;
CREATE TABLE fake.clock (now timestamptz NOT NULL);
INSERT INTO fake.clock VALUES (now());
CREATE FUNCTION fake.clock_timestamp() RETURNS timestamptz LANGUAGE sql VOLATILE AS 'SELECT now FROM fake.clock';`

// openStill is a database whose clock stands still until fake.clock is set.
func openStill(t testing.TB) *db {
	t.Helper()
	d := openWith(t, 1) // the search path is the connection's own
	d.run(fakeClock, "SET search_path = fake, pg_catalog, public")
	return d
}

// The statement keeps the rules of budget.Row: both go through one random history
// by one clock.
func TestSlotsAreReservedAsTheRulesSay(t *testing.T) {
	t.Parallel()
	d := openStill(t)
	for seed := range uint64(6) {
		random := rand.New(rand.NewPCG(seed, 5))
		now := time.Date(2026, 3, 1, 1, 0, 0, 0, time.UTC)
		limit := []int{2, 12, 100, 700, 6000, 24}[seed]
		d.by("UPDATE rate_budgets SET per_minute = $1, next_slot = '-infinity', owed_until = '-infinity', reserved = 0, pace = NULL, held = NULL, settled = false, strikes = '{}', paused_until = NULL, pace_since = NULL, step_at = NULL, pace_reserved = 0", limit)
		row := budget.Row{Limit: float64(limit)}
		granted := 0
		for step := range 400 {
			now = now.Add(time.Duration(random.Int64N(int64(400*time.Millisecond+2*time.Minute/time.Duration(limit))) / 1000 * 1000))
			switch random.IntN(100) {
			case 0:
				now = now.Add(time.Duration(random.Int64N(int64(time.Hour)) / 1000 * 1000))
			case 1:
				now = now.Add(-time.Duration(random.Int64N(int64(2*time.Hour)) / 1000 * 1000)) // the clock is put back
			case 2:
				row.Limit = float64(2 + random.IntN(2*limit))
				d.by("UPDATE rate_budgets SET per_minute = $1", int(row.Limit))
			}
			d.by("UPDATE fake.clock SET now = $1", now)
			switch random.IntN(50) {
			case 0:
				age, asked := time.Duration(random.IntN(9000))*time.Millisecond, time.Duration(random.IntN(2)*random.IntN(20))*time.Second
				var want budget.Learnt
				row, want = row.OverLimit(now, age, asked)
				if got, err := d.NoteOverLimit(d.ctx, 1, age, asked); err != nil || !sameLearnt(got, want) {
					t.Fatalf("seed %d, step %d: a 429: %+v, %v; want %+v", seed, step, got, err, want)
				}
			case 1:
				var want budget.Learnt
				row, want = row.Step(now)
				if got, err := d.StepPace(d.ctx, 1); err != nil || !sameLearnt(got, want) {
					t.Fatalf("seed %d, step %d: a step: %+v, %v; want %+v", seed, step, got, err, want)
				}
			}
			ask := budget.Ask{Slots: 1 + random.IntN(30), Cost: 4 * random.Float64(), Begun: random.IntN(4) * (random.IntN(12) / 11), Age: 10 * time.Second}
			ask.Urgent = random.IntN(ask.Slots + 1)
			var want budget.Block
			row, want = row.Reserve(now, ask)
			got, err := d.ReserveSlots(d.ctx, 1, ask)
			if err != nil || got.Slots != want.Slots || !alike(got.First, want.First) || !alike(got.Interval, want.Interval) ||
				!alike(got.Again, want.Again) || !alike(got.Paused, want.Paused) || got.Limit != want.Limit || got.StepDue != want.StepDue {
				t.Fatalf("seed %d, step %d: %+v of\n%+v: got\n%+v, %v; want\n%+v", seed, step, ask, row, got, err, want)
			}
			granted += got.Slots
			readBack(d, &row)
		}
		if granted < 10 {
			t.Errorf("seed %d: %d slots in all: nothing is shown", seed, granted)
		}
	}
}

// readBack compares the stored row with the rule's, and takes its microseconds.
func readBack(d *db, row *budget.Row) {
	d.Helper()
	var (
		got           budget.Row
		next, owed    time.Time
		paused, since *time.Time
	)
	err := d.pool.QueryRow(d.ctx, "SELECT greatest(next_slot, '0001-01-01Z'), greatest(owed_until, '0001-01-01Z'), reserved, coalesce(pace, 0), coalesce(held, 0), settled, paused_until, pace_since, pace_reserved FROM rate_budgets WHERE id = 1").
		Scan(&next, &owed, &got.Reserved, &got.Pace.Current, &got.Pace.Held, &got.Pace.Settled, &paused, &since, &got.Pace.Reserved)
	if err != nil {
		d.Fatal(err)
	}
	if !row.NextSlot.IsZero() && !alike(next.Sub(row.NextSlot), 0) || !row.OwedUntil.IsZero() && row.OwedUntil.After(next.Add(-24*time.Hour)) && !alike(owed.Sub(row.OwedUntil), 0) ||
		got.Reserved != row.Reserved || got.Pace.Current != row.Pace.Current || got.Pace.Held != row.Pace.Held || got.Pace.Settled != row.Pace.Settled {
		d.Fatalf("the row is next %v, owed %v, %+v; want %+v", next, owed, got, *row)
	}
	row.NextSlot, row.OwedUntil = next, owed
}

// alike: the database counts microseconds.
func alike(a, b time.Duration) bool { return (a - b).Abs() <= 3*time.Microsecond }

func sameLearnt(a, b budget.Learnt) bool {
	return a.Limit == b.Limit && a.Pace == b.Pace && a.Accepts == b.Accepts && a.New == b.New && alike(a.Pause, b.Pause)
}
