package main_test

import (
	"syscall"
	"testing"
	"time"

	"github.com/imagepurge/imagepurge/capillary/sandbox"
)

// hanging is a world whose customers answer quickly, but for one whose first
// delete hangs until the caller gives up.
func hanging(t *testing.T, seed uint64, timeout time.Duration) (w *world, ids []int64, batch int64) {
	crowd := present(seed, 400, 3)
	w = newWorld(t, sandbox.Options{Seed: seed, Population: crowd, Latency: sandbox.UniformLatency(5*time.Millisecond, 30*time.Millisecond)}).
		with("IMAGEPURGE_REQUEST_TIMEOUT="+timeout.String(), "IMAGEPURGE_SETTLE="+(timeout+2*time.Second).String(),
			"IMAGEPURGE_LEASE="+(2*timeout+2*time.Second).String(), "CAPILLARY_RATE_PER_MINUTE=3000")
	ids = everyone(crowd)
	w.api.ScriptKind(ids[0], sandbox.KindDelete, []sandbox.Fault{sandbox.FaultHangRan})
	return w, ids, w.enqueue(ids)
}

// unhurried is the same world with a time-out that no busy machine misses: what
// is asked is how it ends, not how fast.
func (w *world) unhurried() *world {
	return w.with("IMAGEPURGE_REQUEST_TIMEOUT=20s", "IMAGEPURGE_SETTLE=20200ms", "IMAGEPURGE_LEASE=44s", "CAPILLARY_RATE_PER_MINUTE=12000")
}

// hangs says whether that delete is under way.
func (w *world) hangs() bool { return w.api.Journal().Counters().Faults[sandbox.FaultHangRan] > 0 }

// wantAtRest checks that a program has left nothing in hand.
func (w *world) wantAtRest() {
	w.Helper()
	if n := w.count("SELECT count(*) FROM task_images WHERE state = 'intended'"); n != 0 {
		w.Errorf("%d images were left intended", n)
	}
	if n := w.count("SELECT count(*) FROM image_deletion_tasks WHERE state = 'running'") + w.count("SELECT count(*) FROM customer_leases WHERE lease_owner IS NOT NULL"); n != 0 {
		w.Errorf("%d leases were not given back", n)
	}
}

func TestFirstSignalStopsInOrder(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		signal syscall.Signal
		status int
	}{"SIGTERM": {syscall.SIGTERM, 143}, "SIGINT": {syscall.SIGINT, 130}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, ids, batch := hanging(t, 41, 3*time.Second)
			p := w.start("run", "--once")
			w.until("a delete hangs", w.hangs)
			p.signal(c.signal)
			told := time.Now()
			e := p.wait()
			if e.status != c.status {
				t.Fatalf("ended %v after the signal: %s", time.Since(told), e)
			}
			w.wantAtRest()
			late := 0
			for _, d := range w.deletes() {
				if d.ReceivedAt.After(told) {
					late++
				}
			}
			if late > 25 { // of half a second
				t.Errorf("%d deletes were sent after the signal", late)
			}
			// The call under way was waited for, and what became of it is written down.
			if n := w.count("SELECT count(*) FROM task_images i JOIN image_deletion_tasks t ON t.id = i.task_id WHERE i.state = 'unknown' AND t.customer_id = $1", ids[0]); n != 1 {
				t.Errorf("%d unknown images of the customer whose delete hung", n)
			}
			if n := w.count("SELECT count(*) FROM task_images WHERE state = 'unknown'"); n != 1 {
				t.Errorf("%d unknown images in all: answers were not waited for", n)
			}
			if len(w.deletes()) > 900 {
				t.Fatal("nearly all was done before the signal: nothing is shown")
			}
			w.unhurried().must(0, "run", "--once")
			w.wantTruth(batch, ids)
			w.wantHarmless(true)
		})
	}
}

func TestSecondSignalStopsAtOnce(t *testing.T) {
	t.Parallel()
	w, ids, batch := hanging(t, 42, 10*time.Second)
	p := w.start("run", "--once")
	w.until("a delete hangs", w.hangs)
	p.signal(syscall.SIGTERM)
	// Both signals at once would be one: the first has been seen when no more
	// deletes come.
	seen := -1
	w.until("the first signal is seen", func() bool {
		n := len(w.deletes())
		after(t, 200*time.Millisecond)
		same := n == seen
		seen = n
		return same
	})
	p.signal(syscall.SIGTERM)
	if e := p.wait(); e.status != 143 {
		t.Errorf("%s", e)
	}
	// Not even the answer under way was waited for: nobody wrote down what came of it.
	if n := w.count("SELECT count(*) FROM task_images i JOIN image_deletion_tasks t ON t.id = i.task_id WHERE i.state = 'intended' AND t.customer_id = $1", ids[0]); n != 1 {
		t.Errorf("%d intended images of the customer whose delete hung: %s", n, p)
	}
	w.unhurried().must(0, "run", "--once")
	w.wantTruth(batch, ids)
	w.wantHarmless(true)
	w.wantAtRest()
}

func TestFrozenWorkerDoesNoHarm(t *testing.T) {
	t.Parallel()
	crowd := present(43, 120, 5)
	w := newWorld(t, sandbox.Options{Seed: 43, Population: crowd, Latency: sandbox.UniformLatency(5*time.Millisecond, 40*time.Millisecond)}).
		quick().with("CAPILLARY_RATE_PER_MINUTE=3000", "IMAGEPURGE_REQUEST_TIMEOUT=3s", "IMAGEPURGE_SETTLE=5s", "IMAGEPURGE_LEASE=8s")
	w.must(0, "migrate")
	ids := everyone(crowd)
	for _, id := range ids { // images of which some must stay show a delete that hits another one
		w.exec("INSERT INTO image_deletion_tasks (customer_id, image_tokens) VALUES ($1, $2)", id, w.tokens(id, 0, 2, 3))
	}
	frozen := w.start("run", "--once")
	w.until("deletes are under way", func() bool { return len(w.deletes()) > 40 })
	frozen.signal(syscall.SIGSTOP)
	stopped := len(w.deletes())
	other := w.start("run", "--once")
	w.until("the other worker has taken over tasks of the frozen one", func() bool {
		return w.count("SELECT count(*) FROM image_deletion_tasks WHERE lease_epoch > 1") > 3
	})
	frozen.signal(syscall.SIGCONT)
	frozen.wait()
	other.wait()
	w.toTheEnd()
	if stopped > 300 {
		t.Fatal("nearly all was done before the freeze: nothing is shown")
	}
	for id, x := range w.tasks(0) {
		if (x.came != came{"completed", "images_deleted", 3, 3}) || len(w.api.Model().Images(id)) != 2 {
			t.Errorf("customer %d: %+v, %d images left\n%s", id, x, len(w.api.Model().Images(id)), w.story(id))
		}
	}
	w.wantHarmless(true)
	w.wantAtRest()
}
