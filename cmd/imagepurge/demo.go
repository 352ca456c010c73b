package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/imagepurge/imagepurge/capillary/sandbox"
	"github.com/imagepurge/imagepurge/internal/embeddedpg"
	"github.com/imagepurge/imagepurge/internal/settings"
	"github.com/imagepurge/imagepurge/internal/term"
	"github.com/imagepurge/imagepurge/jobs"
	"github.com/imagepurge/imagepurge/jobs/intake"
	"github.com/imagepurge/imagepurge/jobs/schedule"
	"github.com/imagepurge/imagepurge/repository"
)

// The demo's story.
const (
	demoCustomers = 600
	demoPerMinute = 7200
	demoUnknown   = 0.01 // of the customers
	demoMerged    = 0.01
	demoErased    = 0.01
)

type demoFlags struct {
	customers int
	seed      uint64
	keep      bool
	dataDir   string
}

func (a *app) demoCommand() *cobra.Command {
	var f demoFlags
	c := &cobra.Command{
		Use: "demo", Short: "See the whole of it, with nothing prepared",
		Long: `See the whole of it, with nothing prepared: a Postgres of its own, the API played by
the sandbox with customers and some faults, a list taken in, the purge, the report;
then the report is compared with the sandbox's journal. It takes about half a minute,
touches neither DATABASE_URL nor the real API, and leaves nothing behind.`,
		Example: "  imagepurge demo\n  imagepurge demo --keep", Args: exactly(0, "no arguments"),
		RunE: func(cmd *cobra.Command, _ []string) error { return a.demo(cmd.Context(), f) },
	}
	fl := c.Flags()
	fl.IntVar(&f.customers, "customers", demoCustomers, "how many customers")
	fl.Uint64Var(&f.seed, "seed", 1, "of customers and faults")
	fl.BoolVar(&f.keep, "keep", false, "leave database and sandbox open until Ctrl-C")
	fl.StringVar(&f.dataDir, "data-dir", "", "keep the database in this `folder`, durably")
	return c
}

// stage is everything that the demo brings along.
type stage struct {
	server *embeddedpg.Server
	d      *database
	api    *sandbox.Server
	listen *sandbox.Listener
	people sandbox.Population
	dir    string
}

func (st *stage) close(ctx context.Context) error {
	var errs []error
	if st.listen != nil {
		errs = append(errs, st.listen.Close())
	}
	if st.api != nil {
		st.api.Close()
	}
	if st.d != nil {
		st.d.pool.Close()
	}
	if st.server != nil {
		errs = append(errs, st.server.Stop(ctx))
	}
	return errors.Join(append(errs, os.RemoveAll(st.dir))...)
}

func (a *app) demo(ctx context.Context, f demoFlags) (err error) {
	if f.customers < 1 || f.customers > 100_000 {
		return usagef("--customers is between 1 and 100000")
	}
	stop := watchSignals(ctx)
	defer stop.end()
	st, err := a.setStage(stop.ctx, f)
	defer func() {
		ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
		defer cancel()
		err = errors.Join(err, st.close(ending))
	}()
	if err != nil {
		return err
	}
	s := st.settings()
	batch, err := a.takeInDemo(ctx, st, s)
	if err != nil {
		return err
	}
	a.note("purging, with faults on the way: answers lost, requests late, gateways in between, other people's uploads")
	sc := newScreen(a.out, a.now, int64(f.customers), 5*time.Second)
	c := &crew{a: a, s: s, d: st.d, bells: &bells{}, screen: sc, log: a.logger(s, sc, slog.LevelError), flags: runFlags{once: true, batch: batch}}
	began := a.now()
	_, err = c.run(stop)
	sc.finish()
	if err != nil {
		return err
	}
	if stop.status() != exitOK {
		return statusError(stop.status())
	}
	if err := st.api.Settle(ctx); err != nil {
		return err
	}
	out, err := st.judge(ctx, batch, a.now().Sub(began))
	if err != nil {
		return err
	}
	if err := a.print(out, func(w io.Writer) error { return out.write(w) }); err != nil {
		return err
	}
	if f.keep {
		a.note("kept until Ctrl-C; to look:\n  export DATABASE_URL='%s'\n  export CAPILLARY_BASE_URL=%s CAPILLARY_USERNAME=%s CAPILLARY_PASSWORD=%s\n  imagepurge batch show %d",
			st.server.URL(), st.listen.URL, s.Organizations[0].Username, s.Organizations[0].Password, batch)
		select {
		case <-stop.orderly:
		case <-ctx.Done():
		}
	}
	if !out.Agrees {
		return errors.New("the report does not agree with the sandbox's journal: please report this with the seed")
	}
	return nil
}

// setStage starts the database and the sandbox.
func (a *app) setStage(ctx context.Context, f demoFlags) (*stage, error) {
	st := &stage{}
	var err error
	if st.dir, err = os.MkdirTemp("", "imagepurge-demo-"); err != nil {
		return st, err
	}
	st.server, err = embeddedpg.Start(ctx, embeddedpg.Options{
		Temporary: f.dataDir == "", DataDir: f.dataDir, BinDir: a.getenv("IMAGEPURGE_PG_BIN"), Getenv: a.getenv, Logf: a.note, Download: a.download(),
	})
	if err != nil {
		return st, err
	}
	st.people = sandbox.Populate(f.seed, f.customers, sandbox.PopulateOptions{Unknown: demoUnknown, Merged: demoMerged, Erased: demoErased, Images: [6]float64{10, 30, 22, 18, 12, 8}})
	st.api = sandbox.New(sandbox.Options{
		Seed: f.seed, Population: st.people, Latency: sandbox.LogNormalLatency(15*time.Millisecond, 120*time.Millisecond),
		Limit: sandbox.Limit{PerMinute: demoPerMinute, RetryAfter: sandbox.RetryAfterSeconds},
		Faults: sandbox.Faults{LateBy: time.Second, StaleBy: 500 * time.Millisecond, MaxPerCustomer: 1, Count: map[sandbox.Fault]int{
			sandbox.FaultLostAnswer: 5, sandbox.FaultLostRequest: 4, sandbox.FaultLate: 4, sandbox.FaultServerErrorRan: 3, sandbox.FaultServerErrorNotRun: 3,
			sandbox.FaultHTMLRan: 2, sandbox.FaultCutBody: 2, sandbox.FaultBusy: 4, sandbox.Fault8080Ran: 2, sandbox.Fault8080NotRun: 2, sandbox.FaultStaleListing: 3,
			sandbox.FaultBare521Ran: 2,
		}},
		// Uploads go to the end of the list: they never harm a purge of all.
		Others: sandbox.Others{Chance: map[sandbox.Deed]float64{sandbox.DeedUpload: 0.01}, MaxPerCustomer: 1},
	})
	if st.listen, err = st.api.Listen(""); err != nil {
		return st, err
	}
	a.note("database: embedded, %s (temporary)\nsandbox:  %s, %s customers, %s calls a minute", st.server.Dir(), st.listen.URL, term.Number(int64(f.customers)), term.Number(demoPerMinute))
	st.d, err = a.reachDemo(ctx, st.server.URL())
	return st, err
}

func (a *app) reachDemo(ctx context.Context, url string) (*database, error) {
	quiet := *a
	quiet.out = &term.Output{Out: io.Discard, Err: io.Discard}
	d, err := quiet.reach(ctx, settings.Settings{DatabaseURL: url})
	if err != nil {
		return nil, err
	}
	return d, migrate(ctx, d)
}

// settings are those of the demo: everything is faster than at night.
func (st *stage) settings() settings.Settings {
	key := sandbox.DefaultKey()
	plan, err := schedule.Parse("0 1 * * *", "5h", "UTC")
	if err != nil {
		panic(err) // constants
	}
	return settings.Settings{
		Organizations: []settings.Organization{{
			Name: "default", BaseURL: st.listen.URL, Username: key.Username, Password: key.Password, RatePerMinute: demoPerMinute, RateShare: 1,
			Source: "INSTORE", Mode: jobs.Verified, Scope: jobs.Snapshot, Schedule: schedule.Of(plan), ModeGiven: true, ScopeGiven: true, SourceGiven: true,
		}},
		Concurrency: 128, Batching: jobs.SingleDelete, ViewMaxAge: 10 * time.Second, RequestTimeout: 2 * time.Second, Settle: 4 * time.Second,
		ListingLag: 2 * time.Second, Lease: 30 * time.Second, MaxAttempts: 10, BackoffBase: 500 * time.Millisecond, BackoffMax: 5 * time.Second,
		LogLevel: "error", Given: map[string]bool{"IMAGEPURGE_LOG_LEVEL": true},
	}
}

// takeInDemo writes the list as a file and takes it in as anyone would.
func (a *app) takeInDemo(ctx context.Context, st *stage, s settings.Settings) (int64, error) {
	path := filepath.Join(st.dir, "customers.csv")
	err := writeNew(path, func(w io.Writer) error {
		out := bufio.NewWriter(w)
		fmt.Fprintln(out, "customer_id")
		for i := range st.people.Len() {
			fmt.Fprintln(out, st.people.ID(i))
		}
		return out.Flush()
	})
	if err != nil {
		return 0, err
	}
	in, err := a.openList(path)
	if err != nil {
		return 0, err
	}
	defer in.Close()
	reader, err := intake.NewReader(in, intake.Options{})
	if err != nil {
		return 0, err
	}
	org, err := st.d.RecordOrganization(ctx, "default", effective(s.Organizations[0]))
	if err != nil {
		return 0, err
	}
	ids := &idSource{a: a, list: in, reader: reader}
	taken, err := st.d.TakeIn(ctx, repository.Intake{Organization: org, Name: in.name, RequestedBy: "demo", Reason: "a demonstration", Person: a.person()}, ids)
	if err != nil {
		return 0, err
	}
	a.note("taken in: batch %d, %s customers from customers.csv", taken.Batch, term.Number(taken.Tasks))
	return taken.Batch, nil
}
