package repository_test

import (
	"testing"

	"github.com/imagepurge/imagepurge/jobs/purge"
)

func TestARemoteOrganizationIsPinnedAtFirstSight(t *testing.T) {
	t.Parallel()
	d := open(t)
	for _, c := range []struct{ seen, want int64 }{{100001, 100001}, {100001, 100001}, {7, 100001}} {
		if got, err := d.PinOrganization(d.ctx, 1, c.seen); err != nil || got != c.want {
			t.Errorf("seen %d: %d, %v; want %d", c.seen, got, err, c.want)
		}
	}
}

// Two labels of ours that mean one organisation: a customer is worked on under one of
// them at a time, from before the first delete on.
func TestLabelsOfOneRemoteOrganizationShareItsCustomers(t *testing.T) {
	t.Parallel()
	d := open(t)
	other := get[int64](d, "INSERT INTO organizations (name) VALUES ('brand-b') RETURNING id")
	d.by("INSERT INTO image_deletion_tasks (organization_id, customer_id) VALUES (1, 7), ($1, 7)", other)
	if _, err := d.PinOrganization(d.ctx, 1, 100001); err != nil {
		t.Fatal(err)
	}
	first := d.one()
	second := d.one(func(c *purge.Claim) { c.Organization = other })
	// Nobody knew better. The second has listed, and says whose images it saw.
	if n, err := d.PinOrganization(d.ctx, other, 100001); err != nil || n != 100001 {
		t.Fatal(n, err)
	}
	intent := bare(second, purge.WriteIntent)
	theirs := terms
	theirs.Organization = other
	results, err := d.Write(d.ctx, theirs, []purge.Write{intent})
	if err != nil || results[0].Applied {
		t.Fatalf("%+v, %v: the second label's intent stands", results, err)
	}
	if n, err := d.ReclaimTasks(d.ctx); n != 1 || err != nil {
		t.Errorf("%d tasks were taken back, %v", n, err)
	}
	if rs := d.claim(func(c *purge.Claim) { c.Organization = other }); len(rs) != 0 {
		t.Errorf("the customer was claimed again: %+v", rs)
	}
	d.applied(bare(first, purge.WriteProgress))
	if n := get[int](d, "SELECT count(*) FROM remote_organizations"); n != 1 {
		t.Errorf("%d remote organisations", n)
	}
}
