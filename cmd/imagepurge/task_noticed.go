package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/imagepurge/imagepurge/jobs"
	"github.com/imagepurge/imagepurge/repository"
)

// notice is something that others did, or that the API got wrong, in plain words.
type notice struct {
	Kind     string `json:"kind"`
	Task     int64  `json:"task_id"`
	Sequence int    `json:"sequence"` // of the call that showed it
	Key      string `json:"image_key"`
	Says     string `json:"says"`
}

// The kinds of a notice that are no outcome of a task.
const (
	noticeCameBack = "came_back"
	noticeRemoved  = "removed_by_others"
	noticeUploaded = "uploaded_by_others"
)

// noticed goes through a timeline. With a task it tells only of that one's calls.
func noticed(events []repository.Event, task int64) []notice {
	out := []notice{}
	for i := range events {
		e := &events[i]
		if e.Call == nil || task != 0 && e.Task != task {
			continue
		}
		add := func(kind, key, format string, args ...any) {
			out = append(out, notice{kind, e.Task, e.Call.Sequence, key, fmt.Sprintf(format, args...)})
		}
		if e.Believed() {
			noticeListing(events[:i], e, add)
			continue
		}
		noticeAnswer(events[:i], e, add)
	}
	return out
}

type addNotice func(kind, key, format string, args ...any)

func noticeListing(before []repository.Event, e *repository.Event, add addNotice) {
	here := callName(refOf(e), e.Task)
	for _, g := range e.Gone {
		if g.Why != repository.GoneByNothing {
			continue
		}
		seen := callName(g.Seen, e.Task)
		if g.Role == repository.RoleTarget {
			add(noticeRemoved, g.Key, "Image %s was to be deleted and went by other means: %s showed it at index %d, %s does not, and no delete for it ran in between.",
				shortKey(g.Key), seen, g.Index, here)
			continue
		}
		add(string(jobs.BystanderMissing), g.Key, "Image %s was not to be deleted and is missing: %s showed it at index %d, %s does not.\n%s",
			shortKey(g.Key), seen, g.Index, here, suspects(before, g, e.Task))
	}
	for _, v := range e.View {
		switch v.Change {
		case repository.ShownNew:
			add(noticeUploaded, v.Key, "Image %s is new in %s, at index %d: others uploaded it (%s).", shortKey(v.Key), here, v.Index, roleWords(v.Role))
		case repository.ShownCameBack:
			add(noticeCameBack, v.Key, "Image %s was gone and is listed again in %s, at index %d: the listing before or this one is stale, or somebody put it back.", shortKey(v.Key), here, v.Index)
		case repository.ShownStillThere:
			if classOf(before, *v.By) == jobs.ClassDeleted {
				add(string(jobs.StillPresent), v.Key, "The API said in %s that image %s is deleted; %s still shows it, at index %d.", callName(*v.By, e.Task), shortKey(v.Key), here, v.Index)
			}
		}
	}
}

func refOf(e *repository.Event) repository.CallRef {
	return repository.CallRef{Task: e.Task, Sequence: e.Call.Sequence}
}

// suspects says which of our deletes could have hit an image that is missing: those
// that ran, or may have, since it was last seen.
func suspects(before []repository.Event, g repository.GoneImage, task int64) string {
	var ours []string
	for i := range slices.Backward(before) {
		e := &before[i]
		if e.Call == nil {
			continue
		}
		if refOf(e) == g.Seen {
			break
		}
		if e.MayHaveRun() {
			ours = append(ours, fmt.Sprintf("%s (index %d, meant for %s)", callName(refOf(e), task), *e.Call.Position, shortKey(*e.Call.Key)))
		}
	}
	if len(ours) == 0 {
		return "No DELETE of ours ran in between, so others removed it."
	}
	slices.Reverse(ours)
	return "In between ran " + strings.Join(ours, ", ") + ". Others removed it or, if others moved images in just that time, a delete of ours hit it."
}

func classOf(events []repository.Event, r repository.CallRef) jobs.Class {
	for i := range events {
		if e := &events[i]; e.Call != nil && refOf(e) == r && e.Call.Class != nil {
			return jobs.Class(*e.Call.Class)
		}
	}
	return ""
}

func noticeAnswer(before []repository.Event, e *repository.Event, add addNotice) {
	if e.Call.Class == nil {
		return
	}
	here := callName(refOf(e), e.Task)
	switch class := jobs.Class(*e.Call.Class); class {
	case jobs.ClassNoImage:
		add(string(jobs.IndexContradiction), *e.Call.Key, "There was no image at index %d in %s, where %s: others removed images in between, or the listing was stale.",
			*e.Call.Position, here, lastSeen(before, e))
	case jobs.ClassUnexpected:
		add(string(jobs.UnexpectedResponse), "", "%s was answered with something that is in no table%s.", capital(here), codeNote(e.Call))
	case jobs.ClassInvalid:
		add(string(jobs.UnexpectedResponse), "", "The API called the request of %s invalid%s.", here, codeNote(e.Call))
	case jobs.ClassRefused:
		add("refused", "", "The API refused %s%s.", here, codeNote(e.Call))
	case jobs.ClassMerged:
		add(string(jobs.MergedCustomer), "", "In %s the platform said that the customer was merged into another account%s: images under this id may be somebody else's.", here, codeNote(e.Call))
	case jobs.ClassErased:
		add(string(jobs.CustomerErased), "", "In %s the platform said that the customer is erased%s.", here, codeNote(e.Call))
	case jobs.ClassNotFound:
		kind, words := jobs.CustomerNotFound, "knows no such customer"
		if slices.ContainsFunc(before, func(b repository.Event) bool { return b.Task == e.Task && b.Believed() }) {
			kind, words = jobs.CustomerGone, "knows the customer no longer; an earlier listing was answered"
		}
		add(string(kind), "", "In %s the platform said that it %s%s.", here, words, codeNote(e.Call))
	}
}

// lastSeen says what a delete relied on.
func lastSeen(before []repository.Event, e *repository.Event) string {
	for i := range slices.Backward(before) {
		if l := &before[i]; l.Task == e.Task && l.Believed() {
			for _, v := range l.View {
				if strings.HasPrefix(*e.Call.Key, v.Key) {
					return fmt.Sprintf("%s had shown image %s at index %d", callName(refOf(l), e.Task), shortKey(*e.Call.Key), v.Index)
				}
			}
			break
		}
	}
	return fmt.Sprintf("image %s had been listed", shortKey(*e.Call.Key))
}

func capital(s string) string { return strings.ToUpper(s[:1]) + s[1:] }

// advice is something that a person can do, and what to type for it.
type advice struct {
	Says    string `json:"says"`
	Command string `json:"command"` // empty where there is nothing to type
}

// canDo says what a person can do about a task now.
func canDo(t repository.Task) []advice {
	out := []advice{}
	add := func(says, command string, args ...any) {
		out = append(out, advice{says, fmt.Sprintf(command, args...)})
	}
	look := func(says string) { add(says, "imagepurge customer %d --check-now", t.CustomerID) }
	switch jobs.State(t.State) {
	case jobs.Review:
		look("See what is there now; it makes one listing and no DELETE:")
		out = append(out, reviewAdvice(t)...)
	case jobs.Failed:
		if o := *t.Outcome; o == string(jobs.CustomerNotFound) || o == string(jobs.InvalidCustomer) {
			add("Check the customer's id, source and account; trying again will end the same way.", "")
			break
		}
		add("When the fault is mended, try all failed customers of its batch again:", `imagepurge batch retry %d --reason "the fault is mended"`, t.Batch)
	case jobs.Cancelled:
		add("To purge the customer after all, take the id in again:", `echo %d | imagepurge enqueue --organization %s --reason "purge after all" -`, t.CustomerID, t.Organization)
	case jobs.Completed:
		if t.VerifiedAt == nil && *t.Outcome == string(jobs.ImagesDeleted) {
			look("No listing was made after the last delete. To see what is listed now:")
			break
		}
		add("Nothing has to be done. What can be told to the customer:", "imagepurge customer %d", t.CustomerID)
	case jobs.Running:
		add("A worker has it. Look again:", "imagepurge task show %d", t.ID)
	case jobs.Held:
		add("A legal hold forbids any delete; it is worked on once the hold is released.", "")
	default:
		out = append(out, pendingAdvice(t)...)
	}
	return out
}

func pendingAdvice(t repository.Task) []advice {
	if t.WaitingFor != nil && *t.WaitingFor == string(jobs.WaitBreaker) {
		return []advice{
			{"The organisation's breaker is open. See why:", "imagepurge org show " + t.Organization},
			{"Once it is mended:", fmt.Sprintf(`imagepurge org close-breaker %s --reason "it is mended"`, t.Organization)},
		}
	}
	return []advice{{"A worker takes it up when it is due. To work on its batch now:", fmt.Sprintf("imagepurge run --once --batch %d", t.Batch)}}
}

// reviewAdvice is what to look at first, then the two decisions there are.
func reviewAdvice(t repository.Task) []advice {
	first, retry, closing := "", "the cause is understood", "closed as it is"
	switch jobs.Outcome(*t.Outcome) {
	case jobs.BystanderMissing:
		first = "Tell the privacy officer. Ask the shop who removed the image, and when; compare with the times above."
		retry, closing = "the removal is understood", "the removal is not ours; no more is to be deleted"
	case jobs.StillPresent:
		first = "Ask the vendor why the API says \"deleted\" for an image that stays. If a listing may lag by more than IMAGEPURGE_LISTING_LAG, raise that."
		retry, closing = "the vendor mended it", "to be purged by hand"
	case jobs.IndexContradiction:
		first = "Find out who else removes this customer's images, and let them stop."
		retry, closing = "nobody else works on the customer now", "others have purged the customer"
	case jobs.UnexpectedResponse:
		first = "Ask the vendor about the code and HTTP status above."
		retry, closing = "the vendor answered", "to be purged by hand"
	case jobs.MergedCustomer:
		first = "Look up the surviving account in the vendor's console. If its images are to go, take in its id as a task of its own; this id's images may be somebody else's."
		retry, closing = "the merge was undone", "account merged; purged under the surviving id"
	}
	return []advice{
		{first, ""},
		{"Try again; it begins with a new listing, and keeps all of the above:", fmt.Sprintf("imagepurge task resolve %d --retry --reason %q", t.ID, retry)},
		{"Or close it as it is; no more calls are made for it:", fmt.Sprintf("imagepurge task resolve %d --close --reason %q", t.ID, closing)},
	}
}
