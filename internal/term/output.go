// Package term is what commands print with: tables, JSON, numbers and times,
// progress, and the question before something destructive.
//
// Results go to Out, all else to Err. The package never looks at the clock for
// what it prints: instants are handed in, and Progress takes its Now. What
// comes from outside (names, messages of a remote API) is printed with its
// control characters made visible, so that it can't move the cursor, recolour
// the screen or turn the text around.
package term

import (
	"io"
	"os"

	"golang.org/x/term"
)

// Output is where a command prints.
type Output struct {
	Out, Err io.Writer
	// IsTerminal tells that Err is a terminal that can redraw a line and that
	// no CI watches: only then is there a moving bar.
	IsTerminal bool
	// Color tells whether text on Err may be coloured. Nothing on Out ever is:
	// it may go to a file while Err stays on the screen.
	Color bool

	size   func() (width, height int, err error) // of the terminal; nil: 80 columns
	hidden bool                                  // Err goes to a file, where no question is seen
}

// New looks at where stderr goes and at TERM, CI, NO_COLOR, CLICOLOR and
// CLICOLOR_FORCE. NO_COLOR (any value but the empty one) wins over
// CLICOLOR_FORCE.
func New(stdout, stderr io.Writer, getenv func(string) string) *Output {
	o := &Output{Out: stdout, Err: stderr}
	if f, ok := stderr.(*os.File); ok {
		fd := int(f.Fd())
		o.IsTerminal = term.IsTerminal(fd)
		o.hidden = !o.IsTerminal
		o.size = func() (int, int, error) { return term.GetSize(fd) }
	}
	o.decide(getenv)
	return o
}

// decide settles IsTerminal, which says so far what Err is, and Color.
func (o *Output) decide(getenv func(string) string) {
	if getenv("TERM") == "dumb" || set(getenv("CI")) {
		o.IsTerminal = false
	}
	switch {
	case getenv("NO_COLOR") != "":
		o.Color = false
	case set(getenv("CLICOLOR_FORCE")):
		o.Color = true
	default:
		o.Color = o.IsTerminal && getenv("CLICOLOR") != "0"
	}
}

// set tells a switch that is on: CI=false and CLICOLOR_FORCE=0 aren't.
func set(value string) bool { return value != "" && value != "0" && value != "false" }

// width is how many columns a line on Err may take.
func (o *Output) width() int {
	if o.size != nil {
		if w, _, err := o.size(); err == nil && w > 0 {
			return w
		}
	}
	return 80
}

// Style is how a word on Err looks where colour is allowed. It's never the only
// sign: the word itself says what it means.
type Style string

const (
	Good Style = "32" // green
	Warn Style = "33" // yellow
	Bad  Style = "31" // red
	Bold Style = "1"
)

// Paint returns text in a style for Err, or as it is without colour.
func (o *Output) Paint(s Style, text string) string {
	if !o.Color {
		return text
	}
	return "\x1b[" + string(s) + "m" + text + "\x1b[0m"
}
