package repository_test

import (
	"testing"
	"time"

	"github.com/imagepurge/imagepurge/jobs"
	"github.com/imagepurge/imagepurge/jobs/purge"
)

// Found by the simulation: what a worker knows to be committed may be lost with the
// server it was committed on, so no lease from before holds: neither until somebody
// has noted the new server, nor after.
func TestNoLeaseOutlivesItsServer(t *testing.T) {
	t.Parallel()
	d := open(t)
	d.customers(1, 2)
	claimed := d.claim(limit(2))
	stale, held := claimed[0], claimed[1]
	d.applied(intent(stale, "x"))
	before := d.snapshot()
	nothingHolds := func(when string) {
		t.Helper()
		d.refusedWrite(intent(held, "y"), purge.LeaseShort)
		d.refusedWrite(finish(held, jobs.NoImages), purge.LeaseLost)
		d.refusedWrite(progress(intent(stale, "x")), purge.LeaseLost)
		d.refusedWrite(giveBack(stale), purge.LeaseLost)
		kept, err := d.RenewLeases(d.ctx, stale.Owner, []purge.Lease{{Task: stale.Task, Epoch: stale.Epoch}, {Task: held.Task, Epoch: held.Epoch}}, time.Minute)
		if err != nil || len(kept) != 0 {
			t.Errorf("%s: leases %v were prolonged (%v)", when, kept, err)
		}
		if after := d.snapshot(); after != before {
			t.Errorf("%s: a lease from before has changed rows:\n%s\nwas\n%s", when, after, before)
		}
	}
	d.by("UPDATE server_identity SET timeline = '000000FF'")
	nothingHolds("before it is noted")
	if changed, err := d.NoteServer(d.ctx, 0); !changed || err != nil {
		t.Fatalf("no change noted (%v)", err)
	}
	nothingHolds("after it is noted")

	// An epoch that the lost server may have given is not given again.
	d.expire(held.Task)
	if _, err := d.ReclaimTasks(d.ctx); err != nil {
		t.Fatal(err)
	}
	again := d.one(only(held.Task))
	if again.Epoch <= held.Epoch+1000 {
		t.Errorf("epoch %d after %d", again.Epoch, held.Epoch)
	}
	d.refusedWrite(finish(held, jobs.NoImages), purge.LeaseLost)
	d.applied(finish(again, jobs.NoImages))
}
