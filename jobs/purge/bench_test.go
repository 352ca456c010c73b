package purge_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/imagepurge/imagepurge/jobs"
	"github.com/imagepurge/imagepurge/jobs/clearance"
	"github.com/imagepurge/imagepurge/jobs/purge"
)

// bench drives one task's machines by hand: it grants every slot, accepts every
// write, and gives the answers that a test names.
type bench struct {
	t   *testing.T
	cfg purge.Config
	rec purge.Record
	now time.Time
	m   *purge.Machine
	e   purge.Effect // under way

	calls []string // "list", "delete 2,1"
	last  purge.Write
}

func newBench(t *testing.T, change ...func(*bench)) *bench {
	b := &bench{
		t: t, now: time.Date(2026, 1, 1, 1, 0, 0, 0, time.UTC),
		cfg: purge.Config{
			RequestTimeout: 30 * time.Second, Settle: 2 * time.Minute, ListingLag: 30 * time.Second, ViewMaxAge: 10 * time.Second,
			MaxAttempts: 10, BackoffBase: 5 * time.Second, BackoffMax: time.Hour, Batching: jobs.SingleDelete,
			Random: func() float64 { return 0 },
		},
		rec: purge.Record{
			Task: 7, Owner: "me", Customer: jobs.Customer{ID: 564703420, Source: "INSTORE"},
			Mode: jobs.Verified, Scope: jobs.Snapshot,
		},
	}
	for _, c := range change {
		c(b)
	}
	return b.claim()
}

// claim hands the task to a new machine, which knows the rows alone.
func (b *bench) claim() *bench {
	b.rec.Epoch++
	rec := b.rec
	rec.Images = slices.Clone(rec.Images)
	b.m = purge.New(b.cfg, rec)
	b.e = b.m.Step(b.now, purge.Claimed{})
	return b
}

func (b *bench) step(f purge.Fact) { b.e = b.m.Step(b.now, f) }

func (b *bench) apply(w purge.Write) {
	b.t.Helper()
	if w.Task != b.rec.Task || w.Epoch != b.rec.Epoch || w.Owner != b.rec.Owner {
		b.t.Fatalf("a write for task %d, %s, epoch %d", w.Task, w.Owner, w.Epoch)
	}
	for _, im := range w.Images {
		if i := slices.IndexFunc(b.rec.Images, func(o purge.Image) bool { return o.Key == im.Key }); i >= 0 {
			b.rec.Images[i] = im
		} else {
			b.rec.Images = append(b.rec.Images, im)
		}
	}
	b.rec.Counters, b.rec.ReviewAs = w.Counters, w.ReviewAs
	b.last = w
}

// feed goes on, with these answers, until the claim has ended or an answer is
// missing. It returns the last write.
func (b *bench) feed(answers ...jobs.Answer) purge.Write {
	b.t.Helper()
	for {
		b.now = b.now.Add(100 * time.Millisecond)
		switch e := b.e.(type) {
		case purge.AskSlot:
			b.step(purge.SlotGranted{})
		case purge.Save:
			b.apply(e.Write)
			b.step(purge.Written{})
		case purge.Intend:
			b.apply(e.Write)
			b.step(purge.IntentCommitted{Clearance: b.permit(e.Write)})
		case purge.List:
			if len(answers) == 0 {
				return b.last
			}
			b.calls = append(b.calls, "list")
			b.step(purge.Listed{Answer: b.answered(answers[0])})
			answers = answers[1:]
		case purge.Send:
			if len(answers) == 0 {
				return b.last
			}
			var at []string
			for _, t := range e.Clearance.Intent().Targets {
				at = append(at, fmt.Sprint(t.Position))
			}
			b.calls = append(b.calls, "delete "+strings.Join(at, ","))
			b.step(purge.Answered{Answer: b.answered(answers[0])})
			answers = answers[1:]
		case purge.End:
			b.apply(e.Write)
			b.step(purge.Written{})
			if !b.m.Done() || b.e != nil {
				b.t.Fatal("the machine goes on after its end")
			}
			if len(answers) > 0 {
				b.t.Fatalf("it ended %s %s with %d answers left, after %v", e.Write.Kind, e.Write.Outcome, len(answers), b.calls)
			}
			return e.Write
		default:
			b.t.Fatalf("effect %T with %d answers left, after %v", b.e, len(answers), b.calls)
		}
	}
}

func (b *bench) permit(w purge.Write) *clearance.Clearance {
	return clearance.Issue(clearance.Intent{
		Task: w.Task, Epoch: w.Epoch, Customer: w.Customer, Targets: w.Targets, BeganAt: b.now, Margin: jobs.SendMargin,
	})
}

// unsent as an answer's message says that nothing went to the customer's address.
const unsent = "unsent"

func (b *bench) answered(a jobs.Answer) jobs.Answer {
	if a.Code != "dns" && a.Class != jobs.ClassNotSent && a.Message != unsent {
		a.SentAt = b.now
	}
	b.now = b.now.Add(300 * time.Millisecond)
	a.AnsweredAt = b.now
	return a
}

// rows is what the rows say, in the order in which they were seen.
func (b *bench) rows() string {
	var out []string
	for _, im := range b.rec.Images {
		s := fmt.Sprintf("%d:%s", images[im.Key], im.State)
		if im.Evidence != "" {
			s += "/" + string(im.Evidence)
		}
		if im.Missing {
			s += "/missing"
		}
		out = append(out, s)
	}
	return strings.Join(out, " ")
}

func (b *bench) wantRows(want string) {
	b.t.Helper()
	if got := b.rows(); got != want {
		b.t.Errorf("rows are\n%s, want\n%s", got, want)
	}
}

// wantBack demands that the last write gave the task back.
func (b *bench) wantBack(waiting jobs.Waiting, after time.Duration) {
	b.t.Helper()
	if b.last.Kind != purge.WriteGiveBack || b.last.Waiting != waiting || b.last.After != after {
		b.t.Errorf("the last write is %s %q after %v (%s), want give_back %q after %v", b.last.Kind, b.last.Waiting, b.last.After, b.last.Outcome, waiting, after)
	}
}

// wantEnd demands that the last write finished the task.
func (b *bench) wantEnd(o jobs.Outcome) {
	b.t.Helper()
	state, _ := jobs.StateOf(o)
	if b.last.Kind != purge.WriteFinish || b.last.Outcome != o || b.last.State != state {
		b.t.Errorf("the last write is %s %s %q, want finish %s %q", b.last.Kind, b.last.State, b.last.Outcome, state, o)
	}
}

func (b *bench) wantRest(r purge.Rest, d time.Duration) {
	b.t.Helper()
	if b.last.Rest != r || b.last.RestFor != d {
		b.t.Errorf("the customer's rest: %s for %v, want %s for %v", b.last.Rest, b.last.RestFor, r, d)
	}
}

func (b *bench) wantCalls(want ...string) {
	b.t.Helper()
	if !slices.Equal(b.calls, want) {
		b.t.Errorf("calls are %v, want %v", b.calls, want)
	}
}

func listed(ids ...int) jobs.Answer {
	a := jobs.Answer{Class: jobs.ClassListed, HTTPStatus: 200}
	for _, i := range ids {
		a.Images = append(a.Images, keys[i])
	}
	return a
}

var (
	deleted  = answer(jobs.ClassDeleted, 200, "")
	noImage  = answer(jobs.ClassNoImage, 200, "8078")
	busy     = answer(jobs.ClassNotRun, 200, "521")
	noToken  = answer(jobs.ClassNotRun, 401, jobs.CodeTokenExpired)
	dns      = answer(jobs.ClassNotRun, 0, "dns")
	timeout  = answer(jobs.ClassUnknown, 0, "timeout")
	tooMany  = answer(jobs.ClassOverLimit, 429, "429")
	refused  = answer(jobs.ClassRefused, 401, "401")
	badCall  = answer(jobs.ClassInvalid, 400, "400")
	strange  = answer(jobs.ClassUnexpected, 418, "418")
	erased   = answer(jobs.ClassErased, 200, "8015")
	notFound = answer(jobs.ClassNotFound, 200, "8015")
	merged   = answer(jobs.ClassMerged, 200, "8069")
	notSent  = answer(jobs.ClassNotSent, 0, "late")
)

func named(ids ...int) func(*bench) {
	return func(b *bench) {
		for _, i := range ids {
			b.rec.Named = append(b.rec.Named, keys[i])
		}
	}
}

func mode(m jobs.Mode) func(*bench) { return func(b *bench) { b.rec.Mode = m } }

func batching(b *bench) { b.cfg.Batching = jobs.BatchDelete }

func untilEmpty(b *bench) { b.rec.Scope = jobs.UntilEmpty }

func probe(b *bench) { b.rec.Probe = true }
