//go:build linux

package main_test

import (
	"context"
	"encoding/hex"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
)

// known is what a database holds, by task.
type known map[int64]*knownTask

// knownTask is a task as it stands in a database, with its images and its calls.
type knownTask struct {
	ID, customer int64
	order
	came
	new      int
	recalled bool             // its batch is cancelled
	images   map[string]image // by the token's digest
	calls    []knownCall      // in order
}

// knownCall is a call's row.
type knownCall struct {
	callKey
	kind, class, key string
	position         int
	sent, answered   time.Time // zero: not on record
	shown            []string  // what a listing showed, in index order: beginnings of digests
}

// callKey names a call across databases that were restored: a task's number may
// be another customer's in the next.
type callKey struct {
	customer, task, epoch int64
	sequence              int
	worker                string
}

const everyTask = `
SELECT t.id, t.customer_id, o.name, coalesce(b.intake_key, ''), t.image_tokens, t.state, coalesce(t.outcome, ''),
       t.images_found, t.images_deleted, t.images_new, b.state = 'cancelled'
FROM image_deletion_tasks t JOIN organizations o ON o.id = t.organization_id JOIN batches b ON b.id = t.batch_id`

const everyCall = `
SELECT c.task_id, c.lease_epoch, c.sequence, c.worker, c.kind, coalesce(c.class, ''),
       coalesce(encode(c.image_key, 'hex'), ''), coalesce(c.position, -1),
       coalesce(c.sent_at, '0001-01-01 00:00:00+00'), coalesce(c.answered_at, '0001-01-01 00:00:00+00'), c.shown
FROM image_calls c ORDER BY c.task_id, c.sequence`

const everyImage = `SELECT i.task_id, encode(i.image_key, 'hex'), i.state, i.sends FROM task_images i`

// known reads the database as it is, past the links.
func (h *house) known(ctx context.Context) (known, error) {
	k := make(known)
	return k, h.cluster.ask(ctx, "imagepurge", func(ctx context.Context, conn *pgx.Conn) error {
		rows, err := conn.Query(ctx, everyTask)
		if err != nil {
			return err
		}
		var t knownTask
		if _, err = pgx.ForEachRow(rows, []any{
			&t.ID, &t.customer, &t.label, &t.order.key, &t.named, &t.State, &t.Outcome, &t.Found, &t.Deleted, &t.new, &t.recalled,
		}, func() error {
			one := t
			one.named, one.images = slices.Clone(t.named), make(map[string]image)
			k[t.ID] = &one
			return nil
		}); err != nil {
			return err
		}
		if rows, err = conn.Query(ctx, everyCall); err != nil {
			return err
		}
		var (
			call  knownCall
			shown []byte
		)
		if _, err = pgx.ForEachRow(rows, []any{
			&call.task, &call.epoch, &call.sequence, &call.worker, &call.kind, &call.class, &call.key, &call.position,
			&call.sent, &call.answered, &shown,
		}, func() error {
			t := k[call.task]
			call.customer, call.shown = t.customer, nil
			for at := 0; at < len(shown); at += 8 {
				call.shown = append(call.shown, hex.EncodeToString(shown[at:at+8]))
			}
			t.calls = append(t.calls, call)
			return nil
		}); err != nil {
			return err
		}
		if rows, err = conn.Query(ctx, everyImage); err != nil {
			return err
		}
		var (
			task int64
			key  string
			im   image
		)
		_, err = pgx.ForEachRow(rows, []any{&task, &key, &im.State, &im.Sends}, func() error {
			k[task].images[key] = im
			return nil
		})
		return err
	})
}

// calls counts the calls on record.
func (k known) calls() (n int) {
	for _, t := range k {
		n += len(t.calls)
	}
	return n
}

// short is as much of a digest as a listing's row keeps.
func short(digest string) string { return digest[:16] }

// listings are the task's listings that came through, in order.
func (t *knownTask) listings() (all [][]string) {
	for _, c := range t.calls {
		if c.class == "listed" {
			all = append(all, c.shown)
		}
	}
	return all
}

// target says whether the task was to delete an image, of which the beginning of the
// digest is enough: by what was asked for and by the first listing on record, whatever
// its rows say.
func (t *knownTask) target(digest string) bool {
	if t.named != nil {
		return slices.ContainsFunc(t.named, func(d string) bool { return short(d) == short(digest) })
	}
	all := t.listings()
	return len(all) > 0 && slices.Contains(all[0], short(digest))
}
