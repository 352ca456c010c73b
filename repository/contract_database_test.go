package repository_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/imagepurge/imagepurge/simulation/memory"
)

// A contract's time is its own. The database's clock can't be set, so time passes
// by moving all that is stored into the past. Only what the statements compare
// with the clock is moved: what a worker's clock said stays as it was written.
const contractFunctions = `
CREATE FUNCTION contract_pass(d interval, shift interval) RETURNS void LANGUAGE plpgsql SET session_replication_role = replica AS $$
BEGIN
    UPDATE image_deletion_tasks SET due_at = due_at - d, lease_until = lease_until - d, created_at = created_at - d,
        started_at = started_at - d, finished_at = finished_at - d,
        sort_at = task_sort_at(created_at - d + shift, 0, NULL) - shift; -- an hour of the contract's time
    UPDATE task_images SET intended_at = intended_at - d WHERE intended_at IS NOT NULL;
    UPDATE customer_leases SET lease_until = lease_until - d, rest_until = rest_until - d;
    UPDATE organizations SET breaker_since = breaker_since - d, probe_at = probe_at - d WHERE breaker_since IS NOT NULL;
    UPDATE rate_budgets SET paused_until = paused_until - d WHERE paused_until IS NOT NULL;
    UPDATE server_identity SET claims_from = claims_from - d;
END $$;

CREATE FUNCTION contract_reset() RETURNS void LANGUAGE plpgsql SET session_replication_role = replica AS $$
BEGIN
    TRUNCATE image_deletion_tasks, task_images, image_calls, customer_leases, batches, batch_arrivals, pauses, legal_holds, audit_entries RESTART IDENTITY CASCADE;
    UPDATE organizations SET breaker_reason = NULL, breaker_kind = NULL, breaker_code = NULL, breaker_http_status = NULL,
        breaker_since = NULL, probe_at = NULL, probe_delay = NULL, probe_task_id = NULL;
    UPDATE rate_budgets SET paused_until = NULL;
    UPDATE server_identity SET claims_from = '-infinity', epoch_floor = 0, timeline = substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8);
    INSERT INTO batches (organization_id, kind, name) SELECT 1, 'file', 'b' || n FROM generate_series(1, 5) n;
END $$;

CREATE FUNCTION us(t timestamptz, shift bigint DEFAULT 0) RETURNS bigint LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE WHEN t IS NULL THEN 0 ELSE (extract(epoch FROM t) * 1000000)::bigint + shift END
$$;`

// $1 is what is added to a time of the database's clock to make it the contract's.
const contractView = `
SELECT jsonb_build_object(
    'tasks', (SELECT jsonb_agg(to_jsonb(r) ORDER BY r.id) FROM (
        SELECT t.id, t.batch_id AS batch, t.customer_id AS customer, t.state, coalesce(t.outcome, '') AS outcome,
               coalesce(t.waiting_for, '') AS waiting, coalesce(t.error_code, '') AS code, coalesce(t.error_message, '') AS message,
               coalesce(t.http_status, 0) AS status, coalesce(t.lease_owner, '') AS owner, t.lease_epoch AS epoch,
               us(t.lease_until, $1) AS leaseuntil, us(t.due_at, $1) AS due, us(t.created_at, $1) AS createdat, us(t.started_at, $1) AS startedat,
               us(t.finished_at, $1) AS finishedat, us(t.verified_at) AS verifiedat,
               t.images_found AS found, t.images_deleted AS deleted, t.images_new AS new, t.attempts, t.api_calls AS apicalls,
               t.call_sequence AS sequence, t.still_present AS still, t.contradictions, t.refusals, t.listed, t.relisting,
               coalesce(t.review_as, '') AS reviewas, coalesce(t.mode, '') AS mode, coalesce(t.scope, '') AS scope,
               coalesce(t.source, '') AS source, coalesce(t.account_id, '') AS account, t.dry_run AS dryrun, to_jsonb(t.image_tokens) AS named,
               (SELECT jsonb_agg(to_jsonb(ri) ORDER BY ri.key) FROM (
                   SELECT encode(i.image_key, 'hex') AS key, i.position, i.state, coalesce(i.evidence, '') AS evidence, i.sends,
                          us(i.intended_at, $1) AS intendedat, us(i.answered_at) AS answeredat, coalesce(i.http_status, 0) AS status,
                          coalesce(i.error_code, '') AS code, i.missing
                   FROM task_images i WHERE i.task_id = t.id) ri) AS images,
               (SELECT jsonb_agg(to_jsonb(rc) ORDER BY rc.sequence) FROM (
                   SELECT c.sequence, c.kind, coalesce(c.position, -1) AS position, coalesce(encode(c.image_key, 'hex'), '') AS key,
                          coalesce(c.targets, 0) AS targets, us(c.sent_at) AS sentat, us(c.answered_at) AS answeredat, coalesce(c.class, '') AS class,
                          coalesce(c.http_status, 0) AS status, coalesce(c.error_code, '') AS code, coalesce(c.images_seen, -1) AS seen,
                          coalesce(encode(c.shown, 'hex'), '') AS shown,
                          c.worker AS owner, c.lease_epoch AS epoch
                   FROM image_calls c WHERE c.task_id = t.id) rc) AS calls
        FROM image_deletion_tasks t) r),
    'leases', (SELECT jsonb_agg(to_jsonb(r) ORDER BY r.customer) FROM (
        SELECT l.customer_id AS customer, coalesce(l.task_id, 0) AS task, coalesce(l.lease_owner, '') AS owner, coalesce(l.lease_epoch, 0) AS epoch,
               us(l.lease_until, $1) AS leaseuntil, us(l.rest_until, $1) AS restuntil
        FROM customer_leases l) r),
    'breaker', (SELECT to_jsonb(r) FROM (
        SELECT coalesce(o.breaker_reason, '') AS reason, coalesce(o.breaker_kind, '') AS kind, coalesce(o.breaker_code, '') AS code,
               coalesce(o.breaker_http_status, 0) AS status, us(o.breaker_since, $1) AS since, us(o.probe_at, $1) AS probeat,
               coalesce(extract(epoch FROM o.probe_delay), 0)::bigint AS probedelay, coalesce(o.probe_task_id, 0) AS probetask,
               us(b.paused_until, $1) AS pauseduntil
        FROM organizations o LEFT JOIN rate_budgets b ON b.id = o.budget_id WHERE o.id = 1) r))`

// contract drives the two stores.
type contract struct {
	d   *db
	mem *memory.Store
	history
	// shift is what is added to a time of the database's clock to make it one of
	// the contract's.
	shift time.Duration
	began time.Time // when the operation under way was begun, by the real clock
}

func newContract(t testing.TB) *contract {
	d := openWith(t, 1) // one connection: its statements are prepared once
	d.run(contractFunctions)
	return &contract{d: d}
}

// pass makes the contract's time the database's.
func (c *contract) pass() {
	c.began = time.Now()
	to := c.now.Sub(c.began).Round(time.Microsecond)
	if d := to - c.shift; d != 0 {
		c.d.by("SELECT contract_pass(make_interval(secs => $1), make_interval(secs => $2))", d.Seconds(), to.Seconds())
	}
	c.shift = to
}

// ours turns a time of the database's clock into one of the contract's.
func (c *contract) ours(t time.Time) time.Time {
	if t.IsZero() {
		return t
	}
	return t.Add(c.shift)
}

// theirs does the opposite.
func (c *contract) theirs(t time.Time) any {
	if t.IsZero() {
		return nil
	}
	return t.Add(-c.shift)
}

func (c *contract) reset() {
	c.shift = 0
	c.d.by("SELECT contract_reset()")
}

// databaseView reads all that is visible in the database.
func (c *contract) databaseView() (v view) {
	if err := json.Unmarshal([]byte(get[string](c.d, contractView+"::text", c.shift.Microseconds())), &v); err != nil {
		c.d.Fatal(err)
	}
	return v
}
