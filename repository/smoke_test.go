package repository_test

import (
	"context"
	"testing"
	"time"

	"github.com/imagepurge/imagepurge/internal/pgtest"
	"github.com/imagepurge/imagepurge/jobs"
	"github.com/imagepurge/imagepurge/jobs/purge"
	"github.com/imagepurge/imagepurge/repository"
)

func claim() purge.Claim {
	return purge.Claim{Organization: 1, Owner: "w1", Lease: time.Minute, Limit: 10, Mode: jobs.Verified, Scope: jobs.Snapshot, Source: "INSTORE"}
}

func TestClaimIntendFinish(t *testing.T) {
	ctx := context.Background()
	pool := pgtest.New(t)
	s := repository.New(pool, time.Now)
	if err := s.CheckSchema(ctx); err != nil {
		t.Fatal(err)
	}
	if _, err := pool.Exec(ctx, "INSERT INTO image_deletion_tasks (customer_id) VALUES (7), (8), (7)"); err != nil {
		t.Fatal(err)
	}
	got, err := s.ClaimTasks(ctx, claim())
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != 2 {
		t.Fatalf("claimed %d tasks of two customers, want 2: %+v", len(got), got)
	}
	r := got[0]
	w := purge.Write{Task: r.Task, Owner: "w1", Epoch: r.Epoch, Kind: purge.WriteIntent, Customer: r.Customer,
		Images: []purge.Image{{Key: jobs.KeyOf("x"), State: jobs.Intended, Sends: 1}},
		Calls:  []jobs.Call{{Sequence: 1, Kind: jobs.DeleteCall, Key: jobs.KeyOf("x"), Targets: 1, ImagesSeen: -1}},
		Rest:   purge.RestSettle, RestFor: time.Minute, Counters: purge.Counters{Listed: true, Found: 1, Sequence: 1, APICalls: 1}}
	terms := purge.Terms{Organization: 1, Lease: time.Minute, RequestTimeout: time.Second, Host: "h"}
	res, err := s.Write(ctx, terms, []purge.Write{w})
	if err != nil {
		t.Fatal(err)
	}
	if !res[0].Applied || res[0].Clearance == nil {
		t.Fatalf("intent: %+v", res[0])
	}
	w.Kind, w.State, w.Outcome, w.Rest = purge.WriteFinish, jobs.Completed, jobs.ImagesDeleted, purge.RestClear
	w.Deleted = 1
	w.Images[0].State, w.Images[0].Evidence = jobs.Deleted, jobs.ByAnswer
	w.Calls[0].AnsweredAt, w.Calls[0].Class = time.Now(), jobs.ClassDeleted
	res, err = s.Write(ctx, terms, []purge.Write{w})
	if err != nil {
		t.Fatal(err)
	}
	if !res[0].Applied {
		t.Fatalf("finish: %+v", res[0])
	}
	res, err = s.Write(ctx, terms, []purge.Write{w})
	if err != nil {
		t.Fatal(err)
	}
	if res[0].Applied || res[0].Refused != purge.LeaseLost {
		t.Fatalf("second finish: %+v", res[0])
	}
	o, err := s.Outlook(ctx, 1, 0)
	if err != nil {
		t.Fatal(err)
	}
	if !o.Leased || o.Ready || !o.Waiting {
		t.Errorf("outlook: %+v", o)
	}
	for _, f := range []func() error{
		func() error { _, err := s.ReclaimTasks(ctx); return err },
		func() error { return s.SweepRests(ctx) },
		func() error { return s.FoldArrivals(ctx) },
		func() error { _, err := s.NoteServer(ctx, time.Minute); return err },
		func() error {
			kept, err := s.RenewLeases(ctx, "w1", []purge.Lease{{Task: got[1].Task, Epoch: got[1].Epoch}, {Task: 1, Epoch: 5}}, time.Minute)
			if len(kept) != 1 {
				t.Errorf("kept %v", kept)
			}
			return err
		},
	} {
		if err := f(); err != nil {
			t.Error(err)
		}
	}
}
