package term

import (
	"fmt"
	"math"
	"strconv"
	"time"
)

// Number writes 12345 as 12,345.
func Number(n int64) string {
	digits := strconv.FormatInt(n, 10)
	sign := ""
	if n < 0 {
		sign, digits = "-", digits[1:]
	}
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return sign + digits
}

// Rate writes a number per some time: 680, and below ten 3.4.
func Rate(r float64) string {
	switch {
	case math.IsNaN(r) || math.IsInf(r, 0):
		return "-"
	case math.Abs(r) < 9.95 && r != math.Trunc(r):
		return strconv.FormatFloat(r, 'f', 1, 64)
	}
	return Number(int64(math.Round(min(max(r, -math.MaxInt32), math.MaxInt32))))
}

// Percent writes how much of total is done, rounded down: 100% means all.
func Percent(done, total int64) string {
	switch {
	case total <= 0:
		return "-"
	case done >= total:
		return strconv.FormatInt(int64(100*(float64(done)/float64(total))), 10) + "%"
	}
	return strconv.FormatInt(min(99, int64(100*(float64(max(done, 0))/float64(total)))), 10) + "%"
}

// Duration writes a span in its two largest units: 350ms, 42s, 4m 10s, 12m,
// 3h 12m, 2d 3h. Seconds end at ten minutes, minutes at a day.
func Duration(d time.Duration) string {
	if d < 0 {
		return "-" + Duration(-max(d, -math.MaxInt64))
	}
	const day = 24 * time.Hour
	if d == 0 {
		return "0s"
	}
	if ms := d.Round(time.Millisecond); ms < time.Second {
		return fmt.Sprintf("%dms", max(1, ms.Milliseconds()))
	}
	if r := d.Round(time.Second); r < 10*time.Minute {
		return units(r, time.Minute, "m", time.Second, "s")
	}
	if r := d.Round(time.Minute); r < day {
		return units(r, time.Hour, "h", time.Minute, "m")
	}
	return units(d.Round(time.Hour), day, "d", time.Hour, "h")
}

// units writes d, a multiple of small, leaving out what is zero.
func units(d, large time.Duration, largeName string, small time.Duration, smallName string) string {
	l, s := int64(d/large), int64(d%large/small)
	switch {
	case l == 0:
		return Number(s) + smallName
	case s == 0:
		return Number(l) + largeName
	}
	return Number(l) + largeName + " " + Number(s) + smallName
}

// Relative writes t as seen from now: in 4m, 3h 12m ago, now.
func Relative(t, now time.Time) string {
	switch d := t.Sub(now); {
	case t.IsZero():
		return "-"
	case d >= time.Second:
		return "in " + Duration(d)
	case d <= -time.Second:
		return Duration(-max(d, -math.MaxInt64)) + " ago"
	}
	return "now"
}

// Time writes an instant with its zone: 2026-11-23 01:00 UTC. A nil zone is
// UTC; the zero instant is "-".
func Time(t time.Time, zone *time.Location) string {
	if t.IsZero() {
		return "-"
	}
	if zone == nil {
		zone = time.UTC
	}
	return t.In(zone).Format("2006-01-02 15:04 MST")
}
