package main_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/imagepurge/imagepurge/capillary/sandbox"
)

// A window that passed while work waited and no worker ran is told to monitors; one
// that had nothing to do is not.
func TestMissedWindowIsTold(t *testing.T) {
	t.Parallel()
	minute := time.Now().Add(30 * time.Minute).Minute() // no window opens or ends while this runs
	w := newWorld(t, sandbox.Options{Population: present(141, 3, 1)}).
		with(fmt.Sprintf("IMAGEPURGE_SCHEDULE=%d * * * *", minute), "IMAGEPURGE_WINDOW=1m")
	w.enqueue([]int64{700000001})
	if e := w.must(0, "status", "--check"); strings.Contains(e.out, "missed") {
		t.Errorf("work that came after the window was not missed: %s", e)
	}
	// created_at never changes; so the window's work was handed in long ago by SQL.
	w.exec("INSERT INTO image_deletion_tasks (customer_id, created_at) VALUES (700000002, now() - interval '3 hours')")
	if e := w.must(3, "status", "--check"); !strings.Contains(e.out, "missed window") {
		t.Errorf("the missed window is not told: %s", e)
	}
	// A worker was there in all windows of these hours, and did not come so far.
	w.exec(`INSERT INTO schedule_runs (organization_id, tick, closes_at, schedule, opened_at, opened_by)
		SELECT 1, tick, tick + interval '1 minute', 'in words', tick, 'a worker' FROM
		generate_series(date_trunc('hour', now()) - interval '4 hours' + make_interval(mins => $1), now() - interval '1 minute', interval '1 hour') tick`, minute)
	if e := w.must(0, "status", "--check"); strings.Contains(e.out, "missed") {
		t.Errorf("a window that had its run is told as missed: %s", e)
	}
	w.must(0, "run", "--once")
	w.must(0, "status", "--check")
}
