package repository

import (
	"context"
	"encoding/json"

	"github.com/jackc/pgx/v5"
)

// Person is who acts, and where: both stand in the audit log.
type Person struct {
	Name string
	Host string
}

// entry is one row of the audit log. IDs of 0 are null.
type entry struct {
	person              Person
	action              string
	organization, batch int64
	task                int64
	reason              string
	details             map[string]any
}

const auditEntry = `
INSERT INTO audit_entries (actor, host, action, organization_id, batch_id, task_id, reason, details)
VALUES ($1, $2, $3, nullif($4::bigint, 0), nullif($5::bigint, 0), nullif($6::bigint, 0), nullif($7, ''), $8::jsonb)`

func (e entry) write(ctx context.Context, tx pgx.Tx) error {
	if e.details == nil {
		e.details = map[string]any{}
	}
	details, err := json.Marshal(e.details)
	if err != nil {
		return err
	}
	_, err = tx.Exec(ctx, auditEntry, e.person.Name, e.person.Host, e.action, e.organization, e.batch, e.task, e.reason, string(details))
	if err == nil && wakes(e.action) {
		_, err = tx.Exec(ctx, notifyWorkers, Channel, e.organization)
	}
	return err
}
