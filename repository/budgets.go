package repository

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/imagepurge/imagepurge/jobs/budget"
)

// limitNow is a budget's limit in calls a minute: as a person has set it; else that
// of this hour of the day, or of the next one where it begins within the minute
// that the next calls are counted in; else what is configured.
const limitNow = `coalesce(r.set_per_minute,
        least(r.hourly[1 + extract(hour FROM clock_timestamp() AT TIME ZONE r.zone)::int],
              r.hourly[1 + extract(hour FROM (clock_timestamp() + interval '61 seconds') AT TIME ZONE r.zone)::int]),
        r.per_minute)::double precision`

// slotsFree reserves call slots in one statement. It keeps the rules of
// [budget.Row.Reserve], whose names its parts have; the contract test holds the two
// together. The row is locked before its clock is read. Nothing waits for the disk:
// a crash takes longer than what is reserved ahead.
const slotsFree = `
WITH cmd AS MATERIALIZED (SELECT set_config('synchronous_commit', 'off', true) AS off),
r AS MATERIALIZED (
    SELECT r.*, ` + limitNow + ` AS limit_now
    FROM cmd, organizations o JOIN rate_budgets r ON r.id = o.budget_id
    WHERE o.id = $1 AND cmd.off = 'off' FOR NO KEY UPDATE OF r
),
paced AS MATERIALIZED (
    SELECT r.*, clock_timestamp() AS now,
           CASE WHEN r.pace IS NULL THEN r.limit_now ELSE least(r.limit_now, greatest(r.pace, least(2, r.limit_now))) END AS pace_now
    FROM r
),
spaced AS (
    SELECT p.*, 4 * $6::float8 / p.pace_now >= $5::float8 AS slow,
           $6::float8 / CASE WHEN 4 * $6::float8 / p.pace_now >= $5::float8 THEN greatest(1, p.pace_now - 1) ELSE p.pace_now END AS interval_s,
           -- In seconds from now; a clock in the far past or none at all counts as an hour.
           extract(epoch FROM greatest(p.next_slot, p.now - interval '1 hour') - p.now)::double precision
             + CASE WHEN p.spaced > p.pace_now THEN (1 - p.pace_now / p.spaced) * $6::float8 ELSE 0 END AS next_s,
           greatest(0, extract(epoch FROM greatest(p.owed_until, p.now) - p.now))::double precision AS owed_s,
           least(greatest(0, extract(epoch FROM p.paused_until - p.now))::double precision, $9::float8) AS paused_s
    FROM paced p
),
begun AS (
    SELECT s.*, greatest(0, CASE WHEN s.next_s > $8::float8 + s.interval_s THEN $8::float8 ELSE s.next_s END) AS start_s FROM spaced s
),
open AS (
    SELECT b.*, CASE WHEN b.start_s > $7::float8 THEN 0
                     ELSE greatest(floor(($7::float8 - b.start_s) / b.interval_s) + 1, CASE WHEN b.slow THEN 2 ELSE 0 END) END AS free,
           (1 + $4::float8) * b.interval_s AS cost_s
    FROM begun b
),
shared AS (
    SELECT o.*, least($3::float8, o.free) AS urgent,
           least($2::float8 - $3::float8, o.free - least($3::float8, o.free)) AS wanted,
           CASE WHEN o.owed_s > $5::float8 / 2 THEN 0 ELSE floor(($5::float8 / 2 - o.owed_s) / o.cost_s) + 1 END AS roomy,
           CASE WHEN o.start_s + least($3::float8, o.free) * o.interval_s > $10::float8 THEN 0
                ELSE (floor(($10::float8 - o.start_s - least($3::float8, o.free) * o.interval_s) / o.interval_s) + 1) * CASE WHEN o.slow THEN 2 ELSE 1 END END AS unclaimed
    FROM open o
),
given AS (
    SELECT s.*, CASE WHEN s.paused_s > 0 THEN 0 ELSE s.urgent END AS urgents,
           CASE WHEN s.paused_s > 0 THEN 0 ELSE least(s.wanted, greatest(s.roomy, s.unclaimed)) END AS lists,
           EXISTS (SELECT FROM pauses p WHERE p.resumed_at IS NULL AND coalesce(p.organization_id, $1) = $1) AS stopped
    FROM shared s
),
kept AS (
    UPDATE rate_budgets r
    SET next_slot = g.now + make_interval(secs => g.start_s + (g.urgents + g.lists) * g.interval_s),
        spaced = g.pace_now, reserved = r.reserved + (g.urgents + g.lists)::bigint,
        owed_until = CASE WHEN g.lists > 0 THEN g.now + make_interval(secs => g.owed_s + g.lists * g.cost_s) ELSE r.owed_until END
    FROM given g
    WHERE r.id = g.id AND NOT g.stopped AND g.urgents + g.lists > 0
    RETURNING r.id
)
SELECT CASE WHEN k.id IS NULL THEN 0 ELSE g.urgents + g.lists END::int, CASE WHEN k.id IS NULL THEN 0 ELSE g.start_s END, g.interval_s,
       CASE WHEN g.paused_s > 0 THEN g.paused_s WHEN k.id IS NOT NULL THEN 0
            WHEN g.wanted > 0 THEN greatest(0, least(g.owed_s - $5::float8 / 2, g.start_s - $10::float8)) ELSE greatest(0, g.start_s - $7::float8) END,
       coalesce(g.paused_s, 0), g.stopped, g.limit_now, g.pace_now, coalesce(g.step_at <= g.now, false)
FROM given g LEFT JOIN kept k ON k.id = g.id`

// ReserveSlots reserves call slots of the organisation's API key. See
// [budget.Row.Reserve].
func (s *Store) ReserveSlots(ctx context.Context, organization int64, a budget.Ask) (budget.Block, error) {
	var (
		b                              budget.Block
		first, interval, again, paused float64
	)
	rules := budget.RulesOfRow()
	err := s.pool.QueryRow(ctx, slotsFree, organization, float64(a.Slots), float64(a.Urgent), a.Cost, seconds(a.Age),
		seconds(rules.Window), seconds(rules.Ahead), seconds(rules.Sane), seconds(rules.MaxPause), seconds(rules.Spare)).
		Scan(&b.Slots, &first, &interval, &again, &paused, &b.Stopped, &b.Limit, &b.Pace, &b.StepDue)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return b, fmt.Errorf("reserve call slots: there is no organisation %d", organization)
	case err != nil:
		return b, fmt.Errorf("reserve call slots: %w", err)
	}
	b.First, b.Interval, b.Again, b.Paused = duration(first), duration(interval), duration(again), duration(paused)
	return b, nil
}

func duration(seconds float64) time.Duration { return time.Duration(seconds * float64(time.Second)) }

const paceKept = `
SELECT r.id, ` + limitNow + `, clock_timestamp(), r.reserved, coalesce(r.pace, 0), coalesce(r.held, 0), r.settled, r.strikes, r.paused_until,
       r.pace_since, r.pace_reserved
FROM organizations o JOIN rate_budgets r ON r.id = o.budget_id WHERE o.id = $1 FOR NO KEY UPDATE OF r`

const paceChanged = `
UPDATE rate_budgets
SET pace = nullif($2::double precision, 0), held = nullif($3::double precision, 0), settled = $4, strikes = $5, paused_until = $6,
    pace_since = CASE WHEN $2 > 0 THEN $7::timestamptz END, pace_reserved = $8, step_at = CASE WHEN $2 > 0 THEN $9::timestamptz END
WHERE id = $1`

// changePace lets a rule change the pace of the organisation's key, under a lock of
// its row and by the database's clock.
func (s *Store) changePace(ctx context.Context, organization int64, rule func(now time.Time, r budget.Row) (budget.Row, budget.Learnt)) (learnt budget.Learnt, err error) {
	err = s.inTx(ctx, "pace", func(tx pgx.Tx) error {
		var (
			id            int64
			now           time.Time
			paused, since *time.Time
			r             budget.Row
		)
		p := &r.Pace
		err := tx.QueryRow(ctx, paceKept, organization).Scan(&id, &r.Limit, &now, &r.Reserved, &p.Current, &p.Held, &p.Settled, &p.Strikes, &paused, &since, &p.Reserved)
		if err != nil {
			return err
		}
		p.PausedUntil, p.Since = orZero(paused), orZero(since)
		r, learnt = rule(now, r)
		p = &r.Pace
		if p.Strikes == nil {
			p.Strikes = []time.Time{}
		}
		_, err = tx.Exec(ctx, paceChanged, id, p.Current, p.Held, p.Settled, p.Strikes, orNull(p.PausedUntil), orNull(p.Since), p.Reserved, orNull(p.StepAt()))
		return err
	})
	return learnt, err
}

func orNull(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

// NoteOverLimit takes a 429 of a call that was sent so long ago, and that asked to
// wait for so long; 0: it did not say.
func (s *Store) NoteOverLimit(ctx context.Context, organization int64, age, asked time.Duration) (budget.Learnt, error) {
	learnt, err := s.changePace(ctx, organization, func(now time.Time, r budget.Row) (budget.Row, budget.Learnt) {
		return r.OverLimit(now, age, asked)
	})
	if err != nil {
		return learnt, fmt.Errorf("note a 429: %w", err)
	}
	return learnt, nil
}

// StepPace raises the pace where it has held for long enough.
func (s *Store) StepPace(ctx context.Context, organization int64) (budget.Learnt, error) {
	learnt, err := s.changePace(ctx, organization, func(now time.Time, r budget.Row) (budget.Row, budget.Learnt) { return r.Step(now) })
	if err != nil {
		return learnt, fmt.Errorf("raise the pace: %w", err)
	}
	return learnt, nil
}
