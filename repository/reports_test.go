package repository_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/imagepurge/imagepurge/jobs"
	"github.com/imagepurge/imagepurge/jobs/worker"
	"github.com/imagepurge/imagepurge/repository"
)

func TestReportAndLists(t *testing.T) {
	t.Parallel()
	d := open(t)
	d.customers(30, 20, 10)
	rs := d.claim(limit(2))
	f := finish(rs[0], jobs.CustomerNotFound)
	f.Code, f.HTTPStatus, f.Message = "8015", 404, "no such customer"
	d.write(f, finish(rs[1], jobs.NoImages))
	var got []string
	each := func(r repository.ReportRow) error {
		got = append(got, fmt.Sprintf("%d %s %t", r.CustomerID, r.State, r.Outcome != nil))
		return nil
	}
	if err := d.Report(d.ctx, 1, "", each); err != nil || !slices.Equal(got, []string{"30 failed true", "20 completed true", "10 pending false"}) {
		t.Errorf("report: %q, %v", got, err)
	}
	got = nil
	if err := d.Report(d.ctx, 1, "failed", each); err != nil || len(got) != 1 {
		t.Errorf("report of the failed: %q, %v", got, err)
	}
	enough := errors.New("enough")
	if err := d.Report(d.ctx, 1, "", func(repository.ReportRow) error { return enough }); !errors.Is(err, enough) {
		t.Errorf("a report that is broken off: got error %v", err)
	}
	ctx, cancel := context.WithCancel(d.ctx)
	cancel()
	if err := d.Report(ctx, 1, "", each); !errors.Is(err, context.Canceled) {
		t.Errorf("a report without time: got error %v", err)
	}
	for _, c := range []struct {
		filter repository.TaskFilter
		want   int
	}{
		{repository.TaskFilter{Limit: 10}, 3}, {repository.TaskFilter{Limit: 2}, 2}, {repository.TaskFilter{Limit: 10, After: 1}, 2}, {repository.TaskFilter{Limit: 10, State: "failed"}, 1},
		{repository.TaskFilter{Limit: 10, Outcome: "no_images"}, 1}, {repository.TaskFilter{Limit: 10, Batch: 1}, 3}, {repository.TaskFilter{Limit: 10, Batch: 2}, 0},
	} {
		if got, err := d.Tasks(d.ctx, c.filter); len(got) != c.want || err != nil {
			t.Errorf("%+v: got %d tasks (%v), want %d", c.filter, len(got), err, c.want)
		}
	}
	if got, err := d.CustomerTasks(d.ctx, 30, "default"); len(got) != 1 || err != nil || *got[0].ErrorCode != "8015" {
		t.Errorf("%+v, %v", got, err)
	}
	if got, err := d.CustomerTasks(d.ctx, 30, "other"); len(got) != 0 || err != nil {
		t.Errorf("%+v, %v", got, err)
	}
	out, err := d.Outcomes(d.ctx, 1)
	if err != nil || len(out) != 3 || out[1].State != "failed" || *out[1].ErrorCode != "8015" || out[1].Tasks != 1 {
		t.Errorf("%+v, %v", out, err)
	}
	if id, _, _, err := d.PendingCustomer(d.ctx, 1); id != 10 || err != nil {
		t.Errorf("pending: %d, %v", id, err)
	}
	if _, _, _, err := d.PendingCustomer(d.ctx, 2); !errors.Is(err, repository.ErrNotFound) {
		t.Errorf("none pending: got error %v", err)
	}
}

func TestStatus(t *testing.T) {
	t.Parallel()
	d := open(t)
	st, err := d.Status(d.ctx)
	if err != nil || len(st.Batches) != 0 || st.LastFinished != nil || st.TasksLastMinute != 0 || len(st.Organizations) != 1 {
		t.Errorf("empty: %+v, %v", st, err)
	}
	d.customers(1, 2, 3, 4)
	rs := d.claim()
	d.beat(worker.Beat{Worker: "w1", InHand: 4})
	f := finish(rs[0], jobs.StillPresent)
	f.Counters.APICalls = 6
	d.applied(f)
	d.expire(rs[1].Task)
	tx, err := d.pool.Begin(d.ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback(context.WithoutCancel(d.ctx))
	st, err = d.Status(d.ctx)
	if err != nil || len(st.Batches) != 1 || st.Batches[0].Open != 3 || len(st.Workers) != 1 || st.Workers[0].Name != "w1" || st.Workers[0].InHand != 4 ||
		st.InReview != 1 || st.TasksLastMinute != 1 || st.CallsLastMinute != 6 || st.LastFinished == nil || st.ExpiredLeases != 1 || st.Now.IsZero() {
		t.Errorf("%+v, %v", st, err)
	}
}

func TestOrganizationsAreRecorded(t *testing.T) {
	t.Parallel()
	d := open(t)
	id, err := d.RecordOrganization(d.ctx, "brand-a", repository.Settings{Mode: jobs.Verified, Source: "INSTORE"})
	if id != 1 || err != nil {
		t.Errorf("the first organisation does not take the place of the default: %d, %v", id, err)
	}
	d.customers(1)
	for range 2 {
		if id, err := d.RecordOrganization(d.ctx, "brand-a", repository.Settings{Scope: jobs.UntilEmpty}); id != 1 || err != nil {
			t.Errorf("again: %d, %v", id, err)
		}
	}
	two, err := d.RecordOrganization(d.ctx, "brand-b", repository.Settings{})
	if err != nil || two == 1 {
		t.Errorf("another: %d, %v", two, err)
	}
	orgs, err := d.Organizations(d.ctx, "brand-a")
	if err != nil || len(orgs) != 1 || *orgs[0].Mode != "verified" || *orgs[0].Scope != "until_empty" || *orgs[0].Source != "INSTORE" {
		t.Errorf("%+v, %v", orgs, err)
	}
	if n := get[int](d, "SELECT count(*) FROM rate_budgets"); n != 2 {
		t.Errorf("%d budgets, want one for each", n)
	}
}
