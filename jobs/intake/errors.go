package intake

import (
	"errors"
	"fmt"
)

// ErrEmpty is within the *FileError for a file without a single record.
var ErrEmpty = errors.New("no customer ids")

// LineError tells of one bad line, behind which reading may go on. Its text
// never holds anything of the line.
type LineError struct {
	Line   int    // where the record begins
	Reason string // "empty", "not a number", …
	// Raw is the whole record as it stands in the file, at most 1 MiB and its line
	// end; a record without one has none here, so that it stays bad in the file of
	// rejects. It is customers' data: for that file only, never for a log, a
	// message or the database.
	Raw []byte `json:"-"`
}

func (e *LineError) Error() string { return fmt.Sprintf("line %d: %s", e.Line, e.Reason) }

// GoString keeps Raw out of what %#v prints.
func (e *LineError) GoString() string { return fmt.Sprintf("&intake.LineError{%q}", e.Error()) }

// FileError says why a file can't be read, or not any further.
type FileError struct {
	Line    int    // 0: the file as a whole
	Problem string // what is wrong, without any of the customers' data
	Hint    string // what to type or do; may be empty
	Err     error  // ErrEmpty, or what reading met; may be nil
}

func (e *FileError) Error() string {
	text := e.Problem
	if e.Line > 0 {
		text = fmt.Sprintf("line %d: %s", e.Line, text)
	}
	if e.Hint != "" {
		text += "; " + e.Hint
	}
	return text
}

func (e *FileError) Unwrap() error { return e.Err }

func emptyFile() error {
	return &FileError{Problem: "the file has no customer ids", Err: ErrEmpty}
}
