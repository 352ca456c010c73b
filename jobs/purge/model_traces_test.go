package purge_test

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/imagepurge/imagepurge/jobs"
)

var (
	modelWrite = flag.Int("model.write", 0, "make the traces in testdata/model anew, from so many seeds of each configuration")
	modelFresh = flag.Int("model.fresh", 0, "how many new seeds of each configuration are replayed where spin is installed")
)

const (
	modelFile  = "../../docs/protocol/purge-protocol.pml"
	modelSteps = 4000 // of Spin, in one trace
	keptTraces = 60   // of each configuration
)

// modelConfig is a configuration of the model whose traces are replayed.
type modelConfig struct {
	name  string
	flags []string
}

var modelConfigs = []modelConfig{
	{"named", []string{"-DN=3", "-DUNEXPECTED", "-DCRASHES=2", "-DLOSSES=3"}},
	{"all", []string{"-DALL", "-DN=3", "-DREFUSALS=3", "-DVIEWOLD=2"}},
	{"listing-lag", []string{"-DN=3", "-DLAGR=2", "-DVIEWOLD=1", "-DREFUSALS=2"}},
	{"paranoid", []string{"-DPARANOID", "-DN=3", "-DLAGR=1", "-DUNEXPECTED"}},
	{"economy", []string{"-DECONOMY", "-DN=3", "-DLAGR=1"}},
	{"lies", []string{"-DN=2", "-DLIE=1", "-DLAGR=1", "-DFREEZES=0"}},
	{"batch", []string{"-DALL", "-DBATCH", "-DN=4", "-DLAGR=1", "-DUNEXPECTED"}},
	{"others", []string{"-DN=3", "-DFA=2", "-DFKINDS=15", "-DLAGR=1", "-DFREEZES=0"}},
	{"until-empty", []string{"-DALL", "-DUNTIL_EMPTY", "-DN=2", "-DFA=2", "-DFKINDS=15", "-DLAGR=1"}},
	{"absent", []string{"-DN=2", "-DFA=2", "-DFKINDS=2", "-DFQ=1", "-DFREEZES=0", "-DREFUSALS=2"}},
	{"missing-indexes", []string{"-DN=2", "-DSTICKY", "-DCRASHES=0"}},
	{"second-task", []string{"-DN=2", "-DTASK2", "-DLAGR=2", "-DUNEXPECTED"}},
	{"fail-over", []string{"-DN=3", "-DDBLOSS", "-DFREEZES=0", "-DCRASHES=0"}},
	{"persons", []string{"-DN=3", "-DCANCEL", "-DHOLD", "-DLAGR=1", "-DVIEWOLD=1"}},
	{"breaker", []string{"-DN=2", "-DREFUSED=4", "-DLISTFAULTS=1", "-DUNEXPECTED"}},
	{"held", []string{"-DN=2", "-DHOLD", "-DCRASHES=0", "-DFREEZES=0", "-DLOSSES=0", "-DREFUSALS=0"}},
	{"still-present", []string{"-DALL", "-DN=1", "-DLIE=1", "-DLIES=4", "-DCRASHES=0", "-DFREEZES=0", "-DLOSSES=0", "-DREFUSALS=0"}},
	{"out-of-attempts", []string{"-DN=2", "-DATTEMPTS=1", "-DLISTFAULTS=1", "-DCANCEL", "-DCRASHES=0", "-DFREEZES=0", "-DLOSSES=3"}},
	{"attempts", []string{"-DN=3", "-DATTEMPTS=3", "-DLISTFAULTS=2", "-DCANCEL", "-DUNEXPECTED"}},
}

func (c modelConfig) has(flag string) bool { return slices.Contains(c.flags, flag) }

func (c modelConfig) mode() jobs.Mode {
	switch {
	case c.has("-DPARANOID"):
		return jobs.Paranoid
	case c.has("-DECONOMY"):
		return jobs.Economy
	}
	return jobs.Verified
}

func (c modelConfig) scope() jobs.Scope {
	if c.has("-DUNTIL_EMPTY") {
		return jobs.UntilEmpty
	}
	return jobs.Snapshot
}

func (c modelConfig) file() string { return filepath.Join("testdata", "model", c.name+".txt") }

// trace runs the model by chance. What the server and others do is left out: a
// machine does not see it.
func (c modelConfig) trace(t *testing.T, seed uint64) (string, error) {
	t.Helper()
	model, err := filepath.Abs(modelFile)
	if err != nil {
		return "", err
	}
	args := append([]string{"-T", "-n" + strconv.FormatUint(seed, 10), "-u" + strconv.Itoa(modelSteps), "-DTRACE"}, c.flags...)
	cmd := exec.Command("spin", append(args, model)...)
	cmd.Dir = t.TempDir() // Spin writes a file where it runs
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("spin: %w", err)
	}
	var lines []string
	for l := range strings.Lines(string(out)) {
		l = strings.TrimRight(l, "\n ")
		switch word, _, _ := strings.Cut(l, " "); word {
		case "W0", "W1", "settings", "named", "tick", "cancel", "hold", "release", "task2", "failover", "rows":
			lines = append(lines, l)
		}
	}
	return strings.Join(lines, "\n"), nil
}

// TestMachineFollowsTheModel replays traces of the model in docs/protocol against
// the real machine: what it lists, intends, sends, saves, gives back and finishes,
// and the rows after every write, must be the model's.
func TestMachineFollowsTheModel(t *testing.T) {
	seen, steps := make(map[string]int), make(map[string]int)
	for _, c := range modelConfigs {
		t.Run(c.name, func(t *testing.T) {
			if *modelWrite > 0 {
				c.write(t)
			}
			text, err := os.ReadFile(c.file())
			if err != nil {
				t.Fatal(err)
			}
			head, traces, _ := strings.Cut(string(text), "\n\n")
			if want := header(c); head != want {
				t.Fatalf("%s was made with %q, not with %q: make it anew with -model.write=100", c.file(), head, want)
			}
			for i, trace := range strings.Split(traces, "\n\n") {
				r := newReplay(c)
				if err := r.play(trace); err != nil {
					t.Fatalf("trace %d parts from the machine at %v\n%s", i+1, err, trace)
				}
				steps[c.name] += r.steps
				count(seen, trace)
			}
			t.Logf("%d traces, %d steps of workers", strings.Count(traces, "\n\n")+1, steps[c.name])
		})
	}
	for _, step := range everyStep {
		if seen[step] == 0 && !t.Failed() && len(steps) == len(modelConfigs) {
			t.Errorf("no trace has a step %q: the traces have become too tame", step)
		}
	}
}

// everyStep is what a worker's machine can be told or can want in the model.
var everyStep = []string{
	"answer deleted", "answer no_such_image", "answer not_run", "answer not_sent", "answer over_limit", "answer refused",
	"answer unexpected", "answer unknown", "back", "back backoff", "back breaker", "back listing_lag", "back settle", "crash",
	"finish already_absent", "finish attempts_exhausted", "finish bystander_missing", "finish cancelled", "finish images_deleted",
	"finish index_contradiction", "finish no_images", "finish still_present", "finish unexpected_response", "lease_lost",
	"listing over_limit", "listing refused", "listing unknown", "refused budget_pause", "refused cancelled", "refused held",
	"refused lease_lost", "refused lease_short", "save", "send", "view_old",
}

// count counts the steps of a trace.
func count(seen map[string]int, trace string) {
	for l := range strings.Lines(trace) {
		if s := strings.TrimSpace(l); strings.HasPrefix(s, "W") {
			seen[s[3:]]++
		}
	}
}

func header(c modelConfig) string { return "model " + strings.Join(c.flags, " ") }

// write keeps, of many seeds, the traces that show something new: pairs of steps
// that follow each other and that no kept trace has.
func (c modelConfig) write(t *testing.T) {
	t.Helper()
	needsSpin(t)
	pairs := make(map[string]bool)
	var kept []string
	for seed := range *modelWrite {
		trace, err := c.trace(t, uint64(seed)+1)
		if err != nil {
			t.Fatal(err)
		}
		if len(kept) < keptTraces && isNew(pairs, trace) {
			kept = append(kept, trace)
		}
	}
	if err := os.WriteFile(c.file(), []byte(header(c)+"\n\n"+strings.Join(kept, "\n\n")+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
}

func isNew(pairs map[string]bool, trace string) (news bool) {
	before := ""
	for l := range strings.Lines(trace) {
		s := strings.TrimSpace(l)
		if strings.HasPrefix(s, "rows") || strings.HasSuffix(s, "freezes") || strings.HasSuffix(s, "wakes") {
			continue
		}
		if p := before + ", " + s; !pairs[p] {
			pairs[p], news = true, true
		}
		before = s
	}
	return news
}

func needsSpin(t *testing.T) {
	t.Helper()
	if _, err := exec.LookPath("spin"); err != nil {
		t.Skip("spin is not installed: it is a package of the distribution; the traces in testdata are replayed without it")
	}
}

// Chance goes on where the traces in testdata end.
func TestMachineFollowsTheModelFromNewSeeds(t *testing.T) {
	if *modelFresh == 0 {
		t.Skip("new seeds are another test each time: ask for them with -model.fresh=N; the traces in testdata are always replayed")
	}
	needsSpin(t)
	for _, c := range modelConfigs {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			for range *modelFresh {
				seed := uint64(rand.Uint32())
				trace, err := c.trace(t, seed)
				if err != nil {
					t.Fatal(err)
				}
				if err := newReplay(c).play(trace); err != nil {
					t.Fatalf("seed %d parts from the machine at %v\n%s", seed, err, trace)
				}
			}
		})
	}
}
