package repository_test

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/imagepurge/imagepurge/repository"
)

func (d *db) timetable() repository.Timetable {
	d.Helper()
	t, err := d.Timetable(d.ctx, 1)
	if err != nil {
		d.Fatal(err)
	}
	return t
}

func (d *db) makeRun(worker string, opens, closes time.Time) bool {
	d.Helper()
	made, err := d.MakeRun(d.ctx, 1, opens, closes, "in words", worker)
	if err != nil {
		d.Fatal(err)
	}
	return made
}

func TestTheRunOfATickIsMadeOnceByManyWorkers(t *testing.T) {
	t.Parallel()
	d := openWith(t, 16)
	tick := d.timetable().Now.Add(-time.Minute).Truncate(time.Second)
	var (
		all  sync.WaitGroup
		mu   sync.Mutex
		made []string
	)
	for i := range 16 {
		all.Go(func() {
			// Half of them mean another window, as with another schedule.
			opens := tick.Add(time.Duration(i%2) * time.Second)
			if ok, err := d.MakeRun(d.ctx, 1, opens, opens.Add(time.Hour), "in words", fmt.Sprint("w", i)); err != nil {
				t.Error(err)
			} else if ok {
				mu.Lock()
				made = append(made, fmt.Sprint("w", i))
				mu.Unlock()
			}
		})
	}
	all.Wait()
	if len(made) != 1 {
		t.Fatalf("made by %v, want one", made)
	}
	if n := get[int](d, "SELECT count(*) FROM schedule_runs"); n != 1 {
		t.Errorf("%d rows, want one", n)
	}
	run := d.timetable().Newest
	if run == nil || run.OpenedBy != made[0] || run.ClosesAt.Sub(run.Tick) != time.Hour || !run.OpenedAt.After(run.Tick) || run.EndedAt != nil {
		t.Errorf("the timetable has %+v", run)
	}
}

func TestARunIsMadeInsideItsWindowOnly(t *testing.T) {
	t.Parallel()
	d := open(t)
	now := d.timetable().Now
	for name, w := range map[string][2]time.Time{
		"ahead": {now.Add(time.Minute), now.Add(time.Hour)},
		"over":  {now.Add(-time.Hour), now.Add(-time.Second)},
	} {
		if d.makeRun("w", w[0], w[1]) {
			t.Errorf("a run was made whose window is %s", name)
		}
	}
	if run := d.timetable().Newest; run != nil {
		t.Errorf("the timetable has %+v", run)
	}
}

// pastRun is a run that was over a minute ago.
func (d *db) pastRun() (opens, closes time.Time) {
	d.Helper()
	closes = d.timetable().Now.Add(-time.Minute)
	opens = closes.Add(-time.Hour)
	d.by(`INSERT INTO schedule_runs (organization_id, tick, closes_at, schedule, opened_at, opened_by) VALUES (1, $1, $2, 'in words', $1, 'w')`, opens, closes)
	return opens, closes
}

// A window that has an instant in common with a run joins it, also after its end;
// one that begins where it ended doesn't.
func TestRunsAreApart(t *testing.T) {
	t.Parallel()
	d := open(t)
	opens, closes := d.pastRun()
	if d.makeRun("w", closes.Add(-time.Second), closes.Add(time.Hour)) || d.makeRun("w", opens.Add(-time.Hour), closes.Add(time.Hour)) {
		t.Error("a run was made that overlaps one")
	}
	// Another organisation's runs are its own.
	d.by("INSERT INTO organizations (name) VALUES ('other')")
	if made, err := d.MakeRun(d.ctx, 2, closes.Add(-time.Second), closes.Add(time.Hour), "in words", "w"); err != nil || !made {
		t.Errorf("the other organisation's run: %v, %v", made, err)
	}
	if !d.makeRun("w", closes, closes.Add(time.Hour)) {
		t.Error("no run was made where one ended")
	}
	runs, err := d.Runs(d.ctx, 1, opens, closes)
	if err != nil || len(runs) != 1 || !runs[0].Tick.Equal(opens) {
		t.Errorf("the runs of that span: %+v, %v", runs, err)
	}
}

func TestARunIsEndedOnce(t *testing.T) {
	t.Parallel()
	d := openWith(t, 8)
	d.pastRun()
	now := d.timetable().Now
	d.makeRun("w", now.Add(-time.Second), now.Add(time.Hour))
	if !d.timetable().Unended {
		t.Error("the timetable doesn't tell the run that is over")
	}
	var (
		all sync.WaitGroup
		mu  sync.Mutex
		sum int64
	)
	for i := range 8 {
		all.Go(func() {
			n, err := d.EndRuns(d.ctx, 1, fmt.Sprint("w", i))
			if err != nil {
				t.Error(err)
			}
			mu.Lock()
			sum += n
			mu.Unlock()
		})
	}
	all.Wait()
	if sum != 1 || get[int](d, "SELECT count(*) FROM schedule_runs WHERE ended_at IS NOT NULL") != 1 || d.timetable().Unended {
		t.Errorf("ended %d times, %+v", sum, d.timetable())
	}
}

func TestTheNewestStartsScheduleIsInUse(t *testing.T) {
	t.Parallel()
	d := open(t)
	record := func(schedule, worker string) string {
		t.Helper()
		before, err := d.RecordSchedule(d.ctx, ann, 1, schedule, worker)
		if err != nil {
			t.Fatal(err)
		}
		return before
	}
	if got := d.timetable(); got.Schedule != "" {
		t.Errorf("a schedule from the start: %+v", got)
	}
	if before := record("A", "w1"); before != "" {
		t.Errorf("before the first: %q", before)
	}
	first := d.timetable()
	if before := record("A", "w2"); before != "" || d.timetable().RecordedBy != "w1" || !d.timetable().Since.Equal(first.Since) {
		t.Errorf("the same again: %q, %+v", before, d.timetable())
	}
	if before := record("B", "w3"); before != "A" {
		t.Errorf("before B: %q", before)
	}
	if got := d.timetable(); got.Schedule != "B" || got.RecordedBy != "w3" || !got.Since.After(first.Since) {
		t.Errorf("in use: %+v", got)
	}
	entries := list[string](d, "SELECT actor || ': ' || (details->>'from') || ' to ' || (details->>'to') || ' by ' || (details->>'worker') FROM audit_entries WHERE action = 'schedule.change'")
	if len(entries) != 1 || entries[0] != "ann: A to B by w3" {
		t.Errorf("audit entries: %q", entries)
	}
}
