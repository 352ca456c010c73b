package repository_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/imagepurge/imagepurge/internal/pgtest"
	"github.com/imagepurge/imagepurge/jobs"
	"github.com/imagepurge/imagepurge/jobs/clearance"
	"github.com/imagepurge/imagepurge/jobs/purge"
	"github.com/imagepurge/imagepurge/repository"
)

// db is a database of a test's own, and the store on it.
type db struct {
	testing.TB
	*repository.Store
	ctx  context.Context
	pool *pgxpool.Pool
}

func open(t testing.TB) *db { return openWith(t, 4) }

func openWith(t testing.TB, connections int32, change ...func(*pgxpool.Config)) *db {
	t.Helper()
	cfg, err := pgxpool.ParseConfig(pgtest.URL(t))
	if err != nil {
		t.Fatal(err)
	}
	cfg.MaxConns = connections
	for _, f := range change {
		f(cfg)
	}
	pool, err := pgxpool.NewWithConfig(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	return &db{TB: t, Store: repository.New(pool, time.Now), ctx: t.Context(), pool: pool}
}

// by is the database's hands: a statement as typed at a prompt.
func (d *db) by(sql string, args ...any) int64 {
	d.Helper()
	tag, err := d.pool.Exec(d.ctx, sql, args...)
	if err != nil {
		d.Fatalf("%s: %v", sql, err)
	}
	return tag.RowsAffected()
}

// as runs a statement as a command of the program, past the guards for hands. It
// is how tests move time.
func (d *db) as(command, sql string, args ...any) int64 {
	d.Helper()
	n, err := d.tryAs(command, sql, args...)
	if err != nil {
		d.Fatalf("as %s: %s: %v", command, sql, err)
	}
	return n
}

func (d *db) tryAs(command, sql string, args ...any) (n int64, err error) {
	err = pgx.BeginFunc(d.ctx, d.pool, func(tx pgx.Tx) error {
		if _, err := tx.Exec(d.ctx, "SELECT set_config('imagepurge.command', $1, true)", command); err != nil {
			return err
		}
		tag, err := tx.Exec(d.ctx, sql, args...)
		n = tag.RowsAffected()
		return err
	})
	return n, err
}

// refused checks that a statement by hand fails with the code and says all words,
// in its message or its hint.
func (d *db) refused(sql, code string, words ...string) {
	d.Helper()
	_, err := d.pool.Exec(d.ctx, sql)
	checkRefused(d, sql, err, code, words...)
}

func checkRefused(t testing.TB, what string, err error, code string, words ...string) {
	t.Helper()
	var pe *pgconn.PgError
	if !errors.As(err, &pe) {
		t.Errorf("%s: got error %v, want one of the database", what, err)
		return
	}
	if pe.Code != code {
		t.Errorf("%s: got code %s (%s), want %s", what, pe.Code, pe.Message, code)
	}
	for _, w := range words {
		if !strings.Contains(pe.Message+" | "+pe.Hint, w) {
			t.Errorf("%s: got message %q, hint %q; want %q in them", what, pe.Message, pe.Hint, w)
		}
	}
}

// What Postgres calls the ways to be refused.
const (
	restricted  = "23001"
	checkFailed = "23514"
	nullRefused = "23502"
	foreignKey  = "23503"
	noPrivilege = "42501"
)

// get reads one value.
func get[T any](d *db, sql string, args ...any) T {
	d.Helper()
	var v T
	if err := d.pool.QueryRow(d.ctx, sql, args...).Scan(&v); err != nil {
		d.Fatalf("%s: %v", sql, err)
	}
	return v
}

// list reads one column.
func list[T any](d *db, sql string, args ...any) []T {
	d.Helper()
	rows, err := d.pool.Query(d.ctx, sql, args...)
	if err != nil {
		d.Fatalf("%s: %v", sql, err)
	}
	all, err := pgx.CollectRows(rows, pgx.RowTo[T])
	if err != nil {
		d.Fatalf("%s: %v", sql, err)
	}
	return all
}

// snapshot is everything that a write could change, as text.
func (d *db) snapshot() string {
	d.Helper()
	return get[string](d, `
SELECT concat_ws(E'\n', (SELECT string_agg(t::text, E'\n' ORDER BY id) FROM image_deletion_tasks t),
       (SELECT string_agg(t::text, E'\n' ORDER BY t::text) FROM task_images t), (SELECT string_agg(t::text, E'\n' ORDER BY t::text) FROM image_calls t),
       (SELECT string_agg(t::text, E'\n' ORDER BY t::text) FROM customer_leases t), (SELECT string_agg(t::text, E'\n' ORDER BY id) FROM batches t),
       (SELECT string_agg(t::text, E'\n' ORDER BY id) FROM organizations t), (SELECT string_agg(t::text, E'\n') FROM rate_budgets t),
       (SELECT count(*) FROM audit_entries))`)
}

// customers inserts a bare task for each.
func (d *db) customers(ids ...int64) {
	d.Helper()
	d.by("INSERT INTO image_deletion_tasks (customer_id) SELECT unnest($1::bigint[])", ids)
}

func ask() purge.Claim {
	return purge.Claim{Organization: 1, Owner: "w1", Lease: time.Minute, Limit: 10, Mode: jobs.Verified, Scope: jobs.Snapshot, Source: "INSTORE"}
}

// claim claims with the changes made to [ask].
func (d *db) claim(change ...func(*purge.Claim)) []purge.Record {
	d.Helper()
	c := ask()
	for _, f := range change {
		f(&c)
	}
	got, err := d.ClaimTasks(d.ctx, c)
	if err != nil {
		d.Fatal(err)
	}
	return got
}

func owner(o string) func(*purge.Claim)        { return func(c *purge.Claim) { c.Owner = o } }
func lease(l time.Duration) func(*purge.Claim) { return func(c *purge.Claim) { c.Lease = l } }
func limit(n int) func(*purge.Claim)           { return func(c *purge.Claim) { c.Limit = n } }
func probe(c *purge.Claim)                     { c.Probe = true }
func probeNow(c *purge.Claim)                  { c.Probe, c.ProbeNow = true, true }
func ofBatch(b int64) func(*purge.Claim)       { return func(c *purge.Claim) { c.Batch = b } }
func only(t ...jobs.TaskID) func(c *purge.Claim) {
	return func(c *purge.Claim) { c.Only = append([]jobs.TaskID{}, t...) }
}

// one claims exactly one task.
func (d *db) one(change ...func(*purge.Claim)) purge.Record {
	d.Helper()
	got := d.claim(append(change, limit(1))...)
	if len(got) != 1 {
		d.Fatalf("claimed %d tasks, want 1", len(got))
	}
	return got[0]
}

func customersOf(rs []purge.Record) []int64 {
	ids := []int64{}
	for _, r := range rs {
		ids = append(ids, r.Customer.ID)
	}
	return ids
}

var terms = purge.Terms{Organization: 1, Lease: time.Minute, RequestTimeout: time.Second, Host: "host"}

// write writes a group under [terms].
func (d *db) write(ws ...purge.Write) []purge.Result {
	d.Helper()
	got, err := d.Write(d.ctx, terms, ws)
	if err != nil {
		d.Fatal(err)
	}
	return got
}

// applied writes one and wants it applied.
func (d *db) applied(w purge.Write) purge.Result {
	d.Helper()
	r := d.write(w)[0]
	if !r.Applied {
		d.Fatalf("%s of task %d: refused: %s", w.Kind, w.Task, r.Refused)
	}
	return r
}

// refusedWrite writes one and wants it refused for why, with nothing changed.
func (d *db) refusedWrite(w purge.Write, why purge.Refusal) {
	d.Helper()
	before := d.snapshot()
	r := d.write(w)[0]
	if r.Applied || r.Refused != why || r.Clearance != nil {
		d.Errorf("%s of task %d: got %+v, want refused: %s", w.Kind, w.Task, r, why)
	}
	if after := d.snapshot(); after != before {
		d.Errorf("%s of task %d, refused: %s: it changed something\nbefore: %s\nafter:  %s", w.Kind, w.Task, why, before, after)
	}
}

const worstCase = 3 * time.Minute

// intent is the first intent of a claimed task, for the image of the token.
func intent(r purge.Record, token string) purge.Write {
	key := jobs.KeyOf(token)
	seq := r.Sequence + 1
	return purge.Write{
		Task: r.Task, Owner: r.Owner, Epoch: r.Epoch, Kind: purge.WriteIntent, Customer: r.Customer,
		Images:  []purge.Image{{Key: key, State: jobs.Intended, Sends: 1}},
		Calls:   []jobs.Call{{Sequence: seq, Kind: jobs.DeleteCall, Key: key, Targets: 1, ImagesSeen: -1}},
		Targets: []clearance.Target{{Key: key}},
		Rest:    purge.RestSettle, RestFor: worstCase,
		Counters: purge.Counters{Listed: true, Found: 1, Sequence: seq, APICalls: seq},
	}
}

var answerTime = time.Date(2026, 3, 4, 5, 6, 7, 89_000, time.UTC)

// progress is what is written after the delete of an intent succeeded.
func progress(w purge.Write) purge.Write {
	w.Kind, w.Rest, w.RestFor, w.Deleted = purge.WriteProgress, purge.RestClear, 0, 1
	im := w.Images[0]
	im.State, im.Evidence, im.AnsweredAt = jobs.Deleted, jobs.ByAnswer, answerTime
	call := w.Calls[0]
	call.SentAt, call.AnsweredAt, call.Class = answerTime, answerTime, jobs.ClassDeleted
	w.Images, w.Calls, w.Targets = []purge.Image{im}, []jobs.Call{call}, nil
	return w
}

// unknown is the give-back after a delete whose outcome nobody knows.
func unknown(w purge.Write, settle time.Duration) purge.Write {
	w = progress(w)
	w.Kind, w.Rest, w.RestFor, w.Deleted = purge.WriteGiveBack, purge.RestSettle, settle, 0
	w.After, w.Waiting = settle, jobs.WaitSettle
	w.Images[0].State, w.Images[0].Evidence = jobs.Unknown, ""
	w.Calls[0].Class = jobs.ClassUnknown
	return w
}

// bare is a write of a claimed task that has nothing to say.
func bare(r purge.Record, kind purge.WriteKind) purge.Write {
	return purge.Write{Task: r.Task, Owner: r.Owner, Epoch: r.Epoch, Kind: kind, Customer: r.Customer, Rest: purge.RestKeep, Counters: r.Counters}
}

// finish ends a claimed task. What was in doubt has been decided by a listing.
func finish(r purge.Record, o jobs.Outcome) purge.Write {
	w := bare(r, purge.WriteFinish)
	w.Outcome, w.Rest = o, purge.RestClear
	w.State, _ = jobs.StateOf(o)
	for _, im := range r.Images {
		if im.State == jobs.Intended || im.State == jobs.Unknown {
			im.State, im.Evidence = jobs.Absent, jobs.ByListing
			w.Images = append(w.Images, im)
		}
	}
	return w
}

// giveBack gives a claimed task back, untouched and due at once.
func giveBack(r purge.Record) purge.Write { return bare(r, purge.WriteGiveBack) }

// expire lets a task's lease run out.
func (d *db) expire(id jobs.TaskID) {
	d.Helper()
	d.as("test", "UPDATE image_deletion_tasks SET lease_until = clock_timestamp() - interval '1 second' WHERE id = $1 AND state = 'running'", id)
	d.by("UPDATE customer_leases SET lease_until = clock_timestamp() - interval '1 second' WHERE task_id = $1", id)
}

// rested ends all customers' rests, and makes every waiting task due.
func (d *db) rested() {
	d.Helper()
	d.by("UPDATE customer_leases SET rest_until = clock_timestamp() - interval '1 second' WHERE rest_until IS NOT NULL")
	d.as("test", "UPDATE image_deletion_tasks SET due_at = clock_timestamp() - interval '1 second' WHERE state = 'pending' AND waiting_for IS NOT NULL")
}

var ann = repository.Person{Name: "ann", Host: "desk"}

// eventually polls until f is true, for a minute.
func (d *db) eventually(what string, f func() bool) {
	d.Helper()
	end := time.After(time.Minute)
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !f() {
		select {
		case <-end:
			d.Fatalf("waited in vain for %s", what)
		case <-tick.C:
		}
	}
}
