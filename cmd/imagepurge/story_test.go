package main_test

import (
	"encoding/csv"
	"fmt"
	"strings"
	"testing"

	"github.com/imagepurge/imagepurge/capillary/sandbox"
	"github.com/imagepurge/imagepurge/internal/pgtest"
)

// people are customers of every standing and number of images.
func people(seed uint64, n int) sandbox.Population {
	return sandbox.Populate(seed, n, sandbox.PopulateOptions{Unknown: 0.05, Merged: 0.05, Erased: 0.05, Images: [6]float64{1, 1, 1, 1, 1, 1}})
}

// present are customers that are all there, with so many images each.
func present(seed uint64, n, images int) sandbox.Population {
	var weights [6]float64
	weights[images] = 1
	return sandbox.Populate(seed, n, sandbox.PopulateOptions{Images: weights})
}

func TestStory(t *testing.T) {
	t.Parallel()
	crowd := people(11, 120)
	w := newWorld(t, sandbox.Options{Seed: 11, Population: crowd})
	ids := everyone(crowd)
	batch := w.enqueue(ids, "--requested-by", "privacy", "--reason", "requests of May")
	e := w.must(3, "run", "--once") // some are unknown or merged
	if !strings.Contains(e.out, "120 customers ended") {
		t.Errorf("no summary: %s", e)
	}
	w.wantTruth(batch, ids)
	w.wantHarmless(true)
	w.wantCalls(batch, func(n int) int { return n + 2 })

	number := fmt.Sprint(batch)
	tasks := w.tasks(batch)
	t.Run("report as CSV", func(t *testing.T) {
		lines, err := csv.NewReader(strings.NewReader(w.must(0, "report", number).out)).ReadAll()
		if err != nil || len(lines) != 121 {
			t.Fatalf("%d lines: %v", len(lines), err)
		}
		column := make(map[string]int)
		for i, name := range lines[0] {
			column[name] = i
		}
		for _, line := range lines[1:] {
			var id int64
			if _, err := fmt.Sscan(line[column["customer_id"]], &id); err != nil {
				t.Fatal(err)
			}
			got := strings.Join([]string{line[column["state"]], line[column["outcome"]], line[column["images_found"]], line[column["images_deleted"]], line[column["api_calls"]]}, " ")
			x := tasks[id]
			if want := fmt.Sprint(x.State, " ", x.Outcome, " ", x.Found, " ", x.Deleted, " ", x.Calls); got != want {
				t.Errorf("customer %d: got %s, want %s", id, got, want)
			}
		}
	})
	t.Run("report as JSON", func(t *testing.T) {
		report := parse[struct {
			Batch struct {
				ID, Tasks, Completed, Failed, Review int
				Deleted                              int `json:"images_deleted"`
			}
			Tasks []struct {
				Customer int64 `json:"customer_id"`
				Deleted  int   `json:"images_deleted"`
			}
		}](w, w.must(0, "report", number, "--format", "json").out)
		deleted := 0
		for _, x := range report.Tasks {
			deleted += x.Deleted
		}
		if b := report.Batch; b.Tasks != 120 || b.Completed+b.Failed+b.Review != 120 || len(report.Tasks) != 120 || b.Deleted != deleted ||
			deleted != w.api.Journal().Counters().ImagesDeleted {
			t.Errorf("%+v; %d tasks, %d deleted, journal %d", b, len(report.Tasks), deleted, w.api.Journal().Counters().ImagesDeleted)
		}
	})
	t.Run("report of failed ones is a list", func(t *testing.T) {
		w.file("again.csv", w.must(0, "report", number, "--format", "csv", "--state", "failed").out)
		w.must(0, "enqueue", "--dry-run", "again.csv")
	})
	t.Run("looking", func(t *testing.T) {
		for _, c := range []struct{ args, shows string }{
			{"status", "last minute"},
			{"batch list", "customers.csv"},
			{"batch show " + number, "images_deleted"},
			{"task list --batch " + number + " --state review", "merged_customer"},
			{fmt.Sprintf("task show %d", tasks[firstWith(w, ids, 3)].ID), "DELETE index 2"},
			{fmt.Sprintf("customer %d", firstWith(w, ids, 2)), "Yes: all 2 images"},
			{fmt.Sprintf("customer %d --check-now", firstWith(w, ids, 2)), "0 images"},
		} {
			if e := w.must(0, strings.Fields(c.args)...); !strings.Contains(e.out, c.shows) {
				t.Errorf("%q is not shown: %s", c.shows, e)
			}
		}
		if n := len(w.api.Journal().Customer(firstWith(w, ids, 2))); n != 5 { // n + 2, and the one of --check-now
			t.Errorf("%d calls", n)
		}
	})
}

// firstWith is a present customer with so many images.
func firstWith(w *world, ids []int64, images int) int64 {
	for _, id := range ids {
		if c := w.api.Model().Initially(id); c.Standing == sandbox.Present && len(c.Images) == images {
			return id
		}
	}
	w.Fatalf("no customer with %d images", images)
	return 0
}

func TestNothingIsThereBeforeMigrate(t *testing.T) {
	t.Parallel()
	w := newWorldOn(t, sandbox.Options{}, emptyDatabase(t))
	for _, args := range []string{"status", "batch list", "run --once", "enqueue list.csv"} {
		w.list("list.csv", 1)
		if e := w.must(1, strings.Fields(args)...); !strings.Contains(e.err, "no schema") || !strings.Contains(e.err, "imagepurge migrate") {
			t.Errorf("says neither what is wrong nor what to do: %s", e)
		}
	}
	if e := w.must(0, "migrate"); !strings.Contains(e.out, "applied ") {
		t.Errorf("%s", e)
	}
	if e := w.must(0, "migrate"); !strings.Contains(e.out, "up to date") {
		t.Errorf("%s", e)
	}
	w.must(0, "migrate", "status")
	w.must(0, "status")
}

// emptyDatabase is a database without any table.
func emptyDatabase(t *testing.T) string {
	url := pgtest.URL(t)
	w := newWorldOn(t, sandbox.Options{}, url)
	w.exec("DROP SCHEMA public CASCADE")
	w.exec("CREATE SCHEMA public")
	return url
}
