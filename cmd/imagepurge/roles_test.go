package main_test

import (
	"context"
	"net/url"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/imagepurge/imagepurge/capillary/sandbox"
	"github.com/imagepurge/imagepurge/internal/pgtest"
)

// roles are logins of one test's own, by the names that the documents give them. The
// owner has an empty schema, and no right beyond it.
type roles struct {
	*world
	names, urls map[string]string
}

func newRoles(t testing.TB, o sandbox.Options, all ...string) *roles {
	t.Helper()
	address := pgtest.URL(t)
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	r := &roles{world: newWorldOn(t, o, address), names: map[string]string{}, urls: map[string]string{}}
	unique := strings.Join(strings.SplitN(strings.TrimPrefix(u.Path, "/"), "_", 4)[:3], "_") // a name is cut at 63 bytes
	for _, role := range append(all, "owner") {
		name := unique + "_" + role
		as := *u
		as.User = url.UserPassword(name, "sesame")
		r.names[role], r.urls[role] = name, as.String()
		r.exec("CREATE ROLE " + name + " LOGIN PASSWORD 'sesame'")
		t.Cleanup(func() {
			if t.Failed() {
				return // the database is kept
			}
			for _, sql := range []string{"DROP OWNED BY " + name + " CASCADE", "DROP ROLE " + name} {
				if _, err := r.pool.Exec(context.WithoutCancel(t.Context()), sql); err != nil {
					t.Errorf("%s: %v", sql, err)
				}
			}
		})
	}
	r.exec("DROP SCHEMA public CASCADE")
	r.exec("CREATE SCHEMA public AUTHORIZATION " + r.names["owner"])
	return r
}

// by runs what a role types.
func (r *roles) by(role, sql string) {
	r.Helper()
	conn, err := pgx.Connect(r.Context(), r.urls[role])
	if err != nil {
		r.Fatal(err)
	}
	defer conn.Close(context.WithoutCancel(r.Context()))
	if _, err := conn.Exec(r.Context(), sql); err != nil {
		r.Fatalf("%s: %s: %v", role, sql, err)
	}
}

// as is the world in which programs connect as a role.
func (r *roles) as(role string) *world { return r.with("DATABASE_URL=" + r.urls[role]) }

// documentedGrants are those of docs/operations.md, with the names of this test's roles.
func (r *roles) documentedGrants() string {
	r.Helper()
	page, err := os.ReadFile("../../docs/operations.md")
	if err != nil {
		r.Fatal(err)
	}
	m := regexp.MustCompile("(?s)\n```sql\n(GRANT USAGE .*?)```").FindSubmatch(page)
	if m == nil {
		r.Fatal("docs/operations.md tells no grants")
	}
	grants := string(m[1])
	for role, name := range r.names {
		grants = regexp.MustCompile(`\b`+role+`\b`).ReplaceAllString(grants, name)
	}
	return grants
}

// A worker with exactly the documented grants does all of the work, whoever hands it in
// has INSERT alone, and an auditor looks; neither of these does more.
func TestTheDocumentedGrantsAreEnough(t *testing.T) {
	t.Parallel()
	crowd := present(671, 30, 2)
	ids := everyone(crowd)
	r := newRoles(t, sandbox.Options{Seed: 671, Population: crowd}, "imagepurge_worker", "shop", "auditor")
	r.as("owner").must(0, "migrate")
	grants := r.documentedGrants()
	r.by("owner", grants)
	worker, auditor := r.as("imagepurge_worker"), r.as("auditor")

	batch := worker.enqueue(ids[:10])
	for _, id := range ids[10:20] {
		r.by("shop", "INSERT INTO image_deletion_tasks (customer_id) VALUES ("+number(id)+")")
	}
	worker.must(0, "pause", "--reason", "lunch")
	worker.must(0, "run", "--once")
	if n := len(r.deletes()); n != 0 {
		t.Errorf("%d DELETEs during a pause", n)
	}
	worker.must(0, "resume", "--reason", "back")
	if e := worker.must(0, "run", "--once"); !strings.Contains(e.out, "20 customers ended") {
		t.Errorf("%s", e)
	}
	r.wantTruth(batch, ids[:10])
	r.wantTruth(batch+1, ids[10:20])
	cancelled := worker.enqueue(ids[20:])
	worker.must(0, "batch", "cancel", number(cancelled), "--yes", "--reason", "a mistake")
	if e := worker.must(doctorSays(worker), "doctor", "--recount", "--offline"); strings.Count(e.out, "ok         program's right")+strings.Count(e.out, "ok         guards") != 2 {
		t.Errorf("%s", e)
	}
	if n := r.count("SELECT count(*) FROM audit_entries WHERE action IN ('work.pause', 'work.resume', 'batch.create', 'batch.cancel', 'batch.recount')"); n != 6 {
		t.Errorf("%d decisions are in the audit log, want 6", n)
	}
	if n := r.count("SELECT count(*) FROM audit_entries WHERE action = 'task.finish'"); n != 20 {
		t.Errorf("%d ends are in the audit log, want 20", n)
	}
	r.wantHarmless(true)

	for _, args := range []string{"status", "batch list", "batch show 1", "report 1", "task show 1", "task list", "org list", "customer " + number(ids[0])} {
		auditor.must(0, strings.Fields(args)...)
	}
	before := r.count("SELECT count(*) FROM audit_entries")
	for _, args := range []string{"pause --reason x", "org set default mode=economy --reason x", "run --once"} {
		if e := auditor.must(1, strings.Fields(args)...); !strings.Contains(e.err, "GRANT EXECUTE ON FUNCTION imagepurge_program() TO "+r.names["auditor"]) {
			t.Errorf("%s", e)
		}
	}
	if n := r.count("SELECT count(*) FROM audit_entries"); n != before {
		t.Error("what was refused left a trace in the audit log")
	}
}

// A worker that lacks the right says so before anything is claimed, with the statement that
// mends it; so does one in a database in which every role has it.
func TestAWorkerWithoutTheRightSaysItAtTheStart(t *testing.T) {
	t.Parallel()
	crowd := present(672, 2, 1)
	r := newRoles(t, sandbox.Options{Seed: 672, Population: crowd}, "imagepurge_worker")
	r.as("owner").must(0, "migrate")
	r.by("owner", "GRANT USAGE ON SCHEMA public TO "+r.names["imagepurge_worker"])
	r.by("owner", "GRANT ALL ON ALL TABLES IN SCHEMA public TO "+r.names["imagepurge_worker"])
	r.by("owner", "INSERT INTO image_deletion_tasks (customer_id) VALUES ("+number(crowd.ID(0))+")")
	worker := r.as("imagepurge_worker")
	list := r.list("list.csv", crowd.ID(1))

	for _, args := range []string{"run --once", "run", "enqueue " + list, "pause --reason x", "org set default mode=economy --reason x", "doctor --offline"} {
		e := worker.must(1, strings.Fields(args)...)
		said := regexp.MustCompile(`GRANT EXECUTE ON FUNCTION \S+ TO \S+`).FindString(e.err + e.out)
		if !strings.Contains(e.err+e.out, "the program's right") || said != "GRANT EXECUTE ON FUNCTION imagepurge_program() TO "+r.names["imagepurge_worker"] {
			t.Errorf("%s", e)
		}
	}
	if n := r.count("SELECT count(*) FROM image_deletion_tasks WHERE lease_epoch > 0") + r.count("SELECT count(*) FROM audit_entries") + r.api.Journal().Len(); n != 0 {
		t.Error("something was done all the same")
	}

	r.by("owner", "GRANT EXECUTE ON FUNCTION imagepurge_program() TO PUBLIC")
	for _, args := range []string{"run --once", "doctor --offline"} {
		if e := worker.must(1, strings.Fields(args)...); !strings.Contains(e.err+e.out, "REVOKE EXECUTE ON FUNCTION imagepurge_program() FROM PUBLIC") {
			t.Errorf("%s", e)
		}
	}
	worker.must(0, "pause", "--reason", "a pause is never refused for that")
	worker.must(0, "resume", "--reason", "x")

	r.by("owner", "REVOKE EXECUTE ON FUNCTION imagepurge_program() FROM PUBLIC")
	r.by("owner", "GRANT EXECUTE ON FUNCTION imagepurge_program() TO "+r.names["imagepurge_worker"])
	if e := worker.must(0, "run", "--once"); !strings.Contains(e.out, "1 customers ended") {
		t.Errorf("%s", e)
	}
	// To put triggers on tables is as good as the right.
	if e := worker.must(1, "doctor", "--offline"); !strings.Contains(e.out, r.names["imagepurge_worker"]+" may put triggers") || !strings.Contains(e.out, "superusers write as the program does, and "+r.names["imagepurge_worker"]) {
		t.Errorf("%s", e)
	}
}
