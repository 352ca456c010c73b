package purge_test

import (
	"fmt"
	"slices"
	"testing"
	"time"
	"unsafe"

	"github.com/imagepurge/imagepurge/jobs"
	"github.com/imagepurge/imagepurge/jobs/purge"
)

// remote plays an honest server for a bench, to the end of the task: it claims
// again whenever the task was given back.
func remote(b *bench, ascending bool, there ...int) purge.Write {
	b.t.Helper()
	for range 20 {
		for {
			switch e := b.e.(type) {
			case purge.List:
				b.feed(listed(there...))
				continue
			case purge.Send:
				at := slices.Clone(e.Clearance.Intent().Targets)
				if ascending {
					slices.Reverse(at)
				}
				a := noImage
				for _, t := range at {
					if t.Position < len(there) {
						there = slices.Delete(slices.Clone(there), t.Position, t.Position+1)
						a = deleted
					}
				}
				b.feed(a)
				continue
			}
			if b.m.Done() {
				break
			}
			b.feed()
		}
		if b.last.Kind == purge.WriteFinish {
			return b.last
		}
		b.now = b.now.Add(b.last.After)
		b.claim()
	}
	b.t.Fatalf("not finished after %v", b.calls)
	return purge.Write{}
}

func TestCallsOfAMode(t *testing.T) {
	for n := range 6 {
		ids := []int{1, 2, 3, 4, 5}[:n]
		for _, c := range []struct {
			mode jobs.Mode
			want int
		}{{jobs.Economy, n + 1}, {jobs.Verified, n + 2}, {jobs.Paranoid, 2*n + 1}} {
			want := c.want
			if n == 0 {
				want = 1
			}
			t.Run(fmt.Sprintf("%s with %d images", c.mode, n), func(t *testing.T) {
				b := newBench(t, mode(c.mode))
				w := remote(b, false, ids...)
				if len(b.calls) != want || w.Counters.APICalls != want {
					t.Errorf("%d calls, %d counted, want %d: %v", len(b.calls), w.Counters.APICalls, want, b.calls)
				}
				if n == 0 {
					b.wantEnd(jobs.NoImages)
				} else {
					b.wantEnd(jobs.ImagesDeleted)
				}
				if w.Deleted != n || w.VerifiedAt.IsZero() != (c.mode == jobs.Economy && n > 0) {
					t.Errorf("%d deleted, verified at %v", w.Deleted, w.VerifiedAt)
				}
			})
		}
	}
}

func TestHighestIndexFirst(t *testing.T) {
	b := newBench(t, named(1, 3, 4))
	remote(b, false, 1, 2, 3, 4, 5)
	b.wantCalls("list", "delete 3", "delete 2", "delete 0", "list")
	b.wantRows("1:deleted/answer 2:bystander 3:deleted/answer 4:deleted/answer 5:bystander")
}

func TestBatching(t *testing.T) {
	t.Run("three calls", func(t *testing.T) {
		b := newBench(t, batching)
		w := remote(b, false, 1, 2, 3, 4, 5)
		b.wantCalls("list", "delete 4,3,2,1,0", "list")
		b.wantEnd(jobs.ImagesDeleted)
		if w.Deleted != 5 || w.Counters.APICalls != 3 {
			t.Errorf("%+v", w)
		}
	})
	t.Run("up to seven where the server reads in ascending order", func(t *testing.T) {
		for n := range 6 {
			b := newBench(t, batching)
			w := remote(b, true, []int{1, 2, 3, 4, 5}[:n]...)
			if len(b.calls) > 7 || w.Deleted != n {
				t.Errorf("%d images: %d deleted by %v", n, w.Deleted, b.calls)
			}
		}
	})
	t.Run("never where an image is no target", func(t *testing.T) {
		b := newBench(t, batching, named(1, 2))
		remote(b, false, 1, 2, 3)
		b.wantCalls("list", "delete 1", "delete 0", "list")
	})
	t.Run("nothing is concluded from a success", func(t *testing.T) {
		b := newBench(t, batching)
		b.feed(listed(1, 2), deleted)
		b.wantBack(jobs.WaitListingLag, 30*time.Second)
		b.wantRows("1:unknown/answer 2:unknown/answer")
		if !b.last.Counters.Relisting {
			t.Error("the listing that is waited for would be made twice")
		}
	})
	t.Run("nor from a missing index", func(t *testing.T) {
		// A server that reads in ascending order has deleted image 1 when it finds
		// no second one any more. Image 1 must not be called absent.
		b := newBench(t, batching)
		b.feed(listed(1, 2), noImage)
		b.wantBack(jobs.WaitListingLag, 30*time.Second)
		b.wantRows("1:unknown 2:unknown")
		b.claim().feed(listed(2), deleted, listed())
		b.wantEnd(jobs.ImagesDeleted)
		b.wantRows("1:deleted/listing 2:deleted/answer")
		if b.last.Deleted != 2 || b.last.Counters.Contradictions != 1 || b.last.Counters.StillPresent != 0 {
			t.Errorf("%+v", b.last)
		}
	})
	t.Run("a third missing index is reviewed when the listing has decided", func(t *testing.T) {
		b := newBench(t, batching, func(b *bench) { b.rec.Contradictions = 2 })
		b.feed(listed(1, 2), noImage)
		b.wantBack(jobs.WaitListingLag, 30*time.Second)
		b.claim().feed(listed(2))
		b.wantEnd(jobs.IndexContradiction)
		b.wantRows("1:deleted/listing 2:planned")
	})
	t.Run("an unknown is settled", func(t *testing.T) {
		b := newBench(t, batching)
		b.feed(listed(1, 2), timeout)
		b.wantBack(jobs.WaitSettle, b.cfg.Rest())
		b.wantRows("1:unknown 2:unknown")
		if b.rec.Images[0].Sends != 1 || b.rec.Images[1].Sends != 1 || b.last.Counters.APICalls != 2 {
			t.Errorf("%+v", b.rec)
		}
	})
}

// A listing may still show what was just deleted. This task's rows contradict
// it; those of another task of the same customer can't.
func TestCustomerRestsForTheListingLagAfterADelete(t *testing.T) {
	for name, feed := range map[string]func(*bench){
		"economy, at the end":   func(b *bench) { b.feed(listed(1), deleted) },
		"a success, then a 429": func(b *bench) { b.feed(listed(1, 2), deleted, tooMany) },
		"a success, then a 521": func(b *bench) { b.feed(listed(1, 2), deleted, busy) },
		"before the verifying listing": func(b *bench) {
			b.rec.Mode = jobs.Verified
			b.claim().feed(listed(1), deleted)
		},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, mode(jobs.Economy))
			feed(b)
			if b.last.Rest != purge.RestSettle || b.last.RestFor <= 25*time.Second || b.last.RestFor > 30*time.Second {
				t.Errorf("%s: rest %s for %v, want what is left of the listing lag", b.last.Kind, b.last.Rest, b.last.RestFor)
			}
		})
	}
	t.Run("not after its end", func(t *testing.T) {
		b := newBench(t)
		b.feed(listed(1, 2), deleted)
		b.now = b.now.Add(time.Minute)
		b.feed(busy)
		b.wantRest(purge.RestClear, 0)
	})
	t.Run("a batch", func(t *testing.T) {
		b := newBench(t, batching)
		b.feed(listed(1, 2), deleted)
		b.wantRest(purge.RestSettle, 30*time.Second)
	})
	t.Run("a finish after the verifying listing lets it run on", func(t *testing.T) {
		b := newBench(t)
		b.feed(listed(1), deleted, listed())
		b.wantEnd(jobs.ImagesDeleted)
		b.wantRest(purge.RestKeep, 0)
	})
}

func TestViewDies(t *testing.T) {
	for _, c := range []struct {
		name  string
		after func(time.Time) time.Time
		want  string
	}{
		{"young enough", func(n time.Time) time.Time { return n.Add(9 * time.Second) }, "purge.Intend"},
		{"too old", func(n time.Time) time.Time { return n.Add(10*time.Second + time.Millisecond) }, "purge.List"},
		{"wall clock set back", func(n time.Time) time.Time { return n.Add(-time.Minute) }, "purge.List"},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBench(t)
			b.step(purge.SlotGranted{})
			a := listed(1)
			a.SentAt, a.AnsweredAt = b.now, b.now
			b.step(purge.Listed{Answer: a})
			b.apply(b.e.(purge.Save).Write)
			b.step(purge.Written{})
			b.now = c.after(b.now)
			b.step(purge.SlotGranted{})
			if got := fmt.Sprintf("%T", b.e); got != c.want {
				t.Errorf("effect %s, want %s", got, c.want)
			}
		})
	}
	t.Run("too old when the machine has slept, which only the wall clock tells", func(t *testing.T) {
		b := newBench(t)
		b.now = time.Now() // carries a monotonic reading
		b.step(purge.SlotGranted{})
		a := listed(1)
		a.SentAt, a.AnsweredAt = b.now, b.now
		b.step(purge.Listed{Answer: a})
		b.now = slept(b.now, time.Minute)
		b.apply(b.e.(purge.Save).Write)
		b.step(purge.Written{})
		b.step(purge.SlotGranted{})
		if _, ok := b.e.(purge.List); !ok {
			t.Errorf("effect %T, want another listing", b.e)
		}
	})
	t.Run("while the intent was committed", func(t *testing.T) {
		b := newBench(t)
		b.step(purge.SlotGranted{})
		a := listed(1)
		a.SentAt, a.AnsweredAt = b.now, b.now
		b.step(purge.Listed{Answer: a})
		b.apply(b.e.(purge.Save).Write)
		b.step(purge.Written{})
		b.step(purge.SlotGranted{})
		w := b.e.(purge.Intend).Write
		b.apply(w)
		b.now = b.now.Add(11 * time.Second)
		b.step(purge.IntentCommitted{Clearance: b.permit(w)})
		b.feed()
		b.wantBack("", 0)
		b.wantRows("1:planned")
		if b.rec.Images[0].Sends != 0 || b.rec.APICalls != 1 {
			t.Errorf("%d sends, %d calls, want 0 and the listing", b.rec.Images[0].Sends, b.rec.APICalls)
		}
	})
}

// slept returns t as a machine reads its clocks that has slept for d: the wall
// clock has gone on, the monotonic one has not.
func slept(t time.Time, d time.Duration) time.Time {
	later := t.Add(d)
	// A time.Time with a monotonic reading keeps it in its second word.
	(*[2]int64)(unsafe.Pointer(&later))[1] -= int64(d)
	return later
}
