package purge_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/imagepurge/imagepurge/jobs"
	"github.com/imagepurge/imagepurge/jobs/purge"
)

func TestNamedImages(t *testing.T) {
	t.Run("none of them there", func(t *testing.T) {
		b := newBench(t, named(8, 9))
		b.feed(listed(1, 2))
		b.wantEnd(jobs.AlreadyAbsent)
		b.wantRows("1:bystander 2:bystander")
		b.wantCalls("list")
	})
	t.Run("a row only once seen", func(t *testing.T) {
		b := newBench(t, named(2, 9))
		b.feed(listed(1, 2), deleted, listed(1))
		b.wantEnd(jobs.ImagesDeleted)
		b.wantRows("1:bystander 2:deleted/answer")
		if b.last.Counters.Found != 1 {
			t.Errorf("%d found, want 1", b.last.Counters.Found)
		}
	})
	t.Run("one that comes later is a target then", func(t *testing.T) {
		b := newBench(t, named(2, 9))
		b.feed(listed(1, 2), deleted, listed(1, 9), deleted, listed(1))
		b.wantEnd(jobs.ImagesDeleted)
		b.wantRows("1:bystander 2:deleted/answer 9:deleted/answer")
	})
}

func TestScope(t *testing.T) {
	t.Run("snapshot leaves new images alone", func(t *testing.T) {
		b := newBench(t)
		b.feed(listed(1), deleted, listed(2, 3))
		b.wantEnd(jobs.ImagesDeleted)
		b.wantRows("1:deleted/answer 2:bystander 3:bystander")
		if c := b.last.Counters; c.New != 2 || c.Found != 1 {
			t.Errorf("%d new, %d found, want 2, 1", c.New, c.Found)
		}
	})
	for _, m := range []jobs.Mode{jobs.Economy, jobs.Verified, jobs.Paranoid} {
		t.Run("until empty goes on until a listing is empty, "+string(m), func(t *testing.T) {
			b := newBench(t, untilEmpty, mode(m))
			b.feed(listed(1), deleted, listed(2), deleted, listed())
			b.wantEnd(jobs.ImagesDeleted)
			b.wantRows("1:deleted/answer 2:deleted/answer")
			if c := b.last.Counters; c.New != 1 || c.Found != 2 || b.last.VerifiedAt.IsZero() {
				t.Errorf("%+v", b.last)
			}
		})
	}
	t.Run("until empty ends with 20 images", func(t *testing.T) {
		for n, want := range map[int]jobs.Outcome{jobs.MaxTargets: "", jobs.MaxTargets + 1: jobs.StillPresent} {
			b := newBench(t, untilEmpty)
			b.feed(listed(1), deleted)
			var more []int
			for i := range n - 1 {
				more = append(more, 100+i)
			}
			b.feed(listed(more...))
			if want != "" {
				b.wantEnd(want)
				b.wantCalls("list", "delete 0", "list")
			} else if _, ok := b.e.(purge.Send); !ok {
				t.Errorf("with %d images: effect %T, want a delete", n, b.e)
			}
		}
	})
}

func TestDryRun(t *testing.T) {
	for _, ids := range [][]int{{}, {1, 2}} {
		b := newBench(t, func(b *bench) { b.rec.DryRun = true })
		b.feed(listed(ids...))
		b.wantEnd(jobs.DryRun)
		b.wantCalls("list")
		if b.last.Counters.Found != len(ids) || b.last.Deleted != 0 {
			t.Errorf("%+v", b.last)
		}
	}
}

func TestCancel(t *testing.T) {
	cancelled := func(b *bench) { b.rec.Cancelled = true }
	t.Run("before the first call", func(t *testing.T) {
		b := newBench(t, cancelled)
		b.feed()
		b.wantEnd(jobs.CancelledOutcome)
		b.wantCalls()
	})
	t.Run("between two deletes", func(t *testing.T) {
		b := newBench(t)
		b.feed(listed(1, 2), busy)
		cancelled(b)
		b.claim().feed()
		b.wantEnd(jobs.CancelledOutcome)
		b.wantRows("1:planned 2:planned")
	})
	t.Run("what is unknown is listed first", func(t *testing.T) {
		b := newBench(t)
		b.feed(listed(1, 2), timeout)
		cancelled(b)
		b.claim().feed(listed(1))
		b.wantEnd(jobs.CancelledOutcome)
		b.wantRows("1:planned 2:deleted/listing")
		b.wantCalls("list", "delete 1", "list")
	})
	for _, a := range []jobs.Answer{erased, notFound} {
		t.Run("stays cancelled after "+string(a.Class), func(t *testing.T) {
			b := newBench(t)
			b.feed(listed(1, 2), timeout)
			cancelled(b)
			b.claim().feed(a)
			b.wantEnd(jobs.CancelledOutcome)
			b.wantRows("1:absent/listing 2:absent/listing")
		})
	}
}

// An end with something unknown needs a listing that tells. One that fails is made
// again, for as long as it takes; where none can tell, a person decides.
func TestNoTaskEndsInDoubt(t *testing.T) {
	for name, cancelled := range map[string]bool{"a task": false, "a cancelled task": true} {
		fail := func(t *testing.T) *bench {
			t.Helper()
			b := newBench(t, func(b *bench) { b.cfg.MaxAttempts = 2 })
			b.feed(listed(1, 2), timeout)
			b.rec.Cancelled = cancelled
			for range 5 {
				b.claim().feed(timeout)
				if b.last.Kind != purge.WriteGiveBack || b.last.Waiting != jobs.WaitBackoff || b.last.After < b.cfg.BackoffBase/2 {
					t.Fatalf("%s %q after %v", b.last.Kind, b.last.Waiting, b.last.After)
				}
				b.wantRows("1:planned 2:unknown")
			}
			return b
		}
		t.Run(name+" whose listings fail goes on", func(t *testing.T) {
			b := fail(t)
			b.claim().feed(listed(1, 2))
			if cancelled {
				b.wantEnd(jobs.CancelledOutcome)
			} else {
				b.wantEnd(jobs.AttemptsExhausted)
			}
			b.wantRows("1:planned 2:planned")
		})
		for _, c := range []struct {
			answer jobs.Answer
			want   jobs.Outcome
		}{{merged, jobs.MergedCustomer}, {badCall, jobs.UnexpectedResponse}, {strange, jobs.UnexpectedResponse}} {
			t.Run(fmt.Sprintf("%s goes to a person after %s", name, c.answer.Class), func(t *testing.T) {
				b := fail(t)
				b.claim().feed(c.answer)
				b.wantEnd(c.want)
				b.wantRows("1:planned 2:unknown")
			})
		}
	}
}

func TestCustomerGone(t *testing.T) {
	// Whether our delete ran before the customer went can't be told: what had a
	// success stays deleted, all else is absent.
	b := newBench(t)
	b.feed(listed(1, 2, 3), deleted, notFound)
	b.wantEnd(jobs.CustomerGone)
	b.wantRows("1:absent/listing 2:absent/listing 3:deleted/answer")
	if b.last.Deleted != 1 {
		t.Errorf("%d deleted, want 1", b.last.Deleted)
	}
}

func TestEveryOutcomeHasOneState(t *testing.T) {
	for _, o := range jobs.Outcomes() {
		if s, ok := jobs.StateOf(o); !ok || !s.Final() || !slices.Contains(jobs.States(), s) {
			t.Errorf("%s: %q", o, s)
		}
	}
}
