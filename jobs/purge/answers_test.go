package purge_test

import (
	"testing"
	"time"

	"github.com/imagepurge/imagepurge/jobs"
	"github.com/imagepurge/imagepurge/jobs/purge"
)

// One line a class of answer: what follows from it (protocol, step 7).

type consequence struct {
	answer   jobs.Answer
	outcome  jobs.Outcome // of a finish; else
	waiting  jobs.Waiting // of a give-back; else
	relists  bool         // the task goes on with another listing
	rows     string
	rest     purge.Rest
	restFor  time.Duration
	after    time.Duration
	attempts int
	calls    int // api_calls
	breaker  bool
	pauses   bool
	reviewAs jobs.Outcome
}

func (c consequence) check(t *testing.T, b *bench) {
	t.Helper()
	switch {
	case c.outcome != "":
		b.wantEnd(c.outcome)
	case c.relists:
		if _, ok := b.e.(purge.List); !ok {
			t.Errorf("effect %T, want another listing", b.e)
		}
	default:
		b.wantBack(c.waiting, c.after)
	}
	b.wantRows(c.rows)
	w := b.last
	if c.rest == "" {
		c.rest = purge.RestKeep
	}
	b.wantRest(c.rest, c.restFor)
	if w.Counters.Attempts != c.attempts || w.Counters.APICalls != c.calls {
		t.Errorf("%d attempts, %d api_calls; want %d, %d", w.Counters.Attempts, w.Counters.APICalls, c.attempts, c.calls)
	}
	if (w.Breaker != nil) != c.breaker || w.OverLimit != c.pauses || w.ReviewAs != c.reviewAs {
		t.Errorf("breaker %v, over limit %v, review as %q; want %v, %v, %q", w.Breaker, w.OverLimit, w.ReviewAs, c.breaker, c.pauses, c.reviewAs)
	}
	if c.answer.Class != jobs.ClassListed && c.answer.Class != jobs.ClassDeleted && w.Code != c.answer.Code {
		t.Errorf("error code %q, want %q", w.Code, c.answer.Code)
	}
	last := w.Calls[len(w.Calls)-1]
	if last.Class != c.answer.Class || last.Code != c.answer.Code || last.AnsweredAt.IsZero() {
		t.Errorf("the call is recorded as %+v", last)
	}
}

func everyClass(t *testing.T, table []consequence) {
	t.Helper()
	seen := make(map[jobs.Class]bool)
	for _, c := range table {
		seen[c.answer.Class] = true
	}
	for _, c := range jobs.Classes() {
		if !seen[c] {
			t.Errorf("class %s is not in the table", c)
		}
	}
}

func TestAnswerToFirstListing(t *testing.T) {
	unexpected := consequence{outcome: jobs.UnexpectedResponse, calls: 1}
	table := []consequence{
		{answer: listed(), outcome: jobs.NoImages, calls: 1},
		{answer: listed(1, 2), rows: "1:intended 2:planned", calls: 2},
		{answer: busy, waiting: jobs.WaitBackoff, after: 2500 * time.Millisecond, attempts: 1, calls: 1},
		{answer: dns, waiting: jobs.WaitBackoff, after: 2500 * time.Millisecond, attempts: 1},
		{answer: notSent, waiting: jobs.WaitBackoff, after: 2500 * time.Millisecond, attempts: 1},
		{answer: timeout, waiting: jobs.WaitBackoff, after: 2500 * time.Millisecond, attempts: 1, calls: 1},
		{answer: tooMany, relists: true, calls: 1, pauses: true},
		{answer: noToken, relists: true, calls: 1},
		{answer: refused, waiting: jobs.WaitBreaker, calls: 1, breaker: true},
		{answer: badCall, outcome: jobs.InvalidCustomer, calls: 1},
		{answer: erased, outcome: jobs.CustomerErased, calls: 1},
		{answer: notFound, outcome: jobs.CustomerNotFound, calls: 1},
		{answer: merged, outcome: jobs.MergedCustomer, calls: 1},
		{answer: strange, outcome: unexpected.outcome, calls: 1},
		{answer: noImage, outcome: unexpected.outcome, calls: 1},
		{answer: deleted, outcome: unexpected.outcome, calls: 1},
	}
	everyClass(t, table)
	for _, c := range table {
		t.Run(string(c.answer.Class), func(t *testing.T) {
			b := newBench(t)
			b.feed(c.answer)
			if len(c.answer.Images) > 0 {
				b.wantRows("1:planned 2:intended") // the highest index is intended next
				b.wantRest(purge.RestSettle, b.cfg.WorstCase())
				return
			}
			c.check(t, b)
		})
	}
}

func TestAnswerToLaterListing(t *testing.T) {
	const kept = "1:planned 2:planned 3:bystander"
	const gone = "1:absent/listing 2:absent/listing 3:bystander"
	table := []consequence{
		{answer: listed(3), waiting: jobs.WaitListingLag, after: 30 * time.Second, rows: kept, attempts: 1, calls: 3},
		{answer: busy, waiting: jobs.WaitBackoff, after: 5 * time.Second, rows: kept, attempts: 2, calls: 3},
		{answer: notSent, waiting: jobs.WaitBackoff, after: 5 * time.Second, rows: kept, attempts: 2, calls: 2},
		{answer: timeout, waiting: jobs.WaitBackoff, after: 5 * time.Second, rows: kept, attempts: 2, calls: 3},
		{answer: tooMany, relists: true, rows: kept, attempts: 1, calls: 3, pauses: true},
		{answer: refused, waiting: jobs.WaitBreaker, rows: kept, attempts: 1, calls: 3, breaker: true},
		{answer: badCall, outcome: jobs.UnexpectedResponse, rows: kept, attempts: 1, calls: 3},
		{answer: erased, outcome: jobs.CustomerErased, rows: gone, attempts: 1, calls: 3},
		{answer: notFound, outcome: jobs.CustomerGone, rows: gone, attempts: 1, calls: 3},
		{answer: merged, outcome: jobs.MergedCustomer, rows: kept, attempts: 1, calls: 3},
		{answer: strange, outcome: jobs.UnexpectedResponse, rows: kept, attempts: 1, calls: 3},
		{answer: noImage, outcome: jobs.UnexpectedResponse, rows: kept, attempts: 1, calls: 3},
		{answer: deleted, outcome: jobs.UnexpectedResponse, rows: kept, attempts: 1, calls: 3},
	}
	everyClass(t, table)
	for _, c := range table {
		t.Run(string(c.answer.Class), func(t *testing.T) {
			b := newBench(t, named(1, 2))
			b.feed(listed(1, 2, 3), busy)
			b.claim()
			b.feed(c.answer)
			c.check(t, b)
		})
	}
}

func TestAnswerToDelete(t *testing.T) {
	const planned = "1:planned 2:planned 3:bystander"
	const unknown = "1:planned 2:unknown 3:bystander"
	const gone = "1:absent/listing 2:absent/listing 3:bystander"
	settle := func(c consequence) consequence {
		c.waiting, c.after, c.rest, c.restFor = jobs.WaitSettle, 150*time.Second, purge.RestSettle, 150*time.Second
		c.rows, c.attempts, c.calls = unknown, 1, 2
		return c
	}
	table := []consequence{
		{answer: busy, waiting: jobs.WaitBackoff, after: 2500 * time.Millisecond, rows: planned, rest: purge.RestClear, attempts: 1, calls: 2},
		{answer: dns, waiting: jobs.WaitBackoff, after: 2500 * time.Millisecond, rows: planned, rest: purge.RestClear, attempts: 1, calls: 1},
		{answer: notSent, waiting: jobs.WaitBackoff, after: 5 * time.Second, rows: planned, rest: purge.RestClear, calls: 1},
		{answer: noImage, relists: true, rows: planned, rest: purge.RestClear, calls: 2},
		{answer: tooMany, relists: true, rows: planned, rest: purge.RestClear, calls: 2, pauses: true},
		{answer: refused, waiting: jobs.WaitBreaker, rows: planned, rest: purge.RestClear, calls: 2, breaker: true},
		{answer: badCall, outcome: jobs.UnexpectedResponse, rows: planned, rest: purge.RestClear, calls: 2},
		{answer: erased, outcome: jobs.CustomerErased, rows: gone, rest: purge.RestClear, calls: 2},
		{answer: notFound, outcome: jobs.CustomerGone, rows: gone, rest: purge.RestClear, calls: 2},
		{answer: merged, outcome: jobs.MergedCustomer, rows: planned, rest: purge.RestClear, calls: 2},
		settle(consequence{answer: timeout}),
		settle(consequence{answer: strange, reviewAs: jobs.UnexpectedResponse}),
		settle(consequence{answer: listed(), reviewAs: jobs.UnexpectedResponse}),
	}
	everyClass(t, append(table, consequence{answer: deleted}))
	for _, c := range table {
		t.Run(string(c.answer.Class)+" "+c.answer.Code, func(t *testing.T) {
			b := newBench(t, named(1, 2))
			b.feed(listed(1, 2, 3), c.answer)
			c.check(t, b)
			b.wantCalls("list", "delete 1")
			sends := 1
			if c.answer.SentAt.IsZero() && (c.answer.Code == "dns" || c.answer.Class == jobs.ClassNotSent) {
				sends = 0 // nothing left this machine
			}
			if got := b.rec.Images[1].Sends; got != sends {
				t.Errorf("%d sends, want %d", got, sends)
			}
		})
	}
	t.Run("deleted", func(t *testing.T) {
		b := newBench(t, named(1, 2))
		b.feed(listed(1, 2, 3), deleted)
		b.wantCalls("list", "delete 1")
		b.wantRows("1:intended 2:deleted/answer 3:bystander") // the answer rides in the next intent
		b.wantRest(purge.RestSettle, b.cfg.WorstCase())
	})
}

// What its sender left behind is unknown, whatever else is known of the task.
func TestAnIntentLeftBehindIsUnknown(t *testing.T) {
	for name, change := range map[string]func(*bench){
		"alone": func(*bench) {}, "cancelled": func(b *bench) { b.rec.Cancelled = true },
		"to be reviewed": func(b *bench) { b.rec.ReviewAs = jobs.UnexpectedResponse },
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, change, func(b *bench) {
				b.rec.Listed, b.rec.Found = true, 1
				b.rec.Images = []purge.Image{{Key: keys[1], State: jobs.Intended, Sends: 1}}
			})
			b.feed(timeout)
			b.wantBack(jobs.WaitBackoff, b.cfg.BackoffBase/2)
			b.wantRows("1:unknown")
			b.wantCalls("list")
		})
	}
}

func TestUnknownIsDecidedByTheListing(t *testing.T) {
	t.Run("gone", func(t *testing.T) {
		b := newBench(t)
		b.feed(listed(1), timeout)
		b.claim().feed(listed())
		b.wantEnd(jobs.ImagesDeleted)
		b.wantRows("1:deleted/listing")
		b.wantCalls("list", "delete 0", "list")
		if b.last.VerifiedAt.IsZero() || b.last.Deleted != 1 || b.last.Code != "" {
			t.Errorf("%+v", b.last)
		}
	})
	t.Run("still there", func(t *testing.T) {
		b := newBench(t)
		b.feed(listed(1), timeout)
		b.claim().feed(listed(1), deleted, listed())
		b.wantEnd(jobs.ImagesDeleted)
		if b.rec.Images[0].Sends != 2 || b.rec.StillPresent != 0 {
			t.Errorf("%+v", b.rec)
		}
	})
	t.Run("unexpected, then review", func(t *testing.T) {
		b := newBench(t)
		b.feed(listed(1, 2), strange)
		b.claim().feed(listed(1))
		b.wantEnd(jobs.UnexpectedResponse)
		b.wantRows("1:planned 2:deleted/listing")
		if b.last.Code != "418" {
			t.Errorf("error code %q, want the one that led here", b.last.Code)
		}
	})
}
