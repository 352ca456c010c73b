package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"testing"
	"time"

	"github.com/imagepurge/imagepurge/capillary/sandbox"
	"github.com/imagepurge/imagepurge/internal/pgtest"
	"github.com/imagepurge/imagepurge/internal/term"
	"github.com/imagepurge/imagepurge/repository"
)

// numbers yields consecutive customer ids.
type numbers struct{ next, end int64 }

func (n *numbers) Next() (int, int64, bool, error) {
	if n.next == n.end {
		return 0, 0, false, nil
	}
	n.next++
	return int(n.next), n.next - 1, true, nil
}

func (n *numbers) Digest() (d [32]byte) { return d }

// BenchmarkPurge takes customers through claim, listing, intents, deletes,
// verifying listing and completion: a whole worker on a real Postgres, against
// the sandbox in this process, over HTTP, without latency and with a rate that is
// never reached. One operation is one customer.
func BenchmarkPurge(b *testing.B) {
	for _, images := range []int{0, 1, 3} {
		b.Run(fmt.Sprintf("images=%d", images), func(b *testing.B) { benchmarkPurge(b, images) })
	}
}

func benchmarkPurge(b *testing.B, images int) {
	ctx := context.Background()
	var weights [sandbox.MaxImages + 1]float64
	weights[images] = 1
	people := sandbox.Populate(1, b.N, sandbox.PopulateOptions{Images: weights})
	api := sandbox.New(sandbox.Options{Seed: 1, Population: people})
	defer api.Close()
	l, err := api.Listen("")
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	store := repository.New(pgtest.New(b), time.Now)
	st := &stage{listen: l}
	s := st.settings()
	s.Organizations[0].RatePerMinute = 1_000_000
	s.Concurrency, s.RequestTimeout, s.Settle = 256, time.Minute, 2*time.Minute
	s.Lease = 3 * time.Minute
	org, err := store.RecordOrganization(ctx, "default", effective(s.Organizations[0]))
	if err != nil {
		b.Fatal(err)
	}
	taken, err := store.TakeIn(ctx, repository.Intake{Organization: org, Name: "bench"}, &numbers{people.ID(0), people.ID(0) + int64(b.N)})
	if err != nil {
		b.Fatal(err)
	}
	a := &app{now: time.Now, out: &term.Output{Out: io.Discard, Err: io.Discard}}
	c := &crew{a: a, s: s, d: &database{Store: store}, bells: &bells{}, flags: runFlags{once: true, batch: taken.Batch}, log: slog.New(slog.DiscardHandler),
		screen: newScreen(a.out, time.Now, int64(b.N), time.Hour)}
	stop := watchSignals(ctx)
	defer stop.end()

	b.ReportAllocs()
	b.ResetTimer()
	results, err := c.run(stop)
	b.StopTimer()
	if err != nil {
		b.Fatal(err)
	}
	if got := ended(results[0].Stats); got != b.N || results[0].Stats.ImagesDeleted != b.N*images {
		b.Fatalf("%d customers ended with %d images deleted, want %d with %d", got, results[0].Stats.ImagesDeleted, b.N, b.N*images)
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "customers/s")
	b.ReportMetric(float64(results[0].Stats.Calls)/b.Elapsed().Seconds(), "calls/s")
}
