package main

import (
	"container/heap"
	"math/rand/v2"
	"strconv"
	"time"

	"github.com/imagepurge/imagepurge/jobs"
	"github.com/imagepurge/imagepurge/jobs/budget"
	"github.com/imagepurge/imagepurge/jobs/clearance"
	"github.com/imagepurge/imagepurge/jobs/purge"
	"github.com/imagepurge/imagepurge/jobs/worker"
)

// setting is one line of the table.
type setting struct {
	workers int
	limit   int           // calls a minute
	latency time.Duration // of a call: half to one and a half of it
	churn   bool          // each minute one worker is killed and one is added
	minutes int           // how long it is watched, after one to begin
	flight  int           // calls in flight of a worker, at most
	seed    uint64
}

// figures are what it came to.
type figures struct {
	least     float64 // part of the allowed calls used in the ten minutes that used least
	overLimit int     // 429s
	calls     int     // that arrived
	needed    int     // that the modes need for the customers that ended
	spent     int     // that they took
	customers int
	asked     int // questions to the shared row
	kills     int
}

// Times that the simulated machines take.
const (
	jitter    = 50 * time.Millisecond // of a request on its way
	statement = 4 * time.Millisecond  // at most, of the database
	warmUp    = time.Minute
	silence   = 15 * time.Second // a worker counts for so long after its last beat
	beat      = 3 * time.Second
)

// fleet is a number of workers with one key, work that never ends, and an API that
// counts strictly: both in any 60 seconds and in each minute of the clock, by its
// own times of arrival.
type fleet struct {
	setting
	figures
	random *rand.Rand
	began  time.Time
	now    time.Time
	queue  events
	order  int

	row   budget.Row
	procs []*process
	named int // workers ever started
	tasks int64

	recent   []time.Time // arrivals of the last minute
	minute   time.Time
	inMinute int
	eachMin  []int
}

// process is one worker.
type process struct {
	f     *fleet
	core  *worker.Core
	owner string
	dead  bool
	died  time.Time
	wake  int
	tasks map[jobs.TaskID]*customer
}

type customer struct{ images, left, calls int }

func run(s setting) figures {
	f := &fleet{setting: s, random: rand.New(rand.NewPCG(s.seed, 7)), began: time.Date(2026, 1, 1, 0, 0, 17, 0, time.UTC)}
	f.now, f.row = f.began, budget.Row{Limit: float64(s.limit)}
	f.eachMin = make([]int, s.minutes)
	for range s.workers {
		f.start()
	}
	if s.churn {
		f.churns()
	}
	end := f.began.Add(warmUp + time.Duration(s.minutes)*time.Minute)
	for len(f.queue) > 0 {
		e := heap.Pop(&f.queue).(event)
		if e.at.After(end) {
			break
		}
		f.now = e.at
		e.do()
	}
	f.least = f.leastUsed()
	return f.figures
}

// leastUsed is the use of the ten minutes that used least.
func (f *fleet) leastUsed() float64 {
	span := min(10, f.minutes)
	least := 0.0
	for from := 0; from+span <= f.minutes; from++ {
		sum := 0
		for _, n := range f.eachMin[from : from+span] {
			sum += n
		}
		if used := float64(sum) / float64(span*f.limit); from == 0 || used < least {
			least = used
		}
	}
	return least
}

func (f *fleet) start() {
	f.named++
	p := &process{f: f, owner: "w" + strconv.Itoa(f.named), tasks: make(map[jobs.TaskID]*customer)}
	p.core = worker.NewCore(worker.Config{
		Claim: purge.Claim{Organization: 1, Owner: p.owner, Lease: 2 * time.Minute},
		Purge: purge.Config{
			RequestTimeout: 30 * time.Second, Settle: 2 * time.Minute, ListingLag: 30 * time.Second, ViewMaxAge: 10 * time.Second,
			MaxAttempts: 10, BackoffBase: 5 * time.Second, BackoffMax: time.Hour, Batching: jobs.SingleDelete, Random: f.random.Float64,
		},
		Budget: budget.Config{PerMinute: f.limit, Concurrency: f.flight, ViewMaxAge: 10 * time.Second, Random: f.random.Float64},
	})
	f.procs = append(f.procs, p)
	f.after(time.Duration(f.random.Int64N(int64(time.Second))), func() { p.step(worker.Started{}); p.beats() })
}

// churns adds one worker and kills one, each minute.
func (f *fleet) churns() {
	f.after(time.Minute/2, f.start)
	f.after(time.Minute, func() {
		var live []*process
		for _, p := range f.procs {
			if !p.dead {
				live = append(live, p)
			}
		}
		p := live[f.random.IntN(len(live))]
		p.dead, p.died = true, f.now
		f.kills++
		f.churns()
	})
}

// beats tells a worker how many there are, as the database does.
func (p *process) beats() {
	if p.dead {
		return
	}
	n := 0
	for _, o := range p.f.procs {
		if !o.dead || p.f.now.Sub(o.died) < silence {
			n++
		}
	}
	p.step(worker.Beaten{Fleet: worker.Fleet{Live: n, Sharing: n}})
	p.f.after(beat, p.beats)
}

func (p *process) step(ev worker.Event) {
	if p.dead {
		return
	}
	for _, e := range p.core.Step(p.f.now, ev) {
		p.do(e)
	}
}

func (p *process) do(e worker.Effect) {
	f := p.f
	switch e := e.(type) {
	case worker.WakeAt:
		p.wake++
		mine := p.wake
		f.after(max(0, e.At.Sub(f.now)), func() {
			if p.wake == mine {
				p.step(worker.Tick{})
			}
		})
	case worker.ReserveSlots:
		p.reserve(e.Ask)
	case worker.SlowDown:
		f.row, _ = f.row.OverLimit(f.now, e.Age, e.Asked)
	case worker.StepPace:
		f.row, _ = f.row.Step(f.now)
	case worker.ClaimTasks:
		f.after(f.database(), func() { p.step(p.claim(e.Claim.Limit)) })
	case worker.Survey:
		f.after(f.database(), func() { p.step(worker.Surveyed{Outlook: purge.Outlook{Ready: true, Now: f.now}}) })
	case worker.RenewLeases:
		f.after(f.database(), func() {
			ev := worker.Renewed{Asked: e.Leases}
			for _, l := range e.Leases {
				ev.Kept = append(ev.Kept, l.Task)
			}
			p.step(ev)
		})
	case worker.WriteTask:
		began := f.now
		f.after(f.database(), func() { p.step(p.write(e.Write, began)) })
	case worker.ListImages:
		p.call(e.Lease, jobs.ListCall)
	case worker.DeleteImage:
		p.call(e.Lease, jobs.DeleteCall)
	}
}

func (p *process) reserve(a budget.Ask) {
	f := p.f
	ev := worker.SlotsReserved{Sent: f.now}
	f.asked++
	f.after(f.database()/2, func() {
		f.row, ev.Block = f.row.Reserve(f.now, a)
		f.after(f.database()/2, func() {
			ev.At = f.now
			p.step(ev)
		})
	})
}

func (p *process) claim(n int) worker.Event {
	var ev worker.ClaimEnded
	for range n {
		p.f.tasks++
		id := jobs.TaskID(p.f.tasks)
		c := &customer{images: p.f.random.IntN(6)}
		c.left = c.images
		p.tasks[id] = c
		ev.Records = append(ev.Records, purge.Record{
			Task: id, Batch: 1, Owner: p.owner, Epoch: 1, Customer: jobs.Customer{ID: int64(id), Source: "INSTORE"},
			Mode: jobs.Verified, Scope: jobs.Snapshot,
		})
	}
	return ev
}

func (p *process) write(w purge.Write, began time.Time) worker.Event {
	ev := worker.WriteEnded{Task: w.Task, Epoch: w.Epoch, Result: purge.Result{Applied: true}}
	switch c := p.tasks[w.Task]; w.Kind {
	case purge.WriteIntent:
		ev.Result.Clearance = clearance.Issue(clearance.Intent{Task: w.Task, Epoch: w.Epoch, Customer: w.Customer, Targets: w.Targets, BeganAt: began, Margin: jobs.SendMargin})
	case purge.WriteFinish:
		p.f.customers++
		p.f.spent += c.calls
		p.f.needed += need(c.images)
		delete(p.tasks, w.Task)
	case purge.WriteGiveBack:
		delete(p.tasks, w.Task) // others take it
	}
	return ev
}

// need is how many calls a customer costs in mode verified.
func need(images int) int {
	if images == 0 {
		return 1
	}
	return images + 2
}

// call sends a request, which arrives whatever becomes of its sender.
func (p *process) call(l purge.Lease, kind jobs.Kind) {
	f := p.f
	sent := f.now
	c := p.tasks[l.Task]
	c.calls++
	f.after(time.Duration(f.random.Int64N(int64(jitter))), func() {
		a := jobs.Answer{Class: jobs.ClassOverLimit, HTTPStatus: 429, Code: "429", SentAt: sent}
		if f.allow() {
			a = c.answer(kind)
			a.SentAt = sent
		}
		took := f.latency/2 + time.Duration(f.random.Int64N(int64(f.latency)))
		f.after(took, func() {
			a.AnsweredAt = f.now
			p.step(worker.CallEnded{Task: l.Task, Epoch: l.Epoch, Kind: kind, Answer: a})
		})
	})
}

func (c *customer) answer(kind jobs.Kind) jobs.Answer {
	if kind == jobs.DeleteCall {
		c.left--
		return jobs.Answer{Class: jobs.ClassDeleted, HTTPStatus: 200}
	}
	a := jobs.Answer{Class: jobs.ClassListed, HTTPStatus: 200}
	for i := range c.left {
		a.Images = append(a.Images, jobs.Key{byte(i + 1)})
	}
	return a
}

// allow is the API's count.
func (f *fleet) allow() bool {
	f.calls++
	if d := f.now.Sub(f.began.Add(warmUp)); d >= 0 && int(d/time.Minute) < f.minutes {
		f.eachMin[int(d/time.Minute)]++
	}
	if m := f.now.Truncate(time.Minute); m != f.minute {
		f.minute, f.inMinute = m, 0
	}
	f.inMinute++
	old := 0
	for old < len(f.recent) && f.now.Sub(f.recent[old]) >= time.Minute {
		old++
	}
	f.recent = append(f.recent[old:], f.now)
	if f.inMinute > f.limit || len(f.recent) > f.limit {
		f.overLimit++
		return false
	}
	return true
}

func (f *fleet) database() time.Duration {
	return time.Duration(f.random.Int64N(int64(statement))) + 500*time.Microsecond
}

func (f *fleet) after(d time.Duration, do func()) {
	f.order++
	heap.Push(&f.queue, event{f.now.Add(d), f.order, do})
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
