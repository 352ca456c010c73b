package schedule

import (
	"iter"
	"time"
)

// Window is a span in which a run may work: from OpensAt until just before
// ClosesAt.
type Window struct {
	OpensAt  time.Time
	ClosesAt time.Time
}

// Contains tells whether a run may work at an instant.
func (w Window) Contains(at time.Time) bool {
	return !at.Before(w.OpensAt) && at.Before(w.ClosesAt)
}

// State is how a plan stands at an instant.
type State struct {
	Open     bool
	OpenedAt time.Time // zero unless Open
	ClosesAt time.Time // zero unless Open
	NextOpen time.Time // when the next window opens, after this one where Open
}

// Window is the open window; the zero Window unless Open.
func (s State) Window() Window {
	return Window{OpensAt: s.OpenedAt, ClosesAt: s.ClosesAt}
}

// At tells how the plan stands at an instant. The answer depends on nothing
// else: every worker that asks about one instant gets the same windows.
func (p Plan) At(now time.Time) State {
	opened, next := p.around(now)
	state := State{NextOpen: next.at}
	if window := p.window(opened, next); window.Contains(now) {
		state.Open, state.OpenedAt, state.ClosesAt = true, window.OpensAt, window.ClosesAt
	}
	return state
}

// Overlaps tells whether two windows have an instant in common.
func (w Window) Overlaps(other Window) bool {
	return w.OpensAt.Before(other.ClosesAt) && other.OpensAt.Before(w.ClosesAt)
}

// Windows returns the next n windows; where one is open at from, it is the
// first of them.
func (p Plan) Windows(from time.Time, n int) []Window {
	return first(n, p.from(from))
}

// from yields windows without end; where one is open at an instant, it is the
// first of them.
func (p Plan) from(at time.Time) iter.Seq[Window] {
	return func(yield func(Window) bool) {
		opened, next := p.around(at)
		if window := p.window(opened, next); window.Contains(at) && !yield(window) {
			return
		}
		for {
			opened, next = next, p.opensAfter(next)
			if !yield(p.window(opened, next)) {
				return
			}
		}
	}
}

// first takes the first n of what doesn't end.
func first[T any](n int, all iter.Seq[T]) []T {
	if n <= 0 {
		return nil
	}
	taken := make([]T, 0, n)
	for x := range all {
		if taken = append(taken, x); len(taken) == n {
			break
		}
	}
	return taken
}

// window is the one that a tick opens, given the tick that opens the next.
func (p Plan) window(opened, next tick) Window {
	if opened.at.IsZero() {
		return Window{}
	}
	closes := p.closing(opened.at)
	if next.at.Before(closes) {
		closes = next.at
	}
	return Window{OpensAt: opened.at, ClosesAt: closes}
}

// Which ticks open a window and which join one is a fold: it depends on the
// tick before, and that one on its own. Where a plan's windows are longer than
// its pauses ("0 * * * *" for 90m) the fold has no natural beginning. It is
// therefore begun anew at fixed points, its anchors: the first tick at or
// after noon of the first of a month, by the wall clock, always opens a
// window, and ends one that is still open. Noon, since purges run by night.

// opensAfter returns the next tick that opens a window, after one that does.
// A tick joins while it is inside the window; that is, less than its length
// away both in real time and by the wall clock. By the wall clock, since
// otherwise "0 1 * * *" for 24h would lose a whole day each spring: the day
// of 23 hours makes the next tick fall into the last hour of a window. It
// opens the next one instead and ends that hour early, so no time is lost.
func (p Plan) opensAfter(opened tick) tick {
	wall := opened.wall.Add(p.length)
	if anchor := anchorAfter(opened.wall); anchor.Before(wall) {
		wall = anchor
	}
	byWall := p.firstTick(wall, opened.at)
	byTime := p.tickAfter(p.closing(opened.at).Add(-time.Nanosecond))
	if byTime.at.Before(byWall.at) {
		return byTime
	}
	return byWall
}

// around returns the last tick that opened a window at or before an instant
// (zero where there was none for a month: nothing can be open), and the next.
func (p Plan) around(now time.Time) (opened, next tick) {
	opened, ok := p.rested(now)
	if !ok {
		anchor := anchorUpTo(p.wall(now))
		opened = p.firstTick(anchor, time.Time{})
		if opened.at.After(now) {
			opened = p.firstTick(anchorUpTo(anchor.Add(-time.Second)), time.Time{})
		}
		if opened.at.After(now) {
			return tick{}, p.tickAfter(now)
		}
	}
	for {
		next = p.opensAfter(opened)
		if next.at.After(now) {
			return opened, next
		}
		opened = next
	}
}

// rested looks a little back for a tick that surely opened a window, since the
// tick before it is a window's length away. It spares the fold of a month
// where ticks are dense and windows short.
func (p Plan) rested(now time.Time) (tick, bool) {
	last := p.tickAfter(now.Add(-2*p.length - 2*time.Hour))
	for range 32 {
		next := p.tickAfter(last.at)
		if next.at.After(now) {
			break
		}
		if next.at.Sub(last.at) >= p.length {
			return next, true
		}
		last = next
	}
	return tick{}, false
}

// anchorUpTo returns the last anchor at or before a wall time.
func anchorUpTo(wall time.Time) time.Time {
	anchor := time.Date(wall.Year(), wall.Month(), 1, 12, 0, 0, 0, time.UTC)
	if anchor.After(wall) {
		anchor = anchor.AddDate(0, -1, 0)
	}
	return anchor
}

// anchorAfter returns the first anchor after a wall time.
func anchorAfter(wall time.Time) time.Time {
	return anchorUpTo(wall).AddDate(0, 1, 0)
}
