package repository_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/imagepurge/imagepurge/simulation/memory"
)

// A contract's time is its own: a function that stands before the server's clock in
// the search path tells it, to statements and triggers alike. So nothing depends on how
// long the machine takes.
const contractFunctions = `
CREATE SCHEMA contract;
CREATE FUNCTION contract.clock_timestamp() RETURNS timestamptz LANGUAGE sql VOLATILE AS $$ SELECT current_setting('contract.now')::timestamptz $$;
DO $$ BEGIN
    EXECUTE (SELECT string_agg(format('ALTER FUNCTION %s SET search_path = contract, pg_catalog, public', oid::regprocedure), ';')
             FROM pg_proc WHERE pronamespace = 'public'::regnamespace AND prolang = (SELECT oid FROM pg_language WHERE lanname = 'plpgsql'));
END $$;
ALTER TABLE image_deletion_tasks ALTER created_at SET DEFAULT contract.clock_timestamp();

CREATE FUNCTION contract.reset() RETURNS void LANGUAGE plpgsql SET session_replication_role = replica AS $$
BEGIN
    TRUNCATE image_deletion_tasks, task_images, image_calls, customer_leases, batches, batch_arrivals, pauses, legal_holds, audit_entries RESTART IDENTITY CASCADE;
    UPDATE organizations SET breaker_reason = NULL, breaker_kind = NULL, breaker_code = NULL, breaker_http_status = NULL,
        breaker_since = NULL, probe_at = NULL, probe_delay = NULL, probe_task_id = NULL;
    UPDATE rate_budgets SET paused_until = NULL;
    UPDATE server_identity SET claims_from = '-infinity', epoch_floor = 0, timeline = substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8);
    INSERT INTO batches (organization_id, kind, name) SELECT 1, 'file', 'b' || n FROM generate_series(1, 5) n;
END $$;

CREATE FUNCTION contract.us(t timestamptz) RETURNS bigint LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE WHEN t IS NULL THEN 0 ELSE (extract(epoch FROM t) * 1000000)::bigint END
$$;`

const contractView = `
SELECT jsonb_build_object(
    'tasks', (SELECT jsonb_agg(to_jsonb(r) ORDER BY r.id) FROM (
        SELECT t.id, t.batch_id AS batch, t.customer_id AS customer, t.state, coalesce(t.outcome, '') AS outcome,
               coalesce(t.waiting_for, '') AS waiting, coalesce(t.error_code, '') AS code, coalesce(t.error_message, '') AS message,
               coalesce(t.http_status, 0) AS status, coalesce(t.lease_owner, '') AS owner, t.lease_epoch AS epoch,
               us(t.lease_until) AS leaseuntil, us(t.due_at) AS due, us(t.created_at) AS createdat, us(t.started_at) AS startedat,
               us(t.finished_at) AS finishedat, us(t.verified_at) AS verifiedat,
               t.images_found AS found, t.images_deleted AS deleted, t.images_new AS new, t.attempts, t.api_calls AS apicalls,
               t.call_sequence AS sequence, t.still_present AS still, t.contradictions, t.refusals, t.listed, t.relisting,
               coalesce(t.review_as, '') AS reviewas, coalesce(t.mode, '') AS mode, coalesce(t.scope, '') AS scope,
               coalesce(t.source, '') AS source, coalesce(t.account_id, '') AS account, t.dry_run AS dryrun, to_jsonb(t.image_tokens) AS named,
               (SELECT jsonb_agg(to_jsonb(ri) ORDER BY ri.key) FROM (
                   SELECT encode(i.image_key, 'hex') AS key, i.position, i.state, coalesce(i.evidence, '') AS evidence, i.sends,
                          us(i.intended_at) AS intendedat, us(i.answered_at) AS answeredat, coalesce(i.http_status, 0) AS status,
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
               us(l.lease_until) AS leaseuntil, us(l.rest_until) AS restuntil
        FROM customer_leases l) r),
    'breaker', (SELECT to_jsonb(r) FROM (
        SELECT coalesce(o.breaker_reason, '') AS reason, coalesce(o.breaker_kind, '') AS kind, coalesce(o.breaker_code, '') AS code,
               coalesce(o.breaker_http_status, 0) AS status, us(o.breaker_since) AS since, us(o.probe_at) AS probeat,
               coalesce(extract(epoch FROM o.probe_delay), 0)::bigint AS probedelay, coalesce(o.probe_task_id, 0) AS probetask,
               us(b.paused_until) AS pauseduntil
        FROM organizations o LEFT JOIN rate_budgets b ON b.id = o.budget_id WHERE o.id = 1) r))`

// contract drives the two stores.
type contract struct {
	d   *db
	mem *memory.Store
	history
}

func newContract(t testing.TB) *contract {
	d := openWith(t, 1, func(cfg *pgxpool.Config) { // one connection: its statements are prepared once, and it has the time
		cfg.ConnConfig.RuntimeParams["search_path"] = "contract, pg_catalog, public"
		cfg.ConnConfig.RuntimeParams["plan_cache_mode"] = "force_generic_plan" // planning is what takes time
	})
	d.run(contractFunctions)
	return &contract{d: d}
}

// pass makes the contract's time the database's.
func (c *contract) pass() {
	c.d.by("SELECT set_config('contract.now', $1, false)", c.now.Format(time.RFC3339Nano))
}

func (c *contract) reset() { c.d.by("SELECT contract.reset()") }

// databaseView reads all that is visible in the database.
func (c *contract) databaseView() (v view) {
	if err := json.Unmarshal([]byte(get[string](c.d, contractView+"::text")), &v); err != nil {
		c.d.Fatal(err)
	}
	return v
}

func orNull(t time.Time) any {
	if t.IsZero() {
		return nil
	}
	return t
}
