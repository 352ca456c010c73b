package worker

import (
	"testing"
	"time"

	"github.com/imagepurge/imagepurge/jobs"
)

func TestTheRemoteOrganizationIsRecordedBeforeTheFirstDelete(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1, testConfig(), 0, 3, 2, 5, 0, 4)
	w.number = 100001
	deletes := 0
	w.answer = func(_ jobs.TaskID, kind jobs.Kind) *jobs.Answer {
		if kind == jobs.DeleteCall {
			if deletes++; w.pinned == 0 {
				t.Error("a DELETE was sent before the organisation was recorded")
			}
		}
		return nil
	}
	w.run(10 * time.Minute)
	if w.ended != NothingLeft || w.states()["completed"] != 6 || deletes != 14 {
		t.Fatalf("%s: %v, %d deletes", w.ended, w.states(), deletes)
	}
	if w.pinned != 100001 || w.pins != 1 {
		t.Errorf("recorded %d, asked %d times", w.pinned, w.pins)
	}
}

func TestTheListOfOneBrandDoesNotPurgeAnother(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1, testConfig(), 3, 2, 5)
	w.number, w.pinned = 200002, 100001
	w.run(10 * time.Minute)
	if w.ended != Breaker || w.breaker != jobs.CodeWrongOrganisation || w.deletes != 0 {
		t.Errorf("%s, breaker %q, %d deletes", w.ended, w.breaker, w.deletes)
	}
}

// With a number on record, images without one are not taken for ours.
func TestImagesWithoutANumber(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		pinned int64
		ended  End
	}{{100001, Breaker}, {0, NothingLeft}} {
		w := newWorld(t, 1, testConfig(), 3, 2)
		w.pinned = c.pinned
		w.unnumbered = true
		w.run(10 * time.Minute)
		if w.ended != c.ended || (w.deletes > 0) != (c.ended == NothingLeft) || c.ended == Breaker && w.breaker != jobs.CodeWrongOrganisation {
			t.Errorf("recorded %d: %s, breaker %q, %d deletes", c.pinned, w.ended, w.breaker, w.deletes)
		}
	}
}

// What else is under way when another brand's images are seen may be its, too: no
// customer is recorded as one without images.
func TestNothingIsRecordedOfAnotherBrand(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1, testConfig(), 3, 0, 0, 0, 0, 0, 0, 0)
	w.number, w.pinned = 200002, 100001
	w.run(10 * time.Minute)
	if w.ended != Breaker || w.silent == 7 || w.states()["completed"] != w.silent {
		t.Errorf("%s: %v, %d answers before an image was seen", w.ended, w.states(), w.silent)
	}
}

func TestAListingThatNamesTwoOrganizationsIsNoView(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1, testConfig(), 3)
	w.answer = func(_ jobs.TaskID, kind jobs.Kind) *jobs.Answer {
		if kind == jobs.DeleteCall {
			t.Error("a DELETE was sent")
		}
		return &jobs.Answer{Class: jobs.ClassListed, Images: []jobs.Key{{1}, {2}}, Organizations: []int64{1, 2}}
	}
	w.run(10 * time.Minute)
	if w.breaker != jobs.CodeWrongOrganisation {
		t.Errorf("%s, breaker %q", w.ended, w.breaker)
	}
}

func TestListingsWaitWhileTheOrganizationCannotBeRecorded(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1, testConfig(), 3, 2)
	w.number = 100001
	w.answer = func(_ jobs.TaskID, kind jobs.Kind) *jobs.Answer {
		if kind == jobs.ListCall && w.pins == 0 && !w.dbDown {
			w.dbDown = true
			w.later(20*time.Second, 20*time.Second, func() Event { w.dbDown = false; return Tick{} })
		}
		return nil
	}
	w.run(10 * time.Minute)
	if w.ended != NothingLeft || w.states()["completed"] != 2 {
		t.Errorf("%s: %v", w.ended, w.states())
	}
	for _, r := range w.tasks {
		if r.attempts != 0 {
			t.Errorf("task %d: %d attempts, though it was the database", r.id, r.attempts)
		}
	}
}

// A token that is revoked while many deletes are under way is renewed once; that none
// of them ran is no outage.
func TestARevokedTokenOpensNoBreaker(t *testing.T) {
	t.Parallel()
	images := make([]int, 60)
	for i := range images {
		images[i] = 1
	}
	w := newWorld(t, 1, testConfig(), images...)
	expired := make(map[jobs.TaskID]bool)
	w.answer = func(id jobs.TaskID, kind jobs.Kind) *jobs.Answer {
		if n := len(w.core.faulty); n > 0 {
			t.Errorf("%d customers are counted as met by a fault", n)
		}
		if kind == jobs.DeleteCall && !expired[id] {
			expired[id] = true
			return &jobs.Answer{Class: jobs.ClassNotRun, HTTPStatus: 401, Code: jobs.CodeTokenExpired}
		}
		return nil
	}
	w.run(10 * time.Minute)
	if w.breaker != "" || w.states()["completed"] != len(images) {
		t.Errorf("%s, breaker %q: %v", w.ended, w.breaker, w.states())
	}
}
