package worker_test

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/imagepurge/imagepurge/jobs"
	"github.com/imagepurge/imagepurge/jobs/purge"
	"github.com/imagepurge/imagepurge/jobs/worker"
)

// The key is told of a 429 until it knows, with how long ago its call was sent.
func TestTheKeyIsToldOfA429UntilItKnows(t *testing.T) {
	bubble(t, testConfig(), many(30), func(s *shell) {
		s.learnt.New, s.learnt.Accepts = true, 321.4
		var met time.Time
		s.answer = func(jobs.TaskID, jobs.Kind) *jobs.Answer {
			if s.calls != 9 {
				return nil
			}
			met = time.Now()
			return &jobs.Answer{Class: jobs.ClassOverLimit, HTTPStatus: 429, Code: "429", RetryAfter: 2 * time.Second}
		}
		s.on = func(_ context.Context, name string) error {
			if name == "NoteOverLimit" && len(s.sent(name)) < 8 {
				return errDown
			}
			return nil
		}
		end, stats := s.work()
		s.wantStates(map[jobs.State]int{jobs.Completed: 30})
		if end != worker.NothingLeft || stats.OverLimit != 1 {
			s.Errorf("%s, %d 429s", end, stats.OverLimit)
		}
		var after []time.Duration
		for _, n := range s.sent("NoteOverLimit") {
			after = append(after, n.at-met.Sub(s.began))
			if want := n.at - met.Sub(s.began) + 300*time.Millisecond; n.age != want {
				s.Errorf("told that it was sent %v ago, which was %v", n.age, want)
			}
		}
		ms := time.Millisecond
		if want := []time.Duration{0, 100 * ms, 300 * ms, 700 * ms, 1500 * ms, 3100 * ms, 6300 * ms, 11300 * ms}; !slices.Equal(after, want) {
			s.Errorf("told after %v, want %v", after, want)
		}
		if n := s.log.count("level=WARN", "(429)", "wait=2s", "calls_per_minute=540", "configured=600"); n != 1 {
			s.Errorf("said %d times:\n%s", n, s.log.text.String())
		}
		// By this 429, and by the pace's steps.
		if n := s.log.count("level=WARN", "accepts fewer calls", "accepts_about=321", "configured=600", "calls_per_minute=540"); n == 0 {
			s.Errorf("said %d times what the key has learnt:\n%s", n, s.log.text.String())
		}
	})
}

func TestAKillEndsTellingTheKey(t *testing.T) {
	bubble(t, testConfig(), []int{0}, func(s *shell) {
		s.answer = func(jobs.TaskID, jobs.Kind) *jobs.Answer {
			return &jobs.Answer{Class: jobs.ClassOverLimit, HTTPStatus: 429, Code: "429", RetryAfter: time.Minute}
		}
		s.on = func(_ context.Context, name string) error {
			if name == "NoteOverLimit" {
				return errDown
			}
			return nil
		}
		ctx, cancel := context.WithTimeout(s.Context(), 10*time.Second)
		defer cancel()
		if _, _, err := worker.New(s.Options).Run(ctx, s.stop); err == nil || time.Since(s.began) != 10*time.Second {
			s.Errorf("%v after %v", err, time.Since(s.began))
		}
	})
}

// The pace is looked at when the key's row says that it is due; where that fails it is
// due again.
func TestThePaceIsStepped(t *testing.T) {
	cfg := testConfig()
	cfg.Budget.PerMinute = 100
	images := make([]int, 40)
	for i := range images {
		images[i] = 5
	}
	bubble(t, cfg, images, func(s *shell) {
		s.on = func(_ context.Context, name string) error {
			if name == "StepPace" && len(s.sent(name)) == 1 {
				return errDown
			}
			return nil
		}
		s.work()
		steps := s.sent("StepPace")
		if len(steps) < 3 || len(steps) > 5 || steps[1].at-steps[0].at > 10*time.Second || steps[2].at-steps[1].at < time.Minute {
			s.Errorf("stepped %d times, in %v", len(steps), time.Since(s.began))
		}
		if s.log.count("accepts fewer") > 0 {
			s.Error(s.log.text.String())
		}
	})
}

// A person's pause is told with the slots: what is in hand is given back at once, and
// nothing is claimed for a second.
func TestAPauseGivesEverythingBack(t *testing.T) {
	t.Parallel()
	w := hand(t, 0, 0)
	w.told(w.records(1))
	want[worker.ListImages](t, w.told(w.slots(1)))
	w.told(w.records(1))
	w.told(worker.ClaimEnded{})
	w.now = w.now.Add(time.Second / 2)
	stopped := w.slots(0)
	stopped.Block.Stopped = true
	effects := w.told(stopped)
	if back, ok := written(effects, 2); !ok || back.Kind != purge.WriteGiveBack || back.Waiting != "" {
		t.Errorf("%v", effects)
	} else {
		w.commit(back)
	}
	if end, ok := written(w.answered(1, jobs.ListCall, none), 1); !ok || end.Outcome != jobs.NoImages {
		t.Errorf("%+v", end)
	} else {
		w.commit(end)
	}
	if got := w.claimsAfter(); got != time.Second {
		t.Errorf("it claims after %v", got)
	}
}

func TestThePaceIsSteppedOnlyWhereItIsDue(t *testing.T) {
	t.Parallel()
	for _, due := range []bool{true, false} {
		w := hand(t, 0)
		w.told(w.records(1))
		ev := w.slots(1)
		ev.Block.StepDue = due
		if _, ok := first[worker.StepPace](w.told(ev)); ok != due {
			t.Errorf("due: %v, stepped: %v", due, ok)
		}
	}
}

// What new listings will cost in deletes is learnt from new listings alone.
func TestTheCostOfAListingIsLearntFromNewOnes(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		images int
		cost   float64 // 5 is assumed, and each listing weighs a sixteenth
	}{{5, 5}, {1, 4.75}} {
		w := newWorld(t, 1, testConfig(), c.images)
		w.run(time.Minute)
		if got := w.asked.Cost; got != c.cost {
			t.Errorf("after a customer with %d images a listing costs %v deletes, want %v", c.images, got, c.cost)
		}
	}
}

// A DELETE that leaves late, for its intent took so long to commit, costs the next slot
// at once, not only when it is answered.
func TestADeleteThatLeavesLatePays(t *testing.T) {
	t.Parallel()
	for took, slots := range map[time.Duration]int{150 * time.Millisecond: 1, 250 * time.Millisecond: 2} {
		w := intending(t)
		w.told(w.records(1)) // who waits for a slot
		w.now = w.now.Add(took)
		effects := w.commit(w.intent)
		want[worker.DeleteImage](t, effects)
		ask, ok := first[worker.ReserveSlots](effects)
		if !ok {
			ask = want[worker.ReserveSlots](t, w.told(w.slots(0)))
		}
		if ask.Ask.Slots != slots {
			t.Errorf("left %v late: asks for %+v", took, ask.Ask)
		}
	}
}

// The DELETE of a task that is taken back is still under way.
func TestADeleteOfATaskThatWasTakenBackStillCounts(t *testing.T) {
	t.Parallel()
	w := deleting(t)
	w.now = w.now.Add(2 * time.Minute)
	w.told(worker.ClaimEnded{Records: w.claim(w.one())})
	if got := w.core.Stats().InFlight; got != 1 {
		t.Errorf("%d calls in flight", got)
	}
}

// deleting is a core whose first DELETE is under way.
func deleting(t *testing.T) *world {
	t.Helper()
	w := intending(t)
	want[worker.DeleteImage](t, w.commit(w.intent))
	return w
}

// intending is a core whose first intent is under way.
func intending(t *testing.T) *world {
	t.Helper()
	w := hand(t, 1, 0)
	w.told(w.records(1))
	want[worker.ListImages](t, w.told(w.slots(1)))
	pin := want[worker.PinOrganization](t, w.answered(1, jobs.ListCall, w.list(&w.ours, 1)))
	save, _ := written(w.told(worker.OrganizationPinned{Number: pin.Number}), 1)
	w.commit(save)
	w.now = w.now.Add(100 * time.Millisecond)
	w.intent = want[worker.WriteTask](t, w.told(w.slots(1))).Write
	return w
}
