package sandbox

import (
	"cmp"
	"maps"
	"slices"
	"sync"
)

// Deed is something other people do to a customer's images.
type Deed string

const (
	DeedUpload  Deed = "upload"  // at the end
	DeedPrepend Deed = "prepend" // in front: shifts every index
	DeedReplace Deed = "replace" // same place and handle, another image
	DeedRemove  Deed = "remove"
)

// Act is one deed beside one request of the caller under test.
type Act struct {
	Request int  // the customer's request it goes with: Entry.Ordinal, from 1
	After   bool // after it executes; else before
	Deed    Deed
	Index   int // for replace and remove; beyond the last image: nothing happens

	wrap bool // take Index modulo the number of images
}

// Others is what other people do while a purge runs. The zero value is nothing.
type Others struct {
	Seed uint64 // 0 means Options.Seed
	// Chance is the probability of each deed beside each request, together at
	// most 1.
	Chance map[Deed]float64
	// MaxPerCustomer ends the drawn deeds of a customer; 0 means 2, negative
	// no end. Scripted ones do not count.
	MaxPerCustomer int
}

// OthersPlan decides what others do. The same seed and the same sequence of a
// customer's requests give the same deeds. It is safe for concurrent use.
type OthersPlan struct {
	o     Others
	deeds []Deed

	mu      sync.Mutex
	done    map[int64]int
	scripts map[int64][]Act
}

// NewOthersPlan returns the plan.
func NewOthersPlan(o Others) *OthersPlan {
	if o.MaxPerCustomer == 0 {
		o.MaxPerCustomer = 2
	}
	return &OthersPlan{
		o: o, deeds: slices.SortedFunc(maps.Keys(o.Chance), cmp.Compare[Deed]),
		done: make(map[int64]int), scripts: make(map[int64][]Act),
	}
}

// Script adds acts to a customer.
func (p *OthersPlan) Script(customer int64, acts []Act) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.scripts[customer] = append(p.scripts[customer], acts...)
}

// Next says what is done before and after a customer's request, scripted acts
// first.
func (p *OthersPlan) Next(customer int64, ordinal int) (before, after []Act) {
	p.mu.Lock()
	defer p.mu.Unlock()
	add := func(a Act) {
		if a.After {
			after = append(after, a)
		} else {
			before = append(before, a)
		}
	}
	for _, a := range p.scripts[customer] {
		if a.Request == ordinal {
			add(a)
		}
	}
	if len(p.deeds) == 0 || (p.o.MaxPerCustomer >= 0 && p.done[customer] >= p.o.MaxPerCustomer) {
		return before, after
	}
	bits := draw(p.o.Seed, saltOthers, customer, int64(ordinal))
	u := unit(bits)
	for _, deed := range p.deeds {
		if u -= p.o.Chance[deed]; u < 0 {
			more := scramble(bits)
			add(Act{Request: ordinal, After: more&1 == 1, Deed: deed, Index: int(more >> 1 % MaxImages), wrap: true})
			p.done[customer]++
			break
		}
	}
	return before, after
}
