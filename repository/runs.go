package repository

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// Run is the run of a tick.
type Run struct {
	Tick     time.Time  `json:"tick"`
	ClosesAt time.Time  `json:"closes_at"`
	Schedule string     `json:"schedule"`
	OpenedAt time.Time  `json:"opened_at"`
	OpenedBy string     `json:"opened_by"`
	EndedAt  *time.Time `json:"ended_at"`
}

// Timetable is how an organisation's schedule stands, by the database's clock.
type Timetable struct {
	Now time.Time
	// Newest is the last run that has begun; nil: none has.
	Newest *Run
	// Unended says that a run is over and nobody has marked it.
	Unended bool
	// Schedule is the one in use, since when and by whose start; empty: none was
	// recorded.
	Schedule   string
	Since      time.Time
	RecordedBy string
}

const timetable = `
SELECT n.now, r.tick, r.closes_at, r.schedule, r.opened_at, r.opened_by, r.ended_at,
       EXISTS (SELECT FROM schedule_runs x WHERE x.organization_id = $1 AND x.ended_at IS NULL AND x.closes_at <= n.now),
       coalesce(s.schedule, ''), coalesce(s.since, n.now), coalesce(s.recorded_by, '')
FROM (SELECT clock_timestamp() AS now) n
LEFT JOIN LATERAL (
    SELECT * FROM schedule_runs WHERE organization_id = $1 AND tick <= n.now ORDER BY tick DESC LIMIT 1) r ON true
LEFT JOIN organization_schedules s ON s.organization_id = $1`

// Timetable returns how an organisation's schedule stands now.
func (s *Store) Timetable(ctx context.Context, organization int64) (Timetable, error) {
	var (
		t                  Timetable
		tick, closes, open *time.Time
		schedule, by       *string
		ended              *time.Time
	)
	err := s.pool.QueryRow(ctx, timetable, organization).Scan(&t.Now, &tick, &closes, &schedule, &open, &by, &ended, &t.Unended, &t.Schedule, &t.Since, &t.RecordedBy)
	if err != nil {
		return t, fmt.Errorf("read the timetable: %w", err)
	}
	if tick != nil {
		t.Newest = &Run{Tick: *tick, ClosesAt: *closes, Schedule: *schedule, OpenedAt: *open, OpenedBy: *by, EndedAt: ended}
	}
	return t, nil
}

// A tick in the future is not opened, nor one whose window is over: the database's
// clock decides. A row that is there, or in the way, stays.
const makeRun = `
INSERT INTO schedule_runs (organization_id, tick, closes_at, schedule, opened_at, opened_by)
SELECT $1, $2, $3, $4, n.now, $5 FROM (SELECT clock_timestamp() AS now) n
WHERE n.now >= $2 AND n.now < $3
ON CONFLICT DO NOTHING`

// MakeRun makes the run of a tick. It returns false where there was one already, or
// one with which it would overlap, or where now is not inside it.
func (s *Store) MakeRun(ctx context.Context, organization int64, tick, closesAt time.Time, schedule, worker string) (made bool, err error) {
	tag, err := s.pool.Exec(ctx, makeRun, organization, tick, closesAt, schedule, worker)
	if err != nil {
		return false, fmt.Errorf("make the run of %s: %w", tick.UTC().Format(time.RFC3339), err)
	}
	return tag.RowsAffected() == 1, nil
}

const endRuns = `
UPDATE schedule_runs SET ended_at = clock_timestamp(), ended_by = $2
WHERE organization_id = $1 AND ended_at IS NULL AND closes_at <= clock_timestamp()`

// EndRuns marks the runs that are over, each once. It returns how many.
func (s *Store) EndRuns(ctx context.Context, organization int64, worker string) (ended int64, err error) {
	tag, err := s.pool.Exec(ctx, endRuns, organization, worker)
	if err != nil {
		return 0, fmt.Errorf("end the runs that are over: %w", err)
	}
	return tag.RowsAffected(), nil
}

const runsBetween = `
SELECT tick, closes_at, schedule, opened_at, opened_by, ended_at FROM schedule_runs
WHERE organization_id = $1 AND tick < $3 AND closes_at > $2 ORDER BY tick`

// Runs returns the runs that have an instant in common with a span.
func (s *Store) Runs(ctx context.Context, organization int64, from, until time.Time) ([]Run, error) {
	rows, err := s.pool.Query(ctx, runsBetween, organization, from, until)
	if err != nil {
		return nil, fmt.Errorf("read the runs: %w", err)
	}
	all, err := pgx.CollectRows(rows, pgx.RowToStructByPos[Run])
	if err != nil {
		return nil, fmt.Errorf("read the runs: %w", err)
	}
	return all, nil
}

const (
	// The row is locked by the first statement, so that of two workers that start
	// together the second compares itself with the first.
	firstSchedule = `
INSERT INTO organization_schedules (organization_id, schedule, recorded_by) VALUES ($1, $2, $3)
ON CONFLICT (organization_id) DO NOTHING`

	scheduleInUse = `SELECT schedule FROM organization_schedules WHERE organization_id = $1 FOR UPDATE`

	replaceSchedule = `
UPDATE organization_schedules SET schedule = $2, since = clock_timestamp(), recorded_by = $3 WHERE organization_id = $1`
)

// RecordSchedule makes a schedule the one in use, as the newest start does. It
// returns the one before, and an entry of the audit log is written, where that was
// another; empty: there was none, or the same.
func (s *Store) RecordSchedule(ctx context.Context, p Person, organization int64, schedule, worker string) (before string, err error) {
	err = s.inTx(ctx, "schedule", func(tx pgx.Tx) error {
		before = ""
		tag, err := tx.Exec(ctx, firstSchedule, organization, schedule, worker)
		if err != nil || tag.RowsAffected() == 1 {
			return err
		}
		if err := tx.QueryRow(ctx, scheduleInUse, organization).Scan(&before); err != nil || before == schedule {
			before = ""
			return err
		}
		if _, err := tx.Exec(ctx, replaceSchedule, organization, schedule, worker); err != nil {
			return err
		}
		return entry{person: p, action: "schedule.change", organization: organization,
			details: map[string]any{"from": before, "to": schedule, "worker": worker}}.write(ctx, tx)
	})
	if err != nil {
		return "", fmt.Errorf("record the schedule: %w", err)
	}
	return before, nil
}
