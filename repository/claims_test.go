package repository_test

import (
	"slices"
	"testing"
	"time"

	"github.com/imagepurge/imagepurge/jobs"
	"github.com/imagepurge/imagepurge/jobs/purge"
)

func (d *db) claimsCustomers(what string, want []int64, change ...func(*purge.Claim)) []purge.Record {
	d.Helper()
	got := d.claim(change...)
	if ids := customersOf(got); !slices.Equal(ids, append([]int64{}, want...)) {
		d.Errorf("%s: claimed customers %v, want %v", what, ids, want)
	}
	return got
}

func TestClaimsGoByPriorityDeadlineAndAge(t *testing.T) {
	t.Parallel()
	d := open(t)
	d.by(`
INSERT INTO image_deletion_tasks (customer_id, priority, deadline, created_at) VALUES
    (1, 0, NULL, now()), (2, 0, NULL, now() - interval '2 hours'), (3, 1, NULL, now()), (4, -1, NULL, now()),
    (5, 0, now() + interval '1 day', now()), (6, 0, now() + interval '60 days', now() - interval '1 hour'), (7, 30, NULL, now() - interval '1 second')`)
	d.claimsCustomers("the first three", []int64{7, 5, 3}, limit(3))
	d.claimsCustomers("the rest", []int64{2, 6, 1, 4})
	d.claimsCustomers("nothing left", nil)
	// A due time counts, whether or not a reason to wait stands beside it.
	r := d.one(only(d.claimable(9)))
	g := giveBack(r)
	g.After = time.Hour
	d.applied(g)
	d.claimsCustomers("given back for an hour", nil)
	if got := d.claim(limit(0)); got != nil {
		t.Errorf("limit 0: claimed %v", got)
	}
}

// claimable is a new task of the customer.
func (d *db) claimable(customer int64) jobs.TaskID {
	d.Helper()
	return get[jobs.TaskID](d, "INSERT INTO image_deletion_tasks (customer_id) VALUES ($1) RETURNING id", customer)
}

func TestAClaimLeasesTaskAndCustomer(t *testing.T) {
	t.Parallel()
	d := open(t)
	d.customers(7)
	r := d.one(lease(5 * time.Minute))
	if r.Task != 1 || r.Batch != 1 || r.Owner != "w1" || r.Epoch != 1 || r.Customer.ID != 7 || r.Probe || r.Cancelled || r.Images != nil || r.Named != nil {
		t.Errorf("got %+v", r)
	}
	if !get[bool](d, `
SELECT t.state = 'running' AND t.lease_owner = 'w1' AND t.lease_epoch = 1 AND t.started_at IS NOT NULL AND t.waiting_for IS NULL
   AND t.lease_until BETWEEN clock_timestamp() + interval '4 minutes' AND clock_timestamp() + interval '5 minutes'
   AND (l.lease_owner, l.lease_epoch, l.lease_until, l.task_id) = (t.lease_owner, t.lease_epoch, t.lease_until, t.id) AND l.rest_until IS NULL
FROM image_deletion_tasks t JOIN organizations o ON o.id = t.organization_id JOIN customer_leases l ON l.remote_id = o.remote_id AND l.customer_id = t.customer_id`) {
		t.Error(d.snapshot())
	}
}

func TestACustomerIsNotClaimedTwice(t *testing.T) {
	t.Parallel()
	d := open(t)
	d.customers(7, 7, 8)
	d.by("INSERT INTO batches (organization_id, kind, name) VALUES (1, 'file', 'another')")
	d.by("INSERT INTO image_deletion_tasks (customer_id, batch_id) VALUES (7, 2), (8, 2)")
	first := d.claimsCustomers("across batches", []int64{7, 8})
	waiting := list[int64](d, "SELECT customer_id FROM image_deletion_tasks WHERE state = 'pending' AND waiting_for = 'customer' AND due_at BETWEEN clock_timestamp() + interval '1 second' AND clock_timestamp() + interval '5 seconds' AND lease_epoch = 0 AND started_at IS NULL ORDER BY id")
	if !slices.Equal(waiting, []int64{7, 8, 7}) {
		t.Errorf("waiting for their customer: %v, want [7 8 7]", waiting)
	}
	d.rested()
	d.claimsCustomers("while leased", nil, owner("w2"))
	d.applied(finish(first[0], jobs.NoImages))
	d.rested()
	d.claimsCustomers("once free", []int64{7}, owner("w2"))
	// Another organisation's customer of the same number is another customer.
	d.by("INSERT INTO organizations (name) VALUES ('brand-b')")
	d.by("INSERT INTO image_deletion_tasks (organization_id, customer_id) VALUES (2, 7)")
	d.claimsCustomers("of another organisation", []int64{7}, func(c *purge.Claim) { c.Organization = 2 })
}

// Many tasks of one customer, handed in by mistake, do not hold up the others.
func TestManyTasksOfOneCustomerDoNotHoldUpOthers(t *testing.T) {
	t.Parallel()
	d := open(t)
	d.by("INSERT INTO image_deletion_tasks (customer_id, priority) SELECT 7, 1 FROM generate_series(1, 300)")
	d.customers(1, 2, 3)
	d.claimsCustomers("at first", []int64{7}, limit(10))
	d.claimsCustomers("then", []int64{1, 2, 3}, limit(10))
	d.rested() // they are due again, and first in line, but their customer is still taken
	d.customers(4)
	d.claimsCustomers("the others go on", []int64{4}, limit(10))
}

func TestALeaseThatRanOutIsReclaimed(t *testing.T) {
	t.Parallel()
	d := open(t)
	d.customers(7, 8)
	d.claim()
	if n, err := d.ReclaimTasks(d.ctx); n != 0 || err != nil {
		t.Errorf("reclaimed %d (%v) whose leases stand", n, err)
	}
	d.expire(1)
	d.claimsCustomers("before it is reclaimed", nil, owner("w2"))
	if n, err := d.ReclaimTasks(d.ctx); n != 1 || err != nil {
		t.Errorf("reclaimed %d (%v), want 1", n, err)
	}
	r := d.claimsCustomers("reclaimed", []int64{7}, owner("w2"))[0]
	if r.Epoch != 2 || r.Owner != "w2" || r.Attempts != 0 {
		t.Errorf("got %+v, want epoch 2 and no attempt", r)
	}
}

func TestACustomerAtRestIsLeftAlone(t *testing.T) {
	t.Parallel()
	d := open(t)
	d.customers(7, 7)
	r := d.one()
	d.applied(intent(r, "x"))
	d.expire(r.Task) // its worker died after the intent
	if n, err := d.ReclaimTasks(d.ctx); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	d.claimsCustomers("at rest", nil)
	if got := list[bool](d, `
SELECT t.state = 'pending' AND t.waiting_for = 'customer' AND t.due_at = l.rest_until AND l.rest_until > clock_timestamp() + interval '2 minutes'
FROM image_deletion_tasks t JOIN organizations o ON o.id = t.organization_id JOIN customer_leases l ON l.remote_id = o.remote_id AND l.customer_id = t.customer_id`); !slices.Equal(got, []bool{true, true}) {
		t.Errorf("do not wait for the customer: %s", d.snapshot())
	}
	if err := d.SweepRests(d.ctx); err != nil {
		t.Fatal(err)
	}
	d.as("test", "UPDATE image_deletion_tasks SET due_at = now(), waiting_for = NULL")
	d.claimsCustomers("at rest, whatever the task's row says", nil)
	d.rested()
	got := d.claim()
	if len(got) != 1 {
		t.Fatalf("after the rest: claimed %d, want one of two tasks", len(got))
	}
}

func TestARecordHoldsAllThatIsKnown(t *testing.T) {
	t.Parallel()
	d := open(t)
	d.by("INSERT INTO image_deletion_tasks (customer_id, image_tokens) VALUES (7, NULL), (7, '{a,b}')")
	r := d.one()
	w := intent(r, "x")
	w.Images = append(w.Images, purge.Image{Key: jobs.KeyOf("y"), Position: 1, State: jobs.Planned}, purge.Image{Key: jobs.KeyOf("z"), Position: 2, State: jobs.Bystander, Missing: true})
	w.Counters = purge.Counters{Sequence: 1, APICalls: 2, Attempts: 3, StillPresent: 1, Contradictions: 2, Refusals: 1, Found: 2, New: 4, Listed: true, Relisting: true}
	d.applied(w)
	w = unknown(w, time.Minute)
	w.ReviewAs, w.Images[0].HTTPStatus, w.Images[0].Code = jobs.UnexpectedResponse, 503, "8080"
	w.Images = w.Images[:1]
	d.applied(w)
	d.rested()
	again := d.one()
	if again.Task != r.Task || again.Counters != w.Counters || again.ReviewAs != jobs.UnexpectedResponse || again.Epoch != 2 {
		t.Errorf("got %+v, want the counters %+v", again, w.Counters)
	}
	if len(again.Images) != 3 {
		t.Fatalf("got %d images, want 3: %+v", len(again.Images), again.Images)
	}
	x := again.Images[0]
	if at := x.IntendedAt; at.IsZero() || time.Since(at) > time.Minute {
		t.Errorf("intended at %v", at)
	}
	x.IntendedAt = time.Time{}
	if want := (purge.Image{Key: jobs.KeyOf("x"), State: jobs.Unknown, Sends: 1, AnsweredAt: x.AnsweredAt, HTTPStatus: 503, Code: "8080"}); x != want || !x.AnsweredAt.Equal(answerTime) {
		t.Errorf("got %+v, want %+v", x, want)
	}
	if y, z := again.Images[1], again.Images[2]; y != (purge.Image{Key: jobs.KeyOf("y"), Position: 1, State: jobs.Planned}) || !z.Missing || z.State != jobs.Bystander {
		t.Errorf("got %+v and %+v", y, z)
	}
	done := finish(again, jobs.ImagesDeleted)
	done.Deleted, done.Counters = 1, purge.Counters{Listed: true, Found: 1, Sequence: 1}
	done.Images = []purge.Image{{Key: jobs.KeyOf("x"), State: jobs.Deleted, Evidence: jobs.ByListing, Sends: 1}}
	d.applied(done)
	// The second task, which may have listed the image before, learns of it.
	d.applied(giveBack(d.one()))
	second := d.one()
	if len(second.Named) != 2 || !slices.Equal(second.DeletedElsewhere, []jobs.Key{jobs.KeyOf("x")}) {
		t.Errorf("named %v; deleted elsewhere %v, want the key of x", second.Named, second.DeletedElsewhere)
	}
}

func TestSettingsAreGivenOnceByTheFirstClaim(t *testing.T) {
	t.Parallel()
	d := open(t)
	d.by("INSERT INTO image_deletion_tasks (customer_id, image_tokens) VALUES (1, NULL), (2, '{a}')")
	d.by("INSERT INTO image_deletion_tasks (customer_id, mode, scope, source) VALUES (3, 'economy', 'snapshot', 'WEB')")
	settings := func(mode jobs.Mode, scope jobs.Scope, source, account string) func(*purge.Claim) {
		return func(c *purge.Claim) { c.Mode, c.Scope, c.Source, c.AccountID = mode, scope, source, account }
	}
	first := d.claim(settings(jobs.Paranoid, jobs.UntilEmpty, "WEB_ENGAGE", "acc"))
	for _, r := range first {
		d.applied(giveBack(r))
	}
	second := d.claim(settings(jobs.Verified, jobs.Snapshot, "INSTORE", ""))
	for i, want := range []purge.Record{
		{Customer: jobs.Customer{ID: 1, Source: "WEB_ENGAGE", AccountID: "acc"}, Mode: jobs.Paranoid, Scope: jobs.UntilEmpty},
		{Customer: jobs.Customer{ID: 2, Source: "WEB_ENGAGE", AccountID: "acc"}, Mode: jobs.Paranoid, Scope: jobs.Snapshot},
		{Customer: jobs.Customer{ID: 3, Source: "WEB"}, Mode: jobs.Economy, Scope: jobs.Snapshot},
	} {
		for _, got := range []purge.Record{first[i], second[i]} {
			if got.Customer != want.Customer || got.Mode != want.Mode || got.Scope != want.Scope {
				t.Errorf("epoch %d: got %+v %s %s, want %+v %s %s", got.Epoch, got.Customer, got.Mode, got.Scope, want.Customer, want.Mode, want.Scope)
			}
		}
	}
}

func TestPausesHoldsAndCancelledBatches(t *testing.T) {
	t.Parallel()
	d := open(t)
	d.customers(1, 2)
	must := func(_ bool, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	for org, what := range map[int64]string{1: "organisation paused", 0: "everything paused"} {
		must(d.Pause(d.ctx, ann, org, "lunch"))
		d.claimsCustomers(what, nil)
		must(d.Resume(d.ctx, ann, org, "lunch is over"))
	}
	d.by("INSERT INTO organizations (name) VALUES ('brand-b')")
	must(d.Pause(d.ctx, ann, 2, "another's"))
	d.by("INSERT INTO legal_holds (organization_id, customer_id, held_by, reason) VALUES (1, 1, 'ann', 'court'), (2, 2, 'ann', 'court')")
	got := d.claimsCustomers("one customer held, another organisation paused", []int64{2})
	d.applied(giveBack(got[0]))
	d.by("UPDATE legal_holds SET released_at = now(), released_by = 'ann'")
	if err := d.PauseBatch(d.ctx, ann, 1, "wait"); err != nil {
		t.Fatal(err)
	}
	d.claimsCustomers("batch paused", nil)
	d.by("UPDATE batches SET state = 'cancelled'")
	for _, r := range d.claimsCustomers("batch cancelled", []int64{1, 2}) {
		if !r.Cancelled {
			t.Errorf("task %d is not handed out as cancelled", r.Task)
		}
	}
}

func TestFiltersOfAClaim(t *testing.T) {
	t.Parallel()
	d := open(t)
	d.customers(1, 2)
	d.by("INSERT INTO batches (organization_id, kind, name) VALUES (1, 'file', 'b')")
	d.by("INSERT INTO image_deletion_tasks (customer_id, batch_id, due_at) VALUES (3, 2, NULL), (4, 2, now() + interval '1 hour')")
	d.rested()
	d.claimsCustomers("no such batch", nil, ofBatch(3))
	d.claimsCustomers("none of these", nil, only())
	d.claimsCustomers("a task of another batch", nil, ofBatch(1), only(3))
	d.claimsCustomers("two tasks", []int64{2, 4}, only(2, 4, 99))
	d.claimsCustomers("a batch", []int64{3}, ofBatch(2))
	d.claimsCustomers("another organisation", nil, func(c *purge.Claim) { c.Organization = 2 })
	d.claimsCustomers("the rest", []int64{1})
}

func openBreaker(d *db, kind string) {
	d.by("UPDATE organizations SET breaker_reason = 'refused', breaker_kind = $1, breaker_since = clock_timestamp(), probe_at = clock_timestamp() + interval '1 minute', probe_delay = '1 minute', breaker_code = '401', breaker_http_status = 401 WHERE id = 1", kind)
}

func probeDue(d *db) {
	d.by("UPDATE organizations SET probe_at = clock_timestamp() - interval '1 second' WHERE breaker_reason IS NOT NULL")
}

func TestWhileTheBreakerIsOpenOnlyAProbeIsClaimed(t *testing.T) {
	t.Parallel()
	d := open(t)
	d.customers(1, 2, 3)
	r := d.one()
	refused := giveBack(r)
	refused.Waiting, refused.Counters.Refusals = jobs.WaitBreaker, 1
	refused.Breaker = &purge.Breaker{Reason: "refused", Kind: jobs.ListCall, HTTPStatus: 401, Code: "401"}
	d.applied(refused)
	d.claimsCustomers("breaker open", nil)
	d.claimsCustomers("probe not due", nil, probe)
	probeDue(d)
	d.claimsCustomers("no probe asked", nil)
	got := d.claimsCustomers("probe due: one, and not the one that was refused", []int64{2}, probe)
	if !got[0].Probe {
		t.Error("is not marked as the probe")
	}
	if !get[bool](d, "SELECT probe_task_id = 2 AND probe_at > clock_timestamp() + interval '50 seconds' FROM organizations") {
		t.Error("the probe is not noted")
	}
	d.claimsCustomers("the next probe is not due", nil, probe)
	d.claimsCustomers("now", []int64{3}, probeNow)
	d.claimsCustomers("the refused one, as there is no other", []int64{1}, probeNow)
}

func TestAfterTheServerChangedNothingIsClaimedBeforeTheSettleTime(t *testing.T) {
	t.Parallel()
	for what, change := range map[string]string{
		"another timeline": "UPDATE server_identity SET timeline = '000000FF'",
		"another system":   "UPDATE server_identity SET system_identifier = 7",
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			d := open(t)
			d.customers(1)
			if changed, err := d.NoteServer(d.ctx, time.Hour); changed || err != nil {
				t.Fatalf("noted a change of the server before there was one (%v)", err)
			}
			d.by(change)
			d.claimsCustomers("changed", nil)
			if changed, err := d.NoteServer(d.ctx, time.Hour); !changed || err != nil {
				t.Fatalf("no change noted (%v)", err)
			}
			if changed, err := d.NoteServer(d.ctx, 0); changed || err != nil {
				t.Fatalf("the change is noted twice (%v)", err)
			}
			d.claimsCustomers("within the settle time", nil)
			d.by("UPDATE server_identity SET claims_from = claims_from - interval '59 minutes 59 seconds 900 milliseconds'")
			d.eventually("the settle time to end", func() bool { return len(d.claim()) == 1 })
			if get[bool](d, "SELECT t.started_at < s.claims_from FROM image_deletion_tasks t, server_identity s") {
				t.Error("claimed within the settle time")
			}
		})
	}
}

// A task that can't be read is put aside and named; those beside it are claimed.
func TestATaskThatCannotBeReadStopsNoClaim(t *testing.T) {
	t.Parallel()
	d := open(t)
	d.customers(1, 2, 3)
	d.by("ALTER TABLE image_deletion_tasks DROP CONSTRAINT tokens_hashed, DISABLE TRIGGER guard_task_update")
	d.by("UPDATE image_deletion_tasks SET image_tokens = '{odd}' WHERE customer_id = 2")
	d.by("ALTER TABLE image_deletion_tasks ENABLE TRIGGER guard_task_update")
	d.claimsCustomers("beside it", []int64{1, 3})
	got, err := d.Task(d.ctx, 2)
	if err != nil || got.State != "review" || *got.Outcome != "unexpected_response" || *got.ErrorMessage != "task 2: image_tokens holds something that is no digest" {
		t.Errorf("%+v, %v", got, err)
	}
	if n := get[int](d, "SELECT count(*) FROM customer_leases WHERE customer_id = 2"); n != 0 {
		t.Error("its customer is leased")
	}
	if b, err := d.Batch(d.ctx, 1); err != nil || b.Review != 1 {
		t.Errorf("%+v, %v", b, err)
	}
	d.claimsCustomers("again", nil)
}
