package simulation

import (
	"fmt"
	"time"

	"github.com/imagepurge/imagepurge/jobs"
	"github.com/imagepurge/imagepurge/jobs/schedule"
)

// Size bounds a night, where its seed shall not.
type Size struct {
	Customers int // 0: 1 to 8, by the seed
	Workers   int // 0: 1 to 3, by the seed
	// Calm: nothing goes wrong, and nobody else does anything.
	Calm bool
	// Keep are the faults that may happen, by number; nil: all. Shrinking uses it.
	Keep []int
}

// night is what a seed decides before the night begins. All durations are legal
// settings, and the tightest that are: what is too short shows.
type night struct {
	seed      uint64
	begins    time.Time // UTC
	customers int
	workers   int
	labels    int // organisations of ours that are the one remote organisation
	plan      schedule.Plan
	once      bool

	timeout, lag, serverMax, settle, viewAge, lease time.Duration
	mode                                            jobs.Mode
	batching                                        jobs.Batching
	ascending                                       bool // how the server reads several indexes
	attempts                                        int
	perMinute                                       int
	latency                                         time.Duration // of a call, at most

	tasks []plannedTask

	// How likely things are: once in so many effects, 0: never.
	crashes, freezes, netFaults, dbFaults int
	lies                                  bool // a success that ran nothing
	late429                               bool // a 429 that ran
	sticky                                bool // every DELETE finds no image, and runs nothing
	others                                int  // changes by others
	wild                                  bool // others act at any time, not only when promise 1 allows
	standings                             int  // customers erased or merged on the way
	people                                int  // holds, pauses, cancels
	outages                               int  // of the database
	failOvers                             int
	storms                                int  // of 429s, refused credentials, the API away, another brand's credentials
	strangers                             bool // the credentials may become another brand's
	clockSteps, sleeps                    int
}

type plannedTask struct {
	customer, batch int64
	images          []int // named, by number; nil: all
	scope           jobs.Scope
	dryRun          bool
}

const firstCustomer = 564703420

// plans are the schedules that a night picks from.
func plans() ([]schedule.Plan, error) {
	var all []schedule.Plan
	for _, zone := range []string{"Europe/Berlin", "America/New_York", "Asia/Kolkata", "UTC"} {
		for _, expression := range []string{"30 2 * * *", "0 1 * * *", "0 23 * * *", "*/20 * * * *"} {
			for _, length := range []string{"15m", "1h", "5h"} {
				p, err := schedule.Parse(expression, length, zone)
				if err != nil {
					return nil, fmt.Errorf("schedule %q for %s in %s: %w", expression, length, zone, err)
				}
				all = append(all, p)
			}
		}
	}
	return all, nil
}

// drawNight makes a night of a seed.
func drawNight(seed uint64, size Size, plans []schedule.Plan) night {
	c := newChance(seed, 1)
	n := night{seed: seed, customers: 1 + c.IntN(8), workers: 1 + c.IntN(3), labels: 1 + c.IntN(5)/4}
	if size.Customers > 0 {
		n.customers = size.Customers
	}
	if size.Workers > 0 {
		n.workers = size.Workers
	}
	n.workers = max(n.workers, n.labels)
	n.timeout = pick(c, time.Second, 3*time.Second, 10*time.Second)
	n.lag = pick(c, 0, 2*time.Second, 15*time.Second, 30*time.Second)
	n.serverMax = pick(c, time.Second, 5*time.Second, 40*time.Second)
	n.viewAge = pick(c, 2*time.Second, 10*time.Second)
	n.settle = settleTime(n.serverMax)
	n.lease = 2*(n.timeout+jobs.SendMargin) + pick(c, 0, 0, 10*time.Second, time.Minute)
	n.mode = pick(c, jobs.Verified, jobs.Verified, jobs.Economy, jobs.Paranoid)
	n.attempts = 1 + c.IntN(6)
	n.perMinute = pick(c, 40, 120, 700, 700, 6000)
	n.latency = min(pick(c, 100*time.Millisecond, time.Second), n.timeout*9/10)
	n.batching = jobs.SingleDelete
	if c.one(5) {
		n.batching, n.ascending = jobs.BatchDelete, c.one(2)
	}
	n.begins = time.Unix(0, pick(c, beginnings[:]...)).UTC()
	n.once, n.plan = c.one(3), pick(c, plans...)
	n.drawTasks(c)
	if !size.Calm {
		n.drawFaults(c)
	}
	return n
}

// settleTime is what the setting's text says: how long the server may still run a request
// whose caller is gone, plus a second. What the check asks for beyond that hides nothing.
func settleTime(serverMax time.Duration) time.Duration {
	const stopped = time.Second // between the deadline's check and the write
	return serverMax + stopped
}

// beginnings are evenings in UTC: before the clocks change in Berlin, both ways,
// and two others.
var beginnings = [...]int64{
	1774738800e9, // 28 March 2026, 23:00
	1792882800e9, // 24 October 2026, 23:00
	1780354800e9, // 1 June 2026, 23:00
	1798758000e9, // 31 December 2026, 23:00
}

func (n *night) drawTasks(c chance) {
	for i := range n.customers {
		id := int64(firstCustomer + i)
		for range 1 + c.IntN(6)/(6-n.labels) { // sometimes two tasks of one customer
			t := plannedTask{customer: id, batch: int64(1 + c.IntN(2*n.labels)), scope: jobs.Snapshot}
			switch c.IntN(6) {
			case 0, 1:
				for k := range 6 { // 5 is an image that isn't there
					if c.one(2) {
						t.images = append(t.images, k)
					}
				}
			case 2:
				t.scope = jobs.UntilEmpty
			case 3:
				t.dryRun = c.one(5)
			}
			n.tasks = append(n.tasks, t)
		}
	}
}

func (n *night) drawFaults(c chance) {
	n.crashes = pick(c, 0, 0, 60, 300)
	n.freezes = pick(c, 0, 0, 60, 300)
	n.netFaults = pick(c, 0, 4, 12, 60)
	n.dbFaults = pick(c, 0, 0, 25, 120)
	n.lies = n.mode != jobs.Economy && n.batching != jobs.BatchDelete && c.one(4)
	n.late429 = n.lag == 0 && c.one(4)
	if c.one(3) {
		n.others, n.wild = 1+c.IntN(1+n.customers/2), c.one(3)
	}
	some := func(oneIn int) int {
		if !c.one(oneIn) {
			return 0
		}
		return 1 + c.IntN(2)
	}
	n.standings = some(4)
	n.people = some(5)
	n.outages = some(4)
	n.failOvers = some(10)
	n.storms = some(6)
	n.strangers = n.storms > 0 && c.one(2)
	n.clockSteps = some(8)
	n.sleeps = some(10)
	n.sticky = c.one(40)
}

// label is the organisation that a batch, or a worker, belongs to.
func (n *night) label(i int64) int64 { return 1 + i%int64(n.labels) }

func (n night) String() string {
	return fmt.Sprintf("%s, %s, %d customers, %d tasks, %d workers, %d labels, %v; time-out %v, lag %v, server %v, settle %v, view %v, lease %v; %d a minute, latency to %v, %d attempts, once %v",
		n.mode, n.batching, n.customers, len(n.tasks), n.workers, n.labels, n.plan, n.timeout, n.lag, n.serverMax, n.settle, n.viewAge, n.lease, n.perMinute, n.latency, n.attempts, n.once)
}
