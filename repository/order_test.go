package repository_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/imagepurge/imagepurge/jobs"
	"github.com/imagepurge/imagepurge/jobs/purge"
)

// rows inserts tasks into a batch whole, past all triggers: sort_at is theirs.
func (d *db) ready(batch, from, n int, sortAt time.Time) {
	d.Helper()
	d.run("SET session_replication_role = replica",
		fmt.Sprintf(`INSERT INTO image_deletion_tasks (organization_id, batch_id, customer_id, mode, scope, source, sort_at)
			SELECT 1, %d, %d + n, 'verified', 'snapshot', 'INSTORE', '%s' FROM generate_series(1, %d) n`, batch, from, sortAt.Format(time.RFC3339), n),
		"SET session_replication_role = origin")
}

// turns claims by one worker until nothing is left and says whose turn it was.
func (d *db) turns(limit int) (batches []int64) {
	d.Helper()
	served := int64(0)
	for {
		got := d.claim(func(c *purge.Claim) { c.Limit, c.After = limit, served })
		if len(got) == 0 {
			return batches
		}
		for _, r := range got {
			served = r.Batch
			batches = append(batches, served)
		}
	}
}

// However many are claimed at a time, a small batch beside a large one of the same
// hour is done after as many turns as it has tasks.
func TestBatchesOfEqualOrderTakeTurns(t *testing.T) {
	t.Parallel()
	hour := time.Date(2026, 11, 23, 1, 0, 0, 0, time.UTC)
	for _, limit := range []int{1, 2, 3, 7, 50} {
		d := open(t)
		d.by("INSERT INTO batches (organization_id, kind, name) SELECT 1, 'file', n::text FROM generate_series(1, 4) n")
		d.ready(1, 0, 120, hour)
		d.ready(2, 1000, 10, hour)
		d.ready(3, 2000, 10, hour)
		d.ready(4, 3000, 5, hour.Add(time.Hour)) // later: after all of these
		got := d.turns(limit)
		for batch, atLatest := range map[int64]int{2: 30 + 3*limit, 3: 30 + 3*limit} {
			last := len(got) - 1
			for got[last] != batch {
				last--
			}
			if last > atLatest {
				t.Errorf("%d at a time: the last of batch %d is the %dth, want at most %d", limit, batch, last, atLatest)
			}
		}
		if len(got) != 145 || slices.Contains(got[:140], 4) {
			t.Errorf("%d at a time: %d claimed, and of the later hour before its time: %v", limit, len(got), got)
		}
	}
}

// A task that waited for its due time has not been begun: it has its turn like any
// other. One that was begun goes first.
func TestWhatWasBegunGoesFirst(t *testing.T) {
	t.Parallel()
	d := open(t)
	d.by("INSERT INTO image_deletion_tasks (customer_id, due_at) VALUES (1, now() + interval '1 hour')")
	d.customers(2, 3)
	begun := d.one() // of customer 2
	g := giveBack(begun)
	g.After, g.Waiting = time.Hour, jobs.WaitBackoff
	d.applied(g)
	d.by("INSERT INTO image_deletion_tasks (customer_id, created_at) VALUES (4, now() - interval '5 hours')")
	d.rested()
	d.claimsCustomers("all", []int64{2, 4, 1, 3})
}

// Whatever priorities and deadlines come in, a task stands at most 24,000 hours
// before or behind the time at which it was made: from 48,000 hours later on nothing
// new overtakes it.
func TestNothingStarves(t *testing.T) {
	t.Parallel()
	d := open(t)
	type task struct {
		created  time.Time
		priority int
		deadline *time.Time
		sortAt   time.Time
	}
	random := rand.New(rand.NewPCG(5, 5))
	base := time.Date(2026, 11, 23, 1, 2, 3, 0, time.UTC)
	var all []task
	for range 2000 {
		x := task{created: base.Add(time.Duration(random.IntN(100_000)) * time.Hour), priority: random.IntN(2001) - 1000}
		if random.IntN(2) == 0 {
			deadline := x.created.Add(time.Duration(random.IntN(200_000)-100_000) * time.Hour)
			x.deadline = &deadline
		}
		x.sortAt = get[time.Time](d, "SELECT task_sort_at($1, $2, $3)", x.created, x.priority, x.deadline)
		if off := x.sortAt.Sub(x.created); off > 24_000*time.Hour || off < -24_001*time.Hour {
			t.Fatalf("made %v with priority %d and deadline %v it stands at %v", x.created, x.priority, x.deadline, x.sortAt)
		}
		if !x.sortAt.Equal(x.sortAt.Truncate(time.Hour)) {
			t.Fatalf("%v is no whole hour", x.sortAt)
		}
		all = append(all, x)
	}
	for _, a := range all {
		for _, b := range all {
			if b.created.Sub(a.created) > 48_001*time.Hour && !b.sortAt.After(a.sortAt) {
				t.Fatalf("a task made %v overtakes one made %v", b.created, a.created)
			}
		}
	}
}

// An intake orders its tasks as the trigger orders those that come by SQL.
func TestAnIntakeOrdersAsAnInsertDoes(t *testing.T) {
	t.Parallel()
	d := open(t)
	if _, err := d.TakeIn(d.ctx, file(), people(1, 2)); err != nil {
		t.Fatal(err)
	}
	d.customers(3)
	if n := get[int](d, "SELECT count(*) FROM image_deletion_tasks WHERE sort_at = task_sort_at(created_at, priority, deadline)"); n != 3 {
		t.Errorf("%d of 3 tasks stand where they belong", n)
	}
}
