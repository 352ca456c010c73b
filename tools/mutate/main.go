// The mutate program puts one small fault at a time into the source of a package and
// runs the tests that should notice. What no test notices is either a test that is
// missing or a fault that changes nothing: each of the latter stands in docs/mutants.md
// with the argument why.
//
//	go -C tools run ./mutate jobs/purge
//	go -C tools run ./mutate -list repository
//	go -C tools run ./mutate -only jobs/purge/deleting.go:152 jobs/purge
//
// It changes no file: the faults are laid over the source (go test -overlay). Results
// are kept, so that a run that was stopped goes on, and only what a change of the tests
// may concern is tried again. It ends with 1 where a mutant survived unexplained.
package main

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

// killers are the packages whose tests should notice a fault, besides its own, and
// which of their tests are to run: TestEachSafeguardIsNeeded, for one, builds programs
// of a source of its own and can't see a mutant.
var killers = map[string][]killer{
	"jobs/clearance":    {nights},
	"jobs/purge":        {{"jobs/worker", ""}, nights},
	"jobs/budget":       {{"repository", "Slot|Budget|Share|Rate"}, nights},
	"jobs/worker":       {nights},
	"capillary":         {nights},
	"simulation/memory": {{"repository", "^TestContract$"}},
}

var nights = killer{"simulation", "^TestNights$"}

type killer struct{ pkg, tests string }

type options struct {
	sample  int
	seed    uint64
	only    string
	jobs    int
	own     bool
	list    bool
	asJSON  bool
	fresh   bool
	results string
	root    string
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	var o options
	r := &runner{}
	flags := flag.NewFlagSet("mutate", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.IntVar(&o.sample, "sample", 0, "try only so many mutants, chosen by -seed; 0: all")
	flags.Uint64Var(&o.seed, "seed", 1, "chooses the sample")
	flags.StringVar(&o.only, "only", "", "try only the mutants of FILE, FILE:LINE or an id")
	flags.IntVar(&o.jobs, "jobs", max(1, runtime.NumCPU()/2), "mutants at a time")
	flags.DurationVar(&r.timeout, "timeout", 10*time.Minute, "a package's tests, at most; of the processor they get 10 s and ten times what they need without a mutant")
	flags.DurationVar(&r.perTest, "per-test", time.Minute, "leave out tests that take longer without a mutant")
	flags.BoolVar(&o.own, "own", false, "run the package's own tests alone")
	flags.BoolVar(&o.list, "list", false, "list the mutants and try none")
	flags.BoolVar(&o.asJSON, "json", false, "print one JSON object a mutant")
	flags.BoolVar(&o.fresh, "fresh", false, "believe no result of an earlier run")
	flags.StringVar(&o.results, "results", filepath.Join(os.TempDir(), "imagepurge-mutants.json"), "where results are kept")
	flags.StringVar(&o.root, "root", "..", "the module")
	flags.Usage = func() {
		fmt.Fprintln(stderr, "Usage: go -C tools run ./mutate [flags] PACKAGE...")
		flags.PrintDefaults()
	}
	if err := flags.Parse(args); err != nil {
		return 2
	}
	if flags.NArg() == 0 {
		flags.Usage()
		return 2
	}
	good := true
	for _, pkg := range flags.Args() {
		ok, err := o.try(ctx, r, strings.Trim(filepath.ToSlash(pkg), "./"), stdout, stderr)
		if err != nil {
			fmt.Fprintln(stderr, "mutate: error:", err)
			return 2
		}
		good = good && ok
	}
	if !good {
		return 1
	}
	return 0
}

// try runs the mutants of one package, and says whether each is killed or explained.
func (o options) try(ctx context.Context, r *runner, pkg string, stdout, stderr io.Writer) (bool, error) {
	var err error
	if r.root, err = filepath.Abs(o.root); err != nil {
		return false, err
	}
	src, err := load(r.root, pkg)
	if err != nil {
		return false, err
	}
	explained, err := readEquivalents(filepath.Join(r.root, "docs", "mutants.md"))
	if err != nil {
		return false, err
	}
	all, dead, err := o.mutants(src)
	if err != nil {
		return false, err
	}
	if o.list {
		for _, m := range all {
			fmt.Fprintln(stdout, m)
		}
		fmt.Fprintf(stderr, "%s: %d mutants; %d more do not compile\n", pkg, len(all), dead)
		return true, nil
	}
	if r.dir, err = os.MkdirTemp("", "mutate"); err != nil {
		return false, err
	}
	defer os.RemoveAll(r.dir)
	var woven []mutant
	active := make(map[string]int)
	for _, m := range all {
		if m.weaves() {
			woven = append(woven, m)
			active[m.ID] = len(woven)
		}
	}
	overlay, err := r.overlay("woven", src.woven(woven))
	if err != nil {
		return false, err
	}
	var suites []suite
	with := []killer{{pkg, ""}}
	if !o.own {
		with = append(with, killers[pkg]...)
	}
	for _, p := range with {
		s, err := r.baseline(ctx, p, overlay)
		if err != nil {
			return false, err
		}
		fmt.Fprintf(stderr, "%s: %d tests, %v of the processor; left out: %v\n", p.pkg, len(s.fast)+len(s.slow), s.cpu.Round(time.Millisecond), s.out)
		suites = append(suites, s)
	}
	known, err := o.open(r.root, pkg, suites)
	if err != nil {
		return false, err
	}
	defer known.file.Close()

	rep := &report{pkg: pkg, explained: explained, dead: dead, whole: o.only == "" && o.sample == 0}
	began := time.Now()
	var (
		mu    sync.Mutex
		group sync.WaitGroup
		next  = make(chan mutant)
		first error
	)
	for n := range o.jobs {
		group.Go(func() {
			for m := range next {
				v, ok := known.of(m)
				var err error
				if !ok {
					v, err = r.try(ctx, fmt.Sprintf("alone%d", n), m, active[m.ID], src.files[m.File], suites)
				}
				mu.Lock()
				if err != nil { // what was not tried is tried by the next run
					first = fmt.Errorf("%s: %w", m, err)
					mu.Unlock()
					continue
				}
				if !ok {
					known.keep(m, v)
				}
				rep.add(m, v)
				if o.asJSON {
					line, _ := json.Marshal(struct {
						mutant
						verdict
					}{m, v})
					fmt.Fprintf(stdout, "%s\n", line)
				} else {
					fmt.Fprintf(stderr, "%s: %s %s\n", m, v.Result, v.By)
				}
				mu.Unlock()
			}
		})
	}
	for _, m := range all {
		if ctx.Err() != nil {
			break
		}
		next <- m
	}
	close(next)
	group.Wait()
	if err := errors.Join(ctx.Err(), first); err != nil {
		return false, err
	}
	rep.took = time.Since(began)
	if !o.asJSON {
		rep.print(stdout)
	}
	return rep.good(), nil
}

// mutants are those of a package that compile and are asked for, and how many do not
// compile.
func (o options) mutants(src *source) (all []mutant, dead int, err error) {
	files := make([]string, 0, len(src.files))
	for f := range src.files {
		files = append(files, f)
	}
	slices.Sort(files)
	for _, f := range files {
		found, err := mutantsOf(f, src.files[f])
		if err != nil {
			return nil, 0, err
		}
		for _, m := range found {
			if o.only != "" && o.only != m.ID && o.only != m.File && o.only != fmt.Sprintf("%s:%d", m.File, m.Line) {
				continue
			}
			if src.instant(m) {
				continue
			}
			if !src.compiles(m) {
				dead++
				continue
			}
			all = append(all, m)
		}
	}
	if o.sample > 0 && o.sample < len(all) {
		random := rand.New(rand.NewPCG(o.seed, 0))
		random.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
		all = all[:o.sample]
	}
	return all, dead, nil
}

// results keeps verdicts. One of a kill stands as long as its package's source does;
// one of a survivor as long as the tests do as well.
type results struct {
	file          *os.File
	source, tests string
	known         map[string]verdict
}

type kept struct {
	Key string `json:"key"`
	verdict
}

func (o options) open(root, pkg string, suites []suite) (*results, error) {
	k := &results{known: make(map[string]verdict)}
	k.source = digest(root, []string{pkg}, func(name string) bool { return !strings.HasSuffix(name, "_test.go") })
	dirs := make([]string, 0, len(suites))
	for _, s := range suites {
		dirs = append(dirs, s.pkg)
	}
	k.tests = digest(root, dirs, func(string) bool { return true })
	how := os.O_CREATE | os.O_RDWR | os.O_APPEND
	var err error
	if k.file, err = os.OpenFile(o.results, how, 0o600); err != nil || o.fresh {
		return k, err
	}
	for d := json.NewDecoder(k.file); ; {
		var v kept
		if err := d.Decode(&v); err != nil {
			return k, nil // the end, or a line that was cut by a kill
		}
		k.known[v.Key] = v.verdict
	}
}

func (k *results) of(m mutant) (verdict, bool) {
	if v, ok := k.known[m.ID+k.source]; ok {
		return v, true
	}
	v, ok := k.known[m.ID+k.source+k.tests]
	return v, ok
}

func (k *results) keep(m mutant, v verdict) {
	key := m.ID + k.source
	if v.Result == survived {
		key += k.tests
	}
	line, err := json.Marshal(kept{key, v})
	if err == nil {
		_, _ = k.file.Write(append(line, '\n')) // what is not kept is tried again
	}
}

// digest is one of all Go files and test data in some folders.
func digest(root string, dirs []string, take func(name string) bool) string {
	h := sha256.New()
	for _, dir := range dirs {
		_ = filepath.WalkDir(filepath.Join(root, dir), func(path string, d fs.DirEntry, err error) error {
			if err == nil && !d.IsDir() && take(d.Name()) {
				if b, err := os.ReadFile(path); err == nil {
					fmt.Fprintf(h, "%s %d\n%s", path, len(b), b)
				}
			}
			return nil
		})
	}
	return fmt.Sprintf("-%.6x", h.Sum(nil))
}
