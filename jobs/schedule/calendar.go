package schedule

import (
	"cmp"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"time"
)

// Calendar is when an organisation's runs may work: the windows of one or more
// Plans in one zone, less its blackout dates. It doesn't change, and is safe for
// concurrent use.
type Calendar struct {
	plans    []Plan
	blackout []Days
}

// MaxPlans is how many entries a calendar may have.
const MaxPlans = 32

// Overlaps are looked for so far ahead, and in no more windows than so many: every
// kind of night is in two years, those in which clocks change included.
const (
	overlapAhead   = 2 * 366 * 24 * time.Hour
	overlapWindows = 100_000
)

// OverlapError says that windows of two entries overlap.
type OverlapError struct {
	First, Second int // entries, from 0
	Windows       [2]Window
	zone          *time.Location
}

func (e *OverlapError) Error() string {
	const layout = "Mon 2006-01-02 15:04"
	show := func(w Window) string {
		return w.OpensAt.In(e.zone).Format(layout) + " to " + w.ClosesAt.In(e.zone).Format(layout)
	}
	return fmt.Sprintf("its window from %s overlaps that of the other from %s", show(e.Windows[1]), show(e.Windows[0]))
}

// NewCalendar makes a Calendar. Entries whose windows overlap within two years from
// an instant on are refused with an *OverlapError, blackout dates or not.
func NewCalendar(plans []Plan, blackout []Days, from time.Time) (Calendar, error) {
	c, err := calendar(plans, blackout)
	if err != nil {
		return Calendar{}, err
	}
	if err := overlap(plans, from); err != nil {
		return Calendar{}, err
	}
	return c, nil
}

// Of is the calendar of one plan.
func Of(plan Plan) Calendar { return Calendar{plans: []Plan{plan}} }

func calendar(plans []Plan, blackout []Days) (Calendar, error) {
	if len(plans) == 0 || len(plans) > MaxPlans {
		return Calendar{}, fmt.Errorf("a calendar has from 1 to %d entries, not %d", MaxPlans, len(plans))
	}
	c := Calendar{blackout: slices.Clone(blackout)}
	for _, p := range plans {
		if p.zone.String() != plans[0].zone.String() {
			return Calendar{}, errors.New("the entries of a calendar are of one zone")
		}
		c.plans = append(c.plans, p.without(blackout))
	}
	return c, nil
}

// entryWindow is a window, and whose it is.
type entryWindow struct {
	Window
	entry int
}

// overlap looks for windows that overlap. A tick inside the same entry's window
// joins it, so only different entries' can.
func overlap(plans []Plan, from time.Time) error {
	if len(plans) < 2 {
		return nil
	}
	var bare []Plan
	for _, p := range plans {
		bare = append(bare, p.without(nil))
	}
	var last entryWindow
	seen := 0
	for w := range merged(bare, from) {
		if w.OpensAt.Before(last.ClosesAt) && w.entry != last.entry {
			return &OverlapError{last.entry, w.entry, [2]Window{last.Window, w.Window}, plans[0].zone}
		}
		last = w
		if seen++; seen > overlapWindows || w.OpensAt.Sub(from) > overlapAhead {
			break
		}
	}
	return nil
}

// merged yields the windows of several plans in the order in which they open.
func merged(plans []Plan, from time.Time) iter.Seq[entryWindow] {
	return func(yield func(entryWindow) bool) {
		if len(plans) == 1 { // as nearly always: nothing to merge
			for w := range plans[0].from(from) {
				if !yield(entryWindow{w, 0}) {
					return
				}
			}
		}
		heads := make([]Window, len(plans))
		next := make([]func() (Window, bool), len(plans))
		for i, p := range plans {
			pull, stop := iter.Pull(p.from(from))
			defer stop()
			next[i] = pull
			heads[i], _ = pull()
		}
		for {
			i := 0
			for j := range heads {
				if heads[j].OpensAt.Before(heads[i].OpensAt) {
					i = j
				}
			}
			if !yield(entryWindow{heads[i], i}) {
				return
			}
			heads[i], _ = next[i]()
		}
	}
}

// Zone is whose wall clock the ticks are on.
func (c Calendar) Zone() *time.Location {
	if len(c.plans) == 0 {
		return nil
	}
	return c.plans[0].zone
}

// Entries are the plans, in order.
func (c Calendar) Entries() []Plan { return slices.Clone(c.plans) }

// Next returns the first tick after an instant, also one that joins a window.
func (c Calendar) Next(after time.Time) time.Time {
	next := c.plans[0].Next(after)
	for _, p := range c.plans[1:] {
		if at := p.Next(after); at.Before(next) {
			next = at
		}
	}
	return next
}

// At tells how the calendar stands at an instant. Where two windows are open, which
// NewCalendar refuses as far as it looks, the one that opened first is meant.
func (c Calendar) At(now time.Time) State {
	var all State
	for i, p := range c.plans {
		s := p.At(now)
		if s.Open && (!all.Open || s.OpenedAt.Before(all.OpenedAt)) {
			all.Open, all.OpenedAt, all.ClosesAt = true, s.OpenedAt, s.ClosesAt
		}
		if i == 0 || s.NextOpen.Before(all.NextOpen) {
			all.NextOpen = s.NextOpen
		}
	}
	return all
}

// Windows returns the next n windows; where one is open at from, it is the first
// of them.
func (c Calendar) Windows(from time.Time, n int) []Window {
	return first(n, func(yield func(Window) bool) {
		for o := range c.openings(from) {
			if !yield(o.Window) {
				return
			}
		}
	})
}

// Opening is a window as people are shown it.
type Opening struct {
	Window
	Entry   int  // whose it is, from 0
	Cut     bool // it ends early, where a blackout date begins
	Skipped bool // its tick is on a blackout date: it doesn't open
}

// Openings returns the next n windows, and between them those that blackout dates
// keep shut.
func (c Calendar) Openings(from time.Time, n int) []Opening {
	all := first(n, c.openings(from))
	if len(all) == 0 || len(c.blackout) == 0 {
		return all
	}
	horizon := all[len(all)-1].OpensAt
	for i, p := range c.plans {
		for w := range p.without(nil).from(from) {
			if w.OpensAt.After(horizon) {
				break
			}
			if s, ok := p.closedAfter(w.OpensAt); ok && !w.OpensAt.Before(s.from) {
				all = append(all, Opening{Window: w, Entry: i, Skipped: true})
			}
		}
	}
	slices.SortStableFunc(all, func(a, b Opening) int { return cmp.Or(a.OpensAt.Compare(b.OpensAt), cmp.Compare(a.Entry, b.Entry)) })
	return all
}

// openings yields the windows; one that opens inside another joins it.
func (c Calendar) openings(from time.Time) iter.Seq[Opening] {
	return func(yield func(Opening) bool) {
		var last Window
		for w := range merged(c.plans, from) {
			if w.OpensAt.Before(last.ClosesAt) {
				continue
			}
			last = w.Window
			s, ok := c.plans[w.entry].closedAfter(w.OpensAt)
			if !yield(Opening{Window: w.Window, Entry: w.entry, Cut: ok && w.ClosesAt.Equal(s.from)}) {
				return
			}
		}
	}
}

// The words of a calendar's text.
const (
	textFor   = " for "
	textZone  = "in "
	textNotOn = "not on "
	textSplit = "; "
)

// String is the whole calendar on one line, which ParseCalendar reads:
// "0 1 * * 1-5 for 5h0m0s; in Europe/Berlin; not on 2026-12-24".
func (c Calendar) String() string {
	if len(c.plans) == 0 {
		return "never"
	}
	var parts []string
	for _, p := range c.plans {
		parts = append(parts, p.text+textFor+p.length.String())
	}
	parts = append(parts, textZone+c.Zone().String())
	if len(c.blackout) > 0 {
		var days []string
		for _, d := range c.blackout {
			days = append(days, d.String())
		}
		parts = append(parts, textNotOn+strings.Join(days, ", "))
	}
	return strings.Join(parts, textSplit)
}

// ParseCalendar reads what String has written. It doesn't look for overlaps: who
// wrote it has.
func ParseCalendar(text string) (Calendar, error) {
	var (
		entries  [][2]string
		zone     string
		blackout []Days
	)
	for part := range strings.SplitSeq(text, textSplit) {
		if z, ok := strings.CutPrefix(part, textZone); ok {
			zone = z
			continue
		}
		if days, ok := strings.CutPrefix(part, textNotOn); ok {
			for day := range strings.SplitSeq(days, ",") {
				d, err := ParseDays(day)
				if err != nil {
					return Calendar{}, err
				}
				blackout = append(blackout, d)
			}
			continue
		}
		expression, length, _ := strings.Cut(part, textFor)
		entries = append(entries, [2]string{expression, length})
	}
	var plans []Plan
	for _, e := range entries {
		p, err := Parse(e[0], e[1], zone)
		if err != nil {
			return Calendar{}, err
		}
		plans = append(plans, p)
	}
	return calendar(plans, blackout)
}
