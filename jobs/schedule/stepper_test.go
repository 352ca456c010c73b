package schedule_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/imagepurge/imagepurge/jobs/schedule"
)

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
	open := func(w schedule.Window) schedule.Effect { return schedule.OpenRun{Window: w} }
	shut := func(w schedule.Window) schedule.Effect { return schedule.CloseRun{Window: w} }
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
			{"2025-01-15T06:00:01Z", schedule.RunEnded{Window: first}, does(wake(second.OpensAt))},
			{"2025-01-16T01:00:00Z", schedule.Clock{}, does(open(second), wake(second.ClosesAt))},
		}},
		{"started inside an open window it works at once", []storyStep{
			{"2025-01-15T05:59:00Z", schedule.Clock{}, does(open(first), wake(first.ClosesAt))},
		}},
		{"a run that has ended isn't opened again in its window, nor closed", []storyStep{
			{"2025-01-15T01:00:00Z", schedule.Clock{}, does(open(first), wake(first.ClosesAt))},
			{"2025-01-15T02:00:00Z", schedule.RunEnded{Window: first}, does(wake(second.OpensAt))},
			{"2025-01-15T02:00:01Z", schedule.Clock{}, does(wake(second.OpensAt))},
			{"2025-01-15T06:00:00Z", schedule.Clock{}, does(wake(second.OpensAt))},
			{"2025-01-16T01:00:00Z", schedule.Clock{}, does(open(second), wake(second.ClosesAt))},
		}},
		{"an end that comes late doesn't end the next run", []storyStep{
			{"2025-01-15T01:00:00Z", schedule.Clock{}, does(open(first), wake(first.ClosesAt))},
			{"2025-01-15T06:00:00Z", schedule.Clock{}, does(shut(first), wake(second.OpensAt))},
			{"2025-01-16T01:00:00Z", schedule.Clock{}, does(open(second), wake(second.ClosesAt))},
			{"2025-01-16T01:00:01Z", schedule.RunEnded{Window: first}, does(wake(second.ClosesAt))},
			{"2025-01-16T06:00:00Z", schedule.Clock{}, does(shut(second), wake(third.OpensAt))},
		}},
		{"an end tells the time as well", []storyStep{
			{"2025-01-15T01:00:00Z", schedule.Clock{}, does(open(first), wake(first.ClosesAt))},
			{"2025-01-16T01:30:00Z", schedule.RunEnded{Window: first}, does(open(second), wake(second.ClosesAt))},
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
			stepper := schedule.NewStepper(parse(t, "0 1 * * *", "5h", "UTC"))
			for _, step := range c.steps {
				got := stepper.Step(instant(t, step.now), step.event)
				if diff := cmp.Diff(step.want, got); diff != "" {
					t.Fatalf("%T at %s (-want +got):\n%s", step.event, step.now, diff)
				}
			}
		})
	}
}

func TestStepperWithWindowsThatTouch(t *testing.T) {
	stepper := schedule.NewStepper(parse(t, "@hourly", "1h", "UTC"))
	one := window(t, "2025-01-15T01:00:00Z", "2025-01-15T02:00:00Z")
	two := window(t, "2025-01-15T02:00:00Z", "2025-01-15T03:00:00Z")
	for _, step := range []storyStep{
		{"2025-01-15T01:00:00Z", schedule.Clock{}, []schedule.Effect{schedule.OpenRun{Window: one}, schedule.WakeAt{At: one.ClosesAt}}},
		{"2025-01-15T02:00:00Z", schedule.Clock{}, []schedule.Effect{schedule.CloseRun{Window: one}, schedule.OpenRun{Window: two}, schedule.WakeAt{At: two.ClosesAt}}},
		{"2025-01-15T01:59:58Z", schedule.Clock{}, []schedule.Effect{schedule.WakeAt{At: two.ClosesAt}}},
	} {
		if diff := cmp.Diff(step.want, stepper.Step(instant(t, step.now), step.event)); diff != "" {
			t.Fatalf("at %s (-want +got):\n%s", step.now, diff)
		}
	}
	if got, ok := stepper.Running(); !ok || got != two {
		t.Errorf("got %v, %v running, want %v", got, ok, two)
	}
	stepper.Step(instant(t, "2025-01-15T02:30:00Z"), schedule.RunEnded{Window: two})
	if got, ok := stepper.Running(); ok {
		t.Errorf("got %v running after its end", got)
	}
}

// Whatever a clock that goes forward does, and whenever runs end: a run is
// open exactly inside windows, each window has one at most, and one that is
// looked into has one.
func TestStepperKeepsToTheWindows(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		plan := drawPlan(t)
		stepper := schedule.NewStepper(plan)
		now := drawInstant(t, plan.Zone())
		opened := map[time.Time]bool{}
		var open, ended schedule.Window
		for range rapid.IntRange(1, 20).Draw(t, "steps") {
			var event schedule.Event = schedule.Clock{}
			if rapid.IntRange(0, 4).Draw(t, "event") == 0 && open != (schedule.Window{}) {
				event, ended, open = schedule.RunEnded{Window: open}, open, schedule.Window{}
			}
			effects := stepper.Step(now, event)
			for _, effect := range effects[:len(effects)-1] {
				switch effect := effect.(type) {
				case schedule.CloseRun:
					if effect.Window != open {
						t.Fatalf("%v: closed %v, while %v was open", plan, effect.Window, open)
					}
					open = schedule.Window{}
				case schedule.OpenRun:
					if open != (schedule.Window{}) || opened[effect.Window.OpensAt] {
						t.Fatalf("%v: opened %v, which had been, or while %v was open", plan, effect.Window, open)
					}
					open = effect.Window
					opened[open.OpensAt] = true
				}
			}
			due := plan.At(now).Window()
			if due == ended {
				due = schedule.Window{}
			}
			if open != due {
				t.Fatalf("%v at %v: the run of %v is open, want %v", plan, now, open, due)
			}
			wake := effects[len(effects)-1].(schedule.WakeAt).At
			if !wake.After(now) {
				t.Fatalf("%v at %v: wakes at %v, want it later", plan, now, wake)
			}
			if between := now.Add(wake.Sub(now) - 1); open != (schedule.Window{}) && !open.Contains(between) {
				t.Fatalf("%v at %v: wakes at %v, after the end of %v", plan, now, wake, open)
			}
			if rapid.Bool().Draw(t, "wakes") {
				now = wake
			} else {
				now = now.Add(time.Duration(rapid.Int64Range(0, int64(36*time.Hour)).Draw(t, "passes")))
			}
		}
	})
}
