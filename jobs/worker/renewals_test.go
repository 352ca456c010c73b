package worker_test

import (
	"slices"
	"testing"
	"time"

	"github.com/imagepurge/imagepurge/jobs"
	"github.com/imagepurge/imagepurge/jobs/purge"
	"github.com/imagepurge/imagepurge/jobs/worker"
)

// renewals says when leases were renewed, since the beginning.
func (w *world) renewals() (at []time.Duration) {
	for _, r := range w.renewed {
		at = append(at, r.at.Sub(w.began).Round(100*time.Millisecond))
	}
	return at
}

// A lease is renewed when a third of it has passed, unless a write has prolonged it in
// the last sixth.
func TestWhenLeasesAreRenewed(t *testing.T) {
	t.Parallel()
	s := time.Second
	for _, c := range []struct {
		takes  time.Duration // a call, under leases of a minute
		images int
		want   []time.Duration
	}{{65 * s, 0, []time.Duration{20 * s, 40 * s, 60 * s}}, {15 * s, 1, []time.Duration{30 * s}}} {
		w := newWorld(t, 1, testConfig(), c.images)
		w.takes = func(jobs.TaskID, jobs.Kind) time.Duration { return c.takes }
		w.run(4 * time.Minute)
		w.wantStates(map[jobs.State]int{jobs.Completed: 1})
		if got := w.renewals(); !slices.Equal(got, c.want) {
			t.Errorf("calls of %v: renewed after %v, want %v", c.takes, got, c.want)
		}
	}
}

// A database that is away is asked again after two seconds, or a twelfth of the lease.
func TestARenewalThatFailsIsTriedAgain(t *testing.T) {
	t.Parallel()
	for lease, gap := range map[time.Duration]time.Duration{time.Minute: 2 * time.Second, 18 * time.Second: 1500 * time.Millisecond} {
		w := newWorld(t, 1, testConfig(), 0)
		w.cfg.Claim.Lease = lease
		w.core = worker.NewCore(w.cfg)
		w.takes = func(jobs.TaskID, jobs.Kind) time.Duration { return lease/2 + 3*time.Second }
		w.at(lease/6, func() { w.down = true })
		w.at(lease/3+2*gap+gap/2, func() { w.down = false })
		w.run(4 * time.Minute)
		w.wantStates(map[jobs.State]int{jobs.Completed: 1})
		got := w.renewals()
		if len(got) < 4 || got[0] != lease/3 || got[1]-got[0] != gap || got[2]-got[1] != gap {
			t.Errorf("lease of %v: renewed after %v", lease, got)
		}
	}
}

// leased is a core that has two customers: one is being listed, the other waits.
func leased(t *testing.T) *world {
	t.Helper()
	w := hand(t, 0, 0)
	w.told(w.records(2))
	want[worker.ListImages](t, w.told(w.slots(1)))
	w.now = w.now.Add(20 * time.Second)
	return w
}

// A lease that is lost is given back at once where its customer waits for a slot: there
// may be something that is not written down. Where a call is under way its answer comes
// first.
func TestALeaseThatIsNotKept(t *testing.T) {
	t.Parallel()
	w := leased(t)
	asked := want[worker.RenewLeases](t, w.told(worker.Tick{})).Leases
	if !slices.Equal(asked, []purge.Lease{{Task: 1, Epoch: 1}, {Task: 2, Epoch: 1}}) {
		t.Errorf("asked for %v", asked)
	}
	if again, ok := first[worker.RenewLeases](w.told(worker.Tick{})); ok {
		t.Errorf("asked again: %v", again)
	}
	old := purge.Lease{Task: 2, Epoch: 0} // of a claim before
	if back, ok := written(w.told(worker.Renewed{Asked: []purge.Lease{old}}), 2); ok {
		t.Errorf("%+v", back)
	}
	effects := w.told(worker.Renewed{Asked: append(asked, purge.Lease{Task: 9, Epoch: 1})})
	if back, ok := written(effects, 2); !ok || back.Kind != purge.WriteGiveBack || back.Waiting != "" {
		t.Errorf("%v", effects)
	}
	if back, ok := written(effects, 1); ok {
		t.Errorf("%+v", back)
	}
	if end, ok := written(w.answered(1, jobs.ListCall, none), 1); !ok || end.Kind != purge.WriteFinish {
		t.Errorf("%+v", end)
	}
}

// One that is kept is as good as new.
func TestALeaseThatIsKept(t *testing.T) {
	t.Parallel()
	w := leased(t)
	asked := want[worker.RenewLeases](t, w.told(worker.Tick{})).Leases
	w.told(worker.Renewed{Asked: asked, Kept: []jobs.TaskID{1, 2}})
	for _, wait := range []time.Duration{9 * time.Second, time.Second} {
		w.now = w.now.Add(wait)
		again, ok := first[worker.RenewLeases](w.told(worker.Tick{}))
		if ok != (wait == time.Second) || ok && len(again.Leases) != 2 {
			t.Errorf("asked again: %v", again)
		}
	}
}
