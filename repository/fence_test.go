package repository_test

import (
	"slices"
	"testing"
	"time"

	"github.com/imagepurge/imagepurge/jobs"
	"github.com/imagepurge/imagepurge/jobs/purge"
)

// An intent prolongs the lease; one with too little left of it is refused, and so
// is everything of an owner or an epoch that is not the row's.
func TestTheFence(t *testing.T) {
	t.Parallel()
	d := open(t)
	d.customers(7)
	r := d.one()
	for _, kind := range []purge.WriteKind{purge.WriteIntent, purge.WriteProgress, purge.WriteGiveBack, purge.WriteFinish} {
		for what, change := range map[string]func(*purge.Write){
			"another owner":    func(w *purge.Write) { w.Owner = "w2" },
			"an epoch before":  func(w *purge.Write) { w.Epoch-- },
			"an epoch to come": func(w *purge.Write) { w.Epoch++ },
			"another task":     func(w *purge.Write) { w.Task += 7 },
			"another customer": func(w *purge.Write) { w.Customer.ID = 8 },
		} {
			w := finish(r, jobs.NoImages)
			if w.Kind = kind; kind == purge.WriteIntent {
				w = intent(r, "x")
			}
			if kind != purge.WriteFinish {
				w.State, w.Outcome = "", ""
			}
			change(&w)
			if kind == purge.WriteIntent && what == "another customer" {
				d.refusedWrite(w, purge.LeaseShort) // the lease stands, for another customer
				continue
			}
			want := purge.LeaseLost
			if d.refusedWrite(w, want); t.Failed() {
				t.Fatalf("%s of %s", kind, what)
			}
		}
	}
	leaseEnds := func(in time.Duration) {
		until := get[time.Time](d, "SELECT clock_timestamp() + make_interval(secs => $1)", in.Seconds())
		d.as("test", "UPDATE image_deletion_tasks SET lease_until = $1", until)
		d.by("UPDATE customer_leases SET lease_until = $1", until)
	}
	leaseEnds(terms.RequestTimeout + jobs.SendMargin - time.Millisecond)
	d.refusedWrite(intent(r, "x"), purge.LeaseShort)
	leaseEnds(-time.Millisecond)
	d.refusedWrite(intent(r, "x"), purge.LeaseLost)
	leaseEnds(10 * time.Second)
	d.applied(intent(r, "x"))
	if !get[bool](d, "SELECT t.lease_until > clock_timestamp() + interval '55 seconds' AND t.lease_until = l.lease_until FROM image_deletion_tasks t, customer_leases l") {
		t.Error("the intent did not prolong the lease")
	}
}

// What an answer taught is accepted after the lease ran out, as long as nobody
// else has claimed; then it is not.
func TestALateWriteCountsUntilAnotherHasClaimed(t *testing.T) {
	t.Parallel()
	for what, late := range map[string]func(purge.Record) purge.Write{
		"progress": func(r purge.Record) purge.Write { return progress(intent(r, "x")) },
		"finish": func(r purge.Record) purge.Write {
			w := progress(intent(r, "x"))
			w.Kind, w.State, w.Outcome = purge.WriteFinish, jobs.Completed, jobs.ImagesDeleted
			return w
		},
		"give back": func(r purge.Record) purge.Write { return unknown(intent(r, "x"), time.Minute) },
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			d := open(t)
			d.customers(7, 7)
			r := d.one()
			d.applied(intent(r, "x"))
			d.expire(r.Task)
			d.applied(late(r))
			// It does not bring the lease back: that takes a claim, which waits where
			// the server has changed meanwhile.
			if what == "progress" {
				d.refusedWrite(intent(withSequence(r), "y"), purge.LeaseLost)
				if kept, err := d.RenewLeases(d.ctx, "w1", []purge.Lease{{Task: r.Task, Epoch: r.Epoch}}, time.Minute); err != nil || len(kept) != 0 {
					t.Errorf("renewed %v (%v)", kept, err)
				}
			}

			d.customers(8)
			d.rested()
			s := d.claim(only(3))[0]
			d.applied(intent(s, "x"))
			d.expire(s.Task)
			if _, err := d.ReclaimTasks(d.ctx); err != nil {
				t.Fatal(err)
			}
			d.refusedWrite(late(s), purge.LeaseLost) // taken back: it changes nothing, the customer's row included
			d.rested()
			if again := d.claim(only(3), owner("w2")); len(again) != 1 {
				t.Fatalf("claimed %d, want 1", len(again))
			}
			d.refusedWrite(late(s), purge.LeaseLost)
		})
	}
	t.Run("another task of the customer", func(t *testing.T) {
		t.Parallel()
		d := open(t)
		d.customers(7, 7)
		r := d.one()
		d.expire(r.Task)
		d.rested()
		other := d.one(owner("w2"))
		if other.Task == r.Task {
			t.Fatal("claimed the same task")
		}
		d.refusedWrite(progress(intent(r, "x")), purge.LeaseLost)
		d.refusedWrite(giveBack(r), purge.LeaseLost)
		d.applied(intent(other, "x"))
	})
}

func TestEveryReasonToRefuseAnIntent(t *testing.T) {
	t.Parallel()
	const dryRun = "INSERT INTO batches (organization_id, kind, name, dry_run) VALUES (1, 'file', 'dry', true)"
	for what, c := range map[string]struct {
		sql  string
		want purge.Refusal
	}{
		"organisation paused":      {"INSERT INTO pauses (organization_id, paused_by, reason) VALUES (1, 'a', 'r')", purge.Paused},
		"everything paused":        {"INSERT INTO pauses (paused_by, reason) VALUES ('a', 'r')", purge.Paused},
		"batch paused":             {"UPDATE batches SET state = 'paused'", purge.Paused},
		"batch cancelled":          {"UPDATE batches SET state = 'cancelled'", purge.CancelledBy},
		"legal hold":               {"INSERT INTO legal_holds (organization_id, customer_id, held_by, reason) VALUES (1, 7, 'a', 'r')", purge.HeldBack},
		"breaker open":             {"UPDATE organizations SET breaker_reason = 'refused', breaker_kind = 'list', breaker_since = now(), probe_at = now(), probe_delay = '1 minute'", purge.BreakerOpen},
		"another task's probe":     {"UPDATE organizations SET breaker_reason = 'refused', breaker_kind = 'list', breaker_since = now(), probe_at = now(), probe_delay = '1 minute', probe_task_id = 2", purge.BreakerOpen},
		"budget paused":            {"UPDATE rate_budgets SET paused_until = now() + interval '1 minute'", purge.BudgetPause},
		"dry run":                  {"UPDATE image_deletion_tasks SET dry_run = true", purge.CancelledBy},
		"its own probe":            {"UPDATE organizations SET breaker_reason = 'refused', breaker_kind = 'list', breaker_since = now(), probe_at = now(), probe_delay = '1 minute', probe_task_id = 1", ""},
		"a pause that is over":     {"INSERT INTO pauses (organization_id, paused_by, reason, resumed_at, resumed_by) VALUES (1, 'a', 'r', now(), 'a')", ""},
		"a hold that is released":  {"INSERT INTO legal_holds (organization_id, customer_id, held_by, reason, released_at) VALUES (1, 7, 'a', 'r', now())", ""},
		"a hold of another":        {"INSERT INTO legal_holds (organization_id, customer_id, held_by, reason) VALUES (1, 8, 'a', 'r')", ""},
		"a budget's pause is over": {"UPDATE rate_budgets SET paused_until = now() - interval '1 second'", ""},
		"another batch is dry":     {dryRun, ""},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			d := open(t)
			d.customers(7)
			r := d.one()
			d.as("test", c.sql)
			if c.want == "" {
				d.applied(intent(r, "x"))
				return
			}
			d.refusedWrite(intent(r, "x"), c.want)
			// Only intents are refused: what was learned is always written.
			d.applied(bare(r, purge.WriteProgress))
			d.applied(giveBack(r))
		})
	}
}

// A write that was held up on its way to the database, and was repeated, may come
// after later ones of the same claim.
func TestAWriteThatWasHeldUpUndoesNothing(t *testing.T) {
	t.Parallel()
	d := open(t)
	d.customers(7)
	r := d.one()
	first := intent(r, "x")
	d.applied(first)
	heldUp := progress(first)
	d.applied(heldUp)
	r.Sequence = 1
	second := intent(r, "y")
	second.Deleted = 1
	d.applied(second)
	d.refusedWrite(heldUp, purge.LeaseLost) // it would end the customer's rest, with a delete under way
	if !get[bool](d, "SELECT rest_until > clock_timestamp() FROM customer_leases") {
		t.Error("the customer does not rest")
	}
}

func TestRenewals(t *testing.T) {
	t.Parallel()
	d := open(t)
	d.customers(1, 2, 3, 4)
	rs := d.claim()
	d.expire(rs[1].Task)
	at := func(i int, epoch int64) purge.Lease { return purge.Lease{Task: rs[i].Task, Epoch: epoch} }
	all := []purge.Lease{at(0, 1), at(1, 1), at(2, 2), at(3, 1), {Task: 99, Epoch: 1}}
	kept, err := d.RenewLeases(d.ctx, "w1", all, time.Hour)
	slices.Sort(kept)
	if err != nil || !slices.Equal(kept, []jobs.TaskID{rs[0].Task, rs[3].Task}) {
		t.Errorf("renewed %v (%v), want the first and the last: an expired one and one of another epoch are not", kept, err)
	}
	if got := list[int64](d, "SELECT t.customer_id FROM image_deletion_tasks t JOIN customer_leases l USING (customer_id, lease_until) WHERE t.lease_until > clock_timestamp() + interval '59 minutes' ORDER BY 1"); !slices.Equal(got, []int64{1, 4}) {
		t.Errorf("the leases of customers %v are longer, want [1 4]", got)
	}
	if kept, err := d.RenewLeases(d.ctx, "w2", all, time.Hour); err != nil || len(kept) != 0 {
		t.Errorf("another owner renewed %v (%v)", kept, err)
	}
	if kept, err := d.RenewLeases(d.ctx, "w1", nil, time.Hour); err != nil || len(kept) != 0 {
		t.Errorf("no leases: renewed %v (%v)", kept, err)
	}
}
