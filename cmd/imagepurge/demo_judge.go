package main

import (
	"context"
	"encoding/hex"
	"fmt"
	"io"
	"time"

	"github.com/imagepurge/imagepurge/capillary/sandbox"
	"github.com/imagepurge/imagepurge/internal/term"
	"github.com/imagepurge/imagepurge/jobs"
	"github.com/imagepurge/imagepurge/repository"
)

// demoReport is what the demo prints. Its keys are fixed.
type demoReport struct {
	Customers     int64                     `json:"customers"`
	Completed     int64                     `json:"completed"`
	Failed        int64                     `json:"failed"`
	Review        int64                     `json:"review"`
	ImagesFound   int64                     `json:"images_found"`
	ImagesDeleted int64                     `json:"images_deleted"`
	APICalls      int64                     `json:"api_calls"`
	Faults        int64                     `json:"faults_met"`
	Seconds       float64                   `json:"seconds"`
	Outcomes      []repository.OutcomeCount `json:"outcomes"`
	Checks        []check                   `json:"checks"`
	Agrees        bool                      `json:"agrees_with_journal"`
}

// check is one comparison of the report with the sandbox's journal.
type check struct {
	What    string `json:"what"`
	Report  int64  `json:"report"`
	Journal int64  `json:"journal"`
	OK      bool   `json:"ok"`
}

func (r *demoReport) compare(what string, report, journal int64) {
	r.Checks = append(r.Checks, check{what, report, journal, report == journal})
}

// judge compares what is recorded with what the sandbox executed.
func (st *stage) judge(ctx context.Context, batch int64, took time.Duration) (*demoReport, error) {
	b, err := st.d.Batch(ctx, batch)
	if err != nil {
		return nil, err
	}
	r := &demoReport{Customers: b.Tasks, Completed: b.Completed, Failed: b.Failed, Review: b.Review, ImagesFound: b.ImagesFound, ImagesDeleted: b.ImagesDeleted,
		APICalls: b.APICalls, Seconds: float64(took.Milliseconds()) / 1000}
	if r.Outcomes, err = st.d.Outcomes(ctx, batch); err != nil {
		return nil, err
	}
	rows := make(map[int64]repository.ReportRow)
	if err := st.d.Report(ctx, batch, "", func(row repository.ReportRow) error { rows[row.CustomerID] = row; return nil }); err != nil {
		return nil, err
	}
	recorded, targets, err := st.recorded(ctx, batch)
	if err != nil {
		return nil, err
	}

	var calls, executed, wrong, left, faults, unknown, merged, erased int64
	for _, e := range st.api.Journal().Entries() {
		if e.Actor != sandbox.ActorAPI {
			continue
		}
		if e.Kind == sandbox.KindList || e.Kind == sandbox.KindDelete {
			calls++
		}
		if e.Fault != sandbox.NoFault {
			faults++
		}
		for _, gone := range e.Removed {
			executed++
			if !targets[image{e.Customer, key(gone.Token)}] {
				wrong++
			}
		}
	}
	r.Faults = faults
	for i := range st.people.Len() {
		c, _ := st.people.Customer(st.people.ID(i))
		row := rows[c.ID]
		switch c.Standing {
		case sandbox.Unknown:
			unknown++
		case sandbox.Merged:
			merged++
		case sandbox.Erased:
			erased++
		}
		if row.State == string(jobs.Completed) && row.Outcome != nil && *row.Outcome == string(jobs.ImagesDeleted) {
			for _, im := range st.api.Model().Images(c.ID) {
				if targets[image{c.ID, key(im.Token)}] {
					left++
				}
			}
		}
	}
	r.compare("images deleted", r.ImagesDeleted, executed)
	r.compare("images recorded as deleted, one by one", recorded, executed)
	r.compare("deleted images that were no targets", 0, wrong)
	r.compare("targets still there of customers reported as purged", 0, left)
	r.compare("calls", r.APICalls, calls)
	r.compare("unknown customers", count(r.Outcomes, jobs.CustomerNotFound), unknown)
	r.compare("merged customers, left to a person", count(r.Outcomes, jobs.MergedCustomer), merged)
	r.compare("customers erased by the platform", count(r.Outcomes, jobs.CustomerErased), erased)
	r.compare("customers that ended in any other way than planned", r.Customers-r.Completed-count(r.Outcomes, jobs.CustomerNotFound)-count(r.Outcomes, jobs.MergedCustomer), 0)
	r.Agrees = true
	for _, c := range r.Checks {
		r.Agrees = r.Agrees && c.OK
	}
	return r, nil
}

// image names one image of one customer by its identity.
type image struct {
	customer int64
	key      string
}

func key(token string) string {
	k := jobs.KeyOf(token)
	return hex.EncodeToString(k[:])
}

// recorded reads every image row of a batch.
func (st *stage) recorded(ctx context.Context, batch int64) (deleted int64, targets map[image]bool, err error) {
	targets = make(map[image]bool)
	err = st.d.BatchImages(ctx, batch, func(customer int64, key, state string) {
		if state == string(jobs.Deleted) {
			deleted++
		}
		if state != string(jobs.Bystander) {
			targets[image{customer, key}] = true
		}
	})
	return deleted, targets, err
}

func count(all []repository.OutcomeCount, o jobs.Outcome) (n int64) {
	for _, c := range all {
		if c.Outcome != nil && *c.Outcome == string(o) {
			n += c.Tasks
		}
	}
	return n
}

func (r *demoReport) write(w io.Writer) error {
	fmt.Fprintf(w, "%s customers in %.1f s: %s images found, %s deleted, %s calls, %s faults met on the way\n\n",
		term.Number(r.Customers), r.Seconds, term.Number(r.ImagesFound), term.Number(r.ImagesDeleted), term.Number(r.APICalls), term.Number(r.Faults))
	if err := outcomeTable(w, r.Outcomes); err != nil {
		return err
	}
	fmt.Fprintln(w, "\nthe report against the sandbox's own journal:")
	var rows [][]string
	for _, c := range r.Checks {
		ok := "agrees"
		if !c.OK {
			ok = "DIFFERS"
		}
		rows = append(rows, []string{c.What, term.Number(c.Report), term.Number(c.Journal), ok})
	}
	if err := term.Table(w, []string{"", "REPORT", "JOURNAL", ""}, rows, term.Left, term.Right, term.Right); err != nil {
		return err
	}
	verdict := "\nthe report agrees with the journal\n"
	if !r.Agrees {
		verdict = "\nTHE REPORT DOES NOT AGREE WITH THE JOURNAL\n"
	}
	_, err := io.WriteString(w, verdict)
	return err
}
