package clearance_test

import (
	"errors"
	"testing"
	"time"

	"github.com/imagepurge/imagepurge/jobs/clearance"
)

// A refusal tells how late it was by the clock that says more, and what was allowed.
func TestHowLate(t *testing.T) {
	began := time.Now()
	for name, now := range map[string]time.Time{
		"by the monotonic clock": monotonic(began.Add(time.Second), time.Minute-time.Second),
		"by the wall clock":      monotonic(began.Add(time.Minute), time.Second-time.Minute),
	} {
		var late *clearance.LateError
		if err := issue(began).Spend(now); !errors.As(err, &late) {
			t.Fatalf("%s: %v", name, err)
		}
		if late.Elapsed != time.Minute || late.Margin != margin {
			t.Errorf("%s: %+v", name, late)
		}
	}
}
