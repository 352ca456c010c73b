package repository_test

import (
	"sync"
	"testing"
	"time"

	"github.com/imagepurge/imagepurge/jobs"
	"github.com/imagepurge/imagepurge/jobs/purge"
)

// Writes and renewals of the same tasks, in whatever order, wait for each other
// and never in a circle.
func TestWritesRenewalsAndClaimsNeverDeadlock(t *testing.T) {
	t.Parallel()
	d := openWith(t, 10)
	d.by("INSERT INTO batches (organization_id, kind, name) SELECT 1, 'file', n::text FROM generate_series(1, 20) n")
	d.by("INSERT INTO image_deletion_tasks (customer_id, batch_id) SELECT 1000 - n, 1 + n % 20 FROM generate_series(1, 100) n")
	rs := d.claim(limit(100))
	// More tasks of the same customers keep claimers at their rows.
	d.by("INSERT INTO image_deletion_tasks (customer_id, batch_id) SELECT 900 + n % 100, 1 + n % 20 FROM generate_series(1, 400) n")
	renew := func(order func(i int) int) func() error {
		return func() error {
			var ls []purge.Lease
			for i := range rs {
				r := rs[order(i)]
				ls = append(ls, purge.Lease{Task: r.Task, Epoch: r.Epoch})
			}
			_, err := d.RenewLeases(d.ctx, "w1", ls, time.Minute)
			return err
		}
	}
	write := func(order func(i int) int) func() error {
		return func() error {
			var ws []purge.Write
			for i := range rs {
				ws = append(ws, bare(rs[order(i)], purge.WriteProgress))
			}
			_, err := d.Write(d.ctx, terms, ws)
			return err
		}
	}
	forward, back := func(i int) int { return i }, func(i int) int { return len(rs) - 1 - i }
	var all sync.WaitGroup
	for what, f := range map[string]func() error{
		"renew forward": renew(forward), "renew back": renew(back), "write forward": write(forward), "write back": write(back),
		"claim": func() error {
			c := ask()
			c.Owner, c.Limit = "w2", 60
			_, err := d.ClaimTasks(d.ctx, c)
			if err == nil {
				_, err = d.tryAs("test", "UPDATE image_deletion_tasks SET due_at = now() WHERE id IN (SELECT id FROM image_deletion_tasks WHERE state = 'pending' AND waiting_for = 'customer' FOR UPDATE SKIP LOCKED)")
			}
			return err
		},
	} {
		all.Go(func() {
			for range 40 {
				if err := f(); err != nil {
					t.Errorf("%s: %v", what, err)
					return
				}
			}
		})
	}
	all.Wait()
}

// Workers that end tasks of the same batches in any order do not deadlock either.
func TestEndsOfTasksInManyBatchesNeverDeadlock(t *testing.T) {
	t.Parallel()
	d := openWith(t, 8)
	const workers, rounds, batches = 4, 12, 16
	d.by("INSERT INTO batches (organization_id, kind, name) SELECT 1, 'file', n::text FROM generate_series(1, $1) n", batches)
	d.by("INSERT INTO image_deletion_tasks (customer_id, batch_id) SELECT n, 1 + n % $1 FROM generate_series(1, $2) n", batches, workers*rounds*batches)
	rs := d.claim(limit(workers * rounds * batches))
	var all sync.WaitGroup
	for w := range workers {
		all.Go(func() {
			mine := rs[w*rounds*batches : (w+1)*rounds*batches]
			for round := range rounds {
				var ws []purge.Write
				for i := range batches {
					k := i
					if w%2 == 1 {
						k = batches - 1 - i
					}
					ws = append(ws, finish(mine[round*batches+k], jobs.NoImages))
				}
				if _, err := d.Write(d.ctx, terms, ws); err != nil {
					t.Error(err)
				}
				if err := d.FoldArrivals(d.ctx); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Go(func() {
		for range rounds * workers {
			d.by("INSERT INTO image_deletion_tasks (customer_id, batch_id) SELECT 100000 + n, $1 - n FROM generate_series(0, $1 - 1) n", batches)
		}
	})
	all.Wait()
	if err := d.FoldArrivals(d.ctx); err != nil {
		t.Error(err)
	}
	if n := get[int](d, "SELECT sum(tasks_completed) FROM batches"); n != len(rs) {
		t.Errorf("counted %d ends, want %d", n, len(rs))
	}
	if n, err := d.Recount(d.ctx, ann); n != 0 || err != nil {
		t.Errorf("the counts of %d batches had drifted (%v)", n, err)
	}
}
