package repository_test

import (
	"crypto/sha256"
	"fmt"
	"testing"

	"github.com/imagepurge/imagepurge/jobs"
	"github.com/imagepurge/imagepurge/jobs/purge"
)

// The servers of tests do not wait for the disk: read these figures as ratios, and
// as the processor's share.

const benchTasks = 50_000

// ready makes tasks that wait for their turn, in a batch with as many finished.
func ready(b *testing.B, d *db) {
	b.Helper()
	d.run("SET session_replication_role = replica",
		"INSERT INTO batches (organization_id, kind, name) VALUES (1, 'file', 'b')",
		fmt.Sprintf(`INSERT INTO image_deletion_tasks (organization_id, batch_id, customer_id, mode, scope, source, due_at, sort_at, state, outcome, finished_at, lease_epoch, started_at)
			SELECT 1, 1, n, 'verified', 'snapshot', 'INSTORE', now(), now(), CASE WHEN n <= %[1]d THEN 'completed' ELSE 'pending' END,
			       CASE WHEN n <= %[1]d THEN 'no_images' END, CASE WHEN n <= %[1]d THEN now() END, (n <= %[1]d)::int, CASE WHEN n <= %[1]d THEN now() END
			FROM generate_series(1, 2 * %[1]d) n`, benchTasks),
		"SET session_replication_role = origin", "VACUUM ANALYZE image_deletion_tasks")
}

func BenchmarkClaim(b *testing.B) {
	for _, n := range []int{1, 16, 128} {
		b.Run(fmt.Sprintf("tasks=%d", n), func(b *testing.B) {
			d := open(b)
			ready(b, d)
			claimed := 0
			for b.Loop() {
				got := d.claim(limit(n))
				if claimed += len(got); len(got) < n { // all are taken: begin again
					b.StopTimer()
					d.run("TRUNCATE customer_leases", "SET session_replication_role = replica",
						"UPDATE image_deletion_tasks SET state = 'pending', lease_owner = NULL, lease_until = NULL, waiting_for = NULL WHERE state = 'running'",
						"SET session_replication_role = origin", "VACUUM ANALYZE image_deletion_tasks")
					b.StartTimer()
				}
			}
			b.ReportMetric(float64(claimed)/b.Elapsed().Seconds(), "tasks/s")
		})
	}
}

func BenchmarkWriteIntents(b *testing.B) {
	for _, n := range []int{1, 16, 128} {
		b.Run(fmt.Sprintf("group=%d", n), func(b *testing.B) {
			d := open(b)
			ready(b, d)
			rs := d.claim(limit(n))
			round := 0
			for b.Loop() {
				round++
				group := make([]purge.Write, n)
				for i, r := range rs {
					r.Sequence = round
					group[i] = intent(r, fmt.Sprint("image ", round))
					if round > 1 { // the answer to the delete before, as in a purge
						before := progress(intent(r, fmt.Sprint("image ", round-1)))
						before.Calls[0].Sequence = round
						group[i].Images = append(group[i].Images, before.Images...)
						group[i].Calls = append(group[i].Calls, before.Calls...)
					}
				}
				for i, r := range d.write(group...) {
					if !r.Applied {
						b.Fatalf("intent %d: %s", i, r.Refused)
					}
				}
			}
			b.ReportMetric(float64(round*n)/b.Elapsed().Seconds(), "intents/s")
		})
	}
}

// numbers yields 1, 2, 3 … without holding them.
type numbers struct{ at, end int64 }

func (l *numbers) Next() (int, int64, bool, error) {
	l.at++
	return int(l.at), l.at, l.at <= l.end, nil
}

func (l *numbers) Digest() [sha256.Size]byte { return jobs.KeyOf(fmt.Sprint(l.end)) }

func BenchmarkTakeIn(b *testing.B) {
	d := open(b)
	const rows = 200_000
	total := int64(0)
	for b.Loop() {
		in := file()
		in.Key = fmt.Sprint(total)
		got, err := d.TakeIn(d.ctx, in, &numbers{end: rows})
		if err != nil {
			b.Fatal(err)
		}
		total += got.Tasks
	}
	b.ReportMetric(float64(total)/b.Elapsed().Seconds(), "rows/s")
}
