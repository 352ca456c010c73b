package repository_test

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/imagepurge/imagepurge/jobs"
	"github.com/imagepurge/imagepurge/repository"
)

// ids yields a list of customers; fault, where set, comes instead of its end.
type ids struct {
	list  []int64
	at    int
	fault error
}

func (l *ids) Next() (int, int64, bool, error) {
	if l.at == len(l.list) {
		return l.at, 0, false, l.fault
	}
	l.at++
	return l.at, l.list[l.at-1], true, nil
}

func (l *ids) Digest() [sha256.Size]byte { return sha256.Sum256([]byte(fmt.Sprint(l.list))) }

func people(n ...int64) *ids { return &ids{list: n} }

func file() repository.Intake {
	return repository.Intake{Organization: 1, Name: "customers.csv", RequestedBy: "dpo", Reason: "article 17", Person: ann}
}

func (d *db) takeIn(in repository.Intake, l *ids) repository.Intaken {
	d.Helper()
	got, err := d.TakeIn(d.ctx, in, l)
	if err != nil {
		d.Fatal(err)
	}
	return got
}

func TestAnIntakeIsOneBatch(t *testing.T) {
	t.Parallel()
	d := open(t)
	if _, err := d.RecordOrganization(d.ctx, "default", repository.Settings{Mode: jobs.Verified, Scope: jobs.Snapshot, Source: "INSTORE", AccountID: "acc"}); err != nil {
		t.Fatal(err)
	}
	in := file()
	in.Settings = repository.Settings{Mode: jobs.Economy, Source: "WEB"}
	got := d.takeIn(in, people(5, 3, 5, 9, 3, 5))
	if want := (repository.Intaken{Batch: 1, Tasks: 3, Repeated: 3}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if order := list[int64](d, "SELECT customer_id FROM image_deletion_tasks ORDER BY id"); !slices.Equal(order, []int64{5, 3, 9}) {
		t.Errorf("got customers %v, want them in the order of their first lines", order)
	}
	if got := list[string](d, "SELECT DISTINCT concat_ws(' ', mode, scope, source, account_id, state, dry_run) FROM image_deletion_tasks"); !slices.Equal(got, []string{"economy snapshot WEB acc pending f"}) {
		t.Errorf("tasks are %v", got)
	}
	b, err := d.Batch(d.ctx, 1)
	if err != nil || b.Tasks != 3 || b.Open != 3 || b.Kind != "file" || b.Name != "customers.csv" || *b.RequestedBy != "dpo" || *b.Reason != "article 17" || b.State != "active" || b.Status() != "open" {
		t.Errorf("%+v, %v", b, err)
	}
	if n := d.audited("batch.create"); n != 1 {
		t.Errorf("%d audit entries", n)
	}
	if n := get[int](d, "SELECT count(*) FROM batch_arrivals"); n != 0 {
		t.Errorf("counted as arrivals, too: %d rows", n)
	}
	if got := d.claim(); !slices.Equal(customersOf(got), []int64{5, 3, 9}) {
		t.Errorf("claimed %v", customersOf(got))
	}
}

func TestAnIntakeDryOrPaused(t *testing.T) {
	t.Parallel()
	d := open(t)
	dry := file()
	dry.DryRun, dry.Paused = true, true
	d.takeIn(dry, people(1))
	if len(d.claim()) != 0 {
		t.Error("claimed a task of a batch that was taken in paused")
	}
	if err := d.ResumeBatch(d.ctx, ann, 1, "go"); err != nil {
		t.Fatal(err)
	}
	r := d.one()
	if !r.DryRun {
		t.Error("not a dry run")
	}
	d.refusedWrite(intent(r, "x"), "cancelled")
	// A dry run of a list is not the purge of it, nor the other way round.
	real := d.takeIn(file(), people(1))
	if real.Existing || real.Batch == 1 {
		t.Errorf("a dry run that is not finished stands for the purge: %+v", real)
	}
	if again := d.takeIn(file(), people(1)); !again.Existing || again.Batch != real.Batch {
		t.Errorf("got %+v, want batch %d", again, real.Batch)
	}
	if again := d.takeIn(dry, people(1)); !again.Existing || again.Batch != 1 {
		t.Errorf("got %+v, want batch 1", again)
	}
	d.by("INSERT INTO image_deletion_tasks (customer_id, batch_id) VALUES (2, 1)")
	if !get[bool](d, "SELECT dry_run FROM image_deletion_tasks WHERE customer_id = 2") {
		t.Error("a task that comes by SQL to a dry batch is not dry")
	}
}

func TestTheSameContentAgain(t *testing.T) {
	t.Parallel()
	d := open(t)
	first := d.takeIn(file(), people(1, 2))
	again := d.takeIn(file(), people(1, 2))
	if !again.Existing || again.Batch != first.Batch || again.Tasks != 2 || again.Taken.IsZero() {
		t.Errorf("of an unfinished batch: got %+v", again)
	}
	if other := d.takeIn(file(), people(2, 1)); other.Existing || other.Batch == first.Batch {
		t.Errorf("another content: got %+v", other)
	}
	for _, r := range d.claim(ofBatch(first.Batch)) {
		d.applied(finish(r, jobs.StillPresent))
	}
	later := d.takeIn(file(), people(1, 2))
	if later.Existing || later.Earlier != first.Batch || later.Taken.IsZero() || later.Batch == first.Batch {
		t.Errorf("of a finished batch: got %+v, want a new one and a word of batch %d", later, first.Batch)
	}
	if again := d.takeIn(file(), people(1, 2)); !again.Existing || again.Batch != later.Batch || again.Earlier != 0 {
		t.Errorf("with a finished and an unfinished one: got %+v, want batch %d", again, later.Batch)
	}
	if _, err := d.CancelBatch(d.ctx, ann, later.Batch, "no"); err != nil {
		t.Fatal(err)
	}
	if again := d.takeIn(file(), people(1, 2)); again.Existing || again.Batch == later.Batch || again.Earlier != first.Batch {
		t.Errorf("after one was cancelled: got %+v", again)
	}
}

func TestAKeyIsOneBatch(t *testing.T) {
	t.Parallel()
	d := open(t)
	keyed := file()
	keyed.Key = "2026-03"
	first := d.takeIn(keyed, people(1))
	for _, r := range d.claim() {
		d.applied(finish(r, jobs.NoImages))
	}
	if again := d.takeIn(keyed, people(1)); !again.Existing || again.Batch != first.Batch || again.Tasks != 1 {
		t.Errorf("a finished batch of the key: got %+v", again)
	}
	_, err := d.TakeIn(d.ctx, keyed, people(2))
	var taken *repository.KeyTakenError
	if !errors.As(err, &taken) || taken.Batch != first.Batch || !strings.Contains(err.Error(), `key "2026-03" was used for batch 1`) {
		t.Errorf("another content: got error %v", err)
	}
	keyed.Key = "2026-04"
	if other := d.takeIn(keyed, people(1)); other.Existing || other.Batch == first.Batch {
		t.Errorf("another key, same content: got %+v", other)
	}
}

func TestAnIntakeThatFailsLeavesNothing(t *testing.T) {
	t.Parallel()
	d := openWith(t, 1)
	before := d.snapshot()
	broken := errors.New("line 3: not a number")
	for what, l := range map[string]*ids{
		"a bad line":      {list: []int64{1, 2}, fault: broken},
		"a bad customer":  people(1, 0),
		"a bad first one": {fault: broken},
	} {
		got, err := d.TakeIn(d.ctx, file(), l)
		if err == nil || got != (repository.Intaken{}) {
			t.Errorf("%s: got %+v, %v", what, got, err)
		}
		if l.fault != nil && !errors.Is(err, broken) {
			t.Errorf("%s: got error %v, want the iterator's", what, err)
		}
	}
	in := file()
	in.Organization = 9
	if got, err := d.TakeIn(d.ctx, in, people(1)); err == nil {
		t.Errorf("no such organisation: got %+v", got)
	}
	if d.snapshot() != before {
		t.Error("something was left")
	}
	d.takeIn(file(), people(1)) // the connection is as good as before
}

func TestTwoIntakesOfTheSameContentAtOnceMakeOneBatch(t *testing.T) {
	t.Parallel()
	d := openWith(t, 8)
	for _, key := range []string{"", "k"} {
		for range 5 {
			d.as("retry", "DELETE FROM image_deletion_tasks")
			d.by("DELETE FROM batch_arrivals")
			d.by("DELETE FROM batches")
			var (
				all sync.WaitGroup
				mu  sync.Mutex
				got = map[int64]int{}
				new int
			)
			for range 6 {
				all.Go(func() {
					in := file()
					in.Key = key
					r, err := d.TakeIn(d.ctx, in, people(1, 2, 3))
					mu.Lock()
					defer mu.Unlock()
					if err != nil {
						t.Error(err)
					}
					if got[r.Batch]++; !r.Existing {
						new++
					}
				})
			}
			all.Wait()
			if len(got) != 1 || new != 1 || get[int](d, "SELECT count(*) FROM image_deletion_tasks") != 3 {
				t.Fatalf("key %q: got batches %v, %d of them new", key, got, new)
			}
		}
	}
}
