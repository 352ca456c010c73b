package main

import (
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/imagepurge/imagepurge/internal/settings"
	"github.com/imagepurge/imagepurge/internal/term"
	"github.com/imagepurge/imagepurge/jobs"
	"github.com/imagepurge/imagepurge/repository"
)

// customerHistory is everything known of a customer.
type customerHistory struct {
	Customer int64                `json:"customer_id"`
	Tasks    []repository.History `json:"tasks"`
	Now      *checkedNow          `json:"checked_now"`
}

// checkedNow is a listing made for the question.
type checkedNow struct {
	At         time.Time `json:"at"`
	Class      string    `json:"class"`
	HTTPStatus int       `json:"http_status"`
	Code       string    `json:"error_code"`
	Images     int       `json:"images"`
	Source     string    `json:"source"`
	AccountID  string    `json:"account_id"`
}

func (a *app) customerCommand() *cobra.Command {
	var (
		checkNow     bool
		organization string
	)
	c := &cobra.Command{
		Use: "customer ID", Short: "Show everything known of one customer",
		Long: `Show everything known of one customer: when, what was seen and deleted, and by which
listing it was verified. --check-now makes one listing more, and no DELETE.`,
		Example: "  imagepurge customer 564703420\n  imagepurge customer 564703420 --check-now", Args: exactly(1, "a customer's id"),
		RunE: func(cmd *cobra.Command, args []string) error {
			n, err := id("customer id", args[0])
			if err != nil {
				return err
			}
			return a.customer(cmd.Context(), n, organization, checkNow)
		},
	}
	c.Flags().BoolVar(&checkNow, "check-now", false, "ask the API once more; no DELETE is sent")
	c.Flags().StringVar(&organization, "organization", "", "of this organisation only")
	return c
}

func (a *app) customer(ctx context.Context, n int64, organization string, checkNow bool) error {
	return a.withStore(ctx, func(s settings.Settings, d *database) error {
		tasks, err := d.CustomerTasks(ctx, n, organization)
		if err != nil {
			return err
		}
		out := customerHistory{Customer: n, Tasks: make([]repository.History, 0, len(tasks))}
		for _, t := range tasks {
			h, err := d.History(ctx, t.ID)
			if err != nil {
				return err
			}
			out.Tasks = append(out.Tasks, h)
		}
		if checkNow {
			if out.Now, err = a.checkNow(ctx, s, n, organization, tasks); err != nil {
				return err
			}
		} else if len(tasks) == 0 {
			return hint(fmt.Errorf("nothing is known of customer %d", n), "imagepurge customer %d --check-now asks the API", n)
		}
		return a.print(out, func(w io.Writer) error { return a.showCustomer(w, out) })
	})
}

func (a *app) checkNow(ctx context.Context, s settings.Settings, n int64, organization string, tasks []repository.Task) (*checkedNow, error) {
	if organization == "" && len(tasks) > 0 {
		organization = tasks[len(tasks)-1].Organization
	}
	o, ok := s.Organization(organization)
	if !ok && len(s.Organizations) == 1 {
		o, ok = s.Organizations[0], true
	}
	if !ok {
		return nil, usagef("there are several organisations: give --organization")
	}
	api, err := a.client(s, o)
	if err != nil {
		return nil, err
	}
	who := jobs.Customer{ID: n, Source: o.Source, AccountID: o.AccountID}
	if len(tasks) > 0 { // as it was searched before
		last := tasks[len(tasks)-1]
		if last.Source != nil {
			who.Source = *last.Source
		}
		if last.AccountID != nil {
			who.AccountID = *last.AccountID
		}
	}
	ans := api.List(ctx, who)
	return &checkedNow{At: ans.AnsweredAt.UTC(), Class: string(ans.Class), HTTPStatus: ans.HTTPStatus, Code: ans.Code, Images: len(ans.Images), Source: who.Source, AccountID: who.AccountID}, nil
}

func (a *app) showCustomer(w io.Writer, c customerHistory) error {
	for i, h := range c.Tasks {
		if i > 0 {
			fmt.Fprintln(w)
		}
		if err := a.showHistory(w, h); err != nil {
			return err
		}
		t := h.Task
		switch {
		case t.VerifiedAt != nil && t.Outcome != nil && !t.DryRun:
			fmt.Fprintf(w, "\na listing of %s showed none of them; searched: source %s, account %s. Other sources and accounts are not covered,\nnor what was uploaded since.\n",
				term.Time(*t.VerifiedAt, nil), orDash(t.Source), orDash(t.AccountID))
		case t.State == string(jobs.Completed) && !t.DryRun:
			fmt.Fprintln(w, "\nno listing was made after the last delete: the answers of the deletes are the evidence")
		}
	}
	if n := c.Now; n != nil {
		fmt.Fprintf(w, "\nnow, %s: ", term.Time(n.At, nil))
		if n.Class == string(jobs.ClassListed) {
			fmt.Fprintf(w, "%d images (source %s)\n", n.Images, n.Source)
		} else {
			fmt.Fprintf(w, "%s, HTTP %d, code %s\n", n.Class, n.HTTPStatus, n.Code)
		}
	}
	return nil
}

func (a *app) reportCommand() *cobra.Command {
	var format, state, file string
	c := &cobra.Command{
		Use: "report BATCH", Short: "Write the completion report of a batch: one line a customer",
		Example: "  imagepurge report 12 --format csv > batch-12.csv\n  imagepurge report 12 --format csv --state failed > again.csv",
		Args:    exactly(1, "a batch"),
		RunE: func(cmd *cobra.Command, args []string) error {
			n, err := id("batch", args[0])
			if err != nil {
				return err
			}
			if format == "" && a.format == "json" {
				format = "json"
			}
			if format != "" && format != "csv" && format != "json" {
				return usagef("--format is csv or json, not %q", format)
			}
			return a.withStore(cmd.Context(), func(_ settings.Settings, d *database) error {
				return a.report(cmd.Context(), d, n, format, state, file)
			})
		},
	}
	c.Flags().StringVar(&format, "format", "", "csv (the default) or json")
	c.Flags().StringVar(&state, "state", "", "only customers in this state; the CSV is a valid list for enqueue")
	c.Flags().StringVar(&file, "file", "", "write to a `file` instead of stdout")
	return c
}

func (a *app) report(ctx context.Context, d *database, n int64, format, state, file string) (err error) {
	b, err := d.Batch(ctx, n)
	if err != nil {
		return notFoundHint(err)
	}
	w := a.out.Out
	if file != "" {
		f, err2 := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
		if err2 != nil {
			return fmt.Errorf("write the report: %w", err2)
		}
		defer func() { err = errors.Join(err, f.Close()) }()
		w = f
	}
	if format == "json" {
		return jsonReport(ctx, d, w, b, state)
	}
	return csvReport(ctx, d, w, n, state)
}

func csvReport(ctx context.Context, d *database, w io.Writer, n int64, state string) error {
	out := csv.NewWriter(w)
	if err := out.Write([]string{"task_id", "customer_id", "state", "outcome", "error_code", "http_status", "error_message", "images_found", "images_deleted",
		"images_new", "attempts", "api_calls", "verified_at", "started_at", "finished_at"}); err != nil {
		return err
	}
	err := d.Report(ctx, n, state, func(r repository.ReportRow) error {
		return out.Write([]string{
			strconv.FormatInt(r.Task, 10), strconv.FormatInt(r.CustomerID, 10), r.State, blank(r.Outcome), blank(r.ErrorCode), blank(r.HTTPStatus), blank(r.ErrorMessage),
			strconv.Itoa(r.Found), strconv.Itoa(r.Deleted), strconv.Itoa(r.New), strconv.Itoa(r.Attempts), strconv.Itoa(r.APICalls),
			rfc3339(r.VerifiedAt), rfc3339(r.StartedAt), rfc3339(r.FinishedAt),
		})
	})
	out.Flush()
	return errors.Join(err, out.Error())
}

// jsonReport streams one object: the batch, its outcomes, and every task.
func jsonReport(ctx context.Context, d *database, w io.Writer, b repository.Batch, state string) error {
	outcomes, err := d.Outcomes(ctx, b.ID)
	if err != nil {
		return err
	}
	head, err := json.Marshal(struct {
		Batch    repository.Batch          `json:"batch"`
		Outcomes []repository.OutcomeCount `json:"outcomes"`
	}{b, outcomes})
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintf(w, "%s,\"tasks\":[", head[:len(head)-1]); err != nil {
		return err
	}
	separator := "\n"
	err = d.Report(ctx, b.ID, state, func(r repository.ReportRow) error {
		line, err := json.Marshal(r)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(w, "%s%s", separator, line)
		separator = ",\n"
		return err
	})
	if err != nil {
		return err
	}
	_, err = io.WriteString(w, "\n]}\n")
	return err
}

func blank[T any](p *T) string {
	if p == nil {
		return ""
	}
	return fmt.Sprint(*p)
}

func rfc3339(t *time.Time) string {
	if t == nil {
		return ""
	}
	return t.UTC().Format(time.RFC3339)
}
