package capillary

import (
	"math/big"
	"net/http"
	"strings"
	"testing"
	"time"
)

// Property: what a reader with numbers of any length and net/http's reader of
// dates make of the headers, between nothing and the cap.
func FuzzRetryAfter(f *testing.F) {
	for _, v := range []string{
		"", "0", "7", "-7", "+7", "1.5", "1e3", "0x10", "3599", "3600", "3601", "0000000000000000000007", "99999999999999999999", strings.Repeat("9", 400),
		"Wed, 21 Oct 2026 07:28:00 GMT", "Wednesday, 21-Oct-26 07:28:00 GMT", "Wed Oct 21 07:28:00 2026", "Mon, 01 Jan 0001 00:00:00 GMT", "Fri, 31 Dec 9999 23:59:59 GMT", "soon", " 12 ", "7, 8", "\u0667",
	} {
		f.Add(v, "Wed, 21 Oct 2026 07:27:00 GMT", int64(1_793_491_200))
		f.Add(v, "", int64(-62_135_596_800))
		f.Add(v, "Mon, 01 Jan 0001 00:00:00 GMT", int64(253_402_300_799))
	}
	f.Fuzz(func(t *testing.T, value, date string, unix int64) {
		now := time.Unix(unix%(1<<40), 0)
		got := retryAfter(http.Header{"Retry-After": {value}, "Date": {date}}, now)
		if want := retryByModel(value, date, now); got != want {
			t.Errorf("%q at %q: %v, want %v", value, date, got, want)
		}
	})
}

func retryByModel(value, date string, now time.Time) time.Duration {
	value = strings.TrimSpace(value)
	most := int64(maxRetryAfter / time.Second)
	if n, ok := new(big.Int).SetString(value, 10); ok && !strings.ContainsAny(value, "+-_") {
		if !n.IsInt64() || n.Int64() > most {
			return maxRetryAfter
		}
		return time.Duration(n.Int64()) * time.Second
	}
	until, err := http.ParseTime(value)
	if err != nil {
		return 0
	}
	if said, err := http.ParseTime(date); err == nil {
		now = said
	}
	switch seconds := until.Unix() - now.Unix(); {
	case seconds <= 0:
		return 0
	case seconds >= most:
		return maxRetryAfter
	default:
		return time.Duration(seconds) * time.Second
	}
}

func TestRetryAfter(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 10, 21, 7, 0, 0, 0, time.UTC)
	for _, tt := range []struct {
		name, value, date string
		want              time.Duration
	}{
		{"absent", "", "", 0},
		{"seconds", "7", "", 7 * time.Second},
		{"spaces", " 7 ", "", 7 * time.Second},
		{"zero", "0", "", 0},
		{"negative", "-7", "", 0},
		{"fraction", "1.5", "", 0},
		{"words", "soon", "", 0},
		{"beyond the cap", "3601", "", time.Hour},
		{"beyond any number", strings.Repeat("9", 400), "", time.Hour},
		{"date by the answer's Date", "Wed, 21 Oct 2026 09:28:00 GMT", "Wed, 21 Oct 2026 09:27:30 GMT", 30 * time.Second},
		{"date without a Date", "Wed, 21 Oct 2026 07:00:09 GMT", "", 9 * time.Second},
		{"date with a broken Date", "Wed, 21 Oct 2026 07:00:09 GMT", "yesterday", 9 * time.Second},
		{"date in the past", "Wed, 21 Oct 2026 06:00:00 GMT", "", 0},
		{"date next year", "Thu, 21 Oct 2027 06:00:00 GMT", "", time.Hour},
		{"old form", "Wednesday, 21-Oct-26 07:00:05 GMT", "", 5 * time.Second},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if got := retryAfter(http.Header{"Retry-After": {tt.value}, "Date": {tt.date}}, now); got != tt.want {
				t.Errorf("%v, want %v", got, tt.want)
			}
		})
	}
}
