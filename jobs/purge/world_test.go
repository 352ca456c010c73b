package purge_test

import (
	"container/heap"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/imagepurge/imagepurge/jobs"
)

// The simulated world: one customer, a server that deletes by position, a store
// that keeps rows, workers that each drive machines, others who change images,
// and one clock. Everything that can go one way or another is a choice.

// choices is where chance comes from: a seed, or rapid, which shrinks it.
type choices interface{ below(n int) int }

type seeded struct{ r *rand.Rand }

func newSeeded(seed uint64) seeded { return seeded{rand.New(rand.NewPCG(seed, 0x1ab5))} }

func (s seeded) below(n int) int { return s.r.IntN(n) }

// settings are what is fixed for a run.
type settings struct {
	timeout, lag, serverMax, settle, viewAge, lease time.Duration
	mode                                            jobs.Mode
	batching                                        jobs.Batching
	images                                          int
	tasks                                           []taskSettings
	faults                                          int // of every kind together
	attempts                                        int
	lies                                            bool // a success that ran nothing
	ascending                                       bool // how the server reads several indexes
	others                                          int  // changes by others
	wild                                            bool // others act at any time, not only when promise 1 allows
	without                                         string
}

type taskSettings struct {
	named  []int // nil: all
	scope  jobs.Scope
	dryRun bool
}

func (s settings) String() string {
	return fmt.Sprintf("%s, %s, %d images, tasks %+v, lag %v, settle %v, time-out %v, lease %v, lies %v, ascending %v, others %d (wild %v)",
		s.mode, s.batching, s.images, s.tasks, s.lag, s.settle, s.timeout, s.lease, s.lies, s.ascending, s.others, s.wild)
}

// drawSettings makes the settings of a run.
func drawSettings(c choices) settings {
	pick := func(d ...time.Duration) time.Duration { return d[c.below(len(d))] }
	s := settings{
		timeout: pick(time.Second, 3*time.Second, 10*time.Second), lag: pick(0, 2*time.Second, 15*time.Second, 30*time.Second),
		serverMax: pick(time.Second, 5*time.Second, 40*time.Second), viewAge: pick(2*time.Second, 10*time.Second),
		images: c.below(6), faults: c.below(7), attempts: 1 + c.below(5),
	}
	// The tightest settings that are allowed: what is too short shows.
	s.settle = jobs.SendMargin + s.serverMax
	s.lease = 2*(s.timeout+jobs.SendMargin) + pick(0, 0, 10*time.Second, time.Minute)
	s.mode = []jobs.Mode{jobs.Verified, jobs.Verified, jobs.Economy, jobs.Paranoid}[c.below(4)]
	if c.below(5) == 0 {
		s.batching, s.ascending = jobs.BatchDelete, c.below(2) == 0
	}
	for range 1 + c.below(3)/2 {
		var t taskSettings
		t.scope = jobs.Snapshot
		switch c.below(5) {
		case 0, 1:
			for id := range s.images + 1 {
				if c.below(2) == 0 {
					t.named = append(t.named, id)
				}
			}
		case 2:
			t.scope = jobs.UntilEmpty
		case 3:
			t.dryRun = c.below(4) == 0
		}
		s.tasks = append(s.tasks, t)
	}
	if c.below(2) == 0 {
		s.others = 1 + c.below(3)
		s.wild = c.below(3) == 0
	}
	s.lies = s.mode != jobs.Economy && s.batching != jobs.BatchDelete && c.below(4) == 0
	return s
}

// world runs one simulation.
type world struct {
	choices
	settings
	now   time.Time
	queue events
	order int

	server  *server
	store   *store
	workers []*worker
	faults  int // left
	log     history
}

func newWorld(c choices, s settings) *world {
	w := &world{choices: c, settings: s, now: time.Date(2026, 1, 1, 1, 0, 0, 0, time.UTC), faults: s.faults}
	w.server = &server{w: w, ascending: s.ascending}
	for range s.images {
		w.server.images = append(w.server.images, w.server.newImage())
	}
	w.store = newStore(w)
	for i := range 2 {
		k := &worker{w: w, name: fmt.Sprintf("w%d", i)}
		w.workers = append(w.workers, k)
		w.after(time.Duration(w.below(1500))*time.Millisecond, k.poll)
	}
	for range s.others {
		w.after(w.upTo(20*time.Second), w.othersAct)
	}
	w.server.fresh += 1000 // images of others have other names than a named image that isn't there
	return w
}

// run goes on until every task has ended, or until one rests for good.
func (w *world) run() {
	const enough = 48 * time.Hour
	began := w.now
	for steps := 0; !w.store.allEnded(); steps++ {
		if len(w.queue) == 0 || w.now.Sub(began) > enough || steps > 20_000 {
			w.log.rests = append(w.log.rests, fmt.Sprintf("at %v, after %d steps: %s", w.now.Sub(began), steps, w.store))
			return
		}
		e := heap.Pop(&w.queue).(event)
		if e.at.After(w.now) {
			w.now = e.at
		}
		e.do()
	}
	// DELETEs that are still under way come to their end, too.
	for len(w.queue) > 0 && w.server.runnable() > 0 {
		e := heap.Pop(&w.queue).(event)
		w.now = e.at
		e.do()
	}
}

func (w *world) after(d time.Duration, do func()) {
	w.order++
	heap.Push(&w.queue, event{w.now.Add(d), w.order, do})
}

// upTo returns a duration in (0, d].
func (w *world) upTo(d time.Duration) time.Duration {
	return time.Duration(1+w.below(int(max(d, time.Millisecond)/time.Millisecond))) * time.Millisecond
}

// quick is a duration nobody notices.
func (w *world) quick() time.Duration { return time.Duration(1+w.below(50)) * time.Millisecond }

// fault spends one of the run's faults, with a chance of one in n.
func (w *world) fault(n int) bool {
	if w.faults == 0 || w.below(n) != 0 {
		return false
	}
	w.faults--
	return true
}

// othersAct changes the customer's images by other hands.
func (w *world) othersAct() {
	quiet := w.server.runnable() == 0 && !w.store.clearanceOutstanding()
	for _, k := range w.workers {
		quiet = quiet && !k.hasView()
	}
	switch {
	case !quiet && !w.wild:
		w.after(w.upTo(2*time.Second), w.othersAct) // promise 1 assumes that they don't
		return
	case !quiet:
		w.log.disturbed = true
	}
	s := w.server
	s.remember()
	s.past = nil // what others did is seen at once
	at := 0
	if len(s.images) > 0 {
		at = w.below(len(s.images))
	}
	switch w.below(4) {
	case 0:
		s.images = append(s.images, s.newImage())
	case 1:
		s.images = append([]int{s.newImage()}, s.images...)
	case 2:
		if len(s.images) > 0 {
			w.log.removed = append(w.log.removed, removal{at: w.now, image: s.images[at], by: nobody})
			s.images = append(s.images[:at:at], s.images[at+1:]...)
		}
	case 3:
		if len(s.images) > 0 {
			w.log.removed = append(w.log.removed, removal{at: w.now, image: s.images[at], by: nobody})
			s.images = append(s.images[:at:at], append([]int{s.newImage()}, s.images[at+1:]...)...)
		}
	}
}

type event struct {
	at    time.Time
	order int
	do    func()
}

type events []event

func (e events) Len() int { return len(e) }
func (e events) Less(i, j int) bool {
	if e[i].at.Equal(e[j].at) {
		return e[i].order < e[j].order
	}
	return e[i].at.Before(e[j].at)
}
func (e events) Swap(i, j int) { e[i], e[j] = e[j], e[i] }
func (e *events) Push(x any)   { *e = append(*e, x.(event)) }
func (e *events) Pop() any {
	last := (*e)[len(*e)-1]
	*e = (*e)[:len(*e)-1]
	return last
}
