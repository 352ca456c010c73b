package term

import (
	"errors"
	"fmt"
	"io"
	"strings"
)

// ErrDeclined says that the question was answered with no, or with nothing.
var ErrDeclined = errors.New("not confirmed; nothing was changed")

// NeedYesError says that nobody is there to ask. It's wrong usage: exit 2.
type NeedYesError struct{ Question string }

func (e *NeedYesError) Error() string {
	return "this asks for confirmation, and there is no terminal to ask at; give --yes to go on without"
}

// longestAnswer bounds what is read up to a line end.
const longestAnswer = 1024

// Confirm asks on Err and reads one line of in, nothing beyond it: y or yes
// goes on, all else is ErrDeclined. With yes nothing is asked. Where in is no
// terminal, or the question would go to a file unseen, it's a *NeedYesError: a
// script neither hangs nor is refused in silence.
//
// It can't be interrupted while it waits for the answer: whoever catches
// SIGINT should do so from after the question on.
func Confirm(in io.Reader, out *Output, question string, yes, inIsTerminal bool) error {
	if yes {
		return nil
	}
	if !inIsTerminal || out.hidden {
		return &NeedYesError{Question: question}
	}
	if _, err := fmt.Fprintf(out.Err, "%s [y/N] ", visibleLines(question)); err != nil {
		return fmt.Errorf("ask for confirmation: %w", err)
	}
	answer, err := readLine(in)
	if err != nil {
		fmt.Fprintln(out.Err) // Ctrl-D leaves the cursor behind the question
		if !errors.Is(err, io.EOF) {
			return fmt.Errorf("read the answer: %w", err)
		}
	}
	switch strings.ToLower(strings.TrimSpace(answer)) {
	case "y", "yes":
		if err == nil {
			return nil
		}
	}
	return ErrDeclined
}

// readLine reads byte by byte: what stands behind the line isn't its to take.
func readLine(in io.Reader) (string, error) {
	var line []byte
	one := make([]byte, 1)
	for empty := 0; len(line) < longestAnswer && empty < 100; {
		n, err := in.Read(one)
		if n > 0 {
			empty = 0
			if one[0] == '\n' {
				return string(line), nil
			}
			line = append(line, one[0])
		} else {
			empty++
		}
		if err != nil {
			return string(line), err
		}
	}
	return "", nil // too long to be a yes
}
