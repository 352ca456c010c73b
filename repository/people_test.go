package repository_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/imagepurge/imagepurge/jobs"
	"github.com/imagepurge/imagepurge/jobs/purge"
	"github.com/imagepurge/imagepurge/repository"
)

func isState(err error, state string) bool {
	var se *repository.StateError
	return errors.As(err, &se) && se.State == state && strings.Contains(err.Error(), state)
}

func TestABatchIsPausedAndResumed(t *testing.T) {
	t.Parallel()
	d := open(t)
	d.customers(1)
	if err := d.PauseBatch(d.ctx, ann, 9, "r"); !errors.Is(err, repository.ErrNotFound) {
		t.Errorf("no such batch: got error %v", err)
	}
	if err := d.ResumeBatch(d.ctx, ann, 1, "r"); !isState(err, "active") {
		t.Errorf("resume one that is active: got error %v", err)
	}
	if err := d.PauseBatch(d.ctx, ann, 1, "r"); err != nil {
		t.Error(err)
	}
	if err := d.PauseBatch(d.ctx, ann, 1, "r"); !isState(err, "paused") {
		t.Errorf("pause one that is paused: got error %v", err)
	}
	if b, _ := d.Batch(d.ctx, 1); b.Status() != "paused" {
		t.Errorf("its status is %s", b.Status())
	}
	if err := d.ResumeBatch(d.ctx, ann, 1, "r"); err != nil {
		t.Error(err)
	}
	if got := list[string](d, "SELECT concat_ws(' ', actor, host, action, batch_id, reason) FROM audit_entries ORDER BY id"); !slices.Equal(got, []string{"ann desk batch.pause 1 r", "ann desk batch.resume 1 r"}) {
		t.Errorf("audited: %q", got)
	}
	if _, err := d.CancelBatch(d.ctx, ann, 1, "r"); err != nil {
		t.Error(err)
	}
	if err := d.ResumeBatch(d.ctx, ann, 1, "r"); !isState(err, "cancelled") {
		t.Errorf("resume one that is cancelled: got error %v", err)
	}
}

func TestEverythingIsPausedAndResumed(t *testing.T) {
	t.Parallel()
	d := open(t)
	for _, want := range []bool{true, false} {
		for _, org := range []int64{0, 1} {
			if got, err := d.Pause(d.ctx, ann, org, "lunch"); got != want || err != nil {
				t.Errorf("pause %d: %t (%v), want %t", org, got, err, want)
			}
		}
	}
	st, err := d.Status(d.ctx)
	if err != nil || len(st.Pauses) != 2 || st.Pauses[0].Organization != nil || *st.Pauses[1].Organization != "default" || st.Pauses[0].Reason != "lunch" || st.Pauses[0].PausedBy != "ann" {
		t.Errorf("%+v, %v", st.Pauses, err)
	}
	for _, want := range []bool{true, false} {
		if got, err := d.Resume(d.ctx, ann, 0, "back"); got != want || err != nil {
			t.Errorf("resume: %t (%v), want %t", got, err, want)
		}
	}
	if n := get[int](d, "SELECT count(*) FROM pauses WHERE resumed_at IS NULL AND organization_id = 1"); n != 1 {
		t.Error("the organisation's own pause ended as well")
	}
	if a, b := d.audited("work.pause"), d.audited("work.resume"); a != 2 || b != 1 {
		t.Errorf("audited %d pauses, %d resumes", a, b)
	}
}

func TestCancelEndsWhatIsNotInDoubt(t *testing.T) {
	t.Parallel()
	d := open(t)
	const waiting = 11_000 // more than two chunks
	d.by("INSERT INTO image_deletion_tasks (customer_id) SELECT generate_series(1, $1)", waiting)
	rs := d.claim(limit(6))
	d.applied(intent(rs[0], "x")) // running, with an intent
	d.applied(unknown(intent(rs[1], "x"), time.Hour))
	partly := progress(intent(rs[2], "x"))
	d.applied(partly)
	g := giveBack(rs[2])
	g.Counters, g.Deleted = partly.Counters, 1
	d.applied(g)
	d.applied(intent(rs[3], "x"))
	d.expire(rs[3].Task) // its worker died: given back with an intent
	d.applied(finish(rs[4], jobs.NoImages))
	d.applied(finish(rs[5], jobs.StillPresent))
	if n, err := d.ReclaimTasks(d.ctx); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	n, err := d.CancelBatch(d.ctx, ann, 1, "mistake")
	if want := int64(waiting - 5); n != want || err != nil {
		t.Errorf("ended %d tasks (%v), want %d", n, err, want)
	}
	st, err := d.BatchStanding(d.ctx, 1)
	if want := (repository.Standing{Purged: 1, Partly: 1, Untouched: waiting - 6, InDoubt: 2, UnderWay: 1, Other: 1}); st != want || err != nil {
		t.Errorf("standing %+v (%v), want %+v", st, err, want)
	}
	b, err := d.Batch(d.ctx, 1)
	if err != nil || b.Cancelled != waiting-5 || b.Open != 3 || b.Status() != "cancelling" || b.ImagesDeleted != 1 || b.ImagesFound != 1 {
		t.Errorf("%+v, %v", b, err)
	}
	if n, err := d.Recount(d.ctx, ann); n != 0 || err != nil {
		t.Errorf("%d counts had drifted (%v)", n, err)
	}
	d.refusedWrite(intent(rs[0], "x"), purge.CancelledBy)
	d.refused("UPDATE image_deletion_tasks SET priority = 1 WHERE state = 'cancelled'", restricted, "has ended")
	// Those in doubt settle; then workers end them.
	d.claimsCustomers("in doubt, before they have settled", nil)
	d.rested()
	for _, r := range d.claim() {
		if !r.Cancelled || len(r.Images) != 1 {
			t.Errorf("got %+v", r)
		}
		f := finish(r, jobs.CancelledOutcome)
		f.Counters = r.Counters
		d.applied(f)
	}
	d.applied(giveBack(withSequence(rs[0])))
	// Cancelling again ends what was left.
	d.as("test", "UPDATE task_images SET state = 'planned'")
	if n, err := d.CancelBatch(d.ctx, ann, 1, "again"); n != 1 || err != nil {
		t.Errorf("ended %d tasks (%v), want 1", n, err)
	}
	if b, _ := d.Batch(d.ctx, 1); b.Status() != "cancelled" || !b.Finished() {
		t.Errorf("its status is %s", b.Status())
	}
	if _, err := d.RetryBatch(d.ctx, ann, 1, "r", true); !isState(err, "cancelled") {
		t.Errorf("retry a cancelled batch: got error %v", err)
	}
	// Nor one task of it: it would only be cancelled once more, by a worker.
	if err := d.ResolveTask(d.ctx, ann, int64(rs[5].Task), true, "r"); !isState(err, "cancelled") {
		t.Errorf("retry a task of a cancelled batch: got error %v", err)
	}
	if err := d.ResolveTask(d.ctx, ann, int64(rs[5].Task), false, "r"); err != nil {
		t.Errorf("close a task of a cancelled batch: %v", err)
	}
}

func withSequence(r purge.Record) purge.Record { r.Sequence = 1; return r }

func TestRetryOfABatch(t *testing.T) {
	t.Parallel()
	d := open(t)
	d.customers(1, 2, 3, 4)
	rs := d.claim()
	d.applied(intent(rs[0], "x"))
	for i, o := range []jobs.Outcome{jobs.AttemptsExhausted, jobs.StillPresent, jobs.ImagesDeleted} {
		f := finish(rs[i], o)
		f.Counters = purge.Counters{Sequence: 3, APICalls: 4, Attempts: 10, StillPresent: 3, Contradictions: 2, Refusals: 1, Found: 2, Listed: true, Relisting: true}
		f.Deleted, f.Code, f.HTTPStatus, f.Message, f.VerifiedAt = 1, "503", 503, "it is down", answerTime
		if i == 0 {
			f.Images = []purge.Image{{Key: jobs.KeyOf("x"), State: jobs.Planned, Sends: 1}}
		}
		d.applied(f)
	}
	if n, err := d.RetryBatch(d.ctx, ann, 1, "r", false); n != 1 || err != nil {
		t.Errorf("again: %d (%v), want 1", n, err)
	}
	if n, err := d.RetryBatch(d.ctx, ann, 1, "r", true); n != 1 || err != nil {
		t.Errorf("those in review again: %d (%v), want 1", n, err)
	}
	if n, err := d.RetryBatch(d.ctx, ann, 1, "r", true); n != 0 || err != nil {
		t.Errorf("nothing left: %d (%v), want 0", n, err)
	}
	b, err := d.Batch(d.ctx, 1)
	if err != nil || b.Open != 3 || b.Completed != 1 || b.Failed != 0 || b.Review != 0 || b.ImagesFound != 2 || b.ImagesDeleted != 1 || b.APICalls != 4 {
		t.Errorf("%+v, %v", b, err)
	}
	again := d.claim()
	if len(again) != 2 {
		t.Fatalf("claimed %d, want 2", len(again))
	}
	// Nothing but what was seen and sent is left: its first listing is looked at twice.
	if r := again[0]; r.Epoch != 2 || r.Counters != (purge.Counters{Sequence: 3, APICalls: 4, Found: 2, Listed: true}) || len(r.Images) != 1 {
		t.Errorf("got %+v", r)
	}
	task, err := d.Task(d.ctx, int64(again[0].Task))
	if err != nil || task.Outcome != nil || task.ErrorCode != nil || task.HTTPStatus != nil || task.ErrorMessage != nil || task.VerifiedAt != nil || task.FinishedAt != nil {
		t.Errorf("%+v, %v", task, err)
	}
	if n := d.audited("batch.retry"); n != 2 {
		t.Errorf("%d audit entries, want 2", n)
	}
	if _, err := d.RetryBatch(d.ctx, ann, 9, "r", true); !errors.Is(err, repository.ErrNotFound) {
		t.Errorf("no such batch: got error %v", err)
	}
	if n, err := d.Recount(d.ctx, ann); n != 0 || err != nil {
		t.Errorf("%d counts had drifted (%v)", n, err)
	}
}

func TestATaskInReviewIsResolved(t *testing.T) {
	t.Parallel()
	d := open(t)
	d.customers(1, 2)
	rs := d.claim()
	if err := d.ResolveTask(d.ctx, ann, 1, true, "r"); !isState(err, "running") {
		t.Errorf("a running task: got error %v", err)
	}
	if err := d.ResolveTask(d.ctx, ann, 9, true, "r"); !errors.Is(err, repository.ErrNotFound) {
		t.Errorf("no such task: got error %v", err)
	}
	d.write(finish(rs[0], jobs.MergedCustomer), finish(rs[1], jobs.BystanderMissing))
	if err := d.ResolveTask(d.ctx, ann, 1, false, "merged by the shop"); err != nil {
		t.Error(err)
	}
	if err := d.ResolveTask(d.ctx, ann, 2, true, "they asked for it"); err != nil {
		t.Error(err)
	}
	if err := d.ResolveTask(d.ctx, ann, 1, true, "r"); !isState(err, "cancelled") {
		t.Errorf("a closed task: got error %v", err)
	}
	got := list[string](d, "SELECT concat_ws(' ', task_id, action, actor, reason, details ->> 'outcome') FROM audit_entries WHERE actor = 'ann' ORDER BY id")
	if want := []string{"1 task.close ann merged by the shop merged_customer", "2 task.retry ann they asked for it bystander_missing"}; !slices.Equal(got, want) {
		t.Errorf("audited %q, want %q", got, want)
	}
	if b, err := d.Batch(d.ctx, 1); err != nil || b.Open != 1 || b.Cancelled != 1 || b.Review != 0 {
		t.Errorf("%+v, %v", b, err)
	}
	d.claimsCustomers("the one that is tried again", []int64{2})
}

func TestRecountMendsCounts(t *testing.T) {
	t.Parallel()
	d := open(t)
	d.customers(1, 2, 3, 4)
	d.by("INSERT INTO batches (organization_id, kind, name) VALUES (1, 'file', 'right')")
	rs := d.claim(limit(2))
	f := finish(rs[0], jobs.ImagesDeleted)
	f.Counters, f.Deleted = purge.Counters{Found: 3, APICalls: 5}, 3
	d.write(f, finish(rs[1], jobs.InvalidCustomer))
	d.by("DELETE FROM image_deletion_tasks WHERE customer_id = 4")
	d.by("UPDATE batches SET tasks_completed = 7, images_deleted = 0 WHERE id = 1")
	d.by("DELETE FROM batch_arrivals WHERE tasks < 0")
	if n, err := d.Recount(d.ctx, ann); n != 1 || err != nil {
		t.Errorf("mended %d batches (%v), want 1", n, err)
	}
	b, err := d.Batch(d.ctx, 1)
	if err != nil || b.Tasks != 3 || b.Open != 1 || b.Completed != 1 || b.Failed != 1 || b.ImagesDeleted != 3 || b.ImagesFound != 3 || b.APICalls != 5 {
		t.Errorf("%+v, %v", b, err)
	}
	if n, err := d.Recount(d.ctx, ann); n != 0 || err != nil {
		t.Errorf("then mended %d batches (%v), want 0", n, err)
	}
	d.customers(5)
	if err := d.FoldArrivals(d.ctx); err != nil {
		t.Fatal(err)
	}
	if b, _ := d.Batch(d.ctx, 1); b.Tasks != 4 || get[int](d, "SELECT count(*) FROM batch_arrivals") != 0 {
		t.Errorf("after folding: %d tasks, want 4", b.Tasks)
	}
}

// Tasks of two batches that came in turns have ids that interleave: a cancel keeps to its own.
func TestCancelKeepsToItsBatch(t *testing.T) {
	t.Parallel()
	d := open(t)
	d.customers(1)
	other := get[int64](d, "INSERT INTO batches (organization_id, kind, name) VALUES (1, 'file', 'other') RETURNING id")
	d.by("INSERT INTO image_deletion_tasks (customer_id, batch_id) SELECT n, CASE WHEN n % 2 = 0 THEN $1::bigint ELSE 1 END FROM generate_series(2, 20) n", other)
	if _, err := d.CancelBatch(d.ctx, ann, 1, "mistake"); err != nil {
		t.Fatal(err)
	}
	if n := get[int](d, "SELECT count(*) FROM image_deletion_tasks WHERE (state = 'cancelled') <> (batch_id = 1)"); n != 0 {
		t.Errorf("%d tasks are cancelled of the other batch, or are left of this one", n)
	}
}
