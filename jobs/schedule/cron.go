package schedule

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/robfig/cron/v3"
)

// heartbeat is the longest time between two wakes. robfig/cron waits on the
// monotonic clock, which neither a sleeping machine nor a clock put forward
// moves: without it, an opening that passed meanwhile would be noticed late by
// as much as the clock jumped. (A clock put back makes robfig/cron wait until
// it shows the time of the next wake; up to there all has been looked at.)
const heartbeat = time.Minute

// Runner wakes workers with robfig/cron: whenever a plan's window opens or
// closes, and at least once a minute. A wake says only that it is time to
// look; what is due is asked of a Stepper or of Plan.At with the worker's own
// time. A wake may come for nothing, or be left out because the one before is
// still at work: the next minute's makes up for it.
type Runner struct {
	cron *cron.Cron
}

// NewRunner returns a Runner that isn't started. What robfig/cron tells, at
// every wake, is logged at debug level.
func NewRunner(logger *slog.Logger) *Runner {
	log := cronLogger{logger}
	return &Runner{cron: cron.New(
		cron.WithLocation(time.UTC),
		cron.WithLogger(log),
		// No cron.Recover: SkipIfStillRunning never runs a job again that
		// has panicked, so a worker would stay up and sleep for ever.
		cron.WithChain(cron.SkipIfStillRunning(log)),
	)}
}

// Add registers what to wake for a plan. wake runs on a goroutine of the
// Runner, never twice at a time; different plans' side by side. It should
// only pass the wake on and return.
func (r *Runner) Add(plan Plan, wake func()) {
	r.cron.Schedule(wakes{plan}, cron.FuncJob(wake))
}

// Start begins to wake. A worker looks once by itself before it starts the
// Runner: a window that is open already has no wake of its own.
func (r *Runner) Start() {
	r.cron.Start()
}

// Stop ends the waking and waits until no wake is at work any more, or until
// the context ends, whose error it then returns.
func (r *Runner) Stop(ctx context.Context) error {
	stopped := r.cron.Stop()
	select {
	case <-stopped.Done():
		return nil
	case <-ctx.Done():
		return fmt.Errorf("stop schedule: %w", ctx.Err())
	}
}

// wakes is a plan as robfig/cron is given it: when to look next.
type wakes struct{ plan Plan }

func (w wakes) Next(now time.Time) time.Time {
	state := w.plan.At(now)
	next := state.NextOpen
	if state.Open {
		next = state.ClosesAt
	}
	if beat := now.Add(heartbeat); beat.Before(next) {
		return beat
	}
	return next
}

// cronLogger lets robfig/cron log with slog. "skip" has no fields of its own;
// robfig's messages are kept as they are, to be found in its source.
type cronLogger struct{ log *slog.Logger }

func (l cronLogger) Info(message string, fields ...any) {
	l.log.Debug("cron: "+message, fields...)
}

func (l cronLogger) Error(err error, message string, fields ...any) {
	l.log.Error("cron: "+message, append(fields, "error", err)...)
}
