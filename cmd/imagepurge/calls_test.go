package main_test

import (
	"flag"
	"testing"
	"time"

	"github.com/imagepurge/imagepurge/capillary/sandbox"
)

var slowFor = flag.Duration("slow.for", 22*time.Second, "how long to work at 100 calls a minute")

func TestModesMakeTheirNumberOfCalls(t *testing.T) {
	t.Parallel()
	for name, calls := range map[string]func(int) int{
		"economy":  func(n int) int { return n + 1 },
		"verified": func(n int) int { return n + 2 },
		"paranoid": func(n int) int { return 2*n + 1 },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			crowd := people(31, 40)
			w := newWorld(t, sandbox.Options{Seed: 31, Population: crowd, Latency: sandbox.UniformLatency(0, 5*time.Millisecond)}).with("IMAGEPURGE_MODE=" + name)
			ids := everyone(crowd)
			batch := w.enqueue(ids)
			w.must(3, "run", "--once")
			w.wantTruth(batch, ids)
			w.wantHarmless(true)
			w.wantCalls(batch, calls)
			for id, x := range w.tasks(batch) {
				if want := x.Outcome == "no_images" || x.Outcome == "images_deleted" && name != "economy"; x.Verified != want {
					t.Errorf("customer %d, %s: verified is %v", id, x.Outcome, x.Verified)
				}
			}
		})
	}
}

func TestHundredCallsAMinuteKeepViewsFresh(t *testing.T) {
	t.Parallel()
	crowd := present(32, 40, 5) // all wait at once
	w := newWorld(t, sandbox.Options{
		Seed: 32, Population: crowd, Latency: sandbox.UniformLatency(100*time.Millisecond, 400*time.Millisecond), Limit: sandbox.Limit{PerMinute: 100},
	}).with("CAPILLARY_RATE_PER_MINUTE=100", "IMAGEPURGE_VIEW_MAX_AGE=6s") // ten calls, and a view of five images needs five
	batch := w.enqueue(everyone(crowd))
	w.must(0, "run", "--once", "--for", slowFor.String())
	w.wantHarmless(true)
	judge, ended := w.api.Judge(), 0
	for id, x := range w.tasks(batch) {
		lists, deletes := judge.Calls(id)
		lists -= w.count("SELECT count(*) FROM image_calls WHERE task_id = $1 AND class = 'not_sent'", x.ID) // see wantCalls
		if x.State == "completed" {
			ended++
			if lists != 2 || deletes != 5 {
				t.Errorf("customer %d: %d listings and %d deletes; want 2 and 5\n%s", id, lists, deletes, w.story(id))
			}
		} else if lists > 2 || deletes > 5 {
			t.Errorf("customer %d, not ended yet: %d listings and %d deletes\n%s", id, lists, deletes, w.story(id))
		}
	}
	// 100 calls a minute are 7 calls a customer, half of the time at the least.
	if want := int(slowFor.Minutes() * 100 / 7 / 2); ended < want {
		t.Errorf("%d customers ended in %v; want at least %d", ended, *slowFor, want)
	}
	if c := w.api.Journal().Counters(); c.RateLimited > 0 {
		t.Errorf("%d calls over the limit", c.RateLimited)
	}
}

func TestOneDeleteForAllImages(t *testing.T) {
	t.Parallel()
	for name, multi := range map[string]sandbox.MultiIndex{"highest first": sandbox.HighestFirst, "ascending": sandbox.AscendingShifting} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			crowd := sandbox.Populate(33, 30, sandbox.PopulateOptions{Images: [6]float64{1, 1, 1, 1, 1, 1}})
			w := newWorld(t, sandbox.Options{Seed: 33, Population: crowd, MultiIndex: multi}).
				with("IMAGEPURGE_DELETE_BATCHING=all", "IMAGEPURGE_REQUEST_TIMEOUT=3s", "IMAGEPURGE_SETTLE=3200ms")
			ids := everyone(crowd)
			batch := w.enqueue(ids)
			w.must(0, "run", "--once")
			w.wantTruth(batch, ids)
			w.wantHarmless(true)
			judge := w.api.Judge()
			for _, id := range ids {
				most := 3
				if multi == sandbox.AscendingShifting {
					most = 7
				}
				if len(w.api.Model().Initially(id).Images) == 0 {
					most = 1
				}
				lists, deletes := judge.Calls(id)
				if lists+deletes > most || multi == sandbox.HighestFirst && lists+deletes != most {
					t.Errorf("customer %d: %d listings and %d deletes; want at most %d in all\n%s", id, lists, deletes, most, w.story(id))
				}
			}
		})
	}
}

func TestUploadsMeanwhile(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]struct{ found, deleted, fresh, left int }{
		"snapshot":    {2, 2, 1, 1},
		"until_empty": {3, 3, 1, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			crowd := present(34, 20, 2)
			w := newWorld(t, sandbox.Options{Seed: 34, Population: crowd}).with("IMAGEPURGE_SCOPE=" + name)
			for _, id := range everyone(crowd) {
				w.api.ScriptOthers(id, []sandbox.Act{{Request: 2, After: true, Deed: sandbox.DeedUpload}})
			}
			batch := w.enqueue(everyone(crowd))
			w.must(0, "run", "--once")
			w.wantHarmless(true)
			for id, x := range w.tasks(batch) {
				if x.State != "completed" || x.Found != want.found || x.Deleted != want.deleted || x.New != want.fresh || len(w.api.Model().Images(id)) != want.left {
					t.Errorf("customer %d: %+v, and %d images are left; want %+v\n%s", id, x, len(w.api.Model().Images(id)), want, w.story(id))
				}
			}
		})
	}
}

func TestDryRunDeletesNothing(t *testing.T) {
	t.Parallel()
	crowd := people(35, 40)
	w := newWorld(t, sandbox.Options{Seed: 35, Population: crowd})
	ids := everyone(crowd)
	dry := w.enqueue(ids, "--dry-run")
	w.must(3, "run", "--once")
	if n := w.api.Journal().Counters().Deletes; n != 0 {
		t.Fatalf("%d deletes were sent", n)
	}
	for id, x := range w.tasks(dry) {
		c := w.api.Model().Initially(id)
		if c.Standing == sandbox.Present && (x.Outcome != "dry_run" || x.Found != len(c.Images) || x.Calls != 1) {
			t.Errorf("customer %d with %d images: %+v", id, len(c.Images), x)
		}
	}
	// The same list in earnest is another batch.
	if batch := w.enqueue(ids); batch == dry {
		t.Fatal("the dry run was taken for the list itself")
	} else {
		w.must(3, "run", "--once", "--batch", number(batch))
		w.wantTruth(batch, ids)
	}
}

func TestWorkBySQLAlone(t *testing.T) {
	t.Parallel()
	crowd := present(36, 12, 5)
	w := newWorldOn(t, sandbox.Options{Seed: 36, Population: crowd}, emptyDatabase(t))
	w.must(0, "migrate")
	ids := everyone(crowd)
	for i, id := range ids {
		if i%2 == 0 {
			w.exec("INSERT INTO image_deletion_tasks (customer_id) VALUES ($1)", id)
			continue
		}
		w.exec("INSERT INTO image_deletion_tasks (customer_id, image_tokens) VALUES ($1, $2)", id, w.tokens(id, 1, 3))
	}
	w.must(0, "run", "--once")
	w.wantHarmless(true)
	judge, all := w.api.Judge(), w.tasks(0)
	for i, id := range ids {
		calls, left := 7, 0
		if i%2 == 1 {
			calls, left = 4, 3
		}
		lists, deletes := judge.Calls(id)
		if x := all[id]; x.State != "completed" || x.Found != 5-left || x.Deleted != 5-left || lists+deletes != calls || len(w.api.Model().Images(id)) != left {
			t.Errorf("customer %d: %+v, %d images left\n%s", id, x, len(w.api.Model().Images(id)), w.story(id))
		}
	}
	if n := w.count("SELECT count(*) FROM batches WHERE kind = 'ad_hoc'"); n != 1 {
		t.Errorf("%d ad hoc batches", n)
	}
	w.checkDatabase()
}

// tokens are the tokens of a customer's images at some indexes.
func (w *world) tokens(customer int64, indexes ...int) (all []string) {
	for _, i := range indexes {
		all = append(all, w.api.Model().Initially(customer).Images[i].Token)
	}
	return all
}
