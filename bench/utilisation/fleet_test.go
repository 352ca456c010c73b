package main

import (
	"fmt"
	"testing"
	"time"
)

// What the table says of a few settings, in short: the limit is used, none is one call
// over it, and no customer costs much more than he must.
func TestTheLimitIsUsedAndKept(t *testing.T) {
	for _, s := range []setting{
		{1, 100, 500 * time.Millisecond, false, 5, 256, 1},
		{3, 700, 500 * time.Millisecond, true, 5, 256, 2},
		{10, 1500, 3 * time.Second, true, 3, 256, 3},
		{20, 100, 50 * time.Millisecond, true, 5, 256, 4},
		{100, 6000, 500 * time.Millisecond, true, 1, 256, 5},
	} {
		t.Run(fmt.Sprintf("%d workers, %d a minute, %v", s.workers, s.limit, s.latency), func(t *testing.T) {
			t.Parallel()
			f := run(s)
			t.Logf("%.2f %% used, %d customers, %d calls of %d needed, %d questions", 100*f.least, f.customers, f.spent, f.needed, f.asked)
			if f.overLimit > 0 {
				t.Errorf("%d calls over the limit", f.overLimit)
			}
			if least := 0.985; f.least < least {
				t.Errorf("%.2f %% of the limit was used, want %v %%", 100*f.least, 100*least)
			}
			if more := float64(f.spent) / float64(f.needed); s.latency < time.Second && more > 1.03 {
				t.Errorf("%.3f calls for each that was needed", more)
			}
			if s.churn && f.kills == 0 {
				t.Error("nobody was killed")
			}
		})
	}
}

func TestOneSeedIsOneRun(t *testing.T) {
	s := setting{3, 700, 500 * time.Millisecond, true, 2, 256, 9}
	if a, b := run(s), run(s); a != b {
		t.Errorf("%+v, then %+v", a, b)
	}
}
