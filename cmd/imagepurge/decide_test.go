package main_test

import (
	"maps"
	"syscall"
	"testing"
	"time"

	"github.com/imagepurge/imagepurge/capillary/sandbox"
)

// steady is a worker in an open window, with work for about half a minute.
func steady(t *testing.T, seed uint64, n int) (w *world, ids []int64, batch int64, worker *process) {
	crowd := present(seed, n, 3)
	w = newWorld(t, sandbox.Options{Seed: seed, Population: crowd, Latency: sandbox.UniformLatency(5*time.Millisecond, 30*time.Millisecond)}).
		always().with("CAPILLARY_RATE_PER_MINUTE=2400")
	ids = everyone(crowd)
	batch = w.enqueue(ids)
	worker = w.start("run")
	w.until("deletes are under way", func() bool { return len(w.deletes()) > 20 })
	return w, ids, batch, worker
}

// stop ends a worker in order.
func (p *process) stop() {
	p.w.Helper()
	p.signal(syscall.SIGTERM)
	if e := p.wait(); e.status != 143 {
		p.w.Errorf("%s", e)
	}
}

// wantSilence checks that deletes stop within 5 seconds, by the sandbox's clock.
func (w *world) wantSilence() {
	w.Helper()
	since := time.Now()
	w.until("no more deletes", func() bool {
		n := len(w.deletes())
		after(w, 700*time.Millisecond) // at 40 calls a second
		return n == len(w.deletes())
	})
	last := since
	for _, d := range w.deletes() {
		if d.ReceivedAt.After(last) {
			last = d.ReceivedAt
		}
	}
	w.Logf("silent after %v", last.Sub(since))
	if late := last.Sub(since); late > 5*time.Second {
		w.Errorf("a delete came %v later", late)
	}
}

func TestPauseStopsAllWorkers(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ stop, resume []string }{
		"everything":   {[]string{"pause"}, []string{"resume"}},
		"organisation": {[]string{"pause", "--organization", "default"}, []string{"resume", "--organization", "default"}},
		"batch":        {[]string{"batch", "pause", "1"}, []string{"batch", "resume", "1"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, ids, batch, worker := steady(t, 81, 120)
			if batch != 1 {
				t.Fatalf("batch %d", batch)
			}
			w.must(2, c.stop...) // no reason
			w.must(0, append(c.stop, "--reason", "maintenance")...)
			w.wantSilence()
			if len(w.deletes()) > 300 {
				t.Fatal("nearly all was done before: nothing is shown")
			}
			w.until("nothing is left in hand", func() bool { return w.count("SELECT count(*) FROM image_deletion_tasks WHERE state = 'running'") == 0 })
			w.wantAtRest()
			if e := w.must(0, "run", "--once"); w.count("SELECT count(*) FROM image_deletion_tasks WHERE state = 'pending'") == 0 {
				t.Errorf("a pause did not hold for run --once: %s", e)
			}
			w.must(0, append(c.resume, "--reason", "done")...)
			w.until("the rest is purged", func() bool {
				return w.count("SELECT count(*) FROM image_deletion_tasks WHERE state = 'completed'") == len(ids)
			})
			worker.stop()
			w.wantTruth(batch, ids)
			w.wantHarmless(true)
			if n := w.count("SELECT count(*) FROM audit_entries WHERE actor = $1 AND reason IN ('maintenance', 'done')", whoami(t)); n != 2 {
				t.Errorf("%d audit entries", n)
			}
		})
	}
}

// standing is what a cancel says.
type standing struct {
	Purged, Partly, Untouched int
	InDoubt                   int `json:"in_doubt"`
	UnderWay                  int `json:"under_way"`
	Other                     int
}

func TestCancelSaysWhatWasDone(t *testing.T) {
	t.Parallel()
	crowd := present(82, 200, 3)
	w := newWorld(t, sandbox.Options{Seed: 82, Population: crowd, Latency: sandbox.UniformLatency(5*time.Millisecond, 30*time.Millisecond)}).
		with("CAPILLARY_RATE_PER_MINUTE=2400", "IMAGEPURGE_REQUEST_TIMEOUT=3s", "IMAGEPURGE_SETTLE=14s", "IMAGEPURGE_LEASE=8s")
	ids := everyone(crowd)
	w.api.ScriptKind(ids[0], sandbox.KindDelete, []sandbox.Fault{sandbox.FaultLostAnswer})
	w.api.ScriptKind(ids[1], sandbox.KindDelete, []sandbox.Fault{sandbox.FaultLostRequest})
	batch := w.enqueue(ids)
	worker := w.start("run", "--once")
	w.until("some are purged, others in doubt", func() bool {
		return w.count("SELECT count(*) FROM image_deletion_tasks WHERE state = 'completed'") > 5 && w.count("SELECT count(*) FROM task_images WHERE state = 'unknown'") >= 2
	})
	w.must(2, "batch", "cancel", number(batch)) // no reason
	st := parse[standing](w, w.must(0, "batch", "cancel", number(batch), "--reason", "the wrong list", "-o", "json").out)
	w.wantSilence()
	// A slow machine may have put more calls in doubt than the two that lose theirs.
	inDoubt := make(map[int64]bool)
	for id, rows := range w.images() {
		for _, row := range rows {
			inDoubt[id] = inDoubt[id] || row.State == "unknown"
		}
	}
	maps.DeleteFunc(inDoubt, func(_ int64, doubted bool) bool { return !doubted })
	inDatabase := standing{
		Purged:    w.count("SELECT count(*) FROM image_deletion_tasks WHERE state = 'completed'"),
		Partly:    w.count("SELECT count(*) FROM image_deletion_tasks WHERE state = 'cancelled' AND images_deleted > 0"),
		Untouched: w.count("SELECT count(*) FROM image_deletion_tasks WHERE state = 'cancelled' AND images_deleted = 0"),
		InDoubt:   len(inDoubt),
	}
	if st != inDatabase || st.Untouched == 0 || st.Purged == 0 || st.InDoubt < 2 {
		t.Errorf("the command says %+v, the database %+v", st, inDatabase)
	}
	if e := worker.wait(); e.status != 0 {
		t.Errorf("%s", e)
	}
	w.wantHarmless(true)
	w.wantAtRest()
	partly := st.Partly
	for id, x := range w.tasks(batch) {
		if inDoubt[id] && x.Deleted > 0 {
			partly++
		}
		if gone := 3 - len(w.api.Model().Images(id)); x.Deleted != gone || x.State != "completed" && x.State != "cancelled" {
			t.Errorf("customer %d: %+v, and %d images are gone\n%s", id, x, gone, w.story(id))
		}
	}
	if n := w.count("SELECT count(*) FROM image_deletion_tasks WHERE state = 'cancelled' AND images_deleted > 0"); n != partly || partly == st.Partly {
		t.Errorf("%d partly purged in the end; want %d: those that the command told and those whose answer was lost", n, partly)
	}
	w.must(1, "batch", "cancel", number(batch), "--reason", "again", "--yes")
	w.must(1, "batch", "retry", number(batch), "--reason", "again")
}

func TestRetryAndResolve(t *testing.T) {
	t.Parallel()
	crowd := sandbox.Populate(83, 60, sandbox.PopulateOptions{Merged: 0.1, Images: [6]float64{0, 1, 1}})
	w := newWorld(t, sandbox.Options{Seed: 83, Population: crowd}).with("IMAGEPURGE_MAX_ATTEMPTS=1")
	ids := everyone(crowd)
	var failing []int64
	for _, id := range ids {
		if w.due(id).State == "completed" && len(failing) < 5 {
			failing = append(failing, id)
			w.api.ScriptKind(id, sandbox.KindList, []sandbox.Fault{sandbox.FaultBusy})
		}
	}
	batch := w.enqueue(ids)
	w.must(3, "run", "--once")
	for _, id := range failing {
		if x := w.tasks(batch)[id]; x.came != (came{State: "failed", Outcome: "attempts_exhausted"}) || x.Code != "521" {
			t.Errorf("customer %d: %+v", id, x)
		}
	}
	w.must(2, "batch", "retry", number(batch))
	w.must(0, "batch", "retry", number(batch), "--reason", "the API was down")
	w.must(3, "run", "--once", "--batch", number(batch)) // merged ones are still there
	w.wantTruth(batch, ids)
	merged := w.tasks(batch)
	closed := false
	for id, x := range merged {
		if x.State != "review" {
			continue
		}
		task := number(x.ID)
		w.must(2, "task", "resolve", task, "--reason", "no choice")
		w.must(2, "task", "resolve", task, "--close", "--retry", "--reason", "both")
		w.must(2, "task", "resolve", task, "--close")
		if !closed {
			w.must(0, "task", "resolve", task, "--retry", "--reason", "looked at")
			w.must(3, "run", "--once")
			if again := w.tasks(batch)[id]; again.Outcome != "merged_customer" || again.Calls != 2*x.Calls {
				t.Errorf("customer %d: %+v after a retry", id, again)
			}
		}
		closed = true
		w.must(0, "task", "resolve", task, "--close", "--reason", "purged by hand")
		w.must(1, "task", "resolve", task, "--close", "--reason", "again")
	}
	if n := w.count("SELECT count(*) FROM image_deletion_tasks WHERE state = 'review'"); n != 0 || !closed {
		t.Errorf("%d are left in review", n)
	}
	w.must(0, "run", "--once")
	w.wantHarmless(true)
	if n := w.count("SELECT tasks_completed + tasks_failed * 1000 + tasks_review * 1000 + tasks_cancelled FROM batches WHERE id = $1", batch); n != len(ids) {
		t.Errorf("the batch's counts do not add up: %d", n)
	}
}

func TestRunIsNarrowed(t *testing.T) {
	t.Parallel()
	crowd := present(84, 300, 1)
	w := newWorld(t, sandbox.Options{Seed: 84, Population: crowd})
	ids := everyone(crowd)
	first, second, third := w.enqueue(ids[:100]), w.enqueue(ids[100:200]), w.enqueue(ids[200:])
	finished := func(batch int64) int {
		return w.count("SELECT count(*) FROM image_deletion_tasks WHERE batch_id = $1 AND state = 'completed'", batch)
	}
	// First: after calls at a higher rate, a lower one waits up to a minute. It ends in
	// time if it makes no more calls than that time has slots, and some on top.
	w.until("a run for some seconds ends customers", func() bool {
		before := w.api.Journal().Counters().Requests
		e := w.with("CAPILLARY_RATE_PER_MINUTE=600").must(0, "run", "--once", "--batch", number(third), "--for", "4s")
		n, calls := finished(third), w.api.Journal().Counters().Requests-before
		if n == 100 || e.took < 4*time.Second || calls > 60 {
			t.Errorf("--for 4s took %v, made %d calls and came to %d customers", e.took, calls, n)
		}
		return n > 0
	})
	w.must(0, "run", "--once", "--batch", number(second), "--limit", "10")
	if a, b := finished(first), finished(second); a != 0 || b != 10 {
		t.Errorf("--batch %d --limit 10 ended %d customers of the first batch and %d of the second", second, a, b)
	}
	w.must(0, "run", "--once", "--batch", number(first))
	if a, b := finished(first), finished(second); a != 100 || b != 10 {
		t.Errorf("--batch %d ended %d customers of the first batch and %d of the second", first, a, b)
	}
	w.wantAtRest()
	w.must(1, "run", "--once", "--batch", "4711")
	w.must(0, "run", "--once")
	w.wantTruth(second, ids[100:200])
	w.wantTruth(third, ids[200:])
	w.wantHarmless(true)
	w.wantCalls(first, func(n int) int { return n + 2 })
}
