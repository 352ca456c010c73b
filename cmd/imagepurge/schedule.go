package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/imagepurge/imagepurge/internal/embeddedpg"
	"github.com/imagepurge/imagepurge/internal/settings"
	"github.com/imagepurge/imagepurge/internal/term"
	"github.com/imagepurge/imagepurge/jobs/schedule"
	"github.com/imagepurge/imagepurge/repository"
)

// inForce is the schedule in use: the one on record, or that of the settings.
func inForce(own schedule.Calendar, t repository.Timetable) schedule.Calendar {
	if c, err := schedule.ParseCalendar(t.Schedule); err == nil {
		return c
	}
	return own
}

// newestRun is the run on record that began last; zero: there was none.
func newestRun(t repository.Timetable) schedule.Window {
	if t.Newest == nil {
		return schedule.Window{}
	}
	return schedule.Window{OpensAt: t.Newest.Tick, ClosesAt: t.Newest.ClosesAt}
}

// openWindow is how a schedule stands, an open run first: it keeps its end.
func openWindow(c schedule.Calendar, t repository.Timetable) schedule.State {
	standing := c.Standing(newestRun(t), t.Now)
	w := standing.Due // a window whose run nobody has made
	if run := standing.Run; !run.OpensAt.IsZero() {
		w = run
	}
	return schedule.State{Open: w.Contains(t.Now), OpenedAt: w.OpensAt, ClosesAt: w.ClosesAt, NextOpen: standing.NextOpen}
}

// hadRun says whether a window that is over had a run, or was of a schedule that
// was not in use yet.
func hadRun(ctx context.Context, d *database, organization int64, w schedule.Window, t repository.Timetable) (bool, error) {
	if t.Schedule != "" && t.Since.After(w.ClosesAt) {
		return true, nil
	}
	runs, err := d.Runs(ctx, organization, w.OpensAt, w.ClosesAt)
	return len(runs) > 0, err
}

func (a *app) scheduleCommand() *cobra.Command {
	var (
		organization string
		number       int
	)
	c := &cobra.Command{
		Use: "schedule", Short: "Show the next ten windows",
		Long: `Show the next windows of each organisation: in its own time zone and in UTC, with
their real length, the nights in which clocks change, and what blackout dates leave out.

Where there is a database the schedule is the one on record: that of the worker that
was started last. An open run keeps its end, whatever the schedule says by now.`,
		Example: "  imagepurge schedule\n  imagepurge schedule --organization default -n 30", Args: exactly(0, "no arguments"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if number < 1 || number > 1000 {
				return usagef("-n is from 1 to 1000, not %d", number)
			}
			return a.showSchedule(cmd.Context(), organization, number)
		},
	}
	c.Flags().StringVar(&organization, "organization", "", "only this organisation")
	c.Flags().IntVarP(&number, "number", "n", 10, "how many windows")
	return c
}

// shownSchedule is an organisation's schedule as it is shown.
type shownSchedule struct {
	name     string
	calendar schedule.Calendar
	own      string // that of the settings, where another is in use
	table    repository.Timetable
	paused   string // empty: it isn't
	windows  []shownWindow
}

// shownWindow is a window as it is shown.
type shownWindow struct {
	Organization  string     `json:"organization"`
	OpensAt       time.Time  `json:"opens_at"`
	ClosesAt      time.Time  `json:"closes_at"`
	Local         string     `json:"local"`
	ClosesLocal   string     `json:"closes_local"`
	Timezone      string     `json:"timezone"`
	LengthSeconds float64    `json:"length_seconds"` // real time, whatever clocks change
	Entry         int        `json:"entry"`          // of windows, from 1
	Schedule      string     `json:"schedule"`       // the entry's cron expression
	Skipped       bool       `json:"skipped"`        // its tick is on a blackout date
	Cut           bool       `json:"cut"`            // it ends where a blackout date begins
	Clocks        string     `json:"clocks"`         // "", forward, back: in this window
	Open          bool       `json:"open"`           // its run is
	RunOpenedAt   *time.Time `json:"run_opened_at"`
	Joins         bool       `json:"joins"` // the open run, as another schedule has made it
	Paused        bool       `json:"paused"`
}

func (a *app) showSchedule(ctx context.Context, organization string, number int) (err error) {
	s, err := a.load()
	if err != nil {
		return err
	}
	d := a.ifThere(ctx, s)
	if d != nil {
		defer func() { err = errors.Join(err, d.Close()) }()
	}
	var all []shownSchedule
	windows := []shownWindow{}
	for _, o := range s.Organizations {
		if organization != "" && o.Name != organization {
			continue
		}
		x, err := a.scheduleOf(ctx, d, o)
		if err != nil {
			return err
		}
		x.windows = x.next(number)
		windows = append(windows, x.windows...)
		all = append(all, x)
	}
	if len(all) == 0 {
		return usagef("there is no organisation %q in the settings", organization)
	}
	return a.print(windows, func(w io.Writer) error { return scheduleTable(w, all) })
}

// ifThere opens the database, where there is one: none is made to show a schedule.
func (a *app) ifThere(ctx context.Context, s settings.Settings) *database {
	if s.DatabaseURL == "" {
		dir := s.DataDir
		if dir == "" {
			var err error
			if dir, err = embeddedpg.DefaultDataDir(a.getenv); err != nil {
				return nil
			}
		}
		if _, err := os.Stat(filepath.Join(dir, "data")); err != nil {
			return nil
		}
	}
	d, err := a.open(ctx, s)
	if err != nil {
		a.note("imagepurge: warning: the schedule of these settings is shown, without its runs: %v", err)
		return nil
	}
	return d
}

// scheduleOf is the schedule in use, without a database that of the settings.
func (a *app) scheduleOf(ctx context.Context, d *database, o settings.Organization) (shownSchedule, error) {
	x := shownSchedule{name: o.Name, calendar: o.Schedule, table: repository.Timetable{Now: a.now()}}
	if d == nil {
		return x, nil
	}
	known, err := d.Organizations(ctx, o.Name)
	if err != nil || len(known) == 0 {
		return x, err
	}
	if x.table, err = d.Timetable(ctx, known[0].ID); err != nil {
		return x, err
	}
	if x.calendar = inForce(o.Schedule, x.table); x.calendar.String() != o.Schedule.String() {
		x.own = o.Schedule.String()
	}
	st, err := d.Status(ctx)
	for _, p := range st.Pauses {
		if p.Organization == nil || *p.Organization == o.Name {
			x.paused = fmt.Sprintf("since %s, by %s: %s", term.Time(p.PausedAt, nil), p.PausedBy, term.Visible(p.Reason))
		}
	}
	return x, err
}

// next are the next windows; an open run that another schedule has made comes first.
func (x shownSchedule) next(number int) []shownWindow {
	run := newestRun(x.table)
	if !run.Contains(x.table.Now) {
		run = schedule.Window{}
	}
	var all []shownWindow
	own := false
	for _, o := range x.calendar.Openings(x.table.Now, number) {
		w := x.shown(o)
		if o.OpensAt.Equal(run.OpensAt) && o.ClosesAt.Equal(run.ClosesAt) && !o.Skipped {
			own, w.Open, w.RunOpenedAt = true, true, &x.table.Newest.OpenedAt
		} else if !o.Skipped {
			w.Joins = o.Overlaps(run)
		}
		all = append(all, w)
	}
	if !own && !run.OpensAt.IsZero() {
		w := x.shown(schedule.Opening{Window: run})
		w.Open, w.RunOpenedAt, w.Entry, w.Schedule = true, &x.table.Newest.OpenedAt, 0, x.table.Newest.Schedule
		all = append([]shownWindow{w}, all...)
	}
	return all
}

const localLayout = "Mon 2006-01-02 15:04 MST"

func (x shownSchedule) shown(o schedule.Opening) shownWindow {
	zone := x.calendar.Zone()
	opens, closes := o.OpensAt.In(zone), o.ClosesAt.In(zone)
	w := shownWindow{
		Organization: x.name, OpensAt: opens.UTC(), ClosesAt: closes.UTC(), Local: opens.Format(localLayout), ClosesLocal: closes.Format(localLayout),
		Timezone: zone.String(), LengthSeconds: closes.Sub(opens).Seconds(), Entry: o.Entry + 1, Schedule: x.calendar.Entries()[o.Entry].Expression(),
		Skipped: o.Skipped, Cut: o.Cut, Paused: x.paused != "",
	}
	_, before := opens.Zone()
	_, after := closes.Zone()
	switch {
	case after > before:
		w.Clocks = "forward"
	case after < before:
		w.Clocks = "back"
	}
	return w
}

// hours writes a length as clocks would: 5 h 00.
func hours(d time.Duration) string {
	if d%time.Minute != 0 {
		return term.Duration(d)
	}
	return fmt.Sprintf("%d h %02d", int(d.Hours()), int(d.Minutes())%60)
}

// remarks are what is said of a window besides its times.
func (w shownWindow) remarks() string {
	var all []string
	say := func(when bool, format string, args ...any) {
		if when {
			all = append(all, fmt.Sprintf(format, args...))
		}
	}
	length := time.Duration(w.LengthSeconds * float64(time.Second))
	say(w.Skipped, "blackout date: does not open")
	say(w.Cut, "ends where a blackout date begins")
	say(w.Clocks != "", "clocks go %s: %s real", w.Clocks, hours(length))
	say(w.Joins, "joins the open run")
	say(w.Open, "open")
	if w.RunOpenedAt != nil {
		late := w.RunOpenedAt.Sub(w.OpensAt)
		say(late > time.Minute, "opened %s late", term.Duration(late))
	}
	return strings.Join(all, "; ")
}

func scheduleTable(out io.Writer, all []shownSchedule) error {
	for _, x := range all {
		fmt.Fprintf(out, "%s: %s\n", x.name, x.calendar)
		if x.table.Schedule != "" {
			fmt.Fprintf(out, "  in use since %s, by the start of %s\n", term.Time(x.table.Since, nil), x.table.RecordedBy)
		}
		if x.own != "" {
			fmt.Fprintf(out, "  these settings have another, which the next start with them puts in its place: %s\n", x.own)
		}
		if x.paused != "" {
			fmt.Fprintf(out, "  paused %s\n", x.paused)
		}
		var rows [][]string
		for _, w := range x.windows {
			entry := fmt.Sprintf("%d: %s", w.Entry, w.Schedule)
			if w.Entry == 0 {
				entry = "of the schedule before"
			}
			length := hours(time.Duration(w.LengthSeconds * float64(time.Second)))
			if w.Skipped {
				length = "-"
			}
			rows = append(rows, []string{w.Local, w.ClosesLocal, term.Time(w.OpensAt, nil), term.Time(w.ClosesAt, nil), length, entry, w.remarks()})
		}
		if err := term.Table(out, []string{"OPENS (LOCAL)", "CLOSES (LOCAL)", "OPENS", "CLOSES", "LENGTH", "ENTRY", ""}, rows); err != nil {
			return err
		}
	}
	return nil
}
