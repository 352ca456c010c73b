package schedule

import "time"

// Event is what a Stepper is told: Clock or RunEnded.
type Event interface{ event() }

// Clock says that time has passed. A Stepper may be told as often as one
// likes; the first Clock of its life opens a run at once inside an open
// window.
type Clock struct{}

// RunEnded says that the run of a window has no more to do, or was stopped.
// The window isn't used again.
type RunEnded struct{ Window Window }

func (Clock) event()    {}
func (RunEnded) event() {}

// Effect is what a Stepper wants done: OpenRun, CloseRun or WakeAt.
type Effect interface{ effect() }

// OpenRun asks for the run of a window; it may work until ClosesAt.
type OpenRun struct{ Window Window }

// CloseRun asks for the orderly end of a run whose window is over. It isn't
// asked for where RunEnded was told.
type CloseRun struct{ Window Window }

// WakeAt asks for a Clock event at an instant; it replaces the one before.
type WakeAt struct{ At time.Time }

func (OpenRun) effect()  {}
func (CloseRun) effect() {}
func (WakeAt) effect()   {}

// clockSlack is how far the clock may be set back without a meaning: a time
// server's correction, after which a window that has just been opened seems
// to lie ahead.
const clockSlack = 5 * time.Minute

// Stepper holds one plan against the time: a run is opened once in each
// window, at its beginning or as soon after it as anyone looks, and closed
// when the window is over. A window that passed while nobody looked (the
// machine slept) is not made up.
//
// It is single-threaded and has no clock of its own. It remembers the last
// window only: a clock that is set back behind that window's beginning by
// more than a few minutes makes it start afresh, like a process just started,
// for which the database knows whether the window's run is over.
type Stepper struct {
	plan    Plan
	last    Window // the last window that a run was opened in; may be zero
	running bool   // its run hasn't ended
}

// NewStepper returns a Stepper that has seen nothing yet.
func NewStepper(plan Plan) *Stepper {
	return &Stepper{plan: plan}
}

// Step tells of an event and returns what is to be done, in this order: at
// most one CloseRun, at most one OpenRun, and a WakeAt.
func (s *Stepper) Step(now time.Time, event Event) []Effect {
	var effects []Effect

	if ended, ok := event.(RunEnded); ok && ended.Window.OpensAt.Equal(s.last.OpensAt) {
		s.running = false
	}

	setBack := now.Before(s.last.OpensAt.Add(-clockSlack))
	if s.running && (setBack || !now.Before(s.last.ClosesAt)) {
		s.running = false
		effects = append(effects, CloseRun{s.last})
	}
	if setBack {
		s.last = Window{}
	}

	state := s.plan.At(now)
	if state.Open && state.OpenedAt.After(s.last.OpensAt) {
		s.last, s.running = state.Window(), true
		effects = append(effects, OpenRun{s.last})
	}

	if s.running {
		return append(effects, WakeAt{s.last.ClosesAt})
	}
	return append(effects, WakeAt{state.NextOpen})
}

// Running returns the window whose run is open, if one is.
func (s *Stepper) Running() (Window, bool) {
	if !s.running {
		return Window{}, false
	}
	return s.last, true
}
