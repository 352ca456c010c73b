package purge_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/imagepurge/imagepurge/jobs"
	"github.com/imagepurge/imagepurge/jobs/purge"
)

// What the writes say, word for word. Other tests look at states and outcomes; these
// lived on a field that was left out.

// timeless takes the times out of calls, and demands that they are there where the call
// was sent and answered.
func timeless(t *testing.T, calls []jobs.Call) (out []jobs.Call) {
	t.Helper()
	for _, c := range calls {
		answered := c.Class != ""
		if c.AnsweredAt.IsZero() == answered || c.SentAt.IsZero() == (answered && c.Class != jobs.ClassNotSent) || c.AnsweredAt.Before(c.SentAt) {
			t.Errorf("call %d was sent at %v and answered at %v", c.Sequence, c.SentAt, c.AnsweredAt)
		}
		c.SentAt, c.AnsweredAt = time.Time{}, time.Time{}
		out = append(out, c)
	}
	return out
}

func TestEveryCallIsRecordedWhole(t *testing.T) {
	list := func(n int, shown ...int) jobs.Call {
		return jobs.Call{
			Sequence: n, Kind: jobs.ListCall, Position: -1, Class: jobs.ClassListed, HTTPStatus: 200, ImagesSeen: len(shown), Shown: listed(shown...).Images,
		}
	}
	intended := func(n, position, image int) jobs.Call {
		return jobs.Call{Sequence: n, Kind: jobs.DeleteCall, Position: position, Key: keys[image], ImagesSeen: -1, Targets: 1}
	}
	answered := func(c jobs.Call, a jobs.Answer) jobs.Call {
		c.Class, c.HTTPStatus, c.Code = a.Class, a.HTTPStatus, a.Code
		return c
	}
	b := newBench(t, named(1, 2))
	want := func(name string, w purge.Write, calls ...jobs.Call) {
		t.Helper()
		if d := cmp.Diff(calls, timeless(t, w.Calls)); d != "" {
			t.Errorf("%s (-want +got):\n%s", name, d)
		}
		if w.Customer != b.rec.Customer {
			t.Errorf("%s is for the customer %+v", name, w.Customer)
		}
	}
	w := until[purge.Save](b, listed(1, 2, 3)).Write
	want("the first listing", w, list(1, 1, 2, 3))
	if e := until[purge.Intend](b); true {
		want("the first intent", e.Write, intended(2, 1, 2))
	}
	w = until[purge.Intend](b, deleted).Write
	want("an answer and the next intent", w, answered(intended(2, 1, 2), deleted), intended(3, 0, 1))
	w = until[purge.Save](b, noImage).Write
	want("an index without an image", w, answered(intended(3, 0, 1), noImage))
	if im := w.Images[0]; len(w.Images) != 1 || !im.AnsweredAt.Equal(w.Calls[0].AnsweredAt) || im.HTTPStatus != 200 || im.Code != "8078" {
		t.Errorf("its rows are %+v", w.Images)
	}
	until[purge.Intend](b, listed(1, 3))
	b.claim()
	if e := until[purge.List](b); e.Customer != b.rec.Customer {
		t.Errorf("the customer %+v is listed", e.Customer)
	}
	unknown := answered(jobs.Call{Sequence: 5, Kind: jobs.ListCall, Position: -1, ImagesSeen: -1}, timeout) // the intent before was never committed
	w = until[purge.End](b, timeout).Write
	want("a listing without an answer", w, unknown)
	if w.Code != "timeout" || w.Message != timeout.Message || w.HTTPStatus != 0 {
		t.Errorf("the fault is %q %q %d", w.Code, w.Message, w.HTTPStatus)
	}
}

// A batch is one call with all its indexes, and the highest names it.
func TestABatchIsOneCall(t *testing.T) {
	b := newBench(t, batching)
	w := until[purge.Intend](b, listed(1, 2, 3)).Write
	if c := w.Calls[0]; c.Targets != 3 || c.Position != 2 || c.Key != keys[3] {
		t.Errorf("the intent's call is %+v", c)
	}
	w = until[purge.End](b, deleted).Write
	if c := w.Calls[0]; c.Targets != 3 || c.Position != 2 || c.Key != keys[3] || c.Class != jobs.ClassDeleted || len(w.Calls) != 1 {
		t.Errorf("the calls are %+v", w.Calls)
	}
}

// A call that did not leave stands once, and says when it was given up.
func TestAWithdrawnCallStandsOnce(t *testing.T) {
	for name, before := range map[string][]jobs.Answer{"the first delete": {listed(1, 2)}, "a later one": {listed(1, 2), deleted}} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			until[purge.Intend](b, before...)
			b.step(purge.WriteFailed{})
			w := until[purge.End](b).Write
			var got []jobs.Class
			for i, c := range w.Calls {
				got = append(got, c.Class)
				if c.AnsweredAt.IsZero() || i > 0 && c.Sequence != w.Calls[i-1].Sequence+1 {
					t.Errorf("call %+v", c)
				}
			}
			want := []jobs.Class{jobs.ClassDeleted, jobs.ClassNotSent}[2-len(before):]
			if d := cmp.Diff(want, got); d != "" {
				t.Errorf("the calls (-want +got):\n%s", d)
			}
		})
	}
}

// A listing that shows what the last one showed writes no row again.
func TestRowsThatHaveNotChangedAreNotWritten(t *testing.T) {
	b := newBench(t, named(1))
	b.feed(listed(1, 2), busy)
	b.claim()
	if w := until[purge.Save](b, listed(1, 2)).Write; len(w.Images) != 0 {
		t.Errorf("it writes %+v", w.Images)
	}
	if w := until[purge.Save](b, noImage).Write; len(w.Images) != 1 {
		t.Errorf("an answer writes %+v", w.Images)
	}
}

// A slot is asked for by what the call is: the budget serves deletes first, then
// verifying listings, and counts what a view still needs.
func TestSlots(t *testing.T) {
	b := newBench(t, named(1, 2))
	slot := func(want jobs.Slot, answers ...jobs.Answer) {
		t.Helper()
		got := until[purge.AskSlot](b, answers...).Slot
		if got.ViewAt.IsZero() == (want.Kind == jobs.SlotDelete) {
			t.Errorf("the view of %+v", got)
		}
		if got.ViewAt = (time.Time{}); got != want {
			t.Errorf("slot %+v, want %+v", got, want)
		}
		b.step(purge.SlotGranted{})
	}
	list, verify := jobs.Slot{Kind: jobs.SlotList}, jobs.Slot{Kind: jobs.SlotVerify}
	left := func(n int) jobs.Slot { return jobs.Slot{Kind: jobs.SlotDelete, Left: n} }
	slot(list)
	slot(list, tooMany)
	slot(list, noToken)
	slot(left(2), listed(1, 2, 3))
	slot(left(1), deleted)
	slot(verify, noImage)
	slot(left(1), listed(1, 3))
	slot(verify, deleted)
	slot(verify, tooMany)
	slot(verify, noToken)
	until[purge.End](b, listed(3))

	b = newBench(t, mode(jobs.Paranoid))
	slot(list)
	slot(left(2), listed(1, 2))
	slot(verify, deleted)
	slot(left(1), listed(1))
	slot(list, tooMany)
}

// A fault that was overcome is no part of a good end.
func TestAnEndInSuccessTellsNoFault(t *testing.T) {
	for name, c := range map[string]struct {
		change  func(*bench)
		answers []jobs.Answer
		want    jobs.Outcome
	}{
		"images deleted": {named(1), []jobs.Answer{listed(1), noImage, listed(1), deleted, listed()}, jobs.ImagesDeleted},
		"no images":      {func(*bench) {}, []jobs.Answer{tooMany, listed()}, jobs.NoImages},
		"already absent": {named(9), []jobs.Answer{tooMany, listed(1)}, jobs.AlreadyAbsent},
		"a dry run":      {func(b *bench) { b.rec.DryRun = true }, []jobs.Answer{tooMany, listed(1)}, jobs.DryRun},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, c.change)
			b.feed(c.answers...)
			b.wantEnd(c.want)
			if b.last.Code != "" || b.last.Message != "" || b.last.HTTPStatus != 0 {
				t.Errorf("it tells %q %q %d", b.last.Code, b.last.Message, b.last.HTTPStatus)
			}
		})
	}
}

// An end that an earlier claim led to tells the fault that was met last, and no
// success after it.
func TestAnEndTellsTheFaultBefore(t *testing.T) {
	b := newBench(t, func(b *bench) {
		at := func(n int) time.Time { return b.now.Add(time.Duration(n) * time.Minute) }
		b.rec.Listed, b.rec.Found, b.rec.Attempts = true, 4, b.cfg.MaxAttempts
		b.rec.Images = []purge.Image{
			{Key: keys[1], Position: 0, State: jobs.Planned, AnsweredAt: at(2), HTTPStatus: 502, Code: "502"},
			{Key: keys[2], Position: 1, State: jobs.Planned, AnsweredAt: at(3), HTTPStatus: 503, Code: "503"},
			{Key: keys[3], Position: 2, State: jobs.Planned, AnsweredAt: at(1), HTTPStatus: 500, Code: "500"},
			{Key: keys[4], Position: 3, State: jobs.Deleted, Evidence: jobs.ByAnswer, AnsweredAt: at(4), HTTPStatus: 200},
		}
	})
	b.feed(listed(1, 2, 3))
	b.wantEnd(jobs.AttemptsExhausted)
	if b.last.Code != "503" || b.last.HTTPStatus != 503 {
		t.Errorf("it tells %q %d, want 503", b.last.Code, b.last.HTTPStatus)
	}
}

// What the breaker is told.
func TestBreakerIsToldWhatWasRefused(t *testing.T) {
	wrong := answer(jobs.ClassRefused, 200, jobs.CodeWrongOrganisation)
	for _, c := range []struct {
		name    string
		change  func(*bench)
		answers []jobs.Answer
		want    purge.Breaker
	}{
		{"a listing", func(*bench) {}, []jobs.Answer{refused}, purge.Breaker{Reason: "refused", Kind: jobs.ListCall, HTTPStatus: 401, Code: "401"}},
		{"a delete", func(*bench) {}, []jobs.Answer{listed(1), refused}, purge.Breaker{Reason: "refused", Kind: jobs.DeleteCall, HTTPStatus: 401, Code: "401"}},
		{"another organisation's images", func(*bench) {}, []jobs.Answer{wrong}, purge.Breaker{
			Reason: jobs.CodeWrongOrganisation, Kind: jobs.ListCall, HTTPStatus: 200, Code: jobs.CodeWrongOrganisation,
		}},
		{"nobody's images", func(b *bench) { b.rec.Probe, b.rec.Foreign = true, true }, []jobs.Answer{listed()}, purge.Breaker{
			Reason: jobs.CodeWrongOrganisation, Kind: jobs.ListCall, Code: jobs.CodeWrongOrganisation,
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBench(t, c.change)
			b.feed(c.answers...)
			if d := cmp.Diff(&c.want, b.last.Breaker); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
			if b.last.Code != c.want.Code || b.last.HTTPStatus != c.want.HTTPStatus || b.last.Message == "" {
				t.Errorf("the task tells %q %q %d", b.last.Code, b.last.Message, b.last.HTTPStatus)
			}
		})
	}
	t.Run("the third refusal is an attempt", func(t *testing.T) {
		b := newBench(t, func(b *bench) { b.rec.Refusals = jobs.MaxRepeats - 1 })
		b.feed(refused)
		b.wantEnd(jobs.UnexpectedResponse)
		if b.last.Counters.Attempts != 1 {
			t.Errorf("%d attempts, want 1", b.last.Counters.Attempts)
		}
	})
}

// Only a probe's call closes the breaker, and only one whose answer says that calls
// are accepted.
func TestWhatPassesNothing(t *testing.T) {
	for _, a := range []jobs.Answer{busy, timeout, tooMany, refused, notSent} {
		t.Run("a probe's listing: "+string(a.Class), func(t *testing.T) {
			b := newBench(t, probe)
			if b.feed(a); b.last.Passed != "" {
				t.Errorf("passed %q", b.last.Passed)
			}
		})
		t.Run("a foreign probe's listing: "+string(a.Class), func(t *testing.T) {
			b := newBench(t, func(b *bench) { b.rec.Probe, b.rec.Foreign = true, true })
			if b.feed(a); b.last.Passed != "" || b.last.Code != a.Code || b.last.After != 0 {
				t.Errorf("%s %q after %v, %q, passed %q", b.last.Kind, b.last.Waiting, b.last.After, b.last.Code, b.last.Passed)
			}
		})
	}
	for _, a := range []jobs.Answer{tooMany, strange} {
		t.Run("a probe's delete: "+string(a.Class), func(t *testing.T) {
			b := newBench(t, probe)
			if b.feed(listed(1), a); b.last.Passed != "" {
				t.Errorf("passed %q", b.last.Passed)
			}
		})
	}
	t.Run("a task that is no probe", func(t *testing.T) {
		b := newBench(t)
		for _, w := range []purge.Write{
			until[purge.Save](b, listed(1)).Write, until[purge.Save](b, deleted).Write, until[purge.End](b, listed()).Write,
		} {
			if w.Passed != "" {
				t.Errorf("%s: passed %q", w.Kind, w.Passed)
			}
		}
	})
	t.Run("organisation number 1 is one", func(t *testing.T) {
		b := newBench(t, func(b *bench) { b.rec.Probe, b.rec.Foreign = true, true })
		a := listed(1)
		a.Organizations = []int64{1}
		if w := until[purge.Save](b, a).Write; w.Passed != jobs.ListCall {
			t.Errorf("passed %q", w.Passed)
		}
	})
}
