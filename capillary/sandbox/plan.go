package sandbox

import (
	"cmp"
	"maps"
	"slices"
	"sync"
	"time"
)

// Faults is what goes wrong how often. The zero value is nothing.
type Faults struct {
	Seed uint64 // 0 means Options.Seed
	// Chance is the probability of each kind, per request it can meet;
	// together at most 1.
	Chance map[Fault]float64
	// Count is how many customers of the population, chosen by the seed among
	// those present with images, meet each kind once: at their first delete,
	// or for FaultStaleListing at their second listing. One customer meets
	// none twice, and several kinds only when there are too few customers.
	Count map[Fault]int
	// MaxPerCustomer ends the drawn faults of a customer, so that purges end;
	// 0 means 3, negative no end. Scripted and counted ones do not count.
	MaxPerCustomer int
	// LateBy is the longest delay of a late execution, the shortest is half of
	// it; 0 means 5 seconds.
	LateBy time.Duration
	// StaleBy is how old the state is that a stale listing shows; 0 means 10
	// seconds.
	StaleBy time.Duration
	// HugeBytes is the length of a huge body; 0 means 1 GiB.
	HugeBytes int64
}

func (f Faults) withDefaults() Faults {
	f.MaxPerCustomer = cmp.Or(f.MaxPerCustomer, 3)
	f.LateBy = cmp.Or(f.LateBy, 5*time.Second)
	f.StaleBy = cmp.Or(f.StaleBy, 10*time.Second)
	f.HugeBytes = cmp.Or(f.HugeBytes, 1<<30)
	return f
}

// Plan decides which request meets which fault. The same seed, scripts and
// sequence of a customer's requests give the same faults, whatever other
// customers do meanwhile. It is safe for concurrent use.
type Plan struct {
	f     Faults
	kinds []Fault

	mu      sync.Mutex
	seen    map[int64]tally
	scripts map[scriptKey][]Fault
}

type tally struct{ requests, lists, drawn int32 }

type scriptKey struct {
	customer int64
	kind     Kind // "": any
}

// NewPlan returns the plan. The population is where Count chooses from.
func NewPlan(f Faults, p Population) *Plan {
	plan := &Plan{
		f: f.withDefaults(), kinds: slices.SortedFunc(maps.Keys(f.Chance), cmp.Compare[Fault]),
		seen: make(map[int64]tally), scripts: make(map[scriptKey][]Fault),
	}
	plan.choose(p)
	return plan
}

// choose turns counts into scripts.
func (p *Plan) choose(pop Population) {
	taken := make(map[int64]int) // by how many kinds
	for n, fault := range slices.Sorted(maps.Keys(p.f.Count)) {
		mine := make(map[int64]bool)
		script := func(id int64) {
			taken[id]++
			mine[id] = true
			key := scriptKey{id, KindDelete}
			if !fault.Meets(KindDelete) {
				key.kind = KindList
			}
			if key.kind == KindList && len(p.scripts[key]) == 0 {
				p.scripts[key] = []Fault{NoFault} // nothing is stale at the first listing
			}
			p.scripts[key] = append(p.scripts[key], fault)
		}
		// From a drawn start through the whole range, first sparing the
		// customers that other kinds have taken. The stride is a prime, so it
		// comes by each id once and does not choose neighbours.
		const stride = 2654435761
		for crowd := 0; len(mine) < p.f.Count[fault] && crowd <= len(p.f.Count); crowd++ {
			start := 0
			if pop.Len() > 0 {
				start = int(draw(p.f.Seed, saltCounted, int64(n), int64(crowd)) % uint64(pop.Len()))
			}
			for i := 0; i < pop.Len() && len(mine) < p.f.Count[fault]; i++ {
				id := pop.ID((start + i*stride) % pop.Len())
				standing := pop.standing(id)
				if standing == Present && pop.images(id, standing) > 0 && !mine[id] && taken[id] == crowd {
					script(id)
				}
			}
		}
	}
}

// Script says what happens to the customer's next requests, of any kind, one
// after the other; NoFault lets one pass. A fault that cannot meet the request
// it falls upon waits for the next one it can.
func (p *Plan) Script(customer int64, faults []Fault) { p.ScriptKind(customer, "", faults) }

// ScriptKind is Script for the customer's requests of one kind. It goes before
// Script.
func (p *Plan) ScriptKind(customer int64, kind Kind, faults []Fault) {
	p.mu.Lock()
	defer p.mu.Unlock()
	key := scriptKey{customer, kind}
	p.scripts[key] = append(p.scripts[key], faults...)
}

// Next counts a customer's request and says what happens to it. The ordinal is
// the request's number among this customer's, from 1.
func (p *Plan) Next(customer int64, kind Kind) (ordinal int, fault Fault) {
	p.mu.Lock()
	defer p.mu.Unlock()
	t := p.seen[customer]
	t.requests++
	if kind == KindList {
		t.lists++
	}
	defer func() { p.seen[customer] = t }()
	ordinal = int(t.requests)
	for _, key := range []scriptKey{{customer, kind}, {customer, ""}} {
		if script := p.scripts[key]; len(script) > 0 && script[0].Meets(kind) {
			p.scripts[key] = script[1:]
			return ordinal, script[0]
		}
	}
	if len(p.kinds) == 0 || (p.f.MaxPerCustomer >= 0 && int(t.drawn) >= p.f.MaxPerCustomer) {
		return ordinal, NoFault
	}
	u := unit(draw(p.f.Seed, saltFault, customer, int64(ordinal)))
	for _, kindOfFault := range p.kinds {
		if !kindOfFault.Meets(kind) {
			continue
		}
		if u -= p.f.Chance[kindOfFault]; u < 0 {
			t.drawn++
			return ordinal, kindOfFault
		}
	}
	return ordinal, NoFault
}

// LateBy is the delay of a customer's late request.
func (p *Plan) LateBy(customer int64, ordinal int) time.Duration {
	u := unit(draw(p.f.Seed, saltLate, customer, int64(ordinal)))
	return p.f.LateBy/2 + time.Duration(u*float64(p.f.LateBy/2))
}
