package main

import (
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/imagepurge/imagepurge/internal/settings"
	"github.com/imagepurge/imagepurge/repository"
)

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
	c.Flags().StringVar(&file, "file", "", "write to a new `file` instead of stdout")
	return c
}

func (a *app) report(ctx context.Context, d *database, n int64, format, state, file string) error {
	b, err := d.Batch(ctx, n)
	if err != nil {
		return notFoundHint(err)
	}
	write := func(w io.Writer) error {
		if format == "json" {
			return jsonReport(ctx, d, w, b, state)
		}
		return csvReport(ctx, d, w, n, state)
	}
	if file == "" {
		return write(a.out.Out)
	}
	if err := writeNew(file, write); err != nil {
		return fmt.Errorf("write the report: %w", err)
	}
	return nil
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
