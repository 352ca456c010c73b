package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/imagepurge/imagepurge/capillary"
	"github.com/imagepurge/imagepurge/internal/settings"
	"github.com/imagepurge/imagepurge/internal/term"
	"github.com/imagepurge/imagepurge/jobs"
	"github.com/imagepurge/imagepurge/repository"
)

// customerView is everything known of a customer.
type customerView struct {
	Customer   int64                `json:"customer_id"`
	Answers    []customerAnswer     `json:"answers"` // one for each source and account searched, the newest first
	NotCovered []string             `json:"not_covered"`
	Tasks      []repository.History `json:"tasks"`
	Timeline   []repository.Event   `json:"timeline"`
	Noticed    []notice             `json:"noticed"`
	Now        *checkedNow          `json:"checked_now"`
}

// customerAnswer is an answer with the words that can be told to the customer.
type customerAnswer struct {
	repository.Answer
	Says string   `json:"says"`
	Also []string `json:"also"`
}

// notCovered is what no listing can show.
var notCovered = []string{
	"other sources and accounts than those named above",
	"what was uploaded since the listing named above",
	"copies elsewhere: addresses of images that were handed out before, caches, the platform's own files and backups",
}

func (a *app) customerCommand() *cobra.Command {
	var (
		checkNow     bool
		organization string
	)
	c := &cobra.Command{
		Use: "customer ID", Short: "Answer for one customer whether the images are gone, and show everything known",
		Long: `Answer whether a customer's images are gone: by which listing that was verified, in which
source and account, and what is not covered; then every task and call.

--check-now makes one listing more, and no DELETE. It asks as the newest task did, changes
no task, and is recorded in the audit log: who asked, when, and how many images were listed.
It is refused while the API's limit is used up.`,
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

func (a *app) customer(ctx context.Context, n int64, organization string, check bool) error {
	return a.withStore(ctx, func(s settings.Settings, d *database) error {
		all, err := d.CustomerHistory(ctx, n, organization)
		if err != nil {
			return err
		}
		if !check && len(all) == 0 {
			return hint(fmt.Errorf("nothing is known of customer %d", n), "imagepurge customer %d --check-now asks the API", n)
		}
		v := customerView{Customer: n, NotCovered: notCovered, Tasks: all, Timeline: repository.Timeline(all)}
		v.Noticed = noticed(v.Timeline, 0)
		var checked *repository.Checked
		if check {
			if v.Now, checked, err = a.checkNow(ctx, s, d, n, organization, all); err != nil {
				return err
			}
		}
		v.Answers = answersFor(all, checked)
		if err := a.print(v, func(w io.Writer) error { return showCustomer(w, v) }); err != nil {
			return err
		}
		return v.Now.failure()
	})
}

func answersFor(all []repository.History, now *repository.Checked) []customerAnswer {
	out := []customerAnswer{}
	for _, x := range repository.Answers(all, now) {
		says, also := answerText(x)
		out = append(out, customerAnswer{x, says, also})
	}
	return out
}

func showCustomer(w io.Writer, v customerView) error {
	fmt.Fprintf(w, "customer %d: is the photo gone?\n", v.Customer)
	for _, x := range v.Answers {
		fmt.Fprintf(w, "\n%s\n", x.Says)
		for _, s := range x.Also {
			fmt.Fprintf(w, "  %s\n", s)
		}
		account := x.AccountID
		if account == "" {
			account = "-"
		}
		fmt.Fprintf(w, "  searched: source %s, account %s, of organisation %s\n", x.Source, account, x.Organization)
	}
	if v.Now != nil {
		paragraph(w, "Asked now, "+second(&v.Now.At), v.Now.Says)
	}
	paragraph(w, "Not covered", v.NotCovered)
	if len(v.Tasks) == 0 {
		return nil
	}
	fmt.Fprintln(w)
	if err := customerTasks(w, v.Tasks); err != nil {
		return err
	}
	fmt.Fprintln(w)
	if err := printTimeline(w, v.Timeline, 0); err != nil {
		return err
	}
	var says []string
	for _, n := range v.Noticed {
		says = append(says, n.Says)
	}
	paragraph(w, "What was noticed", says)
	paragraph(w, "What can be done", toLookAt(v.Tasks))
	return nil
}

// toLookAt are the tasks that wait for a person, else the newest one.
func toLookAt(all []repository.History) (commands []string) {
	show := func(h repository.History) {
		commands = append(commands, fmt.Sprintf("imagepurge task show %d", h.Task.ID))
	}
	for _, h := range all {
		if h.Task.State == string(jobs.Review) {
			show(h)
		}
	}
	if len(commands) == 0 {
		show(all[len(all)-1])
	}
	return commands
}

func customerTasks(w io.Writer, all []repository.History) error {
	var rows [][]string
	for _, h := range all {
		t := h.Task
		what := "all images"
		if t.Named > 0 {
			what = plural(t.Named, "named image")
		}
		if t.DryRun {
			what += ", dry run"
		}
		rows = append(rows, []string{
			fmt.Sprint(t.ID), fmt.Sprint(t.Batch), what, t.State, orDash(t.Outcome), orDash(t.Mode), orDash(t.Source), orDash(t.AccountID),
			fmt.Sprint(t.Found), fmt.Sprint(t.Deleted), when(t.VerifiedAt), when(t.FinishedAt),
		})
	}
	return term.Table(w, []string{"TASK", "BATCH", "OF", "STATE", "OUTCOME", "MODE", "SOURCE", "ACCOUNT", "FOUND", "DELETED", "VERIFIED", "FINISHED"}, rows,
		term.Right, term.Right, term.Left, term.Left, term.Left, term.Left, term.Left, term.Left, term.Right, term.Right)
}

// checkedNow is a listing made for the question.
type checkedNow struct {
	At         time.Time `json:"at"`
	Class      string    `json:"class"`
	HTTPStatus int       `json:"http_status"`
	Code       string    `json:"error_code"`
	Images     int       `json:"images"`
	Returned   int       `json:"returned"` // targets that had gone and are listed
	Targets    int       `json:"targets"`  // targets that are listed, returned or not
	Known      int       `json:"known"`    // no targets, and seen before
	New        int       `json:"new"`      // never seen before
	Source     string    `json:"source"`
	AccountID  string    `json:"account_id"`
	Says       []string  `json:"says"`

	message string
}

// checkNow makes one listing, compares it with the history and records that it was
// made. It has no clearance, so it could not send a DELETE.
func (a *app) checkNow(ctx context.Context, s settings.Settings, d *database, n int64, organization string, all []repository.History) (*checkedNow, *repository.Checked, error) {
	o, who, err := whomToAsk(s, n, organization, all)
	if err != nil {
		return nil, nil, err
	}
	if err := mayAsk(ctx, d, o.Name); err != nil {
		return nil, nil, err
	}
	api, err := a.client(s, o)
	if err != nil {
		return nil, nil, err
	}
	defer api.CloseIdleConnections()
	ans, err := listed(ctx, d, api, o.Name, who)
	if err != nil {
		return nil, nil, err
	}
	now := &checkedNow{
		At: ans.AnsweredAt.UTC(), Class: string(ans.Class), HTTPStatus: ans.HTTPStatus, Code: ans.Code, Images: len(ans.Images),
		Source: who.Source, AccountID: who.AccountID, message: ans.Message,
	}
	checked := &repository.Checked{Organization: o.Name, Source: who.Source, AccountID: who.AccountID, At: now.At, Class: now.Class, Shown: ans.Images}
	now.compare(all, checked, s.ListingLag)
	if err := d.RecordCheck(context.WithoutCancel(ctx), a.person(), newestTask(all, o.Name), *checked, ans.HTTPStatus, ans.Code); err != nil {
		return nil, nil, err
	}
	return now, checked, nil
}

// listed is a person's listing. Where the OAuth token is not taken it is made once
// more, with a new one: if that is not taken either the answer says so. Another
// organisation's images are no answer.
func listed(ctx context.Context, d *database, api *capillary.Client, organization string, who jobs.Customer) (jobs.Answer, error) {
	ans := api.List(ctx, who)
	if ans.Code == jobs.CodeTokenExpired {
		ans = api.List(ctx, who)
	}
	key, err := d.KeyState(ctx, organization)
	if errors.Is(err, repository.ErrNotFound) {
		return ans, nil
	}
	if err != nil {
		return ans, err
	}
	if ours := key.Remote; ours != nil && slices.ContainsFunc(ans.Organizations, func(n int64) bool { return n != *ours }) {
		ans.Class, ans.Code, ans.Images = jobs.ClassRefused, jobs.CodeWrongOrganisation, nil
		ans.Message = fmt.Sprintf("the images are not of organisation %d, whose images were seen before", *ours)
	}
	return ans, nil
}

// whomToAsk is the organisation to ask, and the customer as the newest task searched
// for him.
func whomToAsk(s settings.Settings, n int64, organization string, all []repository.History) (o settings.Organization, who jobs.Customer, err error) {
	var last *repository.Task
	if len(all) > 0 {
		last = &all[len(all)-1].Task
		organization = last.Organization
	}
	if organization == "" {
		if len(s.Organizations) != 1 {
			return o, who, usagef("there are several organisations: give --organization")
		}
		organization = s.Organizations[0].Name
	}
	o, ok := s.Organization(organization)
	if !ok { // another brand's platform knows another customer by this id
		return o, who, hint(fmt.Errorf("the settings have no organisation %q", organization), "give the settings of %s with --config, or name another organisation with --organization", organization)
	}
	who = jobs.Customer{ID: n, Source: o.Source, AccountID: o.AccountID}
	if last != nil && last.Source != nil {
		who.Source, who.AccountID = *last.Source, ""
		if last.AccountID != nil {
			who.AccountID = *last.AccountID
		}
	}
	return o, who, nil
}

// mayAsk refuses a listing while all processes wait for the key's limit.
func mayAsk(ctx context.Context, d *database, organization string) error {
	known, err := d.Organizations(ctx, organization)
	if err != nil {
		return err
	}
	for _, o := range known {
		if o.Name == organization && o.PausedUntil != nil {
			return hint(fmt.Errorf("the API's limit is used up: it was not asked"), "ask again after %s", second(o.PausedUntil))
		}
	}
	return nil
}

func newestTask(all []repository.History, organization string) (id int64) {
	for _, h := range all {
		if h.Task.Organization == organization {
			id = h.Task.ID
		}
	}
	return id
}

// failure is the error of a listing that could not be had. That the platform does
// not show the customer is an answer.
func (n *checkedNow) failure() error {
	if n == nil {
		return nil
	}
	err := errors.New("the API could not be asked: " + n.message)
	switch jobs.Class(n.Class) {
	case jobs.ClassListed, jobs.ClassNotFound, jobs.ClassErased, jobs.ClassMerged:
		return nil
	case jobs.ClassRefused:
		return hint(err, "imagepurge doctor says what to mend")
	case jobs.ClassOverLimit:
		return hint(err, "ask again in a minute")
	}
	return hint(err, "ask again; imagepurge doctor says what to mend if that stays so")
}
