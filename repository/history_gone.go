package repository

import (
	"cmp"
	"maps"
	"math"
	"slices"
	"time"

	"github.com/imagepurge/imagepurge/jobs"
)

// Verdict answers a customer's question: is my photo gone?
type Verdict string

// The verdicts. Only the first two say yes, and only the first by what imagepurge
// itself has seen.
const (
	Gone          Verdict = "gone"            // a listing made after the last delete showed none of the targets
	GoneByAnswers Verdict = "gone_by_answers" // the API said so; no listing has shown it
	NothingThere  Verdict = "nothing_there"   // no image that was to be deleted was ever seen
	CustomerGone  Verdict = "customer_gone"   // the platform does not show the customer
	NotYet        Verdict = "not_yet"         // a task is still to be worked on
	InDoubt       Verdict = "in_doubt"        // a delete may have run, and nobody has looked since
	NeedsPerson   Verdict = "needs_person"    // a task waits for a decision
	StillThere    Verdict = "still_there"     // and no task is at work
	CountedOnly   Verdict = "counted_only"    // nothing but dry runs
	NothingKnown  Verdict = "nothing_known"
)

// Verdicts lists every verdict.
func Verdicts() []Verdict {
	return []Verdict{Gone, GoneByAnswers, NothingThere, CustomerGone, NotYet, InDoubt, NeedsPerson, StillThere, CountedOnly, NothingKnown}
}

// Looked is a listing that an answer rests on.
type Looked struct {
	CallRef
	At     *time.Time `json:"at"`
	Images int        `json:"images"`
}

// Answer is what can be said of a customer in one search: an organisation with the
// source and account that its listings ask for.
type Answer struct {
	Organization string  `json:"organization"`
	Source       string  `json:"source"`
	AccountID    string  `json:"account_id"`
	Verdict      Verdict `json:"verdict"`
	// The targets of all tasks but dry runs, and how many stand how.
	Targets     int `json:"targets"`
	Gone        int `json:"gone"`         // in no listing made since
	SaidDeleted int `json:"said_deleted"` // by the API, since the last listing
	InDoubt     int `json:"in_doubt"`     // a delete may have run since the last listing
	Listed      int `json:"listed"`       // shown by the last listing, and no delete since
	AtFirst     int `json:"at_first"`     // shown by the first listing
	Others      int `json:"others"`       // shown by the last listing, and no targets
	Uploaded    int `json:"uploaded"`     // of these: not there when a listing first looked
	Returned    int `json:"returned"`     // targets that were gone and are listed again

	First   *Looked `json:"first_listing"` // that could be believed
	Last    *Looked `json:"last_listing"`
	Class   string  `json:"standing"` // what the API last said of the customer: listed, customer_erased, …
	Open    []int64 `json:"open_tasks"`
	Review  []int64 `json:"tasks_in_review"`
	Tasks   int     `json:"tasks"`
	Outcome *string `json:"outcome"` // of the newest task
}

// Checked is a listing made for the question, of no task.
type Checked struct {
	Organization, Source, AccountID string
	At                              time.Time
	Class                           string
	Shown                           []jobs.Key
}

// Answers answers for each search of the histories, the newest first. A listing
// made for the question counts as the last of its search.
func Answers(hs []History, now *Checked) []Answer {
	groups := map[search][]History{}
	newest := map[search]int64{}
	for _, h := range hs {
		s := searchOf(h.Task)
		groups[s] = append(groups[s], h)
		newest[s] = max(newest[s], h.Task.ID)
	}
	if now != nil {
		s := search{now.Organization, now.Source, now.AccountID}
		groups[s] = append(groups[s][:len(groups[s]):len(groups[s])], now.history(s))
		newest[s] = math.MaxInt64 // asked of just now
	}
	out := []Answer{}
	for _, s := range slices.SortedFunc(maps.Keys(groups), func(a, b search) int {
		return cmp.Or(cmp.Compare(newest[b], newest[a]), cmp.Compare(a.organization, b.organization), cmp.Compare(a.source, b.source), cmp.Compare(a.account, b.account))
	}) {
		out = append(out, answer(s, groups[s]))
	}
	return out
}

// OfSearch picks the histories of tasks that searched as the listing did.
func OfSearch(hs []History, c *Checked) []History {
	return slices.DeleteFunc(slices.Clone(hs), func(h History) bool {
		return searchOf(h.Task) != search{c.Organization, c.Source, c.AccountID}
	})
}

// history is the listing in the form of a task that has nothing else. It sees every
// image as no target of its own.
func (c *Checked) history(s search) History {
	call := TaskCall{Sequence: 1, Kind: EventList, SentAt: &c.At, AnsweredAt: &c.At, Class: &c.Class}
	if c.Class == string(jobs.ClassListed) {
		call.Shown = shownKeys([]byte{})
		for _, k := range c.Shown {
			call.Shown = append(call.Shown, k.String())
		}
	}
	return History{Task: Task{Organization: s.organization, Source: &s.source, AccountID: &s.account, CreatedAt: c.At}, Calls: []TaskCall{call}}
}

func answer(s search, hs []History) Answer {
	a := Answer{Organization: s.organization, Source: s.source, AccountID: s.account, Open: []int64{}, Review: []int64{}}
	targets := map[string]bool{}
	dry := true
	for _, h := range hs {
		if h.Task.ID == 0 {
			continue
		}
		a.Tasks++
		a.Outcome = h.Task.Outcome
		if h.Task.DryRun {
			continue
		}
		dry = false
		switch state := jobs.State(h.Task.State); {
		case state == jobs.Review:
			a.Review = append(a.Review, h.Task.ID)
		case !state.Final():
			a.Open = append(a.Open, h.Task.ID)
		}
		for _, im := range h.Images {
			if roleOf(im) == RoleTarget {
				targets[short16(im.Key)] = true
			}
		}
	}
	a.Targets = len(targets)
	a.look(Timeline(hs), targets)
	a.Verdict = a.verdict(dry)
	return a
}

// look counts the targets by the last listing and the deletes since.
func (a *Answer) look(events []Event, targets map[string]bool) {
	var first map[string]bool // shown by the first listing
	var last *Event
	gone := map[string]bool{} // targets that some listing lacked after one had shown them
	since := map[string]*Event{}
	for i := range events {
		e := &events[i]
		switch {
		case e.Believed():
			if first == nil {
				first, a.First = viewOf(e), looked(e)
			}
			last, a.Last, since = e, looked(e), map[string]*Event{}
			for _, g := range e.Gone {
				gone[g.Key] = true
			}
		case e.Kind == EventDelete && e.MayHaveRun():
			for _, key := range e.Meant {
				since[key] = e
			}
		}
		if e.tellsOfCustomer() {
			a.Class = *e.Call.Class
		}
	}
	if last == nil {
		return
	}
	shown := viewOf(last)
	for key := range shown {
		if targets[key] {
			if gone[key] || since[key] == nil && stillThere(last, key) {
				a.Returned++
			}
			continue
		}
		a.Others++
		if !first[key] {
			a.Uploaded++
		}
	}
	for key := range targets {
		if first[key] {
			a.AtFirst++
		}
		d := since[key]
		switch {
		case !shown[key]:
			a.Gone++
		case d == nil:
			a.Listed++
		case d.Call.Class != nil && *d.Call.Class == string(jobs.ClassDeleted) && !d.batched():
			a.SaidDeleted++
		default:
			a.InDoubt++
		}
	}
}

// tellsOfCustomer says whether the event is an answer that says where the customer
// stands.
func (e *Event) tellsOfCustomer() bool {
	return e.Call != nil && e.Call.Class != nil && slices.Contains([]jobs.Class{
		jobs.ClassListed, jobs.ClassErased, jobs.ClassNotFound, jobs.ClassMerged,
	}, jobs.Class(*e.Call.Class))
}

func stillThere(e *Event, key string) bool {
	return slices.ContainsFunc(e.View, func(v ShownImage) bool { return v.Key == key && v.Change == ShownStillThere })
}

func viewOf(e *Event) map[string]bool {
	shown := map[string]bool{}
	for _, v := range e.View {
		shown[v.Key] = true
	}
	return shown
}

func looked(e *Event) *Looked {
	return &Looked{CallRef: e.ref(), At: firstOf(e.Call.AnsweredAt, e.At), Images: len(e.View)}
}

// verdict weighs the counts. What was seen goes before what a task is called: a task
// in review may have done its work, and one that is completed may have been undone.
func (a *Answer) verdict(dry bool) Verdict {
	open, review := len(a.Open) > 0, len(a.Review) > 0
	switch class := jobs.Class(a.Class); {
	case a.InDoubt > 0:
		return InDoubt
	case a.Targets > 0 && a.Gone == a.Targets:
		return Gone
	case class == jobs.ClassErased, class == jobs.ClassNotFound:
		return CustomerGone
	case a.Targets > 0 && a.Gone+a.SaidDeleted == a.Targets && !open && !review:
		return GoneByAnswers
	case review:
		return NeedsPerson
	case open:
		return NotYet
	case a.Last == nil:
		return NothingKnown
	case a.Tasks > 0 && dry:
		return CountedOnly
	case a.Targets > 0:
		return StillThere
	}
	return NothingThere
}
