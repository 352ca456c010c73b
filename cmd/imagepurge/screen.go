package main

import (
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/imagepurge/imagepurge/internal/term"
	"github.com/imagepurge/imagepurge/jobs"
	"github.com/imagepurge/imagepurge/jobs/purge"
	"github.com/imagepurge/imagepurge/jobs/worker"
)

// screen is stderr shared by a moving bar, log lines and notes.
type screen struct {
	out io.Writer
	now func() time.Time

	mu    sync.Mutex
	bar   *term.Bar
	total int64
	work  map[string]worker.Stats // by organisation
	since []moment
	said  map[string]string
	at    map[string]time.Time
}

// moment is how much was done at a time, for the rates.
type moment struct {
	at          time.Time
	calls, done int64
}

// rateOver is the time over which rates are reckoned.
const rateOver = 20 * time.Second

// idleEvery is the shortest time between two notes of what is waited for.
const idleEvery = 30 * time.Second

func newScreen(out *term.Output, now func() time.Time, total int64, every time.Duration) *screen {
	return &screen{
		out: out.Err, now: now, total: total,
		bar:  term.NewProgress(out, total, term.Options{Now: now, Every: every, Label: "customers", Verb: "ended"}),
		work: make(map[string]worker.Stats), said: make(map[string]string), at: make(map[string]time.Time),
	}
}

// Write lets a log handler print between two states of the bar.
func (s *screen) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.bar.Clear()
	return s.out.Write(p)
}

// say prints a line.
func (s *screen) say(format string, args ...any) { fmt.Fprintf(s, format+"\n", args...) }

// watch shows what an organisation's worker has done.
func (s *screen) watch(name string, st worker.Stats) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.work[name] = st
	var done, calls int64
	for _, w := range s.work {
		calls += int64(w.Calls)
		for _, n := range w.Finished {
			done += int64(n)
		}
	}
	now := s.now()
	s.since = append(s.since, moment{now, calls, done})
	for len(s.since) > 2 && now.Sub(s.since[0].at) > rateOver {
		s.since = s.since[1:]
	}
	p := term.Progress{Done: done, Total: max(s.total, done)}
	if first := s.since[0]; now.After(first.at) {
		minutes := now.Sub(first.at).Minutes()
		p.Rate = float64(calls-first.calls) / minutes
		if each := float64(done-first.done) / minutes; each > 0 {
			p.Left = time.Duration(float64(p.Total-done) / each * float64(time.Minute))
		}
	}
	p.Note = waitingNote(st, now)
	if st.InHand > 0 || done > 0 {
		s.bar.Update(p)
	}
	if st.InHand == 0 && p.Note != "" && p.Note != s.said[name] && now.Sub(s.at[name]) >= idleEvery {
		s.said[name], s.at[name] = p.Note, now
		s.bar.Clear()
		fmt.Fprintf(s.out, "%s: %s\n", name, p.Note)
	}
}

// first says whether an organisation is told something new.
func (s *screen) first(name, what string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.said[name] == what {
		return false
	}
	s.said[name] = what
	return true
}

func (s *screen) finish() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.bar.Finish()
}

// waitingNote says what a worker with nothing in hand waits for, and until when.
func waitingNote(st worker.Stats, now time.Time) string {
	switch {
	case st.DatabaseFail != nil || st.ClaimError != nil:
		return "the database fails"
	case now.Before(st.PausedUntil):
		return "over the limit (429): pauses until " + term.Time(st.PausedUntil, nil)
	case st.InHand > 0:
		return ""
	}
	return outlookNote(st.Outlook)
}

func outlookNote(o purge.Outlook) string {
	switch {
	case o.Paused:
		return fmt.Sprintf("paused by %s: %s", o.PausedBy, term.Visible(o.PauseReason))
	case o.Breaker != "":
		return fmt.Sprintf("breaker open since %s: %s (HTTP %d, code %s), next probe %s", term.Time(o.BreakerSince, nil), o.Breaker, o.BreakerStatus, o.BreakerCode, term.Time(o.NextProbeAt, nil))
	case !o.NoClaimsUntil.IsZero():
		return "the database server changed: settles until " + term.Time(o.NoClaimsUntil, nil)
	case o.Leased:
		return "waits for another worker's customers"
	case o.Waiting:
		return "waits for customers that settle or back off, next " + o.NextDue.UTC().Format("15:04:05 UTC")
	case o.Blocked:
		return "what is left is paused"
	case o.Ready:
		return "work is ready"
	case !o.NextDue.IsZero():
		return "what is left waits for the time that it was given, next " + term.Time(o.NextDue, nil)
	case o.Now.IsZero():
		return ""
	}
	return "nothing to do"
}

// ended counts finished tasks.
func ended(st worker.Stats) (n int) {
	for _, k := range st.Finished {
		n += k
	}
	return n
}

// summary is one line of what a run has come to.
func summary(name string, st worker.Stats) string {
	return fmt.Sprintf("%s: %s customers ended (%s completed, %s failed, %s in review, %s cancelled), %s images deleted, %s calls, %s over the limit",
		name, term.Number(int64(ended(st))), term.Number(int64(st.Finished[jobs.Completed])), term.Number(int64(st.Finished[jobs.Failed])),
		term.Number(int64(st.Finished[jobs.Review])), term.Number(int64(st.Finished[jobs.Cancelled])), term.Number(int64(st.ImagesDeleted)),
		term.Number(int64(st.Calls)), term.Number(int64(st.OverLimit)))
}
