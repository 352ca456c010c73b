package settings

import (
	"fmt"
	"strings"
)

// Fault is one thing that is wrong with the settings.
type Fault struct {
	Key     string // the variable or the file's key, as it was given
	Form    string // the right form, with an example; empty where there is none
	Place   string // "environment", "FILE:line", "command line" or "default"
	Problem string // holds no secret
}

func (f Fault) String() string {
	s := fmt.Sprintf("%s (%s): %s", f.Key, f.Place, f.Problem)
	if f.Form != "" {
		s += "; give " + f.Form
	}
	return s
}

// Error is all that is wrong with the settings, at once.
type Error struct {
	Faults []Fault
	Hint   string // what to do instead; may be empty
}

// Error has a fault a line, and the hint on a line of its own.
func (e *Error) Error() string {
	var b strings.Builder
	between := ""
	if len(e.Faults) > 1 {
		fmt.Fprintf(&b, "%d faults in the settings:", len(e.Faults))
		between = "\n  "
	}
	for _, f := range e.Faults {
		b.WriteString(between + f.String())
	}
	if e.Hint != "" {
		b.WriteString("\n" + e.Hint)
	}
	return b.String()
}
