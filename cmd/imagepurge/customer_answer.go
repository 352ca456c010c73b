package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/imagepurge/imagepurge/internal/term"
	"github.com/imagepurge/imagepurge/jobs"
	"github.com/imagepurge/imagepurge/repository"
)

// answerText is the answer in one sentence, and what must be said beside it.
func answerText(x repository.Answer) (says string, also []string) {
	add := func(format string, args ...any) { also = append(also, fmt.Sprintf(format, args...)) }
	says = firstSentence(x)
	if x.Verdict != repository.Gone && x.Last != nil && x.Targets > 0 {
		add("Of %s that %s to be deleted: %d gone, %d said to be deleted by the API since, %d in doubt, %d listed.",
			plural(x.Targets, "image"), wasWere(x.Targets), x.Gone, x.SaidDeleted, x.InDoubt, x.Listed)
	}
	if x.Returned > 0 {
		add("%s that had gone %s listed again: the listing is stale, or somebody put %s back.", plural(x.Returned, "image"), isAre(x.Returned), itThem(x.Returned))
	}
	if x.Others > 0 && x.Verdict != repository.NothingThere {
		add("%s that no task of this search was to delete %s listed there, too; %d of them %s not there when a listing first looked.", plural(x.Others, "image"), isAre(x.Others), x.Uploaded, wasWere(x.Uploaded))
	}
	switch jobs.Class(x.Class) {
	case jobs.ClassMerged:
		add("The platform says that the customer was merged into another account; images may be there.")
	case jobs.ClassErased, jobs.ClassNotFound:
		if x.Verdict == repository.Gone {
			add("The platform does not show the customer any more (%s).", x.Class)
		}
	}
	if len(x.Open) > 0 && x.Verdict != repository.NotYet {
		add("%s still to be worked on: a further purge was asked for, or this one has not ended.", taskNames(x.Open, "is", "are"))
	}
	if len(x.Review) > 0 && x.Verdict != repository.NeedsPerson {
		add("%s for a person's decision.", taskNames(x.Review, "waits", "wait"))
	}
	return says, also
}

func firstSentence(x repository.Answer) string {
	switch x.Verdict {
	case repository.Gone:
		seen := "in"
		if x.AtFirst < x.Targets {
			seen = "since"
		}
		return fmt.Sprintf("Yes: %s seen %s the listing of %s %s gone; the listing of %s (%s) showed none of them.",
			allOf(x.Targets), seen, second(x.First.At), isAre(x.Targets), second(x.Last.At), callName(x.Last.CallRef, -1))
	case repository.GoneByAnswers:
		return fmt.Sprintf("Yes, by the API's own answers only: it said \"deleted\" for %s; no listing has been made since that would verify it.", allOf(x.Targets))
	case repository.NothingThere:
		return nothingSentence(x)
	case repository.CustomerGone:
		if x.Class == string(jobs.ClassErased) {
			return "The platform says that it has erased the customer, and shows no images; what became of the images no listing can show."
		}
		return "The platform knows no such customer, and shows no images; what became of them, if there were any, no listing can show."
	case repository.NotYet:
		return fmt.Sprintf("Not yet: %s still to be worked on.", taskNames(x.Open, "is", "are"))
	case repository.InDoubt:
		return fmt.Sprintf("In doubt: of %s the delete may have run, and no listing has been made since.", plural(x.InDoubt, "image"))
	case repository.NeedsPerson:
		return fmt.Sprintf("Not all: %s for a person's decision.", taskNames(x.Review, "waits", "wait"))
	case repository.StillThere:
		return fmt.Sprintf("No: %s still listed in the listing of %s (%s), and no task is at work.", plural(x.Listed, "image")+" "+isAre(x.Listed), second(x.Last.At), callName(x.Last.CallRef, -1))
	case repository.CountedOnly:
		return fmt.Sprintf("No: only a dry run was made; the listing of %s (%s) showed %s, and nothing was deleted.", second(x.Last.At), callName(x.Last.CallRef, -1), plural(x.Last.Images, "image"))
	}
	if x.Class == string(jobs.ClassMerged) {
		return "Not known: the platform says that the customer was merged into another account."
	}
	return "Not known: no listing has been answered."
}

// nothingSentence is for targets that were never there.
func nothingSentence(x repository.Answer) string {
	in := fmt.Sprintf("the listing of %s (%s)", second(x.Last.At), callName(x.Last.CallRef, -1))
	switch {
	case x.Last.Images == 0:
		return fmt.Sprintf("There is no image: %s showed none, and no earlier one showed any that was to be deleted.", in)
	case x.Tasks == 0:
		return fmt.Sprintf("No purge was ever asked for; %s shows %s.", in, plural(x.Last.Images, "image"))
	}
	return fmt.Sprintf("Of the images that were to be deleted none was ever seen; %s showed %s, %d of them new since a listing first looked.", in, plural(x.Last.Images, "other image"), x.Uploaded)
}

func allOf(n int) string {
	if n == 1 {
		return "the 1 image"
	}
	return fmt.Sprintf("all %d images", n)
}

func taskNames(ids []int64, one, more string) string {
	list := strings.ReplaceAll(strings.Trim(fmt.Sprint(ids), "[]"), " ", ", ")
	if len(ids) == 1 {
		return "task " + list + " " + one
	}
	return "tasks " + list + " " + more
}

func isAre(n int) string {
	if n == 1 {
		return "is"
	}
	return "are"
}

func wasWere(n int) string {
	if n == 1 {
		return "was"
	}
	return "were"
}

func itThem(n int) string {
	if n == 1 {
		return "it"
	}
	return "them"
}

// compare says what is there now, held against everything that was seen before in
// the same search.
func (n *checkedNow) compare(all []repository.History, c *repository.Checked, lag time.Duration) {
	n.Says = []string{}
	add := func(format string, args ...any) { n.Says = append(n.Says, fmt.Sprintf(format, args...)) }
	if c.Class != string(jobs.ClassListed) {
		call := repository.TaskCall{Kind: repository.EventList, Class: &n.Class}
		if n.HTTPStatus != 0 {
			call.HTTPStatus = &n.HTTPStatus
		}
		if n.Code != "" {
			call.ErrorCode = &n.Code
		}
		add("%s.", capital(answerWords(&call)))
		return
	}
	seen, last := seenBefore(all, c)
	for _, k := range c.Shown {
		switch role, known := seen[k.String()]; {
		case !known:
			n.New++
		case role == repository.RoleTarget:
			n.Targets++
		default:
			n.Known++
		}
	}
	for _, x := range repository.Answers(all, c)[:1] {
		n.Returned = x.Returned
	}
	add("%s listed: %d that a task was to delete, %d others seen before, %d never seen before.", plural(n.Images, "image"), n.Targets, n.Known, n.New)
	if n.Returned > 0 && !last.IsZero() && n.At.Sub(last) < lag {
		add("The last delete was %s ago, and a listing may lag by %s: ask again after that.", term.Duration(n.At.Sub(last)), term.Duration(lag))
	}
	for _, h := range all {
		if h.Task.State == string(jobs.Running) {
			add("Task %d is being worked on right now: this listing says nothing of deletes under way.", h.Task.ID)
		}
	}
}

// seenBefore are the images that tasks of the same search saw, with their roles, and
// when the last delete was answered or sent.
func seenBefore(all []repository.History, c *repository.Checked) (roles map[string]string, last time.Time) {
	roles = map[string]string{}
	for _, e := range repository.Timeline(repository.OfSearch(all, c)) {
		for _, v := range e.View {
			if roles[v.Key] != repository.RoleTarget {
				roles[v.Key] = v.Role
			}
		}
		if e.MayHaveRun() && e.At != nil && e.At.After(last) {
			last = *e.At
		}
	}
	return roles, last
}
