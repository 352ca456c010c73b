package purge_test

import (
	"fmt"
	"slices"
	"time"

	"github.com/imagepurge/imagepurge/jobs"
	"github.com/imagepurge/imagepurge/jobs/clearance"
	"github.com/imagepurge/imagepurge/jobs/purge"
)

// What must hold of a single DELETE and of a single write, said of the shelf and of
// the answers that were given, never of what the machine believes.

// judge looks at a DELETE that is about to leave.
func (r *trial) judge(permit *clearance.Clearance) {
	r.sends++
	if permit == nil || permit != r.committed {
		r.fail("a DELETE without the intent that was just committed")
		return
	}
	r.committed = nil // one send
	in := permit.Intent()
	if n := len(r.running); n > 0 {
		r.fail("a DELETE is sent while %d may still run", n)
	}
	if age := r.now.Sub(r.shownAt); r.shown == nil || age > r.cfg.ViewMaxAge+jobs.SendMargin {
		r.fail("a DELETE on a view of %v", age)
	}
	if len(in.Targets) == 0 {
		r.fail("a DELETE of nothing")
	}
	for _, t := range in.Targets {
		r.judgeTarget(t)
	}
	r.judgeOrder(in.Targets)
	if r.rec.Mode == jobs.Paranoid {
		r.shown = nil // the next one needs a listing of its own
	}
}

// judgeTarget: the index names exactly this image, and the image is one to delete.
func (r *trial) judgeTarget(t clearance.Target) {
	switch {
	case t.Position < 0 || t.Position >= len(r.shelf):
		r.fail("index %d of %d images", t.Position, len(r.shelf))
	case keys[r.shelf[t.Position]] != t.Key:
		r.fail("index %d is image %d, and image %d is meant: %v", t.Position, r.shelf[t.Position], images[t.Key], r.shelf)
	case !r.wanted[t.Key]:
		r.fail("image %d is none of the targets", images[t.Key])
	case !slices.Contains(r.shown, t.Key):
		r.fail("image %d was not in the last listing", images[t.Key])
	}
}

// judgeOrder: within a view the indexes only fall, and nothing that is still to be
// deleted stands behind the one that is.
func (r *trial) judgeOrder(targets []clearance.Target) {
	batch := r.cfg.Batching == jobs.BatchDelete
	if len(targets) > 1 && !batch {
		r.fail("%d indexes in a DELETE", len(targets))
	}
	for i, t := range targets {
		if t.Position >= r.lowest {
			r.fail("index %d after %d", t.Position, r.lowest)
		}
		r.lowest = t.Position
		if i > 0 {
			continue
		}
		for _, image := range r.shelf[min(t.Position+1, len(r.shelf)):] {
			if k := keys[image]; r.wanted[k] && slices.Contains(r.shown, k) {
				r.fail("index %d is deleted before image %d, which stands behind it: %v", t.Position, image, r.shelf)
			}
		}
	}
	if len(targets) < 2 {
		return
	}
	for _, k := range r.shown {
		if !r.wanted[k] {
			r.fail("several indexes at once beside image %d, which stays", images[k])
		}
	}
}

// commit applies a write as the store does, and looks at it first.
func (r *trial) commit(w purge.Write) {
	before := r.rec
	r.rec.Images = slices.Clone(r.rec.Images)
	for _, im := range w.Images {
		i := slices.IndexFunc(r.rec.Images, func(o purge.Image) bool { return o.Key == im.Key })
		if i < 0 {
			r.judgeNew(im)
			r.rec.Images = append(r.rec.Images, im)
			continue
		}
		r.judgeChange(w, r.rec.Images[i], im)
		r.rec.Images[i] = im
	}
	r.rec.Counters, r.rec.ReviewAs = w.Counters, w.ReviewAs
	r.judgeNumbers(w)
	if before.Listed && !w.Counters.Listed {
		r.fail("the targets are written, and then not")
	}
	switch w.Rest {
	case purge.RestSettle:
		r.restUntil = r.now.Add(w.RestFor)
	case purge.RestClear:
		r.restUntil = time.Time{}
	}
	r.due = r.now.Add(w.After)
	if w.Kind == purge.WriteFinish {
		r.outcome = w.Outcome
		r.judgeEnd(w)
	}
}

func (r *trial) judgeNew(im purge.Image) {
	if !r.everShown[im.Key] {
		r.fail("a row for image %d, which no listing showed", images[im.Key])
	}
	if target := im.State != jobs.Bystander; target != r.wanted[im.Key] {
		r.fail("image %d is written as %s", images[im.Key], im.State)
	}
}

// judgeChange: every step of a row has its ground in an answer or in a listing.
func (r *trial) judgeChange(w purge.Write, from, to purge.Image) {
	if from.State == to.State {
		return
	}
	id := images[to.Key]
	listed, shows := r.shown != nil, slices.Contains(r.shown, to.Key)
	answer, answered := r.answer[to.Key]
	ground := false
	switch to.State {
	case jobs.Bystander:
	case jobs.Intended: // or the answer before rode in the same write
		ground = w.Kind == purge.WriteIntent && from.State != jobs.Bystander && slices.ContainsFunc(w.Targets, func(t clearance.Target) bool { return t.Key == to.Key })
	case jobs.Deleted:
		ground = from.Sends > 0 && (to.Evidence == jobs.ByListing && listed && !shows || to.Evidence == jobs.ByAnswer && answer.Class == jobs.ClassDeleted)
	case jobs.Absent:
		ground = r.gone || listed && !shows && from.State != jobs.Deleted
	case jobs.Planned:
		// Still there, or its DELETE certainly did not run, or never left.
		ground = shows || from.State == jobs.Intended && (!answered || !answer.Class.MayHaveRun())
	case jobs.Unknown:
		ground = from.State == jobs.Intended || from.State == jobs.Deleted && shows
	}
	if from.State == jobs.Bystander || !ground {
		r.fail("image %d goes from %s to %s (%s) without a ground: answer %q, in the listing %v", id, from.State, to.State, to.Evidence, answer.Class, shows)
	}
}

func (r *trial) judgeNumbers(w purge.Write) {
	deleted, targets := 0, 0
	for _, im := range r.rec.Images {
		if im.State == jobs.Deleted {
			deleted++
			if slices.Contains(r.shown, im.Key) && !r.since[im.Key] {
				r.fail("image %d is recorded deleted, and the last listing showed it", images[im.Key])
			}
		}
		if im.State != jobs.Bystander {
			targets++
		}
	}
	if w.Deleted != deleted || w.Counters.Found != targets {
		r.fail("%d deleted and %d found; the rows say %d and %d", w.Deleted, w.Counters.Found, deleted, targets)
	}
	for i, k := range r.shown {
		at := slices.IndexFunc(r.rec.Images, func(im purge.Image) bool { return im.Key == k })
		if at < 0 || r.rec.Images[at].Position != i {
			r.fail("image %d was shown at %d, and its row does not say so", images[k], i)
		}
	}
}

// judgeEnd: done means gone, and nobody is blamed who has done nothing.
func (r *trial) judgeEnd(w purge.Write) {
	if len(r.running) > 0 {
		r.fail("the task ends %s while a DELETE may still run", w.Outcome)
	}
	switch w.Outcome {
	case jobs.BystanderMissing, jobs.StillPresent:
		// Too many for until_empty, or for a server that takes half of a batch each time.
		tooMany := r.rec.Scope == jobs.UntilEmpty && len(r.wanted) > jobs.MaxTargets || r.ascending && len(r.wanted) > 7
		if w.Outcome == jobs.StillPresent && tooMany {
			return
		}
		r.fail("the task ends %s, and nobody has deleted anything but us", w.Outcome)
	case jobs.ImagesDeleted, jobs.NoImages, jobs.AlreadyAbsent:
		for _, image := range r.shelf {
			if k := keys[image]; r.wanted[k] && r.everShown[k] {
				r.fail("the task ends %s, and image %d is there", w.Outcome, image)
			}
		}
		if r.rec.Mode != jobs.Economy && w.VerifiedAt.IsZero() {
			r.fail("the task ends %s without a listing that shows it", w.Outcome)
		}
	}
}

func (r *trial) rows() (out []string) {
	for _, im := range r.rec.Images {
		out = append(out, fmt.Sprintf("%d:%s %s", images[im.Key], im.State, im.Evidence))
	}
	return out
}
