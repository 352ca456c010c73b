package repository

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
)

const remoteSeen = `
SELECT m.id, m.number FROM organizations o JOIN remote_organizations m ON m.id = o.remote_id WHERE o.id = $1 FOR UPDATE OF o, m`

// labelsOfRemote begins a subquery of our organisations that are one with another, at
// the API.
const labelsOfRemote = `(SELECT x.id FROM organizations x JOIN organizations mine USING (remote_id) WHERE mine.id = `

// notHeld is true of a task t of organisation $1 where no legal hold is in force on its
// customer, under any of the remote organisation's labels.
const notHeld = `NOT EXISTS (SELECT FROM legal_holds h WHERE h.organization_id = ANY (ARRAY` + labelsOfRemote + `$1)) AND h.customer_id = t.customer_id AND h.released_at IS NULL)`

const (
	// Rows are locked in the order of all statements, tasks by id and then customers.
	leasesEnd = `
UPDATE image_deletion_tasks t SET lease_until = clock_timestamp()
FROM (SELECT id FROM image_deletion_tasks WHERE organization_id = $1 AND state = 'running' ORDER BY id FOR NO KEY UPDATE) r WHERE t.id = r.id`

	// restsMove keeps at rest, under the label that stays, those whom a delete under the
	// other may still reach. The row that goes is read as it is deleted, with what an
	// intent committed while this waited for it. Who has such a customer in hand loses
	// him: his writes would end a rest that is not his.
	restsMove = `
WITH gone AS (
    DELETE FROM customer_leases l USING (SELECT customer_id FROM customer_leases WHERE remote_id = $1 ORDER BY customer_id FOR UPDATE) o
    WHERE l.remote_id = $1 AND l.customer_id = o.customer_id RETURNING l.customer_id, l.rest_until
)
INSERT INTO customer_leases AS l (remote_id, customer_id, rest_until)
SELECT m.id, g.customer_id, g.rest_until FROM gone g, remote_organizations m WHERE m.number = $2 AND g.rest_until > clock_timestamp()
ON CONFLICT (remote_id, customer_id) DO UPDATE
SET rest_until = greatest(l.rest_until, excluded.rest_until), task_id = NULL, lease_owner = NULL, lease_epoch = NULL, lease_until = NULL`
)

// PinOrganization records the number of the remote organisation whose images were
// seen with the organisation's credentials, if none is recorded, and returns the
// one that is; 0 records nothing. Two organisations of ours with one number are one
// remote organisation, and share its customers' leases and legal holds from then on:
// what the later one has in hand is taken back, and whom it lets rest goes on resting.
func (s *Store) PinOrganization(ctx context.Context, organization, number int64) (pinned int64, err error) {
	err = s.inTx(ctx, "pin", func(tx pgx.Tx) error {
		var (
			remote int64
			known  *int64
		)
		// One at a time: two that see the same number at once would each keep
		// their own row.
		if _, err := tx.Exec(ctx, `SELECT pg_advisory_xact_lock(`+pinLock+`)`); err != nil {
			return err
		}
		if err := tx.QueryRow(ctx, remoteSeen, organization).Scan(&remote, &known); err != nil {
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
		tag, err := tx.Exec(ctx, `UPDATE organizations SET remote_id = m.id FROM remote_organizations m WHERE organizations.id = $1 AND m.number = $2`, organization, number)
		if err != nil {
			return err
		}
		if tag.RowsAffected() == 0 {
			_, err = tx.Exec(ctx, `UPDATE remote_organizations SET number = $2 WHERE id = $1`, remote, number)
			return err
		}
		if _, err := tx.Exec(ctx, leasesEnd, organization); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, restsMove, remote, number); err != nil {
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
