package simulation

import (
	"container/heap"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/imagepurge/imagepurge/capillary/sandbox"
	"github.com/imagepurge/imagepurge/jobs"
	"github.com/imagepurge/imagepurge/jobs/purge"
	"github.com/imagepurge/imagepurge/jobs/schedule"
	"github.com/imagepurge/imagepurge/simulation/memory"
)

// Bounds of a night. One that comes to neither end has tasks that rest for good.
const (
	longest   = 30 * 24 * time.Hour
	mostSteps = 400_000
	// calmAfter steps nothing goes wrong by chance any more: where processes die faster
	// than their key has slots, no program could end its tasks; from then on it must.
	calmAfter = 200_000
)

// material is what all nights share: it is made once and never changes.
type material struct {
	plans []schedule.Plan
	// tokens are those of the images that customers have at the beginning.
	tokens [][sandbox.MaxImages + 1]string
	keys   [][sandbox.MaxImages + 1]jobs.Key
	// strange is the token of another brand's image, by customer.
	strange []string
}

const (
	mostCustomers      = 64
	remoteOrganization = 100001
	// strangeOrganization is another brand, behind the same address.
	strangeOrganization = 100002
)

func newMaterial() (*material, error) {
	p, err := plans()
	if err != nil {
		return nil, err
	}
	m := &material{plans: p}
	for c := range mostCustomers {
		var tokens [sandbox.MaxImages + 1]string
		var keys [sandbox.MaxImages + 1]jobs.Key
		for i := range tokens {
			tokens[i] = "customerImage/" + strconv.Itoa(remoteOrganization) + "/" + strconv.Itoa(firstCustomer+c) + "/" + strconv.Itoa(i)
			keys[i] = jobs.KeyOf(tokens[i])
		}
		m.tokens, m.keys = append(m.tokens, tokens), append(m.keys, keys)
		m.strange = append(m.strange, "customerImage/"+strconv.Itoa(strangeOrganization)+"/"+strconv.Itoa(firstCustomer+c)+"/0")
	}
	return m, nil
}

// world runs one night.
type world struct {
	chance
	night
	*material
	watch func(purge.Transition)
	// bytes: every answer goes through the client's decoder, not only the odd ones.
	bytes bool

	now   time.Duration // since the night began, by a clock that is always right
	queue events
	order int
	steps int

	store     *memory.Store
	strangers *sandbox.Model    // another brand's API, which our credentials may come to open
	runs      []schedule.Window // no two have an instant in common
	api       *sandbox.Model
	keyOf     map[string]jobs.Key
	procs     []*process
	away      bool // the database
	losing    bool // what it commits now will be lost
	server    int  // raised by every fail-over: statements under way then are lost
	weather   weather

	flying map[int64]int // DELETEs of a customer that may still run
	hist   history

	calm   bool
	keep   []int // see Size.Keep
	faults int   // so far, suppressed ones included

	trace func(string)
}

func newWorld(m *material, seed uint64, size Size) *world {
	n := drawNight(seed, size, m.plans)
	w := &world{
		chance: newChance(seed, 2), night: n, material: m, calm: size.Calm, keep: size.Keep,
		keyOf:  make(map[string]jobs.Key, 4*n.customers),
		flying: make(map[int64]int), hist: newHistory(),
	}
	options := memory.Options{Organization: 1, PerMinute: n.perMinute}
	if n.labels > 1 {
		options.Also = []int64{2}
	}
	w.store = memory.New(options)
	o := sandbox.ModelOptions{Seed: seed, MaxLag: n.lag}
	if n.ascending {
		o.MultiIndex = sandbox.AscendingShifting
	}
	w.api = sandbox.NewModel(o)
	for i := range n.customers {
		w.putCustomer(i)
	}
	if n.strangers {
		w.putStrangers(o)
	}
	for _, t := range n.tasks {
		w.enqueue(t)
	}
	for i := range n.workers {
		p := &process{w: w, number: i}
		w.procs = append(w.procs, p)
		w.after(w.upTo(2*time.Second), p.start)
	}
	w.surroundings()
	return w
}

// newestRun is the last run that has begun.
func (w *world) newestRun() schedule.Window {
	if n := len(w.runs); n > 0 {
		return w.runs[n-1]
	}
	return schedule.Window{}
}

// makeRun is what the unique row of a tick does.
func (w *world) makeRun(run schedule.Window) {
	if !slices.ContainsFunc(w.runs, run.Overlaps) {
		w.runs = append(w.runs, run)
	}
}

func (w *world) putCustomer(i int) {
	c := sandbox.Customer{ID: int64(firstCustomer + i)}
	for k := range w.IntN(sandbox.MaxImages + 1) {
		c.Images = append(c.Images, sandbox.Image{Token: w.tokens[i][k], Handle: "slot " + strconv.Itoa(k), Slot: k, Version: 1})
		w.keyOf[w.tokens[i][k]] = w.keys[i][k]
	}
	switch w.IntN(25) {
	case 0:
		c.Standing, c.Images = sandbox.Erased, nil
	case 1:
		c.Standing, c.Images = sandbox.Unknown, nil
	case 2:
		c.Standing, c.Owner = sandbox.Merged, c.ID+1_000_000_000
	}
	if err := w.api.Put(c); err != nil {
		panic("simulation: " + err.Error())
	}
}

// putStrangers makes the other brand, some of whose customers have our customers' ids.
// Ours is on record from the start: what was never seen can't be missed.
func (w *world) putStrangers(o sandbox.ModelOptions) {
	w.store.PinOrganization(remoteOrganization)
	w.strangers = sandbox.NewModel(o)
	for i := range w.customers {
		c := sandbox.Customer{ID: int64(firstCustomer + i)}
		switch w.IntN(4) {
		case 0:
			c.Images = []sandbox.Image{{Token: w.strange[i], Handle: "slot 0", Version: 1}}
		case 1:
			c.Standing = sandbox.Unknown
		}
		if err := w.strangers.Put(c); err != nil {
			panic("simulation: " + err.Error())
		}
	}
}

func (w *world) enqueue(t plannedTask) {
	n := memory.NewTask{Organization: w.label(t.batch), Customer: t.customer, Mode: w.mode, Scope: t.scope, DryRun: t.dryRun}
	targets := make(map[jobs.Key]bool)
	for _, k := range t.images {
		key := w.keys[t.customer-firstCustomer][k]
		n.Named = append(n.Named, key)
		targets[key] = true
	}
	id := w.store.Enqueue(w.databaseTime(), t.batch, n)[0]
	w.hist.tasks[id] = &taskHistory{customer: t.customer, batch: t.batch, named: t.images != nil, targets: targets, growing: t.scope == jobs.UntilEmpty}
}

// key is the identity of the image with this token.
func (w *world) key(token string) jobs.Key {
	k, ok := w.keyOf[token]
	if !ok {
		k = jobs.KeyOf(token)
		w.keyOf[token] = k
	}
	return k
}

// clock is the right time; databaseTime the same for the database, which has no
// monotonic clock.
func (w *world) clock() time.Time        { return w.begins.Add(w.now) }
func (w *world) databaseTime() time.Time { return w.clock() }

// run goes on until every task has ended, or until one rests for good.
func (w *world) run() {
	for !w.allEnded() {
		if len(w.queue) == 0 || w.now > longest || w.steps > mostSteps {
			w.hist.rests = append(w.hist.rests, fmt.Sprintf("%v, after %d steps: %s", w.now, w.steps, w.open()))
			return
		}
		w.next()
	}
	// What is still under way comes to its end, too.
	for until := w.now + w.timeout + w.serverMax + w.settle + w.lag; len(w.queue) > 0 && w.queue[0].at <= until; {
		w.next()
	}
}

func (w *world) next() {
	e := heap.Pop(&w.queue).(event)
	w.now = max(w.now, e.at)
	w.steps++
	e.do()
}

func (w *world) allEnded() bool {
	return !slices.ContainsFunc(w.store.Tasks(), func(t *memory.Task) bool { return !t.State.Final() })
}

// open says what the tasks that have not ended wait for.
func (w *world) open() string {
	var out string
	for _, t := range w.store.Tasks() {
		if !t.State.Final() {
			out += fmt.Sprintf("[task %d %s, waits for %q until %v, owner %q, lease until %v] ", t.ID, t.State, t.Waiting, t.Due.Sub(w.begins), t.Owner, t.LeaseUntil.Sub(w.begins))
		}
	}
	for label := int64(1); label <= int64(w.labels); label++ {
		if reason, probe := w.store.Breaker(label); reason != "" {
			out += fmt.Sprintf("breaker %s, probe at %v ", reason, probe.Sub(w.begins))
		}
	}
	return out
}

func (w *world) after(d time.Duration, do func()) {
	w.order++
	heap.Push(&w.queue, event{w.now + d, w.order, do})
}

// quick is a duration nobody notices.
func (w *world) quick() time.Duration { return time.Duration(200+w.IntN(8000)) * time.Microsecond }

// fault says whether something goes wrong now, once in n times; never where n is 0.
func (w *world) fault(n int, what string) bool {
	if n == 0 || w.steps > calmAfter || !w.one(n) {
		return false
	}
	return w.happens(what)
}

// happens numbers a fault, and says whether it is one of those that may happen.
func (w *world) happens(what string) bool {
	w.faults++
	if w.keep != nil && !slices.Contains(w.keep, w.faults) {
		return false
	}
	w.hist.faults[what]++
	w.say("fault %d: %s", w.faults, what)
	return true
}

// say writes a line of the night's history, where anybody reads it.
func (w *world) say(format string, args ...any) {
	if w.trace != nil {
		w.trace(fmt.Sprintf("%12s  ", w.now.Round(time.Millisecond)) + fmt.Sprintf(format, args...))
	}
}

type event struct {
	at    time.Duration
	order int
	do    func()
}

type events []event

func (e events) Len() int { return len(e) }
func (e events) Less(i, j int) bool {
	if e[i].at != e[j].at {
		return e[i].at < e[j].at
	}
	return e[i].order < e[j].order
}
func (e events) Swap(i, j int) { e[i], e[j] = e[j], e[i] }
func (e *events) Push(x any)   { *e = append(*e, x.(event)) }
func (e *events) Pop() any {
	last := (*e)[len(*e)-1]
	*e = (*e)[:len(*e)-1]
	return last
}
