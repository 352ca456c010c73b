package worker

import (
	"context"
	"time"
)

// Timing of the heartbeat.
const (
	beatEvery = 3 * time.Second
	beatLimit = 3 * time.Second // of the last one: nobody waits long for a stop
)

// Beat is what a worker says of itself, every few seconds.
type Beat struct {
	Worker       string // the owner of its leases
	Organization int64
	Host         string
	PID          int
	Version      string
	InFlight     int   // calls
	InHand       int   // customers
	Calls        int64 // since it began
	Ended        bool  // the last beat: it has stopped in order
}

// Fleet is what a beat is answered with.
type Fleet struct {
	// Live is how many workers of this organisation were seen lately, itself
	// included.
	Live int
	// Sharing is the same of all organisations that use its API key.
	Sharing int
}

// Beaten brings the answer to a beat.
type Beaten struct {
	Fleet Fleet
	Err   error
}

func (Beaten) event() {}

// beaten notes the fleet. A beat that failed leaves what is known: the statements
// that matter say themselves that the database fails.
func (c *Core) beaten(ev Beaten) {
	if ev.Err == nil {
		c.fleet = ev.Fleet
		c.budget.Sharing(ev.Fleet.Sharing - 1)
	}
}

// beat tells the store that this worker is there. It is a goroutine of its own, so
// that no slow claim makes a worker look dead.
func (w *Worker) beat(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case s := <-w.pulse:
			fleet, err := w.o.Store.Beat(ctx, w.beatOf(s))
			w.tell(ctx, Beaten{Fleet: fleet, Err: err})
		}
	}
}

// toBeat hands the numbers to the goroutine that beats; one that is late gets the
// next ones.
func (w *Worker) toBeat() {
	select {
	case w.pulse <- w.core.Stats():
	default:
	}
}

// leave says that the worker has stopped in order. Where that fails its row says so
// by its silence.
func (w *Worker) leave(ctx context.Context, s Stats) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), beatLimit)
	defer cancel()
	b := w.beatOf(s)
	b.Ended = true
	if _, err := w.o.Store.Beat(ctx, b); err != nil {
		w.o.Log.Debug("the last heartbeat failed", "error", err)
	}
}

func (w *Worker) beatOf(s Stats) Beat {
	return Beat{
		Worker: w.o.Config.Claim.Owner, Organization: w.o.Terms.Organization, Host: w.o.Terms.Host, PID: w.o.PID, Version: w.o.Version,
		InFlight: s.InFlight, InHand: s.InHand, Calls: int64(s.Calls),
	}
}
