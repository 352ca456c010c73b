package repository

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/imagepurge/imagepurge/jobs"
)

const organizationNamed = `
SELECT coalesce((SELECT id FROM organizations WHERE name = $1), 0)`

// RecordCheck writes into the audit log that a person asked the API about a
// customer. The customer is named by a task alone (0: none), so that the log holds no
// id of his; no image is named either. No row of the task changes.
func (s *Store) RecordCheck(ctx context.Context, p Person, task int64, c Checked, httpStatus int, code string) error {
	details := map[string]any{"class": c.Class, "source": c.Source, "account_id": c.AccountID, "http_status": httpStatus, "error_code": code}
	if c.Class == string(jobs.ClassListed) {
		details["images_seen"] = len(c.Shown)
	}
	err := s.inTx(ctx, "check", func(tx pgx.Tx) error {
		var organization int64
		if err := tx.QueryRow(ctx, organizationNamed, c.Organization).Scan(&organization); err != nil {
			return err
		}
		return entry{person: p, action: "customer.check", organization: organization, task: task, details: details}.write(ctx, tx)
	})
	if err != nil {
		return fmt.Errorf("record that the customer was looked up: %w", err)
	}
	return nil
}
