package main

import (
	"context"
	"time"

	"github.com/imagepurge/imagepurge/internal/term"
	"github.com/imagepurge/imagepurge/jobs/schedule"
	"github.com/imagepurge/imagepurge/jobs/worker"
)

// windows works whenever the schedule's window is open.
func (p *post) windows(stop *stopping) (result, error) {
	stepper := schedule.NewStepper(p.o.Schedule)
	look := make(chan struct{}, 1)
	runner := schedule.NewRunner(p.log)
	runner.Add(p.o.Schedule, func() {
		select {
		case look <- struct{}{}:
		default:
		}
	})
	runner.Start()
	defer func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_ = runner.Stop(ctx) // it only wakes: there is nothing to wait for
	}()

	type over struct {
		window schedule.Window
		end    worker.End
		stats  worker.Stats
		err    error
	}
	var (
		all      = result{Organization: p.o.Name, End: worker.Stopped}
		ended    = make(chan over, 1)
		closeRun chan struct{}
		running  bool
		event    schedule.Event = schedule.Clock{}
		wake                    = time.NewTimer(time.Hour)
	)
	defer wake.Stop()
	for {
		for _, e := range stepper.Step(time.Now(), event) {
			switch e := e.(type) {
			case schedule.OpenRun:
				p.tellOpen(stop.ctx, e.Window)
				closeRun, running = make(chan struct{}), true
				end := closeRun
				go func() {
					end, stats, err := worker.New(p.options).Run(stop.ctx, end)
					ended <- over{e.Window, end, stats, err}
				}()
			case schedule.CloseRun:
				close(closeRun)
				closeRun = nil
			case schedule.WakeAt:
				wake.Reset(max(0, time.Until(e.At)))
				if !running {
					p.tellClosed(stop.ctx, e.At)
				}
			}
		}
		select {
		case <-look:
			event = schedule.Clock{}
		case <-wake.C:
			event = schedule.Clock{}
		case o := <-ended:
			running = false
			all.Stats, all.End = o.stats, o.end
			if err := hardStop(stop, o.err); err != nil {
				return all, err
			}
			p.screen.say("%s", summary(p.o.Name, o.stats))
			event = schedule.RunEnded{Window: o.window}
		case <-stop.orderly:
			if !running {
				return all, nil
			}
			if closeRun != nil {
				close(closeRun)
			}
			o := <-ended
			all.Stats, all.End = o.stats, o.end
			p.screen.say("%s", summary(p.o.Name, o.stats))
			return all, hardStop(stop, o.err)
		}
	}
}

func (p *post) tellOpen(ctx context.Context, w schedule.Window) {
	left, err := p.a.openCustomers(ctx, p.d, 0)
	if err != nil {
		p.log.Warn("open customers could not be counted", "error", err)
	}
	p.screen.say("%s: window open until %s, %s customers wait, %s calls a minute", p.o.Name, term.Time(w.ClosesAt, nil), term.Number(left), term.Number(int64(p.o.PerMinute())))
}

func (p *post) tellClosed(ctx context.Context, opens time.Time) {
	if !p.screen.first(p.o.Name, "closed until "+opens.String()) {
		return
	}
	left, err := p.a.openCustomers(ctx, p.d, 0)
	if err != nil {
		p.log.Warn("open customers could not be counted", "error", err)
	}
	p.screen.say("%s: window closed; the next opens %s (%s), %s customers wait; to start now: imagepurge run --once",
		p.o.Name, term.Time(opens, nil), term.Relative(opens, time.Now()), term.Number(left))
}
