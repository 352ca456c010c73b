package repository_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/imagepurge/imagepurge/jobs"
	"github.com/imagepurge/imagepurge/repository"
)

const (
	someURL  = "https://eu.api.example"
	otherURL = "https://apac.api.example"
)

var (
	own   = repository.Settings{Mode: jobs.Verified, Scope: jobs.Snapshot, Source: "INSTORE"}
	asker = repository.Person{Name: "alice", Host: "desk"}
)

func (d *db) agree(set repository.Settings, url string) (repository.Agreement, error) {
	return d.Agree(d.ctx, repository.Person{Name: "w1", Host: "h1"}, "default", set, url)
}

func TestTheFirstWorkersSettingsAreRecorded(t *testing.T) {
	t.Parallel()
	d := open(t)
	// An intake's are provisional: it may run on somebody's desk.
	if _, err := d.RecordOrganization(d.ctx, "default", repository.Settings{Mode: jobs.Paranoid}); err != nil {
		t.Fatal(err)
	}
	got, err := d.agree(own, someURL)
	if err != nil || got.Settings() != own || got.Values[repository.SettingBaseURL] != someURL || len(got.Recorded) != 5 || len(got.Decided) != 0 {
		t.Errorf("%+v, %v", got, err)
	}
	if again, err := d.agree(own, someURL); err != nil || !again.Same(got.Agreed) {
		t.Errorf("again: %+v, %v", again, err)
	}
	if _, err := d.RecordOrganization(d.ctx, "default", repository.Settings{Mode: jobs.Paranoid, Source: "WEB", AccountID: "7"}); err != nil {
		t.Fatal(err)
	}
	if now, err := d.Agreed(d.ctx, "default"); err != nil || !now.Same(got.Agreed) {
		t.Errorf("an intake changed what a worker has recorded: %+v, %v", now, err)
	}
}

func TestAWorkerThatDiffersIsRefused(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change func(*repository.Settings)
		says   string
	}{
		"mode":              {func(s *repository.Settings) { s.Mode = jobs.Economy }, "mode is economy here, and verified is recorded"},
		"scope":             {func(s *repository.Settings) { s.Scope = jobs.UntilEmpty }, "scope is until_empty here, and snapshot is recorded"},
		"source":            {func(s *repository.Settings) { s.Source = "WEB" }, "source is WEB here, and INSTORE is recorded"},
		"account":           {func(s *repository.Settings) { s.AccountID = "12" }, "account_id is 12 here, and none is recorded"},
		"several, all told": {func(s *repository.Settings) { s.Mode, s.Source = jobs.Paranoid, "WEB" }, "mode is paranoid here, and verified is recorded; source is WEB here, and INSTORE is recorded"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := open(t)
			if _, err := d.agree(own, someURL); err != nil {
				t.Fatal(err)
			}
			other := own
			c.change(&other)
			_, err := d.agree(other, someURL)
			var differ *repository.DifferentSettingsError
			if !errors.As(err, &differ) || !strings.HasSuffix(err.Error(), c.says) {
				t.Errorf("%v", err)
			}
			if now, err := d.Agreed(d.ctx, "default"); err != nil || now.Settings() != own {
				t.Errorf("a refused worker left its settings: %+v, %v", now, err)
			}
		})
	}
}

func TestABaseURLWithOpenTasksIsConfirmed(t *testing.T) {
	t.Parallel()
	for state, open1 := range map[string]bool{"none": false, "pending": true, "running": true, "review": true, "arrived": true, "completed": false,
		"failed": true, "cancelled": false, "failed, in a cancelled batch": false, "review, in a cancelled batch": true} {
		t.Run(state, func(t *testing.T) {
			t.Parallel()
			d := open(t)
			if _, err := d.agree(own, someURL); err != nil {
				t.Fatal(err)
			}
			if state != "none" {
				d.customers(1)
			}
			if state != "none" && state != "arrived" {
				d.by("UPDATE batches SET tasks_total = 1")
				d.by("DELETE FROM batch_arrivals")
			}
			switch state {
			case "review", "completed", "failed", "cancelled":
				d.by("UPDATE batches SET tasks_" + state + " = 1")
			case "failed, in a cancelled batch":
				d.by("UPDATE batches SET tasks_failed = 1, state = 'cancelled'")
			case "review, in a cancelled batch":
				d.by("UPDATE batches SET tasks_review = 1, state = 'cancelled'")
			}
			got, err := d.agree(own, otherURL)
			if !open1 {
				if err != nil || got.Moved == nil || got.Values[repository.SettingBaseURL] != otherURL || d.audited("organization.move") != 1 {
					t.Errorf("%+v, %v", got, err)
				}
				return
			}
			var differ *repository.DifferentSettingsError
			if !errors.As(err, &differ) || d.audited("organization.move") != 0 {
				t.Fatalf("%+v, %v", got, err)
			}
			if _, _, err := d.Decide(d.ctx, asker, "default", map[string]string{repository.SettingBaseURL: otherURL}, "moved"); err != nil {
				t.Fatal(err)
			}
			if _, err := d.agree(own, otherURL); err != nil {
				t.Errorf("confirmed, and yet: %v", err)
			}
			// Credentials go to no host that the worker's own settings don't name.
			if _, err := d.agree(own, someURL); !errors.As(err, &differ) {
				t.Errorf("a worker with the old one: %v", err)
			}
		})
	}
}

// What failed binds the address before, while and after it is tried again; where its
// batch is cancelled it is never tried again.
func TestWhatMayBeTriedAgainBindsTheBaseURL(t *testing.T) {
	t.Parallel()
	for _, cancelled := range []bool{false, true} {
		t.Run(fmt.Sprintf("cancelled meanwhile %t", cancelled), func(t *testing.T) {
			t.Parallel()
			d := open(t)
			if _, err := d.agree(own, someURL); err != nil {
				t.Fatal(err)
			}
			d.customers(1, 2)
			if err := d.FoldArrivals(d.ctx); err != nil {
				t.Fatal(err)
			}
			for _, r := range d.claim() {
				d.applied(finish(r, jobs.InvalidCustomer))
			}
			bound := func(when string, want bool) {
				t.Helper()
				_, err := d.agree(own, otherURL)
				if differ := (*repository.DifferentSettingsError)(nil); errors.As(err, &differ) != want {
					t.Errorf("%s: %v", when, err)
				}
			}
			bound("before", true)
			tx, err := d.pool.Begin(d.ctx)
			if err != nil {
				t.Fatal(err)
			}
			hold := "SELECT FROM batches FOR UPDATE"
			if cancelled {
				hold = "UPDATE batches SET state = 'cancelled'"
			}
			if _, err := tx.Exec(d.ctx, hold); err != nil {
				t.Fatal(err)
			}
			var (
				again   int64
				retried sync.WaitGroup
			)
			retried.Go(func() {
				if again, err = d.RetryBatch(d.ctx, ann, 1, "r", true); err != nil {
					t.Error(err)
				}
			})
			d.waiting(1)
			bound("meanwhile", true)
			if err := tx.Commit(d.ctx); err != nil {
				t.Fatal(err)
			}
			retried.Wait()
			if pending := get[int64](d, "SELECT count(*) FROM image_deletion_tasks WHERE state = 'pending'"); again != pending || (pending == 0) != cancelled {
				t.Errorf("%d are tried again, %d are pending", again, pending)
			}
			bound("afterwards", !cancelled)
		})
	}
}

func TestAPersonsDecisionStandsAboveWorkers(t *testing.T) {
	t.Parallel()
	d := open(t)
	if _, err := d.agree(own, someURL); err != nil {
		t.Fatal(err)
	}
	before, after, err := d.Decide(d.ctx, asker, "default", map[string]string{"mode": "economy", "account_id": "12"}, "fewer calls")
	if err != nil || before.Values["mode"] != "verified" || after.Values["mode"] != "economy" || d.audited("organization.set") != 1 {
		t.Fatalf("%+v %+v %v", before, after, err)
	}
	got, err := d.agree(own, someURL)
	want := []repository.Difference{{Name: "mode", Own: "verified", Recorded: "economy"}, {Name: "account_id", Recorded: "12"}}
	if diff := cmp.Diff(got.Overruled, want); diff != "" || err != nil || got.Settings().Mode != jobs.Economy || got.Settings().AccountID != "12" {
		t.Errorf("%v %s", err, diff)
	}
	// No account at all can be decided, too.
	if _, _, err := d.Decide(d.ctx, asker, "default", map[string]string{"account_id": "none"}, "all"); err != nil {
		t.Fatal(err)
	}
	mine := own
	mine.AccountID = "13"
	if got, err := d.agree(mine, someURL); err != nil || got.Settings().AccountID != "" {
		t.Errorf("%+v %v", got, err)
	}
	// Nothing is decided any more: the next worker's own is recorded.
	if _, _, err := d.Decide(d.ctx, asker, "default", map[string]string{"account_id": "", "mode": ""}, "as the settings say"); err != nil {
		t.Fatal(err)
	}
	if got, err := d.agree(mine, someURL); err != nil || got.Settings() != mine || len(got.Decided) != 0 {
		t.Errorf("%+v %v", got, err)
	}
	if _, _, err := d.Decide(d.ctx, asker, "nobody", map[string]string{"mode": "economy"}, "x"); !errors.Is(err, repository.ErrNotFound) {
		t.Errorf("%v", err)
	}
}

// Of workers that come at once with different settings one kind wins, whole.
func TestWorkersThatStartAtOnceAgree(t *testing.T) {
	t.Parallel()
	d := openWith(t, 8)
	for range 10 {
		d.by("UPDATE organizations SET settings_recorded = '{}'")
		var (
			group sync.WaitGroup
			mu    sync.Mutex
			won   []string
		)
		begin := make(chan struct{})
		for i := range 8 {
			group.Go(func() {
				set := own
				if i%2 == 1 {
					set.Mode, set.Source = jobs.Economy, "WEB"
				}
				<-begin
				got, err := d.agree(set, someURL)
				var differ *repository.DifferentSettingsError
				mu.Lock()
				defer mu.Unlock()
				switch {
				case err == nil:
					won = append(won, fmt.Sprint(got.Settings()))
				case !errors.As(err, &differ) || len(differ.Differences) != 2:
					t.Error(err)
				}
			})
		}
		close(begin)
		group.Wait()
		slices.Sort(won)
		if won = slices.Compact(won); len(won) != 1 {
			t.Fatalf("%v", won)
		}
	}
}

// The organisation that nobody has used does not count once others are configured.
func TestNeverUsedDefaultGivesWay(t *testing.T) {
	t.Parallel()
	d := open(t)
	if _, err := d.agree(own, someURL); err != nil { // tried once, without a list
		t.Fatal(err)
	}
	other := own
	other.Mode = jobs.Economy
	for _, name := range []string{"brand-a", "brand-b"} {
		if _, err := d.Agree(d.ctx, asker, name, other, otherURL); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if names := list[string](d, "SELECT name FROM organizations ORDER BY id"); !slices.Equal(names, []string{"brand-a", "brand-b"}) {
		t.Errorf("%v", names)
	}
	if n := get[int](d, "SELECT count(*) FROM rate_budgets"); n != 2 {
		t.Errorf("%d budgets", n)
	}
	_, err := d.Pool().Exec(d.ctx, "INSERT INTO image_deletion_tasks (customer_id) VALUES (1)")
	if err == nil || !strings.Contains(err.Error(), "there are 2 organisations: a task must name one") {
		t.Errorf("a bare INSERT for several organisations: %v", err)
	}
}
