package purge_test

import (
	"fmt"
	"slices"
	"time"

	"github.com/imagepurge/imagepurge/jobs"
	"github.com/imagepurge/imagepurge/jobs/clearance"
	"github.com/imagepurge/imagepurge/jobs/purge"
)

const nobody = jobs.TaskID(0) // others than us

// history is what a run leaves for the judge.
type history struct {
	removed   []removal
	disturbed bool // others acted where promise 1 assumes that they don't
	overlap   []string
	unasked   []string // DELETEs without a committed intent of their own
	unsettled []string
	rests     []string
	undone    []string
	counted   []string // numbers that are wrong
	doubtful  []string // rows that contradict the last listing
	hearing   heard
	deletes   int
}

// removal is an image that went.
type removal struct {
	at       time.Time
	image    int
	by       jobs.TaskID // nobody: by others
	meant    bool        // by a DELETE that was meant for it
	isTarget bool
}

// sent notes a DELETE that leaves a worker.
func (h *history) sent(w *world, in clearance.Intent) {
	h.deletes++
	for _, o := range w.store.intents {
		if o.Task == in.Task && o.Epoch == in.Epoch && o.BeganAt.Equal(in.BeganAt) && slices.Equal(o.Targets, in.Targets) {
			o.sent++
			if o.sent > 1 {
				h.unasked = append(h.unasked, fmt.Sprintf("%v: sent again under the same intent", w.now))
			}
			return
		}
	}
	h.unasked = append(h.unasked, fmt.Sprintf("%v: no intent is committed for %v", w.now, in))
}

// wrote notes a write that was applied.
func (h *history) wrote(w *world, t *task, wr purge.Write) {
	if n := len(wr.Calls); n > 0 && h.hearing.fresh && slices.ContainsFunc(wr.Calls, func(c jobs.Call) bool { return c.Class == jobs.ClassListed }) {
		t.last, t.lastAsOf = h.hearing.images, h.hearing.asOf
		for _, i := range t.last {
			if t.rec.Named == nil && (!t.listed || t.rec.Scope == jobs.UntilEmpty) {
				t.targets[i] = true
			}
			t.shown[i] = true
		}
		t.listed = true
		if wr.Calls[n-1].Class == jobs.ClassListed {
			h.contradicted(w, t)
		}
	}
	h.count(w, t, wr)
	if wr.Kind != purge.WriteFinish {
		return
	}
	if n := w.server.runnable(); n > 0 {
		h.unsettled = append(h.unsettled, fmt.Sprintf("%v: task %d ends while %d DELETEs may still run", w.now, t.rec.Task, n))
	}
	for _, im := range t.rec.Images {
		if im.State == jobs.Intended {
			h.unsettled = append(h.unsettled, fmt.Sprintf("%v: task %d ends with an intent", w.now, t.rec.Task))
		}
	}
	switch wr.Outcome {
	case jobs.ImagesDeleted, jobs.NoImages, jobs.AlreadyAbsent:
		for _, i := range w.server.images {
			if t.targets[i] && !(w.wild && w.mode == jobs.Economy) {
				h.undone = append(h.undone, fmt.Sprintf("%v: task %d is %s, and image %d is there", w.now, t.rec.Task, wr.Outcome, i))
			}
		}
		if w.mode != jobs.Economy && wr.VerifiedAt.IsZero() {
			h.undone = append(h.undone, fmt.Sprintf("%v: task %d is %s without a listing that shows it", w.now, t.rec.Task, wr.Outcome))
		}
	}
}

func (h *history) contradicted(w *world, t *task) {
	for _, im := range t.rec.Images {
		if im.State == jobs.Deleted && slices.Contains(t.last, images[im.Key]) {
			h.doubtful = append(h.doubtful, fmt.Sprintf("%v: task %d: image %d is recorded deleted and was just listed", w.now, t.rec.Task, images[im.Key]))
		}
	}
}

// count compares a task's numbers with its rows and with what was sent.
func (h *history) count(w *world, t *task, wr purge.Write) {
	wrong := func(format string, args ...any) {
		h.counted = append(h.counted, fmt.Sprintf("%v: task %d, %s: ", w.now, t.rec.Task, wr.Kind)+fmt.Sprintf(format, args...))
	}
	deleted, found := 0, 0
	for _, im := range t.rec.Images {
		if im.State == jobs.Deleted {
			deleted++
		}
		if im.State != jobs.Bystander {
			found++
		}
		sends, left := 0, 0
		for _, in := range w.store.intents {
			if in.Task == t.rec.Task && slices.ContainsFunc(in.Targets, func(c clearance.Target) bool { return c.Key == im.Key }) {
				left += in.sent
				if !in.withdrawn {
					sends++
				}
			}
		}
		if im.Sends != sends || im.Sends < left {
			wrong("image %d has %d sends; %d intents stand, %d DELETEs left", images[im.Key], im.Sends, sends, left)
		}
	}
	calls := 0
	for _, c := range t.calls {
		if !c.SentAt.IsZero() || c.Kind == jobs.DeleteCall && c.Class == "" {
			calls++
		}
	}
	if t.deleted != deleted {
		wrong("images_deleted is %d, %d rows are", t.deleted, deleted)
	}
	if t.rec.Found != found {
		wrong("images_found is %d, %d rows are targets", t.rec.Found, found)
	}
	if t.rec.APICalls != calls {
		wrong("api_calls is %d, %d are recorded as sent", t.rec.APICalls, calls)
	}
}

// The promises of docs/protocol.md, one function each. Each returns what broke it.

// Promise 1: nothing else is deleted.
func nothingElseIsDeleted(w *world) (broken []string) {
	if w.log.disturbed {
		return nil // others changed the images where it assumes that they don't
	}
	for _, r := range w.log.removed {
		if r.by != nobody && !r.isTarget {
			broken = append(broken, fmt.Sprintf("%v: a DELETE of task %d removed image %d, which is none of its targets", r.at, r.by, r.image))
		}
	}
	return broken
}

// Promise 2: done means gone.
func doneMeansGone(w *world) []string { return w.log.undone }

// Promise 3: nothing is forgotten.
func nothingIsForgotten(w *world) []string {
	return slices.Concat(w.log.unasked, w.log.rests, w.log.unsettled)
}

// The settle rule behind promises 1 and 3: no DELETE while another may still run.
func nothingIsSentBeforeItHasSettled(w *world) []string { return w.log.overlap }

// Promise 4: changes by others are noticed.
func changesByOthersAreNoticed(w *world) (broken []string) {
	for _, t := range w.store.tasks {
		if t.state != jobs.Completed || t.rec.DryRun || w.mode == jobs.Economy {
			continue
		}
		for _, r := range w.log.removed {
			if !t.shown[r.image] || !r.at.Before(t.lastAsOf) || r.meant {
				continue
			}
			i := slices.IndexFunc(t.rec.Images, func(im purge.Image) bool { return im.Key == keys[r.image] })
			if i < 0 {
				broken = append(broken, fmt.Sprintf("task %d: image %d was listed and is in no row", t.rec.Task, r.image))
				continue
			}
			// A DELETE meant for it may have been sent without removing it, by this
			// task or another: then nobody can tell by whom it went.
			explained := slices.ContainsFunc(w.store.tasks, func(o *task) bool {
				return slices.ContainsFunc(o.rec.Images, func(im purge.Image) bool {
					return im.Key == keys[r.image] && im.State == jobs.Deleted && im.Sends > 0
				})
			})
			if im := t.rec.Images[i]; !explained && (im.State == jobs.Bystander || im.State == jobs.Deleted) {
				broken = append(broken, fmt.Sprintf("task %d ended %s: image %d went by other hands at %v, and its row says %s", t.rec.Task, t.outcome, r.image, r.at, im.State))
			}
		}
	}
	return broken
}

// The numbers of a task are true.
func countersAreTrue(w *world) []string { return w.log.counted }

// A row never says deleted for an image that the last listing showed.
func rowsBelieveTheLastListing(w *world) []string { return w.log.doubtful }

var promises = []struct {
	name string
	hold func(*world) []string
}{
	{"nothing else is deleted", nothingElseIsDeleted},
	{"done means gone", doneMeansGone},
	{"nothing is forgotten", nothingIsForgotten},
	{"nothing is sent before it has settled", nothingIsSentBeforeItHasSettled},
	{"changes by others are noticed", changesByOthersAreNoticed},
	{"counters are true", countersAreTrue},
	{"rows believe the last listing", rowsBelieveTheLastListing},
}

// judge returns what was broken, by the name of the promise.
func judge(w *world) map[string][]string {
	broken := make(map[string][]string)
	for _, p := range promises {
		if b := p.hold(w); len(b) > 0 {
			broken[p.name] = b
		}
	}
	return broken
}
