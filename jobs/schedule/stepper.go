package schedule

import "time"

// Event is what a Stepper is told: Clock, Made or RunEnded.
type Event interface{ event() }

// Clock says that time has passed, and which run is the newest that began up to
// now; zero: there is none. A Stepper may be told as often as one likes.
type Clock struct{ Run Window }

// Made answers MakeRun, with the same run as a Clock would have. It is the one that
// was asked for, or one that was in its way, or an older one: then the window
// doesn't open before somebody asks again.
type Made struct{ Run Window }

// RunEnded says that the work on a run has ended in this process. It isn't taken
// up again.
type RunEnded struct{ Run Window }

func (Clock) event()    {}
func (Made) event()     {}
func (RunEnded) event() {}

// Effect is what a Stepper wants done: CloseRun, OpenRun, MakeRun or WakeAt.
type Effect interface{ effect() }

// MakeRun asks for a row for the run of a window, unless one is there or in its
// way, and for Made.
type MakeRun struct{ Window Window }

// OpenRun asks for work on a run; it may go on until ClosesAt.
type OpenRun struct{ Run Window }

// CloseRun asks for the orderly end of the work on a run that is over. It isn't
// asked for where RunEnded was told.
type CloseRun struct{ Run Window }

// WakeAt asks for a Clock event at an instant; it replaces the one before.
type WakeAt struct{ At time.Time }

func (MakeRun) effect()  {}
func (OpenRun) effect()  {}
func (CloseRun) effect() {}
func (WakeAt) effect()   {}

// clockSlack is how far the clock may be set back without a meaning: a time
// server's correction, after which a run that has just been opened seems to lie
// ahead.
const clockSlack = 5 * time.Minute

// Stepper holds one worker to its calendar and to the runs on record. A run is
// asked for once its window is open, or as soon after it as anyone looks; the
// worker works on whatever run is open, its own or another's, once; and it stops
// when the run is over. A window that passed while nobody looked is not made up.
//
// It is single-threaded and has no clock of its own: the time is the database's,
// so that all workers mean the same. It remembers the last run only: a clock that
// is set back behind that run's beginning by more than a few minutes makes it start
// afresh, like a process just started.
type Stepper struct {
	calendar Calendar
	newest   Window // the newest run on record, as far as was told
	last     Window // the last run that was worked on; may be zero
	running  bool   // it still is
}

// NewStepper returns a Stepper that has seen nothing yet.
func NewStepper(calendar Calendar) *Stepper {
	return &Stepper{calendar: calendar}
}

// Use takes another calendar. The open run stays as it is.
func (s *Stepper) Use(calendar Calendar) { s.calendar = calendar }

// Step tells of an event and returns what is to be done, in this order: at most
// one CloseRun, at most one OpenRun or MakeRun, and a WakeAt.
func (s *Stepper) Step(now time.Time, event Event) []Effect {
	var effects []Effect
	switch event := event.(type) {
	case Clock:
		s.newest = event.Run
	case Made:
		s.newest = event.Run
	case RunEnded:
		if event.Run.OpensAt.Equal(s.last.OpensAt) {
			s.running = false
		}
	}

	setBack := now.Before(s.last.OpensAt.Add(-clockSlack))
	if s.running && (setBack || !now.Before(s.last.ClosesAt)) {
		s.running = false
		effects = append(effects, CloseRun{s.last})
	}
	if setBack {
		s.last = Window{}
	}

	standing := s.calendar.Standing(s.newest, now)
	_, answered := event.(Made)
	switch {
	case s.running:
	case standing.Run.OpensAt.After(s.last.OpensAt):
		s.last, s.running = standing.Run, true
		effects = append(effects, OpenRun{s.last})
	case standing.Due.OpensAt.After(s.last.OpensAt) && !answered:
		effects = append(effects, MakeRun{standing.Due})
	}

	if s.running {
		return append(effects, WakeAt{s.last.ClosesAt})
	}
	return append(effects, WakeAt{standing.NextOpen})
}

// Running returns the run that is worked on, if one is.
func (s *Stepper) Running() (Window, bool) {
	if !s.running {
		return Window{}, false
	}
	return s.last, true
}
