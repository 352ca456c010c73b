package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/imagepurge/imagepurge/internal/settings"
	"github.com/imagepurge/imagepurge/internal/term"
	"github.com/imagepurge/imagepurge/jobs"
	"github.com/imagepurge/imagepurge/jobs/estimate"
	"github.com/imagepurge/imagepurge/jobs/schedule"
	"github.com/imagepurge/imagepurge/repository"
)

// paceOf is how many calls a minute an organisation's key allows: what 429s and
// people have made of it, or else what the settings say.
func paceOf(ctx context.Context, d *database, o settings.Organization) (float64, error) {
	state, err := d.KeyState(ctx, o.Name)
	switch {
	case errors.Is(err, repository.ErrNotFound):
		return float64(o.PerMinute()), nil
	case err != nil:
		return 0, err
	case state.Told || state.Set != nil:
		return state.Pace, nil
	}
	return float64(o.PerMinute()), nil
}

// keyOf tells keys apart: organisations of one key share its pace.
func keyOf(o settings.Organization) string {
	if o.Username == "" && o.OAuthKey == "" {
		return "organisation " + o.Name
	}
	digest := o.KeyDigest()
	return string(digest[:])
}

const (
	// batchTells is from how many ended customers on a batch tells what one costs.
	batchTells = 20
	// othersTell is the same for an organisation's other batches.
	othersTell = 100
)

// callsOf is what a customer of a batch costs: as seen so far, else as the mode says
// for one image.
func callsOf(o settings.Organization, b repository.Batch, seen map[string]repository.Batch) float64 {
	ended := func(b repository.Batch) int64 { return b.Completed + b.Failed + b.Review }
	switch others := seen[b.Organization]; {
	case b.DryRun:
		return 1
	case ended(b) >= batchTells:
		return float64(b.APICalls) / float64(ended(b))
	case ended(others) >= othersTell:
		return float64(others.APICalls) / float64(ended(others))
	case o.Mode == jobs.Economy:
		return 2
	}
	return 3
}

// reckoned is when a batch will be done, as far as can be told.
type reckoned struct {
	Batch    int64      `json:"batch_id"`
	Calls    int64      `json:"calls_estimated"` // for what is open
	Until    *time.Time `json:"until_estimated"`
	Night    int        `json:"night_estimated"` // the how many-th from now on; 0: unknown
	Unknown  string     `json:"unknown"`         // why it can't be told
	Deadline *time.Time `json:"deadline"`
	Late     bool       `json:"misses_deadline"`
}

// reckon reckons when all open batches will be done. One may be taken as if it were
// not paused.
func (a *app) reckon(ctx context.Context, d *database, s settings.Settings, resumed int64) (map[int64]reckoned, error) {
	batches, err := d.Batches(ctx, 1000)
	if err != nil {
		return nil, err
	}
	var open []int64
	seen := make(map[string]repository.Batch)
	for _, b := range batches {
		if !b.DryRun {
			all := seen[b.Organization]
			all.APICalls, all.Completed = all.APICalls+b.APICalls, all.Completed+b.Completed+b.Failed+b.Review
			seen[b.Organization] = all
		}
		if b.Open > 0 && b.State != "cancelled" {
			open = append(open, b.ID)
		}
	}
	if len(open) == 0 {
		return map[int64]reckoned{}, nil
	}
	orders, err := d.BatchOrders(ctx, open)
	if err != nil {
		return nil, err
	}
	var work []estimate.Organization
	out := make(map[int64]reckoned, len(open))
	for _, o := range s.Organizations {
		pace, err := paceOf(ctx, d, o)
		if err != nil {
			return nil, err
		}
		e := estimate.Organization{Key: keyOf(o), Pace: pace}
		for _, b := range batches {
			if _, waits := orders[b.ID]; !waits || b.Organization != o.Name {
				continue
			}
			each := callsOf(o, b, seen)
			e.Batches = append(e.Batches, estimate.Batch{
				ID: b.ID, Order: orders[b.ID], Customers: b.Open, Calls: each, Paused: b.State == "paused" && b.ID != resumed,
			})
			out[b.ID] = reckoned{Batch: b.ID, Calls: int64(float64(b.Open) * each), Deadline: b.Deadline}
		}
		if len(e.Batches) > 0 {
			if e.Plan, e.Stopped, err = standing(ctx, d, o); err != nil {
				return nil, err
			}
			work = append(work, e)
		}
	}
	now := a.now()
	for id, end := range estimate.Ends(now, work) {
		r := out[id]
		r.Night, r.Unknown = end.Night, end.Unknown
		if !end.At.IsZero() {
			r.Until = &end.At
		}
		r.Late = r.Deadline != nil && (r.Deadline.Before(now) || r.Unknown == estimate.TooFar || r.Until != nil && r.Until.After(*r.Deadline))
		out[id] = r
	}
	return out, nil
}

// standing is an organisation's schedule in use, and why nothing of it is done, in a
// word.
func standing(ctx context.Context, d *database, o settings.Organization) (plan schedule.Calendar, why string, err error) {
	plan = o.Schedule
	known, err := d.Organizations(ctx, o.Name)
	if err != nil || len(known) == 0 {
		return plan, "", err
	}
	table, err := d.Timetable(ctx, known[0].ID)
	if err != nil {
		return plan, "", err
	}
	plan = inForce(plan, table)
	look, err := d.Outlook(ctx, known[0].ID, 0)
	switch {
	case err != nil:
		return plan, "", err
	case look.Breaker != "":
		return plan, "the breaker is open", nil
	case look.Paused:
		return plan, estimate.Paused, nil
	}
	return plan, "", nil
}

// sentence says when, for a person: "done about 2026-11-25 04:10 UTC (third night)".
func (r reckoned) sentence() string {
	switch {
	case r.Until != nil:
		return fmt.Sprintf("done about %s (%s night)", term.Time(*r.Until, nil), ordinal(r.Night))
	case r.Unknown != "":
		return "when it will be done is unknown: " + r.Unknown
	}
	return "when it will be done is unknown: its organisation is not in the settings"
}

// lateness says that a deadline can't be met, with numbers; empty: it can.
func (r reckoned) lateness(now time.Time) string {
	switch {
	case !r.Late:
		return ""
	case r.Deadline.Before(now):
		return fmt.Sprintf("batch %d: its deadline was %s, and about %s calls are left; %s", r.Batch, term.Time(*r.Deadline, nil), term.Number(r.Calls), r.sentence())
	}
	return fmt.Sprintf("batch %d can't meet its deadline %s: about %s calls are left; %s", r.Batch, term.Time(*r.Deadline, nil), term.Number(r.Calls), r.sentence())
}

func ordinal(n int) string {
	words := [...]string{"", "first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth"}
	if n > 0 && n < len(words) {
		return words[n]
	}
	switch n % 10 {
	case 1:
		if n%100 != 11 {
			return strconv.Itoa(n) + "st"
		}
	case 2:
		if n%100 != 12 {
			return strconv.Itoa(n) + "nd"
		}
	case 3:
		if n%100 != 13 {
			return strconv.Itoa(n) + "rd"
		}
	}
	return strconv.Itoa(n) + "th"
}

// deadline reads the flag of that name: an instant, or a day, which counts to its
// end by the organisation's clock.
func deadline(text string, o settings.Organization, now time.Time) (*time.Time, error) {
	if text == "" {
		return nil, nil
	}
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		if at, err = time.ParseInLocation(time.DateOnly, text, o.Schedule.Zone()); err != nil {
			return nil, usagef("--deadline is a day such as 2026-12-01, or an instant such as 2026-12-01T06:00:00Z, not %q", text)
		}
		at = at.AddDate(0, 0, 1)
	}
	if !at.After(now) {
		return nil, usagef("--deadline %s is past", text)
	}
	return &at, nil
}
