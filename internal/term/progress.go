package term

import (
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf8"
)

// redrawEvery bounds how often a moving bar is drawn.
const redrawEvery = 100 * time.Millisecond

// Progress is how far a long work is.
type Progress struct {
	Done  int64
	Total int64         // 0: the total that NewProgress was told
	Rate  float64       // calls a minute; not shown when 0 or less
	Note  string        // what else is to say: "waiting for the window"
	Left  time.Duration // to the end; not shown when 0 or less
}

// Options of a progress. The zero value speaks of purged customers.
type Options struct {
	Now   func() time.Time // nil: time.Now
	Every time.Duration    // between the lines where there is no terminal; 0: 10s
	Label string           // what is counted: "customers"
	Verb  string           // what happens to them: "purged"
	Unit  string           // of the rate: "calls/min"
}

// Bar shows progress on Err, never on Out: one line that moves on a terminal,
// else a line every so often. It's for one goroutine.
//
// It's not schollz/progressbar: that one derives rate and time left from its
// own time.Now, where ours come from the database's clock and know of windows
// and rate limits; it draws from goroutines, and its tests can't be told a time.
type Bar struct {
	out   *Output
	o     Options
	total int64
	last  Progress
	any   bool      // there was an update
	shown bool      // last has been printed
	at    time.Time // when something was printed last, or the start
	drawn int       // columns of the line that stands on the terminal
	ended bool
}

// NewProgress starts a progress at 0 of total (0: not known) and prints
// nothing yet.
func NewProgress(out *Output, total int64, o Options) *Bar {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Every <= 0 {
		o.Every = 10 * time.Second
	}
	if o.Label == "" {
		o.Label = "customers"
	}
	if o.Verb == "" {
		o.Verb = "purged"
	}
	if o.Unit == "" {
		o.Unit = "calls/min"
	}
	return &Bar{out: out, o: o, total: total, at: o.Now()}
}

// Update shows p, unless something was shown a moment ago.
func (b *Bar) Update(p Progress) {
	if b.ended {
		return
	}
	if p.Total == 0 {
		p.Total = b.total
	}
	first := !b.any
	b.last, b.any, b.shown = p, true, false
	now := b.o.Now()
	since := now.Sub(b.at)
	switch {
	case b.out.IsTerminal && (first || since >= redrawEvery):
		b.at = now
		b.draw(b.moving())
	case !b.out.IsTerminal && since >= b.o.Every:
		b.at = now
		b.print(b.text(true))
	}
}

// Clear takes the moving line off the terminal, so that something else can be
// printed; the next Update draws it again. Elsewhere it does nothing.
func (b *Bar) Clear() {
	if b.drawn > 0 {
		b.draw("")
		b.at = time.Time{}
	}
}

// Finish prints where it ended and ends the line. Further calls do nothing.
func (b *Bar) Finish() {
	if b.ended {
		return
	}
	b.ended = true
	if !b.any || (b.shown && !b.out.IsTerminal) {
		return
	}
	b.draw("")
	b.print(b.text(false))
}

func (b *Bar) print(line string) {
	_, _ = io.WriteString(b.out.Err, line+"\n") // progress that can't be shown stops no work
	b.shown = true
}

// draw puts line in place of the one that stands there, with blanks over what
// is left of it: that works on terminals without escapes too.
func (b *Bar) draw(line string) {
	n := utf8.RuneCountInString(line)
	if n == 0 && b.drawn == 0 {
		return
	}
	text := "\r" + line + strings.Repeat(" ", max(0, b.drawn-n))
	if n < b.drawn {
		text += "\r" + line
	}
	_, _ = io.WriteString(b.out.Err, text)
	b.drawn = n
	b.shown = n > 0
}

// text is a line as a log has it:
// purged 1,200 of 5,000 customers (24%), 680 calls/min, 12m left
func (b *Bar) text(underway bool) string {
	p := b.last
	var s strings.Builder
	if p.Total > 0 {
		fmt.Fprintf(&s, "%s %s of %s %s (%s)", b.o.Verb, Number(p.Done), Number(p.Total), b.o.Label, Percent(p.Done, p.Total))
	} else {
		fmt.Fprintf(&s, "%s %s %s", b.o.Verb, Number(p.Done), b.o.Label)
	}
	if p.Rate > 0 {
		fmt.Fprintf(&s, ", %s %s", Rate(p.Rate), b.o.Unit)
	}
	if underway && p.Left > 0 {
		fmt.Fprintf(&s, ", %s left", Duration(p.Left))
	}
	if p.Note != "" {
		s.WriteString(", " + Visible(p.Note))
	}
	return s.String()
}

// moving is the line on a terminal: a bar where there is room for one, cut to
// the terminal's width, as a line that wraps can't be drawn over.
func (b *Bar) moving() string {
	text := b.text(true)
	room := b.out.width() - 1
	const least, most = 10, 30
	if cells := min(most, room-utf8.RuneCountInString(text)-3); b.last.Total > 0 && cells >= least {
		full := int(float64(cells) * min(1, max(0, float64(b.last.Done)/float64(b.last.Total))))
		return "[" + strings.Repeat("#", full) + strings.Repeat("-", cells-full) + "] " + text
	}
	if r := []rune(text); len(r) > room {
		return string(r[:room])
	}
	return text
}
