package intake

import (
	"errors"
	"fmt"
	"io"
	"unicode/utf8"
)

// maxLine bounds a line, and a CSV record of several lines, and with them the
// memory that a file can take.
const maxLine = 1 << 20

// firstBuffer is enough for any file of ids; longer lines make it grow.
const firstBuffer = 64 << 10

// lineReader cuts a stream into physical lines, ended by LF, CRLF or a lone
// CR, and refuses what isn't UTF-8 text. Own code instead of bufio.Scanner: the
// one pass over the bytes finds line ends, NUL bytes and non-ASCII at once.
type lineReader struct {
	src        io.Reader
	buf        []byte
	start, end int   // what is read and not yet handed out: buf[start:end]
	srcErr     error // what src ended with
	err        error // sticky

	line  int    // number of the line in hand, from 1
	text  []byte // the line without its end; good until the next call of next
	raw   []byte // the same with it
	noEnd bool   // the line in hand is the last and has no end
}

func newLineReader(src io.Reader) *lineReader {
	return &lineReader{src: src, buf: make([]byte, firstBuffer)}
}

// next takes the next line in hand: io.EOF at the end, else a *FileError.
func (l *lineReader) next() error {
	if l.err != nil {
		return l.err
	}
	l.text, l.raw = nil, nil
	i := l.start
	var seen byte // OR of all bytes: its top bit tells non-ASCII
	for {
		for i < l.end {
			c := l.buf[i]
			if c > '\r' {
				seen |= c
				i++
				continue
			}
			if c == '\n' {
				return l.take(i, i+1, seen)
			}
			if c == '\r' {
				if i+1 == l.end && l.srcErr == nil {
					break // CRLF or lone CR: the next byte tells
				}
				if i+1 < l.end && l.buf[i+1] == '\n' {
					return l.take(i, i+2, seen)
				}
				return l.take(i, i+1, seen)
			}
			if c == 0 {
				return l.fail(l.nul(i - l.start))
			}
			i++
		}
		if i-l.start > maxLine {
			return l.fail(tooLong(l.line + 1))
		}
		if l.srcErr != nil {
			switch {
			case !errors.Is(l.srcErr, io.EOF):
				return l.fail(readFailed(l.line+1, l.srcErr))
			case i == l.start:
				return l.fail(io.EOF)
			}
			l.noEnd = true
			return l.take(i, i, seen)
		}
		scanned := i - l.start
		l.fill()
		i = l.start + scanned
	}
}

// take hands out the line whose text ends at textEnd.
func (l *lineReader) take(textEnd, rawEnd int, seen byte) error {
	if textEnd-l.start > maxLine {
		return l.fail(tooLong(l.line + 1))
	}
	l.text, l.raw = l.buf[l.start:textEnd], l.buf[l.start:rawEnd]
	l.start = rawEnd
	l.line++
	if seen >= utf8.RuneSelf && !utf8.Valid(l.text) {
		return l.fail(&FileError{
			Line:    l.line,
			Problem: "the text is not UTF-8",
			Hint:    "convert it, from WINDOWS-1252 if it comes from a spreadsheet: iconv -f WINDOWS-1252 -t UTF-8 FILE | imagepurge enqueue -",
		})
	}
	return nil
}

// fill reads more behind what is there, moving it to the front or to a larger
// buffer first.
func (l *lineReader) fill() {
	if l.start > 0 {
		l.end = copy(l.buf, l.buf[l.start:l.end])
		l.start = 0
	}
	if l.end == len(l.buf) {
		larger := make([]byte, 2*len(l.buf))
		copy(larger, l.buf)
		l.buf = larger
	}
	for range 100 {
		n, err := l.src.Read(l.buf[l.end:])
		l.end += n
		if err != nil {
			l.srcErr = err
			return
		}
		if n > 0 {
			return
		}
	}
	l.srcErr = io.ErrNoProgress
}

func tooLong(line int) error {
	return &FileError{Line: line, Problem: "the line is longer than 1 MiB", Hint: "one id, row or object a line is wanted"}
}

// nul names the encoding that a NUL byte at this place of a line betrays.
func (l *lineReader) nul(at int) error {
	line := l.line + 1
	switch {
	case line == 1 && at%2 == 1:
		return wrongEncoding(line, "UTF-16LE")
	case line == 1 && at == 0:
		return wrongEncoding(line, "UTF-16BE")
	}
	return &FileError{
		Line:    line,
		Problem: fmt.Sprintf("NUL byte at byte %d of the line: the text is UTF-16 or damaged", at+1),
		Hint:    "if it is UTF-16, convert it: iconv -f UTF-16 -t UTF-8 FILE | imagepurge enqueue -",
	}
}

func (l *lineReader) fail(err error) error {
	l.err = err
	l.text, l.raw = nil, nil
	return err
}
