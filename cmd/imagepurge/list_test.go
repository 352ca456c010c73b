package main_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

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
