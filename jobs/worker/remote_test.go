package worker_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/imagepurge/imagepurge/jobs"
	"github.com/imagepurge/imagepurge/jobs/worker"
	"github.com/imagepurge/imagepurge/simulation/memory"
)

// swapped is a world whose calls reach another brand, which has so many images of each
// customer; ours has one of each, and is on record.
func swapped(t *testing.T, seed uint64, theirs ...int) *world {
	w := newWorld(t, seed, testConfig())
	for i, n := range theirs {
		w.give(&w.ours, int64(i+1), 1)
		w.give(&w.theirs, int64(i+1), n)
		w.store.Enqueue(w.now, 1, memory.NewTask{Customer: int64(i + 1)})
	}
	w.store.PinOrganization(w.ours.number)
	w.reach = func(jobs.TaskID, jobs.Kind) *brand { return &w.theirs }
	return w
}

func TestTheRemoteOrganizationIsRecordedBeforeTheFirstDelete(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1, testConfig(), 0, 3, 2, 5, 0, 4)
	recorded := int64(0)
	w.answer = func(_ jobs.TaskID, kind jobs.Kind) *jobs.Answer {
		if kind == jobs.DeleteCall && recorded == 0 {
			if recorded = w.store.PinOrganization(1); recorded == 1 {
				t.Error("a DELETE was sent before the organisation was recorded")
			}
		}
		return nil
	}
	w.run(10 * time.Minute)
	w.wantStates(map[jobs.State]int{jobs.Completed: 6})
	if recorded != w.ours.number || w.pins != 1 || w.deletes != 14 {
		t.Errorf("recorded %d, asked %d times, %d deletes", recorded, w.pins, w.deletes)
	}
}

func TestTheListOfOneBrandDoesNotPurgeAnother(t *testing.T) {
	t.Parallel()
	w := swapped(t, 1, 3, 2, 5)
	w.run(10 * time.Minute)
	if w.ended != worker.Breaker || w.breaker() != jobs.CodeWrongOrganisation || w.deletes != 0 {
		t.Errorf("%s, breaker %q, %d deletes", w.ended, w.breaker(), w.deletes)
	}
}

// With a number on record, images without one are not taken for ours.
func TestImagesWithoutANumber(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		recorded int64
		ended    worker.End
		breaker  string
		deletes  int
	}{{100001, worker.Breaker, jobs.CodeWrongOrganisation, 0}, {0, worker.NothingLeft, "", 5}} {
		w := newWorld(t, 1, testConfig(), 3, 0, 2)
		w.store.PinOrganization(c.recorded)
		w.ours.number = 0
		w.run(10 * time.Minute)
		if w.ended != c.ended || w.breaker() != c.breaker || w.deletes != c.deletes {
			t.Errorf("recorded %d: %s, breaker %q, %d deletes", c.recorded, w.ended, w.breaker(), w.deletes)
		}
	}
}

// Whatever was under way when another brand's images were seen may be its, too.
func TestNothingIsRecordedOfAnotherBrand(t *testing.T) {
	t.Parallel()
	const seeds = 200
	met := 0
	for seed := range uint64(seeds) {
		w := swapped(t, seed, append([]int{0, 0, 3}, make([]int, 62)...)...)
		w.run(10 * time.Minute)
		if w.ended != worker.Breaker || w.breaker() != jobs.CodeWrongOrganisation {
			t.Errorf("seed %d: %s, breaker %q", seed, w.ended, w.breaker())
		}
		if got := w.states()[jobs.Completed]; got != w.early {
			t.Errorf("seed %d: %d customers are completed, %d answers came before an image was seen", seed, got, w.early)
		}
		if w.late > 0 {
			met++
		}
	}
	if met < seeds*9/10 {
		t.Errorf("%d of %d seeds met an answer that named nobody after an image was seen", met, seeds)
	}
}

// A call is sent, another brand's image is seen, and the call is answered when all is
// well again. Its answer may be the other brand's: it tells nothing, costs nothing, and
// opens nothing.
func TestAnAnswerFromBeforeIsNotBelieved(t *testing.T) {
	t.Parallel()
	for _, kind := range []jobs.Kind{jobs.ListCall, jobs.DeleteCall} {
		for _, class := range jobs.Classes() {
			for _, person := range []bool{true, false} {
				w := swapped(t, 1)
				w.cfg.Once = false
				w.core = worker.NewCore(w.cfg)
				for id := range int64(5) { // a bystander shows in every listing whose the customer is
					w.give(&w.ours, id+1, 2)
					w.give(&w.theirs, id+1, 1)
					w.store.Enqueue(w.now, 1, memory.NewTask{Customer: id + 1, Named: w.ours.images[id+1][:1]})
				}
				asked, mended := false, false
				w.reach = func(id jobs.TaskID, k jobs.Kind) *brand {
					if id == 2 && k == kind && !asked || id == 3 && !mended {
						return &w.theirs
					}
					return &w.ours
				}
				w.takes = func(id jobs.TaskID, k jobs.Kind) time.Duration {
					switch {
					case id == 2 && k == kind && !asked:
						return 90 * time.Second
					case id == 3 && !mended:
						return 2 * time.Second // the call above is under way by then
					}
					return 0
				}
				w.answer = func(id jobs.TaskID, k jobs.Kind) *jobs.Answer {
					if id != 2 || k != kind || asked {
						return nil
					}
					asked = true
					return &jobs.Answer{Class: class, HTTPStatus: 200, Code: "x"}
				}
				w.at(5*time.Second, func() {
					if mended = true; person {
						w.store.CloseBreaker(w.now)
					}
				})
				w.run(5 * time.Minute)
				what := fmt.Sprintf("%s %s, closed by a person: %v", kind, class, person)
				if !asked || w.foreign.IsZero() || w.late == 0 {
					t.Errorf("%s: the case was not met", what)
				}
				if class == jobs.ClassRefused { // for all, as ever
					continue
				}
				if w.opened != 1 || w.breaker() != "" {
					t.Errorf("%s: the breaker opened %d times and is %q", what, w.opened, w.breaker())
				}
				w.wantStates(map[jobs.State]int{jobs.Completed: 5})
				if got := w.store.Task(2); got.Outcome != jobs.ImagesDeleted || got.VerifiedAt.IsZero() || got.Rec.Refusals > 0 {
					t.Errorf("%s: ended as %s, %d refusals", what, got.Outcome, got.Rec.Refusals)
				}
			}
		}
	}
}

// The image that shows another brand is in the answer to a call whose task was taken
// back meanwhile, or whose write is lost with its lease: no breaker knows of it.
func TestAnotherBrandIsHeededWhereItCannotBeRecorded(t *testing.T) {
	t.Parallel()
	for seed := range uint64(20) {
		w := swapped(t, seed, append([]int{0, 3}, make([]int, 30)...)...)
		w.answer = func(id jobs.TaskID, kind jobs.Kind) *jobs.Answer {
			if id == 2 && w.foreign.IsZero() { // no lease from before holds any more
				w.store.FailOver(w.store.Snapshot())
			}
			return nil
		}
		w.run(10 * time.Minute)
		if w.late == 0 || w.ended != worker.Breaker || w.breaker() != jobs.CodeWrongOrganisation {
			t.Errorf("seed %d: %s, breaker %q, %d answers after the image", seed, w.ended, w.breaker(), w.late)
		}
		if got := w.states()[jobs.Completed]; got > w.early {
			t.Errorf("seed %d: %d customers are completed, %d answers came before the image", seed, got, w.early)
		}
	}
}

// The breaker is open for another reason when the image is seen: it hears of that, and so
// its probes know.
func TestAnotherBrandIsHeededWhileTheBreakerIsOpenForElse(t *testing.T) {
	t.Parallel()
	w := swapped(t, 1, 0, 0, 3, 0)
	w.ours.images[1] = nil
	w.cfg.Once = false
	w.core = worker.NewCore(w.cfg)
	w.reach = func(id jobs.TaskID, _ jobs.Kind) *brand {
		if w.calls == 1 {
			return &w.ours // which lets all others begin
		}
		return &w.theirs
	}
	w.takes = func(id jobs.TaskID, _ jobs.Kind) time.Duration {
		if w.foreign.IsZero() {
			return map[jobs.TaskID]time.Duration{2: time.Second, 3: 2 * time.Second}[id]
		}
		return 0
	}
	w.answer = func(id jobs.TaskID, _ jobs.Kind) *jobs.Answer {
		if id == 2 && w.opened == 0 {
			return &jobs.Answer{Class: jobs.ClassRefused, HTTPStatus: 403, Code: "403"}
		}
		return nil
	}
	w.run(50 * time.Second)
	if w.opened == 0 || w.foreign.IsZero() || w.breaker() != jobs.CodeWrongOrganisation {
		t.Fatalf("refused %d times, image seen at %v, breaker %q", w.opened, w.foreign, w.breaker())
	}
	w.goOn(2 * time.Minute)
	if w.late == 0 || w.breaker() != jobs.CodeWrongOrganisation {
		t.Errorf("breaker %q, %d answers after the image", w.breaker(), w.late)
	}
}

// What the first image says waits until it is compared with the record, and so does
// every answer that names nobody meanwhile.
func TestAnswersThatNameNobodyWaitForTheRecord(t *testing.T) {
	t.Parallel()
	for _, theirs := range []bool{true, false} {
		w := swapped(t, 1, append([]int{0, 3}, make([]int, 30)...)...)
		if !theirs {
			w.ours.images = map[int64][]jobs.Key{2: w.ours.images[2]}
			w.reach = func(jobs.TaskID, jobs.Kind) *brand { return &w.ours }
		}
		waiting := 0
		w.answer = func(id jobs.TaskID, kind jobs.Kind) *jobs.Answer {
			switch {
			case id == 2 && w.pins == 0 && !w.down:
				w.down = true
				w.at(20*time.Second, func() { w.down = false })
			case w.down && w.pins > 0:
				waiting++
			}
			return nil
		}
		w.run(10 * time.Minute)
		if waiting == 0 || w.pins < 10 || w.pins > 12 {
			t.Errorf("theirs: %v: %d answers came while the record was asked for %d times", theirs, waiting, w.pins)
		}
		if got := w.states(); theirs && (got[jobs.Completed] != w.early || w.breaker() != jobs.CodeWrongOrganisation) {
			t.Errorf("breaker %q, %d customers are completed, %d answers came before the image", w.breaker(), got[jobs.Completed], w.early)
		}
		if !theirs {
			w.wantStates(map[jobs.State]int{jobs.Completed: 32})
		}
	}
}

func TestAListingThatNamesTwoOrganizationsIsNoView(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1, testConfig(), 3)
	w.answer = func(_ jobs.TaskID, kind jobs.Kind) *jobs.Answer {
		return &jobs.Answer{Class: jobs.ClassListed, Images: []jobs.Key{{1}, {2}}, Organizations: []int64{100001, 2}}
	}
	w.run(10 * time.Minute)
	if w.breaker() != jobs.CodeWrongOrganisation || w.calls != 1 || w.pins != 0 {
		t.Errorf("%s, breaker %q after %d calls", w.ended, w.breaker(), w.calls)
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
	cfg := testConfig()
	cfg.Budget.PerMinute = 6000
	w := newWorld(t, 1, cfg, images...)
	expired := make(map[jobs.TaskID]bool)
	w.takes = func(_ jobs.TaskID, kind jobs.Kind) time.Duration {
		return map[jobs.Kind]time.Duration{jobs.DeleteCall: 5 * time.Second}[kind]
	}
	row, longest := 0, 0
	w.answer = func(id jobs.TaskID, kind jobs.Kind) *jobs.Answer {
		if kind == jobs.DeleteCall && !expired[id] {
			expired[id] = true
			row++
			longest = max(longest, row)
			return &jobs.Answer{Class: jobs.ClassNotRun, HTTPStatus: 401, Code: jobs.CodeTokenExpired}
		}
		row = 0
		return nil
	}
	w.run(10 * time.Minute)
	if longest < 25 {
		t.Errorf("only %d in a row: an outage would not have been seen", longest)
	}
	if w.opened > 0 || w.states()[jobs.Completed] != len(images) {
		t.Errorf("%s, breaker %q: %v", w.ended, w.breaker(), w.states())
	}
}

// One question at a time; where the database doesn't answer it is asked again after two
// seconds.
func TestTheNumberIsRecordedByOneStatementAtATime(t *testing.T) {
	t.Parallel()
	w := hand(t, 1)
	w.told(w.records(1))
	want[worker.ListImages](t, w.told(w.slots(1)))
	want[worker.PinOrganization](t, w.answered(1, jobs.ListCall, w.list(&w.ours, 1)))
	if again, ok := first[worker.PinOrganization](w.told(worker.Tick{})); ok {
		t.Errorf("asked again: %v", again)
	}
	wake := want[worker.WakeAt](t, w.told(worker.OrganizationPinned{Err: errDown}))
	if got := wake.At.Sub(w.now); got != 2*time.Second {
		t.Errorf("it sleeps for %v", got)
	}
	w.now = wake.At
	want[worker.PinOrganization](t, w.told(worker.Tick{}))
}
