package repository

import (
	"context"
	"fmt"
	"time"

	"github.com/imagepurge/imagepurge/jobs/worker"
)

// A lost beat is nothing: it need not wait for the disk. The other workers are
// counted as they were before this statement, and itself is added.
const heartbeat = `
WITH cmd AS MATERIALIZED (
    SELECT set_config('imagepurge.command', 'beat', true) AS command, set_config('synchronous_commit', 'off', true)
),
beat AS (
    INSERT INTO workers AS w (name, organization_id, host, pid, version, in_flight, in_hand, calls, ended_at)
    SELECT $1, $2::bigint, $3, $4::bigint::integer, $5, $6::bigint::integer, $7::bigint::integer, $8::bigint, CASE WHEN $9 THEN clock_timestamp() END
    FROM cmd WHERE cmd.command <> ''
    ON CONFLICT (name) DO UPDATE
    SET seen_at = clock_timestamp(), in_flight = excluded.in_flight, in_hand = excluded.in_hand, calls = excluded.calls, ended_at = excluded.ended_at,
        -- The same worker in the next window begins anew.
        started_at = CASE WHEN w.ended_at IS NULL THEN w.started_at ELSE excluded.started_at END
    RETURNING w.xmax = 0 AS joined
)
SELECT b.joined, (SELECT count(*) FROM workers w
    WHERE w.organization_id = $2 AND w.ended_at IS NULL AND w.seen_at > clock_timestamp() - interval '15 seconds' AND w.name <> $1)
    + CASE WHEN $9 THEN 0 ELSE 1 END,
    (SELECT count(*) FROM organizations mine JOIN organizations o ON o.budget_id = mine.budget_id JOIN workers w ON w.organization_id = o.id
     WHERE mine.id = $2 AND w.ended_at IS NULL AND w.seen_at > clock_timestamp() - interval '15 seconds' AND w.name <> $1)
    + CASE WHEN $9 THEN 0 ELSE 1 END
FROM beat b`

// Of workers that are long gone nobody asks any more; their calls say who made them.
const workersGone = `DELETE FROM workers WHERE seen_at < clock_timestamp() - interval '30 days'`

// Beat says that a worker is there, or that it has ended, and returns how many of
// its organisation there are.
func (s *Store) Beat(ctx context.Context, b worker.Beat) (worker.Fleet, error) {
	var (
		fleet  worker.Fleet
		joined bool
	)
	err := s.pool.QueryRow(ctx, heartbeat, b.Worker, b.Organization, b.Host, b.PID, b.Version, b.InFlight, b.InHand, b.Calls, b.Ended).
		Scan(&joined, &fleet.Live, &fleet.Sharing)
	if err == nil && joined {
		_, err = s.pool.Exec(ctx, workersGone)
	}
	if err != nil {
		return worker.Fleet{}, fmt.Errorf("tell that the worker is there: %w", err)
	}
	return fleet, nil
}

// SilentAfter is how long a worker that did not stop in order may be silent before
// it is said to be.
const SilentAfter = 40 * time.Second

// WorkerSeen is a worker that has not ended in order, as it was seen last.
type WorkerSeen struct {
	Name         string    `json:"name"`
	Organization string    `json:"organization"`
	Host         string    `json:"host"`
	PID          int       `json:"pid"`
	Version      string    `json:"version"`
	StartedAt    time.Time `json:"started_at"`
	SeenAt       time.Time `json:"seen_at"`
	InFlight     int       `json:"in_flight"`
	InHand       int       `json:"in_hand"`
	Calls        int64     `json:"calls"`
	Silent       bool      `json:"silent"`
}

// A worker that was killed is shown for an hour.
const workersSeen = `
SELECT w.name, o.name, w.host, w.pid, w.version, w.started_at, w.seen_at, w.in_flight, w.in_hand, w.calls,
       w.seen_at < clock_timestamp() - make_interval(secs => $1)
FROM workers w JOIN organizations o ON o.id = w.organization_id
WHERE w.ended_at IS NULL AND w.seen_at > clock_timestamp() - interval '1 hour'
ORDER BY o.name, w.name`

// Workers returns the workers that have not ended in order, of the last hour.
func (s *Store) Workers(ctx context.Context) ([]WorkerSeen, error) {
	all, err := collect[WorkerSeen](ctx, s, workersSeen, SilentAfter.Seconds())
	if all == nil {
		all = []WorkerSeen{} // [] in JSON, not null
	}
	return all, err
}
