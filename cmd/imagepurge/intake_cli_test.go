package main_test

import (
	"bytes"
	"compress/gzip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf16"

	"github.com/imagepurge/imagepurge/capillary/sandbox"
)

// taken is what enqueue says.
type taken struct {
	Batch     int64 `json:"batch_id"`
	Customers int
	Existing  bool
	Earlier   *int64 `json:"earlier_batch_id"`
	Repeated  int
	Invalid   int
}

func (w *world) take(args ...string) taken {
	w.Helper()
	return parse[taken](w, w.must(0, append([]string{"enqueue", "-o", "json"}, args...)...).out)
}

func TestEveryBadLineIsNamed(t *testing.T) {
	t.Parallel()
	w := newWorld(t, sandbox.Options{}).with("CAPILLARY_BASE_URL", "CAPILLARY_USERNAME", "CAPILLARY_PASSWORD") // an intake needs none
	list := "name,customer_id\r\nA,700000001\r\nB,0\r\nC,-5\r\nD,12.0\r\nE,1e9\r\nF,9223372036854775808\r\nG,\r\nH,abc\r\nI,700000002,x\r\nJ,9223372036854775807\r\nK,007\r\n"
	w.file("list.csv", list)
	e := w.must(1, "enqueue", "list.csv")
	for _, says := range []string{
		"line 3: negative or zero", "line 4: negative or zero", "line 5: has a decimal point", "line 6: scientific notation",
		"line 7: larger than 9223372036854775807", "line 8: empty", "line 9: not a number", "line 10: 3 fields, the header has 2", "line 12: has leading zeros",
		"9 of 11 lines are bad; nothing was taken in", "--skip-invalid",
	} {
		if !strings.Contains(e.err, says) {
			t.Errorf("does not say %q", says)
		}
	}
	if t.Failed() || e.out != "" {
		t.Errorf("%s", e)
	}
	if n := w.count("SELECT (SELECT count(*) FROM batches) + (SELECT count(*) FROM image_deletion_tasks)"); n != 0 {
		t.Fatalf("%d rows were taken in", n)
	}
	got := w.take("--skip-invalid", "list.csv")
	if got.Customers != 2 || got.Invalid != 9 {
		t.Errorf("%+v", got)
	}
	rejects, err := os.ReadFile(filepath.Join(w.dir, "list.csv.rejects"))
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(strings.ReplaceAll(string(rejects), "\r", "")), "\n")
	if len(lines) != 10 || lines[0] != "name,customer_id" || lines[1] != "B,0" || lines[9] != "K,007" {
		t.Errorf("rejects: %q", lines)
	}
	// FILE.rejects stands beside the file, wherever the command is run.
	if err := os.Mkdir(filepath.Join(w.dir, "sub"), 0o700); err != nil {
		t.Fatal(err)
	}
	w.file("sub/other.csv", "customer_id\n1\nx\n")
	w.take("--skip-invalid", "sub/other.csv")
	if _, err := os.Stat(filepath.Join(w.dir, "sub", "other.csv.rejects")); err != nil {
		t.Error(err)
	}
	w.take("--skip-invalid", "--rejects", "bad.txt", w.file("third.csv", "customer_id\n3\nx\n"))
	if _, err := os.Stat(filepath.Join(w.dir, "bad.txt")); err != nil {
		t.Error(err)
	}
}

func TestFilesThatAreNoList(t *testing.T) {
	t.Parallel()
	w := newWorld(t, sandbox.Options{})
	utf := new(bytes.Buffer)
	utf.WriteString("\xff\xfe")
	for _, u := range utf16.Encode([]rune("customer_id\n700000001\n")) {
		utf.WriteByte(byte(u))
		utf.WriteByte(byte(u >> 8))
	}
	for name, c := range map[string]struct {
		content string
		says    []string
	}{
		"another header": {"CustId,Store\n1,2\n", []string{`"CustId", "Store"`, "--column"}},
		"empty":          {"", []string{"no customer id"}},
		"header only":    {"customer_id\n", []string{"no customer id"}},
		"UTF-16":         {utf.String(), []string{"UTF-16", "iconv"}},
		"Latin-1":        {"customer_id,name\n1,M\xfcller\n", []string{"line 2"}},
		"spreadsheet":    {"PK\x03\x04whatever", []string{"spreadsheet"}},
		"cut gzip":       {zip("customer_id\n1\n2\n3\n")[:20], []string{"cut off"}},
		"open quote":     {"customer_id,name\n1,\"x\n2,y\n", []string{"line 2", "quote"}},
		"binary":         {"\x00\x01\x02\x03", []string{""}},
	} {
		e := w.must(1, "enqueue", w.file("list", c.content))
		for _, says := range append(c.says, "nothing was taken in") {
			if !strings.Contains(e.err, says) {
				t.Errorf("%s: does not say %q: %s", name, says, e)
			}
		}
		if e.out != "" {
			t.Errorf("%s: something on stdout: %s", name, e)
		}
	}
	if e := w.must(1, "enqueue", "absent.csv"); !strings.Contains(e.err, "absent.csv") {
		t.Errorf("%s", e)
	}
	if n := w.count("SELECT count(*) FROM batches"); n != 0 {
		t.Errorf("%d batches", n)
	}
}

func zip(s string) string {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, _ = z.Write([]byte(s))
	_ = z.Close()
	return b.String()
}

func TestFormsOfAList(t *testing.T) {
	t.Parallel()
	w := newWorld(t, sandbox.Options{})
	for name, c := range map[string]struct {
		content string
		flags   []string
	}{
		"plain.txt":  {"11\n12\n", nil},
		"bom.csv":    {"\xef\xbb\xbfcustomer_id\r\n21\r\n22\r\n", nil},
		"quoted.csv": {"\"name\",\"customer_id\"\n\"A, B\",\"31\"\n\"line\nbreak\",\"32\"\n", nil},
		"list.ndjson": {`{"customer_id": 41, "name": "A"}` + "\n" + `{"customer_id": "42"}` + "\n",
			nil},
		"list.csv.gz": {zip("customer_id\n51\n52\n"), nil},
		"column.csv":  {"CustId;Shop\n61;1\n62;1\n", []string{"--column", "CustId"}},
		"twice.csv":   {"customer_id\n71\n72\n71\n", nil},
		"last.csv":    {"customer_id\n81\n82", []string{"--last-line-is-whole"}},
	} {
		got := w.take(append(c.flags, w.file(name, c.content))...)
		ids := w.tasks(got.Batch)
		if got.Customers != 2 || len(ids) != 2 {
			t.Errorf("%s: %+v, tasks %v", name, got, ids)
		}
		if name == "twice.csv" && got.Repeated != 1 {
			t.Errorf("%s: %+v", name, got)
		}
	}
	e := w.startWith([]byte("customer_id\n91\n92\n"), "enqueue", "-", "-o", "json").wait()
	if got := parse[taken](w, e.out); e.status != 0 || got.Customers != 2 {
		t.Errorf("%s", e)
	}
	if e := w.must(0, "enqueue", w.file("words.csv", "customer_id\n101\n102\n103\n")); strings.TrimSpace(e.out) == "" ||
		!strings.Contains(e.err, "3 customers") || !strings.Contains(e.err, "calls") || !strings.Contains(e.err, "night") || !strings.Contains(e.err, "imagepurge batch cancel") {
		t.Errorf("does not say what is ahead: %s", e)
	}
}

func TestSameListTwice(t *testing.T) {
	t.Parallel()
	w := newWorld(t, sandbox.Options{Population: present(91, 10, 1)})
	one, two := w.list("one.csv", 700000001, 700000002), w.list("two.csv", 700000003)
	first := w.take(one)
	if again := w.take(one); !again.Existing || again.Batch != first.Batch || again.Customers != 2 {
		t.Errorf("the same file made %+v, not %+v", again, first)
	}
	if e := w.must(0, "enqueue", one); !strings.Contains(e.err, "taken in") || strings.TrimSpace(e.out) != number(first.Batch) {
		t.Errorf("does not say that the list was there before: %s", e)
	}
	if dry := w.take(one, "--dry-run"); dry.Existing || dry.Batch == first.Batch {
		t.Errorf("a dry run of the list was taken for the list: %+v", dry)
	}
	keyed := w.take(one, "--key", "may")
	if keyed.Existing || keyed.Batch == first.Batch {
		t.Errorf("a key of its own, and no batch of its own: %+v", keyed)
	}
	if again := w.take(one, "--key", "may"); !again.Existing || again.Batch != keyed.Batch {
		t.Errorf("%+v", again)
	}
	if e := w.must(1, "enqueue", two, "--key", "may"); !strings.Contains(e.err, "another content") || !strings.Contains(e.err, "batch show "+number(keyed.Batch)) {
		t.Errorf("%s", e)
	}
	w.must(0, "run", "--once")
	if again := w.take(one, "--key", "may"); !again.Existing || again.Batch != keyed.Batch {
		t.Errorf("a finished batch's key: %+v", again)
	}
	anew := w.take(one)
	if anew.Existing || anew.Batch == first.Batch || anew.Earlier == nil {
		t.Errorf("the same list as a finished batch: %+v", anew)
	}
	if n := w.count("SELECT count(*) FROM batches"); n != 4 {
		t.Errorf("%d batches", n)
	}
	paused := w.take(two, "--paused")
	w.must(0, "run", "--once")
	for _, x := range w.tasks(paused.Batch) {
		if x.State != "pending" || x.Calls != 0 {
			t.Errorf("a paused batch was begun: %+v", x)
		}
	}
	w.must(0, "batch", "resume", number(paused.Batch), "--reason", "checked")
	w.must(0, "run", "--once")
	w.wantTruth(paused.Batch, []int64{700000003})
	w.wantHarmless(true)
}
