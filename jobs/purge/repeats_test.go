package purge_test

import (
	"testing"
	"time"

	"github.com/imagepurge/imagepurge/jobs"
	"github.com/imagepurge/imagepurge/jobs/purge"
)

// What may happen a few times, and goes to a person at the third.

func TestThirdMissingIndex(t *testing.T) {
	b := newBench(t)
	b.feed(listed(1), noImage, listed(1), noImage, listed(1), noImage)
	b.wantEnd(jobs.IndexContradiction)
	b.wantRows("1:planned")
	if b.last.Counters.Contradictions != 3 || b.last.Code != "8078" || b.rec.Images[0].Sends != 3 {
		t.Errorf("%+v", b.last)
	}
}

// The listing after the delete shows the image, twice each time.
func TestThirdDeletionThatProvesWrong(t *testing.T) {
	b := newBench(t)
	b.feed(listed(1), deleted, listed(1))
	b.wantBack(jobs.WaitListingLag, 30*time.Second)
	for n := 1; n <= 2; n++ {
		b.claim().feed(listed(1), deleted, listed(1))
		b.wantBack(jobs.WaitListingLag, 30*time.Second)
		b.wantRows("1:unknown/answer") // never deleted while the last listing shows it
		if b.last.Counters.StillPresent != n {
			t.Errorf("%d deletions proved wrong, want %d", b.last.Counters.StillPresent, n)
		}
	}
	b.claim().feed(listed(1))
	b.wantEnd(jobs.StillPresent)
	b.wantRows("1:planned")
	if b.last.Deleted != 0 {
		t.Errorf("%d deleted, want none", b.last.Deleted)
	}
}

func TestThirdRefusal(t *testing.T) {
	for _, kind := range []jobs.Kind{jobs.ListCall, jobs.DeleteCall} {
		t.Run(string(kind), func(t *testing.T) {
			b := newBench(t)
			for n := 1; n <= 3; n++ {
				if n > 1 {
					b.claim()
				}
				if kind == jobs.DeleteCall {
					b.feed(listed(1), refused)
					b.wantRows("1:planned")
				} else {
					b.feed(refused)
				}
				if b.last.Breaker == nil || b.last.Breaker.Kind != kind || b.last.Breaker.Reason != "refused" || b.last.Breaker.Code != "401" {
					t.Fatalf("breaker %+v", b.last.Breaker)
				}
				if n < 3 {
					b.wantBack(jobs.WaitBreaker, 0)
					if b.last.Counters.Attempts != 0 {
						t.Errorf("%d attempts, want none", b.last.Counters.Attempts)
					}
				}
			}
			b.wantEnd(jobs.UnexpectedResponse)
			if b.last.Code != "401" {
				t.Errorf("error code %q", b.last.Code)
			}
		})
	}
}

// One customer whose listing is answered 401 with every token: it costs attempts in
// the end, and no slot after slot.
func TestATokenThatIsNeverTaken(t *testing.T) {
	b := newBench(t)
	b.feed(noToken, noToken)
	b.wantBack(jobs.WaitBackoff, 2500*time.Millisecond)
	if b.last.Counters.Attempts != 1 || len(b.calls) != 2 {
		t.Errorf("%d attempts, calls %q", b.last.Counters.Attempts, b.calls)
	}
}

// While another organisation's images are what the credentials show, a customer that
// is unknown or has no images says nothing of ours.
func TestProbeAfterAnotherOrganization(t *testing.T) {
	foreign := func(b *bench) { b.rec.Probe, b.rec.Foreign = true, true }
	for name, a := range map[string]jobs.Answer{
		"no images": listed(), "images without a number": {Class: jobs.ClassListed, Images: listed(1).Images, Organizations: []int64{0}},
		"unknown": notFound, "erased": erased, "merged": merged, "invalid": badCall, "odd": strange,
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, foreign)
			b.feed(a)
			b.wantBack(jobs.WaitBreaker, time.Hour) // the next probe takes another customer
			if w := b.last; w.Breaker == nil || w.Breaker.Reason != jobs.CodeWrongOrganisation || w.Passed != "" || len(w.Images) != 0 || w.Counters.Attempts+w.Counters.Refusals != 0 {
				t.Errorf("%+v", w)
			}
		})
	}
	t.Run("an image of ours passes", func(t *testing.T) {
		b := newBench(t, foreign)
		b.step(purge.SlotGranted{})
		a := b.answered(listed(1))
		a.Organizations = []int64{100001}
		b.step(purge.Listed{Answer: a})
		if w := b.e.(purge.Save).Write; w.Passed != jobs.ListCall || w.Breaker != nil {
			t.Errorf("%+v", w)
		}
	})
	t.Run("once ours were shown, an empty listing is ours", func(t *testing.T) {
		b := newBench(t, foreign)
		ours := listed(1)
		ours.Organizations = []int64{100001}
		b.feed(ours, deleted, listed())
		b.wantEnd(jobs.ImagesDeleted)
	})
	// The listing of the wrong brand does not show what an earlier one has.
	t.Run("a task that was begun", func(t *testing.T) {
		b := newBench(t)
		b.feed(listed(1, 2), timeout)
		foreign(b)
		b.claim().feed(listed())
		b.wantBack(jobs.WaitBreaker, time.Hour)
		if w := b.last; w.Passed != "" || len(w.Images) != 0 {
			t.Errorf("%+v", w)
		}
	})
}

func TestProbe(t *testing.T) {
	t.Run("a refused probe counts nothing", func(t *testing.T) {
		b := newBench(t, probe)
		for range 5 {
			b.feed(refused)
			b.wantBack(jobs.WaitBreaker, 0)
			if b.last.Breaker == nil || b.last.Counters.Refusals != 0 || b.last.Counters.Attempts != 0 || b.last.Passed != "" {
				t.Errorf("%+v", b.last)
			}
			b.claim()
		}
	})
	t.Run("faults of a probe cost no attempt", func(t *testing.T) {
		b := newBench(t, probe)
		b.feed(timeout)
		b.wantBack(jobs.WaitBreaker, 0)
		b.claim().feed(listed(1), timeout)
		b.wantBack(jobs.WaitSettle, b.cfg.Rest())
		if b.last.Counters.Attempts != 0 {
			t.Errorf("%d attempts", b.last.Counters.Attempts)
		}
	})
	t.Run("a listing passes", func(t *testing.T) {
		b := newBench(t, probe)
		b.step(purge.SlotGranted{})
		b.step(purge.Listed{Answer: b.answered(listed(1))})
		if w := b.e.(purge.Save).Write; w.Passed != jobs.ListCall {
			t.Errorf("passed %q, want list", w.Passed)
		}
	})
	t.Run("a delete passes", func(t *testing.T) {
		b := newBench(t, probe)
		b.feed(listed(1), deleted)
		if b.last.Passed != jobs.DeleteCall {
			t.Errorf("passed %q, want delete", b.last.Passed)
		}
	})
	for _, a := range []jobs.Answer{erased, notFound, merged, badCall} {
		t.Run("a customer's own fault passes: "+string(a.Class), func(t *testing.T) {
			b := newBench(t, probe)
			b.feed(a)
			if b.last.Passed != jobs.ListCall {
				t.Errorf("passed %q, want list", b.last.Passed)
			}
		})
	}
	for _, a := range []jobs.Answer{busy, timeout, refused, notSent} {
		t.Run("passes nothing: "+string(a.Class), func(t *testing.T) {
			b := newBench(t, probe)
			b.feed(listed(1), a)
			if b.last.Passed != "" {
				t.Errorf("passed %q", b.last.Passed)
			}
		})
	}
}

func TestAttemptsExhausted(t *testing.T) {
	three := func(b *bench) { b.cfg.MaxAttempts = 3 }
	t.Run("by listings", func(t *testing.T) {
		b := newBench(t, three)
		b.feed(timeout)
		b.claim().feed(busy)
		b.claim().feed(dns)
		b.wantEnd(jobs.AttemptsExhausted)
		if b.last.Code != "dns" || b.last.Counters.Attempts != 3 {
			t.Errorf("%q after %d attempts", b.last.Code, b.last.Counters.Attempts)
		}
	})
	t.Run("by unknown deletes, once they are settled and listed", func(t *testing.T) {
		b := newBench(t, three)
		for range 3 {
			b.feed(listed(1, 2), timeout)
			b.wantBack(jobs.WaitSettle, b.cfg.Rest())
			b.claim()
		}
		b.feed(listed(1, 2))
		b.wantEnd(jobs.AttemptsExhausted)
		b.wantRows("1:planned 2:planned")
		if b.last.Code != "timeout" {
			t.Errorf("error code %q, want the last one", b.last.Code)
		}
	})
	t.Run("not where the last unknown delete ran", func(t *testing.T) {
		b := newBench(t, func(b *bench) { b.cfg.MaxAttempts = 1 })
		b.feed(listed(1), timeout)
		b.claim().feed(listed())
		b.wantEnd(jobs.ImagesDeleted)
	})
	t.Run("429s are no attempts", func(t *testing.T) {
		b := newBench(t, three)
		b.feed(tooMany, tooMany, tooMany, tooMany, listed(1), tooMany, listed(1), tooMany, listed(1), deleted, listed())
		b.wantEnd(jobs.ImagesDeleted)
		if c := b.last.Counters; c.Attempts != 0 || c.APICalls != 11 {
			t.Errorf("%+v", c)
		}
	})
}

func TestOverLimit(t *testing.T) {
	a := tooMany
	a.RetryAfter = 17 * time.Second
	b := newBench(t)
	b.feed(listed(1), a)
	if !b.last.OverLimit || b.last.PauseBudget != 17*time.Second {
		t.Errorf("over limit %v for %v", b.last.OverLimit, b.last.PauseBudget)
	}
	b.feed(listed(1)) // listed again before anything is repeated
	b.wantCalls("list", "delete 0", "list")
	if b.last.OverLimit || b.last.PauseBudget != 0 {
		t.Error("one 429 pauses the budget twice")
	}
}

// The call for a token met it: the intent is withdrawn, and counts no call.
func TestOverLimitOfAToken(t *testing.T) {
	a := tooMany
	a.Message = unsent
	b := newBench(t)
	b.feed(listed(1), a)
	c := b.last.Calls[len(b.last.Calls)-1]
	if b.last.Counters.APICalls != 1 || b.last.Counters.Attempts != 0 || !c.SentAt.IsZero() || c.Class != jobs.ClassOverLimit {
		t.Errorf("%+v, the call %+v", b.last.Counters, c)
	}
	for _, i := range b.last.Images {
		if i.Sends != 0 || i.State != jobs.Planned {
			t.Errorf("the image is %+v", i)
		}
	}
	b.feed(listed(1), deleted, listed())
	b.wantEnd(jobs.ImagesDeleted)
}

func TestBackoff(t *testing.T) {
	for _, c := range []struct {
		random   float64
		attempts int
		want     time.Duration
	}{
		{0, 1, 2500 * time.Millisecond}, {0.999, 1, 4997500 * time.Microsecond},
		{0, 2, 5 * time.Second}, {0.999, 2, 9995 * time.Millisecond},
		{0, 5, 40 * time.Second}, {0.999, 5, 79960 * time.Millisecond},
		{0, 11, 30 * time.Minute}, {0.999, 11, 3598200 * time.Millisecond}, // bounded by an hour
		{0, 90, 30 * time.Minute}, {0.999, 90, 3598200 * time.Millisecond},
	} {
		b := newBench(t, func(b *bench) {
			b.cfg.MaxAttempts = 100
			b.cfg.Random = func() float64 { return c.random }
			b.rec.Attempts = c.attempts - 1
		})
		b.feed(timeout)
		b.wantBack(jobs.WaitBackoff, c.want)
	}
}
