package main_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/imagepurge/imagepurge/capillary/sandbox"
)

// What is taken in stands in the list: in the whole list, as one list, read once.

// manyLines is far more than is read at once: ids of nine digits, the second line bad.
func manyLines(n int) string {
	var b strings.Builder
	b.WriteString("700000001\nnone\n")
	for i := range n {
		fmt.Fprintf(&b, "%d\n", 700000002+i)
	}
	return b.String()
}

// trace is what an intake could leave.
type trace struct {
	Files map[string]string // where programs run
	Rows  int               // of batches and of tasks
}

func (w *world) trace() trace {
	w.Helper()
	return trace{w.files(), w.count("SELECT (SELECT count(*) FROM batches) + (SELECT count(*) FROM image_deletion_tasks)")}
}

func (w *world) files() map[string]string {
	w.Helper()
	entries, err := os.ReadDir(w.dir)
	if err != nil {
		w.Fatal(err)
	}
	files := make(map[string]string)
	for _, e := range entries {
		files[e.Name()] = e.Type().String()
		if e.Type().IsRegular() {
			text, err := os.ReadFile(filepath.Join(w.dir, e.Name()))
			if err != nil {
				w.Fatal(err)
			}
			files[e.Name()] = string(text)
		}
	}
	return files
}

// wantRefused wants a list refused without a trace, and the reason said.
func (w *world) wantRefused(e ended, before trace, says ...string) {
	w.Helper()
	if e.status != 1 || e.out != "" {
		w.Errorf("not refused: %s", e)
	}
	for _, s := range append(says, "nothing was taken in") {
		if !strings.Contains(e.err, s) {
			w.Errorf("does not say %q: %s", s, e)
		}
	}
	if diff := cmp.Diff(w.trace(), before); diff != "" {
		w.Errorf("a trace (-got +want)\n%.2000s", diff)
	}
}

// at is the world within a subtest.
func (w *world) at(t *testing.T) *world {
	other := *w
	other.TB = t
	return &other
}

// held starts a command and lets it come as far as its first write to the table.
// Whatever is done before release is done while it runs.
func (w *world) held(table string, cmd *exec.Cmd) (p *process, release func()) {
	w.Helper()
	tx, err := w.pool.Begin(w.Context())
	if err != nil {
		w.Fatal(err)
	}
	release = sync.OnceFunc(func() {
		if err := tx.Rollback(context.WithoutCancel(w.Context())); err != nil {
			w.Error(err)
		}
	})
	w.Cleanup(release)
	if _, err := tx.Exec(w.Context(), "LOCK TABLE "+table+" IN SHARE MODE"); err != nil {
		w.Fatal(err)
	}
	p = w.startCmd(cmd)
	w.until("it waits for "+table, func() bool {
		if !p.running() {
			w.Fatalf("ended before: %s", p)
		}
		return w.count("SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = $1::regclass", table) > 0
	})
	return p, release
}

// The rejects never take the place of anything: least of all of the list that is
// being read, under whatever name.
func TestRejectsNeverOverwrite(t *testing.T) {
	t.Parallel()
	w := newWorld(t, sandbox.Options{})
	in := func(name string) string { return filepath.Join(w.dir, name) }
	w.file("list.txt", manyLines(200_000))
	w.file("only-copy.txt", "the only copy\n")
	for _, err := range []error{
		os.Link(in("list.txt"), in("hard-link.txt")), os.Symlink("list.txt", in("link.txt")),
		os.Symlink("nowhere.txt", in("dangling.txt")), os.Mkdir(in("folder"), 0o700),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	before := w.trace()
	for name, rejects := range map[string]string{
		"the list itself": "list.txt", "the list by another path": "folder/../list.txt", "by a hard link": "hard-link.txt", "by a link": "link.txt",
		"a link to nowhere": "dangling.txt", "somebody's only copy": "only-copy.txt", "a folder": "folder", "a device": "/dev/null",
	} {
		t.Run(name, func(t *testing.T) {
			w := w.at(t)
			e := w.run("enqueue", "--skip-invalid", "--rejects", rejects, "list.txt")
			w.wantRefused(e, before, rejects+" is there already", "hint: ", "--rejects")
		})
	}
	t.Run("the list by stdin", func(t *testing.T) {
		w := w.at(t)
		cmd := exec.Command(program, "enqueue", "--skip-invalid", "--rejects", "/dev/stdin", "-")
		cmd.Stdin = w.opened("list.txt")
		w.wantRefused(w.startCmd(cmd).wait(), before, "/dev/stdin is there already")
	})

	// With a name for them all goes well; and again, since the same lines under that
	// name are an earlier try's.
	first := w.take("--skip-invalid", "--rejects", "new.txt", "list.txt")
	if first.Customers != 200_001 || first.Invalid != 1 {
		t.Errorf("%+v", first)
	}
	if again := w.take("--skip-invalid", "--rejects", "new.txt", "list.txt"); !again.Existing || again.Batch != first.Batch {
		t.Errorf("%+v", again)
	}
	if info, err := os.Stat(in("new.txt")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("others may read the rejects: %v %v", info, err)
	}
	// The same lines by way of a link are not: what a link leads to changes.
	if err := os.Symlink("new.txt", in("link-to-new.txt")); err != nil {
		t.Fatal(err)
	}
	if e := w.must(1, "enqueue", "--skip-invalid", "--rejects", "link-to-new.txt", "list.txt"); !strings.Contains(e.err, "is there already") {
		t.Errorf("%s", e)
	}
	before.Files["new.txt"], before.Files["link-to-new.txt"] = "none\n", "L---------"
	if diff := cmp.Diff(w.files(), before.Files); diff != "" {
		t.Errorf("files (-got +want)\n%.2000s", diff)
	}
}

// opened is a file where programs run, to be read.
func (w *world) opened(name string) *os.File {
	w.Helper()
	f, err := os.Open(filepath.Join(w.dir, name))
	if err != nil {
		w.Fatal(err)
	}
	w.Cleanup(func() { f.Close() })
	return f
}

// An intake that doesn't stand leaves no rejects behind, however it ends; one that
// stands says what became of them.
func TestRejectsComeAfterTheIntake(t *testing.T) {
	t.Parallel()
	w := newWorld(t, sandbox.Options{})
	bad := strings.Repeat("a line that is no id\n", 1000)
	w.file("list.txt", "700000001\n"+bad)
	before := w.trace()
	enqueue := []string{program, "enqueue", "--skip-invalid", "list.txt"}

	killed, release := w.held("batches", exec.Command(enqueue[0], enqueue[1:]...))
	if diff := cmp.Diff(w.files(), before.Files); diff != "" {
		t.Errorf("files before the intake stands (-got +want)\n%.2000s", diff)
	}
	killed.signal(syscall.SIGKILL)
	killed.wait()
	release()
	if diff := cmp.Diff(w.trace(), before); diff != "" {
		t.Errorf("of a killed intake (-got +want)\n%.2000s", diff)
	}

	full := exec.Command("sh", append([]string{"-c", `ulimit -f 8; exec "$@"`, "sh"}, enqueue...)...) // blocks of 512 bytes
	w.wantRefused(w.startCmd(full).wait(), before, "write the rejects", "file too large")
	w.wantRefused(w.run("enqueue", "--skip-invalid", "--rejects", "nowhere/bad.txt", "list.txt"), before, "write the rejects", "nowhere")

	// Somebody takes the name while the intake is being committed.
	late, release := w.held("batches", exec.Command(enqueue[0], enqueue[1:]...))
	w.file("list.txt.rejects", "somebody's\n")
	release()
	e := late.wait()
	batch := strings.TrimSpace(e.out)
	if e.status != 1 || w.count("SELECT count(*) FROM batches WHERE id::text = $1", batch) != 1 {
		t.Errorf("not said that the batch stands: %s", e)
	}
	for _, says := range []string{"batch " + batch + " stands", "1,000 bad lines", "list.txt.rejects is there already", "hint: ", "--rejects"} {
		if !strings.Contains(e.err, says) {
			t.Errorf("does not say %q: %s", says, e)
		}
	}
	// As the hint says.
	e = w.must(0, "enqueue", "--skip-invalid", "list.txt", "--rejects", "other.txt")
	if strings.TrimSpace(e.out) != batch || !strings.Contains(e.err, "1,000 bad lines were left out and written to other.txt") {
		t.Errorf("%s", e)
	}
	before.Files["list.txt.rejects"], before.Files["other.txt"] = "somebody's\n", bad
	if diff := cmp.Diff(w.files(), before.Files); diff != "" {
		t.Errorf("files (-got +want)\n%.2000s", diff)
	}
	// What a dry run has left out is left out in earnest as well.
	e = w.must(0, "enqueue", "--skip-invalid", "list.txt", "--rejects", "other.txt", "--dry-run")
	if strings.TrimSpace(e.out) == batch || !strings.Contains(e.err, "1,000 bad lines were left out; they stand in other.txt already") {
		t.Errorf("%s", e)
	}
}

// Of a list that was cut on its way the last line may be the beginning of an id, and
// that is often another customer's.
func TestACutListIsRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t, sandbox.Options{})
	for name, text := range map[string]string{
		"lines": "700000021\n70000", "lines, CRLF": "700000021\r\n70000", "lines, quoted": "\"700000021\"\n\"70000\"",
		"CSV": "name,customer_id\nA,700000021\nB,70000", "CSV, quoted": "customer_id,name\n\"700000021\",\"A\"\n\"70000\",\"B\"",
		"NDJSON": `{"customer_id":700000021}` + "\n" + `{"customer_id":70000}`,
	} {
		for form, text := range map[string]string{"plain": text, "gz": zip(text)} {
			t.Run(name+", "+form, func(t *testing.T) {
				w := w.at(t)
				before := w.trace()
				e := w.startWith([]byte(text), "enqueue", "-").wait()
				w.wantRefused(e, before, "no line end", "--last-line-is-whole")

				got := parse[taken](w, w.startWith([]byte(text), "enqueue", "--skip-invalid", "-o", "json", "-").wait().out)
				if ids := w.tasks(got.Batch); got.Customers != 1 || got.Invalid != 1 || ids[700000021].ID == 0 {
					t.Errorf("--skip-invalid: %+v, tasks %v", got, ids)
				}
				// Nor is it taken in by way of the rejects.
				before = w.trace()
				w.wantRefused(w.run("enqueue", "stdin.rejects"), before, "no line end")
				if err := os.Remove(filepath.Join(w.dir, "stdin.rejects")); err != nil {
					t.Error(err)
				}
				got = parse[taken](w, w.startWith([]byte(text), "enqueue", "--last-line-is-whole", "-o", "json", "-").wait().out)
				if ids := w.tasks(got.Batch); got.Customers != 2 || ids[70000].ID == 0 {
					t.Errorf("--last-line-is-whole: %+v, tasks %v", got, ids)
				}
			})
		}
	}
	t.Run("gz that ends early", func(t *testing.T) {
		w := w.at(t)
		whole := zip(manyLines(20_000))
		for _, args := range [][]string{{"enqueue", "-"}, {"enqueue", "--skip-invalid", "--last-line-is-whole", "-"}} {
			w.wantRefused(w.startWith([]byte(whole[:len(whole)/2]), args...).wait(), w.trace(), "cut off")
		}
	})
}

// A list that changes while it is read may be half of one and half of another.
func TestAListThatChangesIsRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t, sandbox.Options{})
	in := filepath.Join(w.dir, "list.txt")
	whole := strings.ReplaceAll(manyLines(50_000), "none\n", "")
	other := strings.ReplaceAll(whole, "7000", "8000")
	write := func(flag int, text string) func() error {
		return func() error {
			f, err := os.OpenFile(in, os.O_WRONLY|flag, 0o600)
			if err != nil {
				return err
			}
			_, err = f.WriteString(text)
			return errors.Join(err, f.Close())
		}
	}
	old := time.Now().Add(-time.Hour)
	replace := func() error {
		return errors.Join(os.WriteFile(in+".new", []byte(whole), 0o600), os.Chtimes(in+".new", old, old), os.Rename(in+".new", in))
	}
	byPath := []string{"enqueue", "list.txt"}
	changes := []struct {
		name   string
		args   []string
		change func() error
	}{
		{"appended to", byPath, write(os.O_APPEND, "700999999\n")},
		{"appended to, its time set back", byPath, func() error { return errors.Join(write(os.O_APPEND, "700999999\n")(), os.Chtimes(in, old, old)) }},
		{"cut", byPath, func() error { return os.Truncate(in, 300_000) }},
		{"emptied", byPath, func() error { return os.Truncate(in, 0) }},
		{"written over, of the same size", byPath, write(0, other)},
		{"made anew under its name", byPath, write(os.O_TRUNC, other)},
		{"replaced by another of the same size and time", byPath, replace},
		{"removed", byPath, func() error { return os.Remove(in) }},
		{"only the bad lines left out", append(byPath, "--skip-invalid", "--last-line-is-whole"), write(os.O_APPEND, "700999999")},
		{"appended to, by stdin", []string{"enqueue", "-"}, write(os.O_APPEND, "700999999\n")},
		{"written over, by stdin", []string{"enqueue", "-"}, write(0, other)},
		{"appended to, by the name of stdin", []string{"enqueue", "/dev/stdin"}, write(os.O_APPEND, "700999999\n")},
	}
	for _, c := range changes {
		t.Run(c.name, func(t *testing.T) {
			w := w.at(t)
			w.file("list.txt", whole)
			if err := os.Chtimes(in, old, old); err != nil {
				t.Fatal(err)
			}
			cmd := exec.Command(program, c.args...)
			if c.args[1] != "list.txt" {
				cmd.Stdin = w.opened("list.txt")
			}
			p, release := w.held("organizations", cmd)
			if err := c.change(); err != nil {
				t.Fatal(err)
			}
			before := w.trace()
			release()
			w.wantRefused(p.wait(), before, "changed while it was read", "hint: ")
		})
	}
	t.Run("not changed", func(t *testing.T) {
		w := w.at(t)
		w.file("list.txt", whole)
		p, release := w.held("organizations", exec.Command(program, byPath...))
		w.opened("list.txt") // others may read it
		release()
		if e := p.wait(); e.status != 0 || !strings.Contains(e.err, "50,001 customers") {
			t.Errorf("%s", e)
		}
	})
}

// What a command prints doesn't become part of the list that it reads, nor of the
// list that is handed in next.
func TestAListIsNoPlaceToPrintTo(t *testing.T) {
	t.Parallel()
	w := newWorld(t, sandbox.Options{})
	for _, to := range []string{">>", "2>>"} {
		w.file("list.txt", "700000001\n")
		before := w.trace()
		p := w.startCmd(exec.Command("sh", "-c", `"$0" enqueue list.txt `+to+` list.txt`, program))
		said := func(e ended) string { return e.err + w.files()["list.txt"] }
		if e := p.wait(); e.status != 1 || w.trace().Rows != before.Rows || !strings.Contains(said(e), "where this command prints to") {
			t.Errorf("%s: %s", to, e)
		}
	}
}

// A report that is written to a file is a new file, whole or not there.
func TestAReportNeverOverwrites(t *testing.T) {
	t.Parallel()
	w := newWorld(t, sandbox.Options{})
	batch := number(w.take(w.list("list.csv", 700000001)).Batch)
	if err := os.Symlink("nowhere.csv", filepath.Join(w.dir, "dangling.csv")); err != nil {
		t.Fatal(err)
	}
	before := w.trace()
	for _, name := range []string{"list.csv", "dangling.csv", "/dev/null"} {
		if e := w.must(1, "report", batch, "--file", name); !strings.Contains(e.err, name+" is there already") {
			t.Errorf("%s", e)
		}
	}
	full := w.startCmd(exec.Command("sh", "-c", `ulimit -f 0; exec "$@"`, "sh", program, "report", batch, "--file", "full.csv"))
	if e := full.wait(); e.status != 1 || !strings.Contains(e.err, "file too large") {
		t.Errorf("%s", e)
	}
	if diff := cmp.Diff(w.trace(), before); diff != "" {
		t.Errorf("a trace (-got +want)\n%s", diff)
	}
	before.Files["new.csv"] = w.must(0, "report", batch).out
	w.must(0, "report", batch, "--file", "new.csv")
	if diff := cmp.Diff(w.trace(), before); diff != "" {
		t.Errorf("the report (-got +want)\n%s", diff)
	}
}
