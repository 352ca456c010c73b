package repository

import (
	"context"
	"encoding/json"

	"github.com/jackc/pgx/v5"
)

// Person is who acts, and where: both stand in the audit log.
type Person struct {
	Name    string            // the operating system's
	Host    string            // as the machine calls itself
	Claimed map[string]string // who the environment says it is, where that is somebody else
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
	if len(e.person.Claimed) > 0 {
		e.details["claimed"] = e.person.Claimed
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
