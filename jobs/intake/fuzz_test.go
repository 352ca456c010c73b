package intake

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/big"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

// What a file may hold and what is read of it. FuzzReader (refuse_test.go) looks at
// any bytes at all; these compare with readers that share no line with ours.

// readForm is readAll with the reasons left out: "2=7", "line 2", "fatal".
func readForm(text string, o Options) (got []string) {
	for _, g := range readAll(text, o) {
		if strings.HasPrefix(g, "line ") || strings.HasPrefix(g, "fatal") || strings.HasPrefix(g, "refused") {
			g = strings.SplitN(g, ":", 2)[0]
		}
		got = append(got, g)
	}
	return got
}

// plainText is what the line reader takes: valid UTF-8 without NUL, and no line
// that it may refuse for its length.
func plainText(text string) bool {
	return utf8.ValidString(text) && !strings.ContainsRune(text, 0) && len(text) < maxLine/2
}

var lineEnds = strings.NewReplacer("\r\n", "\n", "\r", "\n")

// Property: of any text behind a header the same ids come as from encoding/csv,
// and every record that gives none is named by its line.
func FuzzCSV(f *testing.F) {
	for _, rest := range []string{
		"1,A\n2,B\n", "1,\"A\r\nB\"\r\n2,\"\"\"C\"\"\"\r\n", "1;A\n2,B\n", "\"1\n\",x\n", "1,A\"B\n2,\"A\"B\n", "3,\"", "\"\n", ",\n\n \n\t\n", "1,x\r2,y\r", "1,x,z\n1\n",
		"\u00a01,x\n", "-1,x\n1.0,x\n01,x\n", "customer_id,n\n", "\"1\",\"x\"\n\"2\"x,y\n", "\"7\"xy\nx,\"8\"yz\n", "1,\"\n\n\"\n5,y\n", "9223372036854775808,x\n9223372036854775807,x",
	} {
		for column := range uint8(3) {
			f.Add(rest, column, uint8(0), false)
			f.Add(strings.ReplaceAll(rest, ",", ";"), column, uint8(1), true)
			f.Add(strings.ReplaceAll(rest, ",", "\t"), column, uint8(2), false)
		}
	}
	f.Fuzz(func(t *testing.T, rest string, column, delimiter uint8, crlf bool) {
		if !plainText(rest) {
			return
		}
		comma := []rune{',', ';', '\t'}[delimiter%3]
		names := []string{"a", "b", "c"}[:2+column%2]
		names[int(column)%len(names)] = DefaultColumn
		header := strings.Join(names, string(comma)) + "\n"
		if crlf {
			header = strings.TrimSuffix(header, "\n") + "\r\n"
		}
		got := readForm(header+rest, Options{Format: CSV, LastLineIsWhole: true})
		want := readByModel(lineEnds.Replace(header+rest), comma)
		if diff := cmp.Diff(got, want); diff != "" {
			t.Errorf("%q (-got +want)\n%s", header+rest, diff)
		}
	})
}

var decimal = regexp.MustCompile(`^[1-9][0-9]*$`)

// idByModel is what a plain reader with numbers of any length makes of a text.
func idByModel(text string) (id int64, ok bool) {
	text = strings.TrimSpace(text)
	n, isNumber := new(big.Int).SetString(text, 10)
	if !decimal.MatchString(text) || !isNumber || !n.IsInt64() {
		return 0, false
	}
	return n.Int64(), true
}

// Property: an id is a positive int64 in plain decimal digits, and nothing else is
// one; a reason holds nothing of the text.
func FuzzID(f *testing.F) {
	for _, text := range []string{
		"1", " 7\t", "9223372036854775807", "9223372036854775808", "18446744073709551617", "0", "-1", "+1", "007", "1.0", "5.6E+08", "1,234", "1 234", "1'234", "1;2", "１２", "1\u00a0", "\u20091", "0x1F", "", "\u200b1", "1\x00", "\xff1",
	} {
		f.Add([]byte(text))
	}
	reasons := map[string]bool{
		reasonEmpty: true, reasonNotNumber: true, reasonNotPositive: true, reasonTooLarge: true, reasonSign: true, reasonZeros: true,
		reasonDecimal: true, reasonScientific: true, reasonThousands: true, reasonSeveral: true, reasonDigits: true,
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		id, reason := parseID(text)
		want, ok := idByModel(string(text))
		if id != want || ok != (reason == "") {
			t.Errorf("%q: %d %q, want %d", text, id, reason, want)
		}
		if reason != "" && !reasons[reason] {
			t.Errorf("%q: the reason %q is none of the list", text, reason)
		}
	})
}

// Property: of plain lines each that isn't blank gives the id that stands in it, or
// is named; the last only with its end, or where the list is known to be whole.
func FuzzLines(f *testing.F) {
	for _, text := range []string{"1\n2\n", "1\r\n\r\n2\r3", " \n\t\n\"4\"\n\" 5 \"\n", "x\n-1\n0\n", "\"\"\n\"\"6\"\"\n", "customer_id\n1\n", "\u00a0\n7", "\"8\n\"9\"\n", "1,2\n1;2\n"} {
		f.Add(text, false)
		f.Add(text, true)
	}
	f.Fuzz(func(t *testing.T, text string, whole bool) {
		if !plainText(text) || strings.HasPrefix(text, "\ufeff") || foreignStart(text) {
			return
		}
		var want []string
		lines := strings.Split(lineEnds.Replace(text), "\n")
		for i, line := range lines {
			switch id, ok := idByModel(dequoted(line)); {
			case i == len(lines)-1 && line != "" && !whole:
				want = append(want, fmt.Sprintf("line %d", i+1))
			case strings.Trim(line, " \t") == "":
			case ok:
				want = append(want, fmt.Sprintf("%d=%d", i+1, id))
			default:
				want = append(want, fmt.Sprintf("line %d", i+1))
			}
		}
		if strings.Trim(text, " \t\r\n") == "" {
			want = []string{"refused"}
		}
		if diff := cmp.Diff(readForm(text, Options{Format: Lines, LastLineIsWhole: whole}), want); diff != "" {
			t.Errorf("%q (-got +want)\n%s", text, diff)
		}
	})
}

// dequoted takes one pair of quotes around something off.
func dequoted(line string) string {
	line = strings.TrimSpace(line)
	if inner, ok := strings.CutPrefix(line, `"`); ok && len(line) > 2 {
		if inner, ok := strings.CutSuffix(inner, `"`); ok {
			return inner
		}
	}
	return line
}

// foreignStart: the file begins as another kind of file does.
func foreignStart(text string) bool {
	for _, f := range foreign {
		if strings.HasPrefix(text, string(f.magic)) {
			return true
		}
	}
	return strings.HasPrefix(text, string(gzipMagic))
}

// Property: of a line of NDJSON comes the id that encoding/json sees under the key,
// where it sees it once, in its own digits.
func FuzzNDJSON(f *testing.F) {
	for _, line := range []string{
		`{"customer_id":1}`, `{"customer_id":"2"}`, `{"a":["}"],"customer_id":3}`, `{"customer_id":1,"customer_id":2}`, `{"customer\u005fid":4}`, `{"customer_id":"\u0035"}`,
		`{"x":{"customer_id":1}}`, `{"customer_id":null}`, `{"customer_id":[1]}`, `{"customer_id":1e3}`, `{"customer_id":9223372036854775808}`, `[1]`, `{"customer_id":}`, `{"Customer_ID":1}`,
		`{"customer_id":1} {"customer_id":2}`, `{"":"","customer_id" : 7 }`, `{"customer_id":"\ud800"}`, `{"customer_id":-0}`, `{"customer_id":true}`, strings.Repeat("[", 200), `{"a":"\\","customer_id":8}`,
	} {
		f.Add([]byte(line), DefaultColumn)
	}
	f.Add([]byte(`{"é\"":5}`), `é"`)
	f.Fuzz(func(t *testing.T, line []byte, key string) {
		if len(bytes.TrimSpace(line)) == 0 || bytes.ContainsAny(line, "\r\n") || !utf8.Valid(line) || !utf8.ValidString(key) {
			return
		}
		id, reason := idOfObject(line, key)
		want, ok := idByDecoder(line, key)
		if id != want || ok != (reason == "") {
			t.Errorf("%q under %q: %d %q, want %d", line, key, id, reason, want)
		}
	})
}

// idByDecoder reads the object token by token.
func idByDecoder(line []byte, key string) (id int64, ok bool) {
	d := json.NewDecoder(bytes.NewReader(line))
	d.UseNumber()
	if open, err := d.Token(); err != nil || open != json.Delim('{') {
		return 0, false
	}
	found := 0
	for d.More() {
		name, err := d.Token()
		if err != nil {
			return 0, false
		}
		var value any
		if err := d.Decode(&value); err != nil {
			return 0, false
		}
		if name != key {
			continue
		}
		found++
		switch v := value.(type) {
		case json.Number:
			id, ok = idByModel(v.String())
		case string:
			id, ok = idByModel(v)
		default:
			ok = false
		}
	}
	if _, err := d.Token(); err != nil || found != 1 || !ok {
		return 0, false
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return 0, false
	}
	return id, true
}

var quotedWords = regexp.MustCompile(`"(?:[^"\\]|\\.)*"`)

// Property: a file is read in the format it was told to be, or in one of the three;
// a header gives the column that was asked for; an error repeats no name that could
// be a customer's.
func FuzzHeader(f *testing.F) {
	for _, header := range []string{
		"customer_id,name", "name;customer_id", "a\t\"customer_id\"", "Customer_ID,customer_id", "customer_id,customer_id", "id,name", "564703420,Jane Doe", "jane@example.com", "+49 170 1234567", "a,b,12345", "a,b,x12345", "", "\"customer_id", "\"a\nb\",customer_id",
		"1;2", "٠١٢٣٤٥,x", "{\"customer_id\":1}", "[1]", "{", "\xef\xbb\xbfcustomer_id", "a,b,c,d,e,f,g,h,i,j,k,l,m,n,o,p,q,r,s,t,u", "1e5", "id\x1b[31m;\u202ex",
	} {
		f.Add(header+"\n", "")
		f.Add(header+"\n1,2\n", "id")
	}
	f.Fuzz(func(t *testing.T, text, column string) {
		r, err := NewReader(strings.NewReader(text), Options{Column: column})
		if err != nil {
			checkFatal(t, err)
			for _, q := range quotedWords.FindAllString(err.Error(), -1) {
				name, wrong := strconv.Unquote(q)
				if wrong != nil || name == strings.TrimSpace(column) || name == DefaultColumn {
					continue
				}
				if !mayBeShown(name) {
					t.Errorf("the error shows %s", q)
				}
			}
			return
		}
		switch r.Format() {
		case CSV, NDJSON, Lines:
		default:
			t.Fatalf("read as %q", r.Format())
		}
		if r.Format() != CSV {
			return
		}
		want := strings.TrimSpace(column)
		if want == "" {
			want = DefaultColumn
		}
		if !strings.Contains(strings.ToLower(string(r.Header())), strings.ToLower(want)) && !strings.ContainsAny(want, `"`) && isASCII(want) {
			t.Errorf("the header %q has no %q", r.Header(), want)
		}
	})
}

func isASCII(text string) bool {
	return !strings.ContainsFunc(text, func(r rune) bool { return r >= utf8.RuneSelf })
}

// mayBeShown: neither an address nor as many digits as an id has.
func mayBeShown(name string) bool {
	digits := 0
	for _, r := range name {
		if unicode.IsDigit(r) {
			digits++
		}
	}
	return digits < 5 && !strings.ContainsAny(name, "@+") && utf8.RuneCountInString(name) <= 64
}
