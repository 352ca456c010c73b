//go:build linux

package main_test

import (
	"context"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
)

// Each of these finds rows that contradict others: customers, and what is wrong.
var contradictions = map[string]string{
	"a task is not at rest in any end": `SELECT customer_id FROM image_deletion_tasks WHERE finished_at IS NULL`,
	"an image is intended, unknown or planned though its task was completed": `SELECT t.customer_id FROM task_images i JOIN image_deletion_tasks t ON t.id = i.task_id
WHERE i.state IN ('planned', 'intended', 'unknown') AND t.state = 'completed'`,
	"a task's counts are not those of its images": `SELECT t.customer_id FROM image_deletion_tasks t LEFT JOIN task_images i ON i.task_id = t.id
GROUP BY t.id HAVING t.images_deleted <> count(*) FILTER (WHERE i.state = 'deleted') OR t.images_found <> count(*) FILTER (WHERE i.state <> 'bystander')`,
	"a task's calls are not those that were sent for it": `SELECT t.customer_id FROM image_deletion_tasks t LEFT JOIN image_calls c ON c.task_id = t.id
GROUP BY t.id HAVING t.api_calls <> count(*) FILTER (WHERE c.sent_at IS NOT NULL OR c.kind = 'delete' AND c.class IS NULL)`,
	"an image's sends are not the DELETEs for it": `SELECT t.customer_id FROM image_deletion_tasks t JOIN task_images i ON i.task_id = t.id
LEFT JOIN image_calls c ON c.task_id = t.id AND c.image_key = i.image_key AND (c.sent_at IS NOT NULL OR c.class IS NULL)
GROUP BY t.id, i.image_key, i.sends HAVING i.sends <> count(c.sequence)`,
	"an end is not in the audit log": `SELECT t.customer_id FROM image_deletion_tasks t WHERE t.state <> 'cancelled' AND t.outcome IS DISTINCT FROM (
SELECT a.details->>'outcome' FROM audit_entries a WHERE a.task_id = t.id AND a.action = 'task.finish' ORDER BY a.id DESC LIMIT 1)`,
	"a task's calls are not numbered without a gap": `SELECT t.customer_id FROM image_deletion_tasks t JOIN image_calls c ON c.task_id = t.id
GROUP BY t.id HAVING t.call_sequence < max(c.sequence) OR count(*) <> max(c.sequence)`,
	"a call is of an epoch after its task's": `SELECT t.customer_id FROM image_deletion_tasks t JOIN image_calls c ON c.task_id = t.id WHERE c.lease_epoch > t.lease_epoch`,
	"an earlier call is of a later epoch": `SELECT t.customer_id FROM image_deletion_tasks t JOIN image_calls a ON a.task_id = t.id JOIN image_calls b ON b.task_id = t.id
WHERE a.sequence < b.sequence AND a.lease_epoch > b.lease_epoch`,
	"one epoch has two workers": `SELECT t.customer_id FROM image_deletion_tasks t JOIN image_calls a ON a.task_id = t.id JOIN image_calls b ON b.task_id = t.id
WHERE a.lease_epoch = b.lease_epoch AND a.worker <> b.worker`,
	"a deleted image has no call that was sent for it": `SELECT t.customer_id FROM image_deletion_tasks t JOIN task_images i ON i.task_id = t.id
WHERE i.state = 'deleted' AND NOT EXISTS (SELECT FROM image_calls c WHERE c.task_id = t.id AND c.image_key = i.image_key AND c.class IS DISTINCT FROM 'not_sent')`,
	"a completed task was not verified after its last delete": `SELECT t.customer_id FROM image_deletion_tasks t WHERE t.outcome = 'images_deleted'
AND (t.verified_at IS NULL OR EXISTS (SELECT FROM image_calls c WHERE c.task_id = t.id AND c.kind = 'delete' AND c.class IS DISTINCT FROM 'not_sent' AND c.answered_at > t.verified_at))`,
	"a DELETE was sent after its batch was cancelled": `SELECT t.customer_id FROM image_deletion_tasks t JOIN image_calls c ON c.task_id = t.id
JOIN audit_entries a ON a.batch_id = t.batch_id AND a.action = 'batch.cancel' WHERE c.kind = 'delete' AND c.sent_at > a.at + interval '2 seconds'`,
	"a customer is still leased": `SELECT customer_id FROM customer_leases WHERE lease_owner IS NOT NULL`,
	"a batch's counts are not those of its tasks": `SELECT -b.id FROM batches b LEFT JOIN image_deletion_tasks t ON t.batch_id = b.id
GROUP BY b.id HAVING b.tasks_total + coalesce((SELECT sum(a.tasks) FROM batch_arrivals a WHERE a.batch_id = b.id), 0) <> count(t.id)
  OR b.tasks_completed <> count(*) FILTER (WHERE t.state = 'completed') OR b.tasks_failed <> count(*) FILTER (WHERE t.state = 'failed')
  OR b.tasks_cancelled <> count(*) FILTER (WHERE t.state = 'cancelled')
  OR b.tasks_review <> count(*) FILTER (WHERE t.state = 'review') OR b.images_found <> coalesce(sum(t.images_found) FILTER (WHERE t.finished_at IS NOT NULL), 0)
  OR b.images_deleted <> coalesce(sum(t.images_deleted) FILTER (WHERE t.finished_at IS NOT NULL), 0)
  OR b.api_calls <> coalesce(sum(t.api_calls) FILTER (WHERE t.finished_at IS NOT NULL), 0)`,
}

// rows looks for rows that contradict others.
func (c *court) rows(ctx context.Context) error {
	return c.cluster.ask(ctx, "imagepurge", func(ctx context.Context, conn *pgx.Conn) error {
		for _, what := range slices.Sorted(maps.Keys(contradictions)) {
			rows, err := conn.Query(ctx, contradictions[what])
			if err != nil {
				return fmt.Errorf("%s: %w", what, err)
			}
			found, err := pgx.CollectRows(rows, pgx.RowTo[int64])
			if err != nil {
				return fmt.Errorf("%s: %w", what, err)
			}
			for _, customer := range found {
				c.find(customer, "%s", what)
			}
		}
		return nil
	})
}

// aCustomer is how one would stand in an output.
var aCustomer = regexp.MustCompile(`\b70000[0-9]{4}\b`)

// outputs looks through all that was written for secrets, for customers, and for
// the end of a program by its own fault.
func (c *court) outputs() {
	for _, p := range c.ran {
		if p.args[0] == "sandbox" { // says on purpose by which key it is called
			continue
		}
		text := p.out.String() + p.errOut.String()
		found := c.secretsIn(text)
		if strings.Contains(text, databasePassword) {
			found = append(found, "the database's password")
		}
		for _, secret := range found {
			c.find(0, "a secret (%s) was written by imagepurge %s", secret, p.args)
		}
		if p.args[0] != "run" {
			continue
		}
		for _, word := range []string{"panic:", "fatal error:", "the database refused a write", "DATA RACE"} {
			if at := strings.Index(text, word); at >= 0 {
				c.find(0, "a worker wrote: %s", text[at:min(at+1500, len(text))])
			}
		}
		if at := aCustomer.FindStringIndex(text); at != nil {
			c.find(0, "a worker named a customer: %s", text[max(0, at[0]-300):min(at[1]+100, len(text))])
		}
	}
}
