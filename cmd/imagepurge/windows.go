package main

import (
	"context"
	"time"

	"github.com/imagepurge/imagepurge/internal/term"
	"github.com/imagepurge/imagepurge/jobs/schedule"
	"github.com/imagepurge/imagepurge/jobs/worker"
	"github.com/imagepurge/imagepurge/repository"
)

// How often the timetable is read besides at the edges of windows: another
// schedule is seen within 5 seconds. And how long a read may take: the loop that
// waits for it also ends the run.
const (
	lookEvery   = 4 * time.Second
	lookAgain   = time.Second // after a read that failed
	lookTimeout = 2 * time.Second
)

// keeper works whenever a run is open. What is open is decided by the database's
// clock and its rows; this process's own clock only says when to look again.
type keeper struct {
	*post
	stop    *stopping
	stepper *schedule.Stepper
	inUse   schedule.Calendar
	refused string // a schedule on record that this program can't read

	table  repository.Timetable
	readAt time.Time // by our own clock: monotonic
	failed bool      // the last read
	wakeAt time.Time // by the database's

	all      result
	ended    chan over
	closeRun chan struct{}
	running  bool
}

// over is how the work on a run ended.
type over struct {
	run   schedule.Window
	end   worker.End
	stats worker.Stats
	err   error
}

// windows works in the windows of the schedule until it is stopped.
func (p *post) windows(stop *stopping) (result, error) {
	k := &keeper{
		post: p, stop: stop, stepper: schedule.NewStepper(p.o.Schedule), inUse: p.o.Schedule,
		all: result{Organization: p.o.Name, End: worker.Stopped}, ended: make(chan over, 1),
	}
	if err := k.record(); err != nil {
		return k.all, hardStop(stop, err)
	}
	// Without the database's time there is nothing to wait for.
	if err := patiently(stop.ctx, k.readTable); err != nil {
		return k.all, hardStop(stop, err)
	}
	return k.work()
}

func (k *keeper) org() int64 { return k.options.Config.Claim.Organization }
func (k *keeper) me() string { return k.options.Config.Claim.Owner }

// record makes the schedule of the settings the one in use: the newest start wins.
func (k *keeper) record() error {
	return patiently(k.stop.ctx, func() error {
		before, err := k.d.RecordSchedule(k.stop.ctx, k.a.person(), k.org(), k.inUse.String(), k.me())
		if err == nil && before != "" {
			k.log.Info("schedule was changed", "from", before, "to", k.inUse.String())
			k.screen.say("%s: the schedule was %s; it is now %s; a run that is open goes on as it is", k.o.Name, before, k.inUse)
		}
		return err
	})
}

func (k *keeper) work() (result, error) {
	k.look()
	for {
		timer := time.NewTimer(k.untilLook())
		select {
		case <-timer.C:
			k.look()
		case o := <-k.ended:
			timer.Stop()
			if err := k.take(o); err != nil {
				return k.all, err
			}
			k.step(k.now(), schedule.RunEnded{Run: o.run})
		case <-k.stop.orderly:
			timer.Stop()
			return k.finish()
		case <-k.stop.ctx.Done():
			timer.Stop()
			return k.finish()
		}
	}
}

// finish ends the work on a run in order.
func (k *keeper) finish() (result, error) {
	if !k.running {
		return k.all, nil
	}
	if k.closeRun != nil {
		close(k.closeRun)
	}
	return k.all, k.take(<-k.ended)
}

// take notes what the work on a run came to.
func (k *keeper) take(o over) error {
	k.running, k.closeRun = false, nil
	k.all.Stats, k.all.End = o.stats, o.end
	if err := hardStop(k.stop, o.err); err != nil {
		return err
	}
	k.screen.say("%s", summary(k.o.Name, o.stats))
	return nil
}

// now is the database's time as our own clock carries it on since the last read.
// It may only end work: work begins by what the database itself says.
func (k *keeper) now() time.Time { return k.table.Now.Add(time.Since(k.readAt)) }

func (k *keeper) untilLook() time.Duration {
	edge := k.wakeAt.Sub(k.now())
	if k.failed {
		if edge > 0 {
			return min(edge, lookAgain)
		}
		return lookAgain
	}
	return max(time.Millisecond, min(edge, lookEvery))
}

// look reads the timetable and does what is due.
func (k *keeper) look() {
	if !k.read() {
		k.step(k.now(), schedule.Clock{Run: newestRun(k.table)})
		return
	}
	k.adopt()
	k.step(k.table.Now, schedule.Clock{Run: newestRun(k.table)})
	if k.table.Unended {
		ctx, cancel := context.WithTimeout(k.stop.ctx, lookTimeout)
		defer cancel()
		if _, err := k.d.EndRuns(ctx, k.org(), k.me()); err != nil {
			k.log.Warn("a run that is over could not be marked", "error", err)
		}
	}
}

// read asks the database; without an answer nothing begins.
func (k *keeper) read() bool {
	err := k.readTable()
	if err != nil && !k.failed && k.stop.ctx.Err() == nil {
		k.log.Warn("the timetable could not be read: no run begins until it can", "error", err)
	}
	k.failed = err != nil
	return !k.failed
}

func (k *keeper) readTable() error {
	ctx, cancel := context.WithTimeout(k.stop.ctx, lookTimeout)
	defer cancel()
	asked := time.Now()
	t, err := k.d.Timetable(ctx, k.org())
	if err == nil {
		k.table, k.readAt = t, asked
	}
	return err
}

// adopt takes the schedule on record, where another worker was started with it.
func (k *keeper) adopt() {
	text := k.table.Schedule
	if text == "" || text == k.inUse.String() || text == k.refused {
		return
	}
	c, err := schedule.ParseCalendar(text)
	if err != nil {
		k.refused = text
		k.log.Error("the schedule on record can't be read: this worker keeps its own", "record", text, "own", k.inUse.String(), "error", err)
		return
	}
	k.log.Info("schedule of another worker was adopted", "from", k.inUse.String(), "to", text, "since", k.table.Since, "started", k.table.RecordedBy)
	k.screen.say("%s: %s was started with another schedule: was %s; it is now %s; a run that is open goes on as it is", k.o.Name, k.table.RecordedBy, k.inUse, text)
	k.inUse, k.refused = c, ""
	k.stepper.Use(c)
}

// step tells the stepper of an event, and does what it wants.
func (k *keeper) step(now time.Time, event schedule.Event) {
	for _, e := range k.stepper.Step(now, event) {
		switch e := e.(type) {
		case schedule.CloseRun:
			close(k.closeRun)
			k.closeRun = nil
		case schedule.OpenRun:
			k.open(e.Run)
		case schedule.MakeRun:
			k.make(e.Window)
			return
		case schedule.WakeAt:
			k.wakeAt = e.At
			if !k.running {
				k.tellClosed(e.At)
			}
		}
	}
}

// make makes the run of a tick, or finds who was first.
func (k *keeper) make(w schedule.Window) {
	ctx, cancel := context.WithTimeout(k.stop.ctx, lookTimeout)
	defer cancel()
	if !k.failed {
		if _, err := k.d.MakeRun(ctx, k.org(), w.OpensAt, w.ClosesAt, k.inUse.String(), k.me()); err != nil {
			k.log.Warn("a run could not be opened", "tick", w.OpensAt, "error", err)
			k.failed = true
		} else {
			k.read()
		}
	}
	k.step(k.now(), schedule.Made{Run: newestRun(k.table)})
}

// open begins to work on a run. The one before may still be ending: its last calls
// are answered first.
func (k *keeper) open(run schedule.Window) {
	if k.running {
		if err := k.take(<-k.ended); err != nil {
			k.log.Error("the work on a run ended with an error", "error", err)
		}
	}
	k.tellOpen(run)
	k.closeRun, k.running = make(chan struct{}), true
	end := k.closeRun
	go func() {
		end, stats, err := worker.New(k.options).Run(k.stop.ctx, end)
		k.ended <- over{run, end, stats, err}
	}()
}

func (k *keeper) tellOpen(run schedule.Window) {
	if r := k.table.Newest; r != nil {
		words := "run was joined"
		if r.OpenedBy == k.me() {
			words = "run was opened"
		}
		k.log.Info(words, "tick", r.Tick, "closes_at", r.ClosesAt, "opened_at", r.OpenedAt, "opened_by", r.OpenedBy)
	}
	k.screen.say("%s: window open until %s, %s customers wait, %s calls a minute", k.o.Name, term.Time(run.ClosesAt, nil), term.Number(k.waiting()), term.Number(int64(k.o.PerMinute())))
}

func (k *keeper) tellClosed(opens time.Time) {
	if !k.screen.first(k.o.Name, "closed until "+opens.String()) {
		return
	}
	k.screen.say("%s: window closed; the next opens %s (%s), %s customers wait; to start now: imagepurge run --once",
		k.o.Name, term.Time(opens, nil), term.Relative(opens, k.now()), term.Number(k.waiting()))
}

func (k *keeper) waiting() int64 {
	left, err := k.a.openCustomers(k.stop.ctx, k.d, 0)
	if err != nil {
		k.log.Warn("open customers could not be counted", "error", err)
	}
	return left
}
