package repository

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"github.com/imagepurge/imagepurge/jobs"
)

// The kinds of an event. The first two are those of calls.
const (
	EventList      = string(jobs.ListCall)
	EventDelete    = string(jobs.DeleteCall)
	EventGivenBack = "given_back" // the task rested between two claims
	EventAudit     = "audit"      // a person's decision, an end, a breaker
)

// What a listing showed of an image, seen from the listing before.
const (
	ShownNew        = "new"         // for the first time, and not in the first listing
	ShownCameBack   = "came_back"   // an earlier listing lacked it
	ShownStillThere = "still_there" // though a delete meant for it may have run
)

// Why a listing lacked an image that the one before had shown.
const (
	GoneByDelete  = "deleted" // a delete meant for it may have run
	GoneByNothing = "missing" // none did
)

// CallRef names a call. Task 0 is a listing made for a question, of no task.
type CallRef struct {
	Task     int64 `json:"task_id"`
	Sequence int   `json:"sequence"`
}

// ShownImage is an image in a listing.
type ShownImage struct {
	Index  int      `json:"index"`
	Key    string   `json:"image_key"`
	Role   string   `json:"role"`   // target, bystander
	Change string   `json:"change"` // new, came_back, still_there; empty for none
	By     *CallRef `json:"delete"` // of still_there and came_back: the delete that proved wrong
}

// GoneImage is an image that a listing lacked.
type GoneImage struct {
	Key   string   `json:"image_key"`
	Role  string   `json:"role"`
	Index int      `json:"index"` // in the listing that had shown it
	Seen  CallRef  `json:"seen"`
	Why   string   `json:"why"`    // deleted, missing
	By    *CallRef `json:"delete"` // the last delete meant for it, whether it ran or not
}

// NextListing is what the first listing after a delete showed of its image.
type NextListing struct {
	CallRef
	Shown bool `json:"shown"`
	Index int  `json:"index"` // -1 where it was not shown
}

// Event is one entry of a timeline.
type Event struct {
	Task int64      `json:"task_id"`
	Kind string     `json:"kind"`
	At   *time.Time `json:"at"` // null: not known

	Call *TaskCall    `json:"call"`
	View []ShownImage `json:"view"` // of a listing that can be believed, in index order
	Gone []GoneImage  `json:"gone"` // and what it lacked
	// Of a delete: when its intent was committed, where that is still known, the
	// images meant, and what came of them.
	IntendedAt *time.Time   `json:"intended_at"`
	Meant      []string     `json:"meant"`
	Next       *NextListing `json:"next_listing"`

	// Of a task that was given back.
	For   float64 `json:"seconds"`
	Why   string  `json:"waited_for"` // empty: for nothing but its turn
	Epoch int64   `json:"lease_epoch"`

	Audit *AuditEntry `json:"entry"`
}

// ref names the event's call.
func (e *Event) ref() CallRef {
	if e.Call == nil {
		return CallRef{Task: e.Task}
	}
	return CallRef{e.Task, e.Call.Sequence}
}

// Believed says whether the event is a listing that can be believed.
func (e *Event) Believed() bool {
	return e.Kind == EventList && e.Call.Class != nil && *e.Call.Class == string(jobs.ClassListed)
}

// MayHaveRun says whether the event is a delete that ran, or may have.
func (e *Event) MayHaveRun() bool {
	if e.Kind != EventDelete {
		return false
	}
	if e.Call.Class == nil {
		return true // its sender died
	}
	c := jobs.Class(*e.Call.Class)
	return c == jobs.ClassDeleted || c.MayHaveRun() || c == jobs.ClassNoImage && e.batched()
}

func (e *Event) batched() bool { return e.Call.Targets != nil && *e.Call.Targets > 1 }

// Timeline tells what happened to a customer in one order, from the histories of
// tasks: the calls, and what each listing showed that the one before had not.
func Timeline(hs []History) []Event {
	var all []placed
	for _, h := range hs {
		all = append(all, eventsOf(h)...)
	}
	slices.SortStableFunc(all, func(a, b placed) int {
		return cmp.Or(a.at.Compare(b.at), cmp.Compare(a.Task, b.Task))
	})
	out := make([]Event, 0, len(all))
	told := map[int64]bool{}
	for _, p := range all {
		if p.Audit != nil && p.Audit.OfBatch { // tasks of one batch have it in common
			if told[p.Audit.ID] {
				continue
			}
			told[p.Audit.ID] = true
		}
		out = append(out, p.Event)
	}
	compare(out, hs)
	return out
}

// placed is an event and the time that gives it its place. Times come from several
// clocks, so within a task the order of calls and entries goes before them.
type placed struct {
	Event
	at time.Time
}

// eventsOf are one task's events in order.
func eventsOf(h History) []placed {
	var out []placed
	at := h.Task.CreatedAt
	add := func(e Event, t *time.Time) {
		if t != nil && t.After(at) {
			at = *t
		}
		e.Task = h.Task.ID
		e.View, e.Gone, e.Meant = orEmpty(e.View), orEmpty(e.Gone), orEmpty(e.Meant)
		out = append(out, placed{e, at})
	}
	entries := h.Audit
	for i := range h.Calls {
		c := &h.Calls[i]
		ended := false
		for len(entries) > 0 && comesBefore(entries[0], c) {
			ended = ended || entries[0].Action == "task.finish"
			add(auditEvent(entries[0]))
			entries = entries[1:]
		}
		if i > 0 && h.Calls[i-1].Epoch != c.Epoch && !ended {
			add(givenBack(&h.Calls[i-1], c))
		}
		e := Event{Kind: c.Kind, Call: c}
		e.At = firstOf(c.SentAt, c.AnsweredAt)
		if c.Kind == EventDelete {
			e.IntendedAt = intendedAt(h, i)
			e.At = firstOf(c.SentAt, e.IntendedAt, c.AnsweredAt)
			e.Meant = []string{short16(*c.Key)}
		}
		add(e, e.At)
	}
	for i := range entries {
		add(auditEvent(entries[i]))
	}
	return out
}

// comesBefore says whether an entry stands before a call. An end belongs behind the
// calls of its epoch; of the rest the times decide, and what was decided after an
// end comes behind it, since entries keep their order.
func comesBefore(e AuditEntry, c *TaskCall) bool {
	if epoch, ok := e.Details["epoch"].(float64); ok && e.Action == "task.finish" {
		return int64(epoch) < c.Epoch
	}
	at := firstOf(c.SentAt, c.AnsweredAt)
	return at == nil || !e.At.After(*at)
}

func auditEvent(e AuditEntry) (Event, *time.Time) {
	return Event{Kind: EventAudit, At: &e.At, Audit: &e}, &e.At
}

// givenBack is the rest between the last call of a claim and the first of the
// next. Why it rested follows from the answer before, as in the protocol; a
// listing that contradicted the rows is told by compare.
func givenBack(before, after *TaskCall) (Event, *time.Time) {
	e := Event{Kind: EventGivenBack, At: before.AnsweredAt, Epoch: after.Epoch, Why: waitAfter(before)}
	if from, to := firstOf(before.AnsweredAt, before.SentAt), firstOf(after.SentAt, after.AnsweredAt); from != nil && to != nil {
		e.For = max(0, to.Sub(*from).Seconds())
	}
	return e, e.At
}

func waitAfter(c *TaskCall) string {
	if c.Class == nil {
		return string(jobs.WaitSettle)
	}
	several := c.Targets != nil && *c.Targets > 1
	switch class := jobs.Class(*c.Class); {
	case c.Kind == EventDelete && class.MayHaveRun():
		return string(jobs.WaitSettle)
	case several && (class == jobs.ClassDeleted || class == jobs.ClassNoImage):
		return string(jobs.WaitListingLag)
	case class == jobs.ClassNotRun, class == jobs.ClassUnknown:
		return string(jobs.WaitBackoff)
	case class == jobs.ClassRefused:
		return string(jobs.WaitBreaker)
	}
	return ""
}

// intendedAt is known of the last delete for an image.
func intendedAt(h History, i int) *time.Time {
	key := h.Calls[i].Key
	for _, later := range h.Calls[i+1:] {
		if later.Key != nil && *later.Key == *key {
			return nil
		}
	}
	for _, im := range h.Images {
		if im.Key == *key {
			return im.IntendedAt
		}
	}
	return nil
}

func firstOf(times ...*time.Time) *time.Time {
	for _, t := range times {
		if t != nil {
			return t
		}
	}
	return nil
}

// short16 is an identity as listings keep it.
func short16(hexKey string) string { return hexKey[:min(len(hexKey), 2*shownBytes)] }

// search is what a listing depends on besides the customer.
type search struct{ organization, source, account string }

func searchOf(t Task) search {
	s := search{organization: t.Organization}
	if t.Source != nil {
		s.source = *t.Source
	}
	if t.AccountID != nil {
		s.account = *t.AccountID
	}
	return s
}

// compare goes through a timeline and says of each listing what had changed.
func compare(events []Event, hs []History) {
	roles, searches := map[int64]map[string]string{}, map[int64]search{}
	for _, h := range hs {
		roles[h.Task.ID], searches[h.Task.ID] = rolesOf(h), searchOf(h.Task)
	}
	known := map[search]*knowledge{}
	for i := range events {
		e := &events[i]
		if e.Call == nil {
			if e.Kind == EventGivenBack && e.Why == "" && i > 0 && contradicted(events[:i], e.Task) {
				e.Why = string(jobs.WaitListingLag)
			}
			continue
		}
		s := searches[e.Task]
		if known[s] == nil {
			known[s] = newKnowledge()
		}
		switch {
		case e.Believed():
			known[s].listed(e, roles[e.Task])
		case e.Kind == EventDelete:
			known[s].sent(e)
		}
	}
}

// contradicted says whether the task's last call was a listing that did not go
// with what was known.
func contradicted(events []Event, task int64) bool {
	for _, e := range slices.Backward(events) {
		if e.Task != task || e.Call == nil {
			continue
		}
		return slices.ContainsFunc(e.Gone, func(g GoneImage) bool { return g.Why == GoneByNothing && g.Role == string(jobs.Bystander) }) ||
			slices.ContainsFunc(e.View, func(v ShownImage) bool { return v.Change == ShownCameBack || v.Change == ShownStillThere })
	}
	return false
}

// rolesOf says of each image of a task whether it is a target.
func rolesOf(h History) map[string]string {
	roles := map[string]string{}
	for _, im := range h.Images {
		roles[short16(im.Key)] = roleOf(im)
	}
	return roles
}

// RoleTarget is the role of an image that a task is to delete; of others it is
// [jobs.Bystander].
const RoleTarget = "target"

func roleOf(im TaskImage) string {
	if im.State == string(jobs.Bystander) {
		return im.State
	}
	return RoleTarget
}

// knowledge is what one search has shown so far.
type knowledge struct {
	shown   map[string]int // by the last listing; nil before the first
	in      CallRef        // that listing
	ever    map[string]bool
	deletes map[string]*Event // the last for each image
	pending []*Event          // deletes since the last listing
}

func newKnowledge() *knowledge {
	return &knowledge{ever: map[string]bool{}, deletes: map[string]*Event{}}
}

func (k *knowledge) sent(e *Event) {
	if e.batched() { // the images of its view, which was the last listing
		e.Meant = slices.SortedFunc(maps.Keys(k.shown), func(a, b string) int { return cmp.Compare(k.shown[b], k.shown[a]) })
	}
	for _, key := range e.Meant {
		k.deletes[key] = e
	}
	k.pending = append(k.pending, e)
}

func (k *knowledge) listed(e *Event, roles map[string]string) {
	now := make(map[string]int, len(e.Call.Shown))
	for i, key := range e.Call.Shown {
		now[key] = i
		v := ShownImage{Index: i, Key: key, Role: cmp.Or(roles[key], string(jobs.Bystander))}
		v.Change, v.By = k.change(key)
		e.View = append(e.View, v)
		k.ever[key] = true
	}
	for _, key := range slices.SortedFunc(maps.Keys(k.shown), func(a, b string) int { return cmp.Compare(k.shown[a], k.shown[b]) }) {
		if _, there := now[key]; there {
			continue
		}
		g := GoneImage{Key: key, Role: cmp.Or(roles[key], string(jobs.Bystander)), Index: k.shown[key], Seen: k.in, Why: GoneByNothing}
		if d := k.deletes[key]; d != nil {
			g.By = new(d.ref())
			if d.MayHaveRun() {
				g.Why = GoneByDelete
			}
		}
		e.Gone = append(e.Gone, g)
	}
	for _, d := range k.pending {
		d.Next = &NextListing{CallRef: e.ref(), Index: -1}
		for _, key := range d.Meant {
			if at, there := now[key]; there {
				d.Next.Shown, d.Next.Index = true, at
			}
		}
	}
	k.shown, k.in, k.pending = now, e.ref(), nil
}

// change says what is odd about an image that a listing shows.
func (k *knowledge) change(key string) (string, *CallRef) {
	_, before := k.shown[key]
	d := k.deletes[key]
	switch {
	case k.shown == nil:
		return "", nil
	case !k.ever[key]:
		return ShownNew, nil
	case d != nil && d.MayHaveRun() && before && slices.Contains(k.pending, d):
		return ShownStillThere, new(d.ref())
	case !before && d != nil:
		return ShownCameBack, new(d.ref())
	case !before:
		return ShownCameBack, nil
	}
	return "", nil
}
