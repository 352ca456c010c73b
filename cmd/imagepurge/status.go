package main

import (
	"context"
	"fmt"
	"io"
	"math"
	"time"

	"github.com/spf13/cobra"

	"github.com/imagepurge/imagepurge/internal/settings"
	"github.com/imagepurge/imagepurge/internal/term"
	"github.com/imagepurge/imagepurge/jobs/purge"
	"github.com/imagepurge/imagepurge/jobs/schedule"
	"github.com/imagepurge/imagepurge/repository"
)

// organizationStatus is what an organisation does now.
type organizationStatus struct {
	Name          string     `json:"name"`
	RatePerMinute int        `json:"rate_per_minute"`
	Pace          float64    `json:"pace_per_minute"` // what 429s have left of the rate
	Learnt        string     `json:"learnt,omitempty"`
	WindowOpen    bool       `json:"window_open"`
	WindowCloses  *time.Time `json:"window_closes"`
	NextWindow    *time.Time `json:"next_window"`
	Breaker       *string    `json:"breaker"`
	NextDue       *time.Time `json:"next_due"`
	LimitedBy     string     `json:"limited_by"`
	Until         *time.Time `json:"until_estimated"`
	Unknown       string     `json:"unknown"` // why that can't be told
}

type shownStatus struct {
	repository.Status
	Running []organizationStatus `json:"running"`
	Trouble []string             `json:"trouble"`
	// Estimates are of the batches that are open.
	Estimates []reckoned `json:"estimates"`
}

// noProgressAfter is how long an open window with work may pass without a task
// that ends before a monitor is told.
const noProgressAfter = 15 * time.Minute

func (a *app) statusCommand() *cobra.Command {
	var check bool
	c := &cobra.Command{
		Use: "status", Short: "What runs now, what waits, and for what",
		Example: "  imagepurge status\n  imagepurge status --check && echo fine", Args: exactly(0, "no arguments"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withStore(cmd.Context(), func(s settings.Settings, d *database) error {
				st, err := a.status(cmd.Context(), s, d)
				if err != nil {
					return err
				}
				if err := a.print(st, func(w io.Writer) error { return a.showStatus(w, st) }); err != nil {
					return err
				}
				if check && len(st.Trouble) > 0 {
					return statusError(exitSomeLeft)
				}
				return nil
			})
		},
	}
	c.Flags().BoolVar(&check, "check", false, "end with 3 for an open breaker, tasks in review, a missed window, no progress, no worker in an open window, or a deadline that can't be met")
	return c
}

func (a *app) status(ctx context.Context, s settings.Settings, d *database) (shownStatus, error) {
	st := shownStatus{Running: []organizationStatus{}, Trouble: []string{}}
	var err error
	if st.Status, err = d.Status(ctx); err != nil {
		return st, err
	}
	if st.Batches == nil {
		st.Batches = []repository.Batch{} // [] in JSON, not null
	}
	ends, err := a.reckon(ctx, d, s, 0)
	if err != nil {
		return st, err
	}
	st.estimate(ends, st.Now)
	for _, o := range s.Organizations {
		known, err := d.Organizations(ctx, o.Name)
		if err != nil {
			return st, err
		}
		if len(known) == 0 {
			continue
		}
		look, err := d.Outlook(ctx, known[0].ID, 0)
		if err != nil {
			return st, err
		}
		table, err := d.Timetable(ctx, known[0].ID)
		if err != nil {
			return st, err
		}
		o.Schedule = inForce(o.Schedule, table)
		run := organizationStatus{Name: o.Name, RatePerMinute: o.PerMinute(), Breaker: known[0].BreakerReason}
		key, err := d.KeyState(ctx, o.Name)
		if err != nil {
			return st, err
		}
		if key.Told || key.Set != nil {
			run.RatePerMinute = int(math.Round(key.Limit))
		}
		run.Pace, run.Learnt = key.Pace, learnt(key)
		window := openWindow(o.Schedule, table)
		run.WindowOpen = window.Open
		if window.Open {
			run.WindowCloses = &window.ClosesAt
		} else {
			run.NextWindow = &window.NextOpen
		}
		if !look.NextDue.IsZero() {
			run.NextDue = &look.NextDue
		}
		run.LimitedBy = limitedBy(look, window.Open, live(st.Workers, o.Name), st.CallsLastMinute, int(run.Pace))
		run.Until, run.Unknown = st.wholeEnd(o.Name, ends)
		st.Running = append(st.Running, run)
		if look.Breaker != "" {
			st.Trouble = append(st.Trouble, breakerSentence(o.Name, look))
		}
		if window.Open && look.Ready && !look.Paused && st.Now.Sub(window.OpenedAt) > noProgressAfter &&
			(st.LastFinished == nil || st.Now.Sub(*st.LastFinished) > noProgressAfter) {
			st.Trouble = append(st.Trouble, fmt.Sprintf("no progress: the window of %s is open since %s, work waits, and no task has ended for %s", o.Name, term.Time(window.OpenedAt, nil), noProgressAfter))
		}
		if window.Open && look.Ready && !look.Paused && st.Now.Sub(window.OpenedAt) > graceOfWindow && live(st.Workers, o.Name) == 0 {
			st.Trouble = append(st.Trouble, fmt.Sprintf("no worker: the window of %s is open since %s and work waits; to start one: imagepurge run", o.Name, term.Time(window.OpenedAt, nil)))
		}
		missed, ok := lastWindow(o.Schedule, st.Now)
		if ok && !look.Paused && look.Breaker == "" && (st.LastFinished == nil || st.LastFinished.Before(missed.OpensAt)) {
			waited, err := d.WaitedSince(ctx, known[0].ID, missed.OpensAt)
			if err != nil {
				return st, err
			}
			ran, err := hadRun(ctx, d, known[0].ID, missed, table)
			if err != nil {
				return st, err
			}
			if waited && !ran {
				st.Trouble = append(st.Trouble, fmt.Sprintf("missed window: work of %s waited, and nothing was done from %s to %s; does a worker run?",
					o.Name, term.Time(missed.OpensAt, nil), term.Time(missed.ClosesAt, nil)))
			}
		}
	}
	if st.InReview > 0 {
		st.Trouble = append(st.Trouble, fmt.Sprintf("%s tasks wait for a person: imagepurge task list --state review", term.Number(st.InReview)))
	}
	if st.OldestTransaction > time.Hour.Seconds() {
		st.Trouble = append(st.Trouble, fmt.Sprintf("a transaction is open since %s: it keeps dead rows alive and makes claims slow", term.Duration(time.Duration(st.OldestTransaction)*time.Second)))
	}
	return st, nil
}

// lastWindow is the newest window that is over, of the last eight days.
func lastWindow(p schedule.Calendar, now time.Time) (last schedule.Window, ok bool) {
	for _, w := range p.Windows(now.Add(-8*24*time.Hour), 200) {
		if w.ClosesAt.After(now) {
			break
		}
		last, ok = w, true
	}
	return last, ok
}

// limitedBy names what holds up the work most.
func limitedBy(o purge.Outlook, open bool, workers int, calls int64, perMinute int) string {
	switch {
	case o.Breaker != "":
		return "breaker"
	case o.Paused:
		return "pause"
	case !o.Ready && o.NextDue.IsZero() && !o.Leased:
		return "nothing to do"
	case !o.NoClaimsUntil.IsZero():
		return "the database server changed: settles until " + term.Time(o.NoClaimsUntil, nil)
	case workers > 0 && calls >= int64(perMinute)*9/10:
		return "rate"
	case workers > 0:
		return "concurrency or latency"
	case !open:
		return "window"
	case !o.Ready:
		return "waiting for due times"
	}
	return "no worker runs"
}

func (a *app) showStatus(w io.Writer, st shownStatus) error {
	for _, o := range st.Running {
		fmt.Fprintf(w, "%s: ", o.Name)
		if o.WindowOpen {
			fmt.Fprintf(w, "window open until %s", term.Time(*o.WindowCloses, nil))
		} else {
			fmt.Fprintf(w, "window opens %s (%s)", term.Time(*o.NextWindow, nil), term.Relative(*o.NextWindow, st.Now))
		}
		fmt.Fprintf(w, "; limited by: %s\n", o.LimitedBy)
		if o.Learnt != "" {
			fmt.Fprintf(w, "  %s\n", o.Learnt)
		}
		if o.NextDue != nil {
			fmt.Fprintf(w, "  next waiting task is due %s\n", term.Relative(*o.NextDue, st.Now))
		}
		if o.Until != nil {
			fmt.Fprintf(w, "  done with everything about %s (%s)\n", term.Time(*o.Until, nil), term.Relative(*o.Until, st.Now))
		}
		if o.Unknown != "" {
			fmt.Fprintf(w, "  when everything will be done is unknown: %s\n", o.Unknown)
		}
	}
	fmt.Fprintf(w, "last minute: %s customers ended, %s calls made for them\n", term.Number(st.TasksLastMinute), term.Number(st.CallsLastMinute))
	for _, p := range st.Pauses {
		what := "everything"
		if p.Organization != nil {
			what = *p.Organization
		}
		fmt.Fprintf(w, "paused: %s, since %s, by %s: %s\n", what, term.Time(p.PausedAt, nil), p.PausedBy, term.Visible(p.Reason))
	}
	if err := showWorkers(w, st.Workers, st.Now); err != nil {
		return err
	}
	if note := versionsNote(st.Workers); note != "" {
		fmt.Fprintln(w, note)
	}
	for _, t := range st.Trouble {
		fmt.Fprintf(w, "attention: %s\n", t)
	}
	if len(st.Batches) == 0 {
		_, err := fmt.Fprintln(w, "no batch is open; to take one in: imagepurge enqueue customers.csv")
		return err
	}
	if err := st.showEnds(w); err != nil {
		return err
	}
	fmt.Fprintln(w)
	return a.batchTable(w, st.Batches)
}
