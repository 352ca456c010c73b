// Package memory is the simulation's store: what repository.Store keeps in
// Postgres, kept in memory, with the database's clock handed in.
//
// It is for simulations alone. No purge of a real customer may rest on it, for
// it forgets everything with its process. That it says and does what the
// repository says and does is held by a test in package repository, which
// drives both through the same random histories.
//
// A store is single-threaded, and plays one remote organisation, which may have several
// labels of ours.
package memory

import (
	"cmp"
	"slices"
	"time"

	"github.com/imagepurge/imagepurge/jobs"
	"github.com/imagepurge/imagepurge/jobs/budget"
	"github.com/imagepurge/imagepurge/jobs/purge"
)

// Options say what a store is like.
type Options struct {
	Organization int64
	// Also are further organisations of ours that are the same remote organisation, and
	// use the same API key.
	Also      []int64
	PerMinute int // the limit of the API key; 0: 100
}

// Store plays the database. Its zero value is of no use; see [New].
type Store struct {
	labels []int64 // our organisations
	state
	// server is the number of the server that the database runs on. The row seen
	// says on which it was last noticed.
	server int
	found  []*Task // of the claim under way; kept for its memory
}

// state is everything that is in the database.
type state struct {
	tasks     []*Task // by id, and so by their order: priorities and deadlines are not played
	batches   []batch
	customers []customer
	orgs      []Organization // by label
	key       budget.Row
	remote    int64 // number of the remote organisation; 0: not seen yet

	paused     bool
	seen       int
	claimsFrom time.Time
	epochFloor int64 // epochs up to here hold nothing any more
	workers    []workerRow
}

// Task is a row of image_deletion_tasks with its images and calls.
type Task struct {
	ID              jobs.TaskID
	Batch, Customer int64
	State           jobs.State
	Outcome         jobs.Outcome
	Waiting         jobs.Waiting
	Code            string
	HTTPStatus      int
	Message         string
	Owner           string
	LeaseUntil, Due time.Time
	CreatedAt       time.Time
	StartedAt       time.Time
	VerifiedAt      time.Time
	FinishedAt      time.Time
	Deleted         int
	// Rec is what the claims have handed out, as it stands now. Its images are in
	// the order in which they were first seen.
	Rec purge.Record
	// Calls are in the order of their sequence; Callers says who began each.
	Calls   []jobs.Call
	Callers []Caller

	batch, customer int // indexes
	label           int
	order           time.Time // sort_at: the hour in which it was made
	turn            int       // among those of its batch and order, in the claim under way
}

// Caller is who made a call, under which lease.
type Caller struct {
	Owner string
	Epoch int64
}

type batchState int

const (
	active batchState = iota
	pausedBatch
	cancelledBatch
)

type batch struct {
	id    int64
	state batchState
	label int
	met   int // tasks ready, in the claim under way
}

// customer is a row of customer_leases, where there is one, and the hold.
type customer struct {
	id   int64
	row  bool
	held bool
	Customer
}

// Customer is a row of customer_leases: there while the customer is leased or
// rests. Task is 0 where nobody has the customer.
type Customer struct {
	Task                  jobs.TaskID
	Owner                 string
	Epoch                 int64
	LeaseUntil, RestUntil time.Time
}

// busy says whether nobody else may have the customer.
func (c *customer) busy(now time.Time) bool {
	return c.row && (c.LeaseUntil.After(now) || c.RestUntil.After(now))
}

// Organization is what a row of organizations says of its breaker, and the key's
// budget.
type Organization struct {
	Reason, Code string // Reason is empty while the breaker is closed
	Kind         jobs.Kind
	HTTPStatus   int
	Since        time.Time
	ProbeAt      time.Time
	ProbeDelay   time.Duration
	ProbeTask    jobs.TaskID
	PausedUntil  time.Time // the budget; zero: it was never paused
}

// New returns an empty store.
func New(o Options) *Store {
	s := &Store{labels: append([]int64{o.Organization}, o.Also...)}
	s.orgs = make([]Organization, len(s.labels))
	s.key.Limit = float64(cmp.Or(o.PerMinute, 100))
	return s
}

// NewTask is a task as somebody hands it in. Empty values are given as
// repository's are: mode and scope by the first claim, the due time by the clock.
type NewTask struct {
	Organization int64 // of a new batch; 0: the first
	Customer     int64
	Named        []jobs.Key
	Mode         jobs.Mode
	Scope        jobs.Scope
	DryRun       bool
	Due          time.Time
}

// Enqueue makes tasks, and their batch where it is new, and returns their ids:
// 1, 2, 3 and so on. A cancelled batch takes no more tasks: it returns nil.
func (s *Store) Enqueue(now time.Time, batch int64, tasks ...NewTask) []jobs.TaskID {
	b := s.batchOf(batch, tasks)
	if s.batches[b].state == cancelledBatch {
		return nil
	}
	ids := make([]jobs.TaskID, len(tasks))
	for i, n := range tasks {
		t := &Task{
			ID: jobs.TaskID(len(s.tasks) + 1), Batch: batch, Customer: n.Customer, State: jobs.Pending,
			Due: n.Due, CreatedAt: now, order: now.Truncate(time.Hour), batch: b, label: s.batches[b].label, customer: s.customerOf(n.Customer),
		}
		if t.Due.IsZero() {
			t.Due = now
		}
		if t.Due.After(now) {
			t.Waiting = jobs.WaitDue
		}
		t.Rec = purge.Record{
			Task: t.ID, Batch: batch, Customer: jobs.Customer{ID: n.Customer}, Named: distinct(n.Named),
			Mode: n.Mode, Scope: n.Scope, DryRun: n.DryRun,
		}
		if t.Rec.Named != nil {
			t.Rec.Scope = jobs.Snapshot
		}
		s.tasks = append(s.tasks, t)
		ids[i] = t.ID
	}
	return ids
}

// distinct returns the named images as the database keeps them: each once, in
// order.
func distinct(named []jobs.Key) []jobs.Key {
	if len(named) == 0 {
		return nil
	}
	keys := slices.Clone(named)
	slices.SortFunc(keys, compareKeys)
	return slices.Compact(keys)
}

// batchOf returns the index of a batch, which is made where it is new.
func (s *Store) batchOf(id int64, tasks []NewTask) int {
	if i := s.findBatch(id); i >= 0 {
		return i
	}
	b := batch{id: id}
	if len(tasks) > 0 {
		b.label = max(0, s.label(tasks[0].Organization))
	}
	s.batches = append(s.batches, b)
	return len(s.batches) - 1
}

// label returns the index of an organisation of ours, or -1.
func (s *Store) label(organization int64) int { return slices.Index(s.labels, organization) }

func (s *Store) findBatch(id int64) int {
	return slices.IndexFunc(s.batches, func(b batch) bool { return b.id == id })
}

// customerOf returns the index of a customer, who is noted where he is new.
func (s *Store) customerOf(id int64) int {
	if i := s.findCustomer(id); i >= 0 {
		return i
	}
	s.customers = append(s.customers, customer{id: id})
	return len(s.customers) - 1
}

func (s *Store) findCustomer(id int64) int {
	for i := range s.customers {
		if s.customers[i].id == id {
			return i
		}
	}
	return -1
}

// Task returns a task, or nil. What it points to stays the store's: look, don't
// touch. After a [Store.FailOver] it shows what the other server has.
func (s *Store) Task(id jobs.TaskID) *Task {
	if id < 1 || int(id) > len(s.tasks) {
		return nil
	}
	return s.tasks[id-1]
}

// Tasks returns all tasks by their ids. The list and what it points to stay the
// store's.
func (s *Store) Tasks() []*Task { return s.tasks }

// Customer returns the customer's row of customer_leases, where there is one.
func (s *Store) Customer(id int64) (lease Customer, ok bool) {
	i := s.findCustomer(id)
	if i < 0 || !s.customers[i].row {
		return Customer{}, false
	}
	return s.customers[i].Customer, true
}

// Organization returns the first organisation's breaker and budget.
func (s *Store) Organization() Organization {
	o := s.orgs[0]
	o.PausedUntil = s.key.Pace.PausedUntil
	return o
}

// Breaker says why an organisation's breaker is open, and when it is probed; it returns
// an empty reason while it is closed.
func (s *Store) Breaker(organization int64) (reason string, probeAt time.Time) {
	o := s.orgs[s.label(organization)]
	return o.Reason, o.ProbeAt
}
