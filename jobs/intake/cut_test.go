package intake

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"unicode"

	"github.com/google/go-cmp/cmp"
)

// An id of the list stands in the list: whole, in a line that was written to its end.

func cutAt(line int) string { return fmt.Sprintf("line %d: %s", line, reasonCut) }

// rows are the ids of a file; bad tells that any line, or all, would be refused.
func rows(text string, o Options) (ids []Row, bad bool) {
	r, err := NewReader(strings.NewReader(text), o)
	for err == nil {
		var row Row
		if row, err = r.Next(); err == nil {
			ids = append(ids, row)
		}
		if line := (*LineError)(nil); errors.As(err, &line) {
			bad, err = true, nil
		}
	}
	return ids, bad || !errors.Is(err, io.EOF)
}

// lists are whole lists in every form.
var lists = map[string]string{
	"lines":               "700000021\n700000022\r\n\"700000023\"\n 700000024 \n\n \t\n700000025\r700000026\n",
	"lines, marked":       "\xEF\xBB\xBF700000021\r\n700000022\r\n",
	"one column":          "customer_id\n700000021\n\"700000022\"\r\n",
	"ids first":           "customer_id,name\n700000021,A\n700000022,\"B\r\nC\"\r\n\"700000023\",\"D\"\"E\"\n",
	"ids last":            "name;customer_id\n\"A;B\";700000021\nC;\"700000022\"\r\n;700000023\r",
	"ids between, marked": "\xEF\xBB\xBFa\tcustomer_id\tb\nx\t700000021\t\n\t700000022\ty\n",
	"NDJSON":              "{\"customer_id\":700000021}\n{\"a\":[\"}\"],\"customer_id\":\"700000022\"}\r\n\n{\"customer_id\":700000023,\"b\":{}}\n",
}

// Property: of a list that was cut anywhere no line is taken in that isn't one of the
// whole list, in its place; and where the cut fell within a line, that is seen.
func TestACutListIsRefused(t *testing.T) {
	for name, whole := range lists {
		t.Run(name, func(t *testing.T) {
			all, _ := rows(whole, Options{})
			if len(all) < 2 {
				t.Fatalf("only %v", all)
			}
			for k := range len(whole) {
				cut := whole[:k]
				for form, text := range map[string]string{"plain": cut, "gz": gzipped(cut), "gz of two": gzipped(cut, "")} {
					ids, bad := rows(text, Options{})
					if len(ids) > len(all) || !cmp.Equal(ids, all[:len(ids)]) && len(ids) > 0 {
						t.Fatalf("%s, cut at byte %d: %v, the whole list has %v", form, k, ids, all)
					}
					if ended := strings.HasSuffix(cut, "\n") || strings.HasSuffix(cut, "\r"); !ended && !bad {
						t.Fatalf("%s, cut at byte %d: not refused", form, k)
					}
				}
				// Known to be whole it is read as if the line had its end.
				if !strings.HasSuffix(cut, "\n") && !strings.HasSuffix(cut, "\r") {
					got, want := readAll(cut, Options{LastLineIsWhole: true}), readAll(cut+"\n", Options{})
					if diff := cmp.Diff(got, want); diff != "" {
						t.Fatalf("cut at byte %d, said to be whole (-got +want)\n%s", k, diff)
					}
				}
			}
			for _, packed := range []string{gzipped(whole), gzipped(whole, whole)} {
				all, _ := rows(packed, Options{})
				for k := range len(packed) {
					for _, o := range []Options{{}, {LastLineIsWhole: true}} {
						ids, bad := rows(packed[:k], o)
						if len(ids) > len(all) || len(ids) > 0 && !cmp.Equal(ids, all[:len(ids)]) {
							t.Fatalf("gz cut at byte %d: %v, the whole list has %v", k, ids, all)
						}
						if !bad && k != len(gzipped(whole)) {
							t.Fatalf("gz cut at byte %d: not refused", k)
						}
					}
				}
			}
		})
	}
}

func TestWhatStandsBehindTheLastLineEnd(t *testing.T) {
	const refused = "refused: the file has no customer ids"
	tests := []struct {
		name, text  string
		want, whole []string // whole: of a list known to be so
	}{
		{"nothing", "", []string{refused}, []string{refused}},
		{"a byte order mark alone", "\xEF\xBB\xBF", []string{refused}, []string{refused}},
		{"space alone", "  ", []string{refused}, []string{refused}},
		{"an id alone", "70000", []string{cutAt(1)}, []string{"1=70000"}},
		{"a header alone", "customer_id", []string{"fatal: the file has no customer ids"}, []string{"fatal: the file has no customer ids"}},
		{"an id", "1\n70000", []string{"1=1", cutAt(2)}, []string{"1=1", "2=70000"}},
		{"space", "1\n  ", []string{"1=1", cutAt(2)}, []string{"1=1"}},
		{"half a CRLF", "1\r\n70000\r", []string{"1=1", "2=70000"}, []string{"1=1", "2=70000"}},
		{"Ctrl-Z", "1\r\n\x1a", []string{"1=1", cutAt(2)}, []string{"1=1", "line 2: not a number"}},
		{"an open quote", "1\n\"70000", []string{"1=1", cutAt(2)}, []string{"1=1", "line 2: not a number"}},
		{"an open quote of a CSV", "customer_id,n\n1,A\n70000,\"B", []string{"2=1", "fatal: " + neverClosed(3).Error()}, []string{"2=1", "fatal: " + neverClosed(3).Error()}},
		{"half a quote of a CSV", "customer_id,n\n70000,\"B\"", []string{cutAt(2)}, []string{"2=70000"}},
		{"a record of two lines", "n,customer_id\n\"A\nB\",70000", []string{cutAt(2)}, []string{"2=70000"}},
		{"too few fields", "customer_id,n\n70000", []string{cutAt(2)}, []string{"line 2: 1 field, the header has 2"}},
		{"the header again", "customer_id,n\n1,A\ncustomer_id,n", []string{"2=1", cutAt(3)}, []string{"2=1", "line 3: the header again (several files put together?)"}},
		{"half an object", "{\"customer_id\":1}\n{\"customer_id\":7", []string{"1=1", cutAt(2)}, []string{"1=1", "line 2: not valid JSON on one line (jq -c . makes one object a line)"}},
		{"an object", "{\"customer_id\":70000}", []string{cutAt(1)}, []string{"1=70000"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for form, text := range map[string]string{"plain": tt.text, "gz": gzipped(tt.text)} {
				if diff := cmp.Diff(readAll(text, Options{}), tt.want); diff != "" {
					t.Errorf("%s (-got +want)\n%s", form, diff)
				}
				if diff := cmp.Diff(readAll(text, Options{LastLineIsWhole: true}), tt.whole); diff != "" {
					t.Errorf("%s, known to be whole (-got +want)\n%s", form, diff)
				}
			}
		})
	}
}

// Files put together in one .gz of which one was cut: two ids would become a third.
func TestNoLineIsMadeOfTwoMembers(t *testing.T) {
	const want = "fatal: line 2: a part of the gzip file ends within this line: put together of files of which one may be cut; " +
		"if it is one whole list, unpack it first: gzip -dc FILE | imagepurge enqueue -"
	for _, members := range [][]string{{"1\n70000", "0021\n3\n"}, {"1\n70000", "", "0021\n3\n"}, {"1\n700002", "0", "0"}} {
		for _, whole := range []bool{false, true} {
			if diff := cmp.Diff(readAll(gzipped(members...), Options{LastLineIsWhole: whole}), []string{"1=1", want}); diff != "" {
				t.Errorf("%q (-got +want)\n%s", members, diff)
			}
		}
	}
}

// Property: any bytes, cut anywhere, give the ids that the whole gives, as far as
// they go; and what was rejected gives none when it is read again.
func FuzzCut(f *testing.F) {
	for _, text := range lists {
		for _, format := range []string{"", "csv", "ndjson", "lines"} {
			f.Add([]byte(text), uint16(len(text)/2), format, false)
			f.Add([]byte(gzipped(text)), uint16(len(text)/3), format, true)
		}
	}
	f.Add([]byte(gzipped("1\n7", "0\n2\n")), uint16(40), "", false)
	f.Add([]byte("customer_id,n\n1,\"a\"\"\n2,x\"\n3,\"\"y\n"), uint16(20), "", false)
	f.Fuzz(func(t *testing.T, data []byte, at uint16, format string, whole bool) {
		text, o := string(data), Options{Format: Format(format), LastLineIsWhole: whole}
		cut := text[:min(int(at), len(text))]
		all, _ := rows(text, o)
		ids, _ := rows(cut, Options{Format: o.Format})
		if len(ids) > len(all) || len(ids) > 0 && !cmp.Equal(ids, all[:len(ids)]) {
			t.Errorf("%q: cut at byte %d: %v, the whole has %v", text, len(cut), ids, all)
		}
		again, format2 := rejectsOf(text, Options{Format: o.Format})
		if ids, _ := rows(again, Options{Format: format2}); len(ids) > 0 {
			t.Errorf("%q: the rejects %q give %v", text, again, ids)
		}
	})
}

// rejectsOf is the file of rejects, and its format.
func rejectsOf(text string, o Options) (string, Format) {
	r, err := NewReader(strings.NewReader(text), o)
	if err != nil {
		return "", o.Format
	}
	var b bytes.Buffer
	if len(r.Header()) > 0 {
		fmt.Fprintf(&b, "%s\n", r.Header())
	}
	for {
		_, err := r.Next()
		bad := (*LineError)(nil)
		if errors.As(err, &bad) {
			b.Write(bad.Raw)
		} else if err != nil {
			return b.String(), r.Format()
		}
	}
}

// Property: every id stands in the file, at its line or behind it (of a record of
// several), as a whole cell of a line that has its end. The splitter shares no line
// with the reader.
func FuzzIDsStandInTheFile(f *testing.F) {
	for _, text := range lists {
		f.Add(text, "")
	}
	for _, text := range []string{"12\n34", "1,2\n", "customer_id,n\n1,\"\n2\n\"\n", "customer_id\n\"1\"2\n", "1\r2\r\n3", "7 8\n", "{\"customer_id\":\"\\u0031\\u0032\"}\n{\"customer_id\":12", "\"1\"\"2\"\n"} {
		for _, format := range []string{"", "csv", "ndjson", "lines"} {
			f.Add(text, format)
		}
	}
	f.Fuzz(func(t *testing.T, text, format string) {
		if strings.HasPrefix(text, string(gzipMagic)) {
			return
		}
		ids, _ := rows(text, Options{Format: Format(format)})
		at := make(map[string]int) // the last line on which a cell stands
		lines := strings.Split(lineEnds.Replace(strings.TrimPrefix(text, "\ufeff")), "\n")
		for i, line := range lines[:len(lines)-1] {
			for _, cell := range cells(line) {
				at[cell] = i + 1
			}
		}
		for _, row := range ids {
			if at[fmt.Sprint(row.ID)] < row.Line {
				t.Errorf("%q: line %d gives %d, which stands in no line", text, row.Line, row.ID)
			}
		}
	})
}

// cells are what a line may hold: its pieces between delimiters and quotes, and the
// values of an object.
func cells(line string) (found []string) {
	for _, piece := range strings.FieldsFunc(line, func(r rune) bool { return strings.ContainsRune(",;\t\"", r) }) {
		found = append(found, strings.TrimFunc(piece, unicode.IsSpace))
	}
	object := make(map[string]json.RawMessage)
	if json.Unmarshal([]byte(line), &object) == nil {
		for _, value := range object {
			text := string(value)
			_ = json.Unmarshal(value, &text) // a number stays as it is written
			found = append(found, strings.TrimSpace(text))
		}
	}
	return found
}
