package repository

import (
	"context"
	"encoding/hex"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/imagepurge/imagepurge/jobs"
	"github.com/imagepurge/imagepurge/jobs/purge"
)

// claimedRow is a task as the claim returns it: leased, or made to wait because its
// customer is taken.
type claimedRow struct {
	ID             int64
	Epoch          int64
	CustomerID     int64
	Source         string
	AccountID      *string
	Tokens         []string
	Mode, Scope    string
	DryRun         bool
	Cancelled      bool
	Probe          bool
	Foreign        bool
	Listed         bool
	Relisting      bool
	ReviewAs       *string
	CallSequence   int
	APICalls       int
	Attempts       int
	StillPresent   int
	Contradictions int
	Refusals       int
	ImagesFound    int
	ImagesNew      int
	Started        bool
	BatchID        int64
	Leased         bool
}

// openBatches finds the batches that have tasks to claim. It jumps through the
// partial indexes from batch to batch, so that a finished or paused batch costs one
// index probe, whatever its size.
const openBatches = `ready_in AS (
    (SELECT batch_id FROM image_deletion_tasks WHERE state = 'pending' AND waiting_for IS NULL ORDER BY batch_id LIMIT 1)
    UNION ALL
    SELECT (SELECT t.batch_id FROM image_deletion_tasks t
            WHERE t.state = 'pending' AND t.waiting_for IS NULL AND t.batch_id > r.batch_id ORDER BY t.batch_id LIMIT 1)
    FROM ready_in r WHERE r.batch_id IS NOT NULL
),
waiting_in AS (
    (SELECT batch_id FROM image_deletion_tasks WHERE state = 'pending' AND waiting_for IS NOT NULL ORDER BY batch_id LIMIT 1)
    UNION ALL
    SELECT (SELECT t.batch_id FROM image_deletion_tasks t
            WHERE t.state = 'pending' AND t.waiting_for IS NOT NULL AND t.batch_id > w.batch_id ORDER BY t.batch_id LIMIT 1)
    FROM waiting_in w WHERE w.batch_id IS NOT NULL
),
`

// tasksDueNow claims tasks whose turn or time has come. Its parts:
//
//   - allowed: nothing is claimed while everything or the organisation is
//     paused, while its breaker is open (but for a probe whose time has come), or
//     for a while after the server changed (protocol, step 0). A lost server may
//     have given epochs that this one does not know: none is given twice.
//   - turn: who makes the probe holds the organisation's row; of several that
//     find it due at once the others find it locked, or moved on.
//   - ready_in and waiting_in jump through the partial indexes from batch to
//     batch, so that a finished or paused batch costs one index probe, whatever
//     its size.
//   - The due time is compared with a clock read once: a volatile function in the
//     comparison would keep the index from being asked, and every claim would
//     read all that waits.
//   - leased: one guarded upsert of the customer's own row decides who has the
//     customer; a check across rows would race.
//   - due: what was begun before goes first, then by sort_at. Batches whose tasks
//     have the same take turns, beginning behind the one that was served last.
//   - a task whose customer is taken or rests waits, rather than stand at the
//     head of the queue, and is passed over while that is so.
const tasksDueNow = `
WITH RECURSIVE cmd AS MATERIALIZED (
    SELECT set_config('imagepurge.command', 'claim', true) AS command, set_config('synchronous_commit', 'on', true)
),
turn AS MATERIALIZED (
    SELECT id FROM organizations
    WHERE id = $1 AND breaker_reason IS NOT NULL AND $6 AND (probe_at <= clock_timestamp() OR $7)
    FOR NO KEY UPDATE SKIP LOCKED
),
allowed AS MATERIALIZED (
    SELECT o.id, o.remote_id, o.breaker_reason IS NOT NULL AS probing, coalesce(o.breaker_reason = 'wrong_organisation', false) AS foreign_seen, s.epoch_floor
    FROM organizations o
    JOIN server_identity s ON s.claims_from <= clock_timestamp()
     AND s.system_identifier = (SELECT system_identifier FROM pg_control_system())
     AND s.timeline = substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8)
    WHERE o.id = $1
      AND (o.breaker_reason IS NULL OR EXISTS (SELECT FROM turn))
      AND NOT EXISTS (SELECT FROM pauses p WHERE p.resumed_at IS NULL AND coalesce(p.organization_id, $1) = $1)
),
` + openBatches + `waiting AS (
    SELECT t.* FROM allowed a
    JOIN batches b ON b.organization_id = a.id AND b.state <> 'paused' AND ($2::bigint = 0 OR b.id = $2)
    JOIN waiting_in w ON w.batch_id = b.id
    CROSS JOIN LATERAL (
        SELECT t.id, t.customer_id, t.lease_epoch, t.sort_at, t.refusals, b.state = 'cancelled' AS cancelled,
               CASE WHEN t.lease_epoch > 0 THEN 0 ELSE 1 END AS rank, t.batch_id
        FROM image_deletion_tasks t
        WHERE t.state = 'pending' AND t.waiting_for IS NOT NULL AND t.batch_id = b.id AND t.due_at <= (SELECT clock_timestamp())
          AND (t.waiting_for <> 'customer' OR (SELECT true FROM customer_leases l WHERE l.remote_id = a.remote_id AND l.customer_id = t.customer_id
               AND (l.lease_until > clock_timestamp() OR l.rest_until > clock_timestamp()) LIMIT 1) IS NULL)
          AND ($12::bigint[] IS NULL OR t.id = ANY ($12))
          AND ` + notHeld + `
        ORDER BY t.due_at, t.id LIMIT $3 FOR UPDATE OF t SKIP LOCKED) t
),
ready AS (
    SELECT t.* FROM allowed a
    JOIN batches b ON b.organization_id = a.id AND b.state <> 'paused' AND ($2::bigint = 0 OR b.id = $2)
    JOIN ready_in r ON r.batch_id = b.id
    CROSS JOIN LATERAL (
        SELECT t.id, t.customer_id, t.lease_epoch, t.sort_at, t.refusals, b.state = 'cancelled' AS cancelled, 1 AS rank, t.batch_id
        FROM image_deletion_tasks t
        WHERE t.state = 'pending' AND t.waiting_for IS NULL AND t.batch_id = b.id AND t.due_at <= clock_timestamp()
          AND ($12::bigint[] IS NULL OR t.id = ANY ($12))
          AND ` + notHeld + `
        ORDER BY t.sort_at, t.id LIMIT $3 FOR UPDATE OF t SKIP LOCKED) t
),
due AS MATERIALIZED (
    SELECT d.*, row_number() OVER (
        -- A probe is not made with the task that was refused, if there is another.
        ORDER BY CASE WHEN (SELECT probing FROM allowed) THEN d.refusals ELSE 0 END, d.rank, d.sort_at, d.turn, d.batch_id <= $13, d.batch_id, d.id) AS place
    FROM (SELECT u.*, row_number() OVER (PARTITION BY u.rank, u.sort_at, u.batch_id ORDER BY u.id) AS turn
          FROM (SELECT * FROM waiting UNION ALL SELECT * FROM ready) u) d
    ORDER BY place
    LIMIT CASE WHEN (SELECT probing FROM allowed) THEN 1 ELSE $3 END
),
leased AS (
    INSERT INTO customer_leases AS l (remote_id, customer_id, task_id, lease_owner, lease_epoch, lease_until)
    SELECT DISTINCT ON (d.customer_id) a.remote_id, d.customer_id, d.id, $4, greatest(d.lease_epoch, a.epoch_floor) + 1,
           clock_timestamp() + make_interval(secs => $5)
    FROM due d, allowed a ORDER BY d.customer_id, d.place
    ON CONFLICT (remote_id, customer_id) DO UPDATE
    SET task_id = excluded.task_id, lease_owner = excluded.lease_owner, lease_epoch = excluded.lease_epoch,
        lease_until = excluded.lease_until, rest_until = NULL
    WHERE coalesce(l.lease_until, '-infinity') <= clock_timestamp() AND coalesce(l.rest_until, '-infinity') <= clock_timestamp()
    RETURNING l.task_id, l.lease_epoch, l.lease_until
),
claimed AS (
    UPDATE image_deletion_tasks t
    SET state = CASE WHEN l.task_id IS NULL THEN 'pending' ELSE 'running' END,
        lease_owner = CASE WHEN l.task_id IS NOT NULL THEN $4 END,
        lease_until = l.lease_until,
        lease_epoch = coalesce(l.lease_epoch, t.lease_epoch),
        started_at = CASE WHEN l.task_id IS NULL THEN t.started_at ELSE coalesce(t.started_at, clock_timestamp()) END,
        waiting_for = CASE WHEN l.task_id IS NULL THEN 'customer' END,
        due_at = CASE WHEN l.task_id IS NULL
                 THEN greatest(clock_timestamp() + interval '5 seconds', (SELECT c.rest_until FROM customer_leases c WHERE c.remote_id = (SELECT remote_id FROM allowed) AND c.customer_id = t.customer_id))
                 ELSE t.due_at END,
        mode = CASE WHEN l.task_id IS NULL THEN t.mode ELSE coalesce(t.mode, $8) END,
        scope = CASE WHEN l.task_id IS NULL THEN t.scope ELSE coalesce(t.scope, CASE WHEN t.image_tokens IS NULL THEN $9 ELSE 'snapshot' END) END,
        account_id = CASE WHEN l.task_id IS NULL OR t.source IS NOT NULL THEN t.account_id ELSE coalesce(t.account_id, nullif($11, '')) END,
        source = CASE WHEN l.task_id IS NULL THEN t.source ELSE coalesce(t.source, $10) END
    FROM cmd, due d LEFT JOIN leased l ON l.task_id = d.id
    WHERE t.id = d.id AND cmd.command <> ''
    RETURNING t.*, d.cancelled, d.place
),
probe AS (
    UPDATE organizations o
    SET probe_task_id = c.id, probe_at = clock_timestamp() + o.probe_delay
    FROM claimed c, allowed a
    WHERE o.id = a.id AND a.probing AND c.state = 'running'
)
SELECT c.id, c.lease_epoch, c.customer_id, coalesce(c.source, ''), c.account_id, c.image_tokens, coalesce(c.mode, ''), coalesce(c.scope, ''), c.dry_run,
       c.cancelled, a.probing, a.foreign_seen, c.listed, c.relisting, c.review_as, c.call_sequence, c.api_calls, c.attempts,
       c.still_present, c.contradictions, c.refusals, c.images_found, c.images_new, c.lease_epoch > 1, c.batch_id, c.state = 'running'
FROM claimed c, allowed a
ORDER BY c.place`

// asideRounds bounds how often a claim goes on that only met tasks whose customers
// are taken: they wait from then on, and what stands behind them is claimed.
const asideRounds = 100

// ClaimTasks leases up to c.Limit tasks that are due to c.Owner and returns all
// that is known of them, in the order in which they are to be worked on. A
// customer of the organisation is never leased twice.
func (s *Store) ClaimTasks(ctx context.Context, c purge.Claim) ([]purge.Record, error) {
	if c.Limit <= 0 {
		return nil, nil
	}
	var claimed []claimedRow
	for range asideRounds {
		rows, err := s.pool.Query(ctx, tasksDueNow,
			c.Organization, c.Batch, c.Limit, c.Owner, seconds(c.Lease), c.Probe, c.ProbeNow,
			string(c.Mode), string(c.Scope), c.Source, c.AccountID, only(c.Only), c.After)
		if err != nil {
			return nil, fmt.Errorf("claim tasks: %w", err)
		}
		met, err := pgx.CollectRows(rows, pgx.RowToStructByPos[claimedRow])
		if err != nil {
			return nil, fmt.Errorf("claim tasks: %w", err)
		}
		claimed = slices.DeleteFunc(slices.Clone(met), func(row claimedRow) bool { return !row.Leased })
		if len(claimed) > 0 || len(met) == 0 {
			break
		}
	}
	records := make([]purge.Record, 0, len(claimed))
	index := make(map[int64]*purge.Record)
	var known []int64
	for _, row := range claimed {
		r, err := row.record(c.Owner)
		if err != nil {
			// It would come with every claim, and no other task with it.
			if err := s.putAside(ctx, c.Organization, r, err); err != nil {
				return nil, fmt.Errorf("claim tasks: %w", err)
			}
			continue
		}
		records = append(records, r)
		if row.Started {
			known = append(known, row.ID)
			index[row.ID] = &records[len(records)-1]
		}
	}
	if len(known) > 0 {
		if err := s.loadImages(ctx, known, index); err != nil {
			return nil, fmt.Errorf("claim tasks: %w", err)
		}
	}
	return records, nil
}

// putAside ends a claimed task that can't be read: a person decides.
func (s *Store) putAside(ctx context.Context, organization int64, r purge.Record, why error) error {
	_, err := s.Write(ctx, purge.Terms{Organization: organization}, []purge.Write{{
		Task: r.Task, Owner: r.Owner, Epoch: r.Epoch, Customer: r.Customer, Kind: purge.WriteFinish, Rest: purge.RestKeep,
		State: jobs.Review, Outcome: jobs.UnexpectedResponse, Message: why.Error(), Counters: r.Counters,
	}})
	return err
}

// only turns no list into null: any task.
func only(tasks []jobs.TaskID) []int64 {
	if tasks == nil {
		return nil
	}
	ids := make([]int64, len(tasks))
	for i, t := range tasks {
		ids[i] = int64(t)
	}
	return ids
}

func (row claimedRow) record(owner string) (purge.Record, error) {
	r := purge.Record{
		Task: jobs.TaskID(row.ID), Batch: row.BatchID, Owner: owner, Epoch: row.Epoch,
		Customer: jobs.Customer{ID: row.CustomerID, Source: row.Source},
		Mode:     jobs.Mode(row.Mode), Scope: jobs.Scope(row.Scope),
		DryRun: row.DryRun, Cancelled: row.Cancelled, Probe: row.Probe, Foreign: row.Foreign,
		Counters: purge.Counters{
			Sequence: row.CallSequence, APICalls: row.APICalls, Attempts: row.Attempts,
			StillPresent: row.StillPresent, Contradictions: row.Contradictions, Refusals: row.Refusals,
			Found: row.ImagesFound, New: row.ImagesNew, Listed: row.Listed, Relisting: row.Relisting,
		},
	}
	if row.AccountID != nil {
		r.Customer.AccountID = *row.AccountID
	}
	if row.ReviewAs != nil {
		r.ReviewAs = jobs.Outcome(*row.ReviewAs)
	}
	for _, t := range row.Tokens {
		var k jobs.Key
		if n, err := hex.Decode(k[:], []byte(t)); err != nil || n != len(k) {
			return r, fmt.Errorf("task %d: image_tokens holds something that is no digest", row.ID)
		}
		r.Named = append(r.Named, k)
	}
	return r, nil
}

// One index scan a task, whatever the statistics say.
const imagesOfTasks = `
SELECT i.task_id, i.image_key, i.position, i.state, coalesce(i.evidence, ''), i.sends, i.intended_at, i.answered_at,
       coalesce(i.http_status, 0), coalesce(i.error_code, ''), i.missing
FROM unnest($1::bigint[]) WITH ORDINALITY AS t(id, n)
CROSS JOIN LATERAL (SELECT * FROM task_images i WHERE i.task_id = t.id OFFSET 0) i
ORDER BY t.n, i.position, i.image_key`

// Images of a customer that other tasks of ours have deleted: their absence is
// no surprise to this one.
const deletedByOtherTasks = `
SELECT t.id, i.image_key
FROM image_deletion_tasks t
JOIN organizations mine ON mine.id = t.organization_id
JOIN organizations theirs ON theirs.remote_id = mine.remote_id
JOIN image_deletion_tasks o ON o.customer_id = t.customer_id AND o.organization_id = theirs.id AND o.id <> t.id
JOIN task_images i ON i.task_id = o.id AND i.state = 'deleted'
WHERE t.id = ANY ($1)`

func (s *Store) loadImages(ctx context.Context, ids []int64, index map[int64]*purge.Record) error {
	rows, err := s.pool.Query(ctx, imagesOfTasks, ids)
	if err != nil {
		return err
	}
	var (
		task                 int64
		key                  []byte
		im                   purge.Image
		state, evidence      string
		intendedAt, answered *time.Time
	)
	_, err = pgx.ForEachRow(rows, []any{&task, &key, &im.Position, &state, &evidence, &im.Sends, &intendedAt, &answered, &im.HTTPStatus, &im.Code, &im.Missing}, func() error {
		im.Key = jobs.Key(key)
		im.State, im.Evidence = jobs.ImageState(state), jobs.Evidence(evidence)
		im.IntendedAt, im.AnsweredAt = time.Time{}, time.Time{}
		if intendedAt != nil {
			im.IntendedAt = *intendedAt
		}
		if answered != nil {
			im.AnsweredAt = *answered
		}
		index[task].Images = append(index[task].Images, im)
		return nil
	})
	if err != nil {
		return err
	}
	rows, err = s.pool.Query(ctx, deletedByOtherTasks, ids)
	if err != nil {
		return err
	}
	_, err = pgx.ForEachRow(rows, []any{&task, &key}, func() error {
		index[task].DeletedElsewhere = append(index[task].DeletedElsewhere, jobs.Key(key))
		return nil
	})
	return err
}

// A lease that has run out gives its task back. The customer's own row keeps its
// rest, so nobody can touch him before it is over.
const leasesRunOut = `
WITH cmd AS MATERIALIZED (
    SELECT set_config('imagepurge.command', 'reclaim', true) AS command, set_config('synchronous_commit', 'on', true)
),
expired AS (
    SELECT id FROM image_deletion_tasks
    WHERE state = 'running' AND lease_until < (SELECT clock_timestamp())
    ORDER BY lease_until LIMIT 1000 FOR UPDATE SKIP LOCKED
)
UPDATE image_deletion_tasks t
SET state = 'pending', lease_owner = NULL, lease_until = NULL, due_at = clock_timestamp(), waiting_for = NULL
FROM cmd, expired e
WHERE t.id = e.id AND cmd.command <> ''`

// ReclaimTasks gives back the tasks of workers that have died, up to a thousand,
// and returns how many they were. They cost no attempt.
func (s *Store) ReclaimTasks(ctx context.Context) (int, error) {
	tag, err := s.pool.Exec(ctx, leasesRunOut)
	if err != nil {
		return 0, fmt.Errorf("reclaim tasks: %w", err)
	}
	return int(tag.RowsAffected()), nil
}

// sameServer is empty on a server that nobody has noted yet: after a fail-over or a
// restore no lease holds that was given before, for what its worker knows to be
// committed may be lost.
const sameServer = `same_server AS MATERIALIZED (
    SELECT s.epoch_floor FROM server_identity s JOIN pg_control_system() c USING (system_identifier)
    WHERE s.timeline = substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8)
),
`

// The customer's row decides, as in the claim; the task's row follows it. Rows
// are locked in one order everywhere, tasks by id and then customers by id, or
// writes, renewals and claims would wait for each other in a circle.
const renewals = `
WITH cmd AS MATERIALIZED (
    SELECT set_config('imagepurge.command', 'renew', true) AS command, set_config('synchronous_commit', 'on', true)
),
` + sameServer + `mine AS MATERIALIZED (
    SELECT t.id, o.remote_id, t.customer_id, m.epoch, m.owner
    FROM unnest($1::bigint[], $2::bigint[], $3::text[]) AS m(id, epoch, owner)
    JOIN image_deletion_tasks t ON t.id = m.id AND t.lease_epoch = m.epoch AND t.lease_owner = m.owner
    JOIN organizations o ON o.id = t.organization_id
    JOIN same_server s ON t.lease_epoch > s.epoch_floor
    ORDER BY t.id FOR NO KEY UPDATE OF t
),
theirs AS MATERIALIZED (
    SELECT m.id, l.remote_id, l.customer_id
    FROM mine m
    JOIN customer_leases l ON l.remote_id = m.remote_id AND l.customer_id = m.customer_id
     AND l.task_id = m.id AND l.lease_epoch = m.epoch AND l.lease_owner = m.owner
    WHERE l.lease_until > clock_timestamp()
    ORDER BY l.customer_id FOR UPDATE OF l
),
kept AS (
    UPDATE customer_leases l
    SET lease_until = clock_timestamp() + make_interval(secs => $4)
    FROM theirs m
    WHERE l.remote_id = m.remote_id AND l.customer_id = m.customer_id
    RETURNING l.task_id, l.lease_until
)
UPDATE image_deletion_tasks t
SET lease_until = k.lease_until
FROM cmd, kept k
WHERE t.id = k.task_id AND cmd.command <> ''
RETURNING t.id`

// RenewLeases prolongs leases by d from now and returns the tasks whose lease
// stands. One that has run out is not renewed.
func (s *Store) RenewLeases(ctx context.Context, owner string, leases []purge.Lease, d time.Duration) ([]jobs.TaskID, error) {
	ids, epochs, owners := make([]int64, len(leases)), make([]int64, len(leases)), make([]string, len(leases))
	for i, l := range leases {
		ids[i], epochs[i], owners[i] = int64(l.Task), l.Epoch, owner
	}
	rows, err := s.pool.Query(ctx, renewals, ids, epochs, owners, seconds(d))
	if err != nil {
		return nil, fmt.Errorf("renew leases: %w", err)
	}
	kept, err := pgx.CollectRows(rows, pgx.RowTo[jobs.TaskID])
	if err != nil {
		return nil, fmt.Errorf("renew leases: %w", err)
	}
	return kept, nil
}

// A fail-over shows in the system identifier or the timeline. An intent that had
// been committed before may be lost then, and its delete may still be under way:
// nothing is claimed until it can't run any more. Epochs go on far above any that
// the lost server can have given: no task is claimed a million times between two
// fail-overs.
const serverSeen = `
WITH here AS MATERIALIZED (
    SELECT system_identifier, substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8) AS timeline FROM pg_control_system()
)
UPDATE server_identity s
SET system_identifier = h.system_identifier, timeline = h.timeline, seen_at = clock_timestamp(),
    claims_from = clock_timestamp() + make_interval(secs => $1), epoch_floor = s.epoch_floor + 1000000
FROM here h
WHERE (s.system_identifier, s.timeline) IS DISTINCT FROM (h.system_identifier, h.timeline)
RETURNING s.claims_from`

// NoteServer compares the server with the one seen last. It returns true, once,
// where it has changed; claims then wait for so long, and no lease from before
// holds any more.
func (s *Store) NoteServer(ctx context.Context, rest time.Duration) (changed bool, err error) {
	tag, err := s.pool.Exec(ctx, serverSeen, seconds(rest))
	if err != nil {
		return false, fmt.Errorf("compare the database server: %w", err)
	}
	return tag.RowsAffected() > 0, nil
}

const restsOver = `
DELETE FROM customer_leases
WHERE ctid IN (SELECT ctid FROM customer_leases
               WHERE lease_owner IS NULL AND rest_until < (SELECT clock_timestamp())
               LIMIT 1000 FOR UPDATE SKIP LOCKED)`

// SweepRests removes the rows of customers that are neither leased nor rest.
func (s *Store) SweepRests(ctx context.Context) error {
	if _, err := s.pool.Exec(ctx, restsOver); err != nil {
		return fmt.Errorf("sweep customers' rests: %w", err)
	}
	return nil
}

// countsLock is held by a transaction that changes the counts of several batches,
// or two of them would wait for each other. To lock the batches' rows in order
// before they are changed would not do: where tasks come in by SQL meanwhile, whose
// foreign keys share these rows, Postgres deadlocks on the lock of one row.
const countsLock = `42, 1`

const arrivalsToFold = `
WITH gone AS (
    DELETE FROM batch_arrivals WHERE ctid IN (SELECT ctid FROM batch_arrivals LIMIT 10000 FOR UPDATE SKIP LOCKED)
    RETURNING batch_id, tasks, deadline
),
turn AS MATERIALIZED (SELECT pg_advisory_xact_lock(` + countsLock + `))
UPDATE batches b SET tasks_total = b.tasks_total + s.tasks, deadline = least(b.deadline, s.deadline)
FROM (SELECT batch_id, sum(tasks) AS tasks, min(deadline) AS deadline FROM gone GROUP BY batch_id) s
WHERE b.id = s.batch_id AND (SELECT count(*) FROM turn) > 0`

// FoldArrivals adds to the batches' totals the tasks that came by SQL.
func (s *Store) FoldArrivals(ctx context.Context) error {
	if _, err := s.pool.Exec(ctx, arrivalsToFold); err != nil {
		return fmt.Errorf("count tasks that came by SQL: %w", err)
	}
	return nil
}
