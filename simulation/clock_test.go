package simulation

import (
	"testing"
	"time"
)

func TestAtHasBothClocks(t *testing.T) {
	base := time.Date(2026, 3, 29, 1, 59, 59, 123456789, time.UTC)
	a := at(base.UnixNano(), int64(time.Hour))
	if !a.Round(0).Equal(base) {
		t.Errorf("wall clock %v, want %v", a.Round(0), base)
	}
	for _, c := range []struct{ wall, mono time.Duration }{
		{time.Second, time.Second}, {time.Hour, 0}, {-time.Minute, time.Second}, {0, 3 * time.Hour},
	} {
		b := at(base.Add(c.wall).UnixNano(), int64(time.Hour+c.mono))
		if got := b.Sub(a); got != c.mono {
			t.Errorf("%v later by the monotonic clock, want %v", got, c.mono)
		}
		if got := b.Round(0).Sub(a.Round(0)); got != c.wall {
			t.Errorf("%v later by the wall clock, want %v", got, c.wall)
		}
		later := b.Add(5 * time.Second)
		if later.Sub(b) != 5*time.Second || later.Round(0).Sub(b.Round(0)) != 5*time.Second {
			t.Error("Add does not move both clocks")
		}
		if b.After(a) != (c.mono > 0) {
			t.Errorf("After goes by the wall clock: %+v", c)
		}
	}
	if a.Location() != time.UTC {
		t.Errorf("location %v", a.Location())
	}
}
