package memory

import (
	"slices"
	"time"

	"github.com/imagepurge/imagepurge/jobs"
	"github.com/imagepurge/imagepurge/jobs/purge"
)

// ConstraintError says that a write breaks a rule of the tables: the database
// would refuse it, however often it came.
type ConstraintError struct {
	Task jobs.TaskID
	Rule string // the constraint's name, or what stands for it
}

func (e *ConstraintError) Error() string { return "the database would refuse this write: " + e.Rule }

// check panics where the tables' constraints forbid what an accepted write says.
func (s *Store) check(w *purge.Write) {
	t := s.tasks[w.Task-1]
	rule := broken(t, w)
	for i := 0; i < len(w.Images) && rule == ""; i++ {
		rule = brokenByImage(w.Images, i)
	}
	for i := 0; i < len(w.Calls) && rule == ""; i++ {
		rule = t.brokenByCall(w.Calls, i)
	}
	if rule != "" {
		panic(&ConstraintError{Task: w.Task, Rule: rule})
	}
}

func broken(t *Task, w *purge.Write) string {
	c := &w.Counters
	finishes, givesBack := w.Kind == purge.WriteFinish, w.Kind == purge.WriteGiveBack
	outcomeState, known := jobs.StateOf(w.Outcome)
	switch {
	case min(c.Found, w.Deleted, c.New, c.Attempts, c.APICalls) < 0 || w.Deleted > c.Found:
		return "counts"
	case finishes && (!known || outcomeState != w.State), !finishes && w.Outcome != "":
		return "outcome_of_state"
	case givesBack && w.Waiting != "" && !slices.Contains(jobs.Waitings(), w.Waiting):
		return "waiting_for"
	case givesBack && w.ReviewAs != "" && !reviews(w.ReviewAs):
		return "review_as_review"
	case t.Rec.DryRun && w.Deleted != 0:
		return "dry_run_deletes_nothing"
	case finishes && t.endsInDoubt(w):
		return "ends_told"
	}
	return ""
}

// endsInDoubt says whether an image would stay unknown that a listing could decide.
func (t *Task) endsInDoubt(w *purge.Write) bool {
	personDecides := w.Outcome == jobs.MergedCustomer || w.Outcome == jobs.UnexpectedResponse
	doubtful := func(im purge.Image) bool {
		return im.State == jobs.Intended || im.State == jobs.Unknown && !personDecides
	}
	return slices.ContainsFunc(w.Images, doubtful) || slices.ContainsFunc(t.Rec.Images, func(im purge.Image) bool {
		return doubtful(im) && !slices.ContainsFunc(w.Images, func(n purge.Image) bool { return n.Key == im.Key })
	})
}

func reviews(o jobs.Outcome) bool {
	s, ok := jobs.StateOf(o)
	return ok && s == jobs.Review
}

func brokenByImage(images []purge.Image, i int) string {
	im := &images[i]
	for j := range i {
		if images[j].Key == im.Key {
			return "an image twice in one write"
		}
	}
	if im.Position < 0 || im.Sends < 0 {
		return "task_images"
	}
	if im.Evidence != "" && im.Evidence != jobs.ByAnswer && im.Evidence != jobs.ByListing {
		return "evidence"
	}
	if im.Missing && im.State != jobs.Bystander {
		return "only_bystanders_are_missed"
	}
	switch im.State {
	case jobs.Planned:
	case jobs.Intended, jobs.Unknown, jobs.Deleted:
		if im.Sends == 0 {
			return "sent_before_deleted"
		}
		if im.State == jobs.Deleted && im.Evidence == "" {
			return "gone_has_evidence"
		}
	case jobs.Absent:
		if im.Evidence == "" {
			return "gone_has_evidence"
		}
	case jobs.Bystander:
		if im.Sends != 0 {
			return "bystanders_are_never_sent"
		}
	default:
		return "task_images.state"
	}
	return ""
}

func (t *Task) brokenByCall(calls []jobs.Call, i int) string {
	c := &calls[i]
	for j := range i {
		if calls[j].Sequence == c.Sequence {
			return "a call twice in one write"
		}
	}
	deletes := c.Kind == jobs.DeleteCall
	switch {
	case c.Sequence < 1 || !deletes && c.Kind != jobs.ListCall || deletes && (c.Position < 0 || c.Targets < 0):
		return "image_calls"
	case c.ImagesSeen >= 0 && len(c.Shown) != c.ImagesSeen:
		return "shown_are_counted"
	case c.AnsweredAt.IsZero() != (c.Class == ""):
		return "answered_has_a_class"
	case c.Class != "" && !slices.Contains(jobs.Classes(), c.Class):
		return "image_calls.class"
	}
	// An answer, once written, stands.
	if n, there := t.findCall(c.Sequence); there && !t.Calls[n].AnsweredAt.IsZero() && !sameAnswer(&t.Calls[n], c) {
		return "keep_answer"
	}
	return ""
}

func sameAnswer(row, c *jobs.Call) bool {
	same := func(a, b time.Time) bool { return a.Equal(stored(b)) }
	return same(row.SentAt, c.SentAt) && same(row.AnsweredAt, c.AnsweredAt) &&
		row.Class == c.Class && row.HTTPStatus == c.HTTPStatus && row.Code == c.Code
}
