// Package budget gives out call slots: moments at which one call to the remote
// API may be sent. It keeps the limit per minute in every sliding and every
// calendar minute, spends slots where they are needed most, and pauses after a
// 429.
//
// It is a stepper: single-threaded, without a clock of its own. Today it knows
// the calls of one process; slots shared by several processes will be a block
// reserved in the store that [Config.PerMinute] is then taken from.
package budget

import (
	"math"
	"slices"
	"time"

	"golang.org/x/time/rate"

	"github.com/imagepurge/imagepurge/jobs"
)

// tolerance lengthens the minute in which the limit is kept: calls arrive with
// jitter, and an exact 60 s would let one call too many into a window.
const tolerance = 250 * time.Millisecond

// grain is the shortest time between two grants worth waking up for.
const grain = time.Millisecond

// lateness is by how much a wake-up may come late without a slot being lost. The
// window's own count keeps the limit all the same.
const lateness = 20 * time.Millisecond

// Pauses after a 429 that doesn't say for how long, in the order in which they
// follow each other. The last one outlasts any calendar minute.
var pauses = [...]time.Duration{5 * time.Second, 10 * time.Second, 20 * time.Second, 40 * time.Second, time.Minute}

// maxPause bounds what an API may ask for.
const maxPause = time.Hour

// assumedImages is how many images a listing is taken to show before any was
// answered. The API keeps at most five a customer.
const assumedImages = 5

// ID names who wants a slot. Each has at most one wish or call at a time.
type ID int64

// Config is what the budget keeps to.
type Config struct {
	PerMinute   int           // calls, at least 2: a listing and a delete that follows it at once
	Concurrency int           // calls in flight, > 0
	ViewMaxAge  time.Duration // how old a view may get
}

// wish is somebody waiting for a slot.
type wish struct {
	id ID
	jobs.Slot
	order uint64
}

// call is a slot that was given and whose call has not ended.
type call struct {
	kind    jobs.SlotKind
	written bool // it stands in sends
}

// Budget gives out slots. It is not safe for concurrent use.
type Budget struct {
	cfg    Config
	window time.Duration
	pace   *rate.Limiter
	full   rate.Limit // the configured pace, per second

	wishes []wish
	order  uint64
	calls  map[ID]call
	strays int // calls under way that nobody waits for any more
	// sends holds when calls of the last window were written, oldest first.
	sends []time.Time

	// views holds the deletes that each live view still needs.
	views  map[ID]int
	images estimate

	cautious bool // one call at a time

	pausedUntil time.Time
	strikes     int // 429s since the last quiet minute
	lastStrike  time.Time
	slowedAt    time.Time
}

// New returns a budget whose first slot is free at once.
func New(cfg Config) *Budget {
	window := time.Minute + tolerance
	perSecond := rate.Limit(float64(cfg.PerMinute) / window.Seconds())
	burst := max(2, int(float64(perSecond)*lateness.Seconds()))
	return &Budget{
		cfg: cfg, window: window, pace: rate.NewLimiter(perSecond, burst), full: perSecond,
		calls: make(map[ID]call), views: make(map[ID]int),
		images: estimate{mean: assumedImages},
	}
}

// Want asks for a slot. It replaces an earlier wish of the same id.
func (b *Budget) Want(id ID, s jobs.Slot) {
	b.drop(id)
	delete(b.calls, id)
	if s.Kind == jobs.SlotDelete {
		b.views[id] = s.Left
	} else {
		delete(b.views, id)
	}
	b.order++
	b.wishes = append(b.wishes, wish{id: id, Slot: s, order: b.order})
}

// Cautious allows one call at a time only, or lifts that again: as long as nobody
// knows whether the credentials are right, many at once might lock the till.
func (b *Budget) Cautious(on bool) { b.cautious = on }

// Forget withdraws everything of an id: its wish, its view, its call.
func (b *Budget) Forget(id ID) {
	b.drop(id)
	delete(b.views, id)
	b.Unused(id)
}

func (b *Budget) drop(id ID) {
	b.wishes = slices.DeleteFunc(b.wishes, func(w wish) bool { return w.id == id })
}

// Grant returns who may send a call now, most urgent first, and when to ask
// again: the zero time where only a change can bring a slot. Whoever is granted
// one reports [Budget.Sent] or [Budget.Unused], and [Budget.Done].
func (b *Budget) Grant(now time.Time) (granted []ID, next time.Time) {
	b.recover(now)
	for {
		if now.Before(b.pausedUntil) {
			return granted, b.wake(b.pausedUntil)
		}
		b.expire(now)
		i := b.choose()
		if i < 0 || b.InFlight() >= b.cfg.Concurrency || b.cautious && b.InFlight() > 0 {
			return granted, b.nextExpiry()
		}
		need := 1
		if b.slow() && b.wishes[i].Kind == jobs.SlotList {
			need = min(2, b.cfg.PerMinute) // its first delete must follow while the view is fresh
		}
		if at := b.roomAt(now, need); now.Before(at) {
			return granted, at
		}
		if missing := float64(need) - b.pace.TokensAt(now); missing > 0 {
			wait := time.Duration(math.Ceil(missing / float64(b.pace.Limit()) * float64(time.Second)))
			return granted, now.Add(max(wait, grain))
		}
		if !b.pace.AllowN(now, 1) {
			return granted, now.Add(grain)
		}
		w := b.wishes[i]
		b.wishes = slices.Delete(b.wishes, i, i+1)
		b.calls[w.id] = call{kind: w.Kind}
		if w.Kind == jobs.SlotDelete {
			b.views[w.id] = max(0, w.Left-1)
		}
		granted = append(granted, w.id)
	}
}

// expire turns wishes for the delete of a view that is too old into wishes for a
// listing: that is what their slot would be used for.
func (b *Budget) expire(now time.Time) {
	for i, w := range b.wishes {
		if w.Kind == jobs.SlotDelete && now.Sub(w.ViewAt) > b.cfg.ViewMaxAge {
			b.wishes[i].Kind = jobs.SlotList
			delete(b.views, w.id)
		}
	}
}

// nextExpiry is when a wish that waits will be for a listing instead; zero where
// none waits.
func (b *Budget) nextExpiry() (next time.Time) {
	for _, w := range b.wishes {
		if at := w.ViewAt.Add(b.cfg.ViewMaxAge + grain); w.Kind == jobs.SlotDelete && (next.IsZero() || at.Before(next)) {
			next = at
		}
	}
	return next
}

// slow says whether slots are so far apart that only one view at a time can be
// used up before it is too old.
func (b *Budget) slow() bool {
	return 4/float64(b.pace.Limit()) >= b.cfg.ViewMaxAge.Seconds()
}

func (b *Budget) wake(t time.Time) time.Time {
	if len(b.wishes) == 0 {
		return time.Time{}
	}
	return t
}

// roomAt returns when so many more calls keep the limit. Calls that were granted and
// not written yet count as written now: however long a commit takes, two calls
// that are a window's calls apart are a window apart when they leave.
func (b *Budget) roomAt(now time.Time, need int) time.Time {
	old := 0
	for old < len(b.sends) && now.Sub(b.sends[old]) >= b.window {
		old++
	}
	b.sends = b.sends[old:]
	unwritten := b.strays
	for _, c := range b.calls {
		if !c.written {
			unwritten++
		}
	}
	over := len(b.sends) + unwritten + need - b.cfg.PerMinute
	switch {
	case over <= 0:
		return now
	case over > len(b.sends):
		return now.Add(tolerance) // all in hand and none written: ask again
	}
	return b.sends[over-1].Add(b.window)
}

// choose returns the index of the wish that the next slot goes to, or -1.
func (b *Budget) choose() int {
	best := -1
	startable := b.mayStartListing()
	reserved := b.slow() && b.viewExpected()
	for i, w := range b.wishes {
		if w.Kind == jobs.SlotList && !startable || w.Kind == jobs.SlotVerify && reserved {
			continue
		}
		if best < 0 || w.before(b.wishes[best]) {
			best = i
		}
	}
	return best
}

// viewExpected says whether the next slot is a delete's: of a live view, or of one
// that a listing under way will bring.
func (b *Budget) viewExpected() bool {
	for _, left := range b.views {
		if left > 0 {
			return true
		}
	}
	for _, c := range b.calls {
		if c.kind == jobs.SlotList {
			return true
		}
	}
	return false
}

func (w wish) before(o wish) bool {
	if w.Kind != o.Kind {
		return w.Kind < o.Kind
	}
	if w.Kind == jobs.SlotDelete && !w.ViewAt.Equal(o.ViewAt) {
		return w.ViewAt.Before(o.ViewAt)
	}
	return w.order < o.order
}

// mayStartListing says whether one more view could still be used up before it is
// too old: views stay fresh however slow the slots are (protocol, step 4).
func (b *Budget) mayStartListing() bool {
	interval := 1 / float64(b.pace.Limit())
	age := b.cfg.ViewMaxAge.Seconds()
	if float64(len(b.views))*interval >= age/2 {
		return false
	}
	deletes, listings := 0, 1
	for _, left := range b.views {
		deletes += left
	}
	for _, c := range b.calls {
		if c.kind == jobs.SlotList {
			listings++
		}
	}
	if deletes == 0 && listings == 1 {
		return true
	}
	return (float64(deletes)+b.images.of(listings))*interval < 0.7*age
}

// Sent reports that a granted call was written at the given time.
func (b *Budget) Sent(id ID, at time.Time) {
	c, ok := b.calls[id]
	if !ok || c.written {
		return
	}
	c.written = true
	b.calls[id] = c
	b.sent(at)
}

func (b *Budget) sent(at time.Time) {
	i := len(b.sends)
	for i > 0 && b.sends[i-1].After(at) {
		i--
	}
	b.sends = slices.Insert(b.sends, i, at)
}

// Disown is [Budget.Forget] for one whose call is under way: it still counts, until
// [Budget.StrayEnded].
func (b *Budget) Disown(id ID) {
	if _, ok := b.calls[id]; ok {
		delete(b.calls, id)
		b.strays++
	}
	b.Forget(id)
}

// StrayEnded reports that a call that was disowned has ended, and when it was
// written; the zero time: never.
func (b *Budget) StrayEnded(at time.Time) {
	b.strays = max(0, b.strays-1)
	if !at.IsZero() {
		b.sent(at)
	}
}

// Unused reports that nothing was sent in a granted slot. The slot is lost.
func (b *Budget) Unused(id ID) { delete(b.calls, id) }

// Done reports that a granted call has ended.
func (b *Budget) Done(id ID) { delete(b.calls, id) }

// Listed reports how many images a new listing has shown: the view that it makes
// will need deletes before anybody has asked for the first one.
func (b *Budget) Listed(id ID, images int) {
	b.images.add(float64(images))
	if images > 0 {
		b.views[id] = images
	}
}

// OverLimit reports a 429 that asked to wait for the given time; 0 where it did
// not say. It returns for how long nothing will be sent, to be told to all
// others who use the key. The pace is lowered, and comes back step by step.
func (b *Budget) OverLimit(now time.Time, asked time.Duration) time.Duration {
	if now.Before(b.pausedUntil) && asked <= b.pausedUntil.Sub(now) {
		return b.pausedUntil.Sub(now) // one of several that were under way together
	}
	pause := asked
	if pause <= 0 {
		pause = pauses[min(b.strikes, len(pauses)-1)]
	}
	pause = min(pause, maxPause)
	b.strikes++
	b.lastStrike = now
	b.pausedUntil = now.Add(pause)
	b.slowedAt = b.pausedUntil
	b.pace.SetLimitAt(now, max(b.full/10, b.pace.Limit()*9/10))
	return pause
}

// PausedUntil returns when calls may be sent again; a time in the past where
// there is no pause.
func (b *Budget) PausedUntil() time.Time { return b.pausedUntil }

// Pause pauses until the given time: another process has met a 429.
func (b *Budget) Pause(until time.Time) {
	if until.After(b.pausedUntil) {
		b.pausedUntil = until
	}
}

// recover raises the pace by a twentieth of the full one for each quiet minute.
func (b *Budget) recover(now time.Time) {
	if b.pace.Limit() >= b.full {
		if b.strikes > 0 && now.Sub(b.lastStrike) > 10*time.Minute {
			b.strikes = 0
		}
		return
	}
	for now.Sub(b.slowedAt) >= time.Minute && b.pace.Limit() < b.full {
		b.slowedAt = b.slowedAt.Add(time.Minute)
		b.pace.SetLimitAt(now, min(b.full, b.pace.Limit()+b.full/20))
	}
}

// PerMinute returns the pace at present, in calls a minute.
func (b *Budget) PerMinute() float64 { return float64(b.pace.Limit()) * b.window.Seconds() }

// SentWithin returns how many calls were written in the time before now, as far as
// a window goes back.
func (b *Budget) SentWithin(now time.Time, d time.Duration) (n int) {
	for _, at := range b.sends {
		if now.Sub(at) < d {
			n++
		}
	}
	return n
}

// InFlight returns how many granted calls have not ended.
func (b *Budget) InFlight() int { return len(b.calls) + b.strays }

// estimate follows a number's mean and variance, recent values weighing more.
type estimate struct {
	mean, variance float64
	seen           int
}

const weight = 1.0 / 16

func (e *estimate) add(x float64) {
	if e.seen == 0 {
		e.variance = 1
	}
	e.seen++
	d := x - e.mean
	e.mean += d * weight
	e.variance = (1 - weight) * (e.variance + weight*d*d)
}

// of returns what n values will hardly exceed in sum.
func (e *estimate) of(n int) float64 {
	return min(assumedImages*float64(n), float64(n)*e.mean+2*math.Sqrt(float64(n)*e.variance))
}
