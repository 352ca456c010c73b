package budget

import (
	"math"
	"time"
)

// The shared row's measures.
const (
	// tolerance lengthens the minute in which the limit is kept: calls arrive
	// with jitter, and an exact 60 s would let one call too many into a window.
	tolerance = 250 * time.Millisecond
	// Window is the span in which no more calls than the limit have slots.
	Window = time.Minute + tolerance
	// Ahead is how far slots may be reserved before their time: little is lost
	// with a worker that dies, and whatever stops the work stops it soon.
	Ahead = 250 * time.Millisecond
	// spare is how long before its time a slot that no live view has asked for
	// is given to a new listing, however much is owed to the views that there are.
	spare = 100 * time.Millisecond
	// sane is the farthest that the next free slot can lie ahead, besides its
	// own interval, also after a limit was lowered: a slot that lies farther was
	// reserved by a clock that has been put back since.
	sane = Window + Ahead + time.Second
)

// Row is what all processes of one API key share: the time of the next free call
// slot, and the pace. It is a value with rules and no I/O: the store keeps these
// rules in one statement (repository, ReserveSlots), and is held to them here.
type Row struct {
	// Limit is how many calls a minute are ours now, at least 2: configured, or as
	// a person has set it.
	Limit float64
	// NextSlot is when the next slot is that nobody has.
	NextSlot time.Time
	// OwedUntil is until when slots are spoken for by the deletes that begun
	// listings will bring. It is made of time, so that what a dead worker owed
	// is forgotten by itself.
	OwedUntil time.Time
	// Reserved counts the slots that were ever given.
	Reserved int64
	Pace     Pace
}

// Ask is what a process wants of the row.
type Ask struct {
	Slots  int           // at most so many
	Urgent int           // of these, for others than new listings
	Cost   float64       // deletes that each new listing will bring, on average
	Begun  int           // new listings that it has begun since it asked last
	Age    time.Duration // how old a view may get
}

// Block is what a process got.
type Block struct {
	Slots    int           // that it may use
	First    time.Duration // until the first of them; may be below 0 by nothing
	Interval time.Duration // between two
	// Again is when to ask again at the earliest, where there were fewer than asked
	// for.
	Again time.Duration
	// Paused is for how long nobody may send, after a 429.
	Paused time.Duration
	// Stopped says that the organisation, or everything, is paused by a person.
	Stopped bool
	Limit   float64 // calls a minute that are ours
	Pace    float64 // calls a minute at present
	// StepDue says that the pace is to be looked at: see [Pace.Step].
	StepDue bool
}

// Interval is the time between two slots at a pace, in calls a minute.
//
// Where slots are so far apart that a view would be too old for the one after the
// next, two of them are used together, a listing and its delete: the first is late by
// an interval, and both by up to [lateSlow] more. A window then holds the calls of
// slots of a longer one, of two slots more at most.
func Interval(perMinute float64, age time.Duration) time.Duration {
	if Slow(perMinute, age) {
		return time.Duration(float64(Window+lateSlow) / max(1, perMinute-2))
	}
	return time.Duration(float64(Window) / perMinute)
}

// Slow says whether slots are so far apart that only one view at a time can be used
// up before it is too old.
func Slow(perMinute float64, age time.Duration) bool {
	return 4*Window.Seconds()/perMinute >= age.Seconds()
}

// Rules are the row's measures, for the store that keeps it.
type Rules struct{ Window, Ahead, Spare, Sane, MaxPause, LateSlow time.Duration }

// RulesOfRow returns the row's measures.
func RulesOfRow() Rules { return Rules{Window, Ahead, spare, sane, MaxPause, lateSlow} }

// Reserve gives out the next free slots, as many as are asked for and begin within
// [Ahead]. Slots whose time has passed are lost.
func (r Row) Reserve(now time.Time, a Ask) (Row, Block) {
	pace := r.Pace.At(r.Limit)
	interval := Interval(pace, a.Age)
	b := Block{Interval: interval, Limit: r.Limit, Pace: pace, StepDue: r.Pace.StepDue(now)}
	// No view lives for longer than its age: what is owed beyond it is a clock's
	// that was put back.
	owed := min(a.Age, later(r.OwedUntil, now).Sub(now))
	if a.Begun > 0 {
		owed += time.Duration(float64(a.Begun) * (1 + a.Cost) * float64(interval))
		r.OwedUntil = now.Add(owed)
	}
	if d := r.Pace.PausedUntil.Sub(now); d > 0 && d <= MaxPause { // a longer one is a clock's that was put back
		b.Paused, b.Again = d, d
		return r, b
	}
	start := r.start(now, interval)
	free := count(now.Add(Ahead).Sub(start), interval)
	if free > 0 && Slow(pace, a.Age) {
		free = max(free, 2) // a listing and its delete belong together
	}
	urgent := min(a.Urgent, free)
	lists := min(a.Slots-a.Urgent, free-urgent)
	wait := start.Sub(now) - Ahead
	if lists > 0 {
		cost := time.Duration((1 + a.Cost) * float64(interval))
		roomy := count(a.Age/2-owed, cost)
		unclaimed := count(now.Add(spare).Sub(start)-time.Duration(urgent)*interval, interval)
		if Slow(pace, a.Age) {
			unclaimed *= 2
		}
		if lists = min(lists, max(roomy, unclaimed)); lists == 0 && urgent == 0 {
			wait = min(owed-a.Age/2, start.Sub(now)-spare)
		}
	}
	if urgent+lists == 0 {
		b.Again = max(0, wait)
		return r, b
	}
	b.Slots, b.First = urgent+lists, start.Sub(now)
	r.NextSlot = start.Add(time.Duration(b.Slots) * interval)
	r.Reserved += int64(b.Slots)
	return r, b
}

// start is when the next free slot is.
func (r Row) start(now time.Time, interval time.Duration) time.Time {
	if r.NextSlot.Sub(now) > sane+interval {
		return now.Add(Ahead) // no slot was given that is farther from its asking
	}
	return later(r.NextSlot, now)
}

// Lower is a limit that a person lowers while calls are made: the minute that has
// passed holds slots of the quicker pace, if as many were ever given, and must hold no
// more than the slower one allows before the next follows.
func (r Row) Lower(now time.Time, limit float64) Row {
	if was := r.Pace.At(r.Limit); limit < was && now.Sub(r.NextSlot) < Window {
		next := r.NextSlot.Add(time.Duration(min(1-limit/was, float64(r.Reserved)/limit) * float64(Window)))
		if latest := now.Add(Window); next.After(latest) {
			next = latest // no slot of the quicker pace counts any more by then
		}
		r.NextSlot = later(now, next)
	}
	r.Limit = limit
	return r
}

// count is how many slots begin within d, the first at 0.
func count(d, interval time.Duration) int {
	if d < 0 {
		return 0
	}
	return int(math.Floor(float64(d)/float64(interval))) + 1
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
