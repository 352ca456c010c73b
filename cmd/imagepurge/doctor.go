package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/imagepurge/imagepurge/internal/settings"
	"github.com/imagepurge/imagepurge/internal/term"
	"github.com/imagepurge/imagepurge/jobs"
	"github.com/imagepurge/imagepurge/repository"
)

// finding is one thing that the doctor looked at.
type finding struct {
	What  string `json:"what"`
	State string `json:"state"` // ok, warning, wrong, unchecked
	Says  string `json:"says"`
	Mend  string `json:"mend"`
}

type doctorFlags struct {
	customer int64
	recount  bool
	offline  bool
}

func (a *app) doctorCommand() *cobra.Command {
	var f doctorFlags
	c := &cobra.Command{
		Use: "doctor", Short: "Check database, schema, settings, credentials and clocks; say what to mend",
		Long: `Check the database, the schema, the settings, the clocks, and the credentials with
one harmless listing: of --customer, else of the next customer that waits.
--recount sets the counts of the batches right.`,
		Example: "  imagepurge doctor\n  imagepurge doctor --customer 564703420\n  imagepurge doctor --recount", Args: exactly(0, "no arguments"),
		RunE: func(cmd *cobra.Command, _ []string) error { return a.doctor(cmd.Context(), f) },
	}
	c.Flags().Int64Var(&f.customer, "customer", 0, "list this customer to check the credentials")
	c.Flags().BoolVar(&f.recount, "recount", false, "count all tasks again and set the batches' counts right")
	c.Flags().BoolVar(&f.offline, "offline", false, "make no call to the API")
	return c
}

// clockSkewAllowed is how far this machine's clock may be from the database's.
const clockSkewAllowed = 2 * time.Second

func (a *app) doctor(ctx context.Context, f doctorFlags) (err error) {
	var all []finding
	add := func(what, state, says, mend string) { all = append(all, finding{what, state, says, mend}) }
	s, err := a.load()
	if err != nil {
		return err
	}
	add("settings", "ok", fmt.Sprintf("%d organisation(s), mode %s", len(s.Organizations), s.Organizations[0].Mode), "")
	add("rest", "ok", fmt.Sprintf("a customer whose delete is in doubt rests for %s: settle %s (how long the API may still run a request whose caller is gone, plus a second) and listing_lag %s",
		term.Duration(s.Settle+s.ListingLag), term.Duration(s.Settle), term.Duration(s.ListingLag)), "")
	if err := s.NeedAPI(); err != nil {
		add("API settings", "wrong", err.Error(), "set what is missing")
	}
	d, err := a.open(ctx, s)
	var schema *repository.SchemaError
	switch {
	case errors.As(err, &schema):
		add("schema", "wrong", schema.Error(), "imagepurge migrate")
		return a.tellDoctor(all)
	case err != nil:
		return err
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	add("database", "ok", d.name, "")
	add("schema", "ok", "fits this program", "")
	if err := a.checkServer(ctx, d, add); err != nil {
		return err
	}
	if f.recount {
		n, err := d.Recount(ctx, a.person())
		if err != nil {
			return err
		}
		add("counts", "ok", fmt.Sprintf("%d batches set right", n), "")
	}
	if s.NeedAPI() == nil {
		for _, o := range s.Organizations {
			if err := a.checkAPI(ctx, s, d, o, f, add); err != nil {
				return err
			}
		}
	}
	return a.tellDoctor(all)
}

const serverFacts = `
SELECT clock_timestamp(), current_setting('server_version'), current_setting('fsync'), current_setting('full_page_writes'),
       pg_is_in_recovery(), has_function_privilege('pg_control_system()', 'EXECUTE')`

func (a *app) checkServer(ctx context.Context, d *database, add func(what, state, says, mend string)) error {
	var (
		there                time.Time
		version, fsync, full string
		standby, mayControl  bool
	)
	before := time.Now()
	if err := d.pool.QueryRow(ctx, serverFacts).Scan(&there, &version, &fsync, &full, &standby, &mayControl); err != nil {
		return fmt.Errorf("ask the server: %w", err)
	}
	trip := time.Since(before)
	skew := there.Sub(before.Add(trip / 2)).Abs()
	if skew > clockSkewAllowed+trip {
		add("clocks", "warning", fmt.Sprintf("this machine and the database differ by %s", term.Duration(skew)), "set both by NTP; windows, leases and slots go by the database's clock, and calls are recorded with this machine's")
	} else {
		add("clocks", "ok", "this machine and the database agree", "")
	}
	add("server", "ok", "PostgreSQL "+version, "")
	if standby {
		add("server", "wrong", "this is a standby: it can't be written to", "point DATABASE_URL at the primary")
	}
	if fsync != "on" || full != "on" {
		add("durability", "wrong", "fsync or full_page_writes is off: a crash of the server can lose intents", "set both to on")
	} else {
		add("durability", "ok", "fsync and full_page_writes are on", "")
	}
	if !mayControl {
		add("privileges", "wrong", "the role may not call pg_control_system(): a fail-over would not be noticed", "GRANT EXECUTE ON FUNCTION pg_control_system() TO the role, or pg_monitor")
	}
	return checkGuards(ctx, d, add)
}

// checkGuards tells who may write as the program does, and what lets others do so.
func checkGuards(ctx context.Context, d *database, add func(what, state, says, mend string)) error {
	roles, err := d.ProgramRoles(ctx)
	if err != nil {
		return err
	}
	var right *repository.RightError
	says := "superusers write as the program does, and " + strings.Join(roles, ", ")
	switch err := d.CheckRight(ctx); {
	case errors.As(err, &right):
		add("program's right", "wrong", right.Error()+"; "+says, right.Mend)
	case err != nil:
		return err
	default:
		add("program's right", "ok", says, "")
	}
	faults, err := d.GuardFaults(ctx)
	if err != nil {
		return err
	}
	for _, f := range faults {
		state := "wrong"
		if !f.Grave {
			state = "warning"
		}
		add("guards", state, f.Says, f.Mend)
	}
	if len(faults) == 0 {
		add("guards", "ok", "as the migrations made them", "")
	}
	return nil
}

func (a *app) checkAPI(ctx context.Context, s settings.Settings, d *database, o settings.Organization, f doctorFlags, add func(what, state, says, mend string)) error {
	what := "credentials of " + o.Name
	if f.offline {
		add(what, "unchecked", "not checked: --offline", "")
		return nil
	}
	who := jobs.Customer{ID: f.customer, Source: o.Source, AccountID: o.AccountID}
	if who.ID == 0 {
		org, err := d.Organizations(ctx, o.Name)
		if err != nil {
			return err
		}
		if len(org) > 0 {
			id, _, _, err := d.PendingCustomer(ctx, org[0].ID)
			if err != nil && !errors.Is(err, repository.ErrNotFound) {
				return err
			}
			who.ID = id
		}
	}
	if who.ID == 0 {
		add(what, "unchecked", "not checked: no customer waits, and none was named", "imagepurge doctor --customer ID")
		return nil
	}
	api, err := a.client(s, o)
	if err != nil {
		return err
	}
	defer api.CloseIdleConnections()
	ans, err := listed(ctx, d, api, o.Name, who)
	if err != nil {
		return err
	}
	says := fmt.Sprintf("HTTP %d, code %s: %s", ans.HTTPStatus, ans.Code, ans.Message)
	switch ans.Class {
	case jobs.ClassListed:
		add(what, "ok", fmt.Sprintf("a listing was answered in %s", term.Duration(ans.AnsweredAt.Sub(ans.SentAt))), "")
	case jobs.ClassNotFound, jobs.ClassErased, jobs.ClassMerged:
		add(what, "ok", "the API answered ("+string(ans.Class)+")", "")
	case jobs.ClassOverLimit:
		add(what, "warning", "over the rate limit: somebody else uses this key", "lower CAPILLARY_RATE_PER_MINUTE")
	case jobs.ClassRefused:
		if ans.Code == jobs.CodeWrongOrganisation {
			add(what, "wrong", says, "the credentials, or the address, are another brand's: correct them")
			break
		}
		add(what, "wrong", says, "check CAPILLARY_BASE_URL, CAPILLARY_USERNAME and CAPILLARY_PASSWORD")
	default:
		add(what, "wrong", says, "is CAPILLARY_BASE_URL right, and reachable from here?")
	}
	return nil
}

func (a *app) tellDoctor(all []finding) error {
	wrong := false
	for _, f := range all {
		wrong = wrong || f.State == "wrong"
	}
	if err := a.print(all, func(w io.Writer) error {
		for _, f := range all {
			if _, err := fmt.Fprintf(w, "%-9s  %s: %s\n", f.State, f.What, strings.ReplaceAll(f.Says, "\n", "\n           ")); err != nil {
				return err
			}
			if f.Mend != "" {
				if _, err := fmt.Fprintf(w, "           to mend: %s\n", f.Mend); err != nil {
					return err
				}
			}
		}
		return nil
	}); err != nil {
		return err
	}
	if wrong {
		return statusError(exitFailed)
	}
	return nil
}
