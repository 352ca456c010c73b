package sandbox

import (
	"testing"
	"time"
)

// From inside, since what is forgotten shows nowhere but in memory.
func TestModelForgetsThePastOfEachCustomer(t *testing.T) {
	t.Parallel()
	p := Populate(1, 100, PopulateOptions{Images: [6]float64{0, 0, 0, 1}})
	m := NewModel(ModelOptions{Population: p, MaxLag: 10 * time.Second})
	now := time.Date(2026, 6, 1, 0, 0, 0, 0, time.UTC)
	for i := range p.Len() {
		m.List(now, p.ID(i), 0)
	}
	if len(m.touched) != 0 {
		t.Errorf("%d customers kept after listings alone", len(m.touched))
	}
	for i := range p.Len() {
		m.Delete(now, p.ID(i), 0)
		m.Delete(now, p.ID(i), 0)
		now = now.Add(time.Second)
	}
	past := 0
	for _, s := range m.touched {
		past += len(s.past)
	}
	if past != 20 || len(m.changes) != 20 {
		t.Errorf("%d past states and %d changes kept, want those of 10 s: 20", past, len(m.changes))
	}
}
