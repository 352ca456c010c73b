package sandbox

import (
	"math"
	"time"
)

// packed is an Entry as the journal keeps it: a quarter of its size, so that
// the purge of a million customers fits.
type packed struct {
	received, executed    int64 // nanoseconds of Unix time, or noTime
	customer              int64
	lists                 *lists // nil: all empty
	ordinal, status, code int32
	previous              int32 // number of this customer's entry before; 0: none
	before, after         int8
	actor, kind           uint8 // words
	fault, proto          uint8
	executedFlag          bool
	answered              bool
}

type lists struct {
	indexes []int
	removed []Removal
	added   []string
}

const noTime = math.MinInt64

// words gives short numbers to the few texts that entries repeat.
type words struct {
	number map[string]uint8
	text   []string
}

func (w *words) of(text string) uint8 {
	if n, ok := w.number[text]; ok {
		return n
	}
	if w.number == nil {
		w.number = make(map[string]uint8)
	}
	if len(w.text) > math.MaxUint8 {
		panic("sandbox: more kinds of entries than a journal has numbers for")
	}
	n := uint8(len(w.text))
	w.number[text] = n
	w.text = append(w.text, text)
	return n
}

func (w *words) pack(e Entry, previous int32) packed {
	p := packed{
		received: packTime(e.ReceivedAt), executed: packTime(e.ExecutedAt), customer: e.Customer,
		ordinal: int32(e.Ordinal), status: int32(e.Status), code: int32(e.Code), previous: previous,
		before: int8(e.Before), after: int8(e.After),
		actor: w.of(string(e.Actor)), kind: w.of(string(e.Kind)), fault: w.of(string(e.Fault)), proto: w.of(e.Proto),
		executedFlag: e.Executed, answered: e.Answered,
	}
	if len(e.Indexes)+len(e.Removed)+len(e.Added) > 0 {
		p.lists = &lists{e.Indexes, e.Removed, e.Added}
	}
	return p
}

func (w *words) unpack(p *packed, seq int64) Entry {
	e := Entry{
		Seq: seq, ReceivedAt: unpackTime(p.received), ExecutedAt: unpackTime(p.executed), Customer: p.customer,
		Ordinal: int(p.ordinal), Status: int(p.status), Code: int(p.code), Before: int(p.before), After: int(p.after),
		Actor: Actor(w.text[p.actor]), Kind: Kind(w.text[p.kind]), Fault: Fault(w.text[p.fault]), Proto: w.text[p.proto],
		Executed: p.executedFlag, Answered: p.answered,
	}
	if p.lists != nil {
		e.Indexes, e.Removed, e.Added = p.lists.indexes, p.lists.removed, p.lists.added
	}
	return e
}

func packTime(t time.Time) int64 {
	if t.IsZero() {
		return noTime
	}
	return t.UnixNano()
}

func unpackTime(n int64) time.Time {
	if n == noTime {
		return time.Time{}
	}
	return time.Unix(0, n).UTC()
}
