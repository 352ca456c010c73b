package repository

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// Intake describes a batch that is taken in from a list of customers.
type Intake struct {
	Organization int64
	Name         string
	Key          string // explicit idempotency key; empty: the content decides
	DryRun       bool
	Paused       bool
	RequestedBy  string
	Reason       string
	Priority     int
	Deadline     *time.Time
	Settings     Settings // empty values: the organisation's
	Person       Person
}

// IDs yields customer ids with their line, one after the other.
type IDs interface {
	// Next returns the next id; ok is false at the end. An error refuses it all.
	Next() (line int, id int64, ok bool, err error)
	// Digest returns the SHA-256 of all ids, after the end.
	Digest() [sha256.Size]byte
}

// Intaken says what came of an intake.
type Intaken struct {
	Batch    int64
	Tasks    int64     // customers in the batch
	Existing bool      // the batch was there before; nothing was taken in
	Earlier  int64     // a finished batch with the same content; 0: none
	Taken    time.Time // when the earlier one was taken in
	Repeated int64     // lines whose id had come before
}

// KeyTakenError says that a key was used before with other content.
type KeyTakenError struct {
	Key   string
	Batch int64
}

func (e *KeyTakenError) Error() string {
	return fmt.Sprintf("key %q was used for batch %d with another content", e.Key, e.Batch)
}

const (
	stage = `CREATE TEMPORARY TABLE intake_ids (line bigint NOT NULL, customer_id bigint NOT NULL) ON COMMIT DROP`

	// Two intakes of the same content at once make one batch.
	lockContent = `SELECT pg_advisory_xact_lock($1)`

	batchOfKey = `SELECT id, content_digest, tasks_total, created_at FROM batches WHERE organization_id = $1 AND intake_key = $2`

	// Newest first; open says whether a task of it is not finished. A dry run does
	// not stand for the purge of its list.
	batchesOfContent = `
SELECT b.id, b.tasks_total, b.created_at, EXISTS (
    SELECT FROM image_deletion_tasks t WHERE t.batch_id = b.id AND t.state IN ('pending', 'running', 'held'))
FROM batches b WHERE b.organization_id = $1 AND b.content_digest = $2 AND b.dry_run = $3 AND b.state <> 'cancelled'
ORDER BY b.id DESC`

	newBatch = `
INSERT INTO batches (organization_id, kind, name, state, dry_run, intake_key, content_digest, requested_by, reason, deadline)
VALUES ($1, 'file', $2, CASE WHEN $3 THEN 'paused' ELSE 'active' END, $4, nullif($5, ''), $6, nullif($7, ''), nullif($8, ''), $9)
RETURNING id`

	// An id repeated in the file is one task, at its first line.
	tasksFromStage = `
INSERT INTO image_deletion_tasks (organization_id, batch_id, customer_id, mode, scope, source, account_id, dry_run, created_at, due_at, priority, deadline, sort_at)
SELECT o.id, $2, i.customer_id, coalesce(nullif($3, ''), o.mode), coalesce(nullif($4, ''), o.scope), coalesce(nullif($5, ''), o.source),
       coalesce(nullif($6, ''), o.account_id), $7, now(), now(), $8::bigint::integer, $9::timestamptz,
       task_sort_at(now(), $8::bigint::integer, $9)
FROM (SELECT customer_id, min(line) AS line FROM intake_ids GROUP BY customer_id) i, organizations o
WHERE o.id = $1
ORDER BY i.line`

	countBatch = `UPDATE batches SET tasks_total = $2 WHERE id = $1`
)

// TakeIn reads ids to the end and makes them one batch, or nothing. Its memory
// does not depend on their number.
func (s *Store) TakeIn(ctx context.Context, in Intake, ids IDs) (Intaken, error) {
	var out Intaken
	errExisting := errors.New("existing")
	err := s.inTx(ctx, "enqueue", func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, stage); err != nil {
			return err
		}
		source := &copySource{ids: ids}
		lines, err := tx.CopyFrom(ctx, pgx.Identifier{"intake_ids"}, []string{"line", "customer_id"}, source)
		if source.err != nil {
			return source.err // the server only repeats its text
		}
		if err != nil {
			return err
		}
		digest := ids.Digest()
		lock := int64(binary.BigEndian.Uint64(digest[:8]))
		if in.Key != "" {
			d := sha256.Sum256([]byte(in.Key))
			lock = int64(binary.BigEndian.Uint64(d[:8]))
		}
		if _, err := tx.Exec(ctx, lockContent, lock); err != nil {
			return err
		}
		existing, err := sameIntake(ctx, tx, in, digest, &out)
		if err != nil {
			return err
		}
		if existing {
			return errExisting
		}
		if err := tx.QueryRow(ctx, newBatch, in.Organization, in.Name, in.Paused, in.DryRun, in.Key, digest[:], in.RequestedBy, in.Reason, in.Deadline).Scan(&out.Batch); err != nil {
			return err
		}
		tag, err := tx.Exec(ctx, tasksFromStage, in.Organization, out.Batch, string(in.Settings.Mode), string(in.Settings.Scope), in.Settings.Source, in.Settings.AccountID, in.DryRun,
			in.Priority, in.Deadline)
		if err != nil {
			return err
		}
		out.Tasks = tag.RowsAffected()
		out.Repeated = lines - out.Tasks
		if _, err := tx.Exec(ctx, countBatch, out.Batch, out.Tasks); err != nil {
			return err
		}
		return entry{person: in.Person, action: "batch.create", organization: in.Organization, batch: out.Batch, reason: in.Reason, details: map[string]any{
			"tasks": out.Tasks, "dry_run": in.DryRun, "paused": in.Paused, "requested_by": in.RequestedBy, "content_sha256": fmt.Sprintf("%x", digest),
		}}.write(ctx, tx)
	})
	if err != nil && !errors.Is(err, errExisting) {
		return Intaken{}, fmt.Errorf("take in: %w", err)
	}
	return out, nil
}

// sameIntake looks for a batch that this intake would repeat.
func sameIntake(ctx context.Context, tx pgx.Tx, in Intake, digest [sha256.Size]byte, out *Intaken) (bool, error) {
	if in.Key != "" {
		var content []byte
		switch err := tx.QueryRow(ctx, batchOfKey, in.Organization, in.Key).Scan(&out.Batch, &content, &out.Tasks, &out.Taken); {
		case errors.Is(err, pgx.ErrNoRows):
			return false, nil
		case err != nil:
			return false, err
		}
		if string(content) != string(digest[:]) {
			return false, &KeyTakenError{Key: in.Key, Batch: out.Batch}
		}
		out.Existing = true
		return true, nil
	}
	rows, err := tx.Query(ctx, batchesOfContent, in.Organization, digest[:], in.DryRun)
	if err != nil {
		return false, err
	}
	var (
		id, tasks int64
		taken     time.Time
		open      bool
	)
	_, err = pgx.ForEachRow(rows, []any{&id, &tasks, &taken, &open}, func() error {
		switch {
		case open && !out.Existing:
			out.Existing, out.Batch, out.Tasks, out.Taken = true, id, tasks, taken
		case !out.Existing && out.Earlier == 0:
			out.Earlier, out.Taken = id, taken
		}
		return nil
	})
	return out.Existing, err
}

// copySource feeds COPY from an iterator.
type copySource struct {
	ids  IDs
	line int
	id   int64
	err  error
	row  [2]any
}

func (c *copySource) Next() bool {
	line, id, ok, err := c.ids.Next()
	c.line, c.id, c.err = line, id, err
	return ok && err == nil
}

func (c *copySource) Values() ([]any, error) {
	c.row[0], c.row[1] = int64(c.line), c.id
	return c.row[:], nil
}

func (c *copySource) Err() error { return c.err }
