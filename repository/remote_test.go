package repository_test

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/imagepurge/imagepurge/jobs"
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

// waiting waits until so many statements of the database wait for a lock.
func (d *db) waiting(n int) {
	d.Helper()
	d.eventually(fmt.Sprintf("%d statements to wait", n), func() bool {
		return get[int](d, "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'") >= n
	})
}

// A pin waits for what commits meanwhile, and moves the rest that this leaves. It
// locks tasks and customers in the order of writes, so that they don't wait in a circle.
func TestARestThatCommitsDuringAMergeIsMoved(t *testing.T) {
	t.Parallel()
	const rests = "UPDATE customer_leases SET rest_until = clock_timestamp() + interval '3 minutes' WHERE customer_id = 7"
	for what, c := range map[string]struct {
		before, after string
		intent        bool
	}{
		// It has everything but the budget's row, which it pauses.
		"an intent":          {before: "SELECT FROM rate_budgets FOR UPDATE", after: "COMMIT", intent: true},
		"the customer's row": {before: rests, after: "COMMIT"},
		"first the task's":   {before: "SELECT FROM image_deletion_tasks FOR UPDATE", after: rests + "; COMMIT"},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			d := open(t)
			other := get[int64](d, "INSERT INTO organizations (name) VALUES ('brand-b') RETURNING id")
			if _, err := d.PinOrganization(d.ctx, 1, 100001); err != nil {
				t.Fatal(err)
			}
			d.by("INSERT INTO image_deletion_tasks (organization_id, customer_id) VALUES ($1, 7)", other)
			r := d.one(func(c *purge.Claim) { c.Organization = other })
			conn, err := pgx.Connect(d.ctx, d.pool.Config().ConnString())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close(d.ctx)
			run := func(sql string) {
				t.Helper()
				if _, err := conn.Exec(d.ctx, sql); err != nil {
					t.Errorf("%s: %v", sql, err)
				}
			}
			run("BEGIN; " + c.before)
			var both sync.WaitGroup
			if c.intent {
				both.Go(func() {
					theirs, w := terms, intent(r, "x")
					theirs.Organization, w.PauseBudget = other, time.Second
					if got, err := d.Write(d.ctx, theirs, []purge.Write{w}); err != nil || !got[0].Applied {
						t.Errorf("%+v, %v", got, err)
					}
				})
				d.waiting(1)
			}
			both.Go(func() {
				if n, err := d.PinOrganization(d.ctx, other, 100001); n != 100001 || err != nil {
					t.Errorf("%d, %v", n, err)
				}
			})
			d.waiting(map[bool]int{false: 1, true: 2}[c.intent])
			run(c.after)
			both.Wait()
			if left := d.restOf(7); left < worstCase-time.Minute {
				t.Errorf("the customer rests for %v more", left)
			}
		})
	}
}

// restOf is how long a customer of the first organisation's rests from now on.
func (d *db) restOf(customer int64) time.Duration {
	d.Helper()
	return time.Duration(get[float64](d, `
SELECT coalesce(max(extract(epoch FROM l.rest_until - clock_timestamp())), 0)::float8
FROM customer_leases l JOIN organizations o USING (remote_id) WHERE o.id = 1 AND customer_id = $1`, customer) * float64(time.Second))
}

// Where a customer rests under both labels the longer rest stays; and who has him in
// hand under the one that stays is stopped, for he rests now.
func TestAMergeKeepsTheLongerRest(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ mine, theirs time.Duration }{{time.Hour, 10 * time.Minute}, {10 * time.Minute, time.Hour}, {0, time.Hour}, {time.Hour, 0}, {time.Hour, -time.Minute}} {
		d := open(t)
		other := get[int64](d, "INSERT INTO organizations (name) VALUES ('brand-b') RETURNING id")
		if _, err := d.PinOrganization(d.ctx, 1, 100001); err != nil {
			t.Fatal(err)
		}
		d.by("INSERT INTO image_deletion_tasks (organization_id, customer_id) VALUES (1, 7), (1, 8)")
		mine := d.claim(limit(2))
		for o, rest := range map[int64]time.Duration{1: c.mine, other: c.theirs} {
			if rest != 0 {
				d.by(`INSERT INTO customer_leases AS l (remote_id, customer_id, rest_until) SELECT remote_id, 7, clock_timestamp() + make_interval(secs => $2) FROM organizations WHERE id = $1
					ON CONFLICT (remote_id, customer_id) DO UPDATE SET rest_until = excluded.rest_until`, o, rest.Seconds())
			}
		}
		if _, err := d.PinOrganization(d.ctx, other, 100001); err != nil {
			t.Fatal(err)
		}
		if left, want := d.restOf(7), max(c.mine, c.theirs); left > want || left < want-time.Minute {
			t.Errorf("%+v: the customer rests for %v more", c, left)
		}
		got := d.write(intent(mine[0], "x"), intent(mine[1], "x"))
		if taken := c.theirs > 0; got[0].Applied == taken || !got[1].Applied {
			t.Errorf("%+v: intents under the label that stays: %+v", c, got)
		}
		if c.theirs > 0 {
			d.applied(progress(intent(mine[1], "x")))
			d.refusedWrite(finish(mine[0], jobs.NoImages), purge.LeaseLost) // it would end the rest
		}
	}
}

// What another task of the customer has deleted is no surprise, whatever our label for
// it; what one of another organisation has deleted is.
func TestDeletesUnderAllLabelsAreKnown(t *testing.T) {
	t.Parallel()
	d := open(t)
	d.by("INSERT INTO organizations (name) VALUES ('brand-b'), ('brand-c')")
	for _, o := range []int64{1, 2} {
		if _, err := d.PinOrganization(d.ctx, o, 100001); err != nil {
			t.Fatal(err)
		}
	}
	of := func(o int64) func(*purge.Claim) { return func(c *purge.Claim) { c.Organization = o } }
	writes := func(o int64, ws ...purge.Write) {
		t.Helper()
		theirs := terms
		theirs.Organization = o
		for _, w := range ws {
			if got, err := d.Write(d.ctx, theirs, []purge.Write{w}); err != nil || !got[0].Applied {
				t.Fatalf("%+v, %v", got, err)
			}
		}
	}
	for o, image := range map[int64]string{2: "ours", 3: "another's"} {
		d.by("INSERT INTO image_deletion_tasks (organization_id, customer_id) VALUES ($1, 7), ($1, 8)", o)
		for _, r := range d.claim(of(o)) {
			in := intent(r, fmt.Sprint(image, r.Customer.ID))
			f := progress(in)
			f.Kind, f.State, f.Outcome = purge.WriteFinish, jobs.Completed, jobs.ImagesDeleted
			writes(o, in, f)
		}
	}
	d.by("INSERT INTO image_deletion_tasks (organization_id, customer_id) VALUES (1, 7)")
	d.applied(giveBack(d.one())) // what was not listed before, nothing is missed of
	if got := d.one().DeletedElsewhere; !slices.Equal(got, []jobs.Key{jobs.KeyOf("ours7")}) {
		t.Errorf("deleted elsewhere: %v", got)
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
