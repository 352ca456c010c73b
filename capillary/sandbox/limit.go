package sandbox

import "time"

// Window is how one key's calls per minute are counted.
type Window string

const (
	// WindowBoth refuses what either of the others would refuse.
	WindowBoth     Window = ""
	WindowCalendar Window = "calendar" // from second 0 to second 59 of the UTC clock
	WindowSliding  Window = "sliding"  // any 60 seconds
)

// RetryAfter is how a 429 says when to come again.
type RetryAfter string

const (
	RetryAfterNone    RetryAfter = ""
	RetryAfterSeconds RetryAfter = "seconds"
	RetryAfterDate    RetryAfter = "date"
)

// Limit is the rate limit of every key. The zero value is no limit.
type Limit struct {
	PerMinute int // calls per minute and key; 0: no limit
	Window    Window
	// CountRefused makes refused calls count too, so that a caller who
	// hammers never gets through.
	CountRefused bool
	RetryAfter   RetryAfter
}

// meter counts the calls of one key. A pure function of (state, time): it must
// be asked in the order of arrival.
type meter struct {
	limit Limit
	// recent holds the last PerMinute counted arrivals, oldest at next.
	recent []time.Time
	next   int

	minute   time.Time
	inMinute int
}

// allow counts an arrival and says whether it is served, and if not, how long
// the caller must stay away.
func (m *meter) allow(now time.Time) (ok bool, wait time.Duration) {
	if m.limit.PerMinute <= 0 {
		return true, 0
	}
	// Only forwards: two arrivals at the turn of a minute may come in the wrong
	// order, and must not begin the old minute again.
	if start := now.UTC().Truncate(time.Minute); start.After(m.minute) {
		m.minute, m.inMinute = start, 0
	}
	if m.limit.Window != WindowSliding && m.inMinute >= m.limit.PerMinute {
		wait = m.minute.Add(time.Minute).Sub(now)
	}
	if m.limit.Window != WindowCalendar && len(m.recent) == m.limit.PerMinute {
		wait = max(wait, m.recent[m.next].Add(time.Minute).Sub(now))
	}
	ok = wait <= 0
	if ok || m.limit.CountRefused {
		m.count(now)
	}
	return ok, max(wait, 0)
}

func (m *meter) count(now time.Time) {
	m.inMinute++
	if len(m.recent) < m.limit.PerMinute {
		m.recent = append(m.recent, now)
		return
	}
	m.recent[m.next] = now
	m.next = (m.next + 1) % len(m.recent)
}
