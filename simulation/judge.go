package simulation

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/imagepurge/imagepurge/jobs"
	"github.com/imagepurge/imagepurge/jobs/clearance"
	"github.com/imagepurge/imagepurge/jobs/purge"
	"github.com/imagepurge/imagepurge/simulation/memory"
)

// Promise is one of the promises of docs/protocol.md, or of the rules behind them.
type Promise string

// The promises that every night is judged by.
const (
	NothingElseDeleted Promise = "nothing else is deleted"               // 1
	DoneMeansGone      Promise = "done means gone"                       // 2
	NothingForgotten   Promise = "nothing is forgotten"                  // 3: a committed intent for each DELETE
	NoTaskRests        Promise = "no task rests"                         // 3: a task ends, or is looked at again
	ChangesNoticed     Promise = "changes by others are noticed"         // 4
	SettledFirst       Promise = "nothing is sent before it has settled" // the rule behind 1
	EndsSettled        Promise = "no task ends in doubt"                 // step 1
	PersonDecides      Promise = "what is unexpected goes to a person"   // step 7
	OursAlone          Promise = "another brand's answers tell nothing"
	CountersTrue       Promise = "counters are true"
	RowsLegal          Promise = "the database forbids no row"
	RowsBelieve        Promise = "rows believe the last listing"
	PeopleObeyed       Promise = "people and windows are obeyed"
	LimitKept          Promise = "the limit is kept"
	CallsFew           Promise = "no call is wasted" // "Calls per customer"
)

// Promises lists them all.
func Promises() []Promise {
	return []Promise{
		NothingElseDeleted, DoneMeansGone, NothingForgotten, NoTaskRests, ChangesNoticed, SettledFirst, EndsSettled,
		PersonDecides, OursAlone, CountersTrue, RowsLegal, RowsBelieve, PeopleObeyed, LimitKept, CallsFew,
	}
}

// Violation is a broken promise, with what broke it.
type Violation struct {
	Promise Promise
	What    string
}

// judge compares what truly happened with the rows.
func (w *world) judge() (broken []Violation) {
	h := &w.hist
	for _, c := range []struct {
		promise Promise
		broken  []string
	}{
		{NothingElseDeleted, w.elseDeleted()},
		{DoneMeansGone, h.undone},
		{NothingForgotten, h.unasked},
		{NoTaskRests, h.rests},
		{ChangesNoticed, w.unnoticed()},
		{SettledFirst, h.overlapping},
		{EndsSettled, slices.Concat(h.unsettled, w.endedInDoubt())},
		{PersonDecides, w.unreviewed()},
		{OursAlone, h.taken},
		{CountersTrue, w.miscounted()},
		{RowsLegal, h.illegal},
		{RowsBelieve, h.doubtful},
		{PeopleObeyed, h.disobeyed},
		{LimitKept, w.overTheLimit()},
		{CallsFew, w.wasted()},
	} {
		for _, b := range c.broken {
			broken = append(broken, Violation{c.promise, b})
		}
	}
	return broken
}

// Promise 1. Where others changed the images in between it promises nothing.
func (w *world) elseDeleted() (broken []string) {
	for _, r := range w.hist.removed {
		if r.by != 0 && !r.isTarget && !w.hist.disturbed[r.customer] {
			broken = append(broken, fmt.Sprintf("%v: a DELETE of task %d removed image %s of customer %d, which is none of its targets", r.at, r.by, w.name(r.image), r.customer))
		}
	}
	return broken
}

// A task ends with no intent and nothing unknown. Where no listing can tell, a person
// decides.
func (w *world) endedInDoubt() (broken []string) {
	for _, t := range w.store.Tasks() {
		if !t.State.Final() {
			continue
		}
		personDecides := t.Outcome == jobs.MergedCustomer || t.Outcome == jobs.UnexpectedResponse
		for _, im := range t.Rec.Images {
			known := im.State != jobs.Unknown || personDecides
			reached := t.State != jobs.Completed || im.State != jobs.Planned || t.Rec.DryRun
			if im.State == jobs.Intended || !known || !reached {
				broken = append(broken, fmt.Sprintf("task %d ended with %s, and image %s is %s", t.ID, t.Outcome, w.name(im.Key), im.State))
			}
		}
	}
	return broken
}

// A DELETE whose answer is in no table does not end as if nothing had happened.
func (w *world) unreviewed() (broken []string) {
	for _, t := range w.store.Tasks() {
		odd := slices.ContainsFunc(t.Calls, func(c jobs.Call) bool { return c.Kind == jobs.DeleteCall && c.Class == jobs.ClassUnexpected })
		if odd && t.Outcome == jobs.ImagesDeleted && !w.hist.lost[t.Customer] {
			broken = append(broken, fmt.Sprintf("task %d ended with %s, although a DELETE was answered with what is in no table", t.ID, t.Outcome))
		}
	}
	return broken
}

// Promise 4: an image that was in a listing of the task and went by other means than
// a DELETE meant for it, before the task's last listing, is told.
func (w *world) unnoticed() (broken []string) {
	for _, t := range w.store.Tasks() {
		h := w.hist.tasks[t.ID]
		if t.State != jobs.Completed || t.Rec.DryRun || t.Rec.Mode == jobs.Economy || h.last == nil ||
			w.hist.lost[t.Customer] || w.hist.turned[t.Customer] || w.hist.misled[t.Customer] {
			continue
		}
		for _, r := range w.hist.removed {
			if r.customer != t.Customer || r.meant || !h.shown[r.image] || r.at >= h.last.asOf {
				continue
			}
			i := slices.IndexFunc(t.Rec.Images, func(im purge.Image) bool { return im.Key == r.image })
			if i < 0 {
				broken = append(broken, fmt.Sprintf("task %d: image %s was listed and is in no row", t.ID, w.name(r.image)))
				continue
			}
			if im := t.Rec.Images[i]; !w.explained(t, r.image) && (im.State == jobs.Bystander || im.State == jobs.Deleted) {
				broken = append(broken, fmt.Sprintf("task %d ended with %s: image %s went by other hands at %v, and its row says %s", t.ID, t.Outcome, w.name(r.image), r.at, im.State))
			}
		}
	}
	return broken
}

// explained says whether a DELETE meant for the image was sent and may have been
// what removed it: nobody can tell then by whom it went.
func (w *world) explained(t *memory.Task, k jobs.Key) bool {
	return slices.ContainsFunc(w.store.Tasks(), func(o *memory.Task) bool {
		return o.Customer == t.Customer && slices.ContainsFunc(o.Rec.Images, func(im purge.Image) bool {
			return im.Key == k && im.State == jobs.Deleted && im.Sends > 0
		})
	})
}

// The numbers of a task are those of its rows, and of what was sent.
func (w *world) miscounted() (broken []string) {
	for _, t := range w.store.Tasks() {
		if w.hist.lost[t.Customer] {
			continue
		}
		wrong := func(format string, args ...any) {
			broken = append(broken, fmt.Sprintf("task %d: ", t.ID)+fmt.Sprintf(format, args...))
		}
		deleted, found, calls := 0, 0, 0
		for _, im := range t.Rec.Images {
			if im.State == jobs.Deleted {
				deleted++
			}
			if im.State != jobs.Bystander {
				found++
			}
			stand, left := w.intentsFor(t.ID, im.Key)
			if im.Sends != stand || im.Sends < left {
				wrong("image %s has %d sends; %d intents stand, %d DELETEs left", w.name(im.Key), im.Sends, stand, left)
			}
		}
		for _, c := range t.Calls {
			if !c.SentAt.IsZero() || c.Kind == jobs.DeleteCall && c.Class == "" {
				calls++
			}
		}
		if t.Deleted != deleted {
			wrong("images_deleted is %d, %d rows are", t.Deleted, deleted)
		}
		if t.Rec.Found != found {
			wrong("images_found is %d, %d rows are targets", t.Rec.Found, found)
		}
		if t.Rec.APICalls != calls {
			wrong("api_calls is %d, %d are recorded as sent", t.Rec.APICalls, calls)
		}
	}
	return broken
}

func (w *world) intentsFor(task jobs.TaskID, k jobs.Key) (stand, left int) {
	for _, in := range w.hist.intents {
		if in.Task != task || !slices.ContainsFunc(in.Targets, func(c clearance.Target) bool { return c.Key == k }) {
			continue
		}
		left += in.sent
		if !in.withdrawn {
			stand++
		}
	}
	return stand, left
}

// All workers together send no more calls in a minute than they may; a late DELETE of a
// worker that died before it could pay counts at its slot. A worker that was frozen sends
// late what it had slots for before; a server that lacks the last commits gives slots twice.
func (w *world) overTheLimit() (broken []string) {
	if w.freezes > 0 || w.sleeps > 0 || w.failOvers > 0 {
		return nil
	}
	limit := w.perMinute
	sends := slices.SortedStableFunc(slices.Values(w.hist.sends), func(a, b sentCall) int { return cmp.Compare(a.at, b.at) })
	for i, s := range sends {
		if i < limit {
			continue
		}
		if first := sends[i-limit]; s.at-first.at < time.Minute {
			return []string{fmt.Sprintf("%v: W%d sent the call %d within %v; %d a minute are allowed", s.at, s.process, limit+1, s.at-first.at, limit)}
		}
	}
	return broken
}

// wasted finds tasks that took more calls than their mode needs, on a night with
// nothing against it.
func (w *world) wasted() (broken []string) {
	if !w.calm || !w.once {
		return nil
	}
	interval := 61 * time.Second * time.Duration(w.workers) / time.Duration(w.perMinute)
	for _, t := range w.store.Tasks() {
		n := t.Deleted
		if time.Duration(n+3)*(interval+w.latency) >= w.viewAge {
			continue // no view can live for so long
		}
		need := map[jobs.Mode]int{jobs.Economy: n + 1, jobs.Verified: n + 2, jobs.Paranoid: 2*n + 1}[t.Rec.Mode]
		if t.Rec.Scope == jobs.UntilEmpty {
			need = max(need, n+2)
		}
		if t.Outcome == jobs.ImagesDeleted && w.batching == jobs.SingleDelete && n > 0 && t.Rec.APICalls > need {
			broken = append(broken, fmt.Sprintf("task %d (%s): %d calls for %d images, want %d", t.ID, t.Rec.Mode, t.Rec.APICalls, n, need))
		}
	}
	return broken
}
