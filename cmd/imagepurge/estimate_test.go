package main_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/imagepurge/imagepurge/capillary/sandbox"
)

type endView struct {
	Batch   int64      `json:"batch_id"`
	Calls   int64      `json:"calls_estimated"`
	Until   *time.Time `json:"until_estimated"`
	Unknown string     `json:"unknown"`
	Late    bool       `json:"misses_deadline"`
}

func (w *world) ends() map[int64]endView {
	w.Helper()
	all := make(map[int64]endView)
	for _, e := range parse[struct{ Estimates []endView }](w, w.must(0, "status", "-o", "json").out).Estimates {
		all[e.Batch] = e
	}
	return all
}

func TestEndsAreToldEverywhere(t *testing.T) {
	t.Parallel()
	crowd := present(671, 3000, 1)
	opens := time.Now().UTC().Add(12 * time.Hour).Hour()
	w := newWorld(t, sandbox.Options{Seed: 671, Population: crowd}).
		with("CAPILLARY_RATE_PER_MINUTE=100", fmt.Sprintf("IMAGEPURGE_SCHEDULE=0 %d * * *", opens), "IMAGEPURGE_WINDOW=1h")
	ids := everyone(crowd)
	file := w.list("customers.csv", ids[:2400]...) // 7,200 calls: one night and a bit
	e := w.must(0, "enqueue", file)
	if !strings.Contains(e.err, "about 7,200 calls, done about 20") || !strings.Contains(e.err, "night)") || strings.Contains(e.err, "can't meet") {
		t.Errorf("%s", e)
	}
	whole := w.ends()[1]
	if whole.Calls != 7200 || whole.Until == nil || whole.Until.Before(time.Now()) || whole.Late {
		t.Errorf("%+v", whole)
	}
	if e := w.must(0, "batch", "show", "1"); !strings.Contains(e.out, "ends      done about "+whole.Until.UTC().Format("2006-01-02 15:04")) {
		t.Errorf("%s", e)
	}

	// A deadline pulls another before it.
	late := w.must(0, "enqueue", "--deadline", time.Now().Add(90*time.Minute).UTC().Format(time.RFC3339), "--reason", "r", w.list("more.csv", ids[2400:]...))
	ends := w.ends()
	if ends[2].Until == nil || !ends[2].Until.Before(*ends[1].Until) || !ends[1].Until.After(*whole.Until) {
		t.Errorf("%+v", ends)
	}
	// The window opens long after the deadline.
	if !ends[2].Late || !strings.Contains(late.err, "warning: batch 2 can't meet its deadline") || !strings.Contains(late.err, "1,800 calls") {
		t.Errorf("%+v; %s", ends[2], late)
	}
	if e := w.must(3, "status", "--check"); !strings.Contains(e.out, "attention: batch 2 can't meet its deadline") {
		t.Errorf("%s", e)
	}
	if e := w.must(0, "batch", "show", "2"); !strings.Contains(e.out, "can't meet its deadline") {
		t.Errorf("%s", e)
	}
	w.must(0, "batch", "pause", "1", "--reason", "r")
	if e := w.must(0, "status"); !strings.Contains(e.out, "unknown: paused") {
		t.Errorf("%s", e)
	}
	if ends := w.ends(); ends[1].Unknown != "paused" || ends[1].Until != nil || ends[2].Until == nil {
		t.Errorf("%+v", ends)
	}
}

// The workers' schedule decides when a batch ends, whatever the settings of whoever
// asks.
func TestEndsAreThoseOfTheScheduleInUse(t *testing.T) {
	t.Parallel()
	w := newWorld(t, sandbox.Options{Seed: 672, Population: present(672, 3, 1)})
	month := time.Now().UTC().AddDate(0, 2, 0).Month()
	worker := w.with(fmt.Sprintf("IMAGEPURGE_SCHEDULE=0 3 1 %d *", month), "IMAGEPURGE_WINDOW=1h").start("run")
	w.until("its schedule is on record", func() bool { return w.count("SELECT count(*) FROM organization_schedules") == 1 })
	worker.stop()
	w.enqueue(everyone(present(672, 3, 1)))
	if got := w.ends()[1]; got.Until == nil || got.Until.UTC().Month() != month || got.Until.UTC().Day() != 1 || got.Until.UTC().Hour() != 3 {
		t.Errorf("%+v, want it in month %d", got, month)
	}
}

func TestDeadlinesAndPrioritiesAreChecked(t *testing.T) {
	t.Parallel()
	crowd := present(672, 3, 1)
	w := newWorld(t, sandbox.Options{Seed: 672, Population: crowd})
	list := w.list("customers.csv", everyone(crowd)...)
	for _, c := range []struct{ flag, value, says string }{
		{"--deadline", "tomorrow", "2026-12-01"},
		{"--deadline", "2020-01-01", "is past"},
		{"--priority", "1001", "from -1000 to 1000"},
	} {
		if e := w.must(2, "enqueue", c.flag, c.value, list); !strings.Contains(e.err, c.says) {
			t.Errorf("%s", e)
		}
	}
	w.must(0, "enqueue", "--deadline", "2099-12-01", "--priority", "2", list)
	if n := w.count(`SELECT count(*) FROM image_deletion_tasks t JOIN batches b ON b.id = t.batch_id
		WHERE t.priority = 2 AND t.deadline = '2099-12-02 00:00+00' AND b.deadline = t.deadline AND t.sort_at = task_sort_at(t.created_at, 2, t.deadline)`); n != 3 {
		t.Errorf("%d of 3 tasks have what was asked for", n)
	}
	// A batch learns of the deadlines of what comes by SQL.
	w.exec("INSERT INTO image_deletion_tasks (customer_id, deadline) VALUES ($1, '2099-03-01'), ($1, NULL)", crowd.ID(0))
	w.exec("UPDATE image_deletion_tasks SET deadline = '2099-02-01' WHERE deadline IS NULL")
	got := parse[struct{ Deadline time.Time }](w, w.must(0, "batch", "show", "2", "-o", "json").out).Deadline
	if want := time.Date(2099, 2, 1, 0, 0, 0, 0, time.UTC); !got.Equal(want) {
		t.Errorf("the deadline of batch 2 is %v, want %v", got, want)
	}
}
