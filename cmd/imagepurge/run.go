package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	mathrand "math/rand/v2"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/imagepurge/imagepurge/capillary"
	"github.com/imagepurge/imagepurge/internal/settings"
	"github.com/imagepurge/imagepurge/jobs"
	"github.com/imagepurge/imagepurge/jobs/budget"
	"github.com/imagepurge/imagepurge/jobs/purge"
	"github.com/imagepurge/imagepurge/jobs/worker"
	"github.com/imagepurge/imagepurge/repository"
)

type runFlags struct {
	once         bool
	batch        int64
	limit        int
	duration     time.Duration
	organization string
}

func (a *app) runCommand() *cobra.Command {
	var f runFlags
	c := &cobra.Command{
		Use: "run", Short: "Work: in the windows of the schedule, or once",
		Long: `Work in the windows of the schedule, until stopped. Any number of processes may run
side by side. Inside an open window it begins at once. The schedule of the worker that
was started last is that of all; see: imagepurge schedule.

With --once it works now, whatever the schedule says, until no task can proceed any
more, and waits for settle times and back-offs. Its exit status is 3 where tasks of
the batches it touched failed or wait for a person.

The first Ctrl-C or SIGTERM stops in order: no new delete, those under way are
answered and recorded. The second stops at once; nothing is lost by it either.`,
		Example: "  imagepurge run\n  imagepurge run --once --batch 12\n  imagepurge run --once --limit 10",
		Args:    exactly(0, "no arguments"),
		RunE:    func(cmd *cobra.Command, _ []string) error { return a.runWorker(cmd.Context(), f) },
	}
	fl := c.Flags()
	fl.BoolVar(&f.once, "once", false, "now, until no task can proceed any more")
	fl.Int64Var(&f.batch, "batch", 0, "only this batch (with --once)")
	fl.IntVar(&f.limit, "limit", 0, "at most so many customers (with --once)")
	fl.DurationVar(&f.duration, "for", 0, "end in order after this time, such as 5h (with --once)")
	fl.StringVar(&f.organization, "organization", "", "only this organisation")
	return c
}

func (a *app) runWorker(ctx context.Context, f runFlags) (err error) {
	if !f.once && (f.batch != 0 || f.limit != 0 || f.duration != 0) {
		return usagef("--batch, --limit and --for go with --once")
	}
	if f.batch < 0 || f.limit < 0 || f.duration < 0 {
		return usagef("--batch, --limit and --for are positive")
	}
	s, err := a.load()
	if err != nil {
		return err
	}
	if err := s.NeedAPI(); err != nil {
		return err
	}
	if err := a.refuseEmptyDatabase(s); err != nil {
		return err
	}
	stop := watchSignals(ctx)
	defer stop.end()
	d, err := a.open(stop.ctx, s)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	if err := patiently(ctx, func() error { return d.CheckRight(ctx) }); err != nil {
		return err
	}
	if f.batch != 0 {
		if _, err := d.Batch(ctx, f.batch); err != nil {
			return notFoundHint(err)
		}
	}
	var total int64
	if err := patiently(ctx, func() (err error) { total, err = a.openCustomers(ctx, d, f.batch); return err }); err != nil {
		return err
	}
	sc := newScreen(a.out, a.now, total, 10*time.Second)
	defer sc.finish()
	least := slog.LevelInfo
	if a.out.IsTerminal {
		least = slog.LevelWarn // the bar says the rest
	}
	w := &crew{a: a, s: s, d: d, bells: &bells{}, screen: sc, log: a.logger(s, sc, least), flags: f}
	results, err := w.run(stop)
	if err != nil {
		return err
	}
	sc.finish()
	return a.tellRun(ctx, d, f, results, stop)
}

// openCustomers counts the customers that wait, from the batches' counts.
func (a *app) openCustomers(ctx context.Context, d *database, batch int64) (total int64, err error) {
	all, err := d.Batches(ctx, 1000)
	if err != nil {
		return 0, err
	}
	for _, b := range all {
		if (batch == 0 || b.ID == batch) && b.State == "active" {
			total += b.Open
		}
	}
	return total, nil
}

// stopping turns signals into an orderly stop, and then into a hard one.
type stopping struct {
	ctx     context.Context // ends with the second signal
	orderly chan struct{}   // closed by the first
	end     func()

	mu  sync.Mutex
	got os.Signal

	outer *stopping // of one that ends for other reasons as well: whose signals count
}

func watchSignals(parent context.Context) *stopping {
	ctx, cancel := context.WithCancel(parent)
	s := &stopping{ctx: ctx, orderly: make(chan struct{})}
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	var group sync.WaitGroup
	group.Go(func() {
		for n := 0; ; n++ {
			select {
			case <-ctx.Done():
				return
			case got := <-signals:
				if n > 0 {
					cancel()
					return
				}
				s.mu.Lock()
				s.got = got
				s.mu.Unlock()
				close(s.orderly)
			}
		}
	})
	s.end = func() { signal.Stop(signals); cancel(); group.Wait() }
	return s
}

// status is the exit status that the signal stands for; 0: there was none.
func (s *stopping) status() int {
	if s.outer != nil {
		return s.outer.status()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch s.got {
	case nil:
		return exitOK
	case syscall.SIGTERM:
		return exitTERM
	}
	return exitINT
}

// crew runs the workers of a process, one for each organisation: one that is
// refused, slow or over its limit never holds up another.
type crew struct {
	a      *app
	s      settings.Settings
	d      *database
	screen *screen
	log    *slog.Logger
	flags  runFlags
	bells  *bells
}

// result is what the worker of one organisation came to.
type result struct {
	Organization string
	End          worker.End
	Stats        worker.Stats
}

func (c *crew) run(stop *stopping) ([]result, error) {
	var (
		group   sync.WaitGroup
		mu      sync.Mutex
		results []result
		faults  []error
	)
	posts, err := c.posts(stop.ctx)
	if err != nil {
		return nil, err
	}
	for _, w := range posts {
		group.Go(func() {
			r, err := w.keepWorking(stop)
			mu.Lock()
			defer mu.Unlock()
			results = append(results, r)
			if err != nil {
				faults = append(faults, fmt.Errorf("%s: %w", w.o.Name, err))
			}
		})
	}
	listened := c.listen(stop.ctx)
	group.Wait()
	listened()
	return results, errors.Join(faults...)
}

// post is one organisation's place in the crew.
type post struct {
	*crew
	o       settings.Organization // with the settings that all workers agree on
	agreed  repository.Agreed
	options worker.Options
	client  *capillary.Client
	keys    *credentials
}

// client makes the client of an organisation's API.
func (a *app) client(s settings.Settings, o settings.Organization) (*capillary.Client, error) {
	if o.BaseURL == "" || o.Auth() == settings.Basic && o.Username == "" {
		if err := s.NeedAPI(); err != nil {
			return nil, err
		}
	}
	api, err := capillary.New(apiOptions(s, o))
	if err != nil {
		return nil, fmt.Errorf("organisation %s: %w", o.Name, err)
	}
	return api, nil
}

func (c *crew) worker(ctx context.Context, given settings.Organization) (*post, error) {
	o, agreed, err := c.agree(ctx, given)
	if err != nil {
		return nil, err
	}
	org := agreed.Organization
	key, err := keyBudget(c.s, o)
	if err != nil {
		return nil, err
	}
	if err := patiently(ctx, func() error { return c.d.ShareBudget(ctx, org, key) }); err != nil {
		return nil, keyShared(o, err)
	}
	api, err := c.a.client(c.s, o)
	if err != nil {
		return nil, err
	}
	host := c.a.person().Host
	owner, err := workerName(host)
	if err != nil {
		return nil, err
	}
	name := o.Name
	keys := &credentials{api: api, log: c.log.With("organization", name), of: given}
	return &post{keys: keys, crew: c, o: o, agreed: agreed, client: api, options: worker.Options{
		Config: worker.Config{
			Claim: purge.Claim{
				Organization: org, Batch: c.flags.batch, Owner: owner, Lease: c.s.Lease,
				Mode: o.Mode, Scope: o.Scope, Source: o.Source, AccountID: o.AccountID,
			},
			Purge: purge.Config{
				RequestTimeout: c.s.RequestTimeout, Settle: c.s.Settle, ListingLag: c.s.ListingLag, ViewMaxAge: c.s.ViewMaxAge,
				MaxAttempts: c.s.MaxAttempts, BackoffBase: c.s.BackoffBase, BackoffMax: c.s.BackoffMax, Batching: c.s.Batching,
				Random: mathrand.Float64,
			},
			Budget: budget.Config{PerMinute: o.PerMinute(), Concurrency: c.s.Concurrency, ViewMaxAge: c.s.ViewMaxAge, Random: mathrand.Float64},
			Once:   c.flags.once, Limit: c.flags.limit,
		},
		Terms: purge.Terms{Organization: org, Lease: c.s.Lease, RequestTimeout: c.s.RequestTimeout, Host: host},
		PID:   os.Getpid(), Version: version(), Bell: c.bells.add(org),
		Store: c.d.Store, API: api, Now: time.Now, Log: c.log.With("organization", name),
		Watch: func(st worker.Stats) { c.screen.watch(name, st) }, BeforeProbe: func(context.Context) { keys.reread() },
	}}, nil
}

// workerName names a process so that no other ever has the same name.
func workerName(host string) (string, error) {
	var b [4]byte
	if _, err := rand.Read(b[:]); err != nil {
		return "", err
	}
	return fmt.Sprintf("%s-%d-%s", host, os.Getpid(), hex.EncodeToString(b[:])), nil
}

func (p *post) work(stop *stopping) (result, error) {
	defer p.client.CloseIdleConnections()
	if p.flags.once {
		return p.once(stop)
	}
	return p.windows(stop)
}

func (p *post) once(stop *stopping) (result, error) {
	until := stop.orderly
	if p.flags.duration > 0 {
		end := make(chan struct{})
		timer := time.AfterFunc(p.flags.duration, func() { close(end) })
		defer timer.Stop()
		until = either(stop.ctx, stop.orderly, end)
	}
	end, stats, err := worker.New(p.options).Run(stop.ctx, until)
	return result{p.o.Name, end, stats}, hardStop(stop, err)
}

// hardStop says that a stop at once was asked for: no fault.
func hardStop(stop *stopping, err error) error {
	if err != nil && stop.status() != exitOK && errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// either closes its result when one of two channels is closed.
func either(ctx context.Context, a, b <-chan struct{}) chan struct{} {
	out := make(chan struct{})
	go func() {
		select {
		case <-a:
		case <-b:
		case <-ctx.Done():
		}
		close(out)
	}()
	return out
}

// ran is what run prints for scripts.
type ran struct {
	Organization string             `json:"organization"`
	End          string             `json:"end"`
	Ended        int                `json:"ended"`
	States       map[jobs.State]int `json:"states"`
	Images       int                `json:"images_deleted"`
	Calls        int                `json:"api_calls"`
	OverLimit    int                `json:"over_limit"`
	Batches      []int64            `json:"batches"`
}

// tellRun prints what was done and chooses the exit status.
func (a *app) tellRun(ctx context.Context, d *database, f runFlags, results []result, stop *stopping) error {
	out := make([]ran, 0, len(results))
	left, refused := false, false
	for _, r := range results {
		line := ran{Organization: r.Organization, End: string(r.End), Ended: ended(r.Stats), States: r.Stats.Finished, Images: r.Stats.ImagesDeleted,
			Calls: r.Stats.Calls, OverLimit: r.Stats.OverLimit, Batches: []int64{}}
		for id := range r.Stats.Batches {
			line.Batches = append(line.Batches, id)
			var b repository.Batch
			if err := patiently(ctx, func() (err error) { b, err = d.Batch(ctx, id); return err }); err != nil {
				return err
			}
			left = left || b.Failed > 0 || b.Review > 0
		}
		refused = refused || r.End == worker.Breaker
		out = append(out, line)
	}
	if f.once {
		if err := a.print(out, func(w io.Writer) error {
			for _, r := range results {
				if _, err := fmt.Fprintln(w, summary(r.Organization, r.Stats)); err != nil {
					return err
				}
			}
			return nil
		}); err != nil {
			return err
		}
	}
	for _, r := range results {
		if o := r.Stats.Outlook; r.End == worker.NothingLeft && (o.Paused || o.Blocked || !o.Ready && !o.Waiting && !o.NextDue.IsZero()) {
			a.note("%s: %s", r.Organization, outlookNote(o))
		}
		if r.End == worker.Breaker {
			a.note("imagepurge: error: %s: %s", r.Organization, outlookNote(r.Stats.Outlook))
			a.note("imagepurge: hint: mend the cause, then run again: each start makes one probe; or: imagepurge org close-breaker %s --reason \"…\"", r.Organization)
		}
	}
	switch {
	case stop.status() != exitOK:
		return statusError(stop.status())
	case refused:
		return statusError(exitFailed)
	case f.once && left:
		a.note("some customers failed or wait for a person: imagepurge task list --state review")
		return statusError(exitSomeLeft)
	}
	return nil
}
