package repository

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
)

const remoteSeen = `
SELECT m.id, m.number, coalesce(r.host, 'unknown')
FROM organizations o JOIN remote_organizations m ON m.id = o.remote_id JOIN rate_budgets r ON r.id = o.budget_id
WHERE o.id = $1 FOR UPDATE OF o, m`

// PinOrganization records the number of the remote organisation whose images were
// seen with the organisation's credentials, if none is recorded, and returns the
// one that is; 0 records nothing. Two organisations of ours with one number are one remote
// organisation, and share its customers' leases from then on: what the later one
// has in hand, which can have deleted nothing yet, is taken back.
func (s *Store) PinOrganization(ctx context.Context, organization, number int64) (pinned int64, err error) {
	err = s.inTx(ctx, "pin", func(tx pgx.Tx) error {
		var (
			remote int64
			known  *int64
			host   string
		)
		// One at a time: two that see the same number at once would each keep
		// their own row.
		if _, err := tx.Exec(ctx, `SELECT pg_advisory_xact_lock(`+pinLock+`)`); err != nil {
			return err
		}
		if err := tx.QueryRow(ctx, remoteSeen, organization).Scan(&remote, &known, &host); err != nil {
			return err
		}
		if known != nil {
			pinned = *known
			return nil
		}
		if number == 0 {
			return nil
		}
		pinned = number
		tag, err := tx.Exec(ctx, `UPDATE organizations SET remote_id = m.id FROM remote_organizations m WHERE organizations.id = $1 AND m.host = $2 AND m.number = $3`,
			organization, host, number)
		if err != nil {
			return err
		}
		if tag.RowsAffected() == 0 {
			_, err = tx.Exec(ctx, `UPDATE remote_organizations SET host = $2, number = $3 WHERE id = $1`, remote, host, number)
			return err
		}
		if _, err := tx.Exec(ctx, `DELETE FROM customer_leases WHERE remote_id = $1`, remote); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, `UPDATE image_deletion_tasks SET lease_until = clock_timestamp() WHERE organization_id = $1 AND state = 'running'`, organization); err != nil {
			return err
		}
		_, err = tx.Exec(ctx, `DELETE FROM remote_organizations WHERE id = $1`, remote)
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("record the remote organisation: %w", err)
	}
	return pinned, nil
}

// pinLock is held by who pins an organisation.
const pinLock = `42, 2`
