package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/imagepurge/imagepurge/internal/settings"
	"github.com/imagepurge/imagepurge/internal/term"
	"github.com/imagepurge/imagepurge/jobs/intake"
	"github.com/imagepurge/imagepurge/repository"
)

// badLinesShown bounds what a wrong file prints.
const badLinesShown = 1000

type enqueueFlags struct {
	column, format, key, organization, requestedBy, reason, rejects string
	deadline                                                        string
	skipInvalid, wholeLast, dryRun, paused                          bool
	priority                                                        int
}

func (a *app) enqueueCommand() *cobra.Command {
	var f enqueueFlags
	c := &cobra.Command{
		Use:   "enqueue FILE|-",
		Short: "Take in a list of customers as one batch",
		Long: `Take in customer ids from a file, or from stdin with -, as one batch. The file is
CSV with a header that has customer_id, NDJSON, or one id a line; .gz as well.

One bad line refuses the whole file, and says which and why. With --skip-invalid
the rest is taken in, and the bad lines are written to FILE.rejects, a new file:
nothing is ever written over.

A last line without its line end is a bad one: where a list was cut on its way, the
beginning of an id is often another customer's. Of a list known to be whole,
--last-line-is-whole takes it in. A file that changes while it is read is refused.

The same content is taken in once: while a batch of it is not finished, that batch
is named and nothing is taken in. --key makes this independent of the content.`,
		Example: `  imagepurge enqueue --dry-run ten-customers.csv
  imagepurge enqueue --requested-by privacy@example.com --reason "erasure requests of May" customers.csv
  imagepurge enqueue --deadline 2027-01-31 customers.csv
  zcat export.gz | imagepurge enqueue --column CustId -`,
		Args: exactly(1, "one file, or - for stdin"),
		RunE: func(cmd *cobra.Command, args []string) error { return a.enqueue(cmd.Context(), args[0], f) },
	}
	fl := c.Flags()
	fl.StringVar(&f.column, "column", "", "`name` of the column or field with the customer ids (customer_id)")
	fl.StringVar(&f.format, "format", "auto", "auto, csv, ndjson or lines")
	fl.StringVar(&f.key, "key", "", "idempotency `key`: the same key is taken in once")
	fl.StringVar(&f.organization, "organization", "", "`name` of the organisation")
	fl.StringVar(&f.requestedBy, "requested-by", "", "who asked for it")
	fl.StringVar(&f.reason, "reason", "", "why")
	fl.StringVar(&f.rejects, "rejects", "", "new `file` for the bad lines with --skip-invalid (FILE.rejects)")
	fl.BoolVar(&f.skipInvalid, "skip-invalid", false, "take in the good lines of a file with bad ones")
	fl.BoolVar(&f.wholeLast, "last-line-is-whole", false, "take in a last line without its line end: the list is known not to be cut")
	fl.BoolVar(&f.dryRun, "dry-run", false, "list and count only: no image is deleted")
	fl.BoolVar(&f.paused, "paused", false, "nothing is done until: imagepurge batch resume")
	fl.StringVar(&f.deadline, "deadline", "", "`day` by which it has to be done, such as 2026-12-01; it pulls the batch forward from thirty days before")
	fl.IntVar(&f.priority, "priority", 0, "from -1000 to 1000: each step counts as a day of waiting")
	return c
}

func (a *app) enqueue(ctx context.Context, file string, f enqueueFlags) (err error) {
	switch intake.Format(f.format) {
	case intake.Auto, intake.CSV, intake.NDJSON, intake.Lines:
	default:
		return usagef("--format is auto, csv, ndjson or lines, not %q", f.format)
	}
	s, err := a.load()
	if err != nil {
		return err
	}
	if f.priority < -1000 || f.priority > 1000 {
		return usagef("--priority is from -1000 to 1000, not %d", f.priority)
	}
	until, err := deadline(f.deadline, a.organizationNamed(s, f.organization), a.now())
	if err != nil {
		return err
	}
	in, err := a.openList(file)
	if err != nil {
		return err
	}
	defer in.Close()
	reader, err := intake.NewReader(in, intake.Options{Column: f.column, Format: intake.Format(f.format), LastLineIsWhole: f.wholeLast})
	if err != nil {
		return intakeError(in.name, err)
	}
	d, err := a.open(ctx, s)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	org, set, err := a.organizationFor(ctx, d, s, f.organization)
	if err != nil {
		return err
	}
	if f.rejects == "" {
		f.rejects = file + ".rejects"
		if file == "-" {
			f.rejects = "stdin.rejects"
		}
	}
	ids := &idSource{a: a, list: in, reader: reader, skip: f.skipInvalid, rejects: rejects{path: f.rejects},
		// What is done with the ids belongs to the content: a dry run of a list isn't
		// the list.
		preamble: []string{"dry_run", fmt.Sprint(f.dryRun)}}
	defer ids.rejects.close()
	taken, err := d.TakeIn(ctx, repository.Intake{
		Organization: org.ID, Name: in.name, Key: f.key, DryRun: f.dryRun, Paused: f.paused,
		RequestedBy: f.requestedBy, Reason: f.reason, Priority: f.priority, Deadline: until, Settings: set, Person: a.person(),
	}, ids)
	if err != nil {
		var key *repository.KeyTakenError
		if errors.As(err, &key) {
			return hint(key, "imagepurge batch show %d, or choose another --key", key.Batch)
		}
		return intakeError(in.name, err)
	}
	if ids.rejects.lines != nil {
		err = ids.rejects.place(a, taken.Batch, ids.bad)
	}
	return errors.Join(a.tellIntake(ctx, d, s, taken, ids.bad, f), err)
}

func intakeError(name string, err error) error {
	var file *intake.FileError
	if errors.As(err, &file) {
		problem := file.Problem
		if file.Line > 0 {
			problem = fmt.Sprintf("line %d: %s", file.Line, problem)
		}
		err := fmt.Errorf("%s: %s; nothing was taken in", name, problem)
		if file.Hint != "" {
			return hint(err, "%s", file.Hint)
		}
		return err
	}
	return err
}

// organizationFor finds the organisation that a task goes to, and what it is
// given besides.
func (a *app) organizationFor(ctx context.Context, d *database, s settings.Settings, name string) (repository.Organization, repository.Settings, error) {
	var none repository.Organization
	for _, o := range s.Organizations {
		if _, err := d.RecordOrganization(ctx, o.Name, explicit(o)); err != nil {
			return none, repository.Settings{}, err
		}
	}
	all, err := d.Organizations(ctx, "")
	if err != nil {
		return none, repository.Settings{}, err
	}
	if name == "" && len(all) > 1 {
		var names []string
		for _, o := range all {
			names = append(names, o.Name)
		}
		return none, repository.Settings{}, usagef("there are several organisations: give --organization, one of %v", names)
	}
	for _, o := range all {
		if name == "" || o.Name == name {
			set := repository.Settings{}
			if configured, ok := s.Organization(o.Name); ok {
				set = explicit(configured)
			}
			agreed, err := d.Agreed(ctx, o.Name)
			return o, decided(agreed, set), err
		}
	}
	return none, repository.Settings{}, usagef("there is no organisation %q; see: imagepurge org list", name)
}

// organizationNamed is the settings' entry of that name, or the first.
func (a *app) organizationNamed(s settings.Settings, name string) settings.Organization {
	if o, ok := s.Organization(name); ok {
		return o
	}
	return s.Organizations[0]
}

// explicit are the settings of an organisation that were given, not defaulted.
func explicit(o settings.Organization) repository.Settings {
	set := repository.Settings{AccountID: o.AccountID}
	if o.ModeGiven {
		set.Mode = o.Mode
	}
	if o.ScopeGiven {
		set.Scope = o.Scope
	}
	if o.SourceGiven {
		set.Source = o.Source
	}
	return set
}

// effective are all settings of an organisation.
func effective(o settings.Organization) repository.Settings {
	return repository.Settings{Mode: o.Mode, Scope: o.Scope, Source: o.Source, AccountID: o.AccountID}
}

// idSource feeds an intake and keeps account of bad lines.
type idSource struct {
	a         *app
	list      *list
	reader    *intake.Reader
	skip      bool
	preamble  []string
	digest    intake.Digest
	good, bad int
	rejects   rejects
}

func (s *idSource) Next() (int, int64, bool, error) {
	for {
		row, err := s.reader.Next()
		var line *intake.LineError
		switch {
		case errors.Is(err, io.EOF):
			return 0, 0, false, s.end()
		case errors.As(err, &line):
			if err := s.badLine(line); err != nil {
				return 0, 0, false, err
			}
			continue
		case err != nil:
			return 0, 0, false, err
		}
		s.good++
		if s.good&0x3ffff == 0 {
			s.a.note("%s lines read", term.Number(int64(s.good)))
		}
		s.digest.Add(row.ID)
		return row.Line, row.ID, true, nil
	}
}

func (s *idSource) badLine(line *intake.LineError) error {
	s.bad++
	if s.bad <= badLinesShown {
		s.a.note("line %d: %s", line.Line, line.Reason)
	}
	if !s.skip {
		return nil
	}
	return s.rejects.add(s.reader.Header(), line.Raw)
}

// end decides whether what was read is taken in.
func (s *idSource) end() error {
	if err := s.list.unchanged(); err != nil {
		return err
	}
	if s.bad > badLinesShown {
		s.a.note("… and %s more bad lines", term.Number(int64(s.bad-badLinesShown)))
	}
	if s.bad > 0 && !s.skip {
		return hint(fmt.Errorf("%s of %s lines are bad; nothing was taken in", term.Number(int64(s.bad)), term.Number(int64(s.good+s.bad))),
			"mend them, or take in the others with --skip-invalid")
	}
	if s.good == 0 {
		return errors.New("no customer id in the file; nothing was taken in")
	}
	return s.rejects.ready()
}

func (s *idSource) Digest() [sha256.Size]byte {
	return [sha256.Size]byte(s.digest.Sum(s.preamble...))
}

// intaken is what enqueue prints for scripts.
type intaken struct {
	Batch     int64      `json:"batch_id"`
	Customers int64      `json:"customers"`
	Existing  bool       `json:"existing"`
	Earlier   *int64     `json:"earlier_batch_id"`
	Repeated  int64      `json:"repeated"`
	Invalid   int        `json:"invalid"`
	DryRun    bool       `json:"dry_run"`
	Paused    bool       `json:"paused"`
	Calls     int64      `json:"calls_estimated"`
	Nights    int        `json:"nights_estimated"`
	Until     *time.Time `json:"until_estimated"`
	Unknown   string     `json:"unknown"`
	Deadline  *time.Time `json:"deadline"`
	Late      bool       `json:"misses_deadline"`
}

func (a *app) tellIntake(ctx context.Context, d *database, s settings.Settings, t repository.Intaken, bad int, f enqueueFlags) error {
	ends, err := a.reckon(ctx, d, s, t.Batch)
	if err != nil {
		return err
	}
	plan, ok := ends[t.Batch]
	if !ok { // done already, or of an organisation that the settings don't know
		plan = reckoned{Batch: t.Batch}
	}
	out := intaken{Batch: t.Batch, Customers: t.Tasks, Existing: t.Existing, Repeated: t.Repeated, Invalid: bad, DryRun: f.dryRun, Paused: f.paused,
		Calls: plan.Calls, Nights: plan.Night, Until: plan.Until, Unknown: plan.Unknown, Deadline: plan.Deadline, Late: plan.Late}
	if t.Earlier > 0 {
		out.Earlier = &t.Earlier
	}
	return a.print(out, func(w io.Writer) error {
		// The id alone, for scripts: run --once --batch "$(imagepurge enqueue …)".
		if _, err := fmt.Fprintln(w, t.Batch); err != nil {
			return err
		}
		if t.Existing {
			a.note("the same list is batch %d already, taken in %s: nothing was taken in again", t.Batch, term.Time(t.Taken, nil))
			a.note("to look: imagepurge batch show %d", t.Batch)
			return nil
		}
		if t.Earlier > 0 {
			a.note("note: the same list was taken in before, %s, as batch %d, which is finished", term.Time(t.Taken, nil), t.Earlier)
		}
		if t.Repeated > 0 {
			a.note("%s lines repeat a customer: one task each", term.Number(t.Repeated))
		}
		what := "to purge"
		if f.dryRun {
			what = "to count, nothing is deleted"
		}
		a.note("batch %d: %s customers %s, about %s calls, %s", t.Batch, term.Number(t.Tasks), what, term.Number(plan.Calls), plan.sentence())
		if late := plan.lateness(a.now()); late != "" {
			a.note("imagepurge: warning: %s", late)
		}
		if f.paused {
			a.note("paused; to start: imagepurge batch resume %d --reason \"…\"", t.Batch)
		}
		a.note("to stop it: imagepurge batch cancel %d --reason \"…\"", t.Batch)
		return nil
	})
}
