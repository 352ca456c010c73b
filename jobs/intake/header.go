package intake

import (
	"bytes"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// readHeader takes the record that begins with the line in hand as the header:
// it settles the delimiter, the number of fields and the ids' column.
func (c *csvReader) readHeader(l *lineReader, column string) error {
	line := l.line
	c.delimiter = delimiterOf(l.text, column)
	reason, err := c.parse(l)
	if err != nil {
		return err
	}
	if reason != "" {
		return &FileError{Line: line, Problem: "the header has " + reason}
	}
	c.header = append([]byte{}, withoutLineEnd(c.raw)...)
	c.fields = len(c.ends)
	names := make([]string, c.fields)
	for i := range names {
		names[i] = strings.TrimSpace(string(c.field(i)))
	}
	// The header may have been long; the records needn't keep its memory.
	c.raw, c.data, c.ends = nil, nil, nil

	found := indexes(names, func(name string) bool { return name == column })
	if len(found) == 0 {
		found = indexes(names, func(name string) bool { return strings.EqualFold(name, column) })
	}
	switch len(found) {
	case 1:
		c.column = found[0]
		return nil
	case 0:
		return noSuchColumn(line, names, column)
	}
	return &FileError{
		Line:    line,
		Problem: fmt.Sprintf("the header has %q %d times", column, len(found)),
		Hint:    "name the column with the ids by a header of its own",
	}
}

func indexes(names []string, match func(string) bool) (found []int) {
	for i, name := range names {
		if match(name) {
			found = append(found, i)
		}
	}
	return found
}

// delimiterOf takes the one of comma, semicolon and tab under which the
// header's line has the column; failing that, the one it has most often.
func delimiterOf(line []byte, column string) byte {
	most, delimiter := 0, byte(',')
	for _, d := range []byte{',', ';', '\t'} {
		fields := splitOutsideQuotes(line, d)
		for _, f := range fields {
			if len(fields) > 1 && strings.EqualFold(string(unquoted(f)), column) {
				return d
			}
		}
		if len(fields) > most {
			most, delimiter = len(fields), d
		}
	}
	return delimiter
}

func splitOutsideQuotes(line []byte, delimiter byte) (fields [][]byte) {
	quoted, begin := false, 0
	for i, c := range line {
		switch {
		case c == '"':
			quoted = !quoted
		case c == delimiter && !quoted:
			fields = append(fields, line[begin:i])
			begin = i + 1
		}
	}
	return append(fields, line[begin:])
}

// noSuchColumn names the headers that were found, unless one of them looks like
// data: in a file without a header those would be a customer's.
func noSuchColumn(line int, names []string, column string) error {
	e := &FileError{Line: line, Hint: "name the column with the ids: --column NAME"}
	for _, name := range names {
		if !nameLike(name) {
			e.Problem = fmt.Sprintf("no header with %q (%s, not shown: they look like data)", column, plural(len(names), "field"))
			e.Hint = "the first line must name the columns; if it does, name the one with the ids: --column NAME"
			return e
		}
	}
	const most = 20
	shown := make([]string, 0, most)
	for _, name := range names[:min(len(names), most)] {
		shown = append(shown, fmt.Sprintf("%q", name))
	}
	e.Problem = fmt.Sprintf("the header has no %q; it has %s", column, strings.Join(shown, ", "))
	if more := len(names) - most; more > 0 {
		e.Problem += fmt.Sprintf(" and %d more", more)
	}
	return e
}

// nameLike tells what may be shown as a column's name: short, with a letter,
// without an @ or as many digits as an id or a telephone number has.
func nameLike(name string) bool {
	if name == "" {
		return true
	}
	if utf8.RuneCountInString(name) > 64 || strings.ContainsAny(name, "@+\n") {
		return false
	}
	letters, digits := 0, 0
	for _, r := range name {
		switch {
		case unicode.IsLetter(r):
			letters++
		case unicode.IsDigit(r):
			digits++
		}
	}
	return letters > 0 && digits < 5
}

// unquoted drops surrounding space and one pair of quotes.
func unquoted(text []byte) []byte {
	text = bytes.TrimSpace(text)
	if n := len(text); n > 2 && text[0] == '"' && text[n-1] == '"' {
		return bytes.TrimSpace(text[1 : n-1])
	}
	return text
}
