// Package clearance is the only way to a DELETE: a value that a committed
// intent makes and that one send spends.
//
// Only the store may call [Issue], and only after its transaction has
// committed; a test at the top of the module (arrows_test.go) reads the source
// and refuses any other caller. Nothing here does I/O.
package clearance

import (
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/imagepurge/imagepurge/jobs"
)

// Target is one image of a committed intent: the index that the DELETE names,
// and the image that stands there in the view.
type Target struct {
	Key      jobs.Key
	Position int // 0-based
}

// Intent is what a committed intent says.
type Intent struct {
	Task     jobs.TaskID
	Epoch    int64
	Customer jobs.Customer
	// Targets are in the order in which they are sent, highest index first. More
	// than one only with delete batching.
	Targets []Target
	// BeganAt was read before the intent's transaction began. It must carry a
	// monotonic reading.
	BeganAt time.Time
	// Margin is how long after BeganAt the request may be written, at most.
	Margin time.Duration
}

// Clearance permits one DELETE, until its deadline.
type Clearance struct {
	intent Intent
	spent  atomic.Bool
}

// ErrSpent says that a clearance has been used before.
var ErrSpent = errors.New("clearance is spent: this delete was sent before")

// LateError says that the deadline for sending has passed. Nothing was sent.
type LateError struct {
	Elapsed, Margin time.Duration
}

func (e *LateError) Error() string {
	return fmt.Sprintf("too late to send: %v since the intent, %v allowed", e.Elapsed, e.Margin)
}

// Issue makes the clearance for a committed intent. For the store alone.
func Issue(in Intent) *Clearance {
	in.Targets = slices.Clone(in.Targets) // what was committed, whatever becomes of the caller's
	return &Clearance{intent: in}
}

// Intent returns a copy of what was committed.
func (c *Clearance) Intent() Intent {
	in := c.intent
	in.Targets = slices.Clone(in.Targets)
	return in
}

// Spend uses the clearance up. It must be called right before the request is
// written, with the time at that moment. It returns [ErrSpent] the second time,
// and a [*LateError] where the deadline has passed by the monotonic or by the
// wall clock: a process that was frozen sees it on the first, a machine that
// slept on the second. A wall clock that stands before the intent says nothing
// of the time that has passed, so that is too late as well.
func (c *Clearance) Spend(now time.Time) error {
	if !c.spent.CompareAndSwap(false, true) {
		return ErrSpent
	}
	mono := now.Sub(c.intent.BeganAt)
	wall := now.Round(0).Sub(c.intent.BeganAt.Round(0))
	if mono > c.intent.Margin || wall > c.intent.Margin || wall < 0 || mono < 0 {
		return &LateError{Elapsed: max(mono, wall), Margin: c.intent.Margin}
	}
	return nil
}
