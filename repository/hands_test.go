package repository_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/imagepurge/imagepurge/jobs"
	"github.com/imagepurge/imagepurge/jobs/purge"
)

func hexOf(token string) string {
	k := jobs.KeyOf(token)
	return fmt.Sprintf("%x", k[:])
}

func TestABareInsertIsAWholeTask(t *testing.T) {
	t.Parallel()
	d := open(t)
	d.by("INSERT INTO image_deletion_tasks (customer_id) VALUES (564703420)")
	if !get[bool](d, `
SELECT t.organization_id = o.id AND t.state = 'pending' AND t.image_tokens IS NULL AND t.waiting_for IS NULL AND NOT t.dry_run
   AND t.lease_epoch = 0 AND t.due_at <= clock_timestamp() AND t.sort_at = date_trunc('hour', t.created_at, 'UTC')
   AND b.kind = 'ad_hoc' AND b.ad_hoc_day = (t.created_at AT TIME ZONE 'UTC')::date AND b.name = 'ad hoc ' || b.ad_hoc_day
FROM image_deletion_tasks t JOIN batches b ON b.id = t.batch_id, organizations o`) {
		t.Errorf("the task is not complete: %s", get[string](d, "SELECT t::text FROM image_deletion_tasks t"))
	}
	d.customers(1, 2)
	if n := get[int](d, "SELECT count(*) FROM batches"); n != 1 {
		t.Errorf("tasks of one day are in %d batches, want 1", n)
	}
	if got := d.claim(); len(got) != 3 {
		t.Errorf("claimed %d of the 3 tasks", len(got))
	}
}

func TestABareInsertIsGivenTheOrganisationsSettings(t *testing.T) {
	t.Parallel()
	d := open(t)
	d.by("UPDATE organizations SET mode = 'paranoid', scope = 'until_empty', source = 'WEB', account_id = 'a1'")
	const settings = "SELECT concat_ws(' ', mode, scope, source, account_id) FROM image_deletion_tasks WHERE customer_id = $1"
	d.by("INSERT INTO image_deletion_tasks (customer_id) VALUES (1)")
	if got := get[string](d, settings, 1); got != "paranoid until_empty WEB a1" {
		t.Errorf("got settings %q", got)
	}
	d.by("INSERT INTO image_deletion_tasks (customer_id, image_tokens) VALUES (2, '{x}')")
	if got := get[string](d, settings, 2); got != "paranoid snapshot WEB a1" {
		t.Errorf("named images: got settings %q", got)
	}
	d.by("INSERT INTO image_deletion_tasks (customer_id, mode, source) VALUES (3, 'economy', 'INSTORE')")
	if got := get[string](d, settings, 3); got != "economy until_empty INSTORE a1" {
		t.Errorf("own settings: got %q", got)
	}
}

func TestTokensAreHashedAsTheyComeIn(t *testing.T) {
	t.Parallel()
	d := open(t)
	digest := hexOf("already a digest")
	d.by("INSERT INTO image_deletion_tasks (customer_id, image_tokens) VALUES (1, $1)", []string{"b", "a", "b", strings.ToUpper(digest), digest, "ü/+="})
	want := []string{hexOf("a"), hexOf("b"), digest, hexOf("ü/+=")}
	slices.Sort(want)
	const tokens = "SELECT unnest(image_tokens) FROM image_deletion_tasks WHERE customer_id = $1"
	if got := list[string](d, tokens, 1); !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	d.by("INSERT INTO image_deletion_tasks (customer_id, image_tokens) SELECT 2, image_tokens FROM image_deletion_tasks")
	if got := list[string](d, tokens, 2); !slices.Equal(got, want) {
		t.Errorf("a copied row: got %v, want %v", got, want)
	}
	r := d.claim()[0]
	if len(r.Named) != 4 || !slices.Contains(r.Named, jobs.KeyOf("a")) {
		t.Errorf("claimed with the targets %v", r.Named)
	}
	d.refused("INSERT INTO image_deletion_tasks (customer_id, image_tokens) VALUES (3, '{}')", checkFailed, "empty array", "null to delete all")
	d.refused("INSERT INTO image_deletion_tasks (customer_id, image_tokens) VALUES (3, '{a,NULL}')", checkFailed, "null element")
	d.refused("INSERT INTO image_deletion_tasks (customer_id, image_tokens) VALUES (3, '{a,\"\"}')", checkFailed, "empty or null")
	d.refused("INSERT INTO image_deletion_tasks (customer_id, image_tokens) VALUES (4, '{{a,b},{c,a}}')", checkFailed, "array of arrays")
	if n := get[int](d, "SELECT count(*) FROM image_deletion_tasks WHERE array_to_string(image_tokens, ',') ~ '[^0-9a-f,]'"); n != 0 {
		t.Errorf("%d rows hold something that is no digest", n)
	}
	_, err := d.tryAs("enqueue", "INSERT INTO image_deletion_tasks (organization_id, batch_id, customer_id, image_tokens, sort_at) SELECT 1, batch_id, 9, '{rawtoken}', now() FROM image_deletion_tasks LIMIT 1")
	checkRefused(t, "a raw token past the trigger", err, checkFailed, "tokens_hashed")
}

func TestWithTwoOrganisationsATaskMustNameOne(t *testing.T) {
	t.Parallel()
	d := open(t)
	d.by("INSERT INTO organizations (name) VALUES ('brand-b')")
	d.refused("INSERT INTO image_deletion_tasks (customer_id) VALUES (1)", nullRefused, "2 organisations", "imagepurge org list")
	d.by("INSERT INTO image_deletion_tasks (customer_id, organization_id) SELECT 1, id FROM organizations")
	if n := get[int](d, "SELECT count(DISTINCT batch_id) FROM image_deletion_tasks"); n != 2 {
		t.Errorf("tasks of two organisations are in %d batches, want 2", n)
	}
	b := get[int64](d, "SELECT id FROM batches ORDER BY organization_id DESC LIMIT 1")
	d.by("INSERT INTO image_deletion_tasks (customer_id, batch_id) VALUES (2, $1)", b)
	if org := get[string](d, "SELECT o.name FROM image_deletion_tasks t JOIN organizations o ON o.id = t.organization_id WHERE customer_id = 2"); org != "brand-b" {
		t.Errorf("the batch's organisation is not taken: %s", org)
	}
	d.refused(fmt.Sprintf("INSERT INTO image_deletion_tasks (customer_id, organization_id, batch_id) VALUES (2, 1, %d)", b), foreignKey)
	d.refused("INSERT INTO image_deletion_tasks (customer_id, organization_id) VALUES (2, 77)", foreignKey)
}

func TestATaskThatComesInHasNoHistory(t *testing.T) {
	t.Parallel()
	d := open(t)
	d.customers(1)
	for _, history := range []string{
		"state, outcome, finished_at) VALUES (2, 'completed', 'images_deleted', now()", "state) VALUES (2, 'held'", "outcome) VALUES (2, 'no_images'",
		"lease_epoch, started_at) VALUES (2, 1, now()", "images_found) VALUES (2, 1", "images_found, images_deleted) VALUES (2, 1, 1",
		"images_new) VALUES (2, 1", "attempts) VALUES (2, 1", "api_calls) VALUES (2, 1", "verified_at) VALUES (2, now()", "listed) VALUES (2, true",
		"relisting) VALUES (2, true", "review_as) VALUES (2, 'still_present'", "call_sequence) VALUES (2, 5", "still_present) VALUES (2, 2",
		"contradictions) VALUES (2, 2", "refusals) VALUES (2, 2", "error_code) VALUES (2, '8015'", "error_message) VALUES (2, 'x'", "http_status) VALUES (2, 500",
	} {
		d.refused("INSERT INTO image_deletion_tasks (customer_id, "+history+")", checkFailed, "no history", "Insert only customer_id")
	}
	for _, bad := range []struct{ sql, code, words string }{
		{"INSERT INTO image_deletion_tasks (customer_id) VALUES (0)", checkFailed, "customer_id"},
		{"INSERT INTO image_deletion_tasks (customer_id) VALUES (-5)", checkFailed, "customer_id"},
		{"INSERT INTO image_deletion_tasks (customer_id) VALUES (NULL)", nullRefused, "customer_id"},
		{"INSERT INTO image_deletion_tasks (customer_id, batch_id) VALUES (2, 99)", foreignKey, "imagepurge batch list"},
		{"INSERT INTO image_deletion_tasks (customer_id, priority) VALUES (2, 1001)", checkFailed, "priority"},
		{"INSERT INTO image_deletion_tasks (customer_id, lease_owner, lease_until) VALUES (2, 'x', now())", checkFailed, "lease"},
		{"INSERT INTO image_deletion_tasks (customer_id, image_tokens, scope) VALUES (2, '{a}', 'until_empty')", checkFailed, "named_is_snapshot"},
	} {
		d.refused(bad.sql, bad.code, bad.words)
	}
	if n := get[int](d, "SELECT count(*) FROM image_deletion_tasks"); n != 1 {
		t.Errorf("%d tasks came in, want 1", n)
	}
	d.by("UPDATE batches SET state = 'cancelled'")
	d.refused("INSERT INTO image_deletion_tasks (customer_id) VALUES (3)", checkFailed, "cancelled", "imagepurge enqueue")
	d.refused("INSERT INTO image_deletion_tasks (customer_id, batch_id) SELECT 3, id FROM batches", checkFailed, "cancelled", "Leave batch_id out")
}

func TestATaskWithADueTimeWaitsForIt(t *testing.T) {
	t.Parallel()
	d := open(t)
	d.by("INSERT INTO image_deletion_tasks (customer_id, due_at) VALUES (1, now() + interval '1 hour'), (2, now() - interval '1 hour'), (3, NULL)")
	if got := list[int64](d, "SELECT customer_id FROM image_deletion_tasks WHERE waiting_for = 'due'"); !slices.Equal(got, []int64{1}) {
		t.Errorf("waiting for their time: %v, want [1]", got)
	}
	if got := customersOf(d.claim()); !slices.Equal(got, []int64{2, 3}) {
		t.Errorf("claimed %v, want [2 3]", got)
	}
	d.by("UPDATE image_deletion_tasks SET due_at = now() WHERE customer_id = 1")
	if got := customersOf(d.claim()); !slices.Equal(got, []int64{1}) {
		t.Errorf("claimed %v after its time was moved by hand, want [1]", got)
	}
}

func TestHandsOnATaskThatWasNotStarted(t *testing.T) {
	t.Parallel()
	d := open(t)
	d.customers(1, 2)
	d.by("UPDATE image_deletion_tasks SET priority = 3, deadline = now() + interval '1 day', due_at = now() + interval '1 hour' WHERE customer_id = 1")
	if !get[bool](d, "SELECT sort_at = date_trunc('hour', least(created_at - interval '72 hours', deadline - interval '720 hours'), 'UTC') AND waiting_for = 'due' FROM image_deletion_tasks WHERE customer_id = 1") {
		t.Error("order and waiting did not follow")
	}
	d.by("UPDATE image_deletion_tasks SET waiting_for = NULL, sort_at = '-infinity' WHERE customer_id = 1")
	if !get[bool](d, "SELECT sort_at > '-infinity' AND waiting_for = 'due' FROM image_deletion_tasks WHERE customer_id = 1") {
		t.Error("order and waiting are computed, but could be set by hand")
	}
	for _, set := range []string{"customer_id = 9", "batch_id = 9", "organization_id = 9", "image_tokens = '{x}'", "created_at = now() - interval '1 day'"} {
		d.refused("UPDATE image_deletion_tasks SET "+set+" WHERE customer_id = 1", restricted, "can't be moved", "batch cancel")
	}
	for _, set := range []string{
		"state = 'cancelled', outcome = 'cancelled', finished_at = now()", "state = 'held'", "mode = 'economy'", "scope = 'until_empty'", "source = 'X'", "account_id = 'X'",
		"dry_run = true", "listed = true", "attempts = 1", "error_message = 'x'", "lease_epoch = 1, started_at = now()", "review_as = 'still_present'", "call_sequence = 4",
	} {
		d.refused("UPDATE image_deletion_tasks SET "+set+" WHERE customer_id = 1", restricted, "only due_at, priority and deadline", "imagepurge batch pause|resume|cancel 1")
	}
	d.by("DELETE FROM image_deletion_tasks WHERE customer_id = 1")
	b, err := d.Batch(d.ctx, 1)
	if err != nil || b.Tasks != 1 || b.Open != 1 {
		t.Errorf("after one of two was deleted: %+v, %v; want 1 task, open", b, err)
	}
	if n := len(d.claim()); n != 1 {
		t.Errorf("claimed %d tasks, want 1", n)
	}
}

func TestHandsOnATaskThatWasStarted(t *testing.T) {
	t.Parallel()
	d := open(t)
	d.customers(1)
	r := d.one()
	all := []string{"due_at = now()", "priority = 1", "deadline = now()", "state = 'pending', lease_owner = NULL, lease_until = NULL", "error_message = 'x'", "lease_until = now()"}
	check := func(state string) {
		t.Helper()
		for _, set := range all {
			d.refused("UPDATE image_deletion_tasks SET "+set, restricted, "was started", "imagepurge batch pause|resume|cancel|retry 1 --reason")
		}
		d.refused("DELETE FROM image_deletion_tasks", restricted, "is evidence", "imagepurge batch cancel 1 --reason")
		d.refused("TRUNCATE image_deletion_tasks CASCADE", restricted, "evidence")
		d.refused("TRUNCATE image_deletion_tasks, task_images, image_calls", restricted, "evidence")
		if t.Failed() {
			t.Fatalf("the task was %s", state)
		}
	}
	check("running")
	d.applied(giveBack(r))
	check("pending, started")
	r = d.one()
	d.applied(finish(r, jobs.StillPresent))
	d.refused("UPDATE image_deletion_tasks SET priority = 1", restricted, "has ended", `imagepurge task resolve 1 --retry --reason`)
	if err := d.ResolveTask(d.ctx, ann, 1, true, "again"); err != nil {
		t.Fatal(err)
	}
	for o, hint := range map[jobs.Outcome]string{
		jobs.AttemptsExhausted: "imagepurge batch retry 1 --reason", jobs.NoImages: "imagepurge enqueue", jobs.CancelledOutcome: "imagepurge enqueue",
	} {
		d.applied(finish(d.one(), o))
		d.refused("UPDATE image_deletion_tasks SET priority = 1", restricted, "has ended", hint)
		d.refused("UPDATE image_deletion_tasks SET state = 'pending', outcome = NULL, finished_at = NULL", restricted, "has ended")
		d.refused("DELETE FROM image_deletion_tasks", restricted, "is evidence")
		_, err := d.tryAs("write", "UPDATE image_deletion_tasks SET state = 'pending', outcome = NULL, finished_at = NULL")
		checkRefused(t, "a worker reopens", err, restricted, "has ended")
		d.as("retry", "UPDATE image_deletion_tasks SET state = 'pending', outcome = NULL, finished_at = NULL, due_at = now()")
	}
	_, err := d.tryAs("write", "UPDATE image_deletion_tasks SET lease_epoch = 1")
	checkRefused(t, "an epoch falls", err, restricted, "only rises")
}

func TestEvidenceIsNotForHands(t *testing.T) {
	t.Parallel()
	d := open(t)
	d.customers(1)
	w := intent(d.one(), "x")
	d.applied(w)
	d.applied(progress(w))
	for table, column := range map[string]string{"task_images": "position", "image_calls": "position"} {
		d.refused("UPDATE "+table+" SET "+column+" = 3", restricted, "is evidence", "imagepurge task show")
		d.refused("DELETE FROM "+table, restricted, "is evidence")
		d.refused("TRUNCATE "+table, restricted, "is evidence")
		_, err := d.tryAs("write", "DELETE FROM "+table)
		checkRefused(t, "the program deletes "+table, err, restricted, "is evidence")
	}
	d.refused("INSERT INTO task_images (task_id, image_key, position, state) VALUES (1, sha256('y'), 0, 'planned')", restricted, "is evidence")
	d.refused("INSERT INTO image_calls (task_id, sequence, kind, worker, lease_epoch) VALUES (1, 9, 'list', 'w', 1)", restricted, "is evidence")
	_, err := d.tryAs("write", "UPDATE image_calls SET class = 'unknown'")
	checkRefused(t, "an answer is rewritten", err, restricted, "written down already")

	d.by("INSERT INTO audit_entries (actor, host, action) VALUES ('ann', 'desk', 'task.note')")
	d.refused("UPDATE audit_entries SET actor = 'bob'", restricted, "only grows")
	d.refused("DELETE FROM audit_entries", restricted, "only grows")
	d.refused("TRUNCATE audit_entries", restricted, "only grows")
	_, err = d.tryAs("write", "DELETE FROM audit_entries")
	checkRefused(t, "the program deletes audit entries", err, restricted, "only grows")
}

func TestGuardsHoldAgainAfterACommandOnTheSameConnection(t *testing.T) {
	t.Parallel()
	d := openWith(t, 1) // one connection for all
	d.customers(1)
	for range 2 {
		r := d.one()
		d.refused("UPDATE image_deletion_tasks SET priority = 1", restricted, "was started")
		d.refused("INSERT INTO image_calls (task_id, sequence, kind, worker, lease_epoch) VALUES (1, 9, 'list', 'w', 1)", restricted, "is evidence")
		w := intent(r, "x")
		w.Rest = purge.RestClear
		d.applied(w)
		d.refused("DELETE FROM task_images", restricted, "is evidence")
		g := giveBack(r)
		g.Counters = w.Counters
		d.applied(g)
		// A command whose transaction fails leaves nothing behind either.
		if _, err := d.tryAs("write", "SELECT 1/0"); err == nil {
			t.Fatal("no error")
		}
		d.refused("UPDATE image_deletion_tasks SET priority = 1", restricted, "was started")
	}
	d.as("enqueue", "SELECT 1")
	d.by("INSERT INTO image_deletion_tasks (customer_id, image_tokens) VALUES (2, '{raw}')")
	if got := get[string](d, "SELECT image_tokens[1] FROM image_deletion_tasks WHERE customer_id = 2"); got != hexOf("raw") {
		t.Errorf("after an intake on the connection a token was stored as %s", got)
	}
}
