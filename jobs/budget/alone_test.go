package budget_test

import (
	"time"

	"github.com/imagepurge/imagepurge/jobs/budget"
)

// alone is one process with a row that answers at once.
type alone struct {
	*budget.Budget
	row budget.Row
}

func newAlone(perMinute, concurrency int) *alone {
	return &alone{
		budget.New(budget.Config{PerMinute: perMinute, Concurrency: concurrency, ViewMaxAge: 10 * time.Second, Random: func() float64 { return 0 }}),
		budget.Row{Limit: float64(perMinute)},
	}
}

// grant is Grant with all that can be reserved now.
func (a *alone) grant(now time.Time) (granted []budget.ID, next time.Time) {
	for {
		got, at := a.Grant(now)
		granted = append(granted, got...)
		ask, asks, again := a.Ask(now)
		if !asks {
			if at.IsZero() || !again.IsZero() && again.Before(at) {
				at = again
			}
			return granted, at
		}
		var block budget.Block
		a.row, block = a.row.Reserve(now, ask)
		a.Reserved(now, now, block)
	}
}

// drain grants slots one by one, with every call answered at once.
func (a *alone) drain(now time.Time, most int) (order []budget.ID) {
	for range most {
		got, next := a.grant(now)
		for _, id := range got {
			a.Leaves(id, now)
			a.Forget(id)
		}
		order = append(order, got...)
		if next.IsZero() {
			break
		}
		now = next
	}
	return order
}
