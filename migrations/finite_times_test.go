package migrations_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"

	"github.com/imagepurge/imagepurge/internal/pgtest"
	"github.com/imagepurge/imagepurge/migrations"
)

// before makes the schema as it was before a file.
func before(t *testing.T, url, name string) {
	t.Helper()
	files, err := filepath.Glob("*_" + name + ".sql")
	var version int64
	if _, scan := fmt.Sscanf(strings.Join(files, " "), "%d_", &version); scan != nil {
		t.Fatal(files, err, scan)
	}
	cfg, err := pgx.ParseConfig(url)
	if err != nil {
		t.Fatal(err)
	}
	db := stdlib.OpenDB(*cfg)
	defer db.Close()
	p, err := goose.NewProvider(goose.DialectPostgres, db, os.DirFS("."))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.UpTo(t.Context(), version-1); err != nil {
		t.Fatal(err)
	}
}

// unreadable are rows that the schema allowed before, and that stopped all who
// read them. Some needed a setting that only the program was meant to use.
const unreadable = `
INSERT INTO image_deletion_tasks (customer_id, deadline) VALUES (1, 'infinity'), (2, '-infinity'), (3, '294276-12-31'), (4, '2027-05-06');
INSERT INTO image_deletion_tasks (customer_id, due_at) VALUES (5, 'infinity'), (6, '-infinity'), (7, '10000-01-01');
INSERT INTO image_deletion_tasks (customer_id, created_at) VALUES (8, 'infinity'), (9, '-infinity'), (10, '20000-01-01');
INSERT INTO batches (organization_id, kind, name, created_at, deadline) VALUES (1, 'file', 'b2', 'infinity', '-infinity'), (1, 'file', 'b3', '-infinity', NULL);
INSERT INTO image_deletion_tasks (customer_id, batch_id, created_at) VALUES (11, 2, '2026-03-04'), (12, 3, 'infinity');
INSERT INTO batch_arrivals (batch_id, tasks) VALUES (3, 9223372036854775807), (3, 9223372036854775807);
UPDATE batches SET tasks_review = -9223372036854775807 WHERE id = 2;
INSERT INTO pauses (organization_id, paused_by, reason, paused_at) VALUES (1, 'ann', 'r', 'infinity');
INSERT INTO legal_holds (organization_id, customer_id, held_by, reason, held_at) VALUES (1, 1, 'ann', 'r', '-infinity');
INSERT INTO workers (name, organization_id, host, pid, version, seen_at) VALUES ('w', 1, 'h', 1, 'v', 'infinity');
INSERT INTO audit_entries (actor, host, action, at) VALUES ('ann', 'h', 'task.finish', 'infinity');
INSERT INTO customer_leases (remote_id, customer_id, rest_until) VALUES (1, 1, 'infinity');
UPDATE rate_budgets SET next_slot = 'infinity', strikes = '{infinity,NULL}';
SET imagepurge.command = 'enqueue';
INSERT INTO image_deletion_tasks (organization_id, batch_id, customer_id, sort_at, image_tokens) VALUES
    (1, 3, 13, now(), ARRAY[repeat('a', 64) || ',' || repeat('b', 64)]);
UPDATE image_deletion_tasks SET state = 'failed', outcome = 'invalid_customer', started_at = '-infinity', finished_at = 'infinity', lease_epoch = 1,
    verified_at = '-infinity' WHERE customer_id IN (1, 8);
UPDATE image_deletion_tasks SET state = 'running', started_at = now(), lease_epoch = 1, lease_owner = 'w', lease_until = 'infinity' WHERE customer_id = 4;
INSERT INTO task_images (task_id, image_key, position, state, sends, intended_at) VALUES (1, sha256('x'), 0, 'intended', 1, '-infinity');
INSERT INTO image_calls (task_id, sequence, kind, worker, lease_epoch, sent_at, answered_at, class) VALUES (1, 1, 'list', 'w', 1, 'infinity', 'infinity', 'listed');
RESET imagepurge.command`

func TestRowsThatCannotBeReadAreMended(t *testing.T) {
	t.Parallel()
	ctx, url := t.Context(), pgtest.URL(t)
	before(t, url, "finite_times")
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.WithoutCancel(ctx))
	if _, err := conn.Exec(ctx, unreadable); err != nil {
		t.Fatal(err)
	}
	if _, err := migrations.Up(ctx, url); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ what, sql, want string }{
		{"deadlines", "SELECT string_agg(coalesce(deadline::date::text, 'none'), ' ' ORDER BY customer_id) FROM image_deletion_tasks WHERE customer_id <= 4",
			"none 1970-01-01 none 2027-05-06"},
		{"due times", "SELECT string_agg((CASE WHEN due_at - now() < '1 day' AND due_at > now() - interval '1 day' THEN 'now' ELSE due_at::date::text END), ' ' ORDER BY customer_id) FROM image_deletion_tasks WHERE customer_id BETWEEN 4 AND 7",
			"now 9999-12-31 1970-01-01 9999-12-31"},
		{"a task is as old as its batch", "SELECT bool_and(t.created_at = b.created_at AND t.sort_at = task_sort_at(t.created_at, 0, NULL))::text FROM image_deletion_tasks t JOIN batches b ON b.id = t.batch_id WHERE customer_id IN (8, 9, 10)",
			"true"},
		{"a batch is as old as its first task", "SELECT created_at::date::text FROM batches WHERE id = 2", "2026-03-04"},
		{"or from now", "SELECT (now() - min(created_at) < '1 minute')::text FROM (SELECT created_at FROM batches WHERE id = 3 UNION ALL SELECT created_at FROM image_deletion_tasks WHERE customer_id = 12)x", "true"},
		{"the batches' deadlines", "SELECT string_agg(coalesce(least(deadline, (SELECT min(a.deadline) FROM batch_arrivals a WHERE a.batch_id = b.id))::date::text, 'none'), ' ' ORDER BY id) FROM batches b",
			"1970-01-01 none none"},
		{"their counts", "SELECT string_agg(concat_ws('/', tasks_total + coalesce((SELECT sum(tasks) FROM batch_arrivals a WHERE a.batch_id = b.id), 0), tasks_failed, tasks_review), ' ' ORDER BY id) FROM batches b",
			"10/0/0 1/0/0 2/0/0"},
		{"a lease ends", "SELECT (lease_until BETWEEN now() - interval '1 minute' AND now())::text FROM image_deletion_tasks WHERE customer_id = 4", "true"},
		{"and a rest", "SELECT (rest_until - now() BETWEEN '23 hours' AND '1 day')::text FROM customer_leases", "true"},
		{"tokens", "SELECT string_agg(image_tokens::text, ' ' ORDER BY customer_id) FROM image_deletion_tasks WHERE image_tokens IS NOT NULL",
			"{" + strings.Repeat("a", 64) + "," + strings.Repeat("b", 64) + "}"},
		{"slots", "SELECT concat_ws(' ', next_slot, strikes) FROM rate_budgets", "-infinity {}"},
		{"what was there is on record", "SELECT details->>'was' FROM audit_entries WHERE action = 'schema.mend' AND details->>'table' = 'image_deletion_tasks' AND details->>'column' = 'deadline'",
			`["-infinity", "294276-12-31 00:00:00+00", "infinity"]`},
		{"of each column", "SELECT string_agg((details->>'table') || '.' || (details->>'column') || ' ' || (details->>'rows'), ' ' ORDER BY id) FROM audit_entries WHERE action = 'schema.mend'",
			"pauses.paused_at 1 legal_holds.held_at 1 image_deletion_tasks.created_at 4 image_deletion_tasks.deadline 3 image_deletion_tasks.due_at 3 " +
				"image_deletion_tasks.lease_until 1 image_deletion_tasks.started_at 2 image_deletion_tasks.finished_at 2 image_deletion_tasks.verified_at 2 " +
				"batches.created_at 2 batches.deadline 1 batch_arrivals.deadline 1 task_images.intended_at 1 image_calls.sent_at 1 image_calls.answered_at 1 " +
				"customer_leases.rest_until 1 workers.seen_at 1 audit_entries.at 1"},
		{"the guards stand again", "SELECT count(*)::text FROM pg_trigger WHERE NOT tgisinternal AND tgenabled <> 'O'", "0"},
	} {
		var got string
		if err := conn.QueryRow(ctx, c.sql).Scan(&got); err != nil || got != c.want {
			t.Errorf("%s: got %q, %v; want %q", c.what, got, err, c.want)
		}
	}
}

// Every time of the schema has bounds. Of three -infinity is the beginning.
func TestEveryTimeIsBounded(t *testing.T) {
	t.Parallel()
	ctx, url := t.Context(), pgtest.URL(t)
	if _, err := migrations.Up(ctx, url); err != nil {
		t.Fatal(err)
	}
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.WithoutCancel(ctx))
	rows, err := conn.Query(ctx, `
SELECT table_name, column_name, data_type = 'ARRAY' FROM information_schema.columns
WHERE table_schema = 'public' AND table_name <> 'goose_db_version' AND (data_type IN ('timestamp with time zone', 'timestamp without time zone') OR udt_name = '_timestamptz')`)
	if err != nil {
		t.Fatal(err)
	}
	type column struct {
		Table, Name string
		Array       bool
	}
	columns, err := pgx.CollectRows(rows, pgx.RowToStructByPos[column])
	if err != nil || len(columns) < 40 {
		t.Fatalf("%d columns, %v", len(columns), err)
	}
	beginnings := []string{"next_slot", "owed_until", "claims_from"}
	for _, c := range columns {
		// A copy of the table that has this column's constraints alone.
		setup := `DROP TABLE IF EXISTS pg_temp.x; CREATE TEMPORARY TABLE x (LIKE ` + c.Table + ` INCLUDING CONSTRAINTS);
DO $$ BEGIN EXECUTE (SELECT string_agg('ALTER TABLE x ' || change, ';') FROM (
    SELECT format('ALTER %I DROP NOT NULL', attname) AS change FROM pg_attribute WHERE attrelid = 'x'::regclass AND attnotnull AND attnum > 0
    UNION ALL SELECT format('DROP CONSTRAINT %I', conname) FROM pg_constraint WHERE conrelid = 'x'::regclass AND conname NOT LIKE '` + c.Name + `%' AND contype = 'c') x); END $$`
		if _, err := conn.Exec(ctx, setup); err != nil {
			t.Fatal(c, err)
		}
		for _, bad := range []string{"infinity", "-infinity", "20000-01-01", "0044-03-15 BC"} {
			if slices.Contains(beginnings, c.Name) && (strings.HasPrefix(bad, "-") || strings.HasSuffix(bad, "BC")) {
				continue
			}
			if c.Array {
				bad = `{` + bad + `}`
			}
			_, err := conn.Exec(ctx, "INSERT INTO x ("+c.Name+") VALUES ('"+bad+"')")
			if err == nil || !strings.Contains(err.Error(), `constraint "`+c.Name) {
				t.Errorf("%s.%s takes %s: %v", c.Table, c.Name, bad, err)
			}
		}
	}
}
