package repository_test

import (
	"testing"

	"github.com/imagepurge/imagepurge/jobs"
	"github.com/imagepurge/imagepurge/jobs/purge"
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
