// Command simulate runs nights of the real code under a simulated clock, with a
// fault possible at every effect, and judges each by the promises of
// docs/protocol.md. One seed decides a whole night.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"sync"
	"time"
	_ "time/tzdata" // windows are in local time

	"github.com/spf13/cobra"

	"github.com/imagepurge/imagepurge/internal/term"
	"github.com/imagepurge/imagepurge/simulation"
)

// Exit statuses.
const (
	exitBroken = 1 // a promise was broken
	exitUsage  = 2
)

// replay begins the command that tells a night again.
const replay = "go run ./cmd/simulate --tell "

var errBroken = errors.New("a promise was broken")

func main() {
	// A night leaves much garbage and keeps nothing.
	debug.SetGCPercent(800)
	c := command(term.New(os.Stdout, os.Stderr, os.Getenv), time.Now)
	err := c.Execute()
	switch {
	case errors.Is(err, errBroken):
		os.Exit(exitBroken)
	case err != nil:
		fmt.Fprintf(os.Stderr, "simulate: %v\n", err)
		os.Exit(exitUsage)
	}
}

type flags struct {
	nights int
	seed   uint64
	size   simulation.Size
	cores  int
	until  string
	bytes  bool
	tell   bool
	json   bool
	shrink int
}

func command(out *term.Output, now func() time.Time) *cobra.Command {
	var f flags
	c := &cobra.Command{
		Use:   "simulate",
		Short: "Run nights of the real code under a simulated clock, and judge them",
		Long: `Run nights of the real code under a simulated clock, with a fault possible at every
effect, and judge each by the promises of docs/protocol.md. One seed decides a whole
night: customers, images, workers, delays, every fault.

A broken promise ends the series with exit status 1. Its seed is printed, the shortest
history that breaks it, and the command that replays that.`,
		Example: `  go run ./cmd/simulate --nights 10000
  go run ./cmd/simulate --nights 1000 --customers 20
  go run ./cmd/simulate --seed 17 --tell`,
		Args:         cobra.NoArgs,
		SilenceUsage: true, SilenceErrors: true,
		RunE: func(*cobra.Command, []string) error {
			if f.nights < 1 || f.size.Customers < 0 || f.size.Customers > 64 || f.size.Workers < 0 || f.size.Workers > 16 {
				return errors.New("--nights is at least 1, --customers at most 64, --workers at most 16")
			}
			if f.tell {
				return f.tellOne(out)
			}
			return f.run(out, now)
		},
	}
	fl := c.Flags()
	fl.IntVar(&f.nights, "nights", 2000, "how many nights")
	fl.Uint64Var(&f.seed, "seed", 1, "seed of the first night; the others follow it")
	fl.IntVar(&f.size.Customers, "customers", 0, "customers a night; 0: 1 to 8, by the seed")
	fl.IntVar(&f.size.Workers, "workers", 0, "workers a night; 0: 1 to 3, by the seed")
	fl.BoolVar(&f.size.Calm, "calm", false, "nights in which nothing goes wrong")
	fl.IntSliceVar(&f.size.Keep, "faults", nil, "numbers of the faults that may happen; without: all")
	fl.IntVar(&f.cores, "cores", runtime.GOMAXPROCS(0), "nights at a time")
	fl.StringVar(&f.until, "until", "", "look for this broken promise alone, such as \""+string(simulation.NothingElseDeleted)+"\"")
	fl.BoolVar(&f.bytes, "bytes", false, "send every answer through the client's decoder, not only the odd ones")
	fl.BoolVar(&f.tell, "tell", false, "print the history of the night with --seed")
	fl.IntVar(&f.shrink, "shrink", 5000, "nights to run for the shortest history of a broken promise; 0: don't")
	fl.BoolVar(&f.json, "json", false, "print the report as JSON")
	return c
}

func (f flags) tellOne(out *term.Output) error {
	settings, lines, broken, err := simulation.Tell(f.seed, f.size)
	if err != nil {
		return err
	}
	fmt.Fprintln(out.Out, settings)
	for _, l := range lines {
		fmt.Fprintln(out.Out, l)
	}
	tellBroken(out, "", broken)
	if len(broken) > 0 {
		return errBroken
	}
	fmt.Fprintln(out.Out, "every promise was kept")
	return nil
}

func (f flags) run(out *term.Output, now func() time.Time) error {
	began := now()
	bar := term.NewProgress(out, int64(f.nights), term.Options{Now: now, Label: "nights", Verb: "simulated", Unit: "nights/s"})
	var mu sync.Mutex
	report, err := simulation.Nights(simulation.Options{
		First: f.seed, Nights: f.nights, Size: f.size, Bytes: f.bytes, Until: simulation.Promise(f.until), Cores: f.cores,
		Progress: func(done int) {
			mu.Lock()
			defer mu.Unlock()
			p := term.Progress{Done: int64(done)}
			if took := now().Sub(began); took > time.Second {
				p.Rate = float64(done) / took.Seconds()
				p.Left = time.Duration(float64(f.nights-done) / p.Rate * float64(time.Second))
			}
			bar.Update(p)
		},
	})
	if err != nil {
		return err
	}
	took := now().Sub(began)
	bar.Clear()
	if f.json {
		return f.tellJSON(out, report, took)
	}
	f.tellReport(out, report, took)
	if report.Found == nil {
		fmt.Fprintln(out.Out, "every promise was kept")
		return nil
	}
	return f.tellFound(out, report.Found)
}

func (f flags) tellReport(out *term.Output, r *simulation.Report, took time.Duration) {
	w := out.Out
	fmt.Fprintf(w, "%s nights in %s (%.0f a second), seeds %d to %d\n", term.Number(int64(r.Nights)), took.Round(100*time.Millisecond),
		float64(r.Nights)/took.Seconds(), f.seed, f.seed+uint64(f.nights)-1)
	fmt.Fprintf(w, "%s customers, %s tasks, %s calls, %s images deleted, %s steps\n", term.Number(int64(r.Customers)),
		term.Number(int64(r.Tasks)), term.Number(int64(r.Calls)), term.Number(int64(r.Deletes)), term.Number(int64(r.Steps)))
	fmt.Fprintln(w, "\noutcomes")
	for _, l := range simulation.Lines(r.Outcomes) {
		fmt.Fprintln(w, " ", l)
	}
	fmt.Fprintln(w, "\nfaults")
	for _, l := range simulation.Lines(r.Faults) {
		fmt.Fprintln(w, " ", l)
	}
	hit, missed := simulation.Transitions(r)
	fmt.Fprintf(w, "\ntransitions of the purge: %d of %d were taken\n", len(hit), len(hit)+len(missed))
	for _, l := range hit {
		fmt.Fprintln(w, " ", l)
	}
	for _, l := range missed {
		fmt.Fprintln(w, "  never:", l)
	}
	fmt.Fprintln(w)
}

func (f flags) tellFound(out *term.Output, found *simulation.Found) error {
	w := out.Out
	first := found.Violations[0].Promise
	if f.until != "" {
		first = simulation.Promise(f.until)
	}
	tellBroken(out, fmt.Sprintf("seed %d: ", found.Seed), found.Violations)
	if f.shrink <= 0 {
		fmt.Fprintf(w, "\nreplay it with: %s\n", replay+simulation.Replay(found.Seed, found.Size))
		return errBroken
	}
	s, err := simulation.Shrink(found.Seed, found.Size, first, f.shrink)
	if err != nil {
		return err
	}
	fmt.Fprintf(w, "\nThe shortest history of %d tried that breaks %q:\n%s\n", s.Tried, first, s.Settings)
	for _, l := range s.Lines {
		fmt.Fprintln(w, l)
	}
	tellBroken(out, "", s.Violations)
	fmt.Fprintf(w, "\nreplay it with: %s\n", replay+simulation.Replay(s.Seed, s.Size))
	return errBroken
}

func tellBroken(out *term.Output, where string, broken []simulation.Violation) {
	for _, v := range broken {
		fmt.Fprintf(out.Out, "BROKEN: %s%s: %s\n", where, v.Promise, v.What)
	}
}

func (f flags) tellJSON(out *term.Output, r *simulation.Report, took time.Duration) error {
	type document struct {
		Nights     int                    `json:"nights"`
		Seconds    float64                `json:"seconds"`
		Seed       uint64                 `json:"seed,omitempty"`
		Violations []simulation.Violation `json:"violations,omitempty"`
		Replay     string                 `json:"replay,omitempty"`
	}
	d := document{Nights: r.Nights, Seconds: took.Seconds()}
	if r.Found != nil {
		d.Seed, d.Replay = r.Found.Seed, replay+simulation.Replay(r.Found.Seed, r.Found.Size)
		d.Violations = r.Found.Violations
	}
	if err := json.NewEncoder(out.Out).Encode(d); err != nil {
		return err
	}
	if r.Found != nil {
		return errBroken
	}
	return nil
}
