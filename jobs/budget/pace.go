package budget

import (
	"slices"
	"time"
)

// How the pace goes down and comes back.
const (
	// MaxPause bounds what an API may ask for.
	MaxPause = time.Hour
	// memory is how long a 429 counts.
	memory = time.Hour
	// settling is how many 429s within memory end the search: from then on the
	// pace stays below what held.
	settling = 3
	// margin is the part of the highest pace that held at which it then stays.
	margin = 0.9
	// quiet is how long a pace goes without a 429 before it is raised.
	quiet = time.Minute
	// probing is how long a pace that has settled goes without one.
	probing = time.Hour
	// slowest is the least part of the limit that 429s lower the pace to.
	slowest = 0.1
	// forgetting is how long after the last 429 a pace that has settled searches again,
	// as it did before: who took part of the limit may have gone long ago.
	forgetting = 24 * time.Hour
	// evidence is which part of a minute's calls must have been made since the last 429
	// (or the last look at the pace) for another to say that a pace which has held doesn't any more. Whoever refuses
	// the first calls after a pause refuses at any pace.
	evidence = 0.2
	// patience is how many 429s within an hour say so in any case.
	patience = 20
	// used is which part of its slots a pace must have given out to count as one
	// that held.
	used = 0.8
)

// pauses after a 429 that doesn't say for how long, in the order in which they
// follow each other. The last one outlasts any calendar minute.
var pauses = [...]time.Duration{5 * time.Second, 10 * time.Second, 20 * time.Second, 40 * time.Second, time.Minute}

// cuts are what is left of the pace after each 429 within an hour.
var cuts = [...]float64{0.9, 0.8, 0.7}

// Pace is what an API key's 429s have taught. It is a value; every change returns a
// new one. Its times are the store's.
type Pace struct {
	// Current is the pace in calls a minute; 0: the whole limit.
	Current float64
	// Held is the highest pace at which a minute passed without a 429, in calls a
	// minute; 0: none yet, or one that held does not any more.
	Held float64
	// Settled: after three 429s within an hour the pace stays at 90 % of Held, with
	// one small step up an hour.
	Settled bool
	// Strikes are the 429s of the last hour.
	Strikes []time.Time
	// PausedUntil is until when nobody sends.
	PausedUntil time.Time
	// Since is when the present pace began, and Reserved the row's count then.
	Since    time.Time
	Reserved int64
}

// At is the pace under a limit, in calls a minute.
func (p Pace) At(limit float64) float64 {
	if p.Current <= 0 {
		return limit
	}
	return min(limit, max(p.Current, min(2, limit)))
}

// OverLimit takes a 429 of a call that was sent at the given time, and that asked to
// wait for so long; 0: it did not say. Calls that were under way together with one
// that met a 429 before count as one.
func (p Pace) OverLimit(now, sent time.Time, asked time.Duration, limit float64, reserved int64) Pace {
	asked = min(max(0, asked), MaxPause)
	if p.PausedUntil.Sub(now) > MaxPause {
		p.PausedUntil = now // a clock's that was put back
	}
	p.Strikes = slices.DeleteFunc(slices.Clone(p.Strikes), func(at time.Time) bool { return at.After(now) })
	if n := len(p.Strikes); n > 0 && !sent.After(p.Strikes[n-1]) {
		p.PausedUntil = later(p.PausedUntil, now.Add(asked))
		p.Since = later(p.Since, p.PausedUntil)
		return p
	}
	p.Strikes = append(p.recent(now), now)
	pace := p.At(limit)
	pause := asked
	if pause == 0 {
		pause = pauses[min(len(p.Strikes), len(pauses))-1]
	}
	p.PausedUntil = later(p.PausedUntil, now.Add(pause))
	made := float64(reserved - p.Reserved)
	if pace <= p.Held && (len(p.Strikes) > 1 && made >= evidence*pace || len(p.Strikes) >= patience) {
		p.Held = 0
	}
	p.Settled = p.Settled || len(p.Strikes) >= settling
	switch {
	case p.Settled && p.Held > 0:
		p.Current = margin * p.Held
	default:
		p.Current = pace * cuts[min(len(p.Strikes), len(cuts))-1]
	}
	p.Current = max(p.Current, slowest*limit)
	p.Since, p.Reserved = p.PausedUntil, reserved
	return p
}

func (p Pace) recent(now time.Time) []time.Time {
	var recent []time.Time
	for _, at := range p.Strikes {
		if now.Sub(at) < memory {
			recent = append(recent, at)
		}
	}
	return recent
}

// wait is how long the present pace goes on before it is looked at.
func (p Pace) wait() time.Duration {
	if p.Settled && p.Held > 0 {
		return probing
	}
	return quiet
}

// StepDue says whether [Pace.Step] may change anything by now.
func (p Pace) StepDue(now time.Time) bool {
	return p.Since.IsZero() || !now.Before(p.StepAt())
}

// StepAt is when [Pace.Step] may change something.
func (p Pace) StepAt() time.Time { return p.Since.Add(p.wait()) }

// Step notes a pace that has held, and raises one that is below the limit: by a
// twentieth of the limit after each quiet minute, and by a fiftieth each hour once it
// has settled.
func (p Pace) Step(now time.Time, limit float64, reserved int64) Pace {
	if !p.StepDue(now) {
		return p
	}
	pace := p.At(limit)
	held := false
	if !p.Since.IsZero() {
		minutes := min(now.Sub(p.Since).Minutes(), p.wait().Minutes())
		held = float64(reserved-p.Reserved) >= used*pace*minutes
	}
	if p.Settled && !p.struckWithin(now, forgetting) {
		p.Settled, p.Held = false, 0
	}
	learnt := held && p.Settled && p.Held == 0
	if held {
		p.Held = max(p.Held, pace)
	}
	p.Since, p.Reserved = now, reserved
	switch {
	case p.Current <= 0, p.Current > limit:
		return p // it is the limit, of this hour, that holds
	case learnt:
		p.Current = margin * p.Held
	case p.Settled && held:
		p.Current = pace + limit/50
	case p.Settled && p.Held > 0:
		return p // nobody has tried it
	case p.Settled && p.struckWithin(now, memory):
		return p
	default:
		p.Current = pace + limit/20
	}
	if p.Current >= limit {
		p.Current, p.Settled, p.Strikes = 0, false, p.recent(now)
	}
	return p
}

func (p Pace) struckWithin(now time.Time, d time.Duration) bool {
	n := len(p.Strikes)
	return n > 0 && now.Sub(p.Strikes[n-1]) < d
}

// Accepts is how many calls a minute the API seems to accept; 0 where nothing has
// shown that it is less than the limit.
func (p Pace) Accepts(limit float64) float64 {
	switch {
	case !p.Settled, p.Current >= limit:
		return 0
	case p.Held > 0 && p.Held < limit:
		return p.Held
	}
	return p.At(limit)
}

// Learnt is what a change of the pace came to.
type Learnt struct {
	Limit   float64       // calls a minute that are ours
	Pace    float64       // calls a minute at present
	Accepts float64       // what the API seems to accept; 0: the limit, as far as is known
	New     bool          // Accepts was learnt, or has changed, by this
	Pause   time.Duration // for which nobody sends, from now on
}

// learnt compares two paces.
func learnt(now time.Time, before, after Pace, limit float64) Learnt {
	return Learnt{
		Limit: limit, Pace: after.At(limit), Accepts: after.Accepts(limit),
		New:   after.Accepts(limit) > 0 && after.Accepts(limit) != before.Accepts(limit),
		Pause: max(0, after.PausedUntil.Sub(now)),
	}
}

// OverLimit is [Pace.OverLimit] of the row's pace, for a call that was sent so long
// ago.
func (r Row) OverLimit(now time.Time, age, asked time.Duration) (Row, Learnt) {
	before := r.Pace
	r.Pace = before.OverLimit(now, now.Add(-max(0, age)), asked, r.Limit, r.Reserved)
	return r, learnt(now, before, r.Pace, r.Limit)
}

// Step is [Pace.Step] of the row's pace.
func (r Row) Step(now time.Time) (Row, Learnt) {
	before := r.Pace
	r.Pace = before.Step(now, r.Limit, r.Reserved)
	return r, learnt(now, before, r.Pace, r.Limit)
}
