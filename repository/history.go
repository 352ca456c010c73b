package repository

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
)

// TaskImage is one image of a task.
type TaskImage struct {
	Key        string     `json:"image_key"` // hex of the SHA-256 of the token
	Position   int        `json:"position"`
	State      string     `json:"state"`
	Evidence   *string    `json:"evidence"`
	IntendedAt *time.Time `json:"intended_at"`
	AnsweredAt *time.Time `json:"answered_at"`
	HTTPStatus *int       `json:"http_status"`
	ErrorCode  *string    `json:"error_code"`
	Sends      int        `json:"sends"`
	Missing    bool       `json:"missing"`
}

// TaskCall is one call made for a task.
type TaskCall struct {
	Sequence   int        `json:"sequence"`
	Kind       string     `json:"kind"`
	Position   *int       `json:"position"`
	Key        *string    `json:"image_key"`
	Targets    *int       `json:"targets"`
	SentAt     *time.Time `json:"sent_at"`
	AnsweredAt *time.Time `json:"answered_at"`
	Class      *string    `json:"class"`
	HTTPStatus *int       `json:"http_status"`
	ErrorCode  *string    `json:"error_code"`
	ImagesSeen *int       `json:"images_seen"`
	// Shown are the images of a listing, in index order: the first 16 digits of
	// each identity. Null where there was no listing to be believed.
	Shown  []string `json:"shown"`
	Worker string   `json:"worker"`
	Epoch  int64    `json:"lease_epoch"`
}

// AuditEntry is one entry of the audit log.
type AuditEntry struct {
	At      time.Time      `json:"at"`
	Actor   string         `json:"actor"`
	Host    string         `json:"host"`
	Action  string         `json:"action"`
	Reason  *string        `json:"reason"`
	Details map[string]any `json:"details"`
	OfBatch bool           `json:"of_batch"` // of the task's whole batch
	ID      int64          `json:"id"`
}

// Origin says where a task came from.
type Origin struct {
	Batch       int64     `json:"batch_id"`
	Name        string    `json:"name"`
	State       string    `json:"state"`
	RequestedBy *string   `json:"requested_by"`
	Reason      *string   `json:"reason"`
	CreatedAt   time.Time `json:"created_at"`
}

// History is everything recorded of a task.
type History struct {
	Task   Task         `json:"task"`
	Origin Origin       `json:"origin"`
	Images []TaskImage  `json:"images"`
	Calls  []TaskCall   `json:"calls"`
	Audit  []AuditEntry `json:"audit"` // of the task, and of its batch
}

const originOfTask = `
SELECT b.id, b.name, b.state, b.requested_by, b.reason, b.created_at
FROM image_deletion_tasks t JOIN batches b ON b.id = t.batch_id WHERE t.id = $1`

const imagesOfTask = `
SELECT encode(image_key, 'hex'), position, state, evidence, intended_at, answered_at, http_status, error_code, sends, missing
FROM task_images WHERE task_id = $1 ORDER BY position, image_key`

const callsOfTask = `
SELECT sequence, kind, position, encode(image_key, 'hex'), targets, sent_at, answered_at, class, http_status, error_code, images_seen,
       shown, worker, lease_epoch
FROM image_calls WHERE task_id = $1 ORDER BY sequence`

const auditOfTask = `
SELECT at, actor, host, action, reason, details, false, id FROM audit_entries WHERE task_id = $1 ORDER BY id`

// What was decided of the batch after the task's end did not touch it.
const auditOfBatchUntil = `
SELECT at, actor, host, action, reason, details, true, id FROM audit_entries
WHERE batch_id = $1 AND task_id IS NULL AND at <= coalesce($2::timestamptz, 'infinity') ORDER BY id`

// History returns everything recorded of a task, or [ErrNotFound].
func (s *Store) History(ctx context.Context, id int64) (History, error) {
	all, err := s.histories(ctx, taskOfID, id)
	if err != nil {
		return History{}, err
	}
	if len(all) == 0 {
		return History{}, fmt.Errorf("task %d: %w", id, ErrNotFound)
	}
	return all[0], nil
}

// CustomerHistory returns everything recorded of a customer's tasks, oldest
// first, of one organisation or, with an empty name, of all.
func (s *Store) CustomerHistory(ctx context.Context, customer int64, organization string) ([]History, error) {
	return s.histories(ctx, tasksOfCustomer, customer, organization)
}

// histories reads in one snapshot: a task that is being worked on must not show
// a call whose consequence is not there yet.
func (s *Store) histories(ctx context.Context, tasks string, args ...any) (all []History, err error) {
	err = pgx.BeginTxFunc(ctx, s.pool, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}, func(tx pgx.Tx) error {
		found, err := rowsOf(ctx, tx, pgx.RowToStructByPos[Task], tasks, args...)
		if err != nil {
			return err
		}
		all = make([]History, len(found))
		for i, t := range found {
			if all[i], err = historyOf(ctx, tx, t); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read the history: %w", err)
	}
	return all, nil
}

func historyOf(ctx context.Context, tx pgx.Tx, t Task) (h History, err error) {
	h.Task = t
	origins, err := rowsOf(ctx, tx, pgx.RowToStructByPos[Origin], originOfTask, t.ID)
	if err != nil {
		return h, err
	}
	for _, o := range origins {
		h.Origin = o
	}
	if h.Images, err = rowsOf(ctx, tx, pgx.RowToStructByPos[TaskImage], imagesOfTask, t.ID); err != nil {
		return h, err
	}
	if h.Calls, err = rowsOf(ctx, tx, scanCall, callsOfTask, t.ID); err != nil {
		return h, err
	}
	if h.Audit, err = rowsOf(ctx, tx, pgx.RowToStructByPos[AuditEntry], auditOfTask, t.ID); err != nil {
		return h, err
	}
	ofBatch, err := rowsOf(ctx, tx, pgx.RowToStructByPos[AuditEntry], auditOfBatchUntil, t.Batch, t.FinishedAt)
	h.Audit = append(h.Audit, ofBatch...)
	slices.SortFunc(h.Audit, func(a, b AuditEntry) int { return cmp.Compare(a.ID, b.ID) })
	return h, err
}

func scanCall(row pgx.CollectableRow) (c TaskCall, err error) {
	var shown []byte
	err = row.Scan(&c.Sequence, &c.Kind, &c.Position, &c.Key, &c.Targets, &c.SentAt, &c.AnsweredAt, &c.Class, &c.HTTPStatus, &c.ErrorCode,
		&c.ImagesSeen, &shown, &c.Worker, &c.Epoch)
	c.Shown = shownKeys(shown)
	return c, err
}

func rowsOf[T any](ctx context.Context, tx pgx.Tx, scan pgx.RowToFunc[T], statement string, args ...any) ([]T, error) {
	rows, err := tx.Query(ctx, statement, args...)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, scan)
}

// AtTheTimeOf picks a task and those of the same customer's others that were under
// way while it was: they explain what its listings showed.
func AtTheTimeOf(h History, all []History) []History {
	var out []History
	for _, o := range all {
		if o.Task.ID == h.Task.ID || overlap(o.Task, h.Task) {
			out = append(out, o)
		}
	}
	return out
}

func overlap(a, b Task) bool {
	started := func(t Task, before *time.Time) bool {
		return t.StartedAt != nil && (before == nil || !t.StartedAt.After(*before))
	}
	return started(a, b.FinishedAt) && started(b, a.FinishedAt)
}
