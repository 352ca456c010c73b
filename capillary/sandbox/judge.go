package sandbox

import (
	"fmt"
	"maps"
	"slices"
	"time"
)

// Deletion is one image that went, and by whom.
type Deletion struct {
	Removal
	Actor    Actor
	Kind     Kind // upload: replaced by another image
	Customer int64
	Seq      int64 // of its entry
	At       time.Time
	Indexes  []int // as sent
	Fault    Fault
}

// Judge says what a journal shows. It knows nothing of what the program under
// test believes. It is immutable.
type Judge struct {
	entries map[int64][]Entry
}

// NewJudge reads entries in the order of a journal: those of [Journal.Entries]
// or of [ReadNDJSON].
func NewJudge(entries []Entry) *Judge {
	j := &Judge{entries: make(map[int64][]Entry)}
	for _, e := range entries {
		j.entries[e.Customer] = append(j.entries[e.Customer], e)
	}
	return j
}

// Customers are those with an entry, in ascending order.
func (j *Judge) Customers() []int64 {
	ids := slices.Sorted(maps.Keys(j.entries))
	return slices.DeleteFunc(ids, func(id int64) bool { return id == 0 })
}

// Deleted are the customer's images that went, in the order in which they did.
func (j *Judge) Deleted(customer int64) []Deletion {
	var out []Deletion
	for _, e := range j.entries[customer] {
		for _, r := range e.Removed {
			out = append(out, Deletion{
				Removal: r, Actor: e.Actor, Kind: e.Kind, Customer: customer,
				Seq: e.Seq, At: e.ExecutedAt, Indexes: e.Indexes, Fault: e.Fault,
			})
		}
	}
	return out
}

// Violations are the images that the caller under test deleted though they
// were no targets, a sentence each. What others removed is none.
func (j *Judge) Violations(targets func(customer int64, token string) bool) []string {
	var out []string
	for _, customer := range j.Customers() {
		for _, d := range j.Deleted(customer) {
			if d.Actor == ActorAPI && d.Kind == KindDelete && !targets(customer, d.Token) {
				out = append(out, fmt.Sprintf("entry %d: customer %d: DELETE %v removed %s at index %d, which is no target (fault %q)",
					d.Seq, customer, d.Indexes, d.Token, d.Position, d.Fault))
			}
		}
	}
	return out
}

// StrictlyDescending says that each image the caller under test deleted stood
// at a lower index than the one before. True where it deleted none.
func (j *Judge) StrictlyDescending(customer int64) bool {
	last := MaxImages + 1
	for _, d := range j.Deleted(customer) {
		if d.Actor != ActorAPI || d.Kind != KindDelete {
			continue
		}
		if d.Position >= last {
			return false
		}
		last = d.Position
	}
	return true
}

// Calls are the listings and DELETE requests of the caller under test that
// reached the server, refused ones included.
func (j *Judge) Calls(customer int64) (lists, deletes int) {
	for _, e := range j.entries[customer] {
		switch {
		case e.Actor != ActorAPI:
		case e.Kind == KindList:
			lists++
		case e.Kind == KindDelete:
			deletes++
		}
	}
	return lists, deletes
}
