package intake

import (
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// readByModel does with encoding/csv what Reader does: one string a record,
// "2=7" for the id 7 of line 2, "line 2" for a bad one.
func readByModel(text string, delimiter rune) (got []string) {
	lines := strings.Split(text, "\n")
	r := csv.NewReader(strings.NewReader(text))
	r.Comma = delimiter
	r.FieldsPerRecord = -1
	header, err := r.Read()
	if err != nil {
		return []string{"refused"}
	}
	column := 0
	for header[column] != DefaultColumn {
		column++
	}
	fatal := false
	for {
		record, err := r.Read()
		var parse *csv.ParseError
		if err == io.EOF {
			break
		}
		fatal = false
		if errors.As(err, &parse) {
			got = append(got, fmt.Sprintf("line %d", parse.StartLine))
			fatal = errors.Is(err, csv.ErrQuote)
			continue
		}
		line, _ := r.FieldPos(0)
		if blank([]byte(lines[line-1]), byte(delimiter)) {
			continue
		}
		id, reason := int64(0), "fields"
		if len(record) == len(header) {
			id, reason = parseID([]byte(record[column]))
		}
		if reason != "" {
			got = append(got, fmt.Sprintf("line %d", line))
		} else {
			got = append(got, fmt.Sprintf("%d=%d", line, id))
		}
	}
	// To encoding/csv a quote that is never closed is a bad line, to Reader the end.
	if fatal && aQuoteCloses(text, delimiter) {
		got = append(got[:len(got)-1], "fatal")
	}
	if len(got) == 0 {
		return []string{"fatal"}
	}
	return got
}

// aQuoteCloses tells a record that never ended: one quote more ends it.
func aQuoteCloses(text string, delimiter rune) bool {
	r := csv.NewReader(strings.NewReader(text + `"`))
	r.Comma = delimiter
	r.FieldsPerRecord = -1
	last := error(nil)
	for {
		_, err := r.Read()
		if err == io.EOF {
			return last == nil
		}
		last = err
	}
}

// What encoding/csv reads is what Reader reads, quotes and line ends however
// they fall.
func TestCSVReadsAsEncodingCSVDoes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		delimiter := rapid.SampledFrom([]rune{',', ';', '\t'}).Draw(t, "delimiter")
		columns := rapid.IntRange(2, 3).Draw(t, "columns")
		names := []string{"a", "b", "c"}[:columns]
		names[rapid.IntRange(0, columns-1).Draw(t, "column")] = DefaultColumn
		end := rapid.SampledFrom([]string{"\n", "\r\n", "\r"})
		piece := rapid.OneOf(
			rapid.SampledFrom([]string{"1", "22", "7", "\"", "\"\"", "x", " ", "é", "\"a", "\"33\"", "\"\n\"", "\",\"", "\";\""}),
			end,
			rapid.Just(string(delimiter)), rapid.Just(string(delimiter)), rapid.Just(string(delimiter)),
			rapid.Just("1"+string(delimiter)+"2\n"),
			rapid.Just("\"1\n\""+string(delimiter)+"\"2\"\n"),
		)
		text := strings.Join(names, string(delimiter)) + end.Draw(t, "end") +
			strings.Join(rapid.SliceOfN(piece, 0, 40).Draw(t, "pieces"), "")

		got := readAll(text, Options{Format: CSV, LastLineIsWhole: true})
		for i, g := range got {
			if strings.HasPrefix(g, "line ") || strings.HasPrefix(g, "fatal") {
				got[i] = strings.SplitN(g, ":", 2)[0]
			}
		}
		// encoding/csv knows no lone CR: to it a record would go on.
		want := readByModel(strings.NewReplacer("\r\n", "\n", "\r", "\n").Replace(text), delimiter)
		if diff := cmp.Diff(got, want); diff != "" {
			t.Fatalf("%q (-got +want)\n%s", text, diff)
		}
	})
}

// Fields that encoding/csv writes are read as they were.
func TestCSVReadsWhatEncodingCSVWrites(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var text strings.Builder
		w := csv.NewWriter(&text)
		w.Comma = rapid.SampledFrom([]rune{',', ';', '\t'}).Draw(t, "delimiter")
		w.UseCRLF = rapid.Bool().Draw(t, "CRLF")
		w.Write([]string{"name", DefaultColumn, "note"})
		ids := rapid.SliceOfN(rapid.Int64Range(1, 1<<62), 1, 20).Draw(t, "ids")
		note := rapid.StringMatching(`[a-z0-9 ",;\t\n\r"é]{0,12}`)
		for _, id := range ids {
			w.Write([]string{note.Draw(t, "name"), fmt.Sprint(id), note.Draw(t, "note")})
		}
		w.Flush()

		r, err := NewReader(strings.NewReader(text.String()), Options{})
		if err != nil {
			t.Fatal(err)
		}
		for _, id := range ids {
			row, err := r.Next()
			if err != nil || row.ID != id {
				t.Fatalf("%q: got %v, %v, want %d", text.String(), row, err, id)
			}
		}
		if _, err := r.Next(); err != io.EOF {
			t.Fatalf("%q: got %v, want io.EOF", text.String(), err)
		}
	})
}
