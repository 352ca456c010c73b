// Package intake reads customer ids from a file: CSV, NDJSON or plain lines,
// gzipped or not. It reads a stream in constant memory and decides nothing
// about the ids beyond whether each is one.
//
// A file of ids ends in irreversible deletions, so the package refuses rather
// than guesses: a row with a field too many could have put another number into
// the id's column, and an id with a decimal point may have lost its last
// digits in a spreadsheet. It never puts what a line holds into an error: ids
// and names of customers must not land in logs.
//
// No SQL, no clock.
package intake

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
)

// DefaultColumn is the header, or the key of an object, that holds the ids.
const DefaultColumn = "customer_id"

// Format is the form of a file.
type Format string

const (
	// Auto tells the format by the first line that isn't blank: an object
	// means NDJSON, a single number plain lines, all else a CSV header.
	Auto Format = "auto"
	// CSV has a header line; comma, semicolon or tab between the fields, as
	// the header shows; RFC 4180 quotes.
	CSV Format = "csv"
	// NDJSON has one JSON object a line.
	NDJSON Format = "ndjson"
	// Lines has one id a line and no header; blank lines don't count.
	Lines Format = "lines"
)

// Options say how to read a file. The zero value reads what the contract of
// `imagepurge enqueue` promises.
type Options struct {
	// Column names the CSV header or NDJSON key with the ids; empty means
	// DefaultColumn. Headers are compared without surrounding space; one that
	// is equal counts before one that differs in case. Keys must be equal.
	Column string
	// Format of the file; empty means Auto.
	Format Format
	// LastLineIsWhole takes in a last record without its line end. Otherwise that
	// is a bad line: of a list that was cut on its way it may be the beginning of an
	// id, which is often another customer's.
	LastLineIsWhole bool
}

// Row is one customer's id and the physical line, from 1, on which its record
// begins. Header, blank lines and newlines within quotes count; a line ends
// with LF, CRLF or a lone CR.
type Row struct {
	Line int
	ID   int64
}

// Reader reads ids from one file. It isn't safe for concurrent use.
type Reader struct {
	lines  *lineReader
	format Format
	column string
	whole  bool // Options.LastLineIsWhole
	csv    csvReader
	again  bool  // the line in hand was looked at by NewReader and is still to be read
	any    bool  // a record was seen, good or bad
	err    error // sticky: io.EOF or fatal
}

// NewReader looks at the beginning of a file and says by a *FileError why it
// can't be read: nothing in it (ErrEmpty), not UTF-8, no such column.
func NewReader(r io.Reader, o Options) (*Reader, error) {
	plain, err := open(r)
	if err != nil {
		return nil, err
	}
	in := &Reader{
		lines:  newLineReader(plain),
		format: o.Format,
		column: strings.TrimSpace(o.Column),
		whole:  o.LastLineIsWhole,
	}
	if in.column == "" {
		in.column = DefaultColumn
	}
	switch in.format {
	case "":
		in.format = Auto
	case Auto, CSV, NDJSON, Lines:
	default:
		return nil, &FileError{Problem: fmt.Sprintf("unknown format %q", string(o.Format)), Hint: "auto, csv, ndjson or lines"}
	}
	if err := in.start(o.Column != ""); err != nil {
		return nil, err
	}
	return in, nil
}

// start reads up to the first line that isn't blank, settles the format by it
// and, for CSV, takes it as the header.
func (r *Reader) start(columnGiven bool) error {
	for {
		if err := r.lines.next(); errors.Is(err, io.EOF) {
			return emptyFile()
		} else if err != nil {
			return err
		}
		if !blank(r.lines.text, 0) {
			break
		}
	}
	first := r.lines.text
	if r.format == Auto {
		r.format = formatOf(first)
	}
	switch r.format {
	case CSV:
		return r.csv.readHeader(r.lines, r.column)
	case NDJSON:
		if err := refuseJSONDocument(r.lines.line, first); err != nil {
			return err
		}
	case Lines:
		if columnGiven {
			return &FileError{
				Line:    r.lines.line,
				Problem: "the file has plain lines and no header, so no column can be named",
				Hint:    "leave out --column, or give the file a header",
			}
		}
	}
	r.again = true
	return nil
}

// Next returns the next id. A *LineError tells of one bad line; reading may go
// on behind it. io.EOF is the end. Every other error is a *FileError and
// final: ErrEmpty where there was nothing but a header, a wrong encoding, a
// quote never closed, a line over 1 MiB, a read that failed.
func (r *Reader) Next() (Row, error) {
	if r.err != nil {
		return Row{}, r.err
	}
	row, err := r.next()
	if err == nil {
		r.any = true
		return row, nil
	}
	if bad := (*LineError)(nil); errors.As(err, &bad) {
		r.any = true
		return Row{}, err
	}
	if errors.Is(err, io.EOF) && !r.any {
		err = emptyFile()
	}
	r.err = err
	return Row{}, err
}

func (r *Reader) next() (Row, error) {
	for {
		if r.again {
			r.again = false
		} else if err := r.lines.next(); err != nil {
			return Row{}, err
		}
		if blank(r.lines.text, r.csv.delimiter) && !r.cut() {
			continue
		}
		line := r.lines.line
		var (
			id     int64
			reason string
			raw    = r.lines.raw
		)
		switch r.format {
		case CSV:
			var err error
			if id, raw, reason, err = r.csv.readID(r.lines); err != nil {
				return Row{}, err
			}
		case NDJSON:
			id, reason = idOfObject(r.lines.text, r.column)
		default:
			id, reason = parseID(unquoted(r.lines.text))
		}
		if r.cut() {
			reason = reasonCut
		}
		if reason != "" {
			return Row{}, &LineError{Line: line, Reason: reason, Raw: append([]byte(nil), raw...)}
		}
		return Row{Line: line, ID: id}, nil
	}
}

// Format is what the file was read as, never Auto.
func (r *Reader) Format() Format { return r.format }

// Header is a CSV's header record as it stands in the file, without its line
// end; nil for other formats. A file of rejects begins with it, so that it can
// be mended and taken in by itself.
func (r *Reader) Header() []byte { return r.csv.header }

// cut tells that the line in hand is the last and may be the beginning of one.
func (r *Reader) cut() bool { return r.lines.noEnd && !r.whole }

// formatOf tells the format by the first line that isn't blank.
func formatOf(first []byte) Format {
	text := bytes.TrimSpace(first)
	if len(text) > 0 && (text[0] == '{' || text[0] == '[') {
		return NDJSON
	}
	if numberLike(unquoted(text)) {
		return Lines
	}
	return CSV
}

// blank tells a line of spaces and tabs; tabs are content where they delimit.
func blank(text []byte, delimiter byte) bool {
	for _, c := range text {
		if c != ' ' && (c != '\t' || delimiter == '\t') {
			return false
		}
	}
	return true
}
