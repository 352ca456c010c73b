//go:build linux

package main_test

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/imagepurge/imagepurge/capillary/sandbox"
)

// known is what a database holds of images and calls.
type known struct {
	images map[int64]map[string]image // by customer and digest
	calls  map[callKey]calledRow
}

// callKey names a call across databases that were restored: a task's number may
// be another customer's in the next.
type callKey struct {
	customer, task, epoch int64
	sequence              int
	worker                string
}

type calledRow struct {
	kind, class, key string
	position         int
}

const everyCall = `SELECT t.customer_id, c.task_id, c.lease_epoch, c.sequence, c.worker, c.kind, coalesce(c.class, ''), coalesce(encode(c.image_key, 'hex'), ''), coalesce(c.position, -1)
FROM image_calls c JOIN image_deletion_tasks t ON t.id = c.task_id`

const everyImage = `SELECT t.customer_id, encode(i.image_key, 'hex'), i.state, i.sends
FROM task_images i JOIN image_deletion_tasks t ON t.id = i.task_id`

// known reads the database as it is, past the links.
func (h *house) known(ctx context.Context) (known, error) {
	k := known{images: make(map[int64]map[string]image), calls: make(map[callKey]calledRow)}
	return k, h.cluster.ask(ctx, "imagepurge", func(ctx context.Context, conn *pgx.Conn) error {
		rows, err := conn.Query(ctx, everyCall)
		if err != nil {
			return err
		}
		var (
			id   callKey
			call calledRow
		)
		if _, err = pgx.ForEachRow(rows, []any{&id.customer, &id.task, &id.epoch, &id.sequence, &id.worker, &call.kind, &call.class, &call.key, &call.position}, func() error {
			k.calls[id] = call
			return nil
		}); err != nil {
			return err
		}
		if rows, err = conn.Query(ctx, everyImage); err != nil {
			return err
		}
		var (
			customer int64
			key      string
			im       image
		)
		_, err = pgx.ForEachRow(rows, []any{&customer, &key, &im.State, &im.Sends}, func() error {
			if k.images[customer] == nil {
				k.images[customer] = make(map[string]image)
			}
			k.images[customer][key] = im
			return nil
		})
		return err
	})
}

// verdict is what the judge found, by customer; 0: of no one.
type verdict map[int64][]string

func (v verdict) find(customer int64, format string, args ...any) {
	v[customer] = append(v[customer], fmt.Sprintf(format, args...))
}

// harm is the worst that the judge can find.
const harm = "an image that is no target"

// harmed counts the customers of whom a wrong image is gone.
func (v verdict) harmed() (n int) {
	for customer := range v {
		if v.isHarm(customer) {
			n++
		}
	}
	return n
}

func (v verdict) isHarm(customer int64) bool {
	return slices.ContainsFunc(v[customer], func(what string) bool { return strings.Contains(what, harm) })
}

// customers are those of whom something was found, the worst first.
func (v verdict) customers() []int64 {
	return slices.SortedFunc(maps.Keys(v), func(a, b int64) int {
		if v.isHarm(a) != v.isHarm(b) {
			if v.isHarm(a) {
				return -1
			}
			return 1
		}
		return cmp.Compare(a, b)
	})
}

// court holds what the judge compares: the sandbox's own journal, the rows, and
// the rows that restores took back.
type court struct {
	*house
	verdict
	judge   *sandbox.Judge
	entries []sandbox.Entry
	now     known
	all     map[callKey]calledRow // of every database there was
	undone  map[int64]bool        // customers of whom a restore took something back
}

// judgeAll compares everything once all has ended.
func (h *house) judgeAll(ctx context.Context) (verdict, *court, error) {
	c := &court{house: h, verdict: make(verdict), undone: make(map[int64]bool), all: make(map[callKey]calledRow)}
	var err error
	if c.entries, err = h.journal(ctx); err != nil {
		return nil, nil, err
	}
	if c.now, err = h.known(ctx); err != nil {
		return nil, nil, err
	}
	c.judge = sandbox.NewJudge(c.entries)
	for _, k := range append(slices.Clone(h.lost), c.now) {
		for id, call := range k.calls {
			if _, still := c.now.calls[id]; !still {
				c.undone[id.customer] = true
			}
			if was := c.all[id]; was.class == "" || call.class != "" {
				c.all[id] = call
			}
		}
	}
	c.nothingElse()
	c.intendedFirst()
	c.ended()
	c.gone()
	if err := c.rows(ctx); err != nil {
		return nil, nil, err
	}
	c.outputs()
	return c.verdict, c, nil
}

// targets says whether an image was ever to be deleted.
func (c *court) target(customer int64, key string) bool {
	if named, ok := c.named[customer]; ok {
		return slices.Contains(named, key)
	}
	for _, k := range append(slices.Clone(c.lost), c.now) {
		if im, ok := k.images[customer][key]; ok && im.State != "bystander" {
			return true
		}
	}
	return false
}

// deletes counts the deletes of all databases by what became of them.
func (c *court) deletes() map[string]int {
	by := make(map[string]int)
	for _, call := range c.all {
		if call.kind == "delete" {
			by[call.class]++
		}
	}
	return by
}

// nothingElse: promise 1. Others only upload at the end here, of customers that
// are purged of all, which harms nobody.
func (c *court) nothingElse() {
	for _, customer := range c.judge.Customers() {
		for _, d := range c.judge.Deleted(customer) {
			if d.Actor == sandbox.ActorAPI && d.Kind == sandbox.KindDelete && !c.target(customer, digest(d.Token)) {
				c.find(customer, "entry %d: DELETE %v removed "+harm+", at index %d (fault %q)", d.Seq, d.Indexes, d.Position, d.Fault)
			}
		}
	}
}

// intendedFirst: each DELETE has its row, and what went is what a row had named,
// at the index that it had named.
func (c *court) intendedFirst() {
	type place struct {
		customer int64
		key      string
		position int
	}
	intended, rows := make(map[place]bool), make(map[int64]int)
	for id, call := range c.all {
		if call.kind != "delete" {
			continue
		}
		intended[place{id.customer, call.key, call.position}] = true
		if call.class != "not_sent" {
			rows[id.customer]++
		}
	}
	for _, customer := range c.judge.Customers() {
		if _, deletes := c.judge.Calls(customer); deletes > rows[customer] {
			c.find(customer, "%d DELETEs reached the server; only %d are written down as sent", deletes, rows[customer])
		}
		for _, d := range c.judge.Deleted(customer) {
			if d.Actor == sandbox.ActorAPI && d.Kind == sandbox.KindDelete && !intended[place{customer, digest(d.Token), d.Position}] {
				c.find(customer, "entry %d: the image at index %d went, and no row intended just that", d.Seq, d.Position)
			}
		}
	}
}

// ended: no task rests, and each came to what it had to come to. Of customers of
// whom a restore took something back the end alone is known: they may be found
// empty.
func (c *court) ended() {
	tasks := c.tasks(0)
	for i := range c.next {
		id := c.crowd.ID(i)
		t, ok := tasks[id]
		if !ok {
			c.find(id, "there is no task")
			continue
		}
		want := c.due(id)
		if named, ok := c.named[id]; ok {
			want.Found, want.Deleted = len(named), len(named)
		}
		switch {
		case t.State != want.State:
			c.find(id, "the task is %s (%s, error %s), not %s", t.State, t.Outcome, t.Code, want.State)
		case t.Outcome == want.Outcome:
		case c.undone[id] && (t.Outcome == "no_images" || t.Outcome == "already_absent"):
		case want.Outcome == "no_images" && t.Outcome == "images_deleted": // uploaded before the first listing
		default:
			c.find(id, "the outcome is %s, not %s", t.Outcome, want.Outcome)
		}
		if t.Outcome == "images_deleted" && !c.undone[id] && (t.Found != t.Deleted || t.Found < want.Found) {
			c.find(id, "%d of %d images are counted as deleted; there were %d", t.Deleted, t.Found, want.Found)
		}
	}
}

// gone: promise 2, and that nothing else went. A customer has left what the
// journal says; the sandbox is asked for none of it.
func (c *court) gone() {
	left := make(map[int64]map[string]bool)
	for i := range c.next {
		id := c.crowd.ID(i)
		left[id] = make(map[string]bool)
		if initially := c.api.Model().Initially(id); initially.Standing == sandbox.Present {
			for _, im := range initially.Images {
				left[id][digest(im.Token)] = true
			}
		}
	}
	for _, e := range c.entries {
		for _, r := range e.Removed {
			delete(left[e.Customer], digest(r.Token))
		}
		for _, token := range e.Added {
			left[e.Customer][digest(token)] = true
		}
	}
	for id, keys := range left {
		for key := range keys {
			if c.target(id, key) {
				c.find(id, "image %.12s was to be deleted and is still there", key)
			}
		}
		initially := c.api.Model().Initially(id)
		if _, named := c.named[id]; named && len(keys) != len(initially.Images)-len(c.named[id]) {
			c.find(id, "%d images are left of %d, of which %d were to go", len(keys), len(initially.Images), len(c.named[id]))
		}
		if _, named := c.named[id]; !named && initially.Standing == sandbox.Present {
			for _, im := range initially.Images {
				if keys[digest(im.Token)] {
					c.find(id, "an image that was there at the beginning is still there")
				}
			}
		}
	}
}

// Each of these finds rows that contradict others: customers, and what is wrong.
var contradictions = map[string]string{
	"a task is not at rest in any end": `SELECT customer_id FROM image_deletion_tasks WHERE finished_at IS NULL`,
	"an image is intended, unknown or planned though its task was completed": `SELECT t.customer_id FROM task_images i JOIN image_deletion_tasks t ON t.id = i.task_id
WHERE i.state IN ('planned', 'intended', 'unknown') AND t.state = 'completed'`,
	"a task's counts are not those of its images": `SELECT t.customer_id FROM image_deletion_tasks t LEFT JOIN task_images i ON i.task_id = t.id
GROUP BY t.id HAVING t.images_deleted <> count(*) FILTER (WHERE i.state = 'deleted') OR t.images_found <> count(*) FILTER (WHERE i.state <> 'bystander')`,
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
	"a customer has two tasks":   `SELECT customer_id FROM image_deletion_tasks GROUP BY customer_id HAVING count(*) > 1`,
	"a customer is still leased": `SELECT customer_id FROM customer_leases WHERE lease_owner IS NOT NULL`,
	"a batch's counts are not those of its tasks": `SELECT -b.id FROM batches b LEFT JOIN image_deletion_tasks t ON t.batch_id = b.id
GROUP BY b.id HAVING b.tasks_total + coalesce((SELECT sum(a.tasks) FROM batch_arrivals a WHERE a.batch_id = b.id), 0) <> count(t.id)
  OR b.tasks_completed <> count(*) FILTER (WHERE t.state = 'completed') OR b.tasks_failed <> count(*) FILTER (WHERE t.state = 'failed')
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

// tell is what there is to say of a customer: the journal, and the calls of every
// database there was.
func (c *court) tell(customer int64) string {
	var b strings.Builder
	for _, e := range c.entries {
		if e.Customer == customer {
			fmt.Fprintf(&b, "    %s %s %s %v removed %d added %d, %d images, status %d code %d fault %q, executed %s\n", e.ReceivedAt.Format("15:04:05.000"), e.Actor, e.Kind,
				e.Indexes, len(e.Removed), len(e.Added), e.After, e.Status, e.Code, e.Fault, e.ExecutedAt.Format("05.000"))
		}
	}
	tellCalls := func(name string, calls map[callKey]calledRow) {
		ids := slices.DeleteFunc(slices.Collect(maps.Keys(calls)), func(id callKey) bool { return id.customer != customer })
		slices.SortFunc(ids, func(a, b callKey) int { return a.sequence - b.sequence })
		for _, id := range ids {
			r := calls[id]
			fmt.Fprintf(&b, "    %s: task %d call %d epoch %d by %s: %s index %d image %.8s: %s\n", name, id.task, id.sequence, id.epoch, id.worker, r.kind, r.position, r.key, r.class)
		}
	}
	for i, k := range c.lost {
		tellCalls(fmt.Sprintf("lost database %d", i+1), k.calls)
	}
	tellCalls("rows", c.now.calls)
	rest, err := c.row(customer)
	fmt.Fprintf(&b, "    row: %s %v\n", rest, err)
	return b.String()
}

// row is a customer's task and images as text.
func (c *court) row(customer int64) (string, error) {
	var text []byte
	err := c.cluster.ask(context.Background(), "imagepurge", func(ctx context.Context, conn *pgx.Conn) error {
		return conn.QueryRow(ctx, `SELECT jsonb_build_object('task', to_jsonb(t) - 'image_tokens', 'images', (SELECT jsonb_agg(to_jsonb(i)) FROM task_images i WHERE i.task_id = t.id))
FROM image_deletion_tasks t WHERE t.customer_id = $1 LIMIT 1`, customer).Scan(&text)
	})
	var short bytes.Buffer
	if json.Compact(&short, text) != nil {
		return string(text), err
	}
	return short.String(), err
}
