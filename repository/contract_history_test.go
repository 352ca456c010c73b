package repository_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/imagepurge/imagepurge/jobs"
	"github.com/imagepurge/imagepurge/jobs/purge"
	"github.com/imagepurge/imagepurge/jobs/worker"
	"github.com/imagepurge/imagepurge/repository"
	"github.com/imagepurge/imagepurge/simulation/memory"
)

// history is one seed's.
type history struct {
	seed  uint64
	rng   *rand.Rand
	start time.Time
	now   time.Time
	done  []operation
	met   map[string]int

	hands  []*hand
	leases []leaseOf     // ever claimed
	past   []purge.Write // ever written
	images map[int64][]jobs.Key
	fresh  int
}

type leaseOf struct {
	owner string
	purge.Lease
}

// workerOf is a worker's settings: they differ, for one's must never shorten
// what another's has set.
type workerOf struct {
	name           string
	lease, timeout time.Duration
	settle         time.Duration
}

var contractWorkers = []workerOf{
	{"w1", 90 * time.Second, 5 * time.Second, 40 * time.Second},
	{"w2", 50 * time.Second, 12 * time.Second, 70 * time.Second},
	{"w3", 150 * time.Second, 5 * time.Second, 40 * time.Second},
}

func workerNamed(name string) workerOf {
	i := slices.IndexFunc(contractWorkers, func(w workerOf) bool { return w.name == name })
	return contractWorkers[max(i, 0)]
}

func (w workerOf) terms() purge.Terms {
	return purge.Terms{Organization: 1, Lease: w.lease, RequestTimeout: w.timeout, Host: "host"}
}

func (h *history) below(n int) int         { return h.rng.IntN(n) }
func (h *history) chance(percent int) bool { return h.rng.IntN(100) < percent }

func oneOf[E any](h *history, of ...E) E { return of[h.below(len(of))] }

func (h *history) between(from, to time.Duration) time.Duration {
	return from + time.Duration(h.rng.Int64N(int64((to-from)/time.Millisecond)))*time.Millisecond
}

// run plays one seed's history on both stores.
func (c *contract) run(seed uint64) {
	c.reset()
	c.mem = memory.New(memory.Options{Organization: 1})
	start := time.Date(2026, 3, 4, 1, 0, 0, 0, time.UTC)
	c.history = history{
		seed: seed, rng: rand.New(rand.NewPCG(seed, 1)), start: start, now: start,
		met: make(map[string]int), images: make(map[int64][]jobs.Key),
	}
	for b := range int64(contractBatches) {
		c.mem.Enqueue(c.now, b+1)
	}
	for range 4 {
		c.now = c.now.Add(3 * time.Second)
		c.do("enqueue", c.enqueue)
	}
	for range contractLength {
		c.step()
	}
}

// step lets some time pass and does one thing.
func (c *contract) step() {
	c.now = c.now.Add(c.between(3*time.Second, 8*time.Second))
	var weighed []func()
	add := func(weight int, name string, f func() string) {
		for range weight {
			weighed = append(weighed, func() { c.do(name, f) })
		}
	}
	add(18, "claim", c.claim)
	add(4, "renew", c.renew)
	add(3, "reclaim", c.reclaim)
	add(2, "sweep", c.sweep)
	add(2, "note server", c.noteServer)
	add(4, "time passes", c.letTimePass)
	add(8, "stale write", c.staleWrite)
	add(5, "people", func() string { return c.somebody(oneOf(&c.history, whatPeopleDo()...)) })
	if slices.ContainsFunc(c.mem.Tasks(), ended) {
		add(8, "people", func() string { return c.somebody("retry") })
	}
	if o := c.mem.Outlook(c.now, 1, 0); o.Paused {
		add(20, "people", func() string { return c.somebody("resume") })
	} else if o.Blocked || o.Breaker != "" {
		add(4, "people", func() string { return c.somebody(oneOf(&c.history, "resume batch", "close breaker")) })
	}
	if len(c.mem.Tasks()) < 20 {
		add(2, "enqueue", c.enqueue)
	}
	if len(c.hands) > 0 {
		add(34, "write", c.work)
		add(1, "crash", c.crash)
	}
	weighed[c.below(len(weighed))]()
}

// do does one operation and compares what it left.
func (c *contract) do(name string, f func() string) {
	c.pass()
	c.done = append(c.done, operation{at: c.now.Sub(c.start), name: name})
	what := f()
	c.done[len(c.done)-1].what = what
	c.outlook()
	theirs, ours := c.databaseView(), memoryView(c.mem)
	theirs.agree(&ours)
	if !reflect.DeepEqual(theirs, ours) {
		c.differ("what is stored", gocmp.Diff(theirs, ours))
	}
}

// same compares what an operation returned.
func (c *contract) same(what string, repository, memory any) {
	if diff := gocmp.Diff(repository, memory, contractOptions); diff != "" {
		c.done[len(c.done)-1].what = what
		c.differ("what was returned", diff)
	}
}

// steps are what histories consist of, and what must have come of them.
func steps() []string {
	all := append(whatPeopleDo(), "enqueue", "claim", "renew", "reclaim", "sweep", "note server", "time passes", "stale write", "people", "write", "crash",
		"fail-over", "claimed", "probe", "renewed", "reclaimed", "retried", "applied", "gave back", "finished", "against a constraint")
	for _, why := range []purge.Refusal{purge.LeaseLost, purge.LeaseShort, purge.Paused, purge.HeldBack, purge.CancelledBy, purge.BreakerOpen, purge.BudgetPause} {
		all = append(all, "refused "+string(why))
	}
	return all
}

// edges are the times at which something begins or ends.
func (c *contract) edges() (at []time.Time) {
	o := c.mem.Organization()
	at = append(at, o.ProbeAt, o.PausedUntil, c.mem.Outlook(c.now, 1, 0).NoClaimsUntil)
	for _, t := range c.mem.Tasks() {
		at = append(at, t.Due, t.LeaseUntil)
		l, _ := c.mem.Customer(t.Customer)
		at = append(at, l.LeaseUntil, l.RestUntil)
		for _, w := range contractWorkers { // where an intent's lease becomes too short
			at = append(at, l.LeaseUntil.Add(-w.timeout-jobs.SendMargin))
		}
	}
	return at
}

// letTimePass goes on for a while, or to the very moment at which something ends.
func (c *contract) letTimePass() string {
	to := c.now.Add(c.between(10*time.Second, 100*time.Second))
	ahead := slices.DeleteFunc(c.edges(), func(e time.Time) bool { return !e.After(c.now) || !e.Equal(e.Truncate(time.Microsecond)) })
	if len(ahead) > 0 && c.chance(60) {
		to = oneOf(&c.history, ahead...)
	}
	passed := to.Sub(c.now)
	c.now = to
	c.pass()
	return passed.String()
}

func (c *contract) enqueue() string {
	batch := int64(1 + c.below(contractBatches))
	var made []memory.NewTask
	for range 1 + c.below(4) {
		n := memory.NewTask{Customer: int64(1 + c.below(5)), DryRun: c.chance(8)}
		if c.chance(60) {
			n.Mode, n.Scope = oneOf(&c.history, jobs.Verified, jobs.Economy, jobs.Paranoid), oneOf(&c.history, jobs.Snapshot, jobs.UntilEmpty)
		}
		if c.chance(15) {
			n.Due = c.now.Add(c.between(-time.Minute, 2*time.Minute))
			if n.Due.Sub(c.now).Abs() < 3*time.Second {
				n.Due = time.Time{}
			}
		}
		if c.chance(25) {
			n.Scope = ""
			for range 1 + c.below(3) {
				n.Named = append(append(n.Named, c.newImage()), c.imagesOf(n.Customer)...)
			}
		}
		made = append(made, n)
	}
	var cancelled bool
	for _, n := range made {
		var named []string
		for _, k := range n.Named {
			named = append(named, hexKey(k))
		}
		_, err := c.d.tryAs("", `INSERT INTO image_deletion_tasks (batch_id, customer_id, image_tokens, mode, scope, dry_run, due_at)
			VALUES ($1, $2, $3, nullif($4, ''), nullif($5, ''), $6, $7)`,
			batch, n.Customer, named, string(n.Mode), string(n.Scope), n.DryRun, orNull(n.Due))
		cancelled = err != nil
	}
	ids := c.mem.Enqueue(c.now, batch, made...)
	c.same("", cancelled, ids == nil)
	if cancelled { // a refused row uses up an id
		c.d.by("SELECT setval(pg_get_serial_sequence('image_deletion_tasks', 'id'), $1)", max(1, len(c.mem.Tasks())))
	}
	return fmt.Sprintf("batch %d, tasks %v: %s", batch, ids, short(made))
}

func (c *contract) claim() string {
	w := oneOf(&c.history, contractWorkers...)
	ask := purge.Claim{
		Organization: 1, Owner: w.name, Lease: w.lease, Limit: oneOf(&c.history, 0, 1, 1, 2, 3, 50, 50), Mode: jobs.Verified, Scope: jobs.Snapshot,
		Source: "INSTORE", AccountID: oneOf(&c.history, "", "a1"), Probe: c.chance(60), ProbeNow: c.chance(15),
		After: int64(c.below(contractBatches + 1)),
	}
	if c.chance(25) {
		ask.Batch = int64(1 + c.below(contractBatches))
	}
	if c.chance(10) {
		ask.Only = []jobs.TaskID{}
		for _, t := range c.mem.Tasks() {
			if c.chance(40) {
				ask.Only = append(ask.Only, t.ID)
			}
		}
	}
	if c.dueAtOnce() { // which of them comes first is not said
		ask.Limit = 50
	}
	what := fmt.Sprintf("by %s, limit %d, batch %d, only %v, probe %t %t", w.name, ask.Limit, ask.Batch, ask.Only, ask.Probe, ask.ProbeNow)
	got, err := c.d.ClaimTasks(c.d.ctx, ask)
	if err != nil {
		c.d.Fatalf("%s: %v\n%s", what, err, c.story())
	}
	ours := c.mem.ClaimTasks(c.now, ask)
	sameOrder(got)
	sameOrder(ours)
	c.same(what, got, ours)
	for _, r := range ours {
		c.met["claimed"]++
		if r.Probe {
			c.met["probe"]++
		}
		c.leases = append(c.leases, leaseOf{w.name, purge.Lease{Task: r.Task, Epoch: r.Epoch}})
		c.take(w, r)
		what += fmt.Sprintf(", got %d (epoch %d)", r.Task, r.Epoch)
	}
	return what
}

// dueAtOnce says whether two waiting tasks are due at times so close that their
// order is not certain.
func (c *contract) dueAtOnce() bool {
	var due []time.Time
	for _, t := range c.mem.Tasks() {
		if t.State == jobs.Pending && t.Waiting != "" {
			due = append(due, t.Due)
		}
	}
	slices.SortFunc(due, time.Time.Compare)
	for i := 1; i < len(due); i++ {
		if due[i].Sub(due[i-1]) < 2*time.Second {
			return true
		}
	}
	return false
}

func (c *contract) renew() string {
	w := oneOf(&c.history, contractWorkers...)
	var leases []purge.Lease
	for i, l := range c.leases {
		recent := i >= len(c.leases)-12
		if (l.owner == w.name || c.chance(5)) && (recent && c.chance(80) || c.chance(10)) {
			leases = append(leases, l.Lease)
		}
	}
	got, err := c.d.RenewLeases(c.d.ctx, w.name, leases, w.lease)
	if err != nil {
		c.d.Fatal(err)
	}
	ours := c.mem.RenewLeases(c.now, w.name, leases, w.lease)
	slices.Sort(got)
	slices.Sort(ours)
	c.met["renewed"] += len(ours)
	what := fmt.Sprintf("by %s: %v, kept %v", w.name, leases, ours)
	c.same(what, got, ours)
	return what
}

func (c *contract) reclaim() string {
	got, err := c.d.ReclaimTasks(c.d.ctx)
	if err != nil {
		c.d.Fatal(err)
	}
	ours := c.mem.ReclaimTasks(c.now)
	c.same("", got, ours)
	c.met["reclaimed"] += ours
	return fmt.Sprint(ours)
}

func (c *contract) sweep() string {
	if err := c.d.SweepRests(c.d.ctx); err != nil {
		c.d.Fatal(err)
	}
	c.mem.SweepRests(c.now)
	return ""
}

func (c *contract) noteServer() string {
	if c.chance(12) {
		c.d.by("UPDATE server_identity SET timeline = 'another'")
		c.mem.FailOver(c.mem.Snapshot())
		c.met["fail-over"]++
	}
	got, err := c.d.NoteServer(c.d.ctx, time.Minute)
	if err != nil {
		c.d.Fatal(err)
	}
	ours := c.mem.NoteServer(c.now, time.Minute)
	c.same("", got, ours)
	return fmt.Sprint(ours)
}

// outlook compares what both say is left to do.
func (c *contract) outlook() {
	batch := int64(c.below(contractBatches + 1))
	got, err := c.d.Outlook(c.d.ctx, 1, batch)
	if err != nil {
		c.d.Fatal(err)
	}
	c.same(fmt.Sprintf("%s; outlook of batch %d", c.done[len(c.done)-1].what, batch), got, c.mem.Outlook(c.now, 1, batch))
}

var operator = repository.Person{Name: memory.PausedBy, Host: "desk"}

func whatPeopleDo() []string {
	return []string{"pause", "resume", "pause batch", "pause batch", "resume batch", "cancel batch", "hold", "release", "release", "release", "close breaker", "retry"}
}

// ended says whether a task has ended in a way that people can retry.
func ended(t *memory.Task) bool { return t.State == jobs.Failed || t.State == jobs.Review }

// somebody does one of the things that people do.
func (c *contract) somebody(what string) string {
	customer, batch := int64(1+c.below(5)), int64(1+c.below(contractBatches))
	for _, t := range c.mem.Tasks() { // rather to one whom it concerns
		if what == "retry" && ended(t) && c.chance(70) || what != "retry" && t.State == jobs.Running && c.chance(40) {
			customer, batch = t.Customer, t.Batch
		}
	}
	return c.person(what, batch, customer)
}

// interfere lets people forbid an intent that is about to be written, in several
// ways: which of them is named is promised, too.
func (c *contract) interfere(w purge.Write) (what string) {
	for range 1 + c.below(3) {
		ban := oneOf(&c.history, "pause", "pause", "pause batch", "pause batch", "hold", "hold", "cancel batch")
		what += "people first: " + c.person(ban, c.mem.Task(w.Task).Batch, w.Customer.ID) + "; "
	}
	return what
}

func (c *contract) person(what string, batch, customer int64) string {
	ctx, d, m := c.d.ctx, c.d, c.mem
	c.met[what]++
	var err error
	switch what {
	case "pause":
		_, err = d.Pause(ctx, operator, 1, memory.PauseReason)
		m.Pause(c.now)
	case "resume":
		_, err = d.Resume(ctx, operator, 1, "r")
		m.Resume(c.now)
	case "pause batch":
		err = d.PauseBatch(ctx, operator, batch, "r")
		m.PauseBatch(c.now, batch)
	case "resume batch":
		err = d.ResumeBatch(ctx, operator, batch, "r")
		m.ResumeBatch(c.now, batch)
	case "cancel batch":
		_, err = d.CancelBatch(ctx, operator, batch, "r")
		m.CancelBatch(c.now, batch)
	case "hold":
		d.by("INSERT INTO legal_holds (organization_id, customer_id, held_by, reason) VALUES (1, $1, 'ann', 'court') ON CONFLICT DO NOTHING", customer)
		m.Hold(customer)
	case "release":
		d.by("UPDATE legal_holds SET released_at = clock_timestamp(), released_by = 'ann' WHERE released_at IS NULL AND customer_id = $1", customer)
		m.Release(customer)
	case "retry":
		var got int64
		review := c.chance(60)
		got, err = d.RetryBatch(ctx, operator, batch, "r", review)
		ours := m.RetryBatch(c.now, batch, review)
		c.same(what, int(got), ours)
		c.met["retried"] += ours
	case "close breaker":
		_, err = d.CloseBreaker(ctx, operator, "default", "r")
		m.CloseBreaker(c.now)
	}
	if se := (*repository.StateError)(nil); err != nil && !errors.As(err, &se) {
		d.Fatal(err)
	}
	return fmt.Sprintf("%s (batch %d, customer %d)", what, batch, customer)
}

// write writes a group to both stores and compares what came of it. What broke a
// constraint changed nothing; ok is false then.
func (c *contract) write(w workerOf, ws []purge.Write) (results []purge.Result, ok bool) {
	got, err := c.d.Write(c.d.ctx, w.terms(), ws)
	if err != nil && !errors.Is(err, worker.ErrRefusedByDatabase) {
		c.d.Fatalf("%s: %v\n%s", short(ws), err, c.story())
	}
	results, broken := c.writeMemory(w, ws)
	what := fmt.Sprintf("%s; repository: %v, memory: %v", short(ws), err, broken)
	c.same(what, err != nil, broken != nil)
	if err != nil {
		c.met["against a constraint"]++
		return nil, false
	}
	c.same(what, intents(got), intents(results))
	c.same(what, got, results)
	for _, r := range results {
		if r.Applied {
			c.met["applied"]++
		} else {
			c.met["refused "+string(r.Refused)]++
		}
	}
	return results, true
}

func (c *contract) writeMemory(w workerOf, ws []purge.Write) (results []purge.Result, broken *memory.ConstraintError) {
	defer func() {
		if p := recover(); p != nil {
			var ok bool
			if broken, ok = p.(*memory.ConstraintError); !ok {
				panic(p)
			}
		}
	}()
	return c.mem.Write(c.now, time.Now(), w.terms(), ws), nil
}

// intents tells the clearances of results apart by what they permit.
func intents(rs []purge.Result) (permitted []string) {
	for _, r := range rs {
		said := ""
		if r.Clearance != nil {
			in := r.Clearance.Intent()
			in.BeganAt = time.Time{}
			said = fmt.Sprintf("%+v", in)
		}
		permitted = append(permitted, said)
	}
	return permitted
}
