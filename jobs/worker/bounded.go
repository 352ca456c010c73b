package worker

import (
	"context"
	"time"

	"github.com/imagepurge/imagepurge/jobs"
	"github.com/imagepurge/imagepurge/jobs/budget"
	"github.com/imagepurge/imagepurge/jobs/purge"
)

// bounded is a store whose every call ends. A connection that fell silent, as
// behind a firewall that has forgotten it, would hold up its caller for a quarter
// of an hour, and the worker's two writers with it.
type bounded struct {
	Store
	limit time.Duration
}

// storeLimit is far more than any statement takes. Its leases are lost to a worker
// that waits for longer than one.
const storeLimit = 30 * time.Second

func bind(s Store, lease time.Duration) Store { return bounded{s, min(lease, storeLimit)} }

func (b bounded) ClaimTasks(ctx context.Context, c purge.Claim) ([]purge.Record, error) {
	ctx, cancel := context.WithTimeout(ctx, b.limit)
	defer cancel()
	return b.Store.ClaimTasks(ctx, c)
}

func (b bounded) RenewLeases(ctx context.Context, owner string, leases []purge.Lease, d time.Duration) ([]jobs.TaskID, error) {
	ctx, cancel := context.WithTimeout(ctx, b.limit)
	defer cancel()
	return b.Store.RenewLeases(ctx, owner, leases, d)
}

func (b bounded) Write(ctx context.Context, t purge.Terms, w []purge.Write) ([]purge.Result, error) {
	ctx, cancel := context.WithTimeout(ctx, b.limit)
	defer cancel()
	return b.Store.Write(ctx, t, w)
}

func (b bounded) Outlook(ctx context.Context, organization, batch int64) (purge.Outlook, error) {
	ctx, cancel := context.WithTimeout(ctx, b.limit)
	defer cancel()
	return b.Store.Outlook(ctx, organization, batch)
}

func (b bounded) ReclaimTasks(ctx context.Context) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, b.limit)
	defer cancel()
	return b.Store.ReclaimTasks(ctx)
}

func (b bounded) NoteServer(ctx context.Context, rest time.Duration) (changed bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, b.limit)
	defer cancel()
	return b.Store.NoteServer(ctx, rest)
}

func (b bounded) SweepRests(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, b.limit)
	defer cancel()
	return b.Store.SweepRests(ctx)
}

func (b bounded) FoldArrivals(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, b.limit)
	defer cancel()
	return b.Store.FoldArrivals(ctx)
}

func (b bounded) ReserveSlots(ctx context.Context, organization int64, a budget.Ask) (budget.Block, error) {
	ctx, cancel := context.WithTimeout(ctx, b.limit)
	defer cancel()
	return b.Store.ReserveSlots(ctx, organization, a)
}

func (b bounded) NoteOverLimit(ctx context.Context, organization int64, age, asked time.Duration) (budget.Learnt, error) {
	ctx, cancel := context.WithTimeout(ctx, b.limit)
	defer cancel()
	return b.Store.NoteOverLimit(ctx, organization, age, asked)
}

func (b bounded) StepPace(ctx context.Context, organization int64) (budget.Learnt, error) {
	ctx, cancel := context.WithTimeout(ctx, b.limit)
	defer cancel()
	return b.Store.StepPace(ctx, organization)
}

func (b bounded) PinOrganization(ctx context.Context, organization, number int64) (int64, error) {
	ctx, cancel := context.WithTimeout(ctx, b.limit)
	defer cancel()
	return b.Store.PinOrganization(ctx, organization, number)
}

func (b bounded) Beat(ctx context.Context, beat Beat) (Fleet, error) {
	ctx, cancel := context.WithTimeout(ctx, b.limit)
	defer cancel()
	return b.Store.Beat(ctx, beat)
}
