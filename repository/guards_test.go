package repository_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/imagepurge/imagepurge/jobs"
	"github.com/imagepurge/imagepurge/jobs/purge"
	"github.com/imagepurge/imagepurge/repository"
)

// login is the same database as seen by a new role with these grants alone, over
// connections of its own: the guards ask who has logged in.
func (d *db) login(role string, grants ...string) *db {
	d.Helper()
	cfg := d.pool.Config()
	// A test's database is named ip_RUN_NUMBER_TEST.
	name := strings.Join(strings.SplitN(cfg.ConnConfig.Database, "_", 4)[:3], "_") + "_" + role
	d.by("CREATE ROLE " + name + " LOGIN PASSWORD 'sesame'")
	for _, g := range grants {
		d.by("GRANT " + g + " TO " + name)
	}
	d.Cleanup(func() {
		if d.Failed() {
			return // the database is kept
		}
		for _, sql := range []string{"DROP OWNED BY " + name + " CASCADE", "DROP ROLE " + name} {
			if _, err := d.pool.Exec(context.WithoutCancel(d.ctx), sql); err != nil {
				d.Errorf("%s: %v", sql, err)
			}
		}
	})
	cfg.ConnConfig.User, cfg.ConnConfig.Password = name, "sesame"
	pool, err := pgxpool.NewWithConfig(d.ctx, cfg)
	if err != nil {
		d.Fatal(err)
	}
	d.Cleanup(pool.Close)
	return &db{TB: d.TB, Store: repository.New(pool, time.Now), ctx: d.ctx, pool: pool}
}

// commandNames are all that the program's sources set, and none.
func commandNames(t testing.TB) []string {
	t.Helper()
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	names := []string{""}
	for _, f := range files {
		if strings.HasSuffix(f, "_test.go") {
			continue
		}
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range regexp.MustCompile(`(?:imagepurge\.command', '|inTx\(ctx, "|moveBatch\([^"]*"[a-z]+", ")([a-z.]+)`).FindAllSubmatch(text, -1) {
			names = append(names, string(m[1]))
		}
	}
	slices.Sort(names)
	names = slices.Compact(names)
	for _, n := range []string{"enqueue", "write", "claim", "retry", "resolve", "cancel", "batch.cancel"} {
		if !slices.Contains(names, n) {
			t.Fatalf("%q is not among the commands found: %q", n, names)
		}
	}
	return names
}

// everyTable is all rows of all tables, as text, and the tables.
func (d *db) everyTable() (names []string, rows string) {
	d.Helper()
	names = list[string](d, "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p') ORDER BY 1")
	var all []string
	for _, t := range names {
		all = append(all, t+": "+strings.Join(list[string](d, "SELECT t::text FROM "+t+" t ORDER BY 1"), "\n"))
	}
	return names, strings.Join(all, "\n")
}

// lived has rows in every table: a task that has ended, one that is running, one that
// waits, and what people have decided.
func lived(t *testing.T) *db {
	t.Helper()
	d := open(t)
	d.customers(1, 2, 3)
	rs := d.claim(limit(2))
	w := intent(rs[0], "x")
	d.applied(w)
	d.applied(progress(w))
	ended := finish(rs[0], jobs.ImagesDeleted)
	ended.Counters, ended.Deleted = purge.Counters{Found: 1, Sequence: 1, APICalls: 1}, 1
	d.applied(ended)
	d.applied(intent(rs[1], "y"))
	if _, err := d.Pause(d.ctx, ann, 0, "lunch"); err != nil {
		t.Fatal(err)
	}
	d.by("INSERT INTO legal_holds (organization_id, customer_id, held_by, reason) VALUES (1, 7, 'ann', 'a law suit')")
	d.by("INSERT INTO organization_schedules (organization_id, schedule, recorded_by) VALUES (1, 's', 'w1')")
	d.by("INSERT INTO schedule_runs (organization_id, tick, closes_at, schedule, opened_by) VALUES (1, now() - interval '1 hour', now() + interval '1 hour', 's', 'w1')")
	d.by("INSERT INTO workers (name, organization_id, host, pid, version) VALUES ('w1', 1, 'h', 1, 'v')")
	return d
}

// allOnTables is what no role but the owner should have, and many have.
const allOnTables = "ALL ON ALL TABLES IN SCHEMA public"

// A role that may do everything with every table, and sets what it likes, changes nothing
// but tasks that were not started. Each table is listed with what refuses it.
func TestARoleWithoutTheRightChangesNothing(t *testing.T) {
	t.Parallel()
	d := lived(t)
	hand := d.login("hand", allOnTables, "ALL ON ALL SEQUENCES IN SCHEMA public")
	refusedBy := map[string]string{
		"audit_entries": noPrivilege, "batch_arrivals": noPrivilege, "batches": noPrivilege, "customer_leases": noPrivilege, "goose_db_version": noPrivilege,
		"image_calls": restricted, "legal_holds": noPrivilege, "organization_schedules": noPrivilege, "organizations": noPrivilege, "pauses": noPrivilege,
		"rate_budgets": noPrivilege, "remote_organizations": noPrivilege, "schedule_runs": noPrivilege, "server_identity": noPrivilege,
		"task_images": restricted, "workers": noPrivilege,
		"image_deletion_tasks": "", // below
	}
	tables, before := d.everyTable()
	for _, table := range tables {
		code, listed := refusedBy[table]
		if !listed {
			t.Errorf("%s is a new table: give it a guard, list it here and in guards.go, or say why it needs none", table)
		}
		if get[int](d, "SELECT count(*) FROM "+table) == 0 {
			t.Errorf("%s is empty: nothing is shown", table)
		}
		statements := map[string]string{
			"INSERT INTO TABLE OVERRIDING SYSTEM VALUE SELECT * FROM TABLE LIMIT 1": code,
			"UPDATE TABLE SET COLUMN = COLUMN":                                      code,
			"DELETE FROM TABLE":                                                     code,
			"TRUNCATE TABLE CASCADE":                                                code,
		}
		if table == "audit_entries" { // its older guard comes first
			statements["TRUNCATE TABLE CASCADE"] = restricted
		}
		if table == "image_deletion_tasks" { // customer 1 has ended, 2 is running, 3 was not started
			statements = map[string]string{
				"INSERT INTO TABLE OVERRIDING SYSTEM VALUE SELECT * FROM TABLE WHERE customer_id = 1":           checkFailed,
				"INSERT INTO TABLE OVERRIDING SYSTEM VALUE SELECT * FROM TABLE WHERE customer_id = 2":           checkFailed,
				"UPDATE TABLE SET COLUMN = COLUMN WHERE customer_id = 1":                                        restricted,
				"UPDATE TABLE SET state = 'pending', outcome = NULL, finished_at = NULL WHERE customer_id = 1":  restricted,
				"UPDATE TABLE SET lease_until = now() + interval '1 day' WHERE customer_id = 2":                 restricted,
				"UPDATE TABLE SET state = 'cancelled', outcome = 'cancelled', finished_at = now()":              restricted,
				"UPDATE TABLE SET listed = true WHERE customer_id = 3":                                          restricted,
				"UPDATE TABLE SET customer_id = 9 WHERE customer_id = 3":                                        restricted,
				"UPDATE TABLE SET lease_epoch = 1, started_at = now(), state = 'pending' WHERE customer_id = 3": restricted,
				"DELETE FROM TABLE WHERE customer_id < 3":                                                       restricted,
				"TRUNCATE TABLE CASCADE": restricted,
			}
		}
		column := get[string](d, "SELECT attname FROM pg_attribute WHERE attrelid = $1::regclass AND attnum > 0 AND attidentity = '' ORDER BY attnum LIMIT 1", table)
		for form, code := range statements {
			sql := strings.NewReplacer("TABLE", table, "COLUMN", column).Replace(form)
			for _, command := range commandNames(t) {
				_, err := hand.tryAs(command, sql)
				checkRefused(t, fmt.Sprintf("as %q: %s", command, sql), err, code)
			}
		}
	}
	if _, after := d.everyTable(); after != before {
		t.Errorf("something has changed:\n%s\nbefore:\n%s", after, before)
	}
}

// Of tasks that were not started, any role that has the privileges of the table may change
// what hands may, and withdraw them; the batch counts them.
func TestARoleWithoutTheRightMovesWhatWasNotStarted(t *testing.T) {
	t.Parallel()
	d := open(t)
	d.customers(1, 2)
	hand := d.login("hand", "SELECT, UPDATE (due_at, priority, deadline), DELETE ON image_deletion_tasks")
	hand.by("UPDATE image_deletion_tasks SET priority = 3, deadline = now() + interval '1 day', due_at = now() + interval '1 hour' WHERE customer_id = 1")
	hand.by("DELETE FROM image_deletion_tasks WHERE customer_id = 2")
	b, err := d.Batch(d.ctx, 1)
	if err != nil || b.Tasks != 1 || b.Deadline == nil {
		t.Errorf("%+v, %v; want one task, with the deadline", b, err)
	}
}

// INSERT on the table, of one column even, is all that is needed to hand in work, and what
// comes in so is a whole new task whatever is set and whatever the role keeps in its
// temporary schema.
func TestInsertAloneHandsInWork(t *testing.T) {
	t.Parallel()
	d := open(t)
	hand := d.login("hand", "INSERT (customer_id) ON image_deletion_tasks")
	whole := d.login("whole", "SELECT, INSERT ON image_deletion_tasks", "SELECT ON batches")
	var customers int64
	for _, decoys := range []bool{false, true} {
		for _, command := range commandNames(t) {
			for _, r := range []*db{hand, whole} {
				err := pgx.BeginFunc(r.ctx, r.pool, func(tx pgx.Tx) error {
					if _, err := tx.Exec(r.ctx, "SELECT set_config('imagepurge.command', $1, true)", command); err != nil {
						return err
					}
					if decoys {
						if _, err := tx.Exec(r.ctx, `
CREATE TEMPORARY TABLE batches (id bigint, state text) ON COMMIT DROP; CREATE TEMPORARY TABLE organizations (id bigint) ON COMMIT DROP;
CREATE TEMPORARY TABLE batch_arrivals (batch_id bigint, tasks bigint, deadline timestamptz) ON COMMIT DROP;
SET LOCAL search_path = pg_temp, public`); err != nil {
							return err
						}
					}
					_, err := tx.Exec(r.ctx, "INSERT INTO image_deletion_tasks (customer_id) VALUES ($1), ($1 + 1)", customers+1)
					return err
				})
				if err != nil {
					t.Fatalf("as %q, decoys %t: %v", command, decoys, err)
				}
				customers += 2
			}
		}
	}
	b, err := d.Batch(d.ctx, 1)
	if err != nil || b.Kind != "ad_hoc" || b.Tasks != customers || b.Open != customers {
		t.Errorf("%+v, %v; want %d tasks", b, err, customers)
	}
	if n := get[int64](d, "SELECT count(*) FROM image_deletion_tasks WHERE state = 'pending' AND batch_id = 1 AND organization_id = 1"); n != customers {
		t.Errorf("%d whole tasks, want %d", n, customers)
	}
	_, err = hand.tryAs("enqueue", "INSERT INTO image_deletion_tasks (customer_id, state) VALUES (1, 'pending')")
	checkRefused(t, "another column", err, noPrivilege)
	if got := d.claim(limit(1)); len(got) != 1 {
		t.Error("nothing was claimed")
	}

	// Number and time are the database's.
	d.by("INSERT INTO organizations (name) VALUES ('brand-b')")
	d.by("INSERT INTO batches (organization_id, kind, name) VALUES (2, 'file', 'of another organisation')")
	const early = "INSERT INTO image_deletion_tasks (id, customer_id, organization_id, batch_id, created_at, sort_at, mode, scope, source, due_at) OVERRIDING SYSTEM VALUE "
	for _, command := range commandNames(t) {
		if _, err := whole.tryAs(command, early+"VALUES (1000000, 999, 1, 1, '2000-01-01', '2000-01-01', 'verified', 'snapshot', 'INSTORE', now())"); err != nil {
			t.Fatalf("as %q: %v", command, err)
		}
		_, err := whole.tryAs(command, early+"VALUES (1000000, 999, 1, 2, now(), now(), 'verified', 'snapshot', 'INSTORE', now())")
		checkRefused(t, "a batch of another organisation", err, foreignKey)
	}
	if n := get[int](d, "SELECT count(*) FROM image_deletion_tasks WHERE customer_id = 999 AND id < 1000000 AND created_at > now() - interval '1 hour' AND sort_at > now() - interval '2 hours'"); n != len(commandNames(t)) {
		t.Errorf("%d of %d tasks have the database's number and time", n, len(commandNames(t)))
	}
	d.by("UPDATE batches SET state = 'cancelled' WHERE id = 1")
	_, err = whole.tryAs("enqueue", "INSERT INTO image_deletion_tasks (customer_id, batch_id) VALUES (1, 1)")
	checkRefused(t, "a cancelled batch", err, checkFailed, "takes no more tasks")
}

// The ways around: another's function that runs with the right of its owner, a
// trigger's function on a table of one's own, and membership that isn't inherited.
func TestTheRightIsNotBorrowed(t *testing.T) {
	t.Parallel()
	d := lived(t)
	hand := d.login("hand", allOnTables, "TEMPORARY ON DATABASE "+get[string](d, "SELECT current_database()"))
	_, before := d.everyTable()
	d.by(`CREATE FUNCTION lent(statement text) RETURNS void LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN PERFORM set_config('imagepurge.command', 'retry', true); EXECUTE statement; END $$`)
	for statement, code := range map[string]string{
		"UPDATE task_images SET position = 9":                                                   restricted,
		"UPDATE image_deletion_tasks SET state = 'pending', outcome = NULL, finished_at = NULL": restricted,
		"UPDATE batches SET tasks_completed = 9":                                                noPrivilege,
		"INSERT INTO audit_entries (actor, host, action) VALUES ('ann', 'desk', 'work.pause')":  noPrivilege,
		"DELETE FROM customer_leases":                                                           noPrivilege,
	} {
		_, err := hand.pool.Exec(hand.ctx, "SELECT lent($1)", statement)
		checkRefused(t, statement, err, code)
	}
	for _, function := range list[string](d, "SELECT proname FROM pg_proc WHERE pronamespace = 'public'::regnamespace AND prorettype = 'trigger'::regtype") {
		_, err := hand.pool.Exec(hand.ctx, `CREATE TEMPORARY TABLE forged (batch_id bigint, deadline timestamptz);
CREATE TRIGGER forged AFTER INSERT ON forged REFERENCING NEW TABLE AS arrived FOR EACH STATEMENT EXECUTE FUNCTION `+function+`();
INSERT INTO forged VALUES (1, now())`)
		checkRefused(t, function+" on a table of his own", err, noPrivilege, "permission denied for function")
	}
	if _, after := d.everyTable(); after != before {
		t.Errorf("something has changed:\n%s\nbefore:\n%s", after, before)
	}
}

// A caller's search path and temporary objects can't change what a function does.
func TestEveryFunctionIsBoundToItsNames(t *testing.T) {
	t.Parallel()
	d := open(t)
	if loose := list[string](d, `
SELECT proname FROM pg_proc
WHERE pronamespace = 'public'::regnamespace AND prosqlbody IS NULL AND proconfig IS DISTINCT FROM ARRAY['search_path=public, pg_temp']`); len(loose) > 0 {
		t.Errorf("without SET search_path FROM CURRENT (see 0010), or BEGIN ATOMIC: %q", loose)
	}
	if n := get[int](d, "SELECT count(*) FROM pg_proc WHERE pronamespace = 'public'::regnamespace"); n < 15 {
		t.Errorf("%d functions were found", n)
	}
}

func TestWhoHasTheRight(t *testing.T) {
	t.Parallel()
	d := open(t)
	if err := d.CheckRight(d.ctx); err != nil {
		t.Errorf("the owner: %v", err)
	}
	worker := d.login("worker", "SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public")
	name := worker.pool.Config().ConnConfig.User
	var right *repository.RightError
	for what, err := range map[string]error{
		"check":   worker.CheckRight(d.ctx),
		"pause":   func() error { _, err := worker.Pause(d.ctx, ann, 0, "r"); return err }(),
		"enqueue": func() error { _, err := worker.TakeIn(d.ctx, file(), &numbers{end: 1}); return err }(),
	} {
		if !errors.As(err, &right) || right.Everyone || right.Mend != "GRANT EXECUTE ON FUNCTION imagepurge_program() TO "+name {
			t.Fatalf("%s: got error %v", what, err)
		}
	}
	d.by(right.Mend)
	if err := worker.CheckRight(d.ctx); err != nil {
		t.Errorf("once it was granted: %v", err)
	}
	if got, err := d.ProgramRoles(d.ctx); err != nil || !slices.Contains(got, name) || len(got) != 2 {
		t.Errorf("got %q (%v), want the owner and %s", got, err, name)
	}
	d.by("GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA public TO PUBLIC")
	if err := worker.CheckRight(d.ctx); !errors.As(err, &right) || !right.Everyone {
		t.Fatalf("everyone has it: got error %v", err)
	}
	if got, err := d.ProgramRoles(d.ctx); err != nil || !slices.Contains(got, "PUBLIC") {
		t.Errorf("got %q (%v), want PUBLIC in them", got, err)
	}
	d.by(right.Mend)
	if err := worker.CheckRight(d.ctx); err != nil {
		t.Errorf("once it was taken back: %v", err)
	}
}

// The digest of the triggers is the migrations', and each way past the guards is found.
func TestGuardsThatAreOffAreFound(t *testing.T) {
	t.Parallel()
	d := open(t)
	grave := func() (found []string) {
		all, err := d.GuardFaults(d.ctx)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range all {
			if f.Grave {
				found = append(found, f.Says+"; "+f.Mend)
			}
		}
		return found
	}
	if got := grave(); len(got) > 0 {
		t.Fatalf("of a new schema; after a migration the digest belongs into guards.go: %q", got)
	}
	tables, _ := d.everyTable()
	d.by("CREATE SCHEMA elsewhere; CREATE FUNCTION elsewhere.f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'")
	type tampering struct{ off, on, says string }
	all := []tampering{
		{"ALTER TABLE pauses ENABLE REPLICA TRIGGER only_program", "ALTER TABLE pauses ENABLE TRIGGER only_program", "trigger only_program of pauses is switched off; ALTER TABLE pauses ENABLE TRIGGER only_program"},
		{"DROP TRIGGER keep_answer ON image_calls", "CREATE TRIGGER keep_answer BEFORE UPDATE ON image_calls FOR EACH ROW EXECUTE FUNCTION guard_answer()", "are not as this program made them"},
		{"ALTER TRIGGER only_program ON batches RENAME TO x", "ALTER TRIGGER x ON batches RENAME TO only_program", "are not as this program made them"},
		{"CREATE TRIGGER x BEFORE UPDATE ON task_images FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger()", "DROP TRIGGER x ON task_images", "trigger x of task_images is not of this program; DROP TRIGGER x ON task_images"},
		{"CREATE TRIGGER x BEFORE INSERT ON audit_entries FOR EACH ROW EXECUTE FUNCTION elsewhere.f()", "DROP TRIGGER x ON audit_entries", "trigger x of audit_entries is not of this program"},
		{"GRANT TRIGGER ON task_images TO PUBLIC", "REVOKE TRIGGER ON task_images FROM PUBLIC", "PUBLIC may put triggers on the tables; REVOKE TRIGGER ON ALL TABLES IN SCHEMA public FROM PUBLIC"},
	}
	for _, table := range tables {
		all = append(all, tampering{"ALTER TABLE " + table + " DISABLE TRIGGER USER", "ALTER TABLE " + table + " ENABLE TRIGGER USER", " of " + table + " is switched off"})
	}
	// The last is not set right again.
	all = append(all, tampering{"CREATE OR REPLACE FUNCTION guard_answer() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'", "SELECT 1", "are not as this program made them"})
	for _, c := range all {
		if got := grave(); len(got) > 0 {
			t.Fatalf("before %s: %q", c.off, got)
		}
		d.by(c.off)
		if got := strings.Join(grave(), "\n"); !strings.Contains(got, c.says) {
			t.Errorf("%s: found %q, want %q", c.off, got, c.says)
		}
		d.by(c.on)
	}
}
