// Package schedule says when runs may work: a cron expression, the length of
// a window and a time zone make a Plan; Plans and blackout dates make a
// Calendar; a Stepper turns the passing of time into runs to open and close.
//
// It has no clock: every time is handed in, and it is the database's. It opens
// nothing itself, and it doesn't know who else opens: that one of many workers
// wins is decided by a row of the database, which a Window's OpensAt is fit to
// name.
//
// # Ticks
//
// A cron expression names times on the wall clock of the zone. Such a tick
// takes place at the first instant at which that clock shows its time or a
// later one. So each tick takes place exactly once:
//
//   - in the gap of spring it takes place at the first instant after the gap.
//     Ticks that meet in one instant are one;
//   - where the clock is put back, it takes place when its time is shown
//     first. The second pass through the repeated hour has no ticks: with
//     "*/15 * * * *" nothing starts for an hour once a year. Nightly
//     schedules, for which this is made, run once in that night, too.
//
// robfig/cron alone leaves 02:30 out in spring and has it twice in autumn. It
// therefore only reads the expression and counts on a clock without jumps;
// the mapping to instants is here. Its reading of days is kept: where day of
// month and day of week are both restricted, either is enough (and a step as
// in */2 is a restriction).
//
// # Blackout dates
//
// A tick on a blackout date does not take place, and a window ends where such a
// date begins, at the local midnight.
//
// # Windows
//
// A tick opens a window, which lasts its length in real time, whatever clocks
// are changed in it. A tick inside an open window joins it: no second window,
// and the end stays. See windows.go for the two exceptions.
package schedule

import (
	"time"

	"github.com/robfig/cron/v3"
)

// Plan is a schedule with its window and its zone. Parse and New make it; it
// doesn't change, and is safe for concurrent use.
type Plan struct {
	spec   *cron.SpecSchedule // in UTC, and only ever asked about wall times
	text   string
	length time.Duration
	zone   *time.Location
	closed []span // blackout dates, in order
}

var _ cron.Schedule = Plan{}

// String is the plan in words for a log line or a terminal.
func (p Plan) String() string {
	return p.text + " for " + p.length.String() + ", " + p.zone.String()
}

// Expression is the cron expression as it was given.
func (p Plan) Expression() string { return p.text }

// Length is how long a window lasts.
func (p Plan) Length() time.Duration { return p.length }

// Zone is whose wall clock the ticks are on.
func (p Plan) Zone() *time.Location { return p.zone }

// Next returns the first tick after an instant, in the plan's zone. It
// answers where the expression's ticks are, also those that join a window;
// what opens is asked of At and Windows.
func (p Plan) Next(after time.Time) time.Time {
	return p.tickAfter(after).at
}

// tick is a time of the expression. Wall times are carried as if they were
// in UTC, so that there is no gap and no repetition in their arithmetic.
type tick struct {
	wall time.Time // the last of the wall times that meet in the instant
	at   time.Time
}

// tickAfter returns the first tick after an instant.
func (p Plan) tickAfter(at time.Time) tick {
	// A tick before the time now shown has taken place: none is missed by
	// starting here. In the second pass through a repeated hour those that
	// follow have taken place as well; firstTick passes them by.
	return p.firstTick(p.wall(at), at)
}

// firstTick returns the first tick with this wall time or a later one that
// takes place after an instant, on no blackout date.
func (p Plan) firstTick(wall, after time.Time) tick {
	for {
		t := p.anyTick(wall, after)
		s, ok := p.closedAfter(t.at)
		if !ok || t.at.Before(s.from) {
			return t
		}
		after = s.until.Add(-time.Nanosecond) // a midnight in a gap is shown as a later time
		wall = p.wall(after)
	}
}

// anyTick is firstTick of a calendar without blackout dates.
func (p Plan) anyTick(wall, after time.Time) tick {
	w := p.nextWall(wall.Add(-time.Nanosecond))
	at := p.instant(w)
	for !at.After(after) {
		w = p.nextWall(w)
		at = p.instant(w)
	}
	if p.wall(at).Equal(w) {
		return tick{w, at}
	}
	for {
		next := p.nextWall(w)
		if p.instant(next).After(at) {
			return tick{w, at}
		}
		w = next
	}
}

// nextWall returns the first wall time of the expression after another.
func (p Plan) nextWall(wall time.Time) time.Time {
	next := p.spec.Next(wall)
	// robfig gives up after the fifth year, and 29 February can be eight
	// years away (from 2096 to 2104).
	if next.IsZero() {
		next = p.spec.Next(time.Date(wall.Year()+5, time.December, 31, 23, 59, 59, 0, time.UTC))
	}
	return next
}

// wall returns what the zone's clock shows at an instant.
func (p Plan) wall(at time.Time) time.Time {
	_, offset := at.In(p.zone).Zone()
	return at.UTC().Add(time.Duration(offset) * time.Second)
}

// instant returns the first instant at which the zone's clock shows a wall
// time or a later one. time.Date doesn't promise that: which of two offsets
// it uses in a gap or a repetition is left open.
func (p Plan) instant(wall time.Time) time.Time {
	// From an instant that is surely before (no offset exceeds 16 hours) the
	// spans of constant offset are walked; the first that reaches up to the
	// wall time has it, or follows the gap that swallowed it.
	from := wall.Add(-36 * time.Hour).In(p.zone)
	for {
		_, offset := from.Zone()
		at := wall.Add(-time.Duration(offset) * time.Second).In(p.zone)
		if at.Before(from) {
			return from
		}
		end := spanEnd(from)
		if end.IsZero() || at.Before(end) {
			return at
		}
		from = end
	}
}

// spanEnd returns when the offset that is in force at an instant may end; the
// zero time where it never does.
func spanEnd(at time.Time) time.Time {
	_, end := at.ZoneBounds()
	if !end.IsZero() && !end.After(at) {
		// Go cuts the years of a zone's rule after 365 days: on the 31st of
		// December of a leap year the bounds end before the instant.
		return time.Date(at.UTC().Year()+1, time.January, 1, 0, 0, 0, 0, time.UTC).In(at.Location())
	}
	return end
}
