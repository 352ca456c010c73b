package repository

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/imagepurge/imagepurge/jobs"
)

// Organization is a brand, and the state of its breaker.
type Organization struct {
	ID            int64      `json:"id"`
	Name          string     `json:"name"`
	Mode          *string    `json:"mode"`
	Scope         *string    `json:"scope"`
	Source        *string    `json:"source"`
	AccountID     *string    `json:"account_id"`
	BreakerReason *string    `json:"breaker_reason"`
	BreakerKind   *string    `json:"breaker_kind"`
	BreakerCode   *string    `json:"breaker_code"`
	BreakerStatus *int       `json:"breaker_http_status"`
	BreakerSince  *time.Time `json:"breaker_since"`
	ProbeAt       *time.Time `json:"probe_at"`
	PausedUntil   *time.Time `json:"budget_paused_until"`
}

// ErrNotFound says that there is no such row.
var ErrNotFound = errors.New("not found")

const organizationsKnown = `
SELECT o.id, o.name, o.mode, o.scope, o.source, o.account_id, o.breaker_reason, o.breaker_kind, o.breaker_code,
       o.breaker_http_status, o.breaker_since, o.probe_at,
       CASE WHEN r.paused_until > clock_timestamp() THEN r.paused_until END
FROM organizations o JOIN rate_budgets r ON r.id = o.budget_id
WHERE $1 = '' OR o.name = $1
ORDER BY o.id`

// Organizations returns all organisations, or the one of the given name.
func (s *Store) Organizations(ctx context.Context, name string) ([]Organization, error) {
	rows, err := s.pool.Query(ctx, organizationsKnown, name)
	if err != nil {
		return nil, fmt.Errorf("read organisations: %w", err)
	}
	all, err := pgx.CollectRows(rows, pgx.RowToStructByPos[Organization])
	if err != nil {
		return nil, fmt.Errorf("read organisations: %w", err)
	}
	return all, nil
}

// Settings are what tasks of an organisation are given when they are made. Empty
// values leave what is recorded.
type Settings struct {
	Mode      jobs.Mode
	Scope     jobs.Scope
	Source    string
	AccountID string
}

// The organisation that every installation has from the start takes the name of
// the first one that is configured, as long as nothing belongs to it. What a worker
// recorded for it need not be that one's.
const renameFirst = `
UPDATE organizations o SET name = $1, settings_recorded = '{}'
WHERE o.name = 'default' AND $1 <> 'default'
  AND NOT EXISTS (SELECT FROM organizations x WHERE x.name = $1)
  AND NOT EXISTS (SELECT FROM batches b WHERE b.organization_id = o.id)`

// Not by an upsert: the row that is not inserted would leave a budget behind.
const addOrganization = `
INSERT INTO organizations (name) SELECT $1 WHERE NOT EXISTS (SELECT FROM organizations WHERE name = $1) ON CONFLICT DO NOTHING`

// What a worker has recorded, or a person has decided, stands.
const recordOrganization = `
UPDATE organizations o
SET mode = CASE WHEN 'mode' = ANY (o.settings_recorded || o.settings_decided) THEN o.mode ELSE coalesce(nullif($2, ''), o.mode) END,
    scope = CASE WHEN 'scope' = ANY (o.settings_recorded || o.settings_decided) THEN o.scope ELSE coalesce(nullif($3, ''), o.scope) END,
    source = CASE WHEN 'source' = ANY (o.settings_recorded || o.settings_decided) THEN o.source ELSE coalesce(nullif($4, ''), o.source) END,
    account_id = CASE WHEN 'account_id' = ANY (o.settings_recorded || o.settings_decided) THEN o.account_id ELSE coalesce(nullif($5, ''), o.account_id) END
WHERE name = $1
RETURNING id`

// RecordOrganization makes sure that the organisation is there and records its
// settings, as long as no worker has: see [Store.Agree]. It returns its id.
func (s *Store) RecordOrganization(ctx context.Context, name string, set Settings) (id int64, err error) {
	err = s.inTx(ctx, "settings", func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, renameFirst, name); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, addOrganization, name); err != nil {
			return err
		}
		return tx.QueryRow(ctx, recordOrganization, name, string(set.Mode), string(set.Scope), set.Source, set.AccountID).Scan(&id)
	})
	if err != nil {
		return 0, fmt.Errorf("record organisation %s: %w", name, err)
	}
	return id, nil
}

const closeBreaker = `
UPDATE organizations SET breaker_reason = NULL, breaker_kind = NULL, breaker_code = NULL, breaker_http_status = NULL,
    breaker_since = NULL, probe_at = NULL, probe_delay = NULL, probe_task_id = NULL
WHERE name = $1 AND breaker_reason IS NOT NULL RETURNING id`

// CloseBreaker closes an organisation's breaker. It returns false where it was
// closed already.
func (s *Store) CloseBreaker(ctx context.Context, p Person, name, reason string) (closed bool, err error) {
	err = s.inTx(ctx, "breaker", func(tx pgx.Tx) error {
		var id int64
		switch err := tx.QueryRow(ctx, closeBreaker, name).Scan(&id); {
		case errors.Is(err, pgx.ErrNoRows):
			return nil
		case err != nil:
			return err
		}
		closed = true
		return entry{person: p, action: "breaker.close", organization: id, reason: reason}.write(ctx, tx)
	})
	if err != nil {
		return false, fmt.Errorf("close the breaker of %s: %w", name, err)
	}
	return closed, nil
}

const pause = `
INSERT INTO pauses (organization_id, paused_by, reason) VALUES (nullif($1::bigint, 0), $2, $3)
ON CONFLICT ((coalesce(organization_id, 0))) WHERE resumed_at IS NULL DO NOTHING`

// Pause stops all new intents of an organisation, or of everything (0), at once.
// It returns false where it was paused already.
func (s *Store) Pause(ctx context.Context, p Person, organization int64, reason string) (paused bool, err error) {
	err = s.inTx(ctx, "pause", func(tx pgx.Tx) error {
		tag, err := tx.Exec(ctx, pause, organization, p.Name, reason)
		if err != nil || tag.RowsAffected() == 0 {
			return err
		}
		paused = true
		return entry{person: p, action: "work.pause", organization: organization, reason: reason}.write(ctx, tx)
	})
	if err != nil {
		return false, fmt.Errorf("pause: %w", err)
	}
	return paused, nil
}

const resume = `
UPDATE pauses SET resumed_at = clock_timestamp(), resumed_by = $2
WHERE resumed_at IS NULL AND coalesce(organization_id, 0) = $1`

// Resume ends a pause. It returns false where there was none.
func (s *Store) Resume(ctx context.Context, p Person, organization int64, reason string) (resumed bool, err error) {
	err = s.inTx(ctx, "resume", func(tx pgx.Tx) error {
		tag, err := tx.Exec(ctx, resume, organization, p.Name)
		if err != nil || tag.RowsAffected() == 0 {
			return err
		}
		resumed = true
		return entry{person: p, action: "work.resume", organization: organization, reason: reason}.write(ctx, tx)
	})
	if err != nil {
		return false, fmt.Errorf("resume: %w", err)
	}
	return resumed, nil
}
