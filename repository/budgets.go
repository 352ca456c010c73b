package repository

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
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
// together. The row is locked before its clock is read. Nothing waits for the disk,
// as a crash takes longer than what is reserved ahead; only pairs of a slow key reach
// further.
const slotsFree = `
WITH r AS MATERIALIZED (
    SELECT r.*, ` + limitNow + ` AS limit_now
    FROM organizations o JOIN rate_budgets r ON r.id = o.budget_id
    WHERE o.id = $1 FOR NO KEY UPDATE OF r
),
paced AS MATERIALIZED (
    SELECT r.*, clock_timestamp() AS now,
           CASE WHEN r.pace IS NULL THEN r.limit_now ELSE least(r.limit_now, greatest(r.pace, least(2, r.limit_now))) END AS pace_now
    FROM r
),
spaced AS (
    SELECT p.*, 4 * $6::float8 / p.pace_now >= $5::float8 AS slow,
           CASE WHEN 4 * $6::float8 / p.pace_now >= $5::float8 THEN ($6::float8 + $12::float8) / greatest(1, p.pace_now - 2) ELSE $6::float8 / p.pace_now END AS interval_s,
           -- In seconds from now; a clock in the far past or none at all counts as an hour.
           extract(epoch FROM greatest(p.next_slot, p.now - interval '1 hour') - p.now)::double precision AS next_s,
           least($5::float8, greatest(0, extract(epoch FROM greatest(p.owed_until, p.now) - p.now)))::double precision
             AS owed_s,
           CASE WHEN p.paused_until > p.now AND p.paused_until <= p.now + make_interval(secs => $9::float8) THEN extract(epoch FROM p.paused_until - p.now)::double precision ELSE 0 END AS paused_s
    FROM paced p
),
begun AS (
    SELECT s.id, s.now, s.step_at, s.slow, s.interval_s, s.paused_s, s.limit_now, s.pace_now,
           s.owed_s + $11::float8 * (1 + $4::float8) * s.interval_s AS owed_s, greatest(0, CASE WHEN s.next_s > $8::float8 + s.interval_s THEN $7::float8 ELSE s.next_s END) AS start_s FROM spaced s
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
stopped AS MATERIALIZED (
    SELECT EXISTS (SELECT FROM pauses p WHERE p.resumed_at IS NULL AND coalesce(p.organization_id, $1) = $1) AS stopped
),
given AS (
    SELECT s.*, t.stopped,
           CASE WHEN s.paused_s > 0 OR t.stopped THEN 0 ELSE s.urgent + least(s.wanted, greatest(s.roomy, s.unclaimed)) END AS given
    FROM shared s, stopped t
),
kept AS (
    UPDATE rate_budgets r
    SET next_slot = CASE WHEN g.given > 0 THEN g.now + make_interval(secs => g.start_s + g.given * g.interval_s) ELSE r.next_slot END, reserved = r.reserved + g.given::bigint,
        owed_until = CASE WHEN $11::float8 > 0 THEN g.now + make_interval(secs => g.owed_s) ELSE r.owed_until END
    FROM given g
    WHERE r.id = g.id AND (g.given > 0 OR $11::float8 > 0)
    RETURNING r.id
)
SELECT g.given::int, CASE WHEN g.given = 0 THEN 0 ELSE g.start_s END, g.interval_s,
       CASE WHEN g.paused_s > 0 THEN g.paused_s WHEN g.given > 0 THEN 0
            WHEN g.wanted > 0 THEN greatest(0, least(g.owed_s - $5::float8 / 2, g.start_s - $10::float8)) ELSE greatest(0, g.start_s - $7::float8) END,
       coalesce(g.paused_s, 0), g.stopped, g.limit_now, g.pace_now, coalesce(g.step_at <= g.now, true),
       set_config('synchronous_commit', CASE WHEN g.slow THEN 'on' ELSE 'off' END, true)
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
		seconds(rules.Window), seconds(rules.Ahead), seconds(rules.Sane), seconds(rules.MaxPause), seconds(rules.Spare), float64(a.Begun), seconds(rules.LateSlow)).
		Scan(&b.Slots, &first, &interval, &again, &paused, &b.Stopped, &b.Limit, &b.Pace, &b.StepDue, nil)
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
    pace_since = $7, pace_reserved = $8, step_at = $9
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
		before := *p
		before.Strikes = slices.Clone(p.Strikes)
		r, learnt = rule(now, r)
		p = &r.Pace
		if reflect.DeepEqual(*p, before) {
			return nil // another worker has done it
		}
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

// KeyBudget is what a worker is told of an API key's limit.
type KeyBudget struct {
	Host      string   // of the API, in lower case
	Digest    [32]byte // of the key
	PerMinute int      // calls that are ours, at least 2
	// Hourly are the limits by hour of the day in Zone, an IANA name; nil: one for
	// all hours.
	Hourly []int
	Zone   string
	// Shared says that another organisation of ours may use the same key.
	Shared bool
}

// KeySharedError says that another organisation uses the key.
type KeySharedError struct{ Organization string }

func (e *KeySharedError) Error() string {
	return fmt.Sprintf("organisation %s uses the same API key: its limit would be counted twice", e.Organization)
}

const keyOfOrganization = `SELECT r.id, r.host, r.key_digest FROM organizations o JOIN rate_budgets r ON r.id = o.budget_id WHERE o.id = $1 FOR NO KEY UPDATE OF o`

const othersOfBudget = `SELECT coalesce(min(name), '') FROM organizations WHERE budget_id = $1 AND id <> $2`

const budgetTold = `
UPDATE rate_budgets SET per_minute = $2::bigint::integer, hourly = $3::bigint[]::integer[], zone = nullif($4, '')
WHERE id = $1 AND (per_minute, hourly, zone) IS DISTINCT FROM ($2::bigint::integer, $3::bigint[]::integer[], nullif($4, ''))`

// ShareBudget lets the organisation's workers take their slots from the row of its
// API key, which goes by host and key, whatever our labels, and records the limit:
// the newest that is told holds for all workers. It returns a [*KeySharedError]
// where another organisation has the key and k.Shared doesn't say so.
func (s *Store) ShareBudget(ctx context.Context, organization int64, k KeyBudget) error {
	err := s.inTx(ctx, "settings", func(tx pgx.Tx) error {
		var (
			mine, key int64
			host      *string
			digest    []byte
			other     string
		)
		if _, err := tx.Exec(ctx, `SELECT pg_advisory_xact_lock(`+pinLock+`)`); err != nil {
			return err
		}
		if err := tx.QueryRow(ctx, keyOfOrganization, organization).Scan(&mine, &host, &digest); err != nil {
			return err
		}
		err := tx.QueryRow(ctx, `SELECT id FROM rate_budgets WHERE host = $1 AND key_digest = $2`, k.Host, k.Digest[:]).Scan(&key)
		switch {
		case errors.Is(err, pgx.ErrNoRows) && host == nil:
			// The row that it had from the start is the key's.
			key = mine
			_, err = tx.Exec(ctx, `UPDATE rate_budgets SET host = $2, key_digest = $3 WHERE id = $1`, mine, k.Host, k.Digest[:])
		case errors.Is(err, pgx.ErrNoRows):
			err = tx.QueryRow(ctx, `INSERT INTO rate_budgets (host, key_digest) VALUES ($1, $2) RETURNING id`, k.Host, k.Digest[:]).Scan(&key)
		}
		if err != nil {
			return err
		}
		if err := tx.QueryRow(ctx, othersOfBudget, key, organization).Scan(&other); err != nil {
			return err
		}
		if other != "" && !k.Shared {
			return &KeySharedError{Organization: other}
		}
		if _, err := tx.Exec(ctx, `UPDATE organizations SET budget_id = $2 WHERE id = $1 AND budget_id <> $2`, organization, key); err != nil {
			return err
		}
		return changeLimit(ctx, tx, key, budgetTold, k.PerMinute, k.Hourly, k.Zone)
	})
	if err != nil {
		return fmt.Errorf("share the call budget: %w", err)
	}
	return nil
}

// KeyState is how an organisation's API key stands.
type KeyState struct {
	Told        bool       `json:"-"`                           // a worker has told what is configured
	Limit       float64    `json:"calls_per_minute_allowed"`    // ours, now
	Pace        float64    `json:"calls_per_minute_now"`        // at most Limit
	Configured  int        `json:"calls_per_minute_configured"` // by the settings
	Set         *int       `json:"calls_per_minute_set"`        // by a person
	Accepts     *float64   `json:"calls_per_minute_accepted"`   // what 429s have taught; null: the limit, as far as is known
	Strikes     int        `json:"over_limit_last_hour"`        // 429s
	PausedUntil *time.Time `json:"paused_until"`                // null: not now
	Remote      *int64     `json:"remote_organization"`         // number in the images' tokens; null: not seen yet
	Shares      []string   `json:"shares_key_with"`             // other organisations of ours
}

const keyState = `
SELECT r.host IS NOT NULL, ` + limitNow + `, coalesce(r.pace, 0), r.per_minute, r.set_per_minute, r.held, r.settled,
       (SELECT count(*) FROM unnest(r.strikes) s WHERE s > clock_timestamp() - interval '1 hour'),
       CASE WHEN r.paused_until > clock_timestamp() THEN r.paused_until END, m.number,
       ARRAY(SELECT x.name FROM organizations x WHERE x.budget_id = r.id AND x.id <> o.id ORDER BY x.name)
FROM organizations o JOIN rate_budgets r ON r.id = o.budget_id JOIN remote_organizations m ON m.id = o.remote_id WHERE o.name = $1`

// KeyState tells how the organisation's API key stands.
func (s *Store) KeyState(ctx context.Context, organization string) (k KeyState, err error) {
	var (
		held    *float64
		settled bool
		pace    budget.Pace
	)
	err = s.pool.QueryRow(ctx, keyState, organization).Scan(&k.Told, &k.Limit, &pace.Current, &k.Configured, &k.Set, &held, &settled, &k.Strikes, &k.PausedUntil, &k.Remote, &k.Shares)
	if errors.Is(err, pgx.ErrNoRows) {
		return k, fmt.Errorf("organisation %s: %w", organization, ErrNotFound)
	}
	if err != nil {
		return k, fmt.Errorf("read the call budget: %w", err)
	}
	if held != nil {
		pace.Held = *held
	}
	pace.Settled = settled
	k.Pace = pace.At(k.Limit)
	if a := pace.Accepts(k.Limit); a > 0 {
		k.Accepts = &a
	}
	return k, nil
}

const (
	limitBefore = `
SELECT coalesce(` + limitNow + `, 0)::double precision, clock_timestamp(), greatest(r.next_slot, clock_timestamp() - interval '1 day'), coalesce(r.pace, 0), r.reserved
FROM rate_budgets r WHERE r.id = $1 FOR NO KEY UPDATE OF r`

	limitAfter = `SELECT coalesce(` + limitNow + `, 0)::double precision FROM rate_budgets r WHERE r.id = $1`

	rateBefore = `
SELECT o.id, r.id, ` + limitNow + `
FROM organizations o JOIN rate_budgets r ON r.id = o.budget_id WHERE o.name = $1 FOR NO KEY UPDATE OF r`

	rateSet = `
UPDATE rate_budgets
SET set_per_minute = nullif($2::bigint, 0)::integer, pace = NULL, held = NULL, settled = false, strikes = '{}', pace_since = NULL, step_at = NULL
WHERE id = $1`
)

// changeLimit makes a change that may change the limit of a key. Where it lowers it,
// the next slot waits: the minute that has passed holds calls of the quicker pace.
func changeLimit(ctx context.Context, tx pgx.Tx, key int64, change string, args ...any) error {
	var (
		now   time.Time
		after float64
		r     budget.Row
	)
	if err := tx.QueryRow(ctx, limitBefore, key).Scan(&r.Limit, &now, &r.NextSlot, &r.Pace.Current, &r.Reserved); err != nil {
		return err
	}
	if _, err := tx.Exec(ctx, change, append([]any{key}, args...)...); err != nil {
		return err
	}
	if err := tx.QueryRow(ctx, limitAfter, key).Scan(&after); err != nil {
		return err
	}
	lower := r.Lower(now, after)
	if r.Limit == 0 || lower.NextSlot.Equal(r.NextSlot) {
		return nil
	}
	_, err := tx.Exec(ctx, `UPDATE rate_budgets SET next_slot = $2 WHERE id = $1`, key, lower.NextSlot)
	return err
}

// SetRate sets the calls a minute of the organisation's API key for all workers, or
// gives it back to the settings: 0. What 429s have taught is forgotten.
func (s *Store) SetRate(ctx context.Context, p Person, name string, perMinute int, reason string) error {
	err := s.inTx(ctx, "rate", func(tx pgx.Tx) error {
		var (
			organization, id int64
			before           float64
		)
		err := tx.QueryRow(ctx, rateBefore, name).Scan(&organization, &id, &before)
		if errors.Is(err, pgx.ErrNoRows) {
			return fmt.Errorf("organisation %s: %w", name, ErrNotFound)
		}
		if err != nil {
			return err
		}
		if err := changeLimit(ctx, tx, id, rateSet, perMinute); err != nil {
			return err
		}
		return entry{person: p, action: "organization.set_rate", organization: organization, reason: reason,
			details: map[string]any{"calls_per_minute": perMinute, "before": before}}.write(ctx, tx)
	})
	if err != nil {
		return fmt.Errorf("set the rate: %w", err)
	}
	return nil
}
