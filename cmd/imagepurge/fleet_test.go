package main_test

import (
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/imagepurge/imagepurge/capillary/sandbox"
)

// always is a window that is open, and was for an hour at least.
func (w *world) always() *world {
	opened := time.Now().UTC().Add(-2 * time.Hour)
	return w.with(fmt.Sprintf("IMAGEPURGE_SCHEDULE=0 %d * * *", opened.Hour()), "IMAGEPURGE_WINDOW=23h")
}

type fleetView struct {
	Workers []struct {
		Name, Host, Version string
		PID                 int
		Silent              bool
	}
	Trouble []string
}

func (w *world) fleet() fleetView {
	w.Helper()
	return parse[fleetView](w, w.must(0, "status", "-o", "json").out)
}

func TestStatusShowsTheFleet(t *testing.T) {
	t.Parallel()
	crowd := present(611, 3, 1)
	w := newWorld(t, sandbox.Options{Seed: 611, Population: crowd}).always()
	w.enqueue(everyone(crowd))
	if e := w.must(3, "status", "--check"); !strings.Contains(e.out, "no worker: the window of default is open") || !strings.Contains(e.out, "imagepurge run") {
		t.Errorf("an open window without a worker is not said: %s", e)
	}
	one, two := w.start("run"), w.start("run")
	w.until("all is purged", func() bool {
		return w.count("SELECT count(*) FROM image_deletion_tasks WHERE state = 'completed'") == 3
	})
	w.until("both are there", func() bool { return w.count("SELECT count(*) FROM workers WHERE ended_at IS NULL") == 2 })
	w.must(0, "status", "--check")
	f := w.fleet()
	pids := map[int]bool{one.cmd.Process.Pid: true, two.cmd.Process.Pid: true}
	if len(f.Workers) != 2 || !pids[f.Workers[0].PID] || !pids[f.Workers[1].PID] || f.Workers[0].Silent || f.Workers[0].Version == "" || f.Workers[0].Host == "" {
		t.Errorf("the fleet is shown as %+v", f)
	}
	one.signal(syscall.SIGKILL)
	<-one.done
	two.stop()
	if f := w.fleet(); len(f.Workers) != 1 || f.Workers[0].PID != one.cmd.Process.Pid {
		t.Errorf("one was killed and one has stopped, and the fleet is shown as %+v", f)
	}
	if _, err := w.pool.Exec(t.Context(), "UPDATE workers SET seen_at = seen_at - interval '45 seconds'"); err != nil {
		t.Fatal(err)
	}
	if e := w.must(0, "status"); !strings.Contains(e.out, "not seen for 4") {
		t.Errorf("the silence of a killed worker is not said: %s", e)
	}
}

// A task that somebody inserts is begun at once by a worker that is told of it; by
// one that is not it is begun at its next poll.
func TestAnIdleWorkerBeginsATaskInsertedBySQL(t *testing.T) {
	t.Parallel()
	for name, poll := range map[string]bool{"told": false, "polling": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			crowd := present(612, 4, 1)
			w := newWorld(t, sandbox.Options{Seed: 612, Population: crowd}).always().with("IMAGEPURGE_LOG_LEVEL=debug")
			if poll {
				w.exec("DROP TRIGGER notify_workers ON image_deletion_tasks")
			}
			p := w.start("run")
			w.until("it listens", func() bool { return strings.Contains(p.errOut.String(), `"told":true`) })
			var most time.Duration
			for i := range 3 {
				after(t, time.Duration(1+i)*700*time.Millisecond) // it falls idle
				began := time.Now()
				w.exec(fmt.Sprintf("INSERT INTO image_deletion_tasks (customer_id) VALUES (%d)", crowd.ID(i)))
				w.until("it is begun", func() bool {
					return w.count("SELECT count(*) FROM image_deletion_tasks WHERE started_at IS NOT NULL") == i+1
				})
				most = max(most, time.Since(began))
			}
			t.Logf("%s: begun after %v at most", name, most.Round(time.Millisecond))
			if limit := 3 * time.Second; !poll && most > limit {
				t.Errorf("begun after %v, want less than %v", most, limit)
			}
			p.stop()
		})
	}
}
