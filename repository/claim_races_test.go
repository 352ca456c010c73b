package repository_test

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/imagepurge/imagepurge/jobs"
	"github.com/imagepurge/imagepurge/jobs/purge"
	"github.com/imagepurge/imagepurge/repository"
)

// twoHolders lists customers that two leases have at one instant, by the rows.
const twoHolders = `
SELECT customer_id FROM image_deletion_tasks WHERE state = 'running' AND lease_until > clock_timestamp()
GROUP BY organization_id, customer_id HAVING count(*) > 1`

// crew runs workers side by side until the work is done, each with a store of
// its own, and watches meanwhile that no customer has two holders.
func (d *db) crew(workers int, work func(s *repository.Store, name string) (done bool, err error)) {
	d.Helper()
	var workersLeft sync.WaitGroup
	for i := range workers {
		workersLeft.Go(func() {
			s := repository.New(d.pool, time.Now)
			for {
				done, err := work(s, fmt.Sprintf("w%d", i))
				if err != nil {
					d.Errorf("w%d: %v", i, err)
				}
				if done || err != nil {
					return
				}
			}
		})
	}
	over := make(chan struct{})
	var watcher sync.WaitGroup
	watcher.Go(func() {
		for {
			if two := list[int64](d, twoHolders); len(two) > 0 {
				d.Errorf("customers with two holders: %v", two)
				return
			}
			select {
			case <-over:
				return
			default:
			}
		}
	})
	workersLeft.Wait()
	close(over)
	watcher.Wait()
}

func TestManyClaimersOneHolderACustomer(t *testing.T) {
	t.Parallel()
	d := openWith(t, 10)
	const tasks, people = 600, 40
	d.by("INSERT INTO batches (organization_id, kind, name) SELECT 1, 'file', n::text FROM generate_series(1, 3) n")
	d.by("INSERT INTO image_deletion_tasks (customer_id, batch_id) SELECT 1 + n % $1, 1 + n % 3 FROM generate_series(1, $2) n", people, tasks)
	var (
		mu      sync.Mutex
		holder  = map[int64]string{}
		claimed = map[jobs.TaskID]int{}
	)
	d.crew(6, func(s *repository.Store, me string) (bool, error) {
		c := ask()
		c.Owner, c.Limit = me, 8
		got, err := s.ClaimTasks(d.ctx, c)
		if err != nil {
			return false, err
		}
		mu.Lock()
		for _, r := range got {
			if other, held := holder[r.Customer.ID]; held {
				t.Errorf("%s claimed customer %d while %s had it", me, r.Customer.ID, other)
			}
			holder[r.Customer.ID] = me
			claimed[r.Task]++
		}
		done := len(claimed) == tasks
		mu.Unlock()
		if len(got) == 0 {
			// Those that wait for a customer are made due at once.
			_, err := d.tryAs("test", `
UPDATE image_deletion_tasks SET due_at = now()
WHERE id IN (SELECT id FROM image_deletion_tasks WHERE state = 'pending' AND waiting_for = 'customer' FOR UPDATE SKIP LOCKED)`)
			return done, err
		}
		var ws []purge.Write
		mu.Lock()
		for _, r := range got {
			delete(holder, r.Customer.ID)
			ws = append(ws, finish(r, jobs.NoImages))
		}
		mu.Unlock()
		results, err := s.Write(d.ctx, terms, ws)
		for i, r := range results {
			if !r.Applied {
				t.Errorf("task %d: its end is refused: %s", ws[i].Task, r.Refused)
			}
		}
		return false, err
	})
	for id, n := range claimed {
		if n != 1 {
			t.Errorf("task %d was claimed %d times", id, n)
		}
	}
	for b := int64(1); b <= 3; b++ {
		if got, err := d.Batch(d.ctx, b); err != nil || got.Completed != tasks/3 || got.Open != 0 {
			t.Errorf("batch %d: %+v, %v", b, got, err)
		}
	}
	if n := get[int](d, "SELECT count(*) FROM customer_leases"); n != 0 {
		t.Errorf("%d customers are still leased", n)
	}
}

// Workers that die, come back late, renew, rest and reclaim, all at once.
func TestWorkersThatDieNeverShareACustomer(t *testing.T) {
	t.Parallel()
	d := openWith(t, 10)
	const tasks, people = 120, 12
	d.by("INSERT INTO image_deletion_tasks (customer_id) SELECT 1 + n % $1 FROM generate_series(1, $2) n", people, tasks)
	short := terms
	short.Lease, short.RequestTimeout = 20*time.Millisecond, -jobs.SendMargin // a lease of 20 ms, and no time to send needed
	var mu sync.Mutex
	turn := 0
	end := time.Now().Add(2 * time.Minute)
	d.crew(6, func(s *repository.Store, me string) (bool, error) {
		mu.Lock()
		turn++
		n := turn
		mu.Unlock()
		if time.Now().After(end) {
			return true, fmt.Errorf("the tasks did not end")
		}
		if _, err := s.ReclaimTasks(d.ctx); err != nil {
			return false, err
		}
		c := ask()
		c.Owner, c.Limit, c.Lease = me, 4, short.Lease
		got, err := s.ClaimTasks(d.ctx, c)
		if err != nil {
			return false, err
		}
		if len(got) == 0 {
			_, err := d.tryAs("test", `
UPDATE image_deletion_tasks SET due_at = now()
WHERE id IN (SELECT id FROM image_deletion_tasks WHERE state = 'pending' AND waiting_for = 'customer' FOR UPDATE SKIP LOCKED)`)
			return get[bool](d, "SELECT NOT EXISTS (SELECT FROM image_deletion_tasks WHERE state IN ('pending', 'running'))"), err
		}
		var ws []purge.Write
		for i, r := range got {
			switch (n + i) % 5 {
			case 0: // dies
			case 1: // dies after an intent; its customer rests
				w := intent(r, "x")
				w.RestFor = 10 * time.Millisecond
				ws = append(ws, w)
			case 2:
				if _, err := s.RenewLeases(d.ctx, me, []purge.Lease{{Task: r.Task, Epoch: r.Epoch}}, short.Lease); err != nil {
					return false, err
				}
				ws = append(ws, bare(r, purge.WriteProgress))
			default:
				f := finish(r, jobs.NoImages)
				f.Counters = r.Counters
				ws = append(ws, f)
			}
		}
		_, err = s.Write(d.ctx, short, ws)
		return false, err
	})
}

// At the end of a lease its holder writes while another claims: one of the two has
// the task, never both and never neither. A progress is written even after the end,
// but does not bring the lease back.
//
// How long a lease is left decides who wins, and on a busy machine that is long: each
// round leaves less after the holder has won and more after it has lost, so that the
// lease ends just while the holder writes, however fast this machine is.
func TestARaceAtTheEndOfALeaseHasOneWinner(t *testing.T) {
	t.Parallel()
	d := openWith(t, 6)
	d.customers(7, 7)
	atOnce := terms
	atOnce.RequestTimeout = -jobs.SendMargin // an intent needs no time to be sent
	for _, c := range []struct {
		name  string
		write func(r purge.Record) (applied bool, err error)
		late  bool // it is written after the end of the lease as well, until another claims
	}{
		{"an intent", func(r purge.Record) (bool, error) {
			w := intent(r, "x")
			w.Rest = purge.RestKeep
			res, err := d.Write(d.ctx, atOnce, []purge.Write{w})
			return err == nil && res[0].Applied, err
		}, false},
		{"a renewal", func(r purge.Record) (bool, error) {
			ids, err := d.RenewLeases(d.ctx, "w1", []purge.Lease{{Task: r.Task, Epoch: r.Epoch}}, time.Minute)
			return len(ids) == 1, err
		}, false},
		{"a progress", func(r purge.Record) (bool, error) {
			res, err := d.Write(d.ctx, terms, []purge.Write{bare(r, purge.WriteProgress)})
			return err == nil && res[0].Applied, err
		}, true},
	} {
		const rounds, each = 50, 5 // so many at least, and so many with each winner
		kept, taken := 0, 0
		left := time.Millisecond
		for round, end := 0, time.Now().Add(2*time.Minute); round < rounds || kept < each || taken < each; round++ {
			if time.Now().After(end) {
				t.Fatalf("%s: no race: kept %d times, taken %d times in %d rounds", c.name, kept, taken, round)
			}
			r := d.one()
			until := get[time.Time](d, "SELECT clock_timestamp() + make_interval(secs => $1)", left.Seconds())
			d.as("test", "UPDATE image_deletion_tasks SET lease_until = $2 WHERE id = $1", r.Task, until)
			d.by("UPDATE customer_leases SET lease_until = $1", until)
			var (
				both    sync.WaitGroup
				applied bool
				other   []purge.Record
				written = make(chan struct{})
			)
			takeOver := func() {
				if _, err := d.ReclaimTasks(d.ctx); err != nil {
					t.Errorf("%s, round %d: %v", c.name, round, err)
				}
				q := ask()
				q.Owner = "w2"
				got, err := d.ClaimTasks(d.ctx, q)
				if err != nil {
					t.Errorf("%s, round %d: %v", c.name, round, err)
				}
				other = append(other, got...)
			}
			both.Go(func() {
				defer close(written)
				var err error
				if applied, err = c.write(r); err != nil {
					t.Errorf("%s, round %d: %v", c.name, round, err)
				}
			})
			both.Go(func() {
				for {
					takeOver()
					select {
					case <-written:
						return
					default:
					}
				}
			})
			both.Wait()
			stands := get[bool](d, "SELECT EXISTS (SELECT FROM customer_leases WHERE lease_owner = 'w1' AND lease_until > clock_timestamp() + interval '20 seconds')")
			meanwhile := len(other)
			takeOver() // what the holder has lost can be claimed now
			if len(other) > 1 || stands == (len(other) == 1) {
				t.Fatalf("%s, round %d: w1 holds the customer: %t; w2 claimed %d tasks of it", c.name, round, stands, len(other))
			}
			if applied != stands && !(c.late && applied) {
				t.Fatalf("%s, round %d: applied: %t; w1 holds the customer: %t", c.name, round, applied, stands)
			}
			if len(other) == 1 {
				if other[0].Task == r.Task && other[0].Epoch != r.Epoch+1 {
					t.Fatalf("%s, round %d: w2 has epoch %d, w1 had %d", c.name, round, other[0].Epoch, r.Epoch)
				}
				if d.write(bare(r, purge.WriteProgress))[0].Applied {
					t.Fatalf("%s, round %d: w1 writes on after w2 has claimed", c.name, round)
				}
			}
			if stands {
				kept++
				left = left * 2 / 3
			} else {
				left = left*3/2 + time.Microsecond
			}
			taken += meanwhile
			d.as("test", "UPDATE image_deletion_tasks SET state = 'pending', lease_owner = NULL, lease_until = NULL, waiting_for = NULL, due_at = now()")
			d.by("DELETE FROM customer_leases")
		}
		t.Logf("%s: kept %d times, taken %d times; a lease of %v at last", c.name, kept, taken, left)
	}
}

// Several workers may find a probe due at the same time; one makes it.
func TestOneProbeAtATime(t *testing.T) {
	t.Parallel()
	d := openWith(t, 8)
	d.by("INSERT INTO image_deletion_tasks (customer_id) SELECT generate_series(1, 200)")
	openBreaker(d, "list")
	for range 10 {
		probeDue(d)
		var (
			all sync.WaitGroup
			mu  sync.Mutex
			n   int
		)
		for i := range 8 {
			all.Go(func() {
				c := ask()
				c.Owner, c.Probe = fmt.Sprint("w", i), true
				got, err := d.ClaimTasks(d.ctx, c)
				if err != nil {
					t.Error(err)
				}
				mu.Lock()
				n += len(got)
				mu.Unlock()
			})
		}
		all.Wait()
		if n != 1 {
			t.Fatalf("%d probes were claimed at once, want 1", n)
		}
	}
}
