package repository

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/imagepurge/imagepurge/jobs"
	"github.com/imagepurge/imagepurge/jobs/clearance"
	"github.com/imagepurge/imagepurge/jobs/purge"
	"github.com/imagepurge/imagepurge/jobs/worker"
)

// writeRow, imageRow and callRow are the forms in which the statement takes its
// input: one array of each for all tasks of a group.
type writeRow struct {
	N              int     `json:"n"`
	Task           int64   `json:"task_id"`
	Customer       int64   `json:"customer_id"`
	Owner          string  `json:"owner"`
	Epoch          int64   `json:"epoch"`
	Kind           string  `json:"kind"`
	State          *string `json:"state"`
	Outcome        *string `json:"outcome"`
	ErrorCode      *string `json:"error_code"`
	ErrorMessage   *string `json:"error_message"`
	HTTPStatus     *int    `json:"http_status"`
	Found          int     `json:"images_found"`
	Deleted        int     `json:"images_deleted"`
	New            int     `json:"images_new"`
	Attempts       int     `json:"attempts"`
	APICalls       int     `json:"api_calls"`
	Sequence       int     `json:"call_sequence"`
	Still          int     `json:"still_present"`
	Contradictions int     `json:"contradictions"`
	Refusals       int     `json:"refusals"`
	Listed         bool    `json:"listed"`
	Relisting      bool    `json:"relisting"`
	ReviewAs       *string `json:"review_as"`
	VerifiedAt     *string `json:"verified_at"`
	Rest           string  `json:"rest"`
	RestFor        float64 `json:"rest_for"`
	After          float64 `json:"after"`
	Waiting        *string `json:"waiting_for"`
	BreakerReason  *string `json:"breaker_reason"`
	BreakerKind    *string `json:"breaker_kind"`
	BreakerCode    *string `json:"breaker_code"`
	BreakerStatus  *int    `json:"breaker_http_status"`
	Passed         *string `json:"passed"`
	Pause          float64 `json:"pause"`
}

type imageRow struct {
	N          int     `json:"n"`
	Task       int64   `json:"task_id"`
	Key        string  `json:"image_key"`
	Position   int     `json:"position"`
	State      string  `json:"state"`
	Evidence   *string `json:"evidence"`
	AnsweredAt *string `json:"answered_at"`
	HTTPStatus *int    `json:"http_status"`
	Code       *string `json:"error_code"`
	Sends      int     `json:"sends"`
	Missing    bool    `json:"missing"`
}

type callRow struct {
	N          int     `json:"n"`
	Task       int64   `json:"task_id"`
	Sequence   int     `json:"sequence"`
	Kind       string  `json:"kind"`
	Position   *int    `json:"position"`
	Key        *string `json:"image_key"`
	Targets    *int    `json:"targets"`
	SentAt     *string `json:"sent_at"`
	AnsweredAt *string `json:"answered_at"`
	Class      *string `json:"class"`
	HTTPStatus *int    `json:"http_status"`
	Code       *string `json:"error_code"`
	ImagesSeen *int    `json:"images_seen"`
	Shown      *string `json:"shown"`
}

// mayStillWrite applies a group of writes, each all or nothing, in one statement
// and so in one commit. Its parts:
//
//   - held: the fence, first half. The task's row is this owner's in this epoch,
//     given by this very server, and no later write of it has come before: one that
//     was held up on its way does not undo what came after it.
//   - asked: each of these, with what forbids it if it is an intent.
//   - theirs: the fence, second half. The customer's own row says who has him. An
//     intent needs enough of the lease left to be sent and answered under it, and
//     prolongs it. A lease that ran out is not brought back, though what was learned
//     is still written: on another server somebody else may have had the customer.
//   - kept, released, written: the rows themselves; the rest follows from written.
//
// Rows are locked in one order everywhere, tasks by id and then customers by id,
// and several batches under a lock of their own, and the locks are held to the commit: groups, renewals and claims
// would wait for each other in a circle otherwise.
//
// The lists of input are joined on (id, epoch, owner). No column is compared with
// a constant that the statistics may never have seen: the planner would scan.
const mayStillWrite = `
WITH cmd AS MATERIALIZED (
    SELECT set_config('imagepurge.command', 'write', true) AS command, set_config('synchronous_commit', 'on', true)
),
w AS MATERIALIZED (
    SELECT * FROM jsonb_to_recordset($1::jsonb) AS w (
        n integer, task_id bigint, customer_id bigint, owner text, epoch bigint, kind text, state text, outcome text,
        error_code text, error_message text, http_status integer, images_found integer, images_deleted integer,
        images_new integer, attempts integer, api_calls integer, call_sequence integer, still_present integer,
        contradictions integer, refusals integer, listed boolean, relisting boolean, review_as text,
        verified_at timestamptz, rest text, rest_for double precision, after double precision, waiting_for text,
        breaker_reason text, breaker_kind text, breaker_code text, breaker_http_status integer, passed text,
        pause double precision)
),
` + sameServer + `held AS MATERIALIZED (
    SELECT w.n, t.batch_id, t.dry_run
    FROM w JOIN image_deletion_tasks t ON t.id = w.task_id AND t.lease_epoch = w.epoch AND t.lease_owner = w.owner
     AND t.call_sequence <= w.call_sequence
    JOIN same_server s ON t.lease_epoch > s.epoch_floor
    ORDER BY t.id FOR NO KEY UPDATE OF t
),
asked AS MATERIALIZED (
    SELECT w.*, held.batch_id, o.remote_id, clock_timestamp() AS at, CASE
        WHEN w.kind <> 'intent' THEN NULL
        WHEN held.dry_run THEN 'cancelled'
        WHEN b.state = 'cancelled' THEN 'cancelled'
        WHEN b.state = 'paused' THEN 'paused'
        WHEN EXISTS (SELECT FROM pauses p WHERE p.resumed_at IS NULL AND coalesce(p.organization_id, $4) = $4) THEN 'paused'
        WHEN EXISTS (SELECT FROM legal_holds h WHERE h.organization_id = ANY (ARRAY` + labelsOfRemote + `$4)) AND h.customer_id = w.customer_id AND h.released_at IS NULL) THEN 'held'
        WHEN o.breaker_reason IS NOT NULL AND o.probe_task_id IS DISTINCT FROM w.task_id THEN 'breaker'
        -- Pauses are an hour at most: a longer one is a clock's that was put back.
        WHEN r.paused_until > clock_timestamp() AND r.paused_until <= clock_timestamp() + interval '1 hour' THEN 'budget_pause'
        END AS forbidden
    FROM w
    JOIN held USING (n)
    JOIN batches b ON b.id = held.batch_id
    JOIN organizations o ON o.id = $4
    JOIN rate_budgets r ON r.id = o.budget_id
),
theirs AS MATERIALIZED (
    SELECT a.n, a.kind, a.rest, a.rest_for, l.remote_id, l.customer_id,
           a.kind IN ('give_back', 'finish') AND (a.rest = 'clear' OR a.rest = 'keep' AND coalesce(l.rest_until, '-infinity') <= a.at) AS over
    FROM asked a
    JOIN customer_leases l ON l.remote_id = a.remote_id AND l.customer_id = a.customer_id
     AND l.task_id = a.task_id AND l.lease_epoch = a.epoch AND l.lease_owner = a.owner
    WHERE a.forbidden IS NULL AND (a.kind <> 'intent' OR l.lease_until > clock_timestamp() + make_interval(secs => $6))
    ORDER BY l.customer_id FOR UPDATE OF l
),
released AS (
    DELETE FROM customer_leases l USING theirs a
    WHERE a.over AND l.remote_id = a.remote_id AND l.customer_id = a.customer_id
    RETURNING a.n, NULL::timestamptz AS lease_until, NULL::timestamptz AS rest_until
),
kept AS (
    UPDATE customer_leases l
    SET lease_until = CASE WHEN a.kind = 'progress' AND l.lease_until <= clock_timestamp() THEN l.lease_until
                           WHEN a.kind IN ('intent', 'progress') THEN clock_timestamp() + make_interval(secs => $5) END,
        lease_owner = CASE WHEN a.kind IN ('intent', 'progress') THEN l.lease_owner END,
        lease_epoch = CASE WHEN a.kind IN ('intent', 'progress') THEN l.lease_epoch END,
        task_id     = CASE WHEN a.kind IN ('intent', 'progress') THEN l.task_id END,
        rest_until  = CASE a.rest WHEN 'settle' THEN clock_timestamp() + make_interval(secs => a.rest_for)
                                  WHEN 'clear' THEN NULL ELSE l.rest_until END
    FROM theirs a
    WHERE NOT a.over AND l.remote_id = a.remote_id AND l.customer_id = a.customer_id
    RETURNING a.n, l.lease_until, l.rest_until
),
fenced AS (
    SELECT n, lease_until, rest_until FROM released
    UNION ALL SELECT n, lease_until, rest_until FROM kept
),
written AS (
    UPDATE image_deletion_tasks t
    SET state          = CASE a.kind WHEN 'finish' THEN a.state WHEN 'give_back' THEN 'pending' ELSE t.state END,
        outcome        = a.outcome,
        error_code     = a.error_code,
        error_message  = a.error_message,
        http_status    = a.http_status,
        images_found   = a.images_found,
        images_deleted = a.images_deleted,
        images_new     = a.images_new,
        attempts       = a.attempts,
        api_calls      = a.api_calls,
        call_sequence  = a.call_sequence,
        still_present  = a.still_present,
        contradictions = a.contradictions,
        refusals       = a.refusals,
        listed         = a.listed,
        relisting      = a.relisting,
        review_as      = CASE a.kind WHEN 'give_back' THEN a.review_as WHEN 'finish' THEN NULL ELSE t.review_as END,
        verified_at    = a.verified_at,
        lease_until    = f.lease_until,
        lease_owner    = CASE WHEN a.kind IN ('intent', 'progress') THEN t.lease_owner END,
        due_at         = CASE WHEN a.kind = 'give_back'
                         THEN greatest(clock_timestamp() + make_interval(secs => a.after), CASE WHEN a.rest = 'settle' THEN f.rest_until END)
                         ELSE t.due_at END,
        waiting_for    = CASE WHEN a.kind = 'give_back' THEN a.waiting_for END,
        finished_at    = CASE WHEN a.kind = 'finish' THEN clock_timestamp() END
    FROM cmd, asked a JOIN fenced f USING (n)
    WHERE t.id = a.task_id AND cmd.command <> ''
    RETURNING a.n, t.id, a.kind, a.owner, t.batch_id, t.state, t.outcome, t.lease_epoch, t.images_found, t.images_deleted, t.api_calls,
              t.started_at, a.breaker_reason, a.breaker_kind, a.breaker_code, a.breaker_http_status, a.passed, a.pause
),
images AS (
    INSERT INTO task_images AS i (task_id, image_key, position, state, evidence, intended_at, answered_at, http_status, error_code, sends, missing)
    SELECT r.task_id, decode(r.image_key, 'hex'), r.position, r.state, r.evidence,
           CASE WHEN r.state = 'intended' THEN clock_timestamp() END, r.answered_at, r.http_status, r.error_code, r.sends, r.missing
    FROM jsonb_to_recordset($2::jsonb) AS r (n integer, task_id bigint, image_key text, position integer, state text, evidence text,
         answered_at timestamptz, http_status integer, error_code text, sends integer, missing boolean)
    JOIN written USING (n)
    ON CONFLICT (task_id, image_key) DO UPDATE
    SET position = excluded.position, state = excluded.state, evidence = excluded.evidence,
        intended_at = CASE WHEN excluded.state = 'intended' THEN excluded.intended_at ELSE i.intended_at END,
        answered_at = excluded.answered_at, http_status = excluded.http_status, error_code = excluded.error_code,
        sends = excluded.sends, missing = excluded.missing
),
calls AS (
    INSERT INTO image_calls (task_id, sequence, kind, position, image_key, targets, sent_at, answered_at, class, http_status, error_code, images_seen, shown, worker, lease_epoch)
    SELECT r.task_id, r.sequence, r.kind, r.position, decode(r.image_key, 'hex'), r.targets, r.sent_at, r.answered_at, r.class,
           r.http_status, r.error_code, r.images_seen, decode(r.shown, 'hex'), w.owner, w.lease_epoch
    FROM jsonb_to_recordset($3::jsonb) AS r (n integer, task_id bigint, sequence integer, kind text, position integer, image_key text,
         targets integer, sent_at timestamptz, answered_at timestamptz, class text, http_status integer, error_code text, images_seen integer, shown text)
    JOIN written w USING (n)
    ON CONFLICT (task_id, sequence) DO UPDATE
    SET sent_at = excluded.sent_at, answered_at = excluded.answered_at, class = excluded.class,
        http_status = excluded.http_status, error_code = excluded.error_code
),
turn AS MATERIALIZED (
    SELECT pg_advisory_xact_lock(` + countsLock + `)
    FROM (SELECT FROM written WHERE kind = 'finish' HAVING count(DISTINCT batch_id) > 1) several
),
counted AS (
    UPDATE batches b
    SET tasks_completed = b.tasks_completed + s.completed, tasks_failed = b.tasks_failed + s.failed,
        tasks_review = b.tasks_review + s.review, tasks_cancelled = b.tasks_cancelled + s.cancelled,
        images_found = b.images_found + s.found, images_deleted = b.images_deleted + s.deleted, api_calls = b.api_calls + s.calls
    FROM (SELECT batch_id, count(*) FILTER (WHERE state = 'completed') AS completed, count(*) FILTER (WHERE state = 'failed') AS failed,
                 count(*) FILTER (WHERE state = 'review') AS review, count(*) FILTER (WHERE state = 'cancelled') AS cancelled,
                 sum(images_found) AS found, sum(images_deleted) AS deleted, sum(api_calls) AS calls
          FROM written WHERE kind = 'finish' GROUP BY batch_id) s
    WHERE b.id = s.batch_id AND (SELECT count(*) FROM turn) >= 0
),
breaker AS (
    UPDATE organizations o
    -- A probe that meets another organisation tells more than what has opened it.
    SET breaker_reason = CASE WHEN s.closes THEN NULL WHEN s.stays THEN o.breaker_reason ELSE s.breaker_reason END,
        breaker_kind = CASE WHEN s.closes THEN NULL WHEN s.stays THEN o.breaker_kind ELSE s.breaker_kind END,
        breaker_code = CASE WHEN s.closes THEN NULL WHEN s.stays THEN coalesce(o.breaker_code, s.breaker_code) ELSE s.breaker_code END,
        breaker_http_status = CASE WHEN s.closes THEN NULL WHEN s.stays THEN coalesce(o.breaker_http_status, s.breaker_http_status) ELSE s.breaker_http_status END,
        breaker_since = CASE WHEN s.closes THEN NULL ELSE coalesce(o.breaker_since, clock_timestamp()) END,
        -- The delay doubles with every probe that fails: credentials tried in a
        -- loop may lock the till.
        probe_delay = CASE WHEN s.closes THEN NULL WHEN o.breaker_reason IS NULL THEN interval '1 minute'
                      ELSE least(o.probe_delay * 2, interval '1 hour') END,
        probe_at = CASE WHEN s.closes THEN NULL WHEN o.breaker_reason IS NULL THEN clock_timestamp() + interval '1 minute'
                   ELSE clock_timestamp() + least(o.probe_delay * 2, interval '1 hour') END,
        probe_task_id = NULL
    FROM (SELECT DISTINCT ON (o.id) o.id, w.n, w.id AS task_id, w.breaker_reason, w.breaker_kind, w.breaker_code, w.breaker_http_status,
                 w.passed IS NOT NULL AS closes,
                 o.breaker_reason IS NOT NULL AND (w.breaker_reason <> 'wrong_organisation' OR o.breaker_reason = 'wrong_organisation') AS stays
          FROM written w JOIN organizations o ON o.id = $4
          WHERE w.breaker_reason IS NOT NULL AND (o.breaker_reason IS NULL OR o.probe_task_id = w.id
                OR w.breaker_reason = 'wrong_organisation' AND o.breaker_reason <> 'wrong_organisation')
             OR w.passed IS NOT NULL AND o.probe_task_id = w.id
                AND (o.breaker_kind = w.passed OR o.breaker_kind = 'list' OR o.breaker_reason = 'api_unavailable')
          ORDER BY o.id, w.n) s
    -- Said of the row as it is now: of many refusals at once the first opens it,
    -- and the others are no probes. Another organisation's image counts whoever saw it:
    -- a probe under way beside it, answered without images, would close the breaker else.
    WHERE o.id = s.id AND (o.probe_task_id = s.task_id OR o.breaker_reason IS NULL AND NOT s.closes
                           OR NOT s.closes AND s.breaker_reason = 'wrong_organisation' AND o.breaker_reason <> 'wrong_organisation')
    RETURNING s.n, s.closes, NOT s.closes AND o.probe_delay = interval '1 minute' AS opened
),
budget AS (
    UPDATE rate_budgets r
    SET paused_until = greatest(CASE WHEN r.paused_until <= clock_timestamp() + interval '1 hour' THEN r.paused_until END, clock_timestamp() + make_interval(secs => s.pause))
    FROM (SELECT max(pause) AS pause FROM written WHERE pause > 0 HAVING count(*) > 0) s, organizations o
    WHERE o.id = $4 AND r.id = o.budget_id
),
audited AS (
    INSERT INTO audit_entries (actor, host, action, organization_id, batch_id, task_id, details)
    SELECT owner, $7, 'task.finish', $4, batch_id, id, jsonb_build_object('state', state, 'outcome', outcome,
           'images_found', images_found, 'images_deleted', images_deleted, 'epoch', lease_epoch)
    FROM written WHERE kind = 'finish'
    UNION ALL
    SELECT w.owner, $7, 'breaker.open', $4, NULL, w.id, jsonb_build_object('reason', w.breaker_reason, 'kind', w.breaker_kind,
           'code', w.breaker_code, 'http_status', w.breaker_http_status)
    FROM breaker b JOIN written w USING (n) WHERE b.opened
    UNION ALL
    SELECT w.owner, $7, 'breaker.close', $4, NULL, w.id, jsonb_build_object('probe', w.passed)
    FROM breaker b JOIN written w USING (n) WHERE b.closes
)
SELECT w.n, written.n IS NOT NULL,
       coalesce(asked.forbidden, CASE WHEN w.kind = 'intent' AND EXISTS (
           SELECT FROM image_deletion_tasks t WHERE t.id = w.task_id AND t.lease_epoch = w.epoch AND t.lease_owner = w.owner
              AND t.lease_until > clock_timestamp()) THEN 'lease_short' ELSE 'lease_lost' END)
FROM w LEFT JOIN asked USING (n) LEFT JOIN written USING (n)
ORDER BY w.n`

// Write applies a group of writes of one worker, each by itself all or nothing,
// in one commit, and returns a result for each. An error says nothing of whether
// they were applied; as their values are absolute, they may be written again.
//
// It is here, and only here, that a DELETE's clearance is issued: after the
// commit of its intent.
func (s *Store) Write(ctx context.Context, t purge.Terms, writes []purge.Write) ([]purge.Result, error) {
	began := s.now()
	var in input
	for n, w := range writes {
		in.add(n, w)
	}
	encoded, err := in.encode()
	if err != nil {
		return nil, fmt.Errorf("write: %w: %w", worker.ErrRefusedByDatabase, err)
	}
	rows, err := s.pool.Query(ctx, mayStillWrite, encoded[0], encoded[1], encoded[2], t.Organization, seconds(t.Lease),
		seconds(t.RequestTimeout+jobs.SendMargin), t.Host)
	if err != nil {
		return nil, writeError(err)
	}
	results := make([]purge.Result, len(writes))
	var (
		n       int
		applied bool
		refused string
	)
	_, err = pgx.ForEachRow(rows, []any{&n, &applied, &refused}, func() error {
		results[n].Applied = applied
		if !applied {
			results[n].Refused = purge.Refusal(refused)
		}
		return nil
	})
	if err != nil {
		return nil, writeError(err)
	}
	for n, w := range writes {
		if results[n].Applied && w.Kind == purge.WriteIntent {
			results[n].Clearance = clearance.Issue(clearance.Intent{
				Task: w.Task, Epoch: w.Epoch, Customer: w.Customer, Targets: w.Targets, BeganAt: began, Margin: jobs.SendMargin,
			})
		}
	}
	return results, nil
}

// writeError tells a write that will never pass from one that may, and names a
// full disk for what it is. A data error of the statement or of its values is
// the same the next time.
func writeError(err error) error {
	var pe *pgconn.PgError
	if errors.As(err, &pe) {
		switch pe.Code[:2] {
		case "21", "22", "23", "42", "P0":
			return fmt.Errorf("write: %w: %w", worker.ErrRefusedByDatabase, err)
		case "53":
			if pe.Code == "53100" {
				return fmt.Errorf("write: the database's disk is full; free space there and work goes on by itself: %w", err)
			}
		}
	}
	return fmt.Errorf("write: %w", err)
}

// input gathers the rows of a group, as JSON arrays.
type input struct {
	writes []writeRow
	images []imageRow
	calls  []callRow
}

func (in *input) add(n int, w purge.Write) {
	c := w.Counters
	row := writeRow{
		N: n, Task: int64(w.Task), Customer: w.Customer.ID, Owner: w.Owner, Epoch: w.Epoch, Kind: string(w.Kind),
		State: text(w.State), Outcome: text(w.Outcome),
		ErrorCode: text(w.Code), ErrorMessage: text(w.Message), HTTPStatus: number(w.HTTPStatus),
		Found: c.Found, Deleted: w.Deleted, New: c.New, Attempts: c.Attempts, APICalls: c.APICalls, Sequence: c.Sequence,
		Still: c.StillPresent, Contradictions: c.Contradictions, Refusals: c.Refusals, Listed: c.Listed, Relisting: c.Relisting,
		ReviewAs: text(w.ReviewAs), VerifiedAt: instant(w.VerifiedAt),
		Rest: string(w.Rest), RestFor: seconds(w.RestFor), After: seconds(w.After), Waiting: text(w.Waiting),
		Passed: text(w.Passed), Pause: seconds(w.PauseBudget),
	}
	if b := w.Breaker; b != nil {
		row.BreakerReason, row.BreakerKind = &b.Reason, text(b.Kind)
		row.BreakerCode, row.BreakerStatus = text(b.Code), number(b.HTTPStatus)
	}
	in.writes = append(in.writes, row)
	for _, im := range w.Images {
		in.images = append(in.images, imageRow{
			N: n, Task: int64(w.Task), Key: hex.EncodeToString(im.Key[:]), Position: im.Position, State: string(im.State),
			Evidence: text(im.Evidence), AnsweredAt: instant(im.AnsweredAt), HTTPStatus: number(im.HTTPStatus), Code: text(im.Code),
			Sends: im.Sends, Missing: im.Missing,
		})
	}
	for _, call := range w.Calls {
		r := callRow{
			N: n, Task: int64(w.Task), Sequence: call.Sequence, Kind: string(call.Kind),
			SentAt: instant(call.SentAt), AnsweredAt: instant(call.AnsweredAt), Class: text(call.Class),
			HTTPStatus: number(call.HTTPStatus), Code: text(call.Code),
		}
		if call.ImagesSeen >= 0 {
			shown := shownText(call.Shown)
			r.ImagesSeen, r.Shown = &call.ImagesSeen, &shown
		}
		if call.Kind == jobs.DeleteCall {
			key := hex.EncodeToString(call.Key[:])
			r.Position, r.Key, r.Targets = &call.Position, &key, number(call.Targets)
		}
		in.calls = append(in.calls, r)
	}
}

// encode writes the arrays as JSON text, which every mode of the driver can send,
// those for old poolers as well.
func (in *input) encode() (arrays [3]string, err error) {
	for i, list := range []any{orEmpty(in.writes), orEmpty(in.images), orEmpty(in.calls)} {
		b, err := json.Marshal(list)
		if err != nil {
			return arrays, err
		}
		arrays[i] = string(b)
	}
	return arrays, nil
}

// orEmpty makes an empty list of none, where null would be no list at all.
func orEmpty[E any](list []E) []E {
	if list == nil {
		return []E{}
	}
	return list
}

// text returns nil for an empty word: the column is null then.
func text[W ~string](w W) *string {
	if w == "" {
		return nil
	}
	s := string(w)
	return &s
}

func number(n int) *int {
	if n == 0 {
		return nil
	}
	return &n
}

func instant(t time.Time) *string {
	if t.IsZero() {
		return nil
	}
	s := t.UTC().Format(time.RFC3339Nano)
	return &s
}
