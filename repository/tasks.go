package repository

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// Task is a task as it is shown.
type Task struct {
	ID           int64      `json:"id"`
	Organization string     `json:"organization"`
	Batch        int64      `json:"batch_id"`
	CustomerID   int64      `json:"customer_id"`
	Named        int        `json:"named_images"` // 0: all images
	State        string     `json:"state"`
	Outcome      *string    `json:"outcome"`
	ErrorCode    *string    `json:"error_code"`
	ErrorMessage *string    `json:"error_message"`
	HTTPStatus   *int       `json:"http_status"`
	Found        int        `json:"images_found"`
	Deleted      int        `json:"images_deleted"`
	New          int        `json:"images_new"`
	Attempts     int        `json:"attempts"`
	APICalls     int        `json:"api_calls"`
	Mode         *string    `json:"mode"`
	Scope        *string    `json:"scope"`
	Source       *string    `json:"source"`
	AccountID    *string    `json:"account_id"`
	DryRun       bool       `json:"dry_run"`
	VerifiedAt   *time.Time `json:"verified_at"`
	DueAt        time.Time  `json:"due_at"`
	WaitingFor   *string    `json:"waiting_for"`
	LeaseOwner   *string    `json:"lease_owner"`
	LeaseEpoch   int64      `json:"lease_epoch"`
	LeaseUntil   *time.Time `json:"lease_until"`
	CreatedAt    time.Time  `json:"created_at"`
	StartedAt    *time.Time `json:"started_at"`
	FinishedAt   *time.Time `json:"finished_at"`
}

const taskColumns = `
SELECT t.id, o.name, t.batch_id, t.customer_id, coalesce(cardinality(t.image_tokens), 0), t.state, t.outcome, t.error_code,
       t.error_message, t.http_status, t.images_found, t.images_deleted, t.images_new, t.attempts, t.api_calls, t.mode, t.scope,
       t.source, t.account_id, t.dry_run, t.verified_at, t.due_at, t.waiting_for, t.lease_owner, t.lease_epoch, t.lease_until,
       t.created_at, t.started_at, t.finished_at
FROM image_deletion_tasks t JOIN organizations o ON o.id = t.organization_id`

const taskOfID = taskColumns + `
WHERE t.id = $1`

const tasksOfCustomer = taskColumns + `
WHERE t.customer_id = $1 AND ($2 = '' OR o.name = $2) ORDER BY t.id`

const tasksListed = taskColumns + `
WHERE ($1::bigint = 0 OR t.batch_id = $1) AND ($2 = '' OR t.state = $2) AND ($3 = '' OR t.outcome = $3) AND t.id > $4
ORDER BY t.id LIMIT $5`

// TaskFilter narrows a list of tasks. Zero values do not.
type TaskFilter struct {
	Batch   int64
	State   string
	Outcome string
	After   int64 // id
	Limit   int
}

// Tasks lists tasks in the order of their ids.
func (s *Store) Tasks(ctx context.Context, f TaskFilter) ([]Task, error) {
	return s.tasks(ctx, tasksListed, f.Batch, f.State, f.Outcome, f.After, f.Limit)
}

// CustomerTasks returns all tasks of a customer, oldest first, of one
// organisation or, with an empty name, of all.
func (s *Store) CustomerTasks(ctx context.Context, customer int64, organization string) ([]Task, error) {
	return s.tasks(ctx, tasksOfCustomer, customer, organization)
}

// Task returns one task, or [ErrNotFound].
func (s *Store) Task(ctx context.Context, id int64) (Task, error) {
	all, err := s.tasks(ctx, taskOfID, id)
	if err != nil {
		return Task{}, err
	}
	if len(all) == 0 {
		return Task{}, fmt.Errorf("task %d: %w", id, ErrNotFound)
	}
	return all[0], nil
}

func (s *Store) tasks(ctx context.Context, statement string, args ...any) ([]Task, error) {
	rows, err := s.pool.Query(ctx, statement, args...)
	if err != nil {
		return nil, fmt.Errorf("read tasks: %w", err)
	}
	all, err := pgx.CollectRows(rows, pgx.RowToStructByPos[Task])
	if err != nil {
		return nil, fmt.Errorf("read tasks: %w", err)
	}
	return all, nil
}

const closeReviewed = `
WITH closed AS (
    UPDATE image_deletion_tasks SET state = 'cancelled', outcome = 'cancelled', finished_at = clock_timestamp()
    WHERE id = $1 AND state = 'review' RETURNING batch_id
)
UPDATE batches b SET tasks_review = b.tasks_review - 1, tasks_cancelled = b.tasks_cancelled + 1
FROM closed c WHERE b.id = c.batch_id`

// ResolveTask decides a task in review: it is tried again, or closed as it is.
func (s *Store) ResolveTask(ctx context.Context, p Person, id int64, retry bool, reason string) error {
	t, err := s.Task(ctx, id)
	if err != nil {
		return err
	}
	notInReview := &StateError{What: fmt.Sprintf("task %d", id), State: t.State, Hint: "only a task in review can be resolved"}
	if t.State != "review" {
		return notInReview
	}
	action := "task.close"
	if retry {
		action = "task.retry"
		b, err := s.Batch(ctx, t.Batch)
		if err != nil {
			return err
		}
		if b.State == "cancelled" { // a worker would only cancel the task, unless it is in doubt
			notInReview = &StateError{What: fmt.Sprintf("batch %d", b.ID), State: "cancelled", Hint: "close the task, or take its customer in again with: imagepurge enqueue"}
		}
	}
	err = s.inTx(ctx, "resolve", func(tx pgx.Tx) error {
		if retry {
			var n, last int64
			if err := tx.QueryRow(ctx, retryChunk, t.Batch, []string{"review"}, id-1, 1, id).Scan(&n, &last); err != nil {
				return err
			}
			if n == 0 {
				return notInReview
			}
		} else {
			tag, err := tx.Exec(ctx, closeReviewed, id)
			if err != nil {
				return err
			}
			if tag.RowsAffected() == 0 {
				return notInReview
			}
		}
		var was string
		if t.Outcome != nil {
			was = *t.Outcome
		}
		return entry{person: p, action: action, batch: t.Batch, task: id, reason: reason, details: map[string]any{"outcome": was}}.write(ctx, tx)
	})
	if se := (*StateError)(nil); errors.As(err, &se) {
		return se
	}
	if err != nil {
		return fmt.Errorf("resolve task %d: %w", id, err)
	}
	return nil
}

const nextPendingCustomer = `
SELECT t.customer_id, t.source, t.account_id FROM image_deletion_tasks t
JOIN batches b ON b.id = t.batch_id AND b.state <> 'cancelled'
WHERE t.state = 'pending' AND t.waiting_for IS NULL AND t.organization_id = $1
ORDER BY t.batch_id, t.sort_at, t.id LIMIT 1`

// PendingCustomer returns a customer who waits to be purged, or [ErrNotFound].
func (s *Store) PendingCustomer(ctx context.Context, organization int64) (id int64, source, account *string, err error) {
	err = s.pool.QueryRow(ctx, nextPendingCustomer, organization).Scan(&id, &source, &account)
	if errors.Is(err, pgx.ErrNoRows) {
		return 0, nil, nil, ErrNotFound
	}
	return id, source, account, err
}

// ShortKey is an image's identity, shortened as in the logs.
func ShortKey(hexKey string) string {
	if b, err := hex.DecodeString(hexKey); err == nil && len(b) >= 4 {
		return hexKey[:12]
	}
	return hexKey
}
