package main_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/imagepurge/imagepurge/capillary/sandbox"
)

// What others insert stops no command: what can't be read is refused as it comes in,
// and a time that is far away is no reason to wait for it.
func TestOneRowStopsNothing(t *testing.T) {
	t.Parallel()
	crowd := present(171, 3, 2)
	w := newWorld(t, sandbox.Options{Seed: 171, Population: crowd})
	for _, column := range []string{"deadline", "due_at", "created_at"} {
		for _, value := range []string{"infinity", "-infinity", "10000-01-01", "0044-03-15 BC"} {
			_, err := w.pool.Exec(t.Context(), fmt.Sprintf("INSERT INTO image_deletion_tasks (customer_id, %s) VALUES (1, '%s')", column, value))
			if err == nil || !strings.Contains(err.Error(), column+"_between_1970_and_9999") {
				t.Errorf("%s of %s: %v", column, value, err)
			}
		}
	}
	ids := everyone(crowd)
	w.exec("INSERT INTO image_deletion_tasks (customer_id, deadline) VALUES ($1, '1970-01-01'), ($2, '9999-12-30')", ids[0], ids[1])
	w.exec("INSERT INTO image_deletion_tasks (customer_id, created_at) VALUES ($1, '9999-12-30')", ids[2])
	w.exec("INSERT INTO image_deletion_tasks (customer_id, due_at, priority) VALUES (99, '9999-12-30', -1000)")
	e := w.must(0, "run", "--once")
	if !strings.Contains(e.err, "default: what is left waits for the time that it was given, next 9999-12-30 00:00 UTC") {
		t.Errorf("%s", e)
	}
	if n := w.count("SELECT count(*) FROM image_deletion_tasks WHERE state = 'completed'"); n != len(ids) {
		t.Errorf("%d customers were purged", n)
	}
	for _, args := range [][]string{{"status"}, {"batch", "list"}, {"batch", "show", number(int64(w.count("SELECT min(id) FROM batches")))}, {"task", "list"}, {"schedule"}, {"org", "show", "default"}} {
		w.must(0, args...)
		w.must(0, append(args, "-o", "json")...)
	}
	if e := w.must(0, "status"); !strings.Contains(e.out, "limited by: waiting for due times") && !strings.Contains(e.out, "limited by: window") {
		t.Errorf("%s", e)
	}
	w.enqueue([]int64{ids[0]})
}
