package intake

import (
	"bytes"
	"errors"
	"fmt"
	"io"
)

// csvReader reads records as encoding/csv does with its strict quotes (a
// property test compares the two), without a string a field: a record without
// quotes is only counted and cut where the id stands.
type csvReader struct {
	delimiter byte
	column    int    // index of the id's field
	fields    int    // how many a record must have
	header    []byte // as in the file, without its line end

	raw  []byte // a record with quotes, as in the file
	data []byte // its fields, unquoted, one behind the other
	ends []int  // where each ends in data
}

// readID reads the record that begins with the line in hand. A reason means
// that it is bad, an error that nothing can be read any more.
func (c *csvReader) readID(l *lineReader) (id int64, raw []byte, reason string, err error) {
	raw = l.raw
	var field []byte
	var fields int
	if bytes.IndexByte(l.text, '"') < 0 {
		field, fields = c.cut(l.text)
	} else {
		if reason, err = c.parse(l); err != nil {
			return 0, nil, "", err
		}
		raw = c.raw
		if reason != "" {
			return 0, raw, reason, nil
		}
		fields = len(c.ends)
		if fields == c.fields {
			field = c.field(c.column)
		}
	}
	if fields != c.fields {
		// A field too many could have moved another number into the id's place.
		return 0, raw, fmt.Sprintf("%s, the header has %d", plural(fields, "field"), c.fields), nil
	}
	id, reason = parseID(field)
	if reason != "" && bytes.Equal(withoutLineEnd(raw), c.header) {
		reason = "the header again (several files put together?)"
	}
	return id, raw, reason, nil
}

// cut counts a record's fields where it has no quotes, and returns the id's.
func (c *csvReader) cut(record []byte) (field []byte, fields int) {
	fields = bytes.Count(record, []byte{c.delimiter}) + 1
	if fields != c.fields {
		return nil, fields
	}
	for range c.column {
		record = record[bytes.IndexByte(record, c.delimiter)+1:]
	}
	if i := bytes.IndexByte(record, c.delimiter); i >= 0 {
		record = record[:i]
	}
	return record, fields
}

func (c *csvReader) field(n int) []byte {
	if n == 0 {
		return c.data[:c.ends[0]]
	}
	return c.data[c.ends[n-1]:c.ends[n]]
}

// parse reads a record with quotes into raw, data and ends, taking further
// lines where a quote spans them. Behind a misplaced quote the record counts as
// ended with that line, as in encoding/csv.
func (c *csvReader) parse(l *lineReader) (reason string, err error) {
	c.raw = append(c.raw[:0], l.raw...)
	c.data, c.ends = c.data[:0], c.ends[:0]
	line, first := l.text, l.line
	for {
		if len(line) == 0 || line[0] != '"' {
			field, rest, more := bytes.Cut(line, []byte{c.delimiter})
			if bytes.IndexByte(field, '"') >= 0 {
				return "a quote within a field that doesn't begin with one", nil
			}
			c.data = append(c.data, field...)
			c.ends = append(c.ends, len(c.data))
			if !more {
				return "", nil
			}
			line = rest
			continue
		}
		line = line[1:]
		for {
			part, rest, closed := bytes.Cut(line, []byte{'"'})
			c.data = append(c.data, part...)
			if closed && len(rest) > 0 && rest[0] == '"' {
				c.data = append(c.data, '"')
				line = rest[1:]
				continue
			}
			if closed {
				line = rest
				break
			}
			c.data = append(c.data, '\n')
			if err := l.next(); errors.Is(err, io.EOF) {
				return "", neverClosed(first)
			} else if err != nil {
				return "", err
			}
			if len(c.raw)+len(l.raw) > maxLine {
				return "", neverClosed(first)
			}
			c.raw = append(c.raw, l.raw...)
			line = l.text
		}
		switch {
		case len(line) == 0:
			c.ends = append(c.ends, len(c.data))
			return "", nil
		case line[0] != c.delimiter:
			return "text behind a closing quote", nil
		}
		c.ends = append(c.ends, len(c.data))
		line = line[1:]
	}
}

// neverClosed is fatal: how many records the quote has swallowed can't be known.
func neverClosed(line int) error {
	return &FileError{
		Line:    line,
		Problem: "a quote that opens in this record isn't closed within 1 MiB or before the end of the file",
		Hint:    `close it, or write a quote that belongs to the text as ""`,
	}
}

func withoutLineEnd(raw []byte) []byte {
	if n := len(raw); n > 0 && raw[n-1] == '\n' {
		raw = raw[:n-1]
	}
	if n := len(raw); n > 0 && raw[n-1] == '\r' {
		raw = raw[:n-1]
	}
	return raw
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
