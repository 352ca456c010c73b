package simulation

import (
	"time"
	"unsafe"
)

// A time.Time with a monotonic reading can't be made by the time package's own
// arithmetic: it only moves both readings together. A simulated machine whose wall
// clock is set, or that sleeps while its monotonic clock stands still, needs them
// apart. What is relied on here (the layout of time.Time) is pinned by a test.
type instant struct {
	wall uint64
	ext  int64
	loc  *time.Location
}

const (
	hasMonotonic = 1 << 63
	secondsShift = 30
	// from the year 1885, in which the wall clock of such a value begins, to 1970
	sinceWallBase = 2682288000
)

// at returns the time with this wall clock, in nanoseconds of Unix time, and this
// monotonic reading in nanoseconds. Its location is UTC.
func at(wall, monotonic int64) time.Time {
	i := instant{
		wall: hasMonotonic | uint64(wall/1e9+sinceWallBase)<<secondsShift | uint64(wall%1e9),
		ext:  monotonic,
		loc:  time.UTC,
	}
	return *(*time.Time)(unsafe.Pointer(&i)) //nolint:gosec // pinned by TestAtHasBothClocks
}
