package repository

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// Batch is a batch with its counts.
type Batch struct {
	ID            int64     `json:"id"`
	Organization  string    `json:"organization"`
	Kind          string    `json:"kind"`
	Name          string    `json:"name"`
	State         string    `json:"state"`
	DryRun        bool      `json:"dry_run"`
	RequestedBy   *string   `json:"requested_by"`
	Reason        *string   `json:"reason"`
	CreatedAt     time.Time `json:"created_at"`
	Tasks         int64     `json:"tasks"`
	Open          int64     `json:"open"`
	Completed     int64     `json:"completed"`
	Failed        int64     `json:"failed"`
	Review        int64     `json:"review"`
	Cancelled     int64     `json:"cancelled"`
	ImagesFound   int64     `json:"images_found"`
	ImagesDeleted int64     `json:"images_deleted"`
	APICalls      int64     `json:"api_calls"`
	// Deadline is the earliest that a task of the batch ever had.
	Deadline *time.Time `json:"deadline"`

	OrganizationID int64 `json:"-"`
}

// Finished says whether no task of the batch is left to work on.
func (b Batch) Finished() bool { return b.Open == 0 }

// Status is the batch's state in one word, for people.
func (b Batch) Status() string {
	switch {
	case b.State == "cancelled" && b.Open > 0:
		return "cancelling"
	case b.State != "active":
		return b.State
	case b.Open > 0:
		return "open"
	case b.Review > 0:
		return "review"
	}
	return "finished"
}

const batchesWithCounts = `
SELECT b.id, o.name, b.kind, b.name, b.state, b.dry_run, b.requested_by, b.reason, b.created_at,
       b.tasks_total + coalesce(a.tasks, 0),
       b.tasks_total + coalesce(a.tasks, 0) - b.tasks_completed - b.tasks_failed - b.tasks_review - b.tasks_cancelled,
       b.tasks_completed, b.tasks_failed, b.tasks_review, b.tasks_cancelled, b.images_found, b.images_deleted, b.api_calls, least(b.deadline, a.deadline), o.id
FROM batches b
JOIN organizations o ON o.id = b.organization_id
LEFT JOIN LATERAL (SELECT sum(tasks)::bigint AS tasks, min(deadline) AS deadline FROM batch_arrivals a WHERE a.batch_id = b.id) a ON true
WHERE ($1::bigint = 0 OR b.id = $1)
ORDER BY b.id DESC LIMIT $2`

// Batches returns the newest batches, at most limit.
func (s *Store) Batches(ctx context.Context, limit int) ([]Batch, error) {
	return s.batches(ctx, 0, limit)
}

// Batch returns one batch, or [ErrNotFound].
func (s *Store) Batch(ctx context.Context, id int64) (Batch, error) {
	all, err := s.batches(ctx, id, 1)
	if err != nil {
		return Batch{}, err
	}
	if len(all) == 0 || id == 0 {
		return Batch{}, fmt.Errorf("batch %d: %w", id, ErrNotFound)
	}
	return all[0], nil
}

func (s *Store) batches(ctx context.Context, id int64, limit int) ([]Batch, error) {
	rows, err := s.pool.Query(ctx, batchesWithCounts, id, limit)
	if err != nil {
		return nil, fmt.Errorf("read batches: %w", err)
	}
	all, err := pgx.CollectRows(rows, pgx.RowToStructByPos[Batch])
	if err != nil {
		return nil, fmt.Errorf("read batches: %w", err)
	}
	return all, nil
}

// StateError says that a batch or task is in a state that forbids what was asked.
type StateError struct {
	What  string
	State string
	Hint  string
}

func (e *StateError) Error() string { return fmt.Sprintf("%s is %s: %s", e.What, e.State, e.Hint) }

const setBatchState = `
UPDATE batches SET state = $2 WHERE id = $1 AND state = ANY ($3) RETURNING organization_id`

// PauseBatch stops all new intents of a batch.
func (s *Store) PauseBatch(ctx context.Context, p Person, id int64, reason string) error {
	return s.moveBatch(ctx, p, id, reason, "paused", "batch.pause", "active")
}

// ResumeBatch lets a paused batch go on.
func (s *Store) ResumeBatch(ctx context.Context, p Person, id int64, reason string) error {
	return s.moveBatch(ctx, p, id, reason, "active", "batch.resume", "paused")
}

func (s *Store) moveBatch(ctx context.Context, p Person, id int64, reason, to, action string, from ...string) error {
	err := s.inTx(ctx, action, func(tx pgx.Tx) error {
		var org int64
		switch err := tx.QueryRow(ctx, setBatchState, id, to, from).Scan(&org); {
		case errors.Is(err, pgx.ErrNoRows):
			return ErrNotFound
		case err != nil:
			return err
		}
		return entry{person: p, action: action, organization: org, batch: id, reason: reason}.write(ctx, tx)
	})
	if errors.Is(err, ErrNotFound) {
		b, err := s.Batch(ctx, id)
		if err != nil {
			return err
		}
		return &StateError{What: fmt.Sprintf("batch %d", id), State: b.State, Hint: fmt.Sprintf("only a batch that is %s can be %s", from[0], to)}
	}
	if err != nil {
		return fmt.Errorf("%s %d: %w", action, id, err)
	}
	return nil
}

// Tasks that nothing is in doubt of end at once; the others settle first, and the
// worker ends them. A chunk is a range of the batch's ids, whatever their state:
// its cost does not depend on how many are left.
const cancelChunk = `
WITH range AS MATERIALIZED (
    SELECT max(id) AS last FROM (
        SELECT id FROM image_deletion_tasks WHERE batch_id = $1 AND id > $2 ORDER BY batch_id, id LIMIT $3) r
),
chunk AS (
    SELECT t.id, t.images_found, t.images_deleted, t.api_calls FROM image_deletion_tasks t
    WHERE t.batch_id = $1 AND t.state IN ('pending', 'held') AND t.id > $2 AND t.id <= (SELECT last FROM range)
      AND (t.lease_epoch = 0 OR (SELECT true FROM task_images i WHERE i.task_id = t.id AND i.state IN ('intended', 'unknown') LIMIT 1) IS NULL)
    ORDER BY t.id FOR UPDATE SKIP LOCKED
),
ended AS (
    UPDATE image_deletion_tasks t
    SET state = 'cancelled', outcome = 'cancelled', finished_at = clock_timestamp(), waiting_for = NULL, review_as = NULL
    FROM chunk c WHERE t.id = c.id
    RETURNING t.id
),
counted AS (
    UPDATE batches b SET tasks_cancelled = b.tasks_cancelled + s.n, images_found = b.images_found + s.found,
        images_deleted = b.images_deleted + s.deleted, api_calls = b.api_calls + s.calls
    FROM (SELECT count(*) AS n, coalesce(sum(images_found), 0) AS found, coalesce(sum(images_deleted), 0) AS deleted, coalesce(sum(api_calls), 0) AS calls FROM chunk) s
    WHERE b.id = $1 AND s.n > 0
)
SELECT (SELECT count(*) FROM ended), coalesce((SELECT last FROM range), 0)`

const chunkSize = 5000

// CancelBatch forbids all further intents of a batch, then ends its tasks that
// nothing is in doubt of. Tasks with a delete whose outcome is unknown are ended
// by a worker, once they have settled. It returns how many it ended.
func (s *Store) CancelBatch(ctx context.Context, p Person, id int64, reason string) (ended int64, err error) {
	b, err := s.Batch(ctx, id)
	if err != nil {
		return 0, err
	}
	if b.State != "cancelled" { // cancelling again ends what was left
		if err := s.moveBatch(ctx, p, id, reason, "cancelled", "batch.cancel", "active", "paused"); err != nil {
			return 0, err
		}
	}
	for after := int64(0); ; {
		var n, last int64
		err := s.inTx(ctx, "cancel", func(tx pgx.Tx) error {
			return tx.QueryRow(ctx, cancelChunk, id, after, chunkSize).Scan(&n, &last)
		})
		if err != nil {
			return ended, fmt.Errorf("cancel batch %d: %w", id, err)
		}
		if last == 0 {
			return ended, nil
		}
		ended, after = ended+n, last
	}
}

// Standing is what a batch has come to, in the words of a person who cancelled it.
type Standing struct {
	Purged    int64 `json:"purged"`    // customers whose images are gone, or had none
	Partly    int64 `json:"partly"`    // some images gone, nothing in doubt
	Untouched int64 `json:"untouched"` // no DELETE was sent
	InDoubt   int64 `json:"in_doubt"`  // a delete's outcome is unknown yet
	UnderWay  int64 `json:"under_way"` // a worker has it right now
	Other     int64 `json:"other"`     // failed, or in review
}

const batchStanding = `
SELECT count(*) FILTER (WHERE state = 'completed'),
       count(*) FILTER (WHERE state = 'cancelled' AND images_deleted > 0),
       count(*) FILTER (WHERE state IN ('cancelled', 'pending', 'held') AND images_deleted = 0 AND NOT doubt),
       count(*) FILTER (WHERE doubt AND state <> 'running'),
       count(*) FILTER (WHERE state = 'running'),
       count(*) FILTER (WHERE state IN ('failed', 'review'))
FROM (SELECT t.state, t.images_deleted, t.lease_epoch > 0 AND EXISTS (
          SELECT FROM task_images i WHERE i.task_id = t.id AND i.state IN ('intended', 'unknown')) AS doubt
      FROM image_deletion_tasks t WHERE t.batch_id = $1) t`

// BatchStanding counts the tasks of a batch by what became of their customers.
// It reads all of them.
func (s *Store) BatchStanding(ctx context.Context, id int64) (st Standing, err error) {
	err = s.pool.QueryRow(ctx, batchStanding, id).Scan(&st.Purged, &st.Partly, &st.Untouched, &st.InDoubt, &st.UnderWay, &st.Other)
	if err != nil {
		return st, fmt.Errorf("count batch %d: %w", id, err)
	}
	return st, nil
}

// A retried task keeps its images, calls, and epochs; its counts leave the batch
// until it ends again. What a batch's cancelling closed stays closed.
const retryChunk = `
WITH batch AS MATERIALIZED (SELECT id, state FROM batches WHERE id = $1 FOR NO KEY UPDATE),
chunk AS (
    SELECT t.id, t.state, t.images_found, t.images_deleted, t.api_calls FROM image_deletion_tasks t
    WHERE t.batch_id = (SELECT id FROM batch) AND t.state IN ('failed', 'review') AND t.state = ANY ($2) AND t.id > $3 AND ($5::bigint = 0 OR t.id = $5)
      AND ((SELECT state FROM batch) <> 'cancelled' OR EXISTS (SELECT FROM task_images i WHERE i.task_id = t.id AND i.state = 'unknown'))
    ORDER BY t.id LIMIT $4 FOR UPDATE SKIP LOCKED
),
again AS (
    UPDATE image_deletion_tasks t
    SET state = 'pending', outcome = NULL, finished_at = NULL, error_code = NULL, error_message = NULL, http_status = NULL,
        verified_at = NULL, attempts = 0, still_present = 0, contradictions = 0, refusals = 0, relisting = false, review_as = NULL,
        due_at = clock_timestamp(), waiting_for = NULL
    FROM chunk c WHERE t.id = c.id
    RETURNING t.id
),
counted AS (
    UPDATE batches b
    SET tasks_failed = b.tasks_failed - s.failed, tasks_review = b.tasks_review - s.review,
        images_found = b.images_found - s.found, images_deleted = b.images_deleted - s.deleted, api_calls = b.api_calls - s.calls
    FROM (SELECT count(*) FILTER (WHERE state = 'failed') AS failed, count(*) FILTER (WHERE state = 'review') AS review,
                 coalesce(sum(images_found), 0) AS found, coalesce(sum(images_deleted), 0) AS deleted, coalesce(sum(api_calls), 0) AS calls FROM chunk) s
    WHERE b.id = $1
)
SELECT count(*), coalesce(max(id), 0) FROM again`

// RetryBatch makes the failed tasks of a batch pending again, and those in review
// where asked. It returns how many they are. Of a cancelled batch only those in review
// that are in doubt are looked at again, and then cancelled.
func (s *Store) RetryBatch(ctx context.Context, p Person, id int64, reason string, review bool) (again int64, err error) {
	b, err := s.Batch(ctx, id)
	if err != nil {
		return 0, err
	}
	defer func() {
		if err == nil && again == 0 && b.State == "cancelled" {
			err = &StateError{What: fmt.Sprintf("batch %d", id), State: "cancelled", Hint: "take its customers in again with: imagepurge enqueue"}
		}
	}()
	states := []string{"failed"}
	if review {
		states = append(states, "review")
	}
	for after := int64(0); ; {
		var n, last int64
		err := s.inTx(ctx, "retry", func(tx pgx.Tx) error {
			if err := tx.QueryRow(ctx, retryChunk, id, states, after, chunkSize, 0).Scan(&n, &last); err != nil || n == 0 {
				return err
			}
			return entry{person: p, action: "batch.retry", organization: b.OrganizationID, batch: id, reason: reason,
				details: map[string]any{"tasks": n, "states": states}}.write(ctx, tx)
		})
		if err != nil {
			return again, fmt.Errorf("retry batch %d: %w", id, err)
		}
		if n == 0 {
			return again, nil
		}
		again, after = again+n, last
	}
}

const allArrivals = `
WITH gone AS (DELETE FROM batch_arrivals RETURNING batch_id, tasks, deadline)
UPDATE batches b SET tasks_total = b.tasks_total + s.tasks, deadline = least(b.deadline, s.deadline)
FROM (SELECT batch_id, sum(tasks) AS tasks, min(deadline) AS deadline FROM gone GROUP BY batch_id) s
WHERE b.id = s.batch_id`

const recount = `
UPDATE batches b
SET tasks_total = s.total, tasks_completed = s.completed, tasks_failed = s.failed, tasks_review = s.review,
    tasks_cancelled = s.cancelled, images_found = s.found, images_deleted = s.deleted, api_calls = s.calls
FROM (SELECT b.id, count(t.id) AS total,
             count(*) FILTER (WHERE t.state = 'completed') AS completed, count(*) FILTER (WHERE t.state = 'failed') AS failed,
             count(*) FILTER (WHERE t.state = 'review') AS review, count(*) FILTER (WHERE t.state = 'cancelled') AS cancelled,
             coalesce(sum(t.images_found) FILTER (WHERE t.finished_at IS NOT NULL), 0) AS found,
             coalesce(sum(t.images_deleted) FILTER (WHERE t.finished_at IS NOT NULL), 0) AS deleted,
             coalesce(sum(t.api_calls) FILTER (WHERE t.finished_at IS NOT NULL), 0) AS calls
      FROM batches b LEFT JOIN image_deletion_tasks t ON t.batch_id = b.id GROUP BY b.id) s
WHERE b.id = s.id AND (b.tasks_total, b.tasks_completed, b.tasks_failed, b.tasks_review, b.tasks_cancelled, b.images_found, b.images_deleted, b.api_calls)
      IS DISTINCT FROM (s.total, s.completed, s.failed, s.review, s.cancelled, s.found, s.deleted, s.calls)`

// Recount sets the counts of all batches right, and returns how many were wrong.
// It holds up workers that end tasks while it reads them all.
func (s *Store) Recount(ctx context.Context, p Person) (mended int64, err error) {
	err = s.inTx(ctx, "recount", func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, "LOCK TABLE batches, batch_arrivals IN SHARE ROW EXCLUSIVE MODE"); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, allArrivals); err != nil { // they are no drift
			return err
		}
		tag, err := tx.Exec(ctx, recount)
		if err != nil {
			return err
		}
		mended = tag.RowsAffected()
		return entry{person: p, action: "batch.recount", details: map[string]any{"batches": mended}}.write(ctx, tx)
	})
	if err != nil {
		return 0, fmt.Errorf("recount: %w", err)
	}
	return mended, nil
}
