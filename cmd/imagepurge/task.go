package main

import (
	"context"
	"fmt"
	"io"
	"slices"
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
		Use: "show TASK", Short: "Show a task with every image and every call", Example: "  imagepurge task show 4711", Args: exactly(1, "a task"),
		RunE: func(cmd *cobra.Command, args []string) error {
			n, err := id("task", args[0])
			if err != nil {
				return err
			}
			return a.withStore(cmd.Context(), func(_ settings.Settings, d *database) error {
				h, err := d.History(cmd.Context(), n)
				if err != nil {
					return notFoundHint(err)
				}
				return a.print(h, func(w io.Writer) error { return a.showHistory(w, h) })
			})
		},
	}
}

func (a *app) showHistory(w io.Writer, h repository.History) error {
	t := h.Task
	what := "all images"
	if t.Named > 0 {
		what = fmt.Sprintf("%d named images", t.Named)
	}
	if t.DryRun {
		what += ", dry run"
	}
	fmt.Fprintf(w, "task %d  customer %d of %s, batch %d: %s\n", t.ID, t.CustomerID, t.Organization, t.Batch, what)
	fmt.Fprintf(w, "state    %s", t.State)
	if t.Outcome != nil {
		fmt.Fprintf(w, ", %s", *t.Outcome)
	}
	if t.ErrorCode != nil {
		fmt.Fprintf(w, ", code %s", *t.ErrorCode)
	}
	if t.ErrorMessage != nil {
		fmt.Fprintf(w, " (%s)", term.Visible(*t.ErrorMessage))
	}
	fmt.Fprintln(w)
	switch {
	case t.WaitingFor != nil:
		fmt.Fprintf(w, "waits    for %s, until %s (%s)\n", *t.WaitingFor, term.Time(t.DueAt, nil), term.Relative(t.DueAt, a.now()))
	case t.LeaseOwner != nil:
		fmt.Fprintf(w, "leased   by %s until %s\n", *t.LeaseOwner, when(t.LeaseUntil))
	}
	fmt.Fprintf(w, "how      mode %s, scope %s, source %s, account %s\n", orDash(t.Mode), orDash(t.Scope), orDash(t.Source), orDash(t.AccountID))
	fmt.Fprintf(w, "images   %d found, %d deleted, %d new; %d calls, %d attempts\n", t.Found, t.Deleted, t.New, t.APICalls, t.Attempts)
	fmt.Fprintf(w, "times    made %s, started %s, verified %s, finished %s\n\n", term.Time(t.CreatedAt, nil), when(t.StartedAt), when(t.VerifiedAt), when(t.FinishedAt))

	var images [][]string
	for _, i := range h.Images {
		state := i.State
		if i.Missing {
			state += ", missing"
		}
		images = append(images, []string{repository.ShortKey(i.Key), fmt.Sprint(i.Position), state, orDash(i.Evidence), fmt.Sprint(i.Sends), instant(i.IntendedAt), instant(i.AnsweredAt), orDash(i.ErrorCode)})
	}
	if err := term.Table(w, []string{"IMAGE", "POSITION", "STATE", "EVIDENCE", "SENDS", "INTENDED", "ANSWERED", "CODE"}, images, term.Left, term.Right, term.Left, term.Left, term.Right); err != nil {
		return err
	}
	fmt.Fprintln(w)
	var calls [][]string
	for _, c := range h.Calls {
		what := c.Kind
		if c.Position != nil {
			what = fmt.Sprintf("delete index %d", *c.Position)
		}
		image := "-"
		if c.Key != nil {
			image = repository.ShortKey(*c.Key)
		}
		seen := "-"
		if c.ImagesSeen != nil {
			seen = fmt.Sprint(*c.ImagesSeen)
		}
		calls = append(calls, []string{fmt.Sprint(c.Sequence), what, image, instant(c.SentAt), instant(c.AnsweredAt), orDash(c.Class), orDash(c.HTTPStatus), orDash(c.ErrorCode), seen, c.Worker, fmt.Sprint(c.Epoch)})
	}
	if err := term.Table(w, []string{"CALL", "WHAT", "IMAGE", "SENT", "ANSWERED", "ANSWER", "HTTP", "CODE", "IMAGES SEEN", "WORKER", "EPOCH"}, calls, term.Right); err != nil {
		return err
	}
	for _, e := range h.Audit {
		fmt.Fprintf(w, "\n%s  %s by %s at %s: %s", instant(&e.At), e.Action, e.Actor, e.Host, orDash(e.Reason))
	}
	if len(h.Audit) > 0 {
		fmt.Fprintln(w)
	}
	if t.State == string(jobs.Review) {
		fmt.Fprintf(w, "\nto decide: imagepurge task resolve %d --retry|--close --reason \"…\"\n", t.ID)
	}
	return nil
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
