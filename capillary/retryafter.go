package capillary

import (
	"net/http"
	"strings"
	"time"
)

// maxRetryAfter caps what the API may ask for: a slip of its clock must not
// stop an organisation for a day. A breaker or a person is there for longer.
const maxRetryAfter = time.Hour

// retryAfter reads Retry-After: seconds, or an HTTP date. A date is set against
// the answer's own Date header, so that neither clock has to be right; now is
// for answers without one. What can't be read counts as not said: 0.
func retryAfter(header http.Header, now time.Time) time.Duration {
	value := strings.TrimSpace(header.Get("Retry-After"))
	if value == "" {
		return 0
	}
	if strings.Trim(value, "0123456789") == "" {
		seconds := time.Duration(0)
		for _, digit := range value {
			seconds = seconds*10 + time.Duration(digit-'0')
			if seconds >= maxRetryAfter/time.Second {
				return maxRetryAfter // before it can overflow
			}
		}
		return seconds * time.Second
	}
	until, err := http.ParseTime(value)
	if err != nil {
		return 0
	}
	if date, err := http.ParseTime(header.Get("Date")); err == nil {
		now = date
	}
	return min(max(until.Sub(now), 0), maxRetryAfter)
}
