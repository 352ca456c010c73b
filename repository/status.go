package repository

import (
	"context"
	"fmt"
	"time"
)

// PauseSeen is a pause in force.
type PauseSeen struct {
	Organization *string   `json:"organization"` // null: everything
	PausedAt     time.Time `json:"paused_at"`
	PausedBy     string    `json:"paused_by"`
	Reason       string    `json:"reason"`
}

// Status is what runs and what waits.
type Status struct {
	Now           time.Time      `json:"now"` // by the database's clock
	Batches       []Batch        `json:"batches"`
	Organizations []Organization `json:"organizations"`
	Pauses        []PauseSeen    `json:"pauses"`
	Workers       []WorkerSeen   `json:"workers"`
	InReview      int64          `json:"in_review"`
	// Of the last minute: tasks that ended, and the calls made for them.
	TasksLastMinute int64      `json:"tasks_last_minute"`
	CallsLastMinute int64      `json:"calls_last_minute"`
	LastFinished    *time.Time `json:"last_finished"`
	// ExpiredLeases are tasks whose worker died and that nobody has taken yet.
	ExpiredLeases int64 `json:"expired_leases"`
	// OldestTransaction is how long the oldest transaction is open, in seconds: it
	// keeps dead rows alive, and claims slow.
	OldestTransaction float64 `json:"oldest_transaction_seconds"`
}

const (
	pausesInForce = `
SELECT o.name, p.paused_at, p.paused_by, p.reason FROM pauses p LEFT JOIN organizations o ON o.id = p.organization_id
WHERE p.resumed_at IS NULL ORDER BY p.id`

	// The newest entries of the audit log tell the pace, without an index on time.
	lastMinute = `
SELECT count(*), coalesce(sum((SELECT t.api_calls FROM image_deletion_tasks t WHERE t.id = a.task_id)), 0)::bigint FROM (
    SELECT task_id FROM audit_entries WHERE id > (SELECT coalesce(max(id), 0) - 20000 FROM audit_entries)
      AND action = 'task.finish' AND at > clock_timestamp() - interval '1 minute') a`

	moments = `
SELECT clock_timestamp(),
       (SELECT coalesce(sum(tasks_review), 0)::bigint FROM batches),
       (SELECT at FROM audit_entries WHERE action = 'task.finish' ORDER BY id DESC LIMIT 1),
       (SELECT count(*) FROM image_deletion_tasks WHERE state = 'running' AND lease_until < clock_timestamp()),
       coalesce((SELECT extract(epoch FROM clock_timestamp() - min(xact_start)) FROM pg_stat_activity
                 WHERE xact_start IS NOT NULL AND pid <> pg_backend_pid() AND backend_type = 'client backend'), 0)::float8`
)

// Status returns what runs and what waits. It counts nothing that grows.
func (s *Store) Status(ctx context.Context) (st Status, err error) {
	all, err := s.Batches(ctx, 1000)
	if err != nil {
		return st, err
	}
	for _, b := range all {
		if !b.Finished() || b.Review > 0 {
			st.Batches = append(st.Batches, b)
		}
	}
	if st.Organizations, err = s.Organizations(ctx, ""); err != nil {
		return st, err
	}
	if st.Workers, err = s.Workers(ctx); err != nil {
		return st, err
	}
	if st.Pauses, err = collect[PauseSeen](ctx, s, pausesInForce); err != nil {
		return st, err
	}
	if err := s.pool.QueryRow(ctx, lastMinute).Scan(&st.TasksLastMinute, &st.CallsLastMinute); err != nil {
		return st, fmt.Errorf("read the status: %w", err)
	}
	err = s.pool.QueryRow(ctx, moments).Scan(&st.Now, &st.InReview, &st.LastFinished, &st.ExpiredLeases, &st.OldestTransaction)
	if err != nil {
		return st, fmt.Errorf("read the status: %w", err)
	}
	return st, nil
}

const waitedSince = `
SELECT EXISTS (
    SELECT FROM batches b CROSS JOIN LATERAL (
        SELECT t.created_at FROM image_deletion_tasks t
        WHERE t.state = 'pending' AND t.waiting_for IS NULL AND t.batch_id = b.id
        ORDER BY t.sort_at, t.id LIMIT 1) oldest
    WHERE b.organization_id = $1 AND b.state = 'active' AND oldest.created_at < $2)`

// WaitedSince says whether a task of the organisation that nothing holds up was
// there before the given time and still waits for its turn.
func (s *Store) WaitedSince(ctx context.Context, organization int64, before time.Time) (waited bool, err error) {
	if err := s.pool.QueryRow(ctx, waitedSince, organization, before).Scan(&waited); err != nil {
		return false, fmt.Errorf("look for a missed window: %w", err)
	}
	return waited, nil
}
