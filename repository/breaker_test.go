package repository_test

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/imagepurge/imagepurge/jobs"
	"github.com/imagepurge/imagepurge/jobs/purge"
)

func refusedBy(r purge.Record, kind jobs.Kind) purge.Write {
	w := giveBack(r)
	w.Waiting, w.HTTPStatus, w.Code = jobs.WaitBreaker, 401, "8016"
	w.Breaker = &purge.Breaker{Reason: "refused", Kind: kind, HTTPStatus: 401, Code: "8016"}
	return w
}

func passed(r purge.Record, kind jobs.Kind) purge.Write {
	w := giveBack(r)
	w.Passed = kind
	return w
}

// breaker is the breaker's state, with its delay, in one line.
func (d *db) breaker() string {
	d.Helper()
	return get[string](d, `
SELECT coalesce(concat_ws(' ', breaker_reason, breaker_kind, breaker_code, breaker_http_status, extract(epoch FROM probe_delay)::int,
       CASE WHEN probe_at BETWEEN clock_timestamp() + probe_delay - interval '30 seconds' AND clock_timestamp() + probe_delay THEN 'ok' ELSE probe_at::text END, probe_task_id), '')
FROM organizations WHERE id = 1`)
}

func (d *db) audited(action string) int {
	d.Helper()
	return get[int](d, "SELECT count(*) FROM audit_entries WHERE action = $1", action)
}

func TestARefusalOpensTheBreaker(t *testing.T) {
	t.Parallel()
	d := open(t)
	d.customers(1, 2, 3)
	rs := d.claim()
	d.write(refusedBy(rs[0], jobs.DeleteCall), refusedBy(rs[1], jobs.ListCall))
	if got, want := d.breaker(), "refused delete 8016 401 60 ok"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	// What was under way when it opened is no probe: it neither doubles nor closes.
	d.applied(passed(rs[2], jobs.DeleteCall))
	d.customers(4)
	if got, want := d.breaker(), "refused delete 8016 401 60 ok"; got != want {
		t.Errorf("after a stray success: got %q, want %q", got, want)
	}
	if n := d.audited("breaker.open"); n != 1 {
		t.Errorf("%d audit entries of it, want 1", n)
	}
	orgs, err := d.Organizations(d.ctx, "")
	if err != nil || len(orgs) != 1 || *orgs[0].BreakerReason != "refused" || *orgs[0].BreakerStatus != 401 {
		t.Errorf("%+v, %v", orgs, err)
	}
}

func TestAnOutageOpensTheBreaker(t *testing.T) {
	t.Parallel()
	d := open(t)
	d.customers(1)
	w := giveBack(d.one())
	w.Breaker = &purge.Breaker{Reason: "api_unavailable", Kind: jobs.ListCall}
	d.applied(w)
	if got, want := d.breaker(), "api_unavailable list 60 ok"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestTheProbesDelayDoublesToAnHour(t *testing.T) {
	t.Parallel()
	d := open(t)
	d.customers(1, 2)
	d.applied(refusedBy(d.one(), jobs.ListCall))
	for _, seconds := range []int{120, 240, 480, 960, 1920, 3600, 3600} {
		probeDue(d)
		d.applied(refusedBy(d.one(probe), jobs.ListCall))
		if got, want := d.breaker(), fmt.Sprintf("refused list 8016 401 %d ok", seconds); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	// A probe that finds out nothing leaves the delay.
	probeDue(d)
	r := d.one(probe)
	d.applied(giveBack(r))
	if got, want := d.breaker(), fmt.Sprintf("refused list 8016 401 3600 ok %d", r.Task); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if n := d.audited("breaker.open"); n != 1 {
		t.Errorf("%d audit entries of it, want 1", n)
	}
}

func TestTheRightProbeClosesTheBreaker(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		reason       string
		kind, passes jobs.Kind
		closes       bool
	}{
		{"refused", jobs.ListCall, jobs.ListCall, true},
		{"refused", jobs.ListCall, jobs.DeleteCall, true},
		{"refused", jobs.DeleteCall, jobs.DeleteCall, true},
		{"refused", jobs.DeleteCall, jobs.ListCall, false},
		{"api_unavailable", jobs.ListCall, jobs.ListCall, true},
		{"api_unavailable", jobs.DeleteCall, jobs.ListCall, true},
	} {
		t.Run(fmt.Sprintf("%s %s passes %s", c.reason, c.kind, c.passes), func(t *testing.T) {
			t.Parallel()
			d := open(t)
			d.customers(1, 2)
			w := refusedBy(d.one(), c.kind)
			w.Breaker.Reason = c.reason
			d.applied(w)
			probeDue(d)
			r := d.one(probe)
			d.applied(passed(r, c.passes))
			if got := d.breaker(); (got == "") != c.closes {
				t.Errorf("the breaker is %q; closed: want %t", got, c.closes)
			}
			if n := d.audited("breaker.close"); (n == 1) != c.closes {
				t.Errorf("%d audit entries of its closing", n)
			}
			if n := len(d.claim()); (n > 0) != c.closes {
				t.Errorf("claimed %d tasks", n)
			}
		})
	}
}

// A probe that meets another organisation says why the breaker is open from then on,
// whatever has opened it, and the next ones are told.
func TestAnotherOrganizationIsTheReasonThatStays(t *testing.T) {
	t.Parallel()
	d := open(t)
	d.customers(1, 2)
	d.applied(refusedBy(d.one(), jobs.DeleteCall))
	probeDue(d)
	r := d.one(probe)
	if r.Foreign {
		t.Error("no other organisation was seen yet")
	}
	w := refusedBy(r, jobs.ListCall)
	w.Breaker = &purge.Breaker{Reason: jobs.CodeWrongOrganisation, Kind: jobs.ListCall, HTTPStatus: 200, Code: jobs.CodeWrongOrganisation}
	d.applied(w)
	if got, want := d.breaker(), "wrong_organisation list wrong_organisation 200 120 ok"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	probeDue(d)
	r = d.one(probe)
	if !r.Foreign {
		t.Error("the probe is not told")
	}
	d.applied(refusedBy(r, jobs.ListCall))
	if got, want := d.breaker(), "wrong_organisation list wrong_organisation 200 240 ok"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	probeDue(d)
	d.applied(passed(d.one(probe), jobs.ListCall))
	if got := d.breaker(); got != "" {
		t.Errorf("a listing that shows ours passed: %q", got)
	}
}

// Two starts probe at once. The one that meets another organisation is heard, though it is
// no longer the probe on record, and the other's answer closes nothing.
func TestAnotherOrganizationIsHeardBesideAProbe(t *testing.T) {
	t.Parallel()
	d := open(t)
	d.customers(1, 2, 3)
	d.applied(refusedBy(d.one(), jobs.ListCall))
	probeDue(d)
	first := d.one(probe)
	probeDue(d)
	second := d.one(probe)
	w := refusedBy(first, jobs.ListCall)
	w.Breaker = &purge.Breaker{Reason: jobs.CodeWrongOrganisation, Kind: jobs.ListCall, Code: jobs.CodeWrongOrganisation}
	d.applied(w)
	d.applied(passed(second, jobs.ListCall))
	if got := d.breaker(); !strings.HasPrefix(got, jobs.CodeWrongOrganisation) {
		t.Errorf("the breaker is %q, want it open as %s", got, jobs.CodeWrongOrganisation)
	}
}

func TestAPersonClosesTheBreaker(t *testing.T) {
	t.Parallel()
	d := open(t)
	d.customers(1)
	openBreaker(d, "delete")
	for _, want := range []bool{true, false} {
		if closed, err := d.CloseBreaker(d.ctx, ann, "default", "new password"); closed != want || err != nil {
			t.Errorf("closed: %t (%v), want %t", closed, err, want)
		}
	}
	if closed, err := d.CloseBreaker(d.ctx, ann, "nobody", "r"); closed || err != nil {
		t.Errorf("an organisation that is not there: %t (%v)", closed, err)
	}
	if n := d.audited("breaker.close"); n != 1 || d.breaker() != "" {
		t.Errorf("%d audit entries; breaker %q", n, d.breaker())
	}
	d.one()
}

// Of many calls that are refused at the same moment the first opens the breaker;
// the others are no probes, and its first delay stays a minute.
func TestManyRefusalsAtOnceOpenTheBreakerOnce(t *testing.T) {
	t.Parallel()
	d := openWith(t, 12)
	d.by("INSERT INTO image_deletion_tasks (customer_id) SELECT generate_series(1, 10)")
	for round := range 15 {
		rs := d.claim()
		if len(rs) != 10 {
			t.Fatalf("round %d: claimed %d", round, len(rs))
		}
		var all sync.WaitGroup
		for _, r := range rs {
			all.Go(func() {
				if _, err := d.Write(d.ctx, terms, []purge.Write{refusedBy(r, jobs.ListCall)}); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		if got, want := d.breaker(), "refused list 8016 401 60 ok"; got != want {
			t.Fatalf("round %d: got %q, want %q", round, got, want)
		}
		if n := d.audited("breaker.open"); n != round+1 {
			t.Fatalf("round %d: %d audit entries", round, n)
		}
		if _, err := d.CloseBreaker(d.ctx, ann, "default", "next round"); err != nil {
			t.Fatal(err)
		}
	}
}

func TestABudgetsPauseOnlyGrows(t *testing.T) {
	t.Parallel()
	d := open(t)
	d.customers(1, 2)
	rs := d.claim()
	left := func() int {
		return get[int](d, "SELECT coalesce(ceil(extract(epoch FROM paused_until - clock_timestamp())), 0)::int FROM rate_budgets WHERE id = 1")
	}
	var got []int
	for _, p := range []time.Duration{0, time.Minute, 10 * time.Second, 2 * time.Minute} {
		w, o := bare(rs[0], purge.WriteProgress), bare(rs[1], purge.WriteProgress)
		w.PauseBudget, o.PauseBudget = p, p/2
		d.write(o, w)
		got = append(got, left())
	}
	if want := []int{0, 60, 60, 120}; !slices.Equal(got, want) {
		t.Errorf("paused for %v seconds, want %v", got, want)
	}
	// It belongs to the key: a refused write reports nothing.
	w := bare(rs[0], purge.WriteProgress)
	w.Epoch, w.PauseBudget = 7, time.Hour
	d.refusedWrite(w, purge.LeaseLost)
	if n := left(); n > 120 {
		t.Errorf("a refused write paused the key for %d seconds", n)
	}
}
