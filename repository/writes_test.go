package repository_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/imagepurge/imagepurge/jobs"
	"github.com/imagepurge/imagepurge/jobs/clearance"
	"github.com/imagepurge/imagepurge/jobs/purge"
	"github.com/imagepurge/imagepurge/jobs/worker"
	"github.com/imagepurge/imagepurge/repository"
)

var _ worker.Store = (*repository.Store)(nil)

func TestAnIntentIsWrittenBeforeItsClearanceIsIssued(t *testing.T) {
	t.Parallel()
	d := open(t)
	d.customers(7)
	r := d.one()
	w := intent(r, "x")
	w.Images[0].Position, w.Calls[0].Position, w.Targets[0].Position = 4, 4, 4
	before := time.Now()
	c := d.applied(w).Clearance
	if c == nil {
		t.Fatal("no clearance")
	}
	in := c.Intent()
	if in.Task != r.Task || in.Epoch != 1 || in.Customer != r.Customer || !slices.Equal(in.Targets, []clearance.Target{{Key: jobs.KeyOf("x"), Position: 4}}) ||
		in.Margin != jobs.SendMargin || in.BeganAt.Before(before) || in.BeganAt.After(time.Now()) {
		t.Errorf("clearance of %+v", in)
	}
	if !get[bool](d, `
SELECT i.state = 'intended' AND i.sends = 1 AND i.position = 4 AND i.intended_at BETWEEN clock_timestamp() - interval '1 minute' AND clock_timestamp()
   AND c.kind = 'delete' AND c.position = 4 AND c.image_key = i.image_key AND c.targets = 1 AND c.worker = 'w1' AND c.lease_epoch = 1
   AND c.sent_at IS NULL AND c.answered_at IS NULL AND c.class IS NULL AND c.images_seen IS NULL
   AND t.state = 'running' AND t.listed AND t.images_found = 1 AND t.call_sequence = 1 AND t.api_calls = 1
   AND l.rest_until BETWEEN clock_timestamp() + interval '170 seconds' AND clock_timestamp() + interval '180 seconds' AND l.lease_until = t.lease_until
FROM image_deletion_tasks t JOIN task_images i ON i.task_id = t.id JOIN image_calls c ON c.task_id = t.id JOIN customer_leases l USING (customer_id)`) {
		t.Error(d.snapshot())
	}
	if r := d.applied(progress(w)); r.Clearance != nil {
		t.Error("a progress has a clearance")
	}
	if !get[bool](d, `
SELECT i.state = 'deleted' AND i.evidence = 'answer' AND i.intended_at IS NOT NULL AND i.answered_at = $1 AND c.answered_at = $1 AND c.class = 'deleted' AND c.sent_at = $1
   AND t.images_deleted = 1 AND l.rest_until IS NULL AND l.lease_owner = 'w1'
FROM image_deletion_tasks t JOIN task_images i ON i.task_id = t.id JOIN image_calls c ON c.task_id = t.id JOIN customer_leases l USING (customer_id)`, answerTime.Truncate(time.Microsecond)) {
		t.Error(d.snapshot())
	}
}

func TestAGroupsWritesDoNotHinderEachOther(t *testing.T) {
	t.Parallel()
	d := open(t)
	d.customers(1, 2, 3, 4, 5)
	rs := d.claim()
	d.by("INSERT INTO legal_holds (organization_id, customer_id, held_by, reason) VALUES (1, 2, 'a', 'r')")
	d.expire(rs[2].Task)
	stranger := intent(rs[3], "x")
	stranger.Owner = "w9"
	got := d.write(intent(rs[0], "x"), intent(rs[1], "x"), intent(rs[2], "x"), stranger, finish(rs[4], jobs.NoImages))
	want := []purge.Refusal{"", purge.HeldBack, purge.LeaseLost, purge.LeaseLost, ""}
	for i, r := range got {
		if r.Applied != (want[i] == "") || r.Refused != want[i] || (r.Clearance != nil) != (i == 0) {
			t.Errorf("write %d: got %+v, want refusal %q", i, r, want[i])
		}
	}
	if got := list[int64](d, "SELECT task_id FROM task_images"); !slices.Equal(got, []int64{int64(rs[0].Task)}) {
		t.Errorf("images of tasks %v are written", got)
	}
	if got := list[string](d, "SELECT state FROM image_deletion_tasks ORDER BY customer_id"); !slices.Equal(got, []string{"running", "running", "running", "running", "completed"}) {
		t.Errorf("got states %v", got)
	}
	if got := d.write(); len(got) != 0 {
		t.Errorf("an empty group: %v", got)
	}
}

// Nobody knows after a lost connection whether a write was committed. Writing it
// again changes nothing but the lease, which grows.
func TestTheSameWriteTwiceChangesNothing(t *testing.T) {
	t.Parallel()
	d := open(t)
	d.customers(7)
	w := intent(d.one(), "x")
	d.applied(w)
	p := progress(w)
	d.applied(p)
	const content = "SELECT concat_ws(E'\n', t::text, i::text, c::text) FROM image_deletion_tasks t, task_images i, image_calls c"
	d.as("test", "UPDATE image_deletion_tasks SET lease_until = '2200-01-01'")
	before := get[string](d, content)
	d.applied(p)
	d.as("test", "UPDATE image_deletion_tasks SET lease_until = '2200-01-01'")
	if after := get[string](d, content); after != before {
		t.Errorf("before: %s\nafter:  %s", before, after)
	}
	f := progress(w)
	f.Kind, f.State, f.Outcome = purge.WriteFinish, jobs.Completed, jobs.ImagesDeleted
	d.applied(f)
	d.refusedWrite(f, purge.LeaseLost)
	d.refusedWrite(p, purge.LeaseLost)
}

func TestRests(t *testing.T) {
	t.Parallel()
	for what, c := range map[string]struct {
		write func(purge.Write) purge.Write
		want  string // what the customer's row is then
	}{
		"a known answer ends it":          {progress, "leased, no rest"},
		"settle sets it from now":         {func(w purge.Write) purge.Write { return unknown(w, time.Minute) }, "free, rests 60"},
		"a shorter settle than the worst": {func(w purge.Write) purge.Write { return unknown(w, 10*time.Second) }, "free, rests 10"},
		"due sooner than it rests":        {func(w purge.Write) purge.Write { w = unknown(w, time.Minute); w.After = time.Second; return w }, "free, rests 60"},
		"keep keeps it, given back":       {func(w purge.Write) purge.Write { w = unknown(w, 0); w.Rest = purge.RestKeep; return w }, "free, rests 180"},
		"keep keeps it, in progress":      {func(w purge.Write) purge.Write { w = progress(w); w.Rest = purge.RestKeep; return w }, "leased, rests 180"},
		"clear and give back frees him":   {func(w purge.Write) purge.Write { w = unknown(w, 0); w.Rest = purge.RestClear; return w }, "gone"},
		"finish frees him": {func(w purge.Write) purge.Write {
			w = progress(w)
			w.Kind, w.State, w.Outcome = purge.WriteFinish, jobs.Completed, jobs.ImagesDeleted
			return w
		}, "gone"},
		"finish keeps a rest": {func(w purge.Write) purge.Write {
			w = progress(w)
			w.Kind, w.State, w.Outcome, w.Rest = purge.WriteFinish, jobs.Review, jobs.UnexpectedResponse, purge.RestKeep
			return w
		}, "free, rests 180"},
		"finish sets a rest": {func(w purge.Write) purge.Write {
			w = progress(w)
			w.Kind, w.State, w.Outcome, w.Rest, w.RestFor = purge.WriteFinish, jobs.Completed, jobs.ImagesDeleted, purge.RestSettle, 30*time.Second
			return w
		}, "free, rests 30"},
		"another intent starts it new": {func(w purge.Write) purge.Write { w.RestFor = time.Hour; return w }, "leased, rests 3600"},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			d := open(t)
			d.customers(7)
			w := intent(d.one(), "x")
			d.applied(w)
			next := c.write(w)
			d.applied(next)
			got := "gone"
			if get[bool](d, "SELECT EXISTS (SELECT FROM customer_leases)") {
				got = get[string](d, `
SELECT CASE WHEN lease_owner IS NULL THEN 'free' ELSE 'leased' END || ', ' ||
       coalesce('rests ' || ceil(extract(epoch FROM rest_until - clock_timestamp())), 'no rest') FROM customer_leases`)
			}
			if got != c.want {
				t.Errorf("got %s, want %s", got, c.want)
			}
			if next.Kind == purge.WriteGiveBack && next.Rest == purge.RestSettle {
				if !get[bool](d, "SELECT t.due_at >= l.rest_until AND t.waiting_for = 'settle' AND t.state = 'pending' FROM image_deletion_tasks t, customer_leases l") {
					t.Error("is due before its customer has rested")
				}
			}
			if err := d.SweepRests(d.ctx); err != nil {
				t.Fatal(err)
			}
			if n := get[int](d, "SELECT count(*) FROM customer_leases"); (n == 0) != (c.want == "gone") {
				t.Error("the sweep took a row that is leased or rests")
			}
			d.by("UPDATE customer_leases SET rest_until = clock_timestamp() - interval '1 second' WHERE rest_until IS NOT NULL")
			if err := d.SweepRests(d.ctx); err != nil {
				t.Fatal(err)
			}
			if n := get[int](d, "SELECT count(*) FROM customer_leases"); (n == 1) != strings.HasPrefix(c.want, "leased") {
				t.Errorf("%d rows after the sweep", n)
			}
		})
	}
}

func TestAFinishIsCountedAndAudited(t *testing.T) {
	t.Parallel()
	d := open(t)
	for i := range jobs.Outcomes() {
		d.customers(int64(i + 1))
	}
	rs := d.claim(limit(100))
	want := map[jobs.State]int64{}
	var ws []purge.Write
	for i, o := range jobs.Outcomes() {
		w := finish(rs[i], o)
		w.Counters, w.Deleted, w.VerifiedAt = purge.Counters{Found: 3, APICalls: 5, Attempts: 1}, 2, answerTime
		w.Code, w.HTTPStatus, w.Message = "8015", 404, "no such customer"
		want[w.State]++
		ws = append(ws, w)
	}
	for i, r := range d.write(ws...) {
		if !r.Applied {
			t.Errorf("%s is refused: %s", ws[i].Outcome, r.Refused)
		}
	}
	b, err := d.Batch(d.ctx, 1)
	n := int64(len(ws))
	if err != nil || b.Tasks != n || b.Open != 0 || b.Completed != want[jobs.Completed] || b.Failed != want[jobs.Failed] || b.Review != want[jobs.Review] ||
		b.Cancelled != want[jobs.Cancelled] || b.ImagesFound != 3*n || b.ImagesDeleted != 2*n || b.APICalls != 5*n {
		t.Errorf("%+v, %v; want %v", b, err, want)
	}
	h, err := d.History(d.ctx, int64(rs[0].Task))
	if err != nil || len(h.Audit) != 1 {
		t.Fatalf("%+v, %v; want one audit entry", h, err)
	}
	a := h.Audit[0]
	if a.Actor != "w1" || a.Host != "host" || a.Action != "task.finish" || a.Details["state"] != "completed" || a.Details["outcome"] != "images_deleted" || a.Details["images_deleted"] != 2.0 || a.Details["epoch"] != 1.0 {
		t.Errorf("audit entry %+v", a)
	}
	if h.Task.FinishedAt == nil || h.Task.VerifiedAt == nil || *h.Task.ErrorCode != "8015" || *h.Task.HTTPStatus != 404 || h.Task.LeaseOwner != nil || h.Task.Attempts != 1 {
		t.Errorf("task %+v", h.Task)
	}
	if n := get[int](d, "SELECT count(*) FROM customer_leases"); n != 0 {
		t.Errorf("%d customers are not free", n)
	}
}

func TestAWriteThatNoRepetitionMends(t *testing.T) {
	t.Parallel()
	d := open(t)
	d.customers(7, 8)
	rs := d.claim()
	for what, change := range map[string]func(*purge.Write){
		"deleted more than found": func(w *purge.Write) { w.Deleted = 5 },
		"an unsent deleted image": func(w *purge.Write) {
			w.Images[0].State, w.Images[0].Evidence, w.Images[0].Sends = jobs.Deleted, jobs.ByAnswer, 0
		},
		"no such outcome": func(w *purge.Write) { w.Kind, w.State, w.Outcome = purge.WriteFinish, jobs.Completed, "tidy" },
		"no such class":   func(w *purge.Write) { w.Calls[0].AnsweredAt, w.Calls[0].Class = answerTime, "odd" },
		"an image twice":  func(w *purge.Write) { w.Images = append(w.Images, w.Images[0]) },
	} {
		w := intent(rs[0], "x")
		change(&w)
		before := d.snapshot()
		_, err := d.Write(d.ctx, terms, []purge.Write{w, finish(rs[1], jobs.NoImages)})
		var pe *pgconn.PgError
		if !errors.Is(err, worker.ErrRefusedByDatabase) || !errors.As(err, &pe) {
			t.Errorf("%s: got error %v, want one that says ErrRefusedByDatabase", what, err)
		}
		if d.snapshot() != before {
			t.Errorf("%s: something of the group was written", what)
		}
	}
	w := intent(rs[0], "x")
	d.applied(w)
	d.applied(progress(w))
	p := progress(w)
	p.Calls[0].Class = jobs.ClassUnknown
	if _, err := d.Write(d.ctx, terms, []purge.Write{p}); !errors.Is(err, worker.ErrRefusedByDatabase) {
		t.Errorf("another answer to the same call: got error %v", err)
	}
	ended := repository.New(d.pool, time.Now)
	d.pool.Close()
	if _, err := ended.Write(d.ctx, terms, []purge.Write{w}); err == nil || errors.Is(err, worker.ErrRefusedByDatabase) {
		t.Errorf("without a database: got error %v", err)
	}
}

// A database whose default is not to wait for the disk does wait for what the
// program writes. A deferred trigger reads the setting as the commit begins.
func TestCommitsAreDurableWhateverTheDefault(t *testing.T) {
	t.Parallel()
	d := open(t)
	d.by(fmt.Sprintf("ALTER DATABASE %q SET synchronous_commit = off", get[string](d, "SELECT current_database()")))
	d.by("CREATE TABLE seen (what text, synchronous text)")
	d.by("CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO seen VALUES (imagepurge_command(), current_setting('synchronous_commit')); RETURN NULL; END $$")
	d.by("CREATE CONSTRAINT TRIGGER note_commit AFTER INSERT OR UPDATE ON image_deletion_tasks DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION note()")
	d.by("CREATE CONSTRAINT TRIGGER note_commit AFTER INSERT OR UPDATE ON audit_entries DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION note()")
	d.pool.Reset() // connections made before do not know the new default
	d.customers(7, 8, 9)
	w := intent(d.one(), "x")
	d.applied(w)
	if _, err := d.RenewLeases(d.ctx, "w1", []purge.Lease{{Task: 1, Epoch: 1}}, time.Minute); err != nil {
		t.Fatal(err)
	}
	d.applied(unknown(w, time.Minute))
	d.expire(d.one().Task)
	if _, err := d.ReclaimTasks(d.ctx); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Pause(d.ctx, ann, 1, "r"); err != nil {
		t.Fatal(err)
	}
	if _, err := d.CancelBatch(d.ctx, ann, 1, "r"); err != nil {
		t.Fatal(err)
	}
	got := list[string](d, "SELECT DISTINCT what || ' ' || synchronous FROM seen ORDER BY 1")
	want := []string{" off", "batch.cancel on", "cancel on", "claim on", "pause on", "reclaim on", "renew on", "test off", "write on"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}
