package intake

import (
	"bufio"
	"bytes"
	"compress/flate"
	"compress/gzip"
	"errors"
	"io"
)

var (
	utf8BOM   = []byte("\xEF\xBB\xBF")
	utf16LE   = []byte("\xFF\xFE")
	utf16BE   = []byte("\xFE\xFF")
	utf32LE   = []byte("\xFF\xFE\x00\x00")
	utf32BE   = []byte("\x00\x00\xFE\xFF")
	gzipMagic = []byte("\x1F\x8B")
)

// foreign lists what a file may begin with that is no text, and the way out.
var foreign = []struct {
	magic         []byte
	problem, hint string
}{
	{[]byte("PK\x03\x04"), "this is a spreadsheet (.xlsx) or a zip file, not text", "export it as CSV, or unzip it"},
	{[]byte("\xD0\xCF\x11\xE0"), "this is a spreadsheet (.xls), not text", "export it as CSV"},
	{[]byte("\x28\xB5\x2F\xFD"), "this is compressed with zstd", "unpack it first: zstd -dc FILE | imagepurge enqueue -"},
	{[]byte("\xFD7zXZ\x00"), "this is compressed with xz", "unpack it first: xz -dc FILE | imagepurge enqueue -"},
	{[]byte("BZh"), "this is compressed with bzip2", "unpack it first: bzip2 -dc FILE | imagepurge enqueue -"},
	{gzipMagic, "this is compressed twice", "unpack it first: gzip -dc FILE | imagepurge enqueue -"},
	{[]byte("%PDF-"), "this is a PDF, not text", "export the ids as CSV"},
}

// open returns the text of r: unpacked where it begins as gzip does, without
// a UTF-8 byte order mark. What begins as something other than UTF-8 text is
// refused.
func open(r io.Reader) (io.Reader, error) {
	in := bufio.NewReaderSize(r, 64<<10)
	head, err := in.Peek(2)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, readFailed(0, err)
	}
	if bytes.Equal(head, gzipMagic) {
		unpacked, err := gzip.NewReader(in)
		if err != nil {
			return nil, readFailed(0, err)
		}
		unpacked.Multistream(false)
		in = bufio.NewReaderSize(&members{packed: in, member: unpacked, last: '\n'}, 64<<10)
	}
	head, err = in.Peek(6)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, readFailed(1, err)
	}
	for _, f := range foreign {
		if bytes.HasPrefix(head, f.magic) {
			return nil, &FileError{Problem: f.problem, Hint: f.hint}
		}
	}
	switch {
	case bytes.HasPrefix(head, utf32LE), bytes.HasPrefix(head, utf32BE):
		return nil, wrongEncoding(1, "UTF-32")
	case bytes.HasPrefix(head, utf16LE), bytes.HasPrefix(head, utf16BE):
		return nil, wrongEncoding(1, "UTF-16")
	case bytes.HasPrefix(head, utf8BOM):
		if _, err := in.Discard(len(utf8BOM)); err != nil {
			return nil, readFailed(1, err)
		}
	}
	return in, nil
}

// members reads the members of a gzip file one behind the other. Where one ends
// within a line, files may have been put together of which the first was cut, and
// two ids would become a third.
type members struct {
	packed *bufio.Reader
	member *gzip.Reader
	last   byte // of what was unpacked
	within bool // the member before ended within a line
}

var errWithinLine = errors.New("a gzip member ends within a line, and another follows")

func (m *members) Read(p []byte) (int, error) {
	for {
		n, err := m.member.Read(p)
		if n > 0 {
			if m.within {
				return 0, errWithinLine
			}
			m.last = p[n-1]
		}
		if errors.Is(err, io.EOF) {
			m.within = m.last != '\n' && m.last != '\r'
			err = m.member.Reset(m.packed) // io.EOF: no other member
			m.member.Multistream(false)
		}
		if n > 0 || err != nil {
			return n, err
		}
	}
}

func wrongEncoding(line int, encoding string) error {
	return &FileError{
		Line:    line,
		Problem: "the text is " + encoding + ", not UTF-8",
		Hint:    "convert it: iconv -f " + encoding + " -t UTF-8 FILE | imagepurge enqueue -",
	}
}

// readFailed names what reading met.
func readFailed(line int, err error) error {
	var corrupt flate.CorruptInputError
	switch {
	case errors.Is(err, errWithinLine):
		return &FileError{Line: line, Problem: "a part of the gzip file ends within this line: put together of files of which one may be cut",
			Hint: "if it is one whole list, unpack it first: gzip -dc FILE | imagepurge enqueue -", Err: err}
	case errors.Is(err, io.ErrUnexpectedEOF):
		return &FileError{Line: line, Problem: "the data ends too soon: cut off on its way", Hint: "hand it over again", Err: err}
	case errors.Is(err, gzip.ErrChecksum), errors.Is(err, gzip.ErrHeader), errors.As(err, &corrupt):
		return &FileError{Line: line, Problem: "the gzip data is damaged", Hint: "hand it over again", Err: err}
	}
	return &FileError{Line: line, Problem: "read: " + err.Error(), Err: err}
}
