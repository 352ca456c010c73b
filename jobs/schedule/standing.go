package schedule

import "time"

// Standing is how an organisation stands at an instant: its calendar, and the runs
// that are on record.
type Standing struct {
	Run      Window    // the open run; zero: none is
	Due      Window    // the window whose run is to be made now; zero: none is
	NextOpen time.Time // when the next window opens that doesn't join a run
}

// Standing compares the calendar with the newest run that began up to now (zero:
// there was none).
//
// A run stands as it was made: until its end it decides, whatever the calendar says
// by then. A window that has an instant in common with it joins it, also one that
// goes on after its end: a change of the schedule never adds a run to a night. So
// of two workers with two calendars both come to the same runs.
func (c Calendar) Standing(run Window, now time.Time) Standing {
	var s Standing
	if run.Contains(now) {
		s.Run = run
	}
	for w := range c.openings(now) {
		switch {
		case w.Overlaps(run):
		case w.Contains(now):
			s.Due = w.Window
		default:
			s.NextOpen = w.OpensAt
			return s
		}
	}
	return s
}
