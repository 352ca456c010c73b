package main_test

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/imagepurge/imagepurge/capillary/sandbox"
)

// dataDir is a folder that the account of a server started by root can reach.
func dataDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "imagepurge-data-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return filepath.Join(dir, "data")
}

// processesNaming are the processes whose command line holds a text.
func processesNaming(t *testing.T, text string) (found []string) {
	t.Helper()
	all, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil || len(all) == 0 {
		t.Fatalf("no processes to look at: %v", err)
	}
	for _, file := range all {
		line, err := os.ReadFile(file)
		if err == nil && bytes.Contains(line, []byte(text)) && !strings.HasPrefix(file, "/proc/self/") {
			found = append(found, strings.ReplaceAll(string(line), "\x00", " "))
		}
	}
	return found
}

func TestEmbeddedDatabaseIsShared(t *testing.T) {
	t.Parallel()
	crowd := present(121, 60, 2)
	dir := dataDir(t)
	w := newWorldOn(t, sandbox.Options{Seed: 121, Population: crowd, Latency: sandbox.FixedLatency(20 * time.Millisecond)}, "").
		with("IMAGEPURGE_DATA_DIR="+dir, "CAPILLARY_RATE_PER_MINUTE=1200")
	ids := everyone(crowd)
	if e := w.must(0, "enqueue", w.list("list.csv", ids...)); !strings.Contains(e.err, "embedded, "+dir) {
		t.Errorf("the database is not named: %s", e)
	}
	if left := processesNaming(t, dir); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	one := w.start("run", "--once")
	w.until("deletes are under way", func() bool { return len(w.deletes()) > 5 })
	two := w.start("run", "--once")
	if e := w.must(0, "status"); !strings.Contains(e.out, "worker ") {
		t.Errorf("status does not see the worker: %s", e)
	}
	if !one.running() || !two.running() {
		t.Error("they were not there together: nothing is shown")
	}
	for _, p := range []*process{one, two} {
		if e := p.wait(); e.status != 0 {
			t.Errorf("%s", e)
		}
	}
	report := parse[struct {
		Batch struct {
			Completed int
			Deleted   int `json:"images_deleted"`
		}
	}](w, w.must(0, "report", "1", "--format", "json").out)
	if report.Batch.Completed != 60 || report.Batch.Deleted != 120 || w.api.Journal().Counters().ImagesDeleted != 120 {
		t.Errorf("%+v; journal: %+v", report, w.api.Journal().Counters())
	}
	if left := processesNaming(t, dir); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestForgottenDatabaseURLIsNoSuccess(t *testing.T) {
	t.Parallel()
	w := newWorldOn(t, sandbox.Options{}, "")
	for _, args := range []string{"run --once", "run"} {
		if e := w.must(1, strings.Fields(args)...); !strings.Contains(e.err, "DATABASE_URL is not set") || !strings.Contains(e.err, "IMAGEPURGE_DATA_DIR") {
			t.Errorf("%s", e)
		}
	}
}

var demosDatabase = regexp.MustCompile(`embedded, (\S+) \(temporary\)`)

// demoWorld is given what a demo must not touch.
func demoWorld(t *testing.T) (w *world, temp string) {
	w = newWorldOn(t, sandbox.Options{Population: present(131, 10, 1)}, "")
	temp = filepath.Join(filepath.Dir(dataDir(t)), "tmp")
	if err := os.Mkdir(temp, 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(temp, 0o777); err != nil {
		t.Fatal(err)
	}
	return w.with("TMPDIR="+temp, "DATABASE_URL=postgres://imagepurge@127.0.0.1:1/none"), temp
}

// wantNothingLeft checks that a demo has left neither process nor file.
func (w *world) wantNothingLeft(t *testing.T, p *process, temp string) {
	t.Helper()
	m := demosDatabase.FindStringSubmatch(p.errOut.String())
	if m == nil {
		t.Fatalf("the demo did not say where its database is: %s", p)
	}
	if left := processesNaming(t, m[1]); len(left) > 0 {
		t.Errorf("processes are left: %v", left)
	}
	if _, err := os.Stat(m[1]); !os.IsNotExist(err) {
		t.Errorf("its database is left in %s: %v", m[1], err)
	}
	for _, dir := range []string{temp, w.dir} {
		if left, err := filepath.Glob(filepath.Join(dir, "*")); err != nil || len(left) > 0 {
			t.Errorf("files are left: %v, %v", left, err)
		}
	}
	if n := w.api.Journal().Len(); n != 0 {
		t.Errorf("%d calls went to the API that is set", n)
	}
}

func TestDemo(t *testing.T) {
	t.Parallel()
	w, temp := demoWorld(t)
	p := w.start("demo", "--customers", "150", "-o", "json")
	e := p.wait()
	if e.status != 0 {
		t.Fatalf("%s", e)
	}
	report := parse[map[string]any](w, e.out)
	var keys []string
	for k := range report {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	if want := "agrees_with_journal api_calls checks completed customers failed faults_met images_deleted images_found outcomes review seconds"; strings.Join(keys, " ") != want {
		t.Errorf("keys: got %v, want %s", keys, want)
	}
	if report["agrees_with_journal"] != true || report["customers"] != 150.0 || report["faults_met"].(float64) < 10 {
		t.Errorf("%s", e.out)
	}
	w.wantNothingLeft(t, p, temp)
}

func TestDemoIsStopped(t *testing.T) {
	t.Parallel()
	for name, when := range map[string]string{"at the start": "database: ", "in the middle": "purging"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, temp := demoWorld(t)
			w.TB = t
			p := w.start("demo")
			w.until("it has begun", func() bool { return !p.running() || strings.Contains(p.errOut.String(), when) })
			p.signal(syscall.SIGTERM)
			if e := p.wait(); e.status != 143 || e.out != "" {
				t.Errorf("%s", e)
			}
			w.wantNothingLeft(t, p, temp)
		})
	}
}

func TestDemoIsKept(t *testing.T) {
	t.Parallel()
	w, temp := demoWorld(t)
	p := w.start("demo", "--customers", "20", "--keep")
	w.until("it is done", func() bool { return !p.running() || strings.Contains(p.errOut.String(), "kept until Ctrl-C") })
	m := regexp.MustCompile(`export DATABASE_URL='([^']+)'`).FindStringSubmatch(p.errOut.String())
	if m == nil {
		t.Fatalf("%s", p)
	}
	w.with("DATABASE_URL="+m[1]).must(0, "batch", "show", "1")
	p.signal(syscall.SIGINT)
	if e := p.wait(); e.status != 0 && e.status != 130 {
		t.Errorf("%s", e)
	}
	w.wantNothingLeft(t, p, temp)
}
