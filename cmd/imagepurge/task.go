package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/imagepurge/imagepurge/internal/settings"
	"github.com/imagepurge/imagepurge/internal/term"
	"github.com/imagepurge/imagepurge/jobs"
	"github.com/imagepurge/imagepurge/repository"
)

func (a *app) taskCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "task", Short: "List tasks, show every call of one, or decide one in review",
		Example: "  imagepurge task list --state review\n  imagepurge task show 4711",
		Args:    cobra.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	c.AddCommand(a.taskListCommand(), a.taskShowCommand(), a.taskResolveCommand())
	return c
}

func (a *app) taskListCommand() *cobra.Command {
	var f repository.TaskFilter
	c := &cobra.Command{
		Use: "list", Short: "List tasks", Example: "  imagepurge task list --batch 12 --state review", Args: exactly(0, "no arguments"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if f.State != "" && !slices.Contains(jobs.States(), jobs.State(f.State)) {
				return usagef("--state is one of %v, not %q", jobs.States(), f.State)
			}
			if f.Outcome != "" && !slices.Contains(jobs.Outcomes(), jobs.Outcome(f.Outcome)) {
				return usagef("--outcome is one of %v, not %q", jobs.Outcomes(), f.Outcome)
			}
			return a.withStore(cmd.Context(), func(_ settings.Settings, d *database) error {
				all, err := d.Tasks(cmd.Context(), f)
				if err != nil {
					return err
				}
				return a.print(all, func(w io.Writer) error {
					if err := taskTable(w, all); err != nil {
						return err
					}
					if len(all) == f.Limit {
						a.note("more: imagepurge task list --after %d", all[len(all)-1].ID)
					}
					return nil
				})
			})
		},
	}
	fl := c.Flags()
	fl.Int64Var(&f.Batch, "batch", 0, "of this batch only")
	fl.StringVar(&f.State, "state", "", "in this state only")
	fl.StringVar(&f.Outcome, "outcome", "", "with this outcome only")
	fl.Int64Var(&f.After, "after", 0, "after this task")
	fl.IntVar(&f.Limit, "limit", 100, "how many")
	return c
}

func taskTable(w io.Writer, all []repository.Task) error {
	var rows [][]string
	for _, t := range all {
		rows = append(rows, []string{
			fmt.Sprint(t.ID), fmt.Sprint(t.Batch), fmt.Sprint(t.CustomerID), t.State, orDash(t.Outcome), orDash(t.ErrorCode),
			fmt.Sprint(t.Found), fmt.Sprint(t.Deleted), fmt.Sprint(t.APICalls), fmt.Sprint(t.Attempts), orDash(t.WaitingFor), when(t.FinishedAt),
		})
	}
	return term.Table(w, []string{"TASK", "BATCH", "CUSTOMER", "STATE", "OUTCOME", "CODE", "FOUND", "DELETED", "CALLS", "ATTEMPTS", "WAITS FOR", "FINISHED"},
		rows, term.Right, term.Right, term.Right, term.Left, term.Left, term.Left, term.Right, term.Right, term.Right, term.Right)
}

func (a *app) taskShowCommand() *cobra.Command {
	return &cobra.Command{
		Use: "show TASK", Short: "Show a task with every image and every call, what was noticed, and what can be done",
		Long: `Show a task: every listing with what it showed, every DELETE with the image that it was
meant for, its answer and what the next listing showed, what people decided; then what
was noticed of changes by others, and what can be done now.

Calls of other tasks of the same customer in the same time are shown too, with a star.`,
		Example: "  imagepurge task show 4711\n  imagepurge task show 4711 -o json", Args: exactly(1, "a task"),
		RunE: func(cmd *cobra.Command, args []string) error {
			n, err := id("task", args[0])
			if err != nil {
				return err
			}
			return a.withStore(cmd.Context(), func(_ settings.Settings, d *database) error {
				v, err := viewTask(cmd.Context(), d, n)
				if err != nil {
					return notFoundHint(err)
				}
				return a.print(v, func(w io.Writer) error { return a.showTask(w, v) })
			})
		},
	}
}

// taskView is a task with all that explains it.
type taskView struct {
	repository.History
	OutcomeMeans string             `json:"outcome_means"`
	OtherTasks   []int64            `json:"other_tasks"` // of the same customer, at any time
	Timeline     []repository.Event `json:"timeline"`
	Noticed      []notice           `json:"noticed"`
	CanDo        []advice           `json:"can_do"`
}

func viewTask(ctx context.Context, d *database, n int64) (v taskView, err error) {
	t, err := d.Task(ctx, n)
	if err != nil {
		return v, err
	}
	all, err := d.CustomerHistory(ctx, t.CustomerID, t.Organization)
	if err != nil {
		return v, err
	}
	v.OtherTasks = []int64{}
	for _, h := range all {
		if h.Task.ID == n {
			v.History = h
		} else {
			v.OtherTasks = append(v.OtherTasks, h.Task.ID)
		}
	}
	if o := v.Task.Outcome; o != nil {
		v.OutcomeMeans = outcomeWords[jobs.Outcome(*o)]
	}
	v.Timeline = repository.Timeline(repository.AtTheTimeOf(v.History, all))
	v.Noticed = noticed(v.Timeline, n)
	v.CanDo = canDo(v.Task)
	return v, nil
}

func (a *app) showTask(w io.Writer, v taskView) error {
	a.showHead(w, v)
	fmt.Fprintln(w)
	if err := imageTable(w, v.Images); err != nil {
		return err
	}
	fmt.Fprintln(w)
	if err := printTimeline(w, v.Timeline, v.Task.ID); err != nil {
		return err
	}
	var says []string
	for _, n := range v.Noticed {
		says = append(says, n.Says)
	}
	paragraph(w, "What was noticed", says)
	says = nil
	for _, c := range v.CanDo {
		if c.Says != "" {
			says = append(says, c.Says)
		}
		if c.Command != "" {
			says = append(says, "  "+c.Command)
		}
	}
	paragraph(w, "What you can do now", says)
	return nil
}

func (a *app) showHead(w io.Writer, v taskView) {
	t := v.Task
	line := func(name, format string, args ...any) {
		fmt.Fprintf(w, "%-9s "+format+"\n", append([]any{name}, args...)...)
	}
	what := "all images"
	if t.Named > 0 {
		what = plural(t.Named, "named image")
	}
	if t.DryRun {
		what += ", dry run"
	}
	fmt.Fprintf(w, "task %d  customer %d of %s, batch %d: %s\n", t.ID, t.CustomerID, t.Organization, t.Batch, what)
	line("state", "%s", stateWords(t))
	switch {
	case t.WaitingFor != nil:
		line("waits", "for %s (%s), until %s (%s)", *t.WaitingFor, waitWords[jobs.Waiting(*t.WaitingFor)], term.Time(t.DueAt, nil), term.Relative(t.DueAt, a.now()))
	case t.LeaseOwner != nil:
		line("leased", "by %s until %s", *t.LeaseOwner, when(t.LeaseUntil))
	}
	line("how", "mode %s, scope %s, source %s, account %s", orDash(t.Mode), orDash(t.Scope), orDash(t.Source), orDash(t.AccountID))
	line("asked", "%s", askedWords(v.Origin))
	line("images", "%d found, %d deleted, %d new; %d calls, %d attempts", t.Found, t.Deleted, t.New, t.APICalls, t.Attempts)
	line("times", "made %s, started %s, verified %s, finished %s", term.Time(t.CreatedAt, nil), when(t.StartedAt), when(t.VerifiedAt), when(t.FinishedAt))
	if len(v.OtherTasks) > 0 {
		line("others", "tasks %s of this customer; all of them: imagepurge customer %d", strings.Trim(fmt.Sprint(v.OtherTasks), "[]"), t.CustomerID)
	}
}

func stateWords(t repository.Task) string {
	s := t.State
	if t.Outcome != nil {
		s += ", " + *t.Outcome + ": " + outcomeWords[jobs.Outcome(*t.Outcome)]
	}
	if t.ErrorCode != nil {
		s += "; code " + *t.ErrorCode
	}
	if t.ErrorMessage != nil {
		s += " (" + term.Visible(*t.ErrorMessage) + ")"
	}
	return s
}

// askedWords say who asked for a purge, as far as it was told.
func askedWords(o repository.Origin) string {
	s := fmt.Sprintf("%s in batch %d, %q", term.Time(o.CreatedAt, nil), o.Batch, o.Name)
	if o.RequestedBy != nil {
		s += ", by " + term.Visible(*o.RequestedBy)
	}
	if o.Reason != nil {
		s += ": " + term.Visible(*o.Reason)
	}
	return s
}

func imageTable(w io.Writer, all []repository.TaskImage) error {
	var rows [][]string
	for _, i := range all {
		state := i.State
		if i.Missing {
			state += ", missing"
		}
		rows = append(rows, []string{shortKey(i.Key), fmt.Sprint(i.Position), state, orDash(i.Evidence), fmt.Sprint(i.Sends), instant(i.IntendedAt), instant(i.AnsweredAt), orDash(i.ErrorCode)})
	}
	return term.Table(w, []string{"IMAGE", "POSITION", "STATE", "EVIDENCE", "SENDS", "INTENDED", "ANSWERED", "CODE"}, rows, term.Left, term.Right, term.Left, term.Left, term.Right)
}

// instant is a time to the millisecond: calls follow each other closely.
func instant(t *time.Time) string {
	if t == nil {
		return "-"
	}
	return t.UTC().Format("2006-01-02 15:04:05.000")
}

func (a *app) taskResolveCommand() *cobra.Command {
	var (
		retry, closeIt bool
		reason         string
	)
	c := &cobra.Command{
		Use: "resolve TASK", Short: "Decide a task in review: try again, or close it as it is",
		Example: "  imagepurge task resolve 4711 --retry --reason \"the shop had replaced a photo\"\n  imagepurge task resolve 4711 --close --reason \"account merged; purged by hand\"",
		Args:    exactly(1, "a task"),
		RunE: func(cmd *cobra.Command, args []string) error {
			n, err := id("task", args[0])
			if err != nil {
				return err
			}
			if retry == closeIt {
				return usagef("give --retry or --close")
			}
			if err := checkReason(reason); err != nil {
				return err
			}
			return a.resolve(cmd.Context(), n, retry, reason)
		},
	}
	c.Flags().BoolVar(&retry, "retry", false, "try again")
	c.Flags().BoolVar(&closeIt, "close", false, "close as it is: no more calls are made for it")
	needReason(c, &reason)
	return c
}

func (a *app) resolve(ctx context.Context, n int64, retry bool, reason string) error {
	return a.withStore(ctx, func(_ settings.Settings, d *database) error {
		if err := d.ResolveTask(ctx, a.person(), n, retry, reason); err != nil {
			return notFoundHint(err)
		}
		t, err := d.Task(ctx, n)
		if err != nil {
			return err
		}
		return a.print(t, func(w io.Writer) error {
			done := "is tried again"
			if !retry {
				done = "is closed"
			}
			_, err := fmt.Fprintf(w, "task %d %s\n", n, done)
			return err
		})
	})
}
