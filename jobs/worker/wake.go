package worker

import (
	"sync/atomic"
	"time"

	"github.com/imagepurge/imagepurge/jobs/purge"
)

const (
	// idlePoll is how often a worker that would be told of work asks nevertheless:
	// a notification may be lost, a poll isn't.
	idlePoll = 5 * time.Second
	// wakeSpread keeps a fleet from claiming all at once.
	wakeSpread = 200 * time.Millisecond
)

// Woken says that work may have come, or that whether it is told of has changed.
type Woken struct {
	Listening bool
}

func (Woken) event() {}

// woken looks for work soon. A claim that is under way may have passed the work by,
// so that the next one is due whatever it brings.
func (c *Core) woken(now time.Time, ev Woken) {
	c.listening = ev.Listening
	c.wakeAt = now.Add(time.Duration(c.cfg.Purge.Random() * float64(wakeSpread)))
	c.nextClaim = c.orWoken(c.nextClaim)
}

// orWoken is a time to claim, or the earlier one at which work that was told of is
// looked for.
func (c *Core) orWoken(t time.Time) time.Time {
	if !c.wakeAt.IsZero() && c.wakeAt.Before(t) {
		return c.wakeAt
	}
	return t
}

// pollAfter is how long a worker that found nothing to do waits: a little differently
// in each, where it is told of new work.
func (c *Core) pollAfter(o purge.Outlook) time.Duration {
	if !c.listening || c.cfg.Once || o.Ready {
		return pollEvery
	}
	return idlePoll - time.Duration(c.cfg.Purge.Random()*float64(idlePoll/5))
}

// Bell wakes a worker from outside. It may be rung at any time, also before and
// after the worker runs, and by several.
type Bell struct {
	ring      chan struct{}
	listening atomic.Bool
}

// NewBell returns a bell that nobody rings yet.
func NewBell() *Bell { return &Bell{ring: make(chan struct{}, 1)} }

// Ring says that work may have come.
func (b *Bell) Ring() {
	select {
	case b.ring <- struct{}{}:
	default: // it is rung already
	}
}

// Listening says whether the bell is rung whenever work comes, or work has to be
// polled for. What came before that is looked for at once.
func (b *Bell) Listening(yes bool) {
	b.listening.Store(yes)
	b.Ring()
}

// rings is nil, which never comes, without a bell.
func (b *Bell) rings() <-chan struct{} {
	if b == nil {
		return nil
	}
	return b.ring
}

func (w *Worker) rung() Event {
	ev := Woken{Listening: w.o.Bell.listening.Load()}
	if ev.Listening != w.told {
		w.told = ev.Listening
		w.o.Log.Debug("whether this worker is told of work that comes has changed", "told", w.told)
	}
	return ev
}
