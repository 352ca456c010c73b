package main_test

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"github.com/imagepurge/imagepurge/capillary/sandbox"
)

// came is what a customer's task came to.
type came struct {
	State, Outcome string
	Found, Deleted int
}

// task is a task's row.
type task struct {
	ID, Customer int64
	came
	New, Attempts, Calls, Epoch int
	Code, Waiting               string
	Verified                    bool
}

const tasksOfBatch = `
SELECT id, customer_id, state, coalesce(outcome, ''), images_found, images_deleted, images_new, attempts, api_calls, lease_epoch::int,
       coalesce(error_code, ''), coalesce(waiting_for, ''), verified_at IS NOT NULL
FROM image_deletion_tasks WHERE $1 = 0 OR batch_id = $1 ORDER BY id`

// tasks reads the tasks of a batch (0: all), by customer.
func (w *world) tasks(batch int64) map[int64]task {
	w.Helper()
	rows, err := w.pool.Query(w.Context(), tasksOfBatch, batch)
	if err != nil {
		w.Fatal(err)
	}
	all := make(map[int64]task)
	var t task
	_, err = pgx.ForEachRow(rows, []any{&t.ID, &t.Customer, &t.State, &t.Outcome, &t.Found, &t.Deleted, &t.New, &t.Attempts, &t.Calls, &t.Epoch, &t.Code, &t.Waiting, &t.Verified}, func() error {
		all[t.Customer] = t
		return nil
	})
	if err != nil {
		w.Fatal(err)
	}
	return all
}

// came reads only what a batch came to, to be compared.
func (w *world) came(batch int64) map[int64]came {
	w.Helper()
	all := make(map[int64]came)
	for id, t := range w.tasks(batch) {
		all[id] = t.came
	}
	return all
}

// count is one number from the database.
func (w *world) count(sql string, args ...any) (n int) {
	w.Helper()
	if err := w.pool.QueryRow(w.Context(), sql, args...).Scan(&n); err != nil {
		w.Fatalf("%s: %v", sql, err)
	}
	return n
}

func (w *world) exec(sql string, args ...any) {
	w.Helper()
	if _, err := w.pool.Exec(w.Context(), sql, args...); err != nil {
		w.Fatalf("%s: %v", sql, err)
	}
}

// image is a row of task_images.
type image struct {
	State string
	Sends int
}

// images reads every image row: by customer and the token's digest.
func (w *world) images() map[int64]map[string]image {
	w.Helper()
	rows, err := w.pool.Query(w.Context(), `SELECT t.customer_id, encode(i.image_key, 'hex'), i.state, i.sends
FROM task_images i JOIN image_deletion_tasks t ON t.id = i.task_id`)
	if err != nil {
		w.Fatal(err)
	}
	all := make(map[int64]map[string]image)
	var (
		customer int64
		key      string
		im       image
	)
	_, err = pgx.ForEachRow(rows, []any{&customer, &key, &im.State, &im.Sends}, func() error {
		if all[customer] == nil {
			all[customer] = make(map[string]image)
		}
		all[customer][key] = im
		return nil
	})
	if err != nil {
		w.Fatal(err)
	}
	return all
}

func digest(token string) string {
	sum := sha256.Sum256([]byte(token))
	return hex.EncodeToString(sum[:])
}

// list writes customers as a CSV file.
func (w *world) list(name string, ids ...int64) string {
	w.Helper()
	var b strings.Builder
	b.WriteString("customer_id\n")
	for _, id := range ids {
		fmt.Fprintf(&b, "%d\n", id)
	}
	return w.file(name, b.String())
}

// everyone are the ids of a population.
func everyone(p sandbox.Population) []int64 {
	ids := make([]int64, p.Len())
	for i := range ids {
		ids[i] = p.ID(i)
	}
	return ids
}

// enqueue takes in customers as a batch and returns its id.
func (w *world) enqueue(ids []int64, flags ...string) int64 {
	w.Helper()
	e := w.must(0, append([]string{"enqueue", "-o", "json", w.list("customers.csv", ids...)}, flags...)...)
	return parse[struct {
		Batch int64 `json:"batch_id"`
	}](w, e.out).Batch
}

func parse[T any](w *world, text string) (v T) {
	w.Helper()
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		w.Fatalf("%v in %q", err, text)
	}
	return v
}

// due is what a customer's task must come to when nothing goes wrong and nobody
// else changes anything.
func (w *world) due(customer int64) came {
	c := w.api.Model().Initially(customer)
	switch {
	case c.Standing == sandbox.Unknown:
		return came{State: "failed", Outcome: "customer_not_found"}
	case c.Standing == sandbox.Erased:
		return came{State: "completed", Outcome: "customer_erased"}
	case c.Standing == sandbox.Merged:
		return came{State: "review", Outcome: "merged_customer"}
	case len(c.Images) == 0:
		return came{State: "completed", Outcome: "no_images"}
	}
	return came{State: "completed", Outcome: "images_deleted", Found: len(c.Images), Deleted: len(c.Images)}
}

// wantTruth compares every task of a batch with the sandbox's truth.
func (w *world) wantTruth(batch int64, ids []int64) {
	w.Helper()
	want := make(map[int64]came, len(ids))
	for _, id := range ids {
		want[id] = w.due(id)
	}
	if d := cmp.Diff(want, w.came(batch)); d != "" {
		w.Errorf("tasks are not what the sandbox says (-want +got):\n%s", tail(d))
	}
}

// wantHarmless checks that no image went which was no target, that whatever went
// had been written down before, and that the rows say of each image what the
// journal says. exact: others have removed nothing meanwhile.
func (w *world) wantHarmless(exact bool) {
	w.Helper()
	rows := w.images()
	judge := w.api.Judge()
	for _, v := range judge.Violations(func(customer int64, token string) bool {
		im, ok := rows[customer][digest(token)]
		return ok && im.State != "bystander"
	}) {
		w.Errorf("a wrong image is gone: %s", v)
	}
	for _, customer := range judge.Customers() {
		gone := make(map[string]bool)
		for _, d := range judge.Deleted(customer) {
			if d.Actor != sandbox.ActorAPI || d.Kind != sandbox.KindDelete {
				continue
			}
			key := digest(d.Token)
			gone[key] = true
			if rows[customer][key].Sends < 1 {
				w.Errorf("customer %d: image %.12s is gone by our delete, and no row says that one was sent", customer, key)
			}
		}
		for key, im := range rows[customer] {
			if exact && (im.State == "deleted") != gone[key] {
				w.Errorf("customer %d: image %.12s is %s in the database; gone by our delete: %v\n%s", customer, key, im.State, gone[key], w.story(customer))
			}
		}
	}
	if n := w.count("SELECT count(*) FROM image_calls WHERE kind = 'delete' AND class IS DISTINCT FROM 'not_sent'"); n < w.api.Journal().Counters().Deletes {
		w.Errorf("%d deletes reached the server, and only %d are written down", w.api.Journal().Counters().Deletes, n)
	}
}

// wantCalls checks the number of calls of each customer that has no fault, from
// its number of images, by the journal and by the database; and that its indexes
// were strictly descending. An intent that could not be sent in time, on a machine
// that stood still for a second, costs one listing more.
func (w *world) wantCalls(batch int64, calls func(images int) int) {
	w.Helper()
	judge, late := w.api.Judge(), 0
	for id, t := range w.tasks(batch) {
		n := len(w.api.Model().Initially(id).Images)
		want := 1
		if n > 0 && t.Outcome == "images_deleted" {
			want = calls(n)
		}
		lists, deletes := judge.Calls(id)
		unsent := w.count("SELECT count(*) FROM image_calls WHERE task_id = $1 AND class = 'not_sent'", t.ID)
		late += unsent
		if lists+deletes < want || lists+deletes > want+unsent || t.Calls != lists+deletes {
			w.Errorf("customer %d with %d images (%s): %d listings and %d deletes in the journal, %d calls in the database; want %d\n%s",
				id, n, t.Outcome, lists, deletes, t.Calls, want, w.story(id))
		}
		if !judge.StrictlyDescending(id) {
			w.Errorf("customer %d: indexes are not strictly descending\n%s", id, w.story(id))
		}
	}
	if late > 0 {
		w.Logf("%d intents could not be sent in time: this machine stood still", late)
	}
}

// story tells a customer's entries in the journal.
func (w *world) story(customer int64) string {
	var b strings.Builder
	for _, e := range w.api.Journal().Customer(customer) {
		fmt.Fprintf(&b, "  %s %s %s %v removed %d added %d status %d code %d fault %q executed %v\n", e.ReceivedAt.Format("05.000"), e.Actor, e.Kind, e.Indexes,
			len(e.Removed), len(e.Added), e.Status, e.Code, e.Fault, e.Executed)
	}
	return b.String()
}

// deletes are the entries of the journal that are DELETEs of ours.
func (w *world) deletes() []sandbox.Entry {
	return slices.DeleteFunc(w.api.Journal().Entries(), func(e sandbox.Entry) bool {
		return e.Actor != sandbox.ActorAPI || e.Kind != sandbox.KindDelete
	})
}
