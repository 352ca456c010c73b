package term

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// stage is an Output with what was printed, and a clock.
type stage struct {
	out, err bytes.Buffer
	now      time.Time
	columns  int
}

func newStage() *stage {
	return &stage{now: time.Date(2026, 11, 23, 1, 0, 0, 0, time.UTC), columns: 120}
}

func (s *stage) output(terminal bool) *Output {
	return &Output{Out: &s.out, Err: &s.err, IsTerminal: terminal, size: func() (int, int, error) { return s.columns, 24, nil }}
}

func (s *stage) clock() time.Time { return s.now }

func (s *stage) check(t *testing.T, want string) {
	t.Helper()
	if diff := cmp.Diff(s.err.String(), want); diff != "" {
		t.Errorf("stderr (-got +want)\n%s", diff)
	}
	if s.out.Len() > 0 {
		t.Errorf("stdout got %q", s.out.String())
	}
}

func TestProgressInALog(t *testing.T) {
	s := newStage()
	b := NewProgress(s.output(false), 5000, Options{Now: s.clock})
	for i := range 25 {
		b.Update(Progress{Done: int64(i) * 120, Rate: 679.7, Left: 12*time.Minute + 13*time.Second})
		s.now = s.now.Add(time.Second)
	}
	b.Update(Progress{Done: 5000, Rate: 680, Note: "3 in review\x1b[31m"})
	b.Clear()
	b.Finish()
	b.Finish()
	b.Update(Progress{Done: 1})
	s.check(t, `purged 1,200 of 5,000 customers (24%), 680 calls/min, 12m left
purged 2,400 of 5,000 customers (48%), 680 calls/min, 12m left
purged 5,000 of 5,000 customers (100%), 680 calls/min, 3 in review\x1b[31m
`)
}

func TestProgressInALogEndsWithoutRepeating(t *testing.T) {
	s := newStage()
	b := NewProgress(s.output(false), 0, Options{Now: s.clock, Every: time.Minute, Label: "bytes", Verb: "read", Unit: "bytes/min"})
	s.now = s.now.Add(time.Minute)
	b.Update(Progress{Done: 10, Rate: 2.5})
	b.Finish()
	s.check(t, "read 10 bytes, 2.5 bytes/min\n")

	s = newStage()
	NewProgress(s.output(false), 5, Options{Now: s.clock}).Finish()
	s.check(t, "")
}

func TestProgressOnATerminal(t *testing.T) {
	s := newStage()
	b := NewProgress(s.output(true), 5000, Options{Now: s.clock})
	b.Update(Progress{Done: 1200, Rate: 680, Left: 12 * time.Minute})
	s.now = s.now.Add(50 * time.Millisecond)
	b.Update(Progress{Done: 1201}) // too soon after the last
	s.now = s.now.Add(50 * time.Millisecond)
	b.Update(Progress{Done: 2500, Total: 2500})
	b.Finish()
	first := "[#######-----------------------] purged 1,200 of 5,000 customers (24%), 680 calls/min, 12m left"
	second := "[##############################] purged 2,500 of 2,500 customers (100%)"
	s.check(t, "\r"+first+
		"\r"+second+strings.Repeat(" ", len(first)-len(second))+"\r"+second+
		"\r"+strings.Repeat(" ", len(second))+"\r"+
		"purged 2,500 of 2,500 customers (100%)\n")
}

func TestProgressFitsTheTerminal(t *testing.T) {
	const text = "purged 1,200 of 5,000 customers (24%)"
	for columns, want := range map[int]string{
		200: "[#######-----------------------] " + text,
		60:  "[####---------------] " + text, // fills 59: a full line would wrap
		51:  "[##--------] " + text,
		50:  text,
		21:  "purged 1,200 of 5,00",
		0:   "[#######-----------------------] " + text, // not known: 80
	} {
		s := newStage()
		s.columns = columns
		b := NewProgress(s.output(true), 5000, Options{Now: s.clock})
		b.Update(Progress{Done: 1200})
		if got := s.err.String(); got != "\r"+want {
			t.Errorf("%d columns: %q, want %q", columns, got, want)
		}
	}
}

func TestProgressClearsTheLine(t *testing.T) {
	s := newStage()
	s.columns = 40
	b := NewProgress(s.output(true), 0, Options{Now: s.clock})
	b.Update(Progress{Done: 1})
	b.Clear()
	b.Clear()
	s.err.WriteString("a log line\n")
	b.Update(Progress{Done: 2}) // at once, as nothing stands there
	line := "purged 1 customers"
	s.check(t, "\r"+line+"\r"+strings.Repeat(" ", len(line))+"\ra log line\n\rpurged 2 customers")
}

func TestConfirm(t *testing.T) {
	var needYes *NeedYesError
	tests := []struct {
		name, in      string
		yes, terminal bool
		want          error
		wantErr       string
	}{
		{"y", "y\n", false, true, nil, "cancel\nbatch 7\\x1b? [y/N] "},
		{"Yes with CRLF", "Yes \r\n", false, true, nil, "cancel\nbatch 7\\x1b? [y/N] "},
		{"no", "n\n", false, true, ErrDeclined, "cancel\nbatch 7\\x1b? [y/N] "},
		{"nothing", "\n", false, true, ErrDeclined, "cancel\nbatch 7\\x1b? [y/N] "},
		{"something else", "yeah\n", false, true, ErrDeclined, "cancel\nbatch 7\\x1b? [y/N] "},
		{"end of input", "", false, true, ErrDeclined, "cancel\nbatch 7\\x1b? [y/N] \n"},
		{"an answer cut off", "y", false, true, ErrDeclined, "cancel\nbatch 7\\x1b? [y/N] \n"},
		{"an endless answer", strings.Repeat("y", 5000), false, true, ErrDeclined, "cancel\nbatch 7\\x1b? [y/N] "},
		{"--yes at a terminal", "", true, true, nil, ""},
		{"--yes in a script", "", true, false, nil, ""},
		{"a script", "y\n", false, false, &NeedYesError{}, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := newStage()
			err := Confirm(strings.NewReader(tt.in), s.output(true), "cancel\nbatch 7\x1b?", tt.yes, tt.terminal)
			if errors.As(tt.want, &needYes) {
				if !errors.As(err, &needYes) || !strings.Contains(err.Error(), "--yes") {
					t.Errorf("got %v, want a *NeedYesError that names --yes", err)
				}
			} else if !errors.Is(err, tt.want) {
				t.Errorf("got %v, want %v", err, tt.want)
			}
			s.check(t, tt.wantErr)
		})
	}
}

func TestConfirmTakesOneLineOnly(t *testing.T) {
	in := strings.NewReader("yes\nrest")
	if err := Confirm(in, newStage().output(true), "?", false, true); err != nil {
		t.Fatal(err)
	}
	if rest, _ := io.ReadAll(in); string(rest) != "rest" {
		t.Errorf("left over: %q", rest)
	}
}

func TestConfirmWhereNobodySees(t *testing.T) {
	o := newStage().output(false)
	o.hidden = true
	var needYes *NeedYesError
	if err := Confirm(strings.NewReader("y\n"), o, "?", false, true); !errors.As(err, &needYes) {
		t.Errorf("stderr is a file: got %v, want a *NeedYesError", err)
	}
	broken := errors.New("gone")
	if err := Confirm(iotest.ErrReader(broken), newStage().output(true), "?", false, true); !errors.Is(err, broken) {
		t.Errorf("got %v, want %v", err, broken)
	}
}
