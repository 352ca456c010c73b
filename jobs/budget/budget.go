// Package budget gives out call slots: moments at which one call to the remote
// API may be sent. It keeps the limit per minute in every sliding and every
// calendar minute over all processes of an API key, spends slots where they are
// needed most, and pauses after a 429.
//
// [Row] is what all processes share: evenly spaced slots, reserved in blocks, and
// the pace. [Budget] is one process's part: it says when to ask the row and who
// gets a slot. Both are without I/O and without a clock of their own.
package budget

import (
	"math"
	"slices"
	"time"

	"golang.org/x/time/rate"

	"github.com/imagepurge/imagepurge/jobs"
)

// grain is the shortest time between two grants worth waking up for.
const grain = time.Millisecond

// lateness is by how much a slot may be used late before it is lost.
const lateness = 100 * time.Millisecond

// lateFree is how long after its slot's time a call may be sent, so that with 50 ms
// of jitter on the way [tolerance] still covers it. A call that is sent later costs
// the process its next slot as well: every minute that holds the late call then
// lacks that one.
const lateFree = 190 * time.Millisecond

// lateSlow is the same where slots come in pairs, whose delete waits for its listing.
const lateSlow = time.Second

// Waits of a process between two questions to the row.
const (
	// lead is how long before the next free slot it is asked for, so that the
	// answer is there in time.
	lead = 60 * time.Millisecond
	// firstSpread and questions bound how processes that compete spread their
	// questions: each refusal doubles the span, up to where all together ask so
	// many a second.
	firstSpread = 60 * time.Millisecond
	questions   = 16.0
	// mostSpread bounds it for new listings; views that age wait for less, the more
	// processes there are the longer.
	mostSpread   = 6 * time.Second
	urgentSpread = 10 * time.Millisecond
	// stoppedWait is between questions while a person's pause is in force.
	stoppedWait = time.Second
	// failedWait is between questions while the store can't be asked.
	failedWait = time.Second
)

// assumedImages is how many images a listing is taken to show before any was
// answered. The API keeps at most five a customer.
const assumedImages = 5

// ID names who wants a slot. Each has at most one wish or call at a time.
type ID int64

// Config is what the budget keeps to.
type Config struct {
	PerMinute   int           // calls that are ours, at least 2; the row's limit stands above it
	Concurrency int           // calls in flight, > 0
	ViewMaxAge  time.Duration // how old a view may get
	// Random returns a number in [0, 1): it spreads the questions of processes that
	// compete.
	Random func() float64
}

// wish is somebody waiting for a slot.
type wish struct {
	id ID
	jobs.Slot
	order uint64
}

// slot is one that is reserved for this process.
type slot struct {
	at  time.Time // when it may be used, by this process's clock, at the earliest
	due time.Time // its time, as early as it can have been
}

// call is a slot that was given and whose call has not ended.
type call struct {
	kind jobs.SlotKind
	due  time.Time // its slot's time
	paid bool      // that it is late
}

// Budget gives out slots. It is not safe for concurrent use.
type Budget struct {
	cfg  Config
	pace *rate.Limiter // smooths what is due at once
	row  Block         // as the row said last

	wishes []wish
	order  uint64
	calls  map[ID]call
	strays int // calls under way that nobody waits for any more

	slots  []slot // reserved, in order of time
	fees   int    // slots to be let pass, for calls that were sent late
	begun  int    // listings granted since the row was told
	asked  int    // of these, those that the question under way tells of
	asking bool
	askAt  time.Time     // not before
	next   time.Time     // the row's next free slot, as far as is known; zero: unknown
	spread time.Duration // over which the next question is spread
	others int           // processes that share the key, besides this one

	// views holds the deletes that each live view still needs.
	views  map[ID]int
	images estimate

	cautious bool // one call at a time
	stopped  bool // by a person: nothing new

	pausedUntil time.Time
}

// New returns a budget that has no slots yet.
func New(cfg Config) *Budget {
	b := &Budget{
		cfg:   cfg,
		calls: make(map[ID]call), views: make(map[ID]int),
		images: estimate{mean: assumedImages},
	}
	limit := float64(cfg.PerMinute)
	b.row = Block{Limit: limit, Pace: limit, Interval: Interval(limit, cfg.ViewMaxAge)}
	b.pace = rate.NewLimiter(b.perSecond(), b.burst())
	return b
}

func (b *Budget) perSecond() rate.Limit { return rate.Limit(1 / b.row.Interval.Seconds()) }

// burst is how many slots may be used at once, by a process that woke up late.
func (b *Budget) burst() int { return 2 + int(lateness.Seconds()/b.row.Interval.Seconds()) }

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
// one reports [Budget.Leaves] or [Budget.Unused], and [Budget.Done].
func (b *Budget) Grant(now time.Time) (granted []ID, next time.Time) {
	for {
		if now.Before(b.pausedUntil) {
			b.slots = nil
			return granted, b.wake(b.pausedUntil)
		}
		b.expire(now)
		b.lose(now)
		i := b.choose()
		if i < 0 || b.InFlight() >= b.cfg.Concurrency || b.cautious && b.InFlight() > 0 {
			return granted, b.nextExpiry()
		}
		need := 1
		if b.slow() && b.wishes[i].Kind == jobs.SlotList {
			need = 2 // its first delete must follow while the view is fresh
		}
		if len(b.slots) < need {
			return granted, time.Time{} // the row's answer brings them
		}
		if at := b.slots[need-1].at; now.Before(at) {
			return granted, at
		}
		if may := b.pace.ReserveN(now, 1); may.DelayFrom(now) > 0 {
			wait := may.DelayFrom(now)
			may.CancelAt(now)
			return granted, now.Add(max(grain, wait))
		}
		w := b.wishes[i]
		b.wishes = slices.Delete(b.wishes, i, i+1)
		b.calls[w.id] = call{kind: w.Kind, due: b.take(need - 1)}
		switch w.Kind {
		case jobs.SlotDelete:
			b.views[w.id] = max(0, w.Left-1)
		case jobs.SlotList:
			b.begun++
		}
		granted = append(granted, w.id)
	}
}

// take uses the n-th slot and returns its time. Of a pair both are as late as the
// later one.
func (b *Budget) take(n int) time.Time {
	due := b.slots[n].due
	if n > 0 {
		b.slots[0].due = due
	}
	b.slots = slices.Delete(b.slots, n, n+1)
	return due
}

// lose drops the slots whose time has passed, then those that pay for late calls: one
// that is lost anyway pays for nothing.
func (b *Budget) lose(now time.Time) {
	keep := lateness
	if b.slow() {
		keep = 2*b.row.Interval + b.cfg.ViewMaxAge
	}
	for len(b.slots) > 0 && since(b.slots[0].at, now) > keep {
		b.slots = b.slots[1:]
	}
	for ; len(b.slots) > 0 && b.fees > 0; b.fees-- {
		b.slots = b.slots[1:]
	}
}

// since is how long ago a time was. The monotonic clock stands still while a machine
// sleeps, the wall clock may be set: what says more holds.
func since(t, now time.Time) time.Duration {
	return max(now.Sub(t), now.Round(0).Sub(t.Round(0)))
}

// Ask returns what is to be asked of the row now, if anything; else when to look
// again: the zero time where only a change can make it necessary. Whoever asks
// reports [Budget.Reserved] or [Budget.NotReserved].
func (b *Budget) Ask(now time.Time) (a Ask, ask bool, next time.Time) {
	if b.asking || now.Before(b.pausedUntil) {
		return Ask{}, false, time.Time{}
	}
	a = b.wanted()
	if a.Slots == 0 {
		return Ask{}, false, time.Time{}
	}
	at := b.askAt
	if !b.next.IsZero() {
		at = later(at, b.next.Add(-lead))
	}
	if now.Before(at) {
		return Ask{}, false, at
	}
	b.asking = true
	a.Begun, b.asked = b.begun, b.begun
	return a, true, time.Time{}
}

// wanted is what the row would be asked for: a slot for every wish that may have
// one, besides those that are reserved, and those that pay for late calls.
func (b *Budget) wanted() Ask {
	room := b.cfg.Concurrency - b.InFlight()
	if b.cautious {
		room = min(room, 1-b.InFlight())
	}
	urgent, lists := 0, 0
	reserved := b.slow() && b.viewExpected()
	for _, w := range b.wishes {
		switch {
		case w.Kind == jobs.SlotList:
			lists++
		case w.Kind == jobs.SlotVerify && reserved:
		default:
			urgent++
		}
	}
	lists = min(lists, b.startable())
	if b.slow() && lists > 0 {
		lists++ // and its first delete
		room++
	}
	urgent, have := min(urgent, max(0, room)), len(b.slots)
	lists = min(lists, max(0, room-urgent))
	lists -= min(lists, max(0, have-urgent))
	urgent -= min(urgent, have)
	urgent += b.fees
	return Ask{Slots: urgent + lists, Urgent: urgent, Cost: b.images.mean, Age: b.cfg.ViewMaxAge}
}

// Reserved takes the row's answer. The question was sent and answered at these
// times; the row's clock was read between them.
func (b *Budget) Reserved(sent, answered time.Time, block Block) {
	b.asking = false
	b.begun -= b.asked
	b.stopped = block.Stopped
	if block.Interval > 0 {
		b.row = block
		if l := b.perSecond(); l != b.pace.Limit() {
			b.pace.SetLimitAt(answered, l)
			b.pace.SetBurstAt(answered, b.burst())
		}
	}
	if block.Stopped {
		b.slots, b.askAt = nil, answered.Add(stoppedWait)
		return
	}
	if block.Paused > 0 {
		b.Pause(answered.Add(block.Paused))
		return
	}
	if block.Slots == 0 {
		b.refused(answered, block.Again)
		return
	}
	if since(sent, answered)-answered.Sub(sent) > lateness {
		block.Slots = 0 // the machine slept meanwhile: they have passed
	}
	for n := range block.Slots {
		d := block.First + time.Duration(n)*block.Interval
		b.slots = append(b.slots, slot{at: answered.Add(d), due: sent.Add(d)})
	}
	b.next = sent.Add(block.First + time.Duration(block.Slots)*block.Interval)
	b.askAt, b.spread = time.Time{}, b.spread/2
	if block.Again > 0 {
		b.askAt = answered.Add(block.Again)
	}
}

// refused spreads the questions of those who were too late or too early.
func (b *Budget) refused(now time.Time, again time.Duration) {
	b.next = time.Time{}
	b.askAt = now.Add(again)
	if b.others == 0 {
		b.askAt = later(b.askAt, now.Add(grain))
		return
	}
	most := mostSpread
	if b.viewExpected() {
		most = min(time.Second, time.Duration(b.others)*urgentSpread)
	}
	all := time.Duration(float64(b.others+1) / questions * float64(time.Second))
	b.spread = min(max(firstSpread, 2*b.spread), all, most)
	b.askAt = b.askAt.Add(time.Duration(b.cfg.Random() * float64(b.spread)))
}

// NotReserved reports that the row could not be asked. Nothing is sent before it can.
func (b *Budget) NotReserved(now time.Time) {
	b.asking, b.next = false, time.Time{}
	b.askAt = now.Add(failedWait)
}

// Stopped says that the row answered last that a person has paused the work.
func (b *Budget) Stopped() bool { return b.stopped }

// Sharing tells how many other processes use the key.
func (b *Budget) Sharing(others int) { b.others = max(0, others) }

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

func (b *Budget) slow() bool { return Slow(b.row.Pace, b.cfg.ViewMaxAge) }

func (b *Budget) wake(t time.Time) time.Time {
	if len(b.wishes) == 0 {
		return time.Time{}
	}
	return t
}

// choose returns the index of the wish that the next slot goes to, or -1.
func (b *Budget) choose() int {
	best := -1
	startable := b.startable() > 0
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

// startable is how many more views could be used up before they are too old:
// views stay fresh however slow the slots are (protocol, step 4).
func (b *Budget) startable() int {
	interval, age := b.row.Interval.Seconds(), b.cfg.ViewMaxAge.Seconds()
	deletes, listings := 0, 0
	for _, left := range b.views {
		deletes += left
	}
	for _, c := range b.calls {
		if c.kind == jobs.SlotList {
			listings++
		}
	}
	if deletes == 0 && listings == 0 && len(b.views) == 0 {
		return max(1, b.startableBeside(deletes, listings, interval, age))
	}
	if float64(len(b.views))*interval >= age/2 {
		return 0
	}
	return b.startableBeside(deletes, listings, interval, age)
}

func (b *Budget) startableBeside(deletes, listings int, interval, age float64) int {
	fits := func(n int) bool { return (float64(deletes)+b.images.of(listings+n))*interval < 0.7*age }
	least := 0
	if deletes == 0 && listings == 0 || !b.slow() && !b.deleteWaits() {
		// Every live view waits for an answer: what slots there are would be lost.
		least = 1
	}
	// Found by halves: what more listings may bring only grows.
	low, high := 0, min(len(b.wishes), b.cfg.Concurrency)
	for low < high {
		if mid := (low + high + 1) / 2; fits(mid) {
			low = mid
		} else {
			high = mid - 1
		}
	}
	return max(low, least)
}

func (b *Budget) deleteWaits() bool {
	return slices.ContainsFunc(b.wishes, func(w wish) bool { return w.Kind == jobs.SlotDelete })
}

// Leaves reports that the call of a granted slot is about to be written.
func (b *Budget) Leaves(id ID, now time.Time) {
	if c, ok := b.calls[id]; ok {
		b.calls[id] = b.charge(c, now)
	}
}

// charge lets a call that is late pay for it, once.
func (b *Budget) charge(c call, at time.Time) call {
	free := lateFree
	if b.slow() {
		free = lateSlow
	}
	if !c.paid && since(c.due, at) > free {
		c.paid = true
		b.fees++
	}
	return c
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

// StrayEnded reports that a call that was disowned has ended.
func (b *Budget) StrayEnded() { b.strays = max(0, b.strays-1) }

// Unused reports that nothing was sent in a granted slot. The slot is lost.
func (b *Budget) Unused(id ID) { delete(b.calls, id) }

// Done reports that a granted call has ended, and when it was written.
func (b *Budget) Done(id ID, sent time.Time) {
	if c, ok := b.calls[id]; ok {
		b.charge(c, sent)
		delete(b.calls, id)
	}
}

// Listed reports how many images a new listing has shown: the view that it makes
// will need deletes before anybody has asked for the first one.
func (b *Budget) Listed(id ID, images int) {
	b.images.add(float64(images))
	if images > 0 {
		b.views[id] = images
	}
}

// OverLimit reports a 429 that asked to wait for the given time; 0 where it did
// not say. It returns for how long this process sends nothing, to be told to all
// others who use the key; the row may make it longer.
func (b *Budget) OverLimit(now time.Time, asked time.Duration) time.Duration {
	pause := min(asked, MaxPause)
	if pause <= 0 {
		pause = pauses[0]
	}
	b.Pause(now.Add(pause))
	return b.pausedUntil.Sub(now)
}

// PausedUntil returns when calls may be sent again; a time in the past where
// there is no pause.
func (b *Budget) PausedUntil() time.Time { return b.pausedUntil }

// Pause pauses until the given time. Slots that are reserved are let go.
func (b *Budget) Pause(until time.Time) {
	b.slots, b.next = nil, time.Time{}
	b.pausedUntil = later(b.pausedUntil, until)
}

// PerMinute returns the pace at present, in calls a minute, of all who share the
// key.
func (b *Budget) PerMinute() float64 { return b.row.Pace }

// Row is what the row said last.
func (b *Budget) Row() Block { return b.row }

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
