package repository

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/imagepurge/imagepurge/jobs/purge"
)

// The same jumps as in the claim: nothing is counted. Whom a legal hold protects
// waits for nothing that time could bring. A time that somebody gave a task may lie
// years ahead: it is waited for in its last hour.
const whatIsLeft = `
WITH RECURSIVE ` + openBatches + `ready AS (
    SELECT b.id, b.state, (SELECT true FROM image_deletion_tasks t
        WHERE t.state = 'pending' AND t.waiting_for IS NULL AND t.batch_id = b.id
          AND ` + notHeld + `
        ORDER BY t.sort_at, t.id LIMIT 1) AS some
    FROM ready_in p JOIN batches b ON b.id = p.batch_id
    WHERE b.organization_id = $1 AND ($2::bigint = 0 OR b.id = $2)
),
waiting AS (
    SELECT b.state, t.due_at, t.waiting_for <> 'due' OR t.due_at < clock_timestamp() + interval '1 hour' AS soon
    FROM waiting_in w JOIN batches b ON b.id = w.batch_id
    LEFT JOIN LATERAL (
        SELECT t.due_at, t.waiting_for FROM image_deletion_tasks t
        WHERE t.state = 'pending' AND t.waiting_for IS NOT NULL AND t.batch_id = b.id
          AND ` + notHeld + `
        ORDER BY t.due_at, t.id LIMIT 1) t ON true
    WHERE b.organization_id = $1 AND ($2::bigint = 0 OR b.id = $2)
),
leased AS (
    SELECT min(t.lease_until) AS lease_until FROM image_deletion_tasks t
    WHERE t.state = 'running' AND t.organization_id = $1 AND ($2::bigint = 0 OR t.batch_id = $2)
),
pause AS (
    SELECT paused_by, reason FROM pauses WHERE resumed_at IS NULL AND coalesce(organization_id, $1) = $1 ORDER BY id LIMIT 1
)
SELECT EXISTS (SELECT FROM ready r WHERE r.state <> 'paused' AND r.some),
       EXISTS (SELECT FROM waiting WHERE state <> 'paused' AND soon),
       (SELECT min(due_at) FROM waiting WHERE state <> 'paused'),
       (SELECT lease_until FROM leased),
       EXISTS (SELECT FROM ready WHERE state = 'paused') OR EXISTS (SELECT FROM waiting WHERE state = 'paused'),
       clock_timestamp(),
       (SELECT claims_from FROM server_identity WHERE claims_from > clock_timestamp()),
       coalesce(o.breaker_reason, ''), coalesce(o.breaker_code, ''), coalesce(o.breaker_http_status, 0), o.breaker_since, o.probe_at,
       (SELECT paused_by FROM pause), (SELECT reason FROM pause)
FROM organizations o WHERE o.id = $1`

// Outlook says what is left to do for an organisation, or for one batch of it,
// and what that waits for.
func (s *Store) Outlook(ctx context.Context, organization, batch int64) (purge.Outlook, error) {
	var (
		o                             purge.Outlook
		due, lease, claims, since, at *time.Time
		pausedBy, reason              *string
	)
	err := s.pool.QueryRow(ctx, whatIsLeft, organization, batch).Scan(&o.Ready, &o.Waiting, &due, &lease, &o.Blocked, &o.Now, &claims,
		&o.Breaker, &o.BreakerCode, &o.BreakerStatus, &since, &at, &pausedBy, &reason)
	if errors.Is(err, pgx.ErrNoRows) {
		return o, fmt.Errorf("there is no organisation %d", organization)
	}
	if err != nil {
		return o, fmt.Errorf("look for work: %w", err)
	}
	o.NextDue, o.NoClaimsUntil, o.BreakerSince, o.NextProbeAt = orZero(due), orZero(claims), orZero(since), orZero(at)
	o.Leased, o.LeaseTo = lease != nil, orZero(lease)
	if pausedBy != nil {
		o.Paused, o.PausedBy, o.PauseReason = true, *pausedBy, *reason
	}
	return o, nil
}

func orZero(t *time.Time) time.Time {
	if t == nil {
		return time.Time{}
	}
	return *t
}
