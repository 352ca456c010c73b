package repository_test

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/imagepurge/imagepurge/jobs"
)

// words are the texts in a constraint: the closed set that it allows.
func words(d *db, table, constraint string) []string {
	d.Helper()
	def := get[string](d, "SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid = $1::regclass AND conname = $2", table, constraint)
	var all []string
	for _, m := range regexp.MustCompile(`'([^']*)'::text`).FindAllStringSubmatch(def, -1) {
		if !slices.Contains(all, m[1]) {
			all = append(all, m[1])
		}
	}
	slices.Sort(all)
	return all
}

func sorted[W ~string](all ...W) []string {
	var s []string
	for _, w := range all {
		s = append(s, string(w))
	}
	slices.Sort(s)
	return s
}

func TestTheSchemasWordsAreThoseOfTheProgram(t *testing.T) {
	t.Parallel()
	d := open(t)
	var reviews []jobs.Outcome
	for _, o := range jobs.Outcomes() {
		if s, _ := jobs.StateOf(o); s == jobs.Review {
			reviews = append(reviews, o)
		}
	}
	var final []jobs.State
	for _, s := range jobs.States() {
		if s.Final() {
			final = append(final, s)
		}
	}
	// The constraint names states and outcomes; "cancelled" is both.
	outcomes := sorted(jobs.Outcomes()...)
	for _, s := range sorted(final...) {
		if !slices.Contains(outcomes, s) {
			outcomes = append(outcomes, s)
		}
	}
	slices.Sort(outcomes)
	for _, c := range []struct {
		table, constraint string
		want              []string
	}{
		{"image_deletion_tasks", "image_deletion_tasks_state_check", sorted(jobs.States()...)},
		{"image_deletion_tasks", "outcome_of_state", outcomes},
		{"image_deletion_tasks", "finished_at_of_state", sorted(final...)},
		{"image_deletion_tasks", "review_as_review", sorted(reviews...)},
		{"image_deletion_tasks", "image_deletion_tasks_waiting_for_check", sorted(jobs.Waitings()...)},
		{"image_deletion_tasks", "image_deletion_tasks_mode_check", sorted(jobs.Economy, jobs.Verified, jobs.Paranoid)},
		{"image_deletion_tasks", "image_deletion_tasks_scope_check", sorted(jobs.Snapshot, jobs.UntilEmpty)},
		{"organizations", "organizations_mode_check", sorted(jobs.Economy, jobs.Verified, jobs.Paranoid)},
		{"organizations", "organizations_scope_check", sorted(jobs.Snapshot, jobs.UntilEmpty)},
		{"organizations", "organizations_breaker_kind_check", sorted(jobs.ListCall, jobs.DeleteCall)},
		{"task_images", "task_images_state_check", sorted(jobs.ImageStates()...)},
		{"task_images", "task_images_evidence_check", sorted(jobs.ByAnswer, jobs.ByListing)},
		{"image_calls", "image_calls_class_check", sorted(jobs.Classes()...)},
		{"image_calls", "image_calls_kind_check", sorted(jobs.ListCall, jobs.DeleteCall)},
	} {
		if got := words(d, c.table, c.constraint); !slices.Equal(got, c.want) {
			t.Errorf("%s: got\n%v, want\n%v", c.constraint, got, c.want)
		}
	}
}

// attempt runs a statement as the program in a transaction that is undone, and
// returns the constraint that it broke, or the error.
func attempt(d *db, sql string) string {
	_, err := d.tryAs("retry", "DO $do$ BEGIN "+sql+"; RAISE EXCEPTION 'passed' USING ERRCODE = 'ZZ001'; END $do$")
	if err == nil {
		return "no error at all"
	}
	if strings.Contains(err.Error(), "SQLSTATE ZZ001") {
		return ""
	}
	if m := regexp.MustCompile(`constraint "([a-z_0-9]+)"`).FindStringSubmatch(err.Error()); m != nil {
		return m[1]
	}
	return err.Error()
}

func TestEveryStateWithEveryOutcome(t *testing.T) {
	t.Parallel()
	d := open(t)
	d.customers(1)
	allowed := 0
	for _, s := range jobs.States() {
		for _, o := range append(jobs.Outcomes(), "", "made_up") {
			set := fmt.Sprintf("state = '%s', outcome = nullif('%s', ''), lease_epoch = 1, started_at = now()", s, o)
			if s == jobs.Running {
				set += ", lease_owner = 'w', lease_until = now()"
			}
			if s.Final() {
				set += ", finished_at = now()"
			}
			of, known := jobs.StateOf(o)
			want := "outcome_of_state"
			if known && of == s || o == "" && !s.Final() {
				want = ""
				allowed++
			}
			if got := attempt(d, "UPDATE image_deletion_tasks SET "+set); got != want {
				t.Errorf("%s with %q: got %q, want %q", s, o, got, want)
			}
		}
	}
	if want := len(jobs.Outcomes()) + 3; allowed != want {
		t.Errorf("%d pairs are allowed, want %d", allowed, want)
	}
}

func TestConstraintsOfATask(t *testing.T) {
	t.Parallel()
	d := open(t)
	d.customers(1)
	const running = "state = 'running', lease_epoch = 1, started_at = now()"
	const done = "state = 'completed', outcome = 'no_images', lease_epoch = 1, started_at = now()"
	for _, c := range []struct{ set, want string }{
		{running + ", lease_owner = 'w', lease_until = now()", ""},
		{running + ", lease_owner = 'w'", "lease_of_state"},
		{running + ", lease_until = now()", "lease_of_state"},
		{running, "lease_of_state"},
		{"lease_owner = 'w', lease_until = now()", "lease_of_state"},
		{done + ", finished_at = now()", ""},
		{done, "finished_at_of_state"},
		{done + ", finished_at = now(), lease_owner = 'w', lease_until = now()", "lease_of_state"},
		{"finished_at = now()", "finished_at_of_state"},
		{"waiting_for = 'settle'", ""},
		{"state = 'held', waiting_for = 'settle'", ""},
		{running + ", lease_owner = 'w', lease_until = now(), waiting_for = 'settle'", "waiting_of_state"},
		{done + ", finished_at = now(), waiting_for = 'due'", "waiting_of_state"},
		{"waiting_for = 'godot'", "image_deletion_tasks_waiting_for_check"},
		{"lease_epoch = 1", "started_by_a_claim"},
		{"started_at = now()", "started_by_a_claim"},
		{"images_found = 2, images_deleted = 2", ""},
		{"images_found = 2, images_deleted = 3", "image_deletion_tasks_check"},
		{"images_found = -1", "image_deletion_tasks_check"},
		{"dry_run = true, images_found = 2", ""},
		{"dry_run = true, images_found = 2, images_deleted = 1", "dry_run_deletes_nothing"},
		{"attempts = -1", "image_deletion_tasks_attempts_check"},
		{"api_calls = -1", "image_deletion_tasks_api_calls_check"},
		{"images_new = -1", "image_deletion_tasks_images_new_check"},
		{"review_as = 'still_present'", ""},
		{"review_as = 'no_images'", "review_as_review"},
		{"source = ''", "image_deletion_tasks_source_check"},
		{"account_id = ''", "image_deletion_tasks_account_id_check"},
		{"mode = 'reckless'", "image_deletion_tasks_mode_check"},
	} {
		if got := attempt(d, "UPDATE image_deletion_tasks SET "+c.set); got != c.want {
			t.Errorf("%s: got %q, want %q", c.set, got, c.want)
		}
	}
}

func TestConstraintsOfImagesAndCalls(t *testing.T) {
	t.Parallel()
	d := open(t)
	d.customers(1)
	d.one()
	const image = "INSERT INTO task_images (task_id, image_key, position, state, evidence, intended_at, sends, missing) VALUES (1, sha256('x'), "
	const call = "INSERT INTO image_calls (task_id, sequence, kind, position, image_key, answered_at, class, worker, lease_epoch) VALUES (1, "
	for _, c := range []struct{ sql, want string }{
		{image + "0, 'planned', NULL, NULL, 0, false)", ""},
		{image + "-1, 'planned', NULL, NULL, 0, false)", "task_images_position_check"},
		{image + "0, 'intended', NULL, now(), 1, false)", ""},
		{image + "0, 'intended', NULL, NULL, 1, false)", "intended_has_a_time"},
		{image + "0, 'intended', NULL, now(), 0, false)", "sent_before_deleted"},
		{image + "0, 'unknown', NULL, now(), 1, false)", ""},
		{image + "0, 'unknown', NULL, now(), 0, false)", "sent_before_deleted"},
		{image + "0, 'deleted', 'answer', now(), 1, false)", ""},
		{image + "0, 'deleted', 'listing', now(), 1, false)", ""},
		{image + "0, 'deleted', NULL, now(), 1, false)", "gone_has_evidence"},
		{image + "0, 'deleted', 'answer', now(), 0, false)", "sent_before_deleted"},
		{image + "0, 'deleted', 'hearsay', now(), 1, false)", "task_images_evidence_check"},
		{image + "0, 'absent', 'listing', NULL, 0, false)", ""},
		{image + "0, 'absent', NULL, NULL, 0, false)", "gone_has_evidence"},
		{image + "0, 'bystander', NULL, NULL, 0, true)", ""},
		{image + "0, 'bystander', NULL, NULL, 1, false)", "bystanders_are_never_sent"},
		{image + "0, 'planned', NULL, NULL, 0, true)", "only_bystanders_are_missed"},
		{image + "0, 'planned', NULL, NULL, -1, false)", "task_images_sends_check"},
		{strings.Replace(image, "sha256('x')", "'\\x00'", 1) + "0, 'planned', NULL, NULL, 0, false)", "task_images_image_key_check"},
		{strings.Replace(image, "(1, ", "(99, ", 1) + "0, 'planned', NULL, NULL, 0, false)", "task_images_task_id_fkey"},
		{call + "1, 'list', NULL, NULL, now(), 'listed', 'w', 1)", ""},
		{call + "1, 'list', 0, NULL, NULL, NULL, 'w', 1)", "delete_names_an_image"},
		{call + "1, 'list', NULL, sha256('x'), NULL, NULL, 'w', 1)", "delete_names_an_image"},
		{call + "1, 'delete', 0, sha256('x'), NULL, NULL, 'w', 1)", ""},
		{call + "1, 'delete', NULL, sha256('x'), NULL, NULL, 'w', 1)", "delete_names_an_image"},
		{call + "1, 'delete', 0, NULL, NULL, NULL, 'w', 1)", "delete_names_an_image"},
		{call + "1, 'delete', 0, sha256('x'), now(), NULL, 'w', 1)", "answered_has_a_class"},
		{call + "1, 'delete', 0, sha256('x'), NULL, 'deleted', 'w', 1)", "answered_has_a_class"},
		{call + "0, 'list', NULL, NULL, NULL, NULL, 'w', 1)", "image_calls_sequence_check"},
		{"UPDATE customer_leases SET lease_until = NULL", "customer_leases_check"},
		{"UPDATE customer_leases SET task_id = NULL", "customer_leases_check1"},
		{"UPDATE customer_leases SET lease_epoch = NULL", "customer_leases_check2"},
		{"INSERT INTO customer_leases (remote_id, customer_id) VALUES (1, 1)", "customer_leases_pkey"},
	} {
		if got := attempt(d, c.sql); got != c.want {
			t.Errorf("%s: got %q, want %q", c.sql, got, c.want)
		}
	}
}

func TestOnePauseAndOneHoldAtATime(t *testing.T) {
	t.Parallel()
	d := open(t)
	const pause = "INSERT INTO pauses (organization_id, paused_by, reason) VALUES "
	const hold = "INSERT INTO legal_holds (organization_id, customer_id, held_by, reason) VALUES "
	for _, c := range []struct{ sql, want string }{
		{pause + "(1, 'a', 'r'), (NULL, 'a', 'r')", ""},
		{pause + "(1, 'a', 'r'), (1, 'b', 'r')", "pauses_in_force"},
		{pause + "(NULL, 'a', 'r'), (NULL, 'b', 'r')", "pauses_in_force"},
		{pause + "(1, 'a', '')", "pauses_reason_check"},
		{hold + "(1, 7, 'a', 'r'), (1, 8, 'a', 'r')", ""},
		{hold + "(1, 7, 'a', 'r'), (1, 7, 'b', 'r')", "legal_holds_in_force"},
		{"UPDATE organizations SET breaker_reason = 'refused'", "organizations_check"},
		{"UPDATE organizations SET breaker_reason = 'refused', breaker_since = now()", "organizations_check1"},
		{"INSERT INTO server_identity (only_row, system_identifier, timeline) VALUES (true, 1, '')", "server_identity_pkey"},
		{"INSERT INTO batches (organization_id, kind, name) VALUES (1, 'ad_hoc', 'x')", "batches_check"},
	} {
		if got := attempt(d, c.sql); got != c.want {
			t.Errorf("%s: got %q, want %q", c.sql, got, c.want)
		}
	}
}
