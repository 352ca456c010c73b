package schedule_test

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/imagepurge/imagepurge/jobs/schedule"
)

// record is the table of runs: no two have an instant in common.
type record struct{ runs []schedule.Window }

// newest is the last run that began up to an instant.
func (r *record) newest(now time.Time) (last schedule.Window) {
	for _, run := range r.runs {
		if !run.OpensAt.After(now) && run.OpensAt.After(last.OpensAt) {
			last = run
		}
	}
	return last
}

func (r *record) make(w schedule.Window) {
	if !slices.ContainsFunc(r.runs, w.Overlaps) {
		r.runs = append(r.runs, w)
	}
}

// tell steps with what is on record, and answers MakeRun.
func (r *record) tell(s *schedule.Stepper, now time.Time, event schedule.Event) (done []schedule.Effect) {
	if _, ok := event.(schedule.Clock); ok {
		event = schedule.Clock{Run: r.newest(now)}
	}
	for _, e := range s.Step(now, event) {
		make, ok := e.(schedule.MakeRun)
		if !ok {
			done = append(done, e)
			continue
		}
		r.make(make.Window)
		return append(done, s.Step(now, schedule.Made{Run: r.newest(now)})...)
	}
	return done
}

// A story is a list of steps told to one Stepper.
type storyStep struct {
	now   string
	event schedule.Event
	want  []schedule.Effect
}

func TestStepper(t *testing.T) {
	first := window(t, "2025-01-15T01:00:00Z", "2025-01-15T06:00:00Z")
	second := window(t, "2025-01-16T01:00:00Z", "2025-01-16T06:00:00Z")
	third := window(t, "2025-01-17T01:00:00Z", "2025-01-17T06:00:00Z")
	wake := func(at time.Time) schedule.Effect { return schedule.WakeAt{At: at} }
	open := func(w schedule.Window) schedule.Effect { return schedule.OpenRun{Run: w} }
	shut := func(w schedule.Window) schedule.Effect { return schedule.CloseRun{Run: w} }
	does := func(effects ...schedule.Effect) []schedule.Effect { return effects }

	for _, c := range []struct {
		name  string
		steps []storyStep
	}{
		{"a night", []storyStep{
			{"2025-01-14T20:00:00Z", schedule.Clock{}, does(wake(first.OpensAt))},
			{"2025-01-15T00:59:59.999Z", schedule.Clock{}, does(wake(first.OpensAt))},
			{"2025-01-15T01:00:00Z", schedule.Clock{}, does(open(first), wake(first.ClosesAt))},
			{"2025-01-15T03:00:00Z", schedule.Clock{}, does(wake(first.ClosesAt))},
			{"2025-01-15T06:00:00Z", schedule.Clock{}, does(shut(first), wake(second.OpensAt))},
			{"2025-01-15T06:00:01Z", schedule.RunEnded{Run: first}, does(wake(second.OpensAt))},
			{"2025-01-16T01:00:00Z", schedule.Clock{}, does(open(second), wake(second.ClosesAt))},
		}},
		{"started inside an open window it works at once", []storyStep{
			{"2025-01-15T05:59:00Z", schedule.Clock{}, does(open(first), wake(first.ClosesAt))},
		}},
		{"a run that has ended isn't opened again in its window, nor closed", []storyStep{
			{"2025-01-15T01:00:00Z", schedule.Clock{}, does(open(first), wake(first.ClosesAt))},
			{"2025-01-15T02:00:00Z", schedule.RunEnded{Run: first}, does(wake(second.OpensAt))},
			{"2025-01-15T02:00:01Z", schedule.Clock{}, does(wake(second.OpensAt))},
			{"2025-01-15T06:00:00Z", schedule.Clock{}, does(wake(second.OpensAt))},
			{"2025-01-16T01:00:00Z", schedule.Clock{}, does(open(second), wake(second.ClosesAt))},
		}},
		{"an end that comes late doesn't end the next run", []storyStep{
			{"2025-01-15T01:00:00Z", schedule.Clock{}, does(open(first), wake(first.ClosesAt))},
			{"2025-01-15T06:00:00Z", schedule.Clock{}, does(shut(first), wake(second.OpensAt))},
			{"2025-01-16T01:00:00Z", schedule.Clock{}, does(open(second), wake(second.ClosesAt))},
			{"2025-01-16T01:00:01Z", schedule.RunEnded{Run: first}, does(wake(second.ClosesAt))},
			{"2025-01-16T06:00:00Z", schedule.Clock{}, does(shut(second), wake(third.OpensAt))},
		}},
		{"an end tells the time as well", []storyStep{
			{"2025-01-15T01:00:00Z", schedule.Clock{}, does(open(first), wake(first.ClosesAt))},
			{"2025-01-16T01:30:00Z", schedule.RunEnded{Run: first}, does(open(second), wake(second.ClosesAt))},
		}},
		{"the machine slept over the tick: caught up while the window is open", []storyStep{
			{"2025-01-14T20:00:00Z", schedule.Clock{}, does(wake(first.OpensAt))},
			{"2025-01-15T04:30:00Z", schedule.Clock{}, does(open(first), wake(first.ClosesAt))},
		}},
		{"it slept over a whole window: nothing is made up", []storyStep{
			{"2025-01-14T20:00:00Z", schedule.Clock{}, does(wake(first.OpensAt))},
			{"2025-01-15T06:00:00Z", schedule.Clock{}, does(wake(second.OpensAt))},
		}},
		{"it slept from one window into the day after the next", []storyStep{
			{"2025-01-15T02:00:00Z", schedule.Clock{}, does(open(first), wake(first.ClosesAt))},
			{"2025-01-17T02:00:00Z", schedule.Clock{}, does(shut(first), open(third), wake(third.ClosesAt))},
		}},
		{"the clock goes back a few seconds over the beginning", []storyStep{
			{"2025-01-15T01:00:00Z", schedule.Clock{}, does(open(first), wake(first.ClosesAt))},
			{"2025-01-15T00:59:57Z", schedule.Clock{}, does(wake(first.ClosesAt))},
			{"2025-01-15T01:00:00Z", schedule.Clock{}, does(wake(first.ClosesAt))},
		}},
		{"and over the end", []storyStep{
			{"2025-01-15T01:00:00Z", schedule.Clock{}, does(open(first), wake(first.ClosesAt))},
			{"2025-01-15T06:00:00Z", schedule.Clock{}, does(shut(first), wake(second.OpensAt))},
			{"2025-01-15T05:59:57Z", schedule.Clock{}, does(wake(second.OpensAt))},
			{"2025-01-15T06:00:00Z", schedule.Clock{}, does(wake(second.OpensAt))},
		}},
		{"a clock that was days ahead starts afresh", []storyStep{
			{"2025-01-17T02:00:00Z", schedule.Clock{}, does(open(third), wake(third.ClosesAt))},
			{"2025-01-15T02:00:00Z", schedule.Clock{}, does(shut(third), open(first), wake(first.ClosesAt))},
			{"2025-01-17T01:00:00Z", schedule.Clock{}, does(shut(first), open(third), wake(third.ClosesAt))},
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			stepper, runs := schedule.NewStepper(schedule.Of(parse(t, "0 1 * * *", "5h", "UTC"))), &record{}
			for _, step := range c.steps {
				got := runs.tell(stepper, instant(t, step.now), step.event)
				if diff := cmp.Diff(step.want, got); diff != "" {
					t.Fatalf("%T at %s (-want +got):\n%s", step.event, step.now, diff)
				}
			}
		})
	}
}

func TestStepperWithWindowsThatTouch(t *testing.T) {
	stepper, runs := schedule.NewStepper(schedule.Of(parse(t, "@hourly", "1h", "UTC"))), &record{}
	one := window(t, "2025-01-15T01:00:00Z", "2025-01-15T02:00:00Z")
	two := window(t, "2025-01-15T02:00:00Z", "2025-01-15T03:00:00Z")
	for _, step := range []storyStep{
		{"2025-01-15T01:00:00Z", schedule.Clock{}, []schedule.Effect{schedule.OpenRun{Run: one}, schedule.WakeAt{At: one.ClosesAt}}},
		{"2025-01-15T02:00:00Z", schedule.Clock{}, []schedule.Effect{schedule.CloseRun{Run: one}, schedule.OpenRun{Run: two}, schedule.WakeAt{At: two.ClosesAt}}},
		{"2025-01-15T01:59:58Z", schedule.Clock{}, []schedule.Effect{schedule.WakeAt{At: two.ClosesAt}}},
	} {
		if diff := cmp.Diff(step.want, runs.tell(stepper, instant(t, step.now), step.event)); diff != "" {
			t.Fatalf("at %s (-want +got):\n%s", step.now, diff)
		}
	}
	if got, ok := stepper.Running(); !ok || got != two {
		t.Errorf("got %v, %v running, want %v", got, ok, two)
	}
	stepper.Step(instant(t, "2025-01-15T02:30:00Z"), schedule.RunEnded{Run: two})
	if got, ok := stepper.Running(); ok {
		t.Errorf("got %v running after its end", got)
	}
}
