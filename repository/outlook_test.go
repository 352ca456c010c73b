package repository_test

import (
	"testing"
	"time"

	"github.com/imagepurge/imagepurge/jobs"
	"github.com/imagepurge/imagepurge/jobs/purge"
)

func TestOutlook(t *testing.T) {
	t.Parallel()
	const (
		three   = "INSERT INTO image_deletion_tasks (customer_id) VALUES (1), (2), (3)"
		later   = "INSERT INTO image_deletion_tasks (customer_id, due_at) VALUES (1, now() + interval '2 hours'), (2, now() + interval '1 hour')"
		overdue = "UPDATE image_deletion_tasks SET due_at = now() - interval '1 hour'"
	)
	hold := func(c string) string {
		return "INSERT INTO legal_holds (organization_id, customer_id, held_by, reason) SELECT 1, c, 'ann', 'court' FROM generate_series(1, " + c + ") c"
	}
	for what, c := range map[string]struct {
		sql   []string
		claim int
		want  purge.Outlook // its times are judged by due
		due   time.Duration
	}{
		"nothing":                   {},
		"ready":                     {sql: []string{three}, want: purge.Outlook{Ready: true}},
		"waiting":                   {sql: []string{later}, want: purge.Outlook{Waiting: true}, due: time.Hour},
		"leased":                    {sql: []string{three}, claim: 3, want: purge.Outlook{Leased: true}},
		"leased and ready":          {sql: []string{three}, claim: 2, want: purge.Outlook{Leased: true, Ready: true}},
		"all finished":              {sql: []string{three, "UPDATE image_deletion_tasks SET state = 'cancelled', outcome = 'cancelled', finished_at = now()"}},
		"paused batch":              {sql: []string{three, "UPDATE batches SET state = 'paused'"}, want: purge.Outlook{Blocked: true}},
		"paused batch, waiting":     {sql: []string{later, "UPDATE batches SET state = 'paused'"}, want: purge.Outlook{Blocked: true}},
		"cancelled batch":           {sql: []string{three, "UPDATE batches SET state = 'cancelled'"}, want: purge.Outlook{Ready: true}},
		"all held":                  {sql: []string{three, hold("3")}},
		"some held":                 {sql: []string{three, hold("2")}, want: purge.Outlook{Ready: true}},
		"held, and their time came": {sql: []string{later, overdue, hold("2")}},
		"the one due first is held": {sql: []string{later, "INSERT INTO legal_holds (organization_id, customer_id, held_by, reason) VALUES (1, 2, 'ann', 'court')"}, due: 2 * time.Hour},
		"a back-off is longer":      {sql: []string{later, "UPDATE image_deletion_tasks SET due_at = now() + interval '3 hours', waiting_for = 'backoff'"}, want: purge.Outlook{Waiting: true}, due: 3 * time.Hour},
		"breaker open": {sql: []string{three, "UPDATE organizations SET breaker_reason = 'refused', breaker_kind = 'list', breaker_code = '8016', breaker_http_status = 401, breaker_since = now(), probe_at = now() + interval '1 minute', probe_delay = '1 minute'"},
			want: purge.Outlook{Ready: true, Breaker: "refused", BreakerCode: "8016", BreakerStatus: 401}},
		"paused":                 {sql: []string{three, "INSERT INTO pauses (organization_id, paused_by, reason) VALUES (1, 'ann', 'lunch')"}, want: purge.Outlook{Ready: true, Paused: true, PausedBy: "ann", PauseReason: "lunch"}},
		"everything paused":      {sql: []string{three, "INSERT INTO pauses (paused_by, reason) VALUES ('ann', 'lunch')"}, want: purge.Outlook{Ready: true, Paused: true, PausedBy: "ann", PauseReason: "lunch"}},
		"another organisation's": {sql: []string{"INSERT INTO organizations (name) VALUES ('b')", "INSERT INTO pauses (organization_id, paused_by, reason) VALUES (2, 'ann', 'lunch')", "INSERT INTO image_deletion_tasks (customer_id, organization_id) VALUES (1, 2)"}},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			d := open(t)
			for _, sql := range c.sql {
				d.as("test", sql)
			}
			if c.claim > 0 {
				d.claim(limit(c.claim))
			}
			got, err := d.Outlook(d.ctx, 1, 0)
			if err != nil {
				t.Fatal(err)
			}
			if got.Now.IsZero() || got.NextDue.IsZero() != (c.due == 0) || c.due != 0 && (got.NextDue.Sub(got.Now) > c.due || got.NextDue.Sub(got.Now) < c.due-time.Minute) {
				t.Errorf("now %v, next due %v, want in %v", got.Now, got.NextDue, c.due)
			}
			if got.Leased != (!got.LeaseTo.IsZero() && got.LeaseTo.After(got.Now)) {
				t.Errorf("leased: %t, to %v", got.Leased, got.LeaseTo)
			}
			if open := got.Breaker != ""; open == got.BreakerSince.IsZero() || open == got.NextProbeAt.IsZero() {
				t.Errorf("breaker %q since %v, next probe %v", got.Breaker, got.BreakerSince, got.NextProbeAt)
			}
			if !got.NoClaimsUntil.IsZero() {
				t.Errorf("no claims until %v", got.NoClaimsUntil)
			}
			got.Now, got.NextDue, got.LeaseTo, got.BreakerSince, got.NextProbeAt = time.Time{}, time.Time{}, time.Time{}, time.Time{}, time.Time{}
			if got != c.want {
				t.Errorf("got  %+v\nwant %+v", got, c.want)
			}
		})
	}
}

func TestOutlookOfOneBatchAndAfterAFailOver(t *testing.T) {
	t.Parallel()
	d := open(t)
	d.customers(1)
	d.by("INSERT INTO batches (organization_id, kind, name) VALUES (1, 'file', 'b')")
	d.by("INSERT INTO image_deletion_tasks (customer_id, batch_id) VALUES (2, 2)")
	d.applied(finish(d.one(ofBatch(2)), jobs.NoImages))
	d.by("INSERT INTO image_deletion_tasks (customer_id, batch_id, due_at) VALUES (3, 2, now() + interval '1 hour')")
	if o, err := d.Outlook(d.ctx, 1, 2); err != nil || o.Ready || !o.Waiting || o.Leased {
		t.Errorf("of the second batch: %+v, %v", o, err)
	}
	if o, err := d.Outlook(d.ctx, 1, 1); err != nil || !o.Ready || o.Waiting || o.Leased {
		t.Errorf("of the first batch: %+v, %v", o, err)
	}
	if _, err := d.Outlook(d.ctx, 9, 0); err == nil {
		t.Error("of an organisation that is not there: no error")
	}
	d.by("UPDATE server_identity SET timeline = '000000FF'")
	if _, err := d.NoteServer(d.ctx, time.Hour); err != nil {
		t.Fatal(err)
	}
	if o, err := d.Outlook(d.ctx, 1, 0); err != nil || !o.Ready || o.NoClaimsUntil.Sub(o.Now) < 59*time.Minute {
		t.Errorf("after a fail-over: %+v, %v", o, err)
	}
}
