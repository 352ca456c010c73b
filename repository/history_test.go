package repository_test

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/imagepurge/imagepurge/jobs"
	"github.com/imagepurge/imagepurge/jobs/purge"
	"github.com/imagepurge/imagepurge/repository"
)

// listing is the write after a claimed task's listing.
func listing(r purge.Record, kind purge.WriteKind, tokens ...string) purge.Write {
	w := bare(r, kind)
	call := jobs.Call{Sequence: r.Sequence + 1, Kind: jobs.ListCall, Position: -1, SentAt: answerTime, AnsweredAt: answerTime, Class: jobs.ClassListed, HTTPStatus: 200, ImagesSeen: len(tokens)}
	for i, token := range tokens {
		call.Shown = append(call.Shown, jobs.KeyOf(token))
		w.Images = append(w.Images, purge.Image{Key: jobs.KeyOf(token), Position: i, State: jobs.Planned})
	}
	w.Calls = []jobs.Call{call}
	w.Counters.Sequence, w.Counters.Listed, w.Counters.Found = call.Sequence, true, len(tokens)
	return w
}

func TestWhatAListingShowedIsKept(t *testing.T) {
	t.Parallel()
	d := open(t)
	d.customers(1, 2, 3)
	rs := d.claim()
	w := listing(rs[0], purge.WriteProgress, "b", "a")
	d.applied(w)
	d.applied(w) // as after a commit that nobody heard of
	d.applied(listing(rs[1], purge.WriteProgress))
	lost := listing(rs[2], purge.WriteGiveBack)
	lost.Calls[0].Class, lost.Calls[0].ImagesSeen, lost.Calls[0].HTTPStatus = jobs.ClassUnknown, -1, 0
	d.applied(lost)
	for i, want := range [][]string{{jobs.KeyOf("b").String(), jobs.KeyOf("a").String()}, {}, nil} {
		h, err := d.History(d.ctx, int64(rs[i].Task))
		if err != nil || len(h.Calls) != 1 {
			t.Fatalf("%+v, %v", h, err)
		}
		if got := h.Calls[0].Shown; !slices.Equal(got, want) || (got == nil) != (want == nil) {
			t.Errorf("task %d showed %q, want %q", rs[i].Task, got, want)
		}
	}
	for _, sql := range []string{
		"UPDATE image_calls SET shown = shown || shown WHERE task_id = 1",
		"INSERT INTO image_calls (task_id, sequence, kind, images_seen, worker, lease_epoch) VALUES (1, 9, 'list', 0, 'w', 1)",
		"INSERT INTO image_calls (task_id, sequence, kind, images_seen, shown, worker, lease_epoch) VALUES (1, 9, 'list', 2, 'eightbyt', 'w', 1)",
	} {
		if _, err := d.tryAs("test", sql); err == nil {
			t.Errorf("%s: passed", sql)
		}
	}
}

func TestHistoryOfACustomer(t *testing.T) {
	t.Parallel()
	d := open(t)
	d.customers(7, 7, 8)
	all, err := d.CustomerHistory(d.ctx, 7, "default")
	if err != nil || len(all) != 2 || all[0].Task.ID != 1 || all[1].Task.ID != 2 || all[0].Origin.Batch != 1 || all[0].Origin.Name == "" {
		t.Errorf("%+v, %v", all, err)
	}
	if all, err := d.CustomerHistory(d.ctx, 7, "other"); err != nil || len(all) != 0 {
		t.Errorf("%+v, %v", all, err)
	}
	if _, err := d.History(d.ctx, 4711); !errors.Is(err, repository.ErrNotFound) {
		t.Errorf("got error %v", err)
	}
	ctx, cancel := context.WithCancel(d.ctx)
	cancel()
	if _, err := d.CustomerHistory(ctx, 7, ""); !errors.Is(err, context.Canceled) {
		t.Errorf("got error %v", err)
	}
}

func TestDecisionsOfTheBatchBelongToTheHistoryUntilTheEnd(t *testing.T) {
	t.Parallel()
	d := open(t)
	d.customers(1, 2)
	pause := func(on bool) {
		d.Helper()
		set := d.ResumeBatch
		if on {
			set = d.PauseBatch
		}
		if err := set(d.ctx, ann, 1, "looked at"); err != nil {
			t.Fatal(err)
		}
	}
	pause(true)
	pause(false)
	d.applied(finish(d.one(), jobs.NoImages))
	pause(true)
	actions := func(task int64) (all []string) {
		h, err := d.History(d.ctx, task)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range h.Audit {
			all = append(all, e.Action)
		}
		return all
	}
	if got, want := actions(1), []string{"batch.pause", "batch.resume", "task.finish"}; !slices.Equal(got, want) {
		t.Errorf("of the task that has ended: %q, want %q", got, want)
	}
	if got, want := actions(2), []string{"batch.pause", "batch.resume", "batch.pause"}; !slices.Equal(got, want) {
		t.Errorf("of the other: %q, want %q", got, want)
	}
	all, err := d.CustomerHistory(d.ctx, 1, "")
	if err != nil {
		t.Fatal(err)
	}
	if n := len(repository.Timeline(append(all, all[0]))); n != 2+2 { // the batch's once, the end of each
		t.Errorf("%d events", n)
	}
}

func TestACheckIsRecordedAndChangesNothing(t *testing.T) {
	t.Parallel()
	d := open(t)
	d.customers(7)
	r := d.one()
	before := get[string](d, "SELECT (SELECT string_agg(t::text, '') FROM image_deletion_tasks t) || (SELECT string_agg(t::text, '') FROM customer_leases t)")
	c := repository.Checked{Organization: "default", Source: "INSTORE", At: answerTime, Class: "listed", Shown: []jobs.Key{jobs.KeyOf("a"), jobs.KeyOf("b")}}
	if err := d.RecordCheck(d.ctx, ann, int64(r.Task), c, 200, ""); err != nil {
		t.Fatal(err)
	}
	c.Class, c.Shown = "unknown", nil
	if err := d.RecordCheck(d.ctx, ann, 0, c, 0, "timeout"); err != nil {
		t.Fatal(err)
	}
	got := list[string](d, "SELECT concat_ws(' ', actor, host, action, organization_id, task_id, details) FROM audit_entries ORDER BY id")
	want := []string{
		`ann desk customer.check 1 1 {"class": "listed", "source": "INSTORE", "account_id": "", "error_code": "", "http_status": 200, "images_seen": 2}`,
		`ann desk customer.check 1 {"class": "unknown", "source": "INSTORE", "account_id": "", "error_code": "timeout", "http_status": 0}`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if after := get[string](d, "SELECT (SELECT string_agg(t::text, '') FROM image_deletion_tasks t) || (SELECT string_agg(t::text, '') FROM customer_leases t)"); after != before {
		t.Errorf("before: %s\nafter:  %s", before, after)
	}
}

// tale makes a task's history, one call a second.
type tale struct {
	repository.History
	now time.Time
}

var dawn = time.Date(2026, 3, 4, 5, 0, 0, 0, time.UTC)

func newTale(id int64, state, outcome string) *tale {
	t := &tale{now: dawn.Add(time.Duration(id) * time.Hour)}
	source, started := "INSTORE", t.now
	t.Task = repository.Task{ID: id, Organization: "default", State: state, Source: &source, CreatedAt: t.now, StartedAt: &started}
	if outcome != "" {
		t.Task.Outcome = &outcome
	}
	return t
}

func wholeKey(name string) string {
	k := jobs.KeyOf(name)
	return hex.EncodeToString(k[:])
}

func (t *tale) image(name string, s jobs.ImageState) *tale {
	t.Images = append(t.Images, repository.TaskImage{Key: wholeKey(name), State: string(s)})
	return t
}

func (t *tale) call(kind string, class jobs.Class) *repository.TaskCall {
	t.now = t.now.Add(time.Second)
	sent, word := t.now, string(class)
	c := repository.TaskCall{Sequence: len(t.Calls) + 1, Kind: kind, SentAt: &sent, Epoch: 1}
	if class != "" {
		answered := sent.Add(time.Millisecond)
		c.AnsweredAt, c.Class = &answered, &word
	}
	t.Calls = append(t.Calls, c)
	return &t.Calls[len(t.Calls)-1]
}

// lists adds a listing of images: "a b".
func (t *tale) lists(names string) *tale {
	c := t.call("list", jobs.ClassListed)
	c.Shown = []string{}
	for _, n := range strings.Fields(names) {
		c.Shown = append(c.Shown, wholeKey(n)[:16])
	}
	return t
}

func (t *tale) answered(class jobs.Class) *tale { t.call("list", class); return t }

func (t *tale) deletes(name string, class jobs.Class) *tale {
	c := t.call("delete", class)
	k, position, targets := wholeKey(name), 0, 1
	c.Key, c.Position, c.Targets = &k, &position, &targets
	return t
}

func (t *tale) ofAll(n int) *tale { t.Calls[len(t.Calls)-1].Targets = &n; return t }

func (t *tale) claimed() *tale { // the calls that follow are of the next claim
	t.now = t.now.Add(time.Minute)
	return t
}

func (t *tale) epoch(e int64) *tale { t.Calls[len(t.Calls)-1].Epoch = e; return t }

// told is a timeline in short: what each listing and wait brought to light.
func told(events []repository.Event, names string) (all []string) {
	name := map[string]string{}
	for _, n := range strings.Fields(names) {
		name[wholeKey(n)[:16]] = n
	}
	for _, e := range events {
		switch {
		case e.Believed():
			line := "list"
			for _, v := range e.View {
				line += " " + name[v.Key]
				if v.Change != "" {
					line += "(" + v.Change + ")"
				}
			}
			for _, g := range e.Gone {
				line += " -" + name[g.Key] + "(" + g.Why + ")"
			}
			all = append(all, line)
		case e.Kind == repository.EventDelete:
			line := "delete"
			for _, k := range e.Meant {
				line += " " + name[k]
			}
			if e.Next != nil {
				line += fmt.Sprintf(" then %d %v", e.Next.Sequence, e.Next.Shown)
			}
			all = append(all, line)
		case e.Kind == repository.EventGivenBack:
			all = append(all, fmt.Sprintf("given back %s %.0f", e.Why, e.For))
		case e.Audit != nil:
			all = append(all, e.Audit.Action)
		default:
			all = append(all, e.Kind)
		}
	}
	return all
}

func TestTimelineSaysWhatChanged(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		tale *tale
		want []string
	}{
		"a purge": {
			newTale(1, "completed", "images_deleted").lists("a b").deletes("b", jobs.ClassDeleted).deletes("a", jobs.ClassDeleted).lists(""),
			[]string{"list a b", "delete b then 4 false", "delete a then 4 false", "list -a(deleted) -b(deleted)"},
		},
		"a bystander goes": {
			newTale(1, "review", "bystander_missing").image("a", jobs.Bystander).image("b", jobs.Deleted).lists("a b").deletes("b", jobs.ClassDeleted).lists("").claimed().lists("").epoch(2),
			[]string{"list a b", "delete b then 3 false", "list -a(missing) -b(deleted)", "given back listing_lag 61", "list"},
		},
		"a success that was none": {
			newTale(1, "review", "still_present").lists("a").deletes("a", jobs.ClassDeleted).lists("a").lists("a"),
			[]string{"list a", "delete a then 3 true", "list a(still_there)", "list a"},
		},
		"a lost answer": {
			newTale(1, "completed", "images_deleted").lists("a b").deletes("b", jobs.ClassUnknown).claimed().lists("a").epoch(2),
			[]string{"list a b", "delete b then 3 false", "given back settle 61", "list a -b(deleted)"},
		},
		"a sender that died": {
			newTale(1, "pending", "").lists("a").deletes("a", "").claimed().lists("").epoch(2),
			[]string{"list a", "delete a then 3 false", "given back settle 61", "list -a(deleted)"},
		},
		"others delete the target": {
			newTale(1, "completed", "images_deleted").lists("a b").deletes("b", jobs.ClassNoImage).lists("a"),
			[]string{"list a b", "delete b then 3 false", "list a -b(missing)"},
		},
		"new, gone and back": {
			newTale(1, "pending", "").lists("a").lists("a b").lists("a").lists("b a"),
			[]string{"list a", "list a b(new)", "list a -b(missing)", "list b(came_back) a"},
		},
		"several in one call": {
			newTale(1, "completed", "images_deleted").lists("a b c").deletes("c", jobs.ClassNoImage).ofAll(3).claimed().lists("b").epoch(2),
			[]string{"list a b c", "delete c b a then 3 true", "given back listing_lag 61", "list b(still_there) -a(deleted) -c(deleted)"},
		},
		"a listing that failed says nothing": {
			newTale(1, "pending", "").lists("a").answered(jobs.ClassUnknown).claimed().lists("a").epoch(2),
			[]string{"list a", "list", "given back backoff 61", "list a"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if d := cmp.Diff(c.want, told(repository.Timeline([]repository.History{c.tale.History}), "a b c")); d != "" {
				t.Error(d)
			}
		})
	}
}

// The clocks of workers and database differ, a task's own order does not.
func TestTimelineKeepsATasksOrderWhateverTheClocks(t *testing.T) {
	t.Parallel()
	one := newTale(1, "completed", "images_deleted").lists("a").deletes("a", jobs.ClassDeleted).lists("").lists("")
	one.Calls[3].Epoch = 2
	early := one.Calls[0].SentAt.Add(-10 * time.Second) // of a worker whose clock is behind
	one.Calls[2].SentAt = &early
	at := *one.Calls[0].SentAt
	entry := func(action string, at time.Time, epoch float64) {
		one.Audit = append(one.Audit, repository.AuditEntry{At: at, Action: action, Details: map[string]any{"epoch": epoch}})
	}
	entry("task.finish", at, 1) // by a database whose clock is behind
	entry("task.retry", at.Add(time.Second), 0)
	entry("task.finish", at.Add(2*time.Second), 2)
	got := told(repository.Timeline([]repository.History{one.History}), "a")
	want := []string{"list a", "delete a then 3 false", "list -a(deleted)", "task.finish", "task.retry", "list", "task.finish"}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func TestOtherTasksOfTheSameTime(t *testing.T) {
	t.Parallel()
	at := func(h int) *time.Time { x := dawn.Add(time.Duration(h) * time.Hour); return &x }
	of := func(id int64, from, to *time.Time) repository.History {
		return repository.History{Task: repository.Task{ID: id, StartedAt: from, FinishedAt: to}}
	}
	this := of(5, at(4), at(6))
	all := []repository.History{of(1, at(1), at(3)), of(2, at(1), at(5)), of(3, at(5), nil), of(4, nil, nil), this, of(6, at(7), at(8)), of(7, at(1), at(9))}
	var got []int64
	for _, h := range repository.AtTheTimeOf(this, all) {
		got = append(got, h.Task.ID)
	}
	if want := []int64{2, 3, 5, 7}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestAnswersAreNoMoreThanWhatWasSeen(t *testing.T) {
	t.Parallel()
	purged := func() *tale {
		return newTale(1, "completed", "images_deleted").image("a", jobs.Deleted).image("b", jobs.Deleted).lists("a b").deletes("b", jobs.ClassDeleted).deletes("a", jobs.ClassDeleted)
	}
	dry := newTale(2, "completed", "dry_run").image("c", jobs.Planned).lists("c")
	dry.Task.DryRun = true
	for name, c := range map[string]struct {
		tales []*tale
		now   *repository.Checked
		want  repository.Answer
	}{
		"verified":                    {[]*tale{purged().lists("")}, nil, repository.Answer{Verdict: repository.Gone, Targets: 2, Gone: 2}},
		"by answers alone":            {[]*tale{purged()}, nil, repository.Answer{Verdict: repository.GoneByAnswers, Targets: 2, SaidDeleted: 2}},
		"a later dry run verifies":    {[]*tale{purged(), dry}, nil, repository.Answer{Verdict: repository.Gone, Targets: 2, Gone: 2, Others: 1, Uploaded: 1}},
		"verified, then asked again":  {[]*tale{purged().lists(""), newTale(2, "pending", "")}, nil, repository.Answer{Verdict: repository.Gone, Targets: 2, Gone: 2}},
		"verified, then it came back": {[]*tale{purged().lists(""), newTale(2, "failed", "attempts_exhausted").image("a", jobs.Planned).lists("a")}, nil, repository.Answer{Verdict: repository.StillThere, Targets: 2, Gone: 1, Listed: 1, Returned: 1}},
		"in doubt":                    {[]*tale{newTale(1, "pending", "").image("a", jobs.Unknown).lists("a").deletes("a", jobs.ClassUnknown)}, nil, repository.Answer{Verdict: repository.InDoubt, Targets: 1, InDoubt: 1}},
		"its sender died":             {[]*tale{newTale(1, "pending", "").image("a", jobs.Intended).lists("a").deletes("a", "")}, nil, repository.Answer{Verdict: repository.InDoubt, Targets: 1, InDoubt: 1}},
		"an answer in no table":       {[]*tale{newTale(1, "review", "unexpected_response").image("a", jobs.Unknown).lists("a").deletes("a", jobs.ClassUnexpected)}, nil, repository.Answer{Verdict: repository.InDoubt, Targets: 1, InDoubt: 1}},
		"several in one call":         {[]*tale{newTale(1, "pending", "").image("a", jobs.Unknown).image("b", jobs.Unknown).lists("a b").deletes("b", jobs.ClassDeleted).ofAll(2)}, nil, repository.Answer{Verdict: repository.InDoubt, Targets: 2, InDoubt: 2}},
		"half way":                    {[]*tale{newTale(1, "running", "").image("a", jobs.Planned).image("b", jobs.Deleted).lists("a b").deletes("b", jobs.ClassDeleted)}, nil, repository.Answer{Verdict: repository.NotYet, Targets: 2, SaidDeleted: 1, Listed: 1}},
		"it did not run":              {[]*tale{newTale(1, "failed", "attempts_exhausted").image("a", jobs.Planned).lists("a").deletes("a", jobs.ClassNotRun)}, nil, repository.Answer{Verdict: repository.StillThere, Targets: 1, Listed: 1}},
		"the verifying one is to come": {[]*tale{func() *tale { p := purged(); p.Task.State, p.Task.Outcome = "pending", nil; return p }()}, nil,
			repository.Answer{Verdict: repository.NotYet, Targets: 2, SaidDeleted: 2}},
		"a success that was none": {[]*tale{newTale(1, "review", "still_present").image("a", jobs.Planned).lists("a").deletes("a", jobs.ClassDeleted).lists("a")}, nil,
			repository.Answer{Verdict: repository.NeedsPerson, Targets: 1, Listed: 1, Returned: 1}},
		"in review with its work done": {[]*tale{newTale(1, "review", "bystander_missing").image("a", jobs.Bystander).image("b", jobs.Deleted).lists("a b").deletes("b", jobs.ClassDeleted).lists("")}, nil,
			repository.Answer{Verdict: repository.Gone, Targets: 1, Gone: 1}},
		"counted":                  {[]*tale{dry}, nil, repository.Answer{Verdict: repository.CountedOnly, Others: 1}},
		"no image":                 {[]*tale{newTale(1, "completed", "no_images").lists("")}, nil, repository.Answer{Verdict: repository.NothingThere}},
		"not one of the named":     {[]*tale{newTale(1, "completed", "already_absent").image("a", jobs.Bystander).lists("a")}, nil, repository.Answer{Verdict: repository.NothingThere, Others: 1}},
		"erased":                   {[]*tale{newTale(1, "completed", "customer_erased").answered(jobs.ClassErased)}, nil, repository.Answer{Verdict: repository.CustomerGone}},
		"gone under our hands":     {[]*tale{newTale(1, "completed", "customer_gone").image("a", jobs.Absent).lists("a").answered(jobs.ClassNotFound)}, nil, repository.Answer{Verdict: repository.CustomerGone, Targets: 1, Listed: 1}},
		"purged, then erased":      {[]*tale{purged().lists("").answered(jobs.ClassErased)}, nil, repository.Answer{Verdict: repository.Gone, Targets: 2, Gone: 2}},
		"erased while in doubt":    {[]*tale{newTale(1, "pending", "").image("a", jobs.Unknown).lists("a").deletes("a", jobs.ClassUnknown).answered(jobs.ClassErased)}, nil, repository.Answer{Verdict: repository.InDoubt, Targets: 1, InDoubt: 1}},
		"merged":                   {[]*tale{newTale(1, "review", "merged_customer").answered(jobs.ClassMerged)}, nil, repository.Answer{Verdict: repository.NeedsPerson}},
		"merged and closed":        {[]*tale{newTale(1, "cancelled", "cancelled").answered(jobs.ClassMerged)}, nil, repository.Answer{Verdict: repository.NothingKnown}},
		"never answered":           {[]*tale{newTale(1, "failed", "attempts_exhausted").answered(jobs.ClassNotRun)}, nil, repository.Answer{Verdict: repository.NothingKnown}},
		"asked now, and it's gone": {[]*tale{purged()}, checkedAt(), repository.Answer{Verdict: repository.Gone, Targets: 2, Gone: 2}},
		"asked now, and it's back": {[]*tale{purged().lists("")}, checkedAt("a", "x"), repository.Answer{Verdict: repository.StillThere, Targets: 2, Gone: 1, Listed: 1, Others: 1, Uploaded: 1, Returned: 1}},
		"asked now of nobody":      {nil, checkedAt("a"), repository.Answer{Verdict: repository.NothingThere, Others: 1}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var hs []repository.History
			for _, x := range c.tales {
				hs = append(hs, x.History)
			}
			all := repository.Answers(hs, c.now)
			if len(all) != 1 {
				t.Fatalf("%+v", all)
			}
			g := all[0]
			got := repository.Answer{Verdict: g.Verdict, Targets: g.Targets, Gone: g.Gone, SaidDeleted: g.SaidDeleted, InDoubt: g.InDoubt, Listed: g.Listed, Others: g.Others, Uploaded: g.Uploaded, Returned: g.Returned}
			if d := cmp.Diff(c.want, got); d != "" {
				t.Error(d)
			}
		})
	}
}

func checkedAt(names ...string) *repository.Checked {
	c := &repository.Checked{Organization: "default", Source: "INSTORE", At: dawn.Add(24 * time.Hour), Class: "listed"}
	for _, n := range names {
		c.Shown = append(c.Shown, jobs.KeyOf(n))
	}
	return c
}

// One source says nothing of another.
func TestEachSearchHasItsAnswer(t *testing.T) {
	t.Parallel()
	store := newTale(1, "completed", "images_deleted").image("a", jobs.Deleted).lists("a").deletes("a", jobs.ClassDeleted).lists("")
	shop := newTale(2, "completed", "images_deleted").image("b", jobs.Deleted).lists("b").deletes("b", jobs.ClassDeleted)
	source := "WEB_ENGAGE"
	shop.Task.Source = &source
	all := repository.Answers([]repository.History{store.History, shop.History}, nil)
	if len(all) != 2 || all[0].Source != source || all[0].Verdict != repository.GoneByAnswers || all[1].Verdict != repository.Gone {
		t.Errorf("%+v", all)
	}
	for _, e := range repository.Timeline([]repository.History{store.History, shop.History}) {
		for _, v := range e.View {
			if v.Change != "" {
				t.Errorf("a listing of one source was held against one of another: %+v", v)
			}
		}
	}
	all = repository.Answers([]repository.History{store.History, shop.History}, checkedAt("b"))
	if len(all) != 2 || all[0].Source != "INSTORE" || all[0].Others != 1 || all[1].Verdict != repository.GoneByAnswers {
		t.Errorf("%+v", all)
	}
}
