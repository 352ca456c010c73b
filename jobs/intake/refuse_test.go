package intake

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"unicode/utf16"

	"github.com/google/go-cmp/cmp"
)

func inUTF16(text string, little bool) string {
	var b []byte
	for _, u := range utf16.Encode([]rune(text)) {
		if little {
			b = append(b, byte(u), byte(u>>8))
		} else {
			b = append(b, byte(u>>8), byte(u))
		}
	}
	return string(b)
}

func TestRefusesFiles(t *testing.T) {
	long := strings.Repeat("1", maxLine+1)
	tests := []struct {
		name, text string
		options    Options
		want       []string
	}{
		{"empty", "", Options{}, []string{"refused: the file has no customer ids"}},
		{"only a byte order mark", "\xEF\xBB\xBF", Options{}, []string{"refused: the file has no customer ids"}},
		{"only blank lines", "\n \r\n\t\n", Options{}, []string{"refused: the file has no customer ids"}},
		{"empty gzip", gzipped(""), Options{}, []string{"refused: the file has no customer ids"}},
		{"only a header", "customer_id,name\n\n", Options{}, []string{"fatal: the file has no customer ids"}},

		{"UTF-16 with its mark", "\xFF\xFE" + inUTF16("1\n", true), Options{}, []string{"refused: line 1: the text is UTF-16, not UTF-8; convert it: iconv -f UTF-16 -t UTF-8 FILE | imagepurge enqueue -"}},
		{"UTF-16 of the other order", "\xFE\xFF" + inUTF16("1\n", false), Options{}, []string{"refused: line 1: the text is UTF-16, not UTF-8; convert it: iconv -f UTF-16 -t UTF-8 FILE | imagepurge enqueue -"}},
		{"UTF-16LE without its mark", inUTF16("12\n", true), Options{}, []string{"refused: line 1: the text is UTF-16LE, not UTF-8; convert it: iconv -f UTF-16LE -t UTF-8 FILE | imagepurge enqueue -"}},
		{"UTF-16BE without its mark", inUTF16("12\n", false), Options{}, []string{"refused: line 1: the text is UTF-16BE, not UTF-8; convert it: iconv -f UTF-16BE -t UTF-8 FILE | imagepurge enqueue -"}},
		{"UTF-32", "\xFF\xFE\x00\x001\x00\x00\x00", Options{}, []string{"refused: line 1: the text is UTF-32, not UTF-8; convert it: iconv -f UTF-32 -t UTF-8 FILE | imagepurge enqueue -"}},
		{"NUL bytes later", "1\n2\n3\x00\n", Options{}, []string{"1=1", "2=2", "fatal: line 3: NUL byte at byte 2 of the line: the text is UTF-16 or damaged; if it is UTF-16, convert it: iconv -f UTF-16 -t UTF-8 FILE | imagepurge enqueue -"}},
		{"Latin-1", "customer_id,name\n1,A\n2,J\xFCrgen\n3,C\n", Options{}, []string{"2=1", "fatal: line 3: the text is not UTF-8; convert it, from WINDOWS-1252 if it comes from a spreadsheet: iconv -f WINDOWS-1252 -t UTF-8 FILE | imagepurge enqueue -"}},

		{"a spreadsheet", "PK\x03\x04\x14\x00", Options{}, []string{"refused: this is a spreadsheet (.xlsx) or a zip file, not text; export it as CSV, or unzip it"}},
		{"gzip twice", gzipped(gzipped("1\n")), Options{}, []string{"refused: this is compressed twice; unpack it first: gzip -dc FILE | imagepurge enqueue -"}},
		{"gzip cut off", gzipped("1\n2\n")[:20], Options{}, []string{"refused: line 1: the data ends too soon: cut off on its way; hand it over again"}},
		{"gzip with something behind", gzipped("1\n2\n3\n") + "rubbish behind", Options{}, []string{"1=1", "2=2", "3=3", "fatal: line 4: the gzip data is damaged; hand it over again"}},

		{"no such header", "id, Name ,e-mail\n1,A,B\n", Options{}, []string{`refused: line 1: the header has no "customer_id"; it has "id", "Name", "e-mail"; name the column with the ids: --column NAME`}},
		{"no such header of one column", "\nuser\n1\n", Options{}, []string{`refused: line 2: the header has no "customer_id"; it has "user"; name the column with the ids: --column NAME`}},
		{"no such header of another name", "customer_id\n1\n", Options{Column: "cid"}, []string{`refused: line 1: the header has no "cid"; it has "customer_id"; name the column with the ids: --column NAME`}},
		{"headers that can't be printed", "id\x1b[31m;\u202ex\n1;2\n", Options{}, []string{`refused: line 1: the header has no "customer_id"; it has "id\x1b[31m", "\u202ex"; name the column with the ids: --column NAME`}},
		{"no header at all", "564703420,Jane Doe\n1,A\n", Options{}, []string{`refused: line 1: no header with "customer_id" (2 fields, not shown: they look like data); the first line must name the columns; if it does, name the one with the ids: --column NAME`}},
		{"an address where the header should be", "jane@example.com\n", Options{}, []string{`refused: line 1: no header with "customer_id" (1 field, not shown: they look like data); the first line must name the columns; if it does, name the one with the ids: --column NAME`}},
		{"the header twice", "customer_id,customer_id\n1,2\n", Options{}, []string{`refused: line 1: the header has "customer_id" 2 times; name the column with the ids by a header of its own`}},
		{"two similar headers", "Customer_ID,CUSTOMER_ID\n1,2\n", Options{}, []string{`refused: line 1: the header has "customer_id" 2 times; name the column with the ids by a header of its own`}},
		{"a column of plain lines", "1\n2\n", Options{Column: "id"}, []string{"refused: line 1: the file has plain lines and no header, so no column can be named; leave out --column, or give the file a header"}},
		{"unknown format", "1\n", Options{Format: "xml"}, []string{`refused: unknown format "xml"; auto, csv, ndjson or lines`}},
		{"a JSON array", " [{\"customer_id\":1}]\n", Options{}, []string{"refused: line 1: this is a JSON array, not NDJSON; make it one object a line: jq -c '.[]' FILE | imagepurge enqueue -"}},
		{"an object over several lines", "{\n\"customer_id\":1}\n", Options{}, []string{"refused: line 1: an object spans several lines, which NDJSON doesn't have; make it one object a line: jq -c . FILE | imagepurge enqueue -"}},

		{"a quote never closed", "customer_id,n\n1,A\n2,\"B\n3,C\n", Options{}, []string{"2=1", `fatal: line 3: a quote that opens in this record isn't closed within 1 MiB or before the end of the file; close it, or write a quote that belongs to the text as ""`}},
		{"a quoted record too long", "customer_id,n\n1,\"" + strings.Repeat(strings.Repeat("x", 99)+"\n", maxLine/100+1) + "\"\n", Options{}, []string{`fatal: line 2: a quote that opens in this record isn't closed within 1 MiB or before the end of the file; close it, or write a quote that belongs to the text as ""`}},
		{"a line too long", "1\n" + long + "\n", Options{}, []string{"1=1", "fatal: line 2: the line is longer than 1 MiB; one id, row or object a line is wanted"}},
		{"a line too long without an end", "1\n" + long, Options{}, []string{"1=1", "fatal: line 2: the line is longer than 1 MiB; one id, row or object a line is wanted"}},
		{"a line just short enough", "1\n" + long[1:] + "\n3\n", Options{}, []string{"1=1", "line 2: larger than 9223372036854775807", "3=3"}},
		{"a gzip bomb", gzipped(strings.Repeat(" ", 8<<20)), Options{}, []string{"refused: line 1: the line is longer than 1 MiB; one id, row or object a line is wanted"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(readAll(tt.text, tt.options), tt.want); diff != "" {
				t.Errorf("(-got +want)\n%s", diff)
			}
		})
	}
}

func TestFatalErrorsStay(t *testing.T) {
	broken := errors.New("disk on fire")
	r, err := NewReader(io.MultiReader(strings.NewReader("1\n2\n34567"), iotest.ErrReader(broken)), Options{})
	if err != nil {
		t.Fatal(err)
	}
	for n := range 2 {
		if row, err := r.Next(); row.Line != n+1 || err != nil {
			t.Fatalf("got %v, %v", row, err)
		}
	}
	for range 3 {
		// The line that was cut by the error isn't handed out.
		_, err := r.Next()
		var fatal *FileError
		if !errors.As(err, &fatal) || !errors.Is(err, broken) || fatal.Line != 3 {
			t.Fatalf("got %v, want a *FileError at line 3 around %v", err, broken)
		}
	}
	if _, err := NewReader(iotest.ErrReader(broken), Options{}); !errors.Is(err, broken) {
		t.Errorf("got %v, want %v", err, broken)
	}
	if _, err := NewReader(strings.NewReader(""), Options{}); !errors.Is(err, ErrEmpty) {
		t.Errorf("got %v, want ErrEmpty", err)
	}
}

func TestParseID(t *testing.T) {
	tests := map[string]string{
		"1": "", " 7\t": "", "9223372036854775807": "", "\u00a05\u00a0": "",
		"": reasonEmpty, "  ": reasonEmpty, "\u00a0": reasonEmpty,
		"0": reasonNotPositive, "-1": reasonNotPositive, "-0": reasonNotPositive, "000": reasonNotPositive,
		"-99999999999999999999": reasonNotPositive,
		"+1":                    reasonSign, "007": reasonZeros, "0000000000000000000000012": reasonZeros,
		"9223372036854775808": reasonTooLarge, "18446744073709551617": reasonTooLarge, "99999999999999999999999": reasonTooLarge,
		"1.0": reasonDecimal, "-1.5": reasonDecimal, "564703420.": reasonDecimal, ".5": reasonDecimal, "1.234": reasonDecimal,
		"5.64703E+08": reasonScientific, "1e5": reasonScientific, "5,647E+08": reasonScientific, "-1E-3": reasonScientific,
		"1,234": reasonThousands, "12.345.678": reasonThousands, "1 234 567": reasonThousands, "1'234": reasonThousands, "1\u202f234": reasonThousands,
		"1,2": reasonSeveral, "564703420,00": reasonSeveral, "1;2": reasonSeveral, "1\t2": reasonSeveral, "1 2": reasonSeveral,
		"١٢٣": reasonDigits, "１２": reasonDigits, "1２": reasonDigits,
		"x": reasonNotNumber, "--5": reasonNotNumber, "+": reasonNotNumber, "-": reasonNotNumber, "0x1F": reasonNotNumber, "1x": reasonNotNumber, "NaN": reasonNotNumber,
		"1e": reasonNotNumber, "e5": reasonNotNumber, "99999999999999999999999x": reasonNotNumber, "=1": reasonNotNumber, "1-2": reasonNotNumber, "\u200b1": reasonNotNumber,
	}
	for text, want := range tests {
		id, got := parseID([]byte(text))
		if got != want {
			t.Errorf("parseID(%q): %q, want %q", text, got, want)
		}
		if (id > 0) != (want == "") {
			t.Errorf("parseID(%q): id %d with reason %q", text, id, got)
		}
	}
}

func FuzzReader(f *testing.F) {
	for _, seed := range []string{
		"1\n2\n", "customer_id,name\n1,A\n", "name;customer_id\r\n\"a;\"\"b\r\n\";2\r\n", "{\"customer_id\":1}\n{\"a\":[\"}\"],\"customer_id\":\"2\"}",
		"\xEF\xBB\xBFcustomer_id\n1", "\xFF\xFE1\x00", "1\x002\x00", "customer_id\tx\r1\t\"", "\u00a0\n", "\" \"\n", "[1]", gzipped("1\n"), gzipped("1\n", "2\n")[:30],
		"{\"customer_id\":1e5,\"x\":\"\\u12", "-1\n1.5\n1,000\n", "\"1\"\n\"\"\n",
	} {
		for _, format := range []string{"", "csv", "ndjson", "lines"} {
			f.Add([]byte(seed), format, "")
		}
		f.Add([]byte(seed), "", "id")
	}
	f.Fuzz(func(t *testing.T, data []byte, format, column string) {
		o := Options{Format: Format(format), Column: column}
		r, err := NewReader(bytes.NewReader(data), o)
		if err != nil {
			checkFatal(t, err)
			return
		}
		line := 0
		for range 4 * (len(data) + 1) {
			row, err := r.Next()
			var bad *LineError
			switch {
			case err == io.EOF:
				return
			case errors.As(err, &bad):
				if bad.Line <= line || bad.Reason == "" || len(bad.Raw) > maxLine+len("\r\n") {
					t.Fatalf("bad line %d behind %d, reason %q, %d bytes", bad.Line, line, bad.Reason, len(bad.Raw))
				}
				line = bad.Line
			case err != nil:
				checkFatal(t, err)
				if _, again := r.Next(); again != err {
					t.Fatalf("%v, then %v", err, again)
				}
				return
			default:
				if row.ID <= 0 || row.Line <= line {
					t.Fatalf("row %v behind line %d", row, line)
				}
				line = row.Line
			}
		}
		// A gzip's content may be larger than its file.
		if !bytes.HasPrefix(data, gzipMagic) {
			t.Fatal("more records than bytes")
		}
	})
}

func checkFatal(t *testing.T, err error) {
	t.Helper()
	var fatal *FileError
	if !errors.As(err, &fatal) || fatal.Problem == "" {
		t.Fatalf("got %#v, want a *FileError", err)
	}
}
