package repository

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// OutcomeCount is how many tasks of a batch ended in one way.
type OutcomeCount struct {
	State     string  `json:"state"`
	Outcome   *string `json:"outcome"`
	ErrorCode *string `json:"error_code"`
	Tasks     int64   `json:"tasks"`
	Found     int64   `json:"images_found"`
	Deleted   int64   `json:"images_deleted"`
	Calls     int64   `json:"api_calls"`
}

const outcomesOfBatch = `
SELECT state, outcome, error_code, count(*), sum(images_found)::bigint, sum(images_deleted)::bigint, sum(api_calls)::bigint
FROM image_deletion_tasks WHERE batch_id = $1 GROUP BY 1, 2, 3 ORDER BY 1, 2 NULLS FIRST, 3 NULLS FIRST`

// Outcomes counts a batch's tasks by state, outcome and code. It reads all of them.
func (s *Store) Outcomes(ctx context.Context, batch int64) ([]OutcomeCount, error) {
	return collect[OutcomeCount](ctx, s, outcomesOfBatch, batch)
}

// ReportRow is one task in a completion report.
type ReportRow struct {
	Task         int64      `json:"task_id"`
	CustomerID   int64      `json:"customer_id"`
	State        string     `json:"state"`
	Outcome      *string    `json:"outcome"`
	ErrorCode    *string    `json:"error_code"`
	HTTPStatus   *int       `json:"http_status"`
	ErrorMessage *string    `json:"error_message"`
	Found        int        `json:"images_found"`
	Deleted      int        `json:"images_deleted"`
	New          int        `json:"images_new"`
	Attempts     int        `json:"attempts"`
	APICalls     int        `json:"api_calls"`
	VerifiedAt   *time.Time `json:"verified_at"`
	StartedAt    *time.Time `json:"started_at"`
	FinishedAt   *time.Time `json:"finished_at"`
}

const reportOfBatch = `
SELECT id, customer_id, state, outcome, error_code, http_status, error_message, images_found, images_deleted, images_new, attempts,
       api_calls, verified_at, started_at, finished_at
FROM image_deletion_tasks WHERE batch_id = $1 AND ($2 = '' OR state = $2) ORDER BY id`

// Report yields a batch's tasks in the order in which they were taken in, as one
// snapshot, without holding them in memory.
func (s *Store) Report(ctx context.Context, batch int64, state string, each func(ReportRow) error) error {
	rows, err := s.pool.Query(ctx, reportOfBatch, batch, state)
	if err != nil {
		return fmt.Errorf("report batch %d: %w", batch, err)
	}
	defer rows.Close()
	for rows.Next() {
		r, err := pgx.RowToStructByPos[ReportRow](rows)
		if err != nil {
			return fmt.Errorf("report batch %d: %w", batch, err)
		}
		if err := each(r); err != nil {
			return err
		}
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("report batch %d: %w", batch, err)
	}
	return nil
}

const imagesOfBatch = `
SELECT t.customer_id, encode(i.image_key, 'hex'), i.state
FROM image_deletion_tasks t JOIN task_images i ON i.task_id = t.id WHERE t.batch_id = $1`

// BatchImages yields every image row of a batch.
func (s *Store) BatchImages(ctx context.Context, batch int64, each func(customer int64, key, state string)) error {
	rows, err := s.pool.Query(ctx, imagesOfBatch, batch)
	if err != nil {
		return fmt.Errorf("read the images of batch %d: %w", batch, err)
	}
	var (
		customer   int64
		key, state string
	)
	_, err = pgx.ForEachRow(rows, []any{&customer, &key, &state}, func() error { each(customer, key, state); return nil })
	if err != nil {
		return fmt.Errorf("read the images of batch %d: %w", batch, err)
	}
	return nil
}

func collect[T any](ctx context.Context, s *Store, statement string, args ...any) ([]T, error) {
	rows, err := s.pool.Query(ctx, statement, args...)
	if err != nil {
		return nil, fmt.Errorf("read the history: %w", err)
	}
	all, err := pgx.CollectRows(rows, pgx.RowToStructByPos[T])
	if err != nil {
		return nil, fmt.Errorf("read the history: %w", err)
	}
	return all, nil
}
