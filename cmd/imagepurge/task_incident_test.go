package main_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/imagepurge/imagepurge/capillary/sandbox"
)

// taskView is what task show says of a task.
type taskView struct {
	Task struct {
		ID             int64
		State, Outcome string
	}
	OutcomeMeans string `json:"outcome_means"`
	OtherTasks   []int64
	Timeline     []event
	Noticed      []struct {
		Kind, Says string
		Sequence   int
	}
	CanDo []struct{ Says, Command string } `json:"can_do"`
}

type event struct {
	Task int64 `json:"task_id"`
	Kind string
	Call *struct {
		Sequence int
		Position *int
		Class    string
		Key      string `json:"image_key"`
		Status   int    `json:"http_status"`
		Shown    []string
	}
	View []struct {
		Index        int
		Key          string `json:"image_key"`
		Role, Change string
	}
	Gone []struct {
		Key       string `json:"image_key"`
		Role, Why string
	}
	Next *struct {
		Sequence, Index int
		Shown           bool
	} `json:"next_listing"`
	Why   string `json:"waited_for"`
	Entry *struct{ Action, Actor, Reason string }
}

// shown runs task show in both forms.
func (w *world) shown(task int64) (v taskView, text string) {
	w.Helper()
	v = parse[taskView](w, w.must(0, "task", "show", number(task), "-o", "json").out)
	return v, w.must(0, "task", "show", number(task)).out
}

// wantTimeline holds a timeline against the sandbox's journal: the same calls in the
// same order, and each listing showed what was there.
func (w *world) wantTimeline(customer int64, events []event) {
	w.Helper()
	var there []string
	for _, im := range w.api.Model().Initially(customer).Images {
		there = append(there, digest(im.Token)[:16])
	}
	var want, got []string
	for _, e := range w.api.Journal().Customer(customer) {
		if e.Actor == sandbox.ActorAPI {
			switch e.Kind {
			case sandbox.KindList:
				shown := there
				if !e.Executed {
					shown = nil
				}
				want = append(want, fmt.Sprint("list ", e.Status, " ", strings.Join(shown, " ")))
			case sandbox.KindDelete:
				want = append(want, fmt.Sprint("delete ", e.Indexes[0], " ", e.Status))
			}
		}
		for _, gone := range e.Removed {
			there = slices.DeleteFunc(there, func(k string) bool { return k == digest(gone.Token)[:16] })
		}
		for _, token := range e.Added {
			there = append(there, digest(token)[:16])
		}
	}
	for _, e := range events {
		switch {
		case e.Kind == "list":
			if len(e.View) != len(e.Call.Shown) {
				w.Errorf("call %d: %d images in the view, %d on record", e.Call.Sequence, len(e.View), len(e.Call.Shown))
			}
			got = append(got, fmt.Sprint("list ", e.Call.Status, " ", strings.Join(e.Call.Shown, " ")))
		case e.Kind == "delete":
			got = append(got, fmt.Sprint("delete ", *e.Call.Position, " ", e.Call.Status))
		}
	}
	if d := cmp.Diff(want, got); d != "" {
		w.Errorf("the timeline is not the journal's (-journal +timeline):\n%s\n%s", d, w.story(customer))
	}
}

// wantTold checks that a text has these parts, in this order.
func (w *world) wantTold(text string, parts ...string) {
	w.Helper()
	rest := text
	for _, p := range parts {
		_, after, found := strings.Cut(rest, p)
		if !found {
			w.Errorf("%q is not told, or not in its place, in\n%s", p, text)
			return
		}
		rest = after
	}
}

// paste runs a command as it was shown, through a shell.
func (w *world) paste(status int, line string) {
	w.Helper()
	c := exec.Command("sh", "-c", line)
	c.Dir = w.dir
	for k, v := range w.env {
		if k == "PATH" {
			v = filepath.Dir(program) + ":" + v
		}
		c.Env = append(c.Env, k+"="+v)
	}
	out, err := c.CombinedOutput()
	if got := c.ProcessState.ExitCode(); got != status {
		w.Errorf("%s\nexit status %d, want %d (%v):\n%s", line, got, status, err, out)
	}
}

// commandWith is the advised command that has the words.
func (v taskView) commandWith(t testing.TB, words string) string {
	t.Helper()
	for _, c := range v.CanDo {
		if strings.Contains(c.Command, words) {
			return c.Command
		}
	}
	t.Fatalf("no command with %q is advised: %+v", words, v.CanDo)
	return ""
}

// oneTask makes a task by SQL, for all images or for those at some indexes, works,
// and returns its id.
func (w *world) oneTask(status int, customer int64, indexes ...int) int64 {
	w.Helper()
	if len(indexes) == 0 {
		w.exec("INSERT INTO image_deletion_tasks (customer_id) VALUES ($1)", customer)
	} else {
		w.exec("INSERT INTO image_deletion_tasks (customer_id, image_tokens) VALUES ($1, $2)", customer, w.tokens(customer, indexes...))
	}
	w.must(status, "run", "--once")
	return int64(w.count("SELECT max(id)::int FROM image_deletion_tasks WHERE customer_id = $1", customer))
}

func TestIncidentsAreTold(t *testing.T) {
	t.Parallel()
	remove := func(request, index int, after bool) sandbox.Act {
		return sandbox.Act{Request: request, After: after, Deed: sandbox.DeedRemove, Index: index}
	}
	short := func(w *world, customer int64, index int) string {
		return digest(w.api.Model().Initially(customer).Images[index].Token)[:12]
	}
	for name, c := range map[string]struct {
		named  []int
		faults []sandbox.Fault // of deletes
		acts   []sandbox.Act
		kinds  []string // of what is noticed, in order
		told   func(w *world, customer int64) []string
	}{
		"bystander_missing": {
			named: []int{1},
			acts:  []sandbox.Act{remove(2, 0, true)}, // just after the delete
			kinds: []string{"bystander_missing"},
			told: func(w *world, customer int64) []string {
				return []string{
					"an image that was not to be deleted is gone",
					"listing: 3 images", "index 0  " + short(w, customer, 0) + "  not to be deleted", "index 1  " + short(w, customer, 1) + "  target",
					"DELETE index 1, meant for " + short(w, customer, 1), "answer: the API said: deleted", "next listing: call 3 did not show it any more",
					"listing: 1 image", "index 0  " + short(w, customer, 2), "gone     " + short(w, customer, 0), "MISSING: no DELETE was meant for it",
					"given back: a listing may lag", "listing: 1 image", "the task ended: review, bystander_missing",
					"What was noticed", "In between ran call 2 (index 1, meant for " + short(w, customer, 1) + "). Others removed it or",
					"What you can do now", "--check-now", "Tell the privacy officer", "--retry", "--close",
				}
			},
		},
		"bystander_missing, and no delete ran": {
			named:  []int{1},
			faults: []sandbox.Fault{sandbox.FaultBusy},
			acts:   []sandbox.Act{remove(2, 0, true)},
			kinds:  []string{"bystander_missing"},
			told: func(w *world, customer int64) []string {
				return []string{
					"listing: 3 images", "DELETE index 1", "it did not run", "given back: a back-off", "listing: 2 images", "gone     " + short(w, customer, 0),
					"What was noticed", "call 1 showed it at index 0, call 3 does not", "No DELETE of ours ran in between, so others removed it.",
				}
			},
		},
		"still_present": {
			faults: []sandbox.Fault{sandbox.FaultSuccessNotRun, sandbox.FaultSuccessNotRun, sandbox.FaultSuccessNotRun},
			acts:   []sandbox.Act{remove(1, 1, false), remove(1, 1, false)}, // one image is left
			kinds:  []string{"still_present", "still_present", "still_present"},
			told: func(w *world, customer int64) []string {
				again := []string{"DELETE index 0", "the API said: deleted", "still showed it, at index 0", "listing: 1 image", "STILL THERE, after call"}
				return slices.Concat([]string{"listing: 1 image"}, again, again, again, []string{"What was noticed", "The API said in call 2 that image " + short(w, customer, 0) + " is deleted; call 3 still shows it"})
			},
		},
		"index_contradiction": {
			acts:  []sandbox.Act{remove(2, 0, false), remove(5, 0, false), remove(8, 0, false)}, // each is looked at twice
			kinds: []string{"index_contradiction", "removed_by_others", "index_contradiction", "removed_by_others", "index_contradiction"},
			told: func(w *world, customer int64) []string {
				return []string{
					"listing: 3 images", "DELETE index 2", "there was no image at that index", "code 8078", "still showed it, at index 1",
					"listing: 2 images", "gone     " + short(w, customer, 0), "MISSING", "DELETE index 1", "listing: 1 image", "DELETE index 0",
					"What was noticed", "There was no image at index 2 in call 2, where call 1 had shown image " + short(w, customer, 2) + " at index 2",
				}
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			outcome, _, _ := strings.Cut(name, ",")
			crowd := present(161, 1, 3)
			w := newWorld(t, sandbox.Options{Seed: 161, Population: crowd})
			id := crowd.ID(0)
			w.api.ScriptKind(id, sandbox.KindDelete, c.faults)
			w.api.ScriptOthers(id, c.acts)
			v, text := w.shown(w.oneTask(3, id, c.named...))
			if v.Task.Outcome != outcome || v.OutcomeMeans == "" {
				t.Fatalf("%+v\n%s", v.Task, w.story(id))
			}
			w.wantTimeline(id, v.Timeline)
			w.wantTold(text, c.told(w, id)...)
			var kinds []string
			for _, n := range v.Noticed {
				kinds = append(kinds, n.Kind)
			}
			if !slices.Equal(kinds, c.kinds) {
				t.Errorf("noticed %q, want %q", kinds, c.kinds)
			}
			runbook, err := os.ReadFile("../../docs/operations.md")
			for _, k := range kinds {
				if err != nil || !strings.Contains(string(runbook), "\n| `"+k+"` |") {
					t.Errorf("docs/operations.md does not say what can be done about %s (%v)", k, err)
				}
			}

			w.paste(0, v.commandWith(t, "--check-now"))
			w.paste(0, v.commandWith(t, "--retry"))
			w.run("run", "--once")
			again, _ := w.shown(v.Task.ID)
			w.wantDecision(again, "task.retry")
			if again.Task.State == "review" {
				w.paste(0, again.commandWith(t, "--close"))
				closed, _ := w.shown(v.Task.ID)
				w.wantDecision(closed, "task.close")
				w.paste(0, closed.commandWith(t, "imagepurge enqueue"))
			}
		})
	}
}

// wantDecision checks that a person's decision stands in the timeline, behind the
// end that it was about.
func (w *world) wantDecision(v taskView, action string) {
	w.Helper()
	ended, decided := -1, -1
	for i, e := range v.Timeline {
		if e.Entry == nil {
			continue
		}
		switch e.Entry.Action {
		case "task.finish":
			if decided < 0 {
				ended = i
			}
		case action:
			decided = i
			if e.Entry.Actor != whoami(w) || e.Entry.Reason == "" {
				w.Errorf("%+v", *e.Entry)
			}
		}
	}
	if ended < 0 || decided < ended {
		w.Errorf("%s is event %d, the end before it event %d: %+v", action, decided, ended, v.Timeline)
	}
}

func TestWhatThePlatformSaysIsTold(t *testing.T) {
	t.Parallel()
	crowd := present(165, 2, 2)
	id := crowd.ID(0)
	for outcome, c := range map[string]struct {
		status  int
		onFirst func(w *world, rw http.ResponseWriter) (answered bool) // before the first DELETE
		told    []string
	}{
		"customer_gone": {
			onFirst: func(w *world, _ http.ResponseWriter) bool { w.api.Model().Turn(id, sandbox.Unknown, 0); return false },
			told:    []string{"DELETE index 1", "knows no such customer", "What was noticed", "knows the customer no longer; an earlier listing was answered"},
		},
		"merged_customer": {
			status: 3,
			onFirst: func(w *world, _ http.ResponseWriter) bool {
				w.api.Model().Turn(id, sandbox.Merged, crowd.ID(1))
				return false
			},
			told: []string{"DELETE index 1", "was merged into another account", "What was noticed", "In call 2 the platform said", "surviving account", "--close"},
		},
		"unexpected_response": {
			status:  3,
			onFirst: func(_ *world, rw http.ResponseWriter) bool { rw.WriteHeader(http.StatusTeapot); return true },
			told: []string{
				"DELETE index 1", "an answer that is in no table; nobody knows whether it ran (HTTP 418, code 418)", "still showed it", "given back: the customer settles",
				"What was noticed", "Call 2 was answered with something that is in no table (HTTP 418, code 418).", "Ask the vendor about the code", "--retry",
			},
		},
	} {
		t.Run(outcome, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, sandbox.Options{Seed: 165, Population: crowd}).with("IMAGEPURGE_REQUEST_TIMEOUT=2s", "IMAGEPURGE_SETTLE=2200ms", "IMAGEPURGE_LEASE=6s")
			to, err := url.Parse(w.ear.URL)
			if err != nil {
				t.Fatal(err)
			}
			proxy := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(to) }}
			var first sync.Once
			between := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
				answered := false
				if r.Method == http.MethodDelete {
					first.Do(func() { answered = c.onFirst(w, rw) })
				}
				if !answered {
					proxy.ServeHTTP(rw, r)
				}
			}))
			defer between.Close()
			w = w.with("CAPILLARY_BASE_URL=" + between.URL)
			v, text := w.shown(w.oneTask(c.status, id))
			if v.Task.Outcome != outcome || len(v.Noticed) != 1 || v.Noticed[0].Kind != outcome {
				t.Fatalf("%+v %+v\n%s", v.Task, v.Noticed, text)
			}
			w.wantTold(text, c.told...)
		})
	}
}

func TestAStaleListingIsTold(t *testing.T) {
	t.Parallel()
	crowd := present(162, 1, 2)
	w := newWorld(t, sandbox.Options{Seed: 162, Population: crowd, Faults: sandbox.Faults{StaleBy: time.Minute}})
	id := crowd.ID(0)
	w.api.ScriptKind(id, sandbox.KindList, []sandbox.Fault{sandbox.NoFault, sandbox.FaultStaleListing})
	v, text := w.shown(w.oneTask(0, id))
	w.wantTold(text, "listing: 2 images", "DELETE index 1", "call 4 still showed it", "DELETE index 0", "listing: 2 images", "STILL THERE, after call 3", "STILL THERE, after call 2",
		"given back: a listing may lag", "listing: 0 images", "deleted by call 3", "deleted by call 2", "ended: completed, images_deleted",
		"The API said in call 3 that image", "Nothing has to be done")
	w.paste(0, v.commandWith(t, "imagepurge customer"))
}

func TestOtherTasksOfTheCustomerAreMarked(t *testing.T) {
	t.Parallel()
	crowd := present(163, 1, 3)
	w := newWorld(t, sandbox.Options{Seed: 163, Population: crowd})
	id := crowd.ID(0)
	// The first is given up after a fault and tried again; meanwhile the second
	// deletes what is a bystander to it.
	once := w.with("IMAGEPURGE_MAX_ATTEMPTS=1")
	w.api.ScriptKind(id, sandbox.KindDelete, []sandbox.Fault{sandbox.FaultBusy})
	once.oneTask(3, id, 2)
	once.oneTask(3, id, 0) // both are of one batch
	first, _ := w.shown(1)
	w.paste(0, first.commandWith(t, "imagepurge batch retry"))
	once.must(0, "run", "--once")
	v, text := w.shown(1)
	w.wantTimeline(id, v.Timeline)
	w.wantTold(text, "others", "tasks 2 of this customer", "listing: 3 images", "DELETE index 2", "it did not run", "ended: failed", "*2", "DELETE index 0", "*2", "listing: 2 images",
		"batch.retry by "+whoami(t), "listing: 2 images", "DELETE index 1", "listing: 1 image")
	if v.Task.Outcome != "images_deleted" || len(v.Noticed) != 0 {
		t.Errorf("%+v %+v\n%s", v.Task, v.Noticed, text)
	}
}

// What is advised can be pasted: each command does what it says, or finds nothing
// left to do.
func TestAdviceCanBePasted(t *testing.T) {
	t.Parallel()
	crowd := present(164, 1, 1)
	id := crowd.ID(0)
	for name, c := range map[string]struct {
		env    []string
		list   sandbox.Fault
		dryRun bool
		status int // of run --once
		words  string
		pasted []int // exit statuses of the commands, in order
	}{
		"verified":  {words: "Nothing has to be done", pasted: []int{0}},
		"economy":   {env: []string{"IMAGEPURGE_MODE=economy"}, words: "No listing was made after the last delete", pasted: []int{0}},
		"dry run":   {dryRun: true, words: "Nothing has to be done", pasted: []int{0}},
		"failed":    {env: []string{"IMAGEPURGE_MAX_ATTEMPTS=1"}, list: sandbox.FaultBusy, status: 3, words: "When the fault is mended", pasted: []int{0}},
		"breaker":   {list: sandbox.FaultUnauthorized, status: 1, words: "breaker is open", pasted: []int{0, 0}},
		"not begun": {status: -1, words: "A worker takes it up when it is due", pasted: []int{0}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, sandbox.Options{Seed: 164, Population: crowd}).with(c.env...)
			if c.list != sandbox.NoFault {
				w.api.ScriptKind(id, sandbox.KindList, []sandbox.Fault{c.list})
			}
			if c.dryRun {
				w.enqueue([]int64{id}, "--dry-run")
			} else {
				w.enqueue([]int64{id})
			}
			if c.status >= 0 {
				w.must(c.status, "run", "--once")
			}
			v, text := w.shown(1)
			w.wantTold(text, "What you can do now", c.words)
			var commands []string
			for _, x := range v.CanDo {
				if x.Command != "" {
					w.wantTold(text, x.Says, x.Command)
					commands = append(commands, x.Command)
				}
			}
			if len(commands) != len(c.pasted) {
				t.Fatalf("%q", commands)
			}
			for i, line := range commands {
				w.paste(c.pasted[i], line)
			}
		})
	}
}
