package term

import (
	"math"
	"testing"
	"time"
)

func TestNumber(t *testing.T) {
	for n, want := range map[int64]string{
		0: "0", 7: "7", 999: "999", 1000: "1,000", 12345: "12,345", -12345: "-12,345", -100: "-100",
		math.MaxInt64: "9,223,372,036,854,775,807", math.MinInt64: "-9,223,372,036,854,775,808",
	} {
		if got := Number(n); got != want {
			t.Errorf("Number(%d): %s, want %s", n, got, want)
		}
	}
}

func TestRate(t *testing.T) {
	for r, want := range map[float64]string{
		0: "0", 0.25: "0.2", 3.44: "3.4", 9.94: "9.9", 9.96: "10", 5: "5", 679.6: "680", 12345: "12,345",
		math.Inf(1): "-", 1e300: "2,147,483,647",
	} {
		if got := Rate(r); got != want {
			t.Errorf("Rate(%v): %s, want %s", r, got, want)
		}
	}
	if got := Rate(math.NaN()); got != "-" {
		t.Errorf("Rate(NaN): %s, want -", got)
	}
}

func TestPercent(t *testing.T) {
	for _, tt := range []struct {
		done, total int64
		want        string
	}{
		{0, 5000, "0%"}, {1200, 5000, "24%"}, {4999, 5000, "99%"}, {5000, 5000, "100%"}, {6000, 5000, "120%"},
		{0, 0, "-"}, {1, 0, "-"}, {-1, 5, "0%"}, {math.MaxInt64 - 1, math.MaxInt64, "99%"}, {1, math.MaxInt64, "0%"},
	} {
		if got := Percent(tt.done, tt.total); got != tt.want {
			t.Errorf("Percent(%d, %d): %s, want %s", tt.done, tt.total, got, tt.want)
		}
	}
}

func TestDuration(t *testing.T) {
	const day = 24 * time.Hour
	for d, want := range map[time.Duration]string{
		0: "0s", 1: "1ms", 350 * time.Millisecond: "350ms", 999600 * time.Microsecond: "1s",
		time.Second: "1s", 42 * time.Second: "42s", 59700 * time.Millisecond: "1m",
		4 * time.Minute: "4m", 4*time.Minute + 10*time.Second: "4m 10s",
		9*time.Minute + 59*time.Second: "9m 59s", 9*time.Minute + 59600*time.Millisecond: "10m", 12*time.Minute + 13*time.Second: "12m",
		time.Hour: "1h", 59*time.Minute + 40*time.Second: "1h", 3*time.Hour + 12*time.Minute: "3h 12m",
		day: "1d", day - 10*time.Second: "1d", 2*day + 3*time.Hour + 20*time.Minute: "2d 3h", 1500 * day: "1,500d",
		-4 * time.Minute: "-4m", math.MinInt64: "-106,751d 23h", math.MaxInt64: "106,751d 23h",
	} {
		if got := Duration(d); got != want {
			t.Errorf("Duration(%d): %s, want %s", int64(d), got, want)
		}
	}
}

func TestTimes(t *testing.T) {
	now := time.Date(2026, 11, 23, 1, 0, 59, 0, time.UTC)
	berlin := time.FixedZone("CET", 3600)
	for got, want := range map[string]string{
		Time(now, nil):                           "2026-11-23 01:00 UTC",
		Time(now.In(berlin), nil):                "2026-11-23 01:00 UTC",
		Time(now, berlin):                        "2026-11-23 02:00 CET",
		Time(time.Time{}, nil):                   "-",
		Relative(time.Time{}, now):               "-",
		Relative(now, now):                       "now",
		Relative(now.Add(999), now):              "now",
		Relative(now.Add(4*time.Minute), now):    "in 4m",
		Relative(now.Add(-192*time.Minute), now): "3h 12m ago",
	} {
		if got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}
