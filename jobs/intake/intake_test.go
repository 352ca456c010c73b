package intake

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
)

// readAll tells what reading text gives, one string a record, and how it ends.
func readAll(text string, o Options) (got []string) {
	r, err := NewReader(strings.NewReader(text), o)
	if err != nil {
		return []string{"refused: " + err.Error()}
	}
	for {
		row, err := r.Next()
		var bad *LineError
		switch {
		case err == io.EOF:
			return got
		case errors.As(err, &bad):
			got = append(got, bad.Error())
		case err != nil:
			return append(got, "fatal: "+err.Error())
		default:
			got = append(got, fmt.Sprintf("%d=%d", row.Line, row.ID))
		}
	}
}

func gzipped(texts ...string) string {
	var b bytes.Buffer
	for _, text := range texts {
		w := gzip.NewWriter(&b)
		io.WriteString(w, text)
		w.Close()
	}
	return b.String()
}

func TestReadsIDs(t *testing.T) {
	tests := []struct {
		name, text string
		options    Options
		want       []string
	}{
		{"plain lines", "1\n22\n333\n", Options{}, []string{"1=1", "2=22", "3=333"}},
		{"no line end at the end", "1\n22", Options{}, []string{"1=1", cutAt(2)}},
		{"no line end at the end, and whole", "1\n22", Options{LastLineIsWhole: true}, []string{"1=1", "2=22"}},
		{"CRLF", "1\r\n22\r\n", Options{}, []string{"1=1", "2=22"}},
		{"lone CR", "1\r22\r333\r", Options{}, []string{"1=1", "2=22", "3=333"}},
		{"a lone CR at the very end", "1\r", Options{}, []string{"1=1"}},
		{"blank lines count but hold nothing", "\n \n1\n\n\t\n2\n\n", Options{}, []string{"3=1", "6=2"}},
		{"byte order mark", "\xEF\xBB\xBF1\n", Options{}, []string{"1=1"}},
		{"spaces and quotes around", " 1 \n\"2\"\n\" 3\"\n\u00a04\n", Options{}, []string{"1=1", "2=2", "3=3", "4=4"}},
		{"largest", "9223372036854775807\n", Options{}, []string{"1=9223372036854775807"}},

		{"gzip", gzipped("1\n2\n"), Options{}, []string{"1=1", "2=2"}},
		{"gzip of several members", gzipped("", "1\n", "22\r", "\n3\n", ""), Options{}, []string{"1=1", "2=22", "3=3"}},
		{"gzip with a byte order mark within", gzipped("\xEF\xBB\xBFcustomer_id\n1\n"), Options{}, []string{"2=1"}},

		{"CSV", "customer_id,name\n1,A\n2,B\n", Options{}, []string{"2=1", "3=2"}},
		{"CSV of one column", "customer_id\n1\n\n2\n", Options{}, []string{"2=1", "4=2"}},
		{"CSV with a byte order mark and CRLF", "\xEF\xBB\xBFcustomer_id,name\r\n1,A\r\n", Options{}, []string{"2=1"}},
		{"CSV with lone CR", "name,customer_id\rA,1\rB,2\r", Options{}, []string{"2=1", "3=2"}},
		{"header with space, quotes and capitals", "\"name\",\" Customer_ID \"\nA,1\n", Options{}, []string{"2=1"}},
		{"an equal header counts before a similar one", "Customer_ID,customer_id\n1,2\n", Options{}, []string{"2=2"}},
		{"semicolons", "name;customer_id\n\"A;B\";1\n", Options{}, []string{"2=1"}},
		{"tabs", "name\tcustomer_id\nA\t1\n", Options{}, []string{"2=1"}},
		{"a comma more often than the delimiter", "notes (a, b, c);customer_id\nx;1\n", Options{}, []string{"2=1"}},
		{"last, first and middle column", "a,customer_id,b\nx,1,\n,2,y\n", Options{}, []string{"2=1", "3=2"}},
		{"quoted newlines count", "customer_id,name\n1,\"A\nB\r\nC\"\n2,\"\"\"D\"\"\"\n\"3\",E\n", Options{}, []string{"2=1", "5=2", "6=3"}},
		{"a header of two lines", "customer_id,\"first\nlast\"\n1,A\n", Options{}, []string{"3=1"}},
		{"another column", "id,customer_id\n1,2\n", Options{Column: "ID"}, []string{"2=1"}},
		{"CSV although the header is a number", "7,8\n1,2\n", Options{Column: "8", Format: CSV}, []string{"2=2"}},
		{"CSV with a line that equals such a header", "7,8\n7,8\n", Options{Column: "8", Format: CSV}, []string{"2=8"}},

		{"NDJSON", `{"customer_id":1}` + "\n\n" + ` { "a" : {"customer_id":9} , "customer_id" : "2" } ` + "\n", Options{}, []string{"1=1", "3=2"}},
		{"NDJSON keeps large numbers", `{"customer_id":9223372036854775807}` + "\n" + `{"customer_id":9007199254740993}` + "\n", Options{}, []string{"1=9223372036854775807", "2=9007199254740993"}},
		{"NDJSON with escapes", `{"a\"b":[1,{"x":"}"}],"customer\u005fid":"\u0031\u0032"}` + "\n", Options{}, []string{"1=12"}},
		{"NDJSON with another key", `{"customer_id":1,"user":{"id":3},"id":2}` + "\n", Options{Column: "id"}, []string{"1=2"}},

		{"bad lines", "1\n\"\"\nx\n0\n-5\n2\n", Options{}, []string{"1=1", "line 2: not a number", "line 3: not a number", "line 4: negative or zero", "line 5: negative or zero", "6=2"}},
		{"the first line is bad", "1.0\n2\n", Options{}, []string{"line 1: has a decimal point (a spreadsheet's export?)", "2=2"}},
		{"lines by option take no header", "customer_id\n2\n", Options{Format: Lines}, []string{"line 1: not a number", "2=2"}},
		{"fields too few and too many", "customer_id,name\n1\n2,A,B\n,A\n3,A\n", Options{}, []string{"line 2: 1 field, the header has 2", "line 3: 3 fields, the header has 2", "line 4: empty", "5=3"}},
		{"quotes misplaced", "customer_id,name\n1,A\"B\n2,\"A\"B\n3,\"A\nB\"C\n4,D\n", Options{}, []string{
			"line 2: a quote within a field that doesn't begin with one", "line 3: text behind a closing quote", "line 4: text behind a closing quote", "6=4"}},
		{"digits on both sides of a quoted line end or quote", "customer_id,name\n\"7\n8\",A\n\"7\"\"8\",A\n", Options{}, []string{"line 2: not a number", "line 4: not a number"}},
		{"the header again", "customer_id,name\n1,A\ncustomer_id,name\n2,B\n", Options{}, []string{"2=1", "line 3: the header again (several files put together?)", "4=2"}},
		{"empty rows of a tab-separated file", "a\tcustomer_id\n\t\n\nx\t1\n", Options{}, []string{"line 2: empty", "4=1"}},
		{"NDJSON that is none", `{"customer_id":1}` + "\n" + `{"customer_id":}` + "\n[1]\n7\n" + `{"id":1}` + "\n" +
			`{"customer_id":1,"customer_id":2}` + "\n" + `{"customer_id":null}` + "\n" + `{"customer_id":[1]}` + "\n" + `{"customer_id":1.0}` + "\n" + `{"customer_id":1e3}` + "\n" + `{"customer_id":""}` + "\n",
			Options{}, []string{
				"1=1",
				"line 2: not valid JSON on one line (jq -c . makes one object a line)",
				"line 3: not a JSON object", "line 4: not a JSON object",
				`line 5: the object has no "customer_id" (--column NAME takes another)`,
				`line 6: the object has "customer_id" 2 times`,
				"line 7: null", "line 8: not a number",
				"line 9: has a decimal point (a spreadsheet's export?)", "line 10: scientific notation (a spreadsheet's export?)", "line 11: empty",
			}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(readAll(tt.text, tt.options), tt.want); diff != "" {
				t.Errorf("(-got +want)\n%s", diff)
			}
		})
	}
}

// However the bytes arrive, the records are the same.
func TestReadsByteByByte(t *testing.T) {
	for _, text := range []string{"1\r\n2\r3\n\r\n4\r", "customer_id,b\r\n1,\"x\r\ny\"\r\n2,z\n", gzipped("1\r\n2\n"), "\xEF\xBB\xBF1\n"} {
		r, err := NewReader(iotest.OneByteReader(strings.NewReader(text)), Options{})
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for {
			row, err := r.Next()
			if err != nil {
				break
			}
			got = append(got, fmt.Sprintf("%d=%d", row.Line, row.ID))
		}
		if diff := cmp.Diff(got, readAll(text, Options{})); diff != "" {
			t.Errorf("%q (-got +want)\n%s", text, diff)
		}
	}
}

func TestLineErrorKeepsTheLineToItself(t *testing.T) {
	text := "name,customer_id\r\n\"Jane\r\nDoe\",secret\r\nJane,secret"
	r, err := NewReader(strings.NewReader(text), Options{})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := string(r.Header()), "name,customer_id"; got != want {
		t.Errorf("header %q, want %q", got, want)
	}
	for _, want := range []string{"\"Jane\r\nDoe\",secret\r\n", "Jane,secret"} {
		_, err := r.Next()
		var bad *LineError
		if !errors.As(err, &bad) {
			t.Fatalf("got %v, want a *LineError", err)
		}
		if string(bad.Raw) != want {
			t.Errorf("raw %q, want %q", bad.Raw, want)
		}
		asJSON, _ := json.Marshal(bad)
		for _, s := range []string{err.Error(), fmt.Sprintf("%v %+v %#v %s", bad, bad, bad, bad), string(asJSON)} {
			if strings.Contains(s, "Jane") || strings.Contains(s, "secret") || strings.Contains(s, "74 97") {
				t.Errorf("%q tells what the line holds", s)
			}
		}
	}
	if _, err := r.Next(); err != io.EOF {
		t.Errorf("got %v, want io.EOF", err)
	}
}

// What was rejected, behind the header, reads as the same bad lines again.
func TestRejectsAreAFileOfTheSameForm(t *testing.T) {
	text := "name;customer_id\n\"A\nB\";x\nC;1\nD;2;3\n\"\";\nE;70000"
	r, err := NewReader(strings.NewReader(text), Options{})
	if err != nil {
		t.Fatal(err)
	}
	rejects := string(r.Header()) + "\n"
	for {
		_, err := r.Next()
		var bad *LineError
		if errors.As(err, &bad) {
			rejects += string(bad.Raw)
		} else if err != nil {
			break
		}
	}
	want := []string{"line 2: not a number", "line 4: 3 fields, the header has 2", "line 5: empty", cutAt(6)}
	if diff := cmp.Diff(readAll(rejects, Options{}), want); diff != "" {
		t.Errorf("(-got +want)\n%s", diff)
	}
}

func TestDigestDependsOnIDsOnly(t *testing.T) {
	sum := func(text string, preamble ...string) string {
		r, err := NewReader(strings.NewReader(text), Options{})
		if err != nil {
			t.Fatal(err)
		}
		var d Digest
		for {
			row, err := r.Next()
			if err != nil {
				break
			}
			d.Add(row.ID)
		}
		first := fmt.Sprintf("%x", d.Sum(preamble...))
		if again := fmt.Sprintf("%x", d.Sum(preamble...)); again != first {
			t.Errorf("the second sum %s differs from the first %s", again, first)
		}
		return first
	}
	lines := sum("1\n22\n")
	for _, text := range []string{"customer_id,x\r\n1,\"a\"\r\n22,b\n", "{\"customer_id\":1}\n{\"customer_id\":\"22\"}\n", gzipped("\n1\n22\n")} {
		if got := sum(text); got != lines {
			t.Errorf("digest of %q differs", text)
		}
	}
	different := map[string]string{lines: "1, 22"}
	for name, got := range map[string]string{
		"other order": sum("22\n1\n"), "other ids": sum("12\n2\n"), "one less": sum("1\n"), "one more": sum("1\n22\n22\n"),
		"preamble": sum("1\n22\n", "ab", "c"), "other preamble": sum("1\n22\n", "a", "bc"), "one preamble": sum("1\n22\n", "abc"),
	} {
		if other, ok := different[got]; ok {
			t.Errorf("%s has the digest of %s", name, other)
		}
		different[got] = name
	}
	// Stored digests are compared with those of later versions.
	if want := "62e9f2b660902d73074100e816cfdf34c5f8b3dac1b6bf22c390428b4a85fe1c"; lines != want {
		t.Errorf("the form of the digest has changed: %s, want %s", lines, want)
	}
}

func TestDigestOverManyIDs(t *testing.T) {
	var whole, parts Digest
	for id := range int64(3 * digestBuffer) {
		whole.Add(id)
		parts.Add(id)
		if id%1000 == 7 {
			parts.Sum() // must not disturb what is added later
		}
	}
	if !bytes.Equal(whole.Sum("x"), parts.Sum("x")) {
		t.Error("a sum on the way changes the sum at the end")
	}
}
