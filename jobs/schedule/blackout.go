package schedule

import (
	"cmp"
	"slices"
	"strings"
	"time"
)

// Days are blackout dates of the zone's calendar, from the first to the last.
type Days struct {
	First, Last time.Time // midnight UTC of the date; the date alone counts
}

// Bounds of blackout dates: a slip of the pen isn't taken for a decade.
const (
	maxBlackoutDays = 366
	firstYear       = 2000
	lastYear        = 2199
)

const (
	dateLayout   = "2006-01-02"
	betweenDates = ".."
	blackoutForm = "a date or two with .. between them, such as 2026-12-24 or 2027-04-02..2027-04-05"
)

// ParseDays reads a date or a range of dates, both ends included. What is wrong
// is a *SettingError.
func ParseDays(text string) (Days, error) {
	refuse := func(problem string) (Days, error) {
		return Days{}, &SettingError{SettingBlackout, text, problem, blackoutForm}
	}
	from, to, isRange := strings.Cut(strings.TrimSpace(text), betweenDates)
	if !isRange {
		to = from
	}
	var d Days
	for _, end := range []struct {
		text string
		at   *time.Time
	}{{from, &d.First}, {to, &d.Last}} {
		at, err := time.Parse(dateLayout, strings.TrimSpace(end.text))
		if err != nil {
			return refuse("is not a date of the calendar")
		}
		if at.Year() < firstYear || at.Year() > lastYear {
			return refuse("is not of the years from 2000 to 2199")
		}
		*end.at = at
	}
	switch days := d.Last.Sub(d.First).Hours()/24 + 1; {
	case days < 1:
		return refuse("ends before it begins")
	case days > maxBlackoutDays:
		return refuse("is longer than 366 days")
	}
	return d, nil
}

// String is the form that ParseDays reads.
func (d Days) String() string {
	if d.First.Equal(d.Last) {
		return d.First.Format(dateLayout)
	}
	return d.First.Format(dateLayout) + betweenDates + d.Last.Format(dateLayout)
}

// span is from an instant until just before another.
type span struct{ from, until time.Time }

// spans are the instants of blackout dates in the plan's zone, in order and apart
// from each other. A date begins when the zone's clock shows its midnight, or a
// later time, first: so each instant is of one date, also where a clock that is
// put back shows the last hour of a day again.
func (p Plan) spans(blackout []Days) []span {
	var all []span
	for _, d := range blackout {
		all = append(all, span{p.instant(d.First), p.instant(d.Last.AddDate(0, 0, 1))})
	}
	slices.SortFunc(all, func(a, b span) int { return cmp.Or(a.from.Compare(b.from), a.until.Compare(b.until)) })
	var apart []span
	for _, s := range all {
		if n := len(apart); n > 0 && !s.from.After(apart[n-1].until) {
			if s.until.After(apart[n-1].until) {
				apart[n-1].until = s.until
			}
			continue
		}
		apart = append(apart, s)
	}
	return apart
}

// without is the plan with blackout dates.
func (p Plan) without(blackout []Days) Plan {
	p.closed = p.spans(blackout)
	return p
}

// closedAfter is the first span of blackout dates that ends after an instant.
func (p Plan) closedAfter(at time.Time) (span, bool) {
	i, _ := slices.BinarySearchFunc(p.closed, at, func(s span, at time.Time) int {
		if s.until.After(at) {
			return 1
		}
		return -1
	})
	if i == len(p.closed) {
		return span{}, false
	}
	return p.closed[i], true
}

// closing is when a window that an instant opens has to end: after its length, or
// where a blackout date begins.
func (p Plan) closing(opens time.Time) time.Time {
	closes := opens.Add(p.length)
	if s, ok := p.closedAfter(opens); ok && s.from.Before(closes) {
		return s.from.In(p.zone)
	}
	return closes
}
