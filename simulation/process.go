package simulation

import (
	"cmp"
	"errors"
	"fmt"
	"time"

	"github.com/imagepurge/imagepurge/jobs"
	"github.com/imagepurge/imagepurge/jobs/budget"
	"github.com/imagepurge/imagepurge/jobs/purge"
	"github.com/imagepurge/imagepurge/jobs/schedule"
	"github.com/imagepurge/imagepurge/jobs/worker"
	"github.com/imagepurge/imagepurge/simulation/memory"
)

// Sizes of the shell that worker.Worker is.
const (
	writers       = 2
	groupSize     = 128
	maintainEvery = 5 * time.Second
	stopGrace     = 3 * time.Second
	firstRetry    = 100 * time.Millisecond
	lastRetry     = 5 * time.Second
)

// process is one `imagepurge run` on a machine of its own: the shell that does
// the effects of a worker.Core, as worker.Worker does them. It may crash or freeze
// at every effect, and its machine may sleep or have its clock set.
type process struct {
	w      *world
	number int
	life   int // raised by every start and end: what was under way is void
	frozen time.Duration

	clockOff time.Duration // of the machine's wall clock
	slept    time.Duration // by which its monotonic clock is behind
	odd      bool          // it slept: its windows say nothing

	owner   string
	stepper *schedule.Stepper
	window  schedule.Window
	opened  bool          // a window's run is open, so that its window is known
	closeAt time.Duration // without the time that it was frozen since: then nobody obeys
	timer   int           // of the stepper: a newer one replaces it

	core       *worker.Core
	coreLife   int // raised by every core
	wake       int // a newer wake-up replaces the one before
	dozing     bool
	noted      int // the server that was last compared
	stopping   bool
	left       []worker.Effect // of a step in which the process froze
	writes     []purge.Write
	committing int
	maintained time.Duration
	viewed     map[jobs.TaskID]int64         // the epoch under which a listing was asked for
	granted    map[jobs.TaskID]time.Duration // when the slot of its delete was
	sighted    sighting
	warned     callID // a probe of a breaker that another brand's images have opened
	writing    int    // calls between the deadline's check and the write
}

// now is the machine's own time.
func (p *process) now() time.Time {
	w := p.w
	return at(w.begins.UnixNano()+int64(w.now+p.clockOff), int64(time.Hour+w.now-p.slept))
}

func (p *process) say(format string, args ...any) {
	if p.w.trace != nil {
		p.w.say("W%d: %s", p.number, fmt.Sprintf(format, args...))
	}
}

// after does something in this process: when it is awake, and never after its end.
func (p *process) after(d time.Duration, do func()) { p.afterIn(&p.life, d, do) }

// inCore is after for what ends with the core.
func (p *process) inCore(d time.Duration, do func()) { p.afterIn(&p.coreLife, d, do) }

func (p *process) afterIn(life *int, d time.Duration, do func()) {
	was := *life
	var try func()
	try = func() {
		switch {
		case *life != was:
		case p.frozen > p.w.now:
			p.w.after(p.frozen-p.w.now, try)
		default:
			do()
		}
	}
	p.w.after(d, try)
}

func (p *process) start() {
	if p.w.allEnded() {
		return
	}
	p.life++
	p.frozen = 0
	p.owner = fmt.Sprintf("W%d.%d", p.number, p.life)
	p.core, p.stopping, p.opened = nil, false, false
	if p.w.once {
		p.say("starts: run --once")
		p.open()
		return
	}
	p.say("starts: run")
	p.stepper = schedule.NewStepper(schedule.Of(p.w.plan))
	p.look(schedule.Clock{Run: p.w.newestRun()})
}

// end ends the process; it is started again while there is work.
func (p *process) end(again time.Duration) {
	p.life++
	p.coreLife++
	p.dozing, p.core, p.left, p.writes, p.committing, p.writing = false, nil, nil, nil, 0, 0
	p.w.after(again, p.start)
}

func (p *process) crash(where string) {
	p.say("CRASH %s", where)
	p.w.hist.died(p.w, p)
	p.end(p.w.upTo(30 * time.Second))
}

// freeze stops the process for a time, which may outlast its lease. Between the check
// of a deadline and the write that follows it none is played but the one in
// network.go: the settle time allows for no more than the send margin there, and
// nothing can.
func (p *process) freeze() {
	if p.writing > 0 || p.frozen > p.w.now {
		return
	}
	d := p.w.upTo(pick(p.w.chance, 2*time.Second, p.w.lease, 3*p.w.lease+p.w.settle))
	p.frozen = p.w.now + d
	p.closeAt += d
	p.say("FREEZES for %v", d)
}

// sleep is the machine's: every clock stops but the wall's.
func (p *process) sleep(d time.Duration) {
	if p.writing > 0 || p.frozen > p.w.now {
		return
	}
	p.frozen = p.w.now + d
	p.slept += d
	p.odd = true
	p.say("SLEEPS for %v", d)
}

// look steps the schedule, by the database's clock.
func (p *process) look(ev schedule.Event) {
	for _, e := range p.stepper.Step(p.w.clock(), ev) {
		switch e := e.(type) {
		case schedule.MakeRun:
			p.w.makeRun(e.Window)
			p.look(schedule.Made{Run: p.w.newestRun()})
			return
		case schedule.OpenRun:
			p.window, p.opened = e.Run, true
			p.open()
		case schedule.CloseRun:
			p.say("the window closes")
			p.opened, p.closeAt = false, p.w.now
			p.stop()
		case schedule.WakeAt:
			p.timer++
			mine := p.timer
			p.after(max(0, e.At.Sub(p.w.clock())), func() {
				if p.timer == mine {
					p.look(schedule.Clock{Run: p.w.newestRun()})
				}
			})
		}
	}
}

// open begins to work.
func (p *process) open() {
	p.coreLife++
	n := p.w.night
	p.stopping, p.left, p.writes, p.committing, p.maintained = false, nil, nil, 0, -maintainEvery
	p.viewed, p.granted = make(map[jobs.TaskID]int64), make(map[jobs.TaskID]time.Duration)
	p.core = worker.NewCore(worker.Config{
		Claim:  purge.Claim{Organization: p.label(), Owner: p.owner, Lease: n.lease, Mode: n.mode, Scope: jobs.Snapshot, Source: "INSTORE"},
		Purge:  p.purge(),
		Budget: budget.Config{PerMinute: n.perMinute, Concurrency: 64, ViewMaxAge: n.viewAge, Random: p.w.Float64},
		Once:   n.once,
	})
	p.step(worker.Started{})
}

// label is the organisation that it works for.
func (p *process) label() int64 { return p.w.label(int64(p.number)) }

func (p *process) purge() purge.Config {
	n := &p.w.night
	return purge.Config{
		RequestTimeout: n.timeout, Settle: n.settle, ListingLag: n.lag, ViewMaxAge: n.viewAge,
		MaxAttempts: n.attempts, BackoffBase: 2 * time.Second, BackoffMax: 20 * time.Second, Batching: n.batching,
		Random: p.w.Float64, Watch: p.w.watch,
	}
}

// stop is the first SIGTERM, or the end of a window.
func (p *process) stop() {
	if p.core == nil || p.stopping {
		return
	}
	p.stopping = true
	p.inCore(p.w.timeout+stopGrace, func() {
		p.say("stops with customers not given back")
		p.end(p.w.upTo(30 * time.Second))
	})
	p.step(worker.StopAsked{})
}

// step is one round of worker.Worker's loop.
func (p *process) step(ev worker.Event) {
	if p.core == nil {
		return
	}
	effects := p.core.Step(p.now(), ev)
	p.left = append(p.left, effects...)
	p.goOn()
}

// goOn does what the core has asked for. A process that freezes in the middle does
// the rest when it wakes.
func (p *process) goOn() {
	for len(p.left) > 0 {
		e := p.left[0]
		p.left = p.left[1:]
		if _, waits := e.(worker.WakeAt); !waits && p.w.fault(p.w.crashes, "crash before an effect") {
			p.crash("before an effect")
			return
		}
		if _, writes := e.(worker.WriteTask); writes && p.writing == 0 && p.w.fault(p.w.freezes, "freeze before a write, beyond the lease") {
			p.left = append([]worker.Effect{e}, p.left...)
			d := p.w.lease + p.w.upTo(5*time.Second)
			p.frozen = p.w.now + d
			p.closeAt += d
			p.inCore(0, p.goOn)
			return
		}
		life := p.coreLife
		p.do(e)
		if p.coreLife != life {
			return
		}
		if _, waits := e.(worker.WakeAt); waits {
			continue
		}
		if p.w.fault(p.w.crashes, "crash after an effect") {
			p.crash("after an effect")
			return
		}
		if p.w.fault(p.w.freezes, "freeze after an effect") {
			p.freeze()
			p.inCore(0, p.goOn)
			return
		}
	}
}

func (p *process) do(e worker.Effect) {
	switch e := e.(type) {
	case worker.WakeAt:
		p.sleepUntil(e.At)
	case worker.Ended:
		p.ended(e.Why)
	case worker.WriteTask:
		if e.Write.Kind == purge.WriteIntent {
			p.granted[e.Write.Task] = p.w.now
		}
		p.writes = append(p.writes, e.Write)
		p.commit()
	case worker.ListImages:
		p.viewed[e.Lease.Task] = e.Lease.Epoch
		p.list(e.Lease, e.Customer)
	case worker.DeleteImage:
		p.delete(e.Lease, e.Clearance)
	case worker.ReserveSlots:
		p.reserve(e.Ask)
	case worker.SlowDown:
		p.slowDown(e)
	case worker.PinOrganization:
		var number int64
		p.statement(func(time.Time) { number = p.w.store.PinOrganization(e.Number) },
			func(err error) { p.step(worker.OrganizationPinned{Number: number, Err: err}) })
	case worker.StepPace:
		p.statement(func(now time.Time) { p.w.store.StepPace(now) }, func(error) {})
	case worker.ClaimTasks:
		p.claim(e.Claim)
	case worker.Survey:
		var o purge.Outlook
		p.statement(func(now time.Time) { o = p.w.store.Outlook(now, p.label(), 0) }, func(err error) { p.step(worker.Surveyed{Outlook: o, Err: err}) })
	case worker.RenewLeases:
		var kept []jobs.TaskID
		p.statement(func(now time.Time) { kept = p.w.store.RenewLeases(now, p.owner, e.Leases, p.w.lease) },
			func(err error) { p.step(worker.Renewed{Asked: e.Leases, Kept: kept, Err: err}) })
	}
}

// reserve asks the key's row for slots.
func (p *process) reserve(a budget.Ask) {
	ev := worker.SlotsReserved{Sent: p.now()}
	p.statement(func(now time.Time) { ev.Block = p.w.store.ReserveSlots(now, a) }, func(err error) {
		ev.At, ev.Err = p.now(), err
		p.step(ev)
	})
}

// slowDown tells the row of a 429 until it knows.
func (p *process) slowDown(e worker.SlowDown) {
	p.statement(func(now time.Time) { p.w.store.NoteOverLimit(now, e.Age, e.Asked) }, func(err error) {
		if err != nil {
			p.inCore(firstRetry, func() {
				e.Age += firstRetry
				p.slowDown(e)
			})
		}
	})
}

// sleepUntil wakes the core.
func (p *process) sleepUntil(t time.Time) {
	p.wake++
	p.dozing = false
	mine := p.wake
	p.inCore(max(0, t.Sub(p.now())), func() {
		if p.wake == mine {
			p.tick(mine)
		}
	})
}

// tick wakes the core. A worker with nothing in hand looks again and again whether
// there is work; where it can't find any, it is let doze until something has changed.
func (p *process) tick(mine int) {
	if p.stopping || p.core.Holding() || p.w.server != p.noted {
		p.step(worker.Tick{})
		return
	}
	next := p.w.workAt()
	if next <= p.w.now {
		p.step(worker.Tick{})
		return
	}
	p.dozing = true
	p.inCore(next-p.w.now, func() {
		if p.wake == mine && p.dozing {
			p.dozing = false
			p.step(worker.Tick{})
		}
	})
}

// rouse wakes those that doze: something has changed.
func (w *world) rouse() {
	for _, p := range w.procs {
		if p.dozing {
			p.dozing = false
			mine := p.wake
			p.inCore(w.upTo(time.Second), func() {
				if p.wake == mine && !p.dozing {
					p.tick(mine)
				}
			})
		}
	}
}

func (p *process) ended(why worker.End) {
	p.say("ends: %s", why)
	p.coreLife++
	p.core, p.left, p.dozing = nil, nil, false
	if p.stepper != nil && !p.w.once {
		p.after(0, func() { p.look(schedule.RunEnded{Run: p.window}) })
		return
	}
	p.end(time.Minute + p.w.upTo(time.Minute)) // started again, as by cron
}

func (p *process) claim(c purge.Claim) {
	if p.w.now-p.maintained < maintainEvery {
		p.claimNow(c)
		return
	}
	p.statement(func(now time.Time) {
		p.w.store.ReclaimTasks(now)
		p.w.store.SweepRests(now)
	}, func(err error) {
		if err != nil {
			p.step(worker.ClaimEnded{Err: err})
			return
		}
		p.maintained = p.w.now
		p.claimNow(c)
	})
}

func (p *process) claimNow(c purge.Claim) {
	var records []purge.Record
	if p.w.storms > 0 && p.w.fault(30, "the credentials are refused in the middle of a claim") {
		p.w.weather.refused = p.w.now + p.w.upTo(2*time.Minute)
	}
	p.statement(func(now time.Time) {
		records = p.w.store.ClaimTasks(now, c)
		p.w.hist.claimed(p.w, p, records)
	}, func(err error) {
		if err != nil || len(records) > 0 {
			p.step(worker.ClaimEnded{Records: records, Err: err})
			return
		}
		p.statement(func(now time.Time) {
			p.w.store.NoteServer(now, p.purge().WorstCase())
			p.noted = p.w.server
		}, func(err error) { p.step(worker.ClaimEnded{Err: err}) })
	})
}

// commit writes what has gathered while the last commit was under way.
func (p *process) commit() {
	for p.committing < writers && len(p.writes) > 0 {
		n := min(len(p.writes), groupSize)
		group := p.writes[:n:n]
		p.writes = p.writes[n:]
		p.committing++
		var results []purge.Result
		p.write(group, &results, func(err error) {
			if err == nil {
				p.committing--
				p.report(group, results)
				return
			}
			// Nobody knows what was committed. Intents are given up: nothing was sent.
			var again []purge.Write
			for _, wr := range group {
				if wr.Kind != purge.WriteIntent {
					again = append(again, wr)
					continue
				}
				p.inCore(0, func() { p.step(worker.WriteEnded{Task: wr.Task, Epoch: wr.Epoch, Err: err}) })
			}
			p.insist(again, firstRetry)
		})
	}
}

// insist repeats writes, one after the other, until it is known what became of them.
func (p *process) insist(again []purge.Write, wait time.Duration) {
	if len(again) == 0 {
		p.committing--
		p.commit()
		return
	}
	var results []purge.Result
	one := again[:1:1]
	p.write(one, &results, func(err error) {
		if errors.Is(err, worker.ErrRefusedByDatabase) {
			results, err = []purge.Result{{Refused: purge.LeaseLost}}, nil // no repetition mends it
		}
		if err != nil {
			p.inCore(wait, func() { p.insist(again, min(2*wait, lastRetry)) })
			return
		}
		p.inCore(0, func() { p.insist(again[1:], firstRetry) })
		p.report(one, results)
	})
}

func (p *process) write(group []purge.Write, results *[]purge.Result, done func(error)) {
	began := p.now()
	terms := purge.Terms{Organization: p.label(), Lease: p.w.lease, RequestTimeout: p.w.timeout}
	var refused error
	p.statement(func(now time.Time) {
		if refused = p.w.apply(now, began, terms, group, results); refused == nil {
			p.w.rouse()
			p.w.hist.wrote(p.w, p, group, *results)
		}
	}, func(err error) { done(cmp.Or(err, refused)) })
}

// apply writes, unless a constraint of the database forbids it.
func (w *world) apply(now, began time.Time, terms purge.Terms, group []purge.Write, results *[]purge.Result) (err error) {
	defer func() {
		switch r := recover().(type) {
		case nil:
		case *memory.ConstraintError:
			w.hist.illegal = append(w.hist.illegal, fmt.Sprintf("%v: task %d, %s: %v", w.now, group[0].Task, group[0].Kind, r))
			err = fmt.Errorf("%w: %w", worker.ErrRefusedByDatabase, r)
		default:
			panic(r)
		}
	}()
	*results = w.store.Write(now, began, terms, group)
	return nil
}

func (p *process) report(group []purge.Write, results []purge.Result) {
	for i, wr := range group {
		p.inCore(0, func() {
			p.step(worker.WriteEnded{Task: wr.Task, Epoch: wr.Epoch, Result: results[i]})
			p.commit()
		})
	}
}
