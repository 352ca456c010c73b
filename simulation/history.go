package simulation

import (
	"fmt"
	"slices"
	"time"

	"github.com/imagepurge/imagepurge/capillary/sandbox"
	"github.com/imagepurge/imagepurge/jobs"
	"github.com/imagepurge/imagepurge/jobs/clearance"
	"github.com/imagepurge/imagepurge/jobs/purge"
)

// history is what truly happened in a night, without the rows.
type history struct {
	tasks     map[jobs.TaskID]*taskHistory
	intents   []*intent
	removed   []removal
	forbidden forbidden

	disturbed   map[int64]bool          // others acted where promise 1 assumes that they don't
	othersActed map[int64]time.Duration // last
	turned      map[int64]bool          // the account was erased or merged
	lost        map[int64]bool          // a fail-over took rows of this customer back
	touched     map[int64]int           // writes so far; for a fail-over

	strange map[callID]bool // answers of another brand whose worker could know that
	misled  map[int64]bool  // customers of whom another brand's API told what no worker could know
	trusted time.Duration   // when a person, or a fail-over, has last closed the breaker

	sends  []sentCall
	faults map[string]int
	calls  int

	// What is seen as it happens.
	unasked, overlapping, unsettled, undone, doubtful, disobeyed, rests, illegal, taken []string
}

// forbidden is what people forbid, as often as they do.
type forbidden struct {
	everything int
	batches    map[int64]int
	customers  map[int64]int
}

type sentCall struct {
	at      time.Duration
	slot    time.Duration // when its slot was given
	process int
	life    int
}

// died notes that a worker is gone that owed for its late DELETEs: it pays with the slots
// that follow, and had none. Such a call counts at its slot.
func (h *history) died(w *world, p *process) {
	const late = 90 * time.Millisecond // the budget charges from 190 ms on, of which 100 ms may pass before the grant
	interval := time.Minute / time.Duration(w.perMinute)
	for i := len(h.sends) - 1; i >= 0 && w.now-h.sends[i].at < 3*time.Second+3*interval; i-- {
		if s := &h.sends[i]; s.process == p.number && s.life == p.coreLife && s.at-s.slot > late {
			s.at = s.slot
		}
	}
}

// taskHistory is what is known of a task by what was told and listed.
type taskHistory struct {
	customer, batch int64
	named, growing  bool
	targets         map[jobs.Key]bool
	listed          bool
	heard           []*heard
	shown           map[jobs.Key]bool // ever, in a listing that was written down
	last            *heard            // the last listing that was written down
}

// heard is a listing that reached a worker.
type heard struct {
	sentAt time.Time
	owner  string
	images []jobs.Key
	asOf   time.Duration
}

// intent is a committed intent.
type intent struct {
	clearance.Intent
	permit    *clearance.Clearance
	sequence  int
	at        time.Duration
	sent      int
	withdrawn bool
}

// removal is an image that went.
type removal struct {
	at       time.Duration
	customer int64
	image    jobs.Key
	by       jobs.TaskID // 0: by others
	meant    bool        // by a DELETE that was meant for it
	isTarget bool
}

func newHistory() history {
	return history{
		tasks: make(map[jobs.TaskID]*taskHistory), disturbed: make(map[int64]bool), othersActed: make(map[int64]time.Duration),
		strange: make(map[callID]bool), misled: make(map[int64]bool), turned: make(map[int64]bool), lost: make(map[int64]bool), touched: make(map[int64]int), faults: make(map[string]int),
		forbidden: forbidden{batches: make(map[int64]int), customers: make(map[int64]int)},
	}
}

// claimed notes what a claim leased.
func (h *history) claimed(w *world, p *process, records []purge.Record) {
	for _, r := range records {
		h.touched[r.Customer.ID]++
		if r.Foreign {
			p.warned = callID{r.Task, r.Epoch}
		}
		if w.trace != nil {
			p.say("claims task %d of customer %d, epoch %d%s", r.Task, r.Customer.ID, r.Epoch, rows(w, r.Images))
		}
	}
}

func rows(w *world, images []purge.Image) (out string) {
	for _, im := range images {
		out += fmt.Sprintf(" %s:%s", w.name(im.Key), im.State)
	}
	return out
}

// name is an image's name in a history: the last part of its token.
func (w *world) name(k jobs.Key) string {
	for token, key := range w.keyOf {
		if key == k {
			return "…" + token[len("customerImage/100001/56470"):]
		}
	}
	return k.String()
}

// sent notes a request that leaves a worker.
func (h *history) sent(w *world, c *call) {
	h.calls++
	h.sends = append(h.sends, sentCall{w.now, c.slot, c.p.number, c.p.coreLife})
	if p := c.p; !w.once && !p.opened && !p.odd && w.now > p.closeAt+w.timeout+stopGrace {
		h.disobeyed = append(h.disobeyed, fmt.Sprintf("%v: W%d sends a call %v after its window has closed", w.now, p.number, w.now-p.closeAt))
	}
	if c.kind == jobs.ListCall {
		c.p.say("task %d: lists customer %d", c.lease.Task, c.customer)
		return
	}
	c.p.say("task %d: sends DELETE %v of customer %d", c.lease.Task, c.indexes, c.customer)
	i := slices.IndexFunc(h.intents, func(in *intent) bool { return in.permit == c.permit })
	switch {
	case i < 0:
		h.unasked = append(h.unasked, fmt.Sprintf("%v: task %d: a DELETE leaves, and no intent of it is committed", w.now, c.lease.Task))
	default:
		h.intents[i].sent++
		if h.intents[i].sent > 1 {
			h.unasked = append(h.unasked, fmt.Sprintf("%v: task %d: a DELETE leaves again under the same intent", w.now, c.lease.Task))
		}
	}
}

// executed notes what a DELETE removed.
func (h *history) executed(w *world, c *call, removed []sandbox.Removal) {
	t := h.tasks[c.lease.Task]
	in := c.permit.Intent()
	if len(removed) == 0 {
		w.say("        the server runs DELETE %v of task %d: no image", c.indexes, c.lease.Task)
	}
	if c.season > 0 && len(removed) > 0 {
		// The credentials changed between the listing and this: promise 1 assumes that they don't.
		h.disturbed[c.customer] = true
	}
	for _, r := range removed {
		key := w.key(r.Token)
		x := removal{at: w.now, customer: c.customer, image: key, by: c.lease.Task, isTarget: t.targets[key]}
		x.meant = slices.ContainsFunc(in.Targets, func(m clearance.Target) bool { return m.Key == key })
		h.removed = append(h.removed, x)
		if w.trace != nil {
			note := ""
			if !x.isTarget {
				note = ": NOT A TARGET"
			}
			w.say("        the server runs DELETE %v of task %d: image %s goes%s", c.indexes, c.lease.Task, w.name(key), note)
		}
	}
}

// sighting is when a worker was last shown an image of another brand.
type sighting struct {
	season, life int
	at           time.Duration
}

// heardOf notes what an answer of another brand's API shows, and whether its worker could
// know by then whose it is: the claim said so, or it has seen an image of that brand and nobody has
// closed the breaker between that and the call.
func (h *history) heardOf(w *world, c *call) {
	p := c.p
	if c.season == 0 {
		return
	}
	if len(c.shown) > 0 {
		p.sighted = sighting{c.season, p.coreLife, w.now}
	}
	s := p.sighted
	saw := s.season == c.season && s.life == p.coreLife && (h.trusted < s.at || h.trusted > c.began)
	if saw || p.warned == (callID{c.lease.Task, c.lease.Epoch}) {
		h.strange[callID{c.lease.Task, c.sentAt.UnixNano()}] = true
	} else {
		h.misled[c.customer] = true
	}
}

// callID names a call by when it was sent, or a probe by its epoch.
type callID struct {
	task jobs.TaskID
	n    int64
}

// believed notes what was recorded of an answer that its worker could know to be another
// brand's.
func (h *history) believed(w *world, wr purge.Write, c jobs.Call) {
	switch c.Class {
	case "", jobs.ClassRefused, jobs.ClassOverLimit, jobs.ClassNotRun, jobs.ClassUnknown, jobs.ClassNotSent:
		return
	}
	if h.strange[callID{wr.Task, c.SentAt.UnixNano()}] {
		h.taken = append(h.taken, fmt.Sprintf("%v: task %d: a %s that another brand's API answered is recorded as %s", w.now, wr.Task, c.Kind, c.Class))
	}
}

// answered notes an answer that reached a worker.
func (h *history) answered(w *world, c *call, a jobs.Answer) {
	if w.trace != nil {
		c.p.say("task %d: %s answered: %s %s %s", c.lease.Task, c.kind, a.Class, a.Code, names(w, a.Images))
	}
	if a.Class != jobs.ClassListed {
		return
	}
	t := h.tasks[c.lease.Task]
	t.heard = append(t.heard, &heard{sentAt: a.SentAt, owner: c.p.owner, images: c.shown, asOf: c.asOf})
}

func names(w *world, keys []jobs.Key) (out string) {
	for _, k := range keys {
		out += " " + w.name(k)
	}
	return out
}

// wrote notes what a commit has brought.
func (h *history) wrote(w *world, p *process, group []purge.Write, results []purge.Result) {
	for i, wr := range group {
		if w.trace != nil {
			p.say("task %d: %s", wr.Task, said(wr, results[i]))
		}
		if !results[i].Applied {
			continue
		}
		t := h.tasks[wr.Task]
		h.touched[t.customer]++
		h.noteCalls(w, t, wr)
		switch wr.Kind {
		case purge.WriteIntent:
			h.noteIntent(w, t, wr, results[i].Clearance)
		case purge.WriteFinish:
			h.noteEnd(w, t, wr)
		}
	}
}

func said(wr purge.Write, r purge.Result) string {
	if !r.Applied {
		return fmt.Sprintf("%s is refused: %s", wr.Kind, r.Refused)
	}
	switch wr.Kind {
	case purge.WriteIntent:
		return fmt.Sprintf("intends DELETE %d", wr.Targets[0].Position)
	case purge.WriteGiveBack:
		return fmt.Sprintf("is given back for %v, waits for %q", wr.After, wr.Waiting)
	case purge.WriteFinish:
		return fmt.Sprintf("ends: %s", wr.Outcome)
	}
	return string(wr.Kind)
}

func (h *history) noteCalls(w *world, t *taskHistory, wr purge.Write) {
	for n, c := range wr.Calls {
		h.believed(w, wr, c)
		if c.Kind == jobs.DeleteCall && c.Class != "" {
			for _, in := range h.intents {
				if in.Task == wr.Task && in.sequence == c.Sequence && in.Epoch == wr.Epoch {
					in.withdrawn = c.SentAt.IsZero()
				}
			}
		}
		if c.Class != jobs.ClassListed {
			continue
		}
		i := slices.IndexFunc(t.heard, func(x *heard) bool { return x.owner == wr.Owner && x.sentAt.Equal(c.SentAt) })
		if i < 0 || t.last == t.heard[i] {
			continue
		}
		t.last = t.heard[i]
		if t.shown == nil {
			t.shown = make(map[jobs.Key]bool)
		}
		for _, k := range t.last.images {
			t.shown[k] = true
			if !t.named && (!t.listed || t.growing) {
				t.targets[k] = true
			}
		}
		t.listed = true
		if n == len(wr.Calls)-1 {
			h.contradicted(w, t, wr)
		}
	}
}

// contradicted notes rows that say deleted for what was just listed.
func (h *history) contradicted(w *world, t *taskHistory, wr purge.Write) {
	for _, im := range w.store.Task(wr.Task).Rec.Images {
		if im.State == jobs.Deleted && slices.Contains(t.last.images, im.Key) {
			h.doubtful = append(h.doubtful, fmt.Sprintf("%v: task %d: image %s is recorded deleted and was just listed", w.now, wr.Task, w.name(im.Key)))
		}
	}
}

func (h *history) noteIntent(w *world, t *taskHistory, wr purge.Write, permit *clearance.Clearance) {
	in := &intent{permit: permit, sequence: wr.Counters.Sequence, at: w.now}
	if permit != nil {
		in.Intent = permit.Intent()
	}
	h.intents = append(h.intents, in)
	row := w.store.Task(wr.Task)
	for _, target := range wr.Targets {
		if !slices.ContainsFunc(row.Rec.Images, func(im purge.Image) bool { return im.Key == target.Key && im.State == jobs.Intended }) {
			h.unasked = append(h.unasked, fmt.Sprintf("%v: task %d: a DELETE is permitted, and no row says so", w.now, wr.Task))
		}
	}
	if n := w.flying[t.customer]; n > 0 {
		h.overlapping = append(h.overlapping, fmt.Sprintf("%v: task %d: an intent while %d DELETEs of customer %d may still run", w.now, wr.Task, n, t.customer))
	}
	f := h.forbidden
	if f.everything > 0 || f.batches[t.batch] > 0 || f.customers[t.customer] > 0 {
		h.disobeyed = append(h.disobeyed, fmt.Sprintf("%v: task %d: an intent is committed while a person forbids it", w.now, wr.Task))
	}
	if row.Rec.DryRun {
		h.disobeyed = append(h.disobeyed, fmt.Sprintf("%v: task %d: an intent in a dry run", w.now, wr.Task))
	}
}

func (h *history) noteEnd(w *world, t *taskHistory, wr purge.Write) {
	if n := w.flying[t.customer]; n > 0 {
		h.unsettled = append(h.unsettled, fmt.Sprintf("%v: task %d ends while %d DELETEs of its customer may still run", w.now, wr.Task, n))
	}
	switch wr.Outcome {
	case jobs.ImagesDeleted, jobs.NoImages, jobs.AlreadyAbsent:
	default:
		return
	}
	if !(w.wild && w.mode == jobs.Economy) && !h.misled[t.customer] {
		for _, img := range w.api.Images(t.customer) {
			if k := w.key(img.Token); t.targets[k] {
				h.undone = append(h.undone, fmt.Sprintf("%v: task %d ends with %s, and image %s is there", w.now, wr.Task, wr.Outcome, w.name(k)))
			}
		}
	}
	if w.mode != jobs.Economy && wr.VerifiedAt.IsZero() {
		h.undone = append(h.undone, fmt.Sprintf("%v: task %d ends with %s without a listing that shows it", w.now, wr.Task, wr.Outcome))
	}
}

// clearanceOutstanding says whether a DELETE may be on its way to its write.
func (h *history) clearanceOutstanding(w *world, customer int64) bool {
	for i := len(h.intents) - 1; i >= 0; i-- {
		in := h.intents[i]
		if w.now-in.at > 2*time.Minute {
			return false
		}
		if in.Customer.ID == customer && in.sent == 0 && !in.withdrawn && w.now-in.at <= 3*in.Margin {
			return true
		}
	}
	return false
}

// mark and forget are for a fail-over: whose rows were changed since the mark has
// lost some of them.
func (h *history) mark() map[int64]int {
	m := make(map[int64]int, len(h.touched))
	for c, n := range h.touched {
		m[c] = n
	}
	return m
}

func (h *history) forget(w *world, mark map[int64]int) {
	for c, n := range h.touched {
		if mark[c] != n {
			h.lost[c] = true
		}
	}
	h.trusted = w.now // a breaker that was opened may be closed again
	// A task whose first listing is lost has its targets fixed by the next one.
	for id, t := range h.tasks {
		t.listed = w.store.Task(id).Rec.Listed
	}
}
