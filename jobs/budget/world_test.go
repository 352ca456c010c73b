package budget_test

import (
	"container/heap"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/imagepurge/imagepurge/jobs"
	"github.com/imagepurge/imagepurge/jobs/budget"
)

var midnight = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// world plays a worker with purges that wait for slots, by a clock of its own.
type world struct {
	b     *budget.Budget
	cfg   budget.Config
	row   budget.Row
	trip  time.Duration // to the row, and back
	r     *rand.Rand
	now   time.Time
	queue events
	order int
	wake  time.Time

	inHand  int
	images  func() int           // of the next customer
	latency func() time.Duration // of a call
	commit  func() time.Duration // of a transaction

	next     budget.ID
	purges   map[budget.ID]*customer
	sent     []time.Time
	oldest   time.Duration // view at a delete
	relisted int           // views that grew too old
	finished int
}

type customer struct {
	left     int
	listedAt time.Time
	kind     jobs.SlotKind
}

func newWorld(perMinute, concurrency, inHand int) *world {
	cfg := budget.Config{PerMinute: perMinute, Concurrency: concurrency, ViewMaxAge: 10 * time.Second, Random: func() float64 { return 0 }}
	return &world{
		b: budget.New(cfg), cfg: cfg, row: budget.Row{Limit: float64(perMinute)}, trip: time.Millisecond,
		r: rand.New(rand.NewPCG(1, uint64(perMinute))), now: midnight, inHand: inHand,
		purges:  make(map[budget.ID]*customer),
		images:  func() int { return 5 },
		latency: func() time.Duration { return 300 * time.Millisecond },
		commit:  func() time.Duration { return 5 * time.Millisecond },
	}
}

// run works for d, with customers always waiting.
func (w *world) run(d time.Duration) {
	end := w.now.Add(d)
	for {
		w.fill()
		w.grant()
		if len(w.queue) == 0 {
			panic("nothing goes on any more")
		}
		e := heap.Pop(&w.queue).(event)
		if e.at.After(end) {
			w.now = end
			return
		}
		w.now = e.at
		e.do()
	}
}

func (w *world) fill() {
	for len(w.purges) < w.inHand {
		w.next++
		c := &customer{left: w.images(), kind: jobs.SlotList}
		w.purges[w.next] = c
		w.b.Want(w.next, jobs.Slot{Kind: jobs.SlotList})
	}
}

func (w *world) grant() {
	granted, next := w.b.Grant(w.now)
	for _, id := range granted {
		w.begin(id)
	}
	if w.row.Pace.StepDue(w.now) {
		w.row, _ = w.row.Step(w.now)
	}
	ask, asks, at := w.b.Ask(w.now)
	if asks {
		w.reserve(ask)
	}
	if next.IsZero() || !at.IsZero() && at.Before(next) {
		next = at
	}
	if !next.IsZero() && (w.wake.IsZero() || next.Before(w.wake) || !w.wake.After(w.now)) {
		w.wake = next
		w.at(next, func() {})
	}
}

// reserve asks the row and brings its answer.
func (w *world) reserve(ask budget.Ask) {
	sent := w.now
	w.after(w.trip, func() {
		var block budget.Block
		w.row, block = w.row.Reserve(w.now, ask)
		w.after(w.trip, func() { w.b.Reserved(sent, w.now, block) })
	})
}

func (w *world) begin(id budget.ID) {
	c := w.purges[id]
	if c.kind == jobs.SlotDelete && w.now.Sub(c.listedAt) > w.cfg.ViewMaxAge {
		c.kind = jobs.SlotList // the machine lists again in this slot
		w.relisted++
	}
	wait := time.Duration(0)
	if c.kind == jobs.SlotDelete {
		wait = w.commit() // the intent
	}
	w.after(wait, func() {
		sent := w.now
		w.b.Leaves(id, sent)
		w.sent = append(w.sent, sent)
		if c.kind == jobs.SlotDelete {
			w.oldest = max(w.oldest, sent.Sub(c.listedAt))
		}
		w.after(w.latency(), func() {
			w.b.Done(id, sent)
			w.answered(id, c)
		})
	})
}

func (w *world) answered(id budget.ID, c *customer) {
	commit := w.commit()
	switch c.kind {
	case jobs.SlotList:
		c.listedAt = w.now
		w.b.Listed(id, c.left)
		if c.left == 0 {
			w.end(id, commit)
			return
		}
	case jobs.SlotDelete:
		c.left--
		commit = 0 // the answer rides in the next intent
	case jobs.SlotVerify:
		w.end(id, commit)
		return
	}
	s := jobs.Slot{Kind: jobs.SlotDelete, ViewAt: c.listedAt, Left: c.left}
	if c.left == 0 {
		s, commit = jobs.Slot{Kind: jobs.SlotVerify}, w.commit()
	}
	c.kind = s.Kind
	w.after(commit, func() { w.b.Want(id, s) })
}

func (w *world) end(id budget.ID, commit time.Duration) {
	w.b.Forget(id)
	w.finished++
	w.after(commit, func() { delete(w.purges, id) })
}

func (w *world) after(d time.Duration, do func()) { w.at(w.now.Add(d), do) }

func (w *world) at(t time.Time, do func()) {
	w.order++
	heap.Push(&w.queue, event{t, w.order, do})
}

// most returns the largest number of calls in a window that slides, and in a
// minute of the calendar.
func most(sent []time.Time) (sliding, calendar int) {
	sent = slices.Clone(sent)
	slices.SortFunc(sent, time.Time.Compare)
	from := 0
	minutes := make(map[time.Time]int)
	for i, t := range sent {
		for t.Sub(sent[from]) >= time.Minute {
			from++
		}
		sliding = max(sliding, i-from+1)
		minutes[t.Truncate(time.Minute)]++
	}
	for _, n := range minutes {
		calendar = max(calendar, n)
	}
	return sliding, calendar
}

type event struct {
	at    time.Time
	order int
	do    func()
}

type events []event

func (e events) Len() int { return len(e) }
func (e events) Less(i, j int) bool {
	return e[i].at.Before(e[j].at) || e[i].at.Equal(e[j].at) && e[i].order < e[j].order
}
func (e events) Swap(i, j int) { e[i], e[j] = e[j], e[i] }
func (e *events) Push(x any)   { *e = append(*e, x.(event)) }
func (e *events) Pop() any {
	last := (*e)[len(*e)-1]
	*e = (*e)[:len(*e)-1]
	return last
}
