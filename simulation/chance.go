package simulation

import (
	"math/rand/v2"
	"time"
)

// chance is where everything that can go one way or another comes from.
type chance struct{ *rand.Rand }

func newChance(seed, stream uint64) chance { return chance{rand.New(rand.NewPCG(seed, stream))} }

// one says yes once in n times.
func (c chance) one(n int) bool { return c.IntN(n) == 0 }

// upTo returns a duration in (0, d], in whole milliseconds.
func (c chance) upTo(d time.Duration) time.Duration {
	return time.Duration(1+c.IntN(int(max(d, time.Millisecond)/time.Millisecond))) * time.Millisecond
}

// late is upTo, but often the very last moment.
func (c chance) late(d time.Duration) time.Duration {
	if c.one(3) {
		return d
	}
	return c.upTo(d)
}

func pick[E any](c chance, of ...E) E { return of[c.IntN(len(of))] }
