package purge_test

import (
	"testing"
	"time"

	"github.com/imagepurge/imagepurge/jobs"
	"github.com/imagepurge/imagepurge/jobs/purge"
)

// A listing that contradicts the rows is no view: it is made once more, a
// listing lag later, and then believed (protocol, steps 2 and 8).

func TestListingThatShowsADeletedImage(t *testing.T) {
	stale := func() *bench {
		b := newBench(t)
		b.feed(listed(1, 2), deleted, noImage, listed(1, 2))
		b.wantBack(jobs.WaitListingLag, 30*time.Second)
		b.wantRows("1:planned 2:unknown/answer")
		if b.last.Deleted != 0 || !b.last.Counters.Relisting {
			t.Errorf("%+v", b.last)
		}
		return b.claim()
	}
	t.Run("it was stale", func(t *testing.T) {
		b := stale()
		b.feed(listed(1), deleted, listed())
		b.wantEnd(jobs.ImagesDeleted)
		b.wantRows("1:deleted/answer 2:deleted/listing")
		if b.last.Counters.StillPresent != 0 {
			t.Error("a stale listing counts as a deletion that proved wrong")
		}
	})
	t.Run("it was right", func(t *testing.T) {
		b := stale()
		b.feed(listed(1, 2), deleted, deleted, listed())
		b.wantEnd(jobs.ImagesDeleted)
		if b.last.Counters.StillPresent != 1 || b.last.Counters.Relisting {
			t.Errorf("%+v", b.last.Counters)
		}
	})
	t.Run("the next one fails", func(t *testing.T) {
		b := stale()
		b.feed(timeout)
		b.wantBack(jobs.WaitBackoff, 2500*time.Millisecond)
		b.claim().feed(listed(1), deleted, listed())
		b.wantEnd(jobs.ImagesDeleted)
	})
}

func TestListingThatShowsAnAbsentImage(t *testing.T) {
	b := newBench(t)
	b.feed(listed(1, 2), noImage, listed(1))
	b.claim().feed(listed(1), noImage, listed(1, 2))
	b.wantBack(jobs.WaitListingLag, 30*time.Second)
	b.wantRows("1:planned 2:planned/listing")
	t.Run("it was stale", func(t *testing.T) {
		c := *b
		c.t = t
		c.rec.Images = append([]purge.Image(nil), b.rec.Images...)
		c.claim().feed(listed(1), deleted, listed())
		c.wantEnd(jobs.ImagesDeleted)
		c.wantRows("1:deleted/answer 2:absent/listing")
	})
	t.Run("it is back", func(t *testing.T) {
		c := *b
		c.t = t
		c.rec.Images = append([]purge.Image(nil), b.rec.Images...)
		c.claim().feed(listed(1, 2), deleted, deleted, listed())
		c.wantEnd(jobs.ImagesDeleted)
		c.wantRows("1:deleted/answer 2:deleted/answer")
	})
}

func TestListingThatLacksAPlannedImage(t *testing.T) {
	lacking := func(t *testing.T) *bench {
		t.Helper()
		b := newBench(t, named(1, 2))
		b.feed(listed(1, 2, 3), busy)
		b.claim().feed(listed(3))
		b.wantBack(jobs.WaitListingLag, 30*time.Second)
		b.wantRows("1:planned 2:planned 3:bystander")
		if !b.last.Counters.Relisting {
			t.Error("the next listing does not decide")
		}
		return b.claim()
	}
	t.Run("others removed it", func(t *testing.T) {
		b := lacking(t)
		b.feed(listed(3))
		b.wantEnd(jobs.ImagesDeleted)
		b.wantRows("1:absent/listing 2:absent/listing 3:bystander")
		if b.last.Deleted != 0 {
			t.Errorf("%d images deleted, want none: others removed them", b.last.Deleted)
		}
	})
	t.Run("others removed one of two", func(t *testing.T) {
		b := lacking(t)
		b.feed(listed(1, 3), deleted, listed(3))
		b.wantEnd(jobs.ImagesDeleted)
		b.wantRows("1:deleted/answer 2:absent/listing 3:bystander")
	})
	t.Run("it was stale", func(t *testing.T) {
		b := lacking(t)
		b.feed(listed(1, 2, 3), deleted, deleted, listed(3))
		b.wantEnd(jobs.ImagesDeleted)
		b.wantRows("1:deleted/answer 2:deleted/answer 3:bystander")
		if b.last.Counters.StillPresent != 0 {
			t.Error("a stale listing counts as a deletion that proved wrong")
		}
	})
	t.Run("the next one fails", func(t *testing.T) {
		b := lacking(t)
		b.feed(timeout)
		b.wantBack(jobs.WaitBackoff, 5*time.Second)
		b.claim().feed(listed(3))
		b.wantEnd(jobs.ImagesDeleted)
	})
}

func TestMissingBystander(t *testing.T) {
	t.Run("noticed after a second look", func(t *testing.T) {
		b := newBench(t, named(1))
		b.feed(listed(1, 2), deleted, listed())
		b.wantBack(jobs.WaitListingLag, 30*time.Second)
		b.claim().feed(listed())
		b.wantEnd(jobs.BystanderMissing)
		b.wantRows("1:deleted/answer 2:bystander/missing")
	})
	t.Run("it was stale", func(t *testing.T) {
		b := newBench(t, named(1))
		b.feed(listed(1, 2), deleted, listed())
		b.claim().feed(listed(2))
		b.wantEnd(jobs.ImagesDeleted)
		b.wantRows("1:deleted/answer 2:bystander")
	})
	t.Run("before any other outcome", func(t *testing.T) {
		b := newBench(t, named(1), func(b *bench) { b.cfg.MaxAttempts = 1 })
		b.feed(listed(1, 2), strange)
		b.claim().feed(listed(1))
		b.claim().feed(listed(1))
		b.wantEnd(jobs.BystanderMissing)
	})
	t.Run("explained by another task of ours", func(t *testing.T) {
		b := newBench(t, named(1))
		b.feed(listed(1, 2), busy)
		b.rec.DeletedElsewhere = append(b.rec.DeletedElsewhere, keys[2])
		b.claim().feed(listed(1), deleted, listed())
		b.wantEnd(jobs.ImagesDeleted)
		b.wantRows("1:deleted/answer 2:bystander/missing")
	})
	t.Run("reported once: a person's retry accepts it", func(t *testing.T) {
		b := newBench(t, named(1))
		b.feed(listed(1, 2), busy)
		b.claim().feed(listed(1))
		b.claim().feed(listed(1))
		b.wantEnd(jobs.BystanderMissing)
		b.claim().feed(listed(1), deleted, listed())
		b.wantEnd(jobs.ImagesDeleted)
	})
	t.Run("not in economy after its last delete", func(t *testing.T) {
		b := newBench(t, named(1), mode(jobs.Economy))
		b.feed(listed(1, 2), deleted)
		b.wantEnd(jobs.ImagesDeleted)
		b.wantCalls("list", "delete 0")
	})
}
