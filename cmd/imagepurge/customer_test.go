package main_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/imagepurge/imagepurge/capillary/sandbox"
)

// customerView is what customer says.
type customerView struct {
	Customer int64 `json:"customer_id"`
	Answers  []struct {
		Verdict, Says, Source string
		Targets, Gone, Others int
		Uploaded, Returned    int
		Last                  *struct {
			Task     int64 `json:"task_id"`
			Sequence int
		} `json:"last_listing"`
	}
	NotCovered []string `json:"not_covered"`
	Tasks      []any
	Timeline   []event
	Now        *struct {
		Class           string
		Images, Targets int
		Known, New      int
		Returned        int
		Says            []string
		HTTPStatus      int `json:"http_status"`
		Source          string
	} `json:"checked_now"`
}

// asked runs customer in both forms, the second without asking the API again.
func (w *world) asked(status int, customer int64, flags ...string) customerView {
	w.Helper()
	e := w.must(status, append([]string{"customer", number(customer), "-o", "json"}, flags...)...)
	v := parse[customerView](w, e.out)
	for _, a := range v.Answers {
		if a.Says == "" || strings.Contains(a.Says, "%!") {
			w.Errorf("%+v", a)
		}
	}
	if len(flags) == 0 {
		text := w.must(status, "customer", number(customer)).out
		w.wantTold(text, fmt.Sprintf("customer %d: is the photo gone?", customer), v.Answers[0].Says, "searched: source ", "Not covered", v.NotCovered[0])
	}
	return v
}

func TestCustomerIsAnswered(t *testing.T) {
	t.Parallel()
	crowd := present(171, 1, 2)
	id := crowd.ID(0)
	busy := sandbox.FaultBusy
	for verdict, c := range map[string]struct {
		env    []string
		faults []sandbox.Fault // of deletes
		lists  []sandbox.Fault
		act    func(w *world)
		says   []string
	}{
		"gone": {
			act:  func(w *world) { w.oneTask(0, id) },
			says: []string{"Yes: all 2 images seen in the listing of 2", "are gone; the listing of 2", "(call 4 of task 1) showed none of them."},
		},
		"gone_by_answers": {
			env:  []string{"IMAGEPURGE_MODE=economy"},
			act:  func(w *world) { w.oneTask(0, id) },
			says: []string{"Yes, by the API's own answers only", "no listing has been made since"},
		},
		"not_yet": {
			act:  func(w *world) { w.exec("INSERT INTO image_deletion_tasks (customer_id) VALUES ($1)", id) },
			says: []string{"Not yet: task 1 is still to be worked on."},
		},
		"in_doubt": {
			faults: []sandbox.Fault{sandbox.FaultLostAnswer},
			act: func(w *world) {
				w.exec("INSERT INTO image_deletion_tasks (customer_id) VALUES ($1)", id)
				p := w.start("run", "--once")
				w.until("an image is unknown", func() bool { return w.count("SELECT count(*) FROM task_images WHERE state = 'unknown'") == 1 })
				p.cmd.Process.Kill()
			},
			says: []string{"In doubt: of 1 image the delete may have run, and no listing has been made since."},
		},
		"needs_person": {
			faults: []sandbox.Fault{sandbox.FaultSuccessNotRun, sandbox.FaultSuccessNotRun, sandbox.FaultSuccessNotRun, sandbox.FaultSuccessNotRun, sandbox.FaultSuccessNotRun, sandbox.FaultSuccessNotRun},
			act:    func(w *world) { w.oneTask(3, id) },
			says:   []string{"Not all: task 1 waits for a person's decision."},
		},
		"still_there": {
			env:    []string{"IMAGEPURGE_MAX_ATTEMPTS=1"},
			faults: []sandbox.Fault{busy},
			act:    func(w *world) { w.oneTask(3, id) },
			says:   []string{"No: 2 images are still listed in the listing of 2", "(call 1 of task 1), and no task is at work."},
		},
		"counted_only": {
			act: func(w *world) {
				w.enqueue([]int64{id}, "--dry-run")
				w.must(0, "run", "--once")
			},
			says: []string{"No: only a dry run was made", "showed 2 images, and nothing was deleted."},
		},
		"nothing_there": {
			act: func(w *world) {
				for range 2 {
					w.api.Model().Remove(time.Now(), id, 0)
				}
				w.oneTask(0, id)
			},
			says: []string{"There is no image: the listing of 2", "(call 1 of task 1) showed none"},
		},
		"customer_gone": {
			act: func(w *world) {
				w.api.Model().Turn(id, sandbox.Erased, 0)
				w.oneTask(0, id)
			},
			says: []string{"The platform says that it has erased the customer"},
		},
		"nothing_known": {
			env:   []string{"IMAGEPURGE_MAX_ATTEMPTS=1"},
			lists: []sandbox.Fault{busy},
			act:   func(w *world) { w.oneTask(3, id) },
			says:  []string{"Not known: no listing has been answered."},
		},
	} {
		t.Run(verdict, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, sandbox.Options{Seed: 171, Population: crowd}).with(c.env...)
			w.api.ScriptKind(id, sandbox.KindDelete, c.faults)
			w.api.ScriptKind(id, sandbox.KindList, c.lists)
			c.act(w)
			v := w.asked(0, id)
			if len(v.Answers) != 1 || v.Answers[0].Verdict != verdict {
				t.Fatalf("%+v\n%s", v.Answers, w.story(id))
			}
			w.wantTold(v.Answers[0].Says, c.says...)
			if len(v.Tasks) != 1 || v.Now != nil {
				t.Errorf("%+v", v)
			}
			w.wantTimeline(id, v.Timeline)
		})
	}
}

// wantOneListing runs customer --check-now and checks that it made one listing and
// no DELETE, changed nothing but the audit log, and stands there without the
// customer or an image.
func (w *world) wantOneListing(status int, customer int64) customerView {
	w.Helper()
	const rows = `SELECT hashtext(concat((SELECT string_agg(t::text, E'\n' ORDER BY id) FROM image_deletion_tasks t), (SELECT string_agg(t::text, E'\n' ORDER BY t::text) FROM task_images t),
(SELECT string_agg(t::text, E'\n' ORDER BY t::text) FROM image_calls t), (SELECT string_agg(t::text, E'\n' ORDER BY t::text) FROM customer_leases t), (SELECT string_agg(t::text, E'\n') FROM rate_budgets t)))`
	before, calls := w.count(rows), len(w.api.Journal().Customer(customer))
	entries := w.count("SELECT count(*) FROM audit_entries")
	v := w.asked(status, customer, "--check-now")
	if w.count(rows) != before {
		w.Error("a row of a task has changed")
	}
	made := w.api.Journal().Customer(customer)[calls:]
	if len(made) != 1 || made[0].Kind != sandbox.KindList || made[0].Actor != sandbox.ActorAPI {
		w.Errorf("want exactly one listing:\n%s", w.story(customer))
	}
	if n := w.count("SELECT count(*) FROM audit_entries"); n != entries+1 {
		w.Errorf("%d entries more in the audit log", n-entries)
	}
	if n := w.count("SELECT count(*) FROM audit_entries WHERE action = 'customer.check' AND actor = $3 AND details->>'class' = $1 AND strpos(details::text, $2) = 0", v.Now.Class, number(customer), whoami(w)); n == 0 {
		w.Error("the audit log has no such entry")
	}
	return v
}

func TestCheckNowHoldsTheListingAgainstTheHistory(t *testing.T) {
	t.Parallel()
	crowd := present(172, 1, 2)
	w := newWorld(t, sandbox.Options{Seed: 172, Population: crowd, Faults: sandbox.Faults{StaleBy: time.Hour}})
	id := crowd.ID(0)
	task := w.oneTask(0, id)

	v := w.wantOneListing(0, id)
	if a := v.Answers[0]; a.Verdict != "gone" || a.Last.Task != 0 || v.Now.Images != 0 || !strings.Contains(a.Says, "(the listing made now)") {
		t.Errorf("%+v %+v", v.Answers, v.Now)
	}

	w.api.Model().Upload(time.Now(), id, 1)
	v = w.wantOneListing(0, id)
	if a := v.Answers[0]; a.Verdict != "gone" || a.Others != 1 || a.Uploaded != 1 || v.Now.New != 1 || v.Now.Targets != 0 {
		t.Errorf("a re-upload is another image: %+v %+v", v.Answers, v.Now)
	}
	w.wantTold(strings.Join(v.Now.Says, "\n"), "1 image listed: 0 that a task was to delete, 0 others seen before, 1 never seen before")

	w.api.ScriptKind(id, sandbox.KindList, []sandbox.Fault{sandbox.FaultStaleListing}) // shows what was there before the purge
	v = w.wantOneListing(0, id)
	if a := v.Answers[0]; a.Verdict != "still_there" || a.Returned != 2 || v.Now.Returned != 2 || v.Now.Targets != 2 {
		t.Errorf("targets came back: %+v %+v", v.Answers, v.Now)
	}

	told, text := w.shown(task)
	w.wantTold(text, "ended: completed", "customer.check by "+whoami(t)+" (claimed: LOGNAME=tester) at ", "0 images listed", "customer.check by "+whoami(t), "1 images listed", "2 images listed")
	if told.Task.State != "completed" {
		t.Errorf("%+v", told.Task)
	}
	if n := len(w.deletes()); n != 2 {
		t.Errorf("%d deletes; want those of the purge alone", n)
	}
	w.wantHarmless(true)
}

func TestCheckNowOfSomebodyWhoIsNotThere(t *testing.T) {
	t.Parallel()
	crowd := present(173, 4, 1)
	w := newWorld(t, sandbox.Options{Seed: 173, Population: crowd})
	for i, c := range []struct {
		to    sandbox.Standing
		class string
		says  string
	}{
		{sandbox.Unknown, "customer_not_found", "knows no such customer"},
		{sandbox.Erased, "customer_erased", "has erased the customer"},
		{sandbox.Merged, "customer_merged", "merged into another account"},
	} {
		id := crowd.ID(i)
		w.api.Model().Turn(id, c.to, crowd.ID(3))
		v := w.wantOneListing(0, id)
		if v.Now.Class != c.class || !strings.Contains(strings.Join(v.Now.Says, " "), c.says) || !strings.Contains(v.Answers[0].Says, c.says) {
			t.Errorf("%s: %+v %+v", c.to, v.Now, v.Answers)
		}
		w.must(1, "customer", number(id)) // nothing is known without asking
	}
}

func TestCheckNowThatFailsSaysWhatIsKnown(t *testing.T) {
	t.Parallel()
	crowd := present(174, 1, 1)
	w := newWorld(t, sandbox.Options{Seed: 174, Population: crowd}).with("IMAGEPURGE_REQUEST_TIMEOUT=1s", "IMAGEPURGE_SETTLE=1500ms", "IMAGEPURGE_LEASE=4s")
	id := crowd.ID(0)
	w.oneTask(0, id)
	for _, c := range []struct {
		fault       sandbox.Fault
		class, says string
	}{
		{sandbox.FaultHangNotRun, "unknown", "no answer in time"},
		{sandbox.FaultHTMLRan, "unknown", "cut off"},
		{sandbox.FaultTooMany, "over_limit", "rate limit"},
		{sandbox.FaultBusy, "not_run", "busy"},
		{sandbox.FaultUnauthorized, "refused", "refused"},
	} {
		w.api.ScriptKind(id, sandbox.KindList, []sandbox.Fault{c.fault})
		e := w.must(1, "customer", number(id), "--check-now", "-o", "json")
		v := parse[customerView](w, e.out)
		if v.Now.Class != c.class || !strings.Contains(e.err, c.says) || !strings.Contains(e.err, "hint: ") || v.Answers[0].Verdict != "gone" {
			t.Errorf("%s: %+v: %s", c.fault, v.Now, e)
		}
	}
	calls := len(w.api.Journal().Customer(id))
	e := w.with("CAPILLARY_PASSWORD="+wrongPassword).must(1, "customer", number(id), "--check-now")
	w.wantTold(e.out, "Yes: the 1 image seen", "Asked now", "refuses the organisation", "HTTP 401")
	w.exec("UPDATE rate_budgets SET paused_until = now() + interval '1 hour'")
	if e := w.must(1, "customer", number(id), "--check-now"); !strings.Contains(e.err, "limit is used up") {
		t.Errorf("%s", e)
	}
	w.must(1, "customer", number(id), "--check-now", "--organization", "nobody")
	if n := len(w.api.Journal().Customer(id)); n != calls+1 {
		t.Errorf("%d calls, want one with the wrong password and none while the limit is used up", n-calls)
	}
}
