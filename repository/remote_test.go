package repository_test

import (
	"testing"

	"github.com/imagepurge/imagepurge/jobs/purge"
	"github.com/imagepurge/imagepurge/repository"
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

// Its base URL moves, and another till of the same brand is served at the new one:
// they are one organisation still.
func TestAMovedOrganizationIsTheSame(t *testing.T) {
	t.Parallel()
	d := open(t)
	other := get[int64](d, "INSERT INTO organizations (name) VALUES ('brand-b') RETURNING id")
	for _, step := range []struct {
		organization int64
		key          repository.KeyBudget
	}{
		{1, repository.KeyBudget{Host: "old.example", Digest: [32]byte{1}, PerMinute: 100}},
		{1, repository.KeyBudget{Host: "new.example", Digest: [32]byte{2}, PerMinute: 100}},
		{other, repository.KeyBudget{Host: "new.example", Digest: [32]byte{3}, PerMinute: 100}},
	} {
		if err := d.ShareBudget(d.ctx, step.organization, step.key); err != nil {
			t.Fatal(err)
		}
		if n, err := d.PinOrganization(d.ctx, step.organization, 100001); err != nil || n != 100001 {
			t.Fatal(n, err)
		}
	}
	d.by("INSERT INTO image_deletion_tasks (organization_id, customer_id) VALUES (1, 7), ($1, 7)", other)
	d.one()
	if rs := d.claim(func(c *purge.Claim) { c.Organization = other }); len(rs) > 0 {
		t.Errorf("the customer is leased under both labels: %+v", rs)
	}
}

// Who rests under a label goes on resting when it turns out to be another one, too.
func TestRestsOutliveAMerge(t *testing.T) {
	t.Parallel()
	d := open(t)
	other := get[int64](d, "INSERT INTO organizations (name) VALUES ('brand-b') RETURNING id")
	if _, err := d.PinOrganization(d.ctx, 1, 100001); err != nil {
		t.Fatal(err)
	}
	d.by("INSERT INTO customer_leases (remote_id, customer_id, rest_until) SELECT remote_id, 7, clock_timestamp() + interval '1 hour' FROM organizations WHERE id = $1", other)
	if _, err := d.PinOrganization(d.ctx, other, 100001); err != nil {
		t.Fatal(err)
	}
	d.by("INSERT INTO image_deletion_tasks (organization_id, customer_id) VALUES (1, 7)")
	if rs := d.claim(); len(rs) > 0 {
		t.Errorf("claimed while a delete may be under way: %+v", rs)
	}
}

// A legal hold protects a customer of the remote organisation, whatever our label.
func TestAHoldIsOfAllLabels(t *testing.T) {
	t.Parallel()
	d := open(t)
	other := get[int64](d, "INSERT INTO organizations (name) VALUES ('brand-b') RETURNING id")
	theirs := terms
	theirs.Organization = other
	for _, o := range []int64{1, other} {
		if _, err := d.PinOrganization(d.ctx, o, 100001); err != nil {
			t.Fatal(err)
		}
	}
	d.by("INSERT INTO image_deletion_tasks (organization_id, customer_id) VALUES ($1, 6), ($1, 7)", other)
	d.by("INSERT INTO legal_holds (organization_id, customer_id, held_by, reason) VALUES (1, 7, 'ann', 'court')")
	r := d.one(func(c *purge.Claim) { c.Organization = other; c.Limit = 5 })
	if r.Customer.ID != 6 {
		t.Fatalf("claimed customer %d", r.Customer.ID)
	}
	if look, err := d.Outlook(d.ctx, other, 0); err != nil || look.Ready {
		t.Errorf("%+v, %v: nothing is left to do", look, err)
	}
	d.by("INSERT INTO legal_holds (organization_id, customer_id, held_by, reason) VALUES (1, 6, 'ann', 'court')")
	results, err := d.Write(d.ctx, theirs, []purge.Write{intent(r, "x")})
	if err != nil || results[0].Applied {
		t.Errorf("%+v, %v: an intent for a held customer", results, err)
	}
}
