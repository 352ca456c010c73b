package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/imagepurge/imagepurge/internal/settings"
	"github.com/imagepurge/imagepurge/internal/term"
	"github.com/imagepurge/imagepurge/repository"
)

// withStore runs do on the open database and closes it.
func (a *app) withStore(ctx context.Context, do func(settings.Settings, *database) error) (err error) {
	s, err := a.load()
	if err != nil {
		return err
	}
	d, err := a.open(ctx, s)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	return do(s, d)
}

func (a *app) batchCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "batch", Short: "List, show, pause, resume, cancel or retry batches",
		Example: "  imagepurge batch list\n  imagepurge batch cancel 12 --reason \"the wrong list\"",
		Args:    cobra.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	c.AddCommand(a.batchListCommand(), a.batchShowCommand())

	var pauseReason, resumeReason string
	pause := &cobra.Command{
		Use: "pause BATCH", Short: "Stop a batch; calls under way are answered and recorded",
		Example: "  imagepurge batch pause 12 --reason \"asked by the shop\"", Args: exactly(1, "a batch"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.decideBatch(cmd.Context(), args[0], pauseReason, func(ctx context.Context, d *database, n int64) (string, error) {
				return fmt.Sprintf("batch %d is paused: no delete is begun any more; to go on: imagepurge batch resume %d --reason \"…\"", n, n),
					d.PauseBatch(ctx, a.person(), n, pauseReason)
			})
		},
	}
	needReason(pause, &pauseReason)
	resume := &cobra.Command{
		Use: "resume BATCH", Short: "Let a paused batch go on",
		Example: "  imagepurge batch resume 12 --reason \"checked\"", Args: exactly(1, "a batch"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.decideBatch(cmd.Context(), args[0], resumeReason, func(ctx context.Context, d *database, n int64) (string, error) {
				return fmt.Sprintf("batch %d goes on", n), d.ResumeBatch(ctx, a.person(), n, resumeReason)
			})
		},
	}
	needReason(resume, &resumeReason)
	c.AddCommand(pause, resume, a.batchCancelCommand(), a.batchRetryCommand())
	return c
}

func needReason(c *cobra.Command, reason *string) {
	c.Flags().StringVar(reason, "reason", "", "why; it stands in the audit log")
}

func checkReason(reason string) error {
	if reason == "" {
		return usagef("give --reason \"…\": it stands in the audit log")
	}
	return nil
}

func (a *app) decideBatch(ctx context.Context, arg, reason string, do func(context.Context, *database, int64) (string, error)) error {
	n, err := id("batch", arg)
	if err != nil {
		return err
	}
	if err := checkReason(reason); err != nil {
		return err
	}
	return a.withStore(ctx, func(_ settings.Settings, d *database) error {
		done, err := do(ctx, d, n)
		if err != nil {
			return notFoundHint(err)
		}
		b, err := d.Batch(ctx, n)
		if err != nil {
			return err
		}
		return a.print(b, func(w io.Writer) error { _, err := fmt.Fprintln(w, done); return err })
	})
}

func notFoundHint(err error) error {
	if errors.Is(err, repository.ErrNotFound) {
		return hint(err, "imagepurge batch list; imagepurge task list")
	}
	return err
}

func (a *app) batchListCommand() *cobra.Command {
	var limit int
	c := &cobra.Command{
		Use: "list", Short: "List batches, newest first", Example: "  imagepurge batch list -o json", Args: exactly(0, "no arguments"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withStore(cmd.Context(), func(_ settings.Settings, d *database) error {
				all, err := d.Batches(cmd.Context(), limit)
				if err != nil {
					return err
				}
				return a.print(all, func(w io.Writer) error { return a.batchTable(w, all) })
			})
		},
	}
	c.Flags().IntVar(&limit, "limit", 50, "how many")
	return c
}

func (a *app) batchTable(w io.Writer, all []repository.Batch) error {
	var rows [][]string
	for _, b := range all {
		status := b.Status()
		if b.DryRun {
			status += ", dry run"
		}
		rows = append(rows, []string{
			fmt.Sprint(b.ID), b.Organization, status, term.Number(b.Tasks), term.Number(b.Open), term.Number(b.Completed), term.Number(b.Failed),
			term.Number(b.Review), term.Number(b.Cancelled), term.Number(b.ImagesDeleted), term.Time(b.CreatedAt, nil), b.Name,
		})
	}
	return term.Table(w, []string{"BATCH", "ORGANIZATION", "STATE", "TASKS", "OPEN", "COMPLETED", "FAILED", "REVIEW", "CANCELLED", "IMAGES DELETED", "TAKEN IN", "NAME"},
		rows, term.Right, term.Left, term.Left, term.Right, term.Right, term.Right, term.Right, term.Right, term.Right, term.Right, term.Left, term.Left)
}

// shownBatch is a batch with its outcomes and the time it will take.
type shownBatch struct {
	repository.Batch
	Outcomes []repository.OutcomeCount `json:"outcomes"`
	Until    *time.Time                `json:"until_estimated"`
	Unknown  string                    `json:"unknown"`
	Late     bool                      `json:"misses_deadline"`

	reckoned *reckoned
}

func (a *app) batchShowCommand() *cobra.Command {
	return &cobra.Command{
		Use: "show BATCH", Short: "Show a batch, its outcomes, and when it will end", Example: "  imagepurge batch show 12", Args: exactly(1, "a batch"),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx := cmd.Context()
			n, err := id("batch", args[0])
			if err != nil {
				return err
			}
			return a.withStore(ctx, func(s settings.Settings, d *database) error {
				b, err := d.Batch(ctx, n)
				if err != nil {
					return notFoundHint(err)
				}
				show := shownBatch{Batch: b}
				if show.Outcomes, err = d.Outcomes(ctx, n); err != nil {
					return err
				}
				ends, err := a.reckon(ctx, d, s, 0)
				if err != nil {
					return err
				}
				if r, open := ends[n]; open {
					show.reckoned, show.Until, show.Unknown, show.Late = &r, r.Until, r.Unknown, r.Late
				}
				return a.print(show, func(w io.Writer) error { return a.showBatch(w, show) })
			})
		},
	}
}

func (a *app) showBatch(w io.Writer, b shownBatch) error {
	fmt.Fprintf(w, "batch %d  %s\n", b.ID, term.Visible(b.Name))
	fmt.Fprintf(w, "state     %s\n", b.Status())
	if b.DryRun {
		fmt.Fprintln(w, "dry run   nothing is deleted")
	}
	fmt.Fprintf(w, "taken in  %s, asked by %s, because: %s\n", term.Time(b.CreatedAt, nil), orDash(b.RequestedBy), orDash(b.Reason))
	fmt.Fprintf(w, "customers %s, of which %s open\n", term.Number(b.Tasks), term.Number(b.Open))
	if b.reckoned != nil {
		fmt.Fprintf(w, "ends      %s\n", b.reckoned.sentence())
		if late := b.reckoned.lateness(a.now()); late != "" {
			fmt.Fprintf(w, "attention %s\n", late)
		}
	}
	if b.Deadline != nil {
		fmt.Fprintf(w, "deadline  %s\n", term.Time(*b.Deadline, nil))
	}
	fmt.Fprintf(w, "images    %s found, %s deleted, with %s calls\n\n", term.Number(b.ImagesFound), term.Number(b.ImagesDeleted), term.Number(b.APICalls))
	return outcomeTable(w, b.Outcomes)
}

func outcomeTable(w io.Writer, all []repository.OutcomeCount) error {
	var rows [][]string
	for _, o := range all {
		rows = append(rows, []string{o.State, orDash(o.Outcome), orDash(o.ErrorCode), term.Number(o.Tasks), term.Number(o.Found), term.Number(o.Deleted), term.Number(o.Calls)})
	}
	return term.Table(w, []string{"STATE", "OUTCOME", "CODE", "CUSTOMERS", "IMAGES FOUND", "IMAGES DELETED", "CALLS"}, rows,
		term.Left, term.Left, term.Left, term.Right, term.Right, term.Right, term.Right)
}

// restBeforeTelling is how long a cancel waits for workers to give back what
// they have in hand, so that it can tell what became of it.
const restBeforeTelling = 6 * time.Second

func (a *app) batchCancelCommand() *cobra.Command {
	var reason string
	c := &cobra.Command{
		Use: "cancel BATCH", Short: "Stop a batch for good, and say what was done and what was not",
		Long: `Stop a batch for good. No delete is begun any more, within 5 seconds on all workers;
deletes under way are answered and recorded. It then says how many customers were
purged, untouched, or are in doubt: their last delete's outcome is unknown, and a
worker finds it out once they have settled. What is deleted can't be brought back.`,
		Example: "  imagepurge batch cancel 12 --reason \"the wrong list\"", Args: exactly(1, "a batch"),
	}
	needReason(c, &reason)
	c.RunE = func(cmd *cobra.Command, args []string) error {
		ctx := cmd.Context()
		n, err := id("batch", args[0])
		if err != nil {
			return err
		}
		if err := checkReason(reason); err != nil {
			return err
		}
		return a.withStore(ctx, func(_ settings.Settings, d *database) error {
			b, err := d.Batch(ctx, n)
			if err != nil {
				return notFoundHint(err)
			}
			if b.Finished() {
				return hint(&repository.StateError{What: fmt.Sprintf("batch %d", n), State: b.Status(), Hint: "nothing of it is left to cancel"}, "imagepurge batch show %d", n)
			}
			// It deletes nothing: a person is asked, a script in need of a stop is not.
			if isTerminal(a.stdin) {
				if err := a.confirm(fmt.Sprintf("cancel batch %d (%s) with %s open customers for good?", n, b.Name, term.Number(b.Open))); err != nil {
					return err
				}
			}
			if _, err := d.CancelBatch(ctx, a.person(), n, reason); err != nil {
				return err
			}
			st, err := a.standing(ctx, d, n, reason)
			if err != nil {
				return err
			}
			return a.print(st, func(w io.Writer) error {
				_, err := fmt.Fprintf(w, "batch %d is cancelled: %s purged, %s partly purged, %s untouched, %s in doubt, %s under way, %s failed or in review\n",
					n, term.Number(st.Purged), term.Number(st.Partly), term.Number(st.Untouched), term.Number(st.InDoubt), term.Number(st.UnderWay), term.Number(st.Other))
				if st.InDoubt+st.UnderWay > 0 {
					a.note("a worker settles those in doubt; look again with: imagepurge batch show %d", n)
				}
				return err
			})
		})
	}
	return c
}

// standing waits a little for workers to give back what they have in hand.
func (a *app) standing(ctx context.Context, d *database, n int64, reason string) (repository.Standing, error) {
	deadline := a.now().Add(restBeforeTelling)
	for {
		st, err := d.BatchStanding(ctx, n)
		if err != nil || st.UnderWay == 0 || a.now().After(deadline) {
			return st, err
		}
		select {
		case <-ctx.Done():
			return st, ctx.Err()
		case <-time.After(500 * time.Millisecond):
		}
		if _, err := d.CancelBatch(ctx, a.person(), n, reason); err != nil {
			return st, err
		}
	}
}

func (a *app) batchRetryCommand() *cobra.Command {
	var (
		reason string
		review bool
	)
	c := &cobra.Command{
		Use: "retry BATCH", Short: "Try the failed customers of a batch again",
		Example: "  imagepurge batch retry 12 --reason \"the API was down\"\n  imagepurge batch retry 12 --review --reason \"all looked at\"", Args: exactly(1, "a batch"),
	}
	needReason(c, &reason)
	c.Flags().BoolVar(&review, "review", false, "those in review as well: they were looked at")
	c.RunE = func(cmd *cobra.Command, args []string) error {
		ctx := cmd.Context()
		n, err := id("batch", args[0])
		if err != nil {
			return err
		}
		if err := checkReason(reason); err != nil {
			return err
		}
		return a.withStore(ctx, func(_ settings.Settings, d *database) error {
			again, err := d.RetryBatch(ctx, a.person(), n, reason, review)
			if err != nil {
				return notFoundHint(err)
			}
			return a.print(map[string]int64{"batch_id": n, "retried": again}, func(w io.Writer) error {
				_, err := fmt.Fprintf(w, "%s customers of batch %d are tried again\n", term.Number(again), n)
				return err
			})
		})
	}
	return c
}
