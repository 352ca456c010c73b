package repository_test

import (
	"errors"
	"testing"

	"github.com/imagepurge/imagepurge/jobs"
	"github.com/imagepurge/imagepurge/jobs/purge"
	"github.com/imagepurge/imagepurge/jobs/worker"
)

// A delete was answered with something unexpected; the next claim meets a 429 at
// its listing, saves that, and its process dies. The task still goes to review.
func TestAReviewThatIsDueOutlivesACrash(t *testing.T) {
	t.Parallel()
	d := open(t)
	d.customers(1)
	w := giveBack(d.one())
	w.ReviewAs = jobs.UnexpectedResponse
	d.applied(w)
	r := d.one()
	if r.ReviewAs != jobs.UnexpectedResponse {
		t.Fatalf("claimed to be reviewed as %q", r.ReviewAs)
	}
	d.applied(bare(r, purge.WriteProgress))
	d.expire(r.Task)
	if _, err := d.ReclaimTasks(d.ctx); err != nil {
		t.Fatal(err)
	}
	if r := d.one(); r.ReviewAs != jobs.UnexpectedResponse {
		t.Errorf("after the crash it is to be reviewed as %q, want %q", r.ReviewAs, jobs.UnexpectedResponse)
	}
}

// The database refuses every end in doubt, but the one that a person decides.
func TestNoTaskEndsInDoubt(t *testing.T) {
	t.Parallel()
	d := open(t)
	for _, state := range []jobs.ImageState{jobs.Intended, jobs.Unknown} {
		for _, o := range jobs.Outcomes() {
			d.customers(1)
			r := d.one()
			in := intent(r, "x")
			d.applied(in)
			w := unknown(in, 0)
			w.Kind, w.After, w.Waiting, w.Outcome = purge.WriteFinish, 0, "", o
			w.State, _ = jobs.StateOf(o)
			if state == jobs.Intended {
				w.Images = nil // as it stands
			}
			_, err := d.Write(d.ctx, terms, []purge.Write{w})
			person := state == jobs.Unknown && (o == jobs.MergedCustomer || o == jobs.UnexpectedResponse)
			if refused := errors.Is(err, worker.ErrRefusedByDatabase); refused == person {
				t.Errorf("an end as %s with an image %s: %v", o, state, err)
			}
			if !person {
				w.Images = []purge.Image{{Key: jobs.KeyOf("x"), State: jobs.Deleted, Evidence: jobs.ByListing, Sends: 1}}
				w.Rest = purge.RestClear
				d.applied(w)
			}
			d.rested()
		}
	}
}

// What no listing could tell is a person's, out of a cancelled batch as well: it is looked
// at again, and then cancelled.
func TestATaskInDoubtIsTakenUpOutOfACancelledBatch(t *testing.T) {
	t.Parallel()
	d := open(t)
	d.customers(1, 2, 3)
	for n, o := range []jobs.Outcome{jobs.MergedCustomer, jobs.MergedCustomer, jobs.StillPresent} {
		r := d.one()
		w := intent(r, "x")
		d.applied(w)
		w = unknown(w, 0)
		w.Kind, w.After, w.Waiting, w.Outcome, w.State = purge.WriteFinish, 0, "", o, jobs.Review
		if n == 2 { // told by a listing
			w.Images[0].State, w.Images[0].Evidence = jobs.Planned, ""
		}
		d.applied(w)
	}
	d.rested()
	if _, err := d.CancelBatch(d.ctx, ann, 1, "mistake"); err != nil {
		t.Fatal(err)
	}
	if err := d.ResolveTask(d.ctx, ann, 3, true, "again"); err == nil {
		t.Error("a task of a cancelled batch is retried, though nothing of it is in doubt")
	}
	if err := d.ResolveTask(d.ctx, ann, 1, true, "split again"); err != nil {
		t.Error(err)
	}
	if n, err := d.RetryBatch(d.ctx, ann, 1, "split again", true); n != 1 || err != nil {
		t.Errorf("%d tasks are retried (%v), want the other one in doubt", n, err)
	}
	for _, r := range d.claim() {
		if !r.Cancelled || r.Images[0].State != jobs.Unknown {
			t.Errorf("claimed %+v", r)
		}
	}
	if _, err := d.RetryBatch(d.ctx, ann, 1, "again", true); err == nil {
		t.Error("a cancelled batch with nothing in doubt is retried")
	}
}
