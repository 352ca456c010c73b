// Package estimate says when batches will be done: from the calls that are allowed,
// what a customer has cost so far, the windows, and whose turn it is.
//
// It is a reckoning, no promise: calls flow evenly, as long as a window is open and
// nobody pauses. It has no clock and asks nobody.
package estimate

import (
	"math"
	"slices"
	"time"

	"github.com/imagepurge/imagepurge/jobs/schedule"
)

// Batch is a batch with customers left.
type Batch struct {
	ID        int64
	Order     time.Time // of its next task: those of equal order take turns
	Customers int64     // that are open
	Calls     float64   // for each
	Paused    bool
}

// Windows are when an organisation works.
type Windows interface {
	// Windows returns the next n; where one is open at from, it is the first of
	// them. There may be fewer.
	Windows(from time.Time, n int) []schedule.Window
}

// Organization is whose batches these are.
type Organization struct {
	Plan    Windows
	Key     string  // organisations of one key share its pace
	Pace    float64 // calls a minute that the key allows
	Stopped string  // why nothing is done, in a word; empty: nothing stops it
	Batches []Batch
}

// End is when a batch will be done.
type End struct {
	At      time.Time // zero where it can't be said
	Night   int       // the how many-th window from now on this is; 1: this or the next
	Unknown string    // why it can't be said
}

// Why an end is unknown.
const (
	Paused  = "paused"
	TooFar  = "more nights than can be planned"
	NoPace  = "no call is allowed"
	horizon = 1000 // windows looked ahead
)

// enough is a call's part below which a batch counts as done: what is left of
// adding and subtracting.
const enough = 1e-6

// line is an organisation on its way.
type line struct {
	*Organization
	windows []schedule.Window
	night   int // index of the window that is open, or opens next
	left    []float64
}

// Ends says for each batch when it will be done.
func Ends(now time.Time, all []Organization) map[int64]End {
	ends := make(map[int64]End)
	var lines []*line
	for i := range all {
		lines = append(lines, newLine(now, &all[i], ends))
	}
	for at := now; ; {
		flows, next := flow(at, lines)
		if next.IsZero() {
			return ends
		}
		for i, l := range lines {
			l.pass(next.Sub(at).Minutes(), flows[i], next, ends)
		}
		at = next
	}
}

// newLine notes the batches that nothing can be said of, and the work of the others.
func newLine(now time.Time, o *Organization, ends map[int64]End) *line {
	l := &line{Organization: o, left: make([]float64, len(o.Batches))}
	for i, b := range o.Batches {
		switch {
		case b.Paused:
			ends[b.ID] = End{Unknown: Paused}
		case o.Stopped != "":
			ends[b.ID] = End{Unknown: o.Stopped}
		case !(o.Pace > 0) || math.IsInf(o.Pace, 0):
			ends[b.ID] = End{Unknown: NoPace}
		default:
			ends[b.ID] = End{Unknown: TooFar} // until it is done
			l.left[i] = max(float64(b.Customers)*b.Calls, enough)
		}
	}
	if l.works() {
		l.windows = o.Plan.Windows(now, horizon)
	}
	return l
}

func (l *line) works() bool {
	return slices.ContainsFunc(l.left, func(left float64) bool { return left > 0 })
}

// open says whether calls are made at a time, and until when this stays so: zero,
// where it stays so for good.
func (l *line) open(at time.Time) (open bool, until time.Time) {
	if !l.works() {
		return false, time.Time{}
	}
	for l.night < len(l.windows) && !l.windows[l.night].ClosesAt.After(at) {
		l.night++
	}
	if l.night == len(l.windows) {
		return false, time.Time{}
	}
	w := l.windows[l.night]
	if w.Contains(at) {
		return true, w.ClosesAt
	}
	return false, w.OpensAt
}

// flow says how many calls a minute each line makes from a time on, and when that
// changes; zero: never.
func flow(at time.Time, lines []*line) (flows []float64, next time.Time) {
	flows = make([]float64, len(lines))
	sharing := make(map[string]float64)
	for i, l := range lines {
		open, until := l.open(at)
		next = sooner(next, until)
		if open {
			flows[i] = l.Pace
			sharing[l.Key]++
		}
	}
	for i, l := range lines {
		if flows[i] == 0 {
			continue
		}
		flows[i] /= sharing[l.Key]
		for _, b := range l.turn() {
			minutes := l.left[b] / (flows[i] * l.share(b))
			if minutes < math.MaxInt64/float64(time.Minute) {
				next = sooner(next, at.Add(time.Duration(math.Ceil(minutes*float64(time.Minute)))))
			}
		}
	}
	return flows, next
}

// turn are the batches whose turn it is: those of the lowest order, by their index.
func (l *line) turn() (indexes []int) {
	var lowest time.Time
	for i, b := range l.Batches {
		switch {
		case l.left[i] == 0 || len(indexes) > 0 && b.Order.After(lowest):
			continue
		case len(indexes) > 0 && b.Order.Equal(lowest):
		default:
			indexes, lowest = nil, b.Order
		}
		indexes = append(indexes, i)
	}
	return indexes
}

// share is a batch's part of the calls while it takes turns: a customer each.
func (l *line) share(b int) float64 {
	var sum float64
	for _, i := range l.turn() {
		sum += l.each(i)
	}
	return l.each(b) / sum
}

// each is what a customer of a batch costs: never nothing.
func (l *line) each(b int) float64 { return max(l.Batches[b].Calls, enough) }

// pass takes off what is done within so many minutes.
func (l *line) pass(minutes, perMinute float64, at time.Time, ends map[int64]End) {
	if perMinute == 0 {
		return
	}
	turn := l.turn()
	var done []float64
	for _, i := range turn {
		done = append(done, minutes*perMinute*l.share(i))
	}
	for n, i := range turn {
		if l.left[i] -= done[n]; l.left[i] <= enough {
			l.left[i] = 0
			ends[l.Batches[i].ID] = End{At: at, Night: l.night + 1}
		}
	}
}

func sooner(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}
