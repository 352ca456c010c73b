//go:build linux

package main_test

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/imagepurge/imagepurge/capillary/sandbox"
)

// verdict is what the judge found, by customer; 0: of no one.
type verdict map[int64][]string

func (v verdict) find(customer int64, format string, args ...any) {
	v[customer] = append(v[customer], fmt.Sprintf(format, args...))
}

// harm is the worst that the judge can find.
const harm = "a wrong image"

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

// judgeAll compares everything once all has ended.
func (h *house) judgeAll(ctx context.Context) (verdict, *court, error) {
	c := &court{
		house: h, verdict: make(verdict), entries: make(map[int64][]*entry),
		left: make(map[int64][]string), sends: make(map[int64][]*sending),
	}
	journal, err := h.journal(ctx)
	if err != nil {
		return nil, nil, err
	}
	if c.now, err = h.known(ctx); err != nil {
		return nil, nil, err
	}
	if err := h.noteEndsInDoubt(ctx); err != nil {
		return nil, nil, err
	}
	maps.Copy(c.verdict, h.doubtful)
	c.replay(journal)
	c.gather()
	for customer := range c.entries {
		c.nothingElse(customer)
		c.oneAtATime(customer)
		c.settledFirst(customer)
		c.answers(customer)
	}
	for i := range c.next {
		c.orderly(c.crowd.ID(i))
		c.gone(c.crowd.ID(i))
	}
	for _, customer := range c.missed {
		c.missing(customer)
	}
	for _, t := range c.now {
		c.ended(t)
		c.listings(t)
		c.lookedAt(t)
		c.believed(t)
	}
	if err := c.rows(ctx); err != nil {
		return nil, nil, err
	}
	c.outputs()
	return c.verdict, c, nil
}

// nothingElse: promise 1, and that each DELETE was intended first. What went is what
// the row of just this DELETE had named, and what its task was to delete. Others only
// upload at the end here, which harms nobody.
func (c *court) nothingElse(customer int64) {
	for _, e := range c.entries[customer] {
		if !e.ours(sandbox.KindDelete) {
			continue
		}
		if e.by == nil {
			c.find(customer, "entry %d: DELETE %v arrived, and no row had intended it", e.Seq, e.Indexes)
		}
		for _, r := range e.Removed {
			switch d := digest(r.Token); {
			case e.by == nil || e.by.key != d:
				c.find(customer, "entry %d: DELETE %v removed "+harm+", %.8s, that it was not meant for", e.Seq, e.Indexes, d)
			case !e.by.of.target(d):
				c.find(customer, "entry %d: DELETE %v removed "+harm+", %.8s, no target of task %d", e.Seq, e.Indexes, d, e.by.task)
			}
		}
	}
}

// oneAtATime: no DELETE arrives while another of its customer may still run, whatever
// tasks and labels they are of.
func (c *court) oneAtATime(customer int64) {
	deletes := slices.DeleteFunc(slices.Clone(c.entries[customer]), func(e *entry) bool { return !e.ours(sandbox.KindDelete) })
	for _, a := range deletes {
		for _, b := range deletes {
			if b.ReceivedAt.After(a.ReceivedAt) && b.ReceivedAt.Before(a.ExecutedAt) {
				c.find(customer, "entry %d: DELETE %v arrived while entry %d, DELETE %v, was still to run", b.Seq, b.Indexes, a.Seq, a.Indexes)
			}
		}
	}
}

// settledFirst: while a DELETE is under way, and until it has settled where its answer
// tells nothing, nothing else is sent for its customer that a DELETE could rely on. The
// first listings under two labels don't know of each other yet: what shows an image is
// not believed before they do.
func (c *court) settledFirst(customer int64) {
	calls := make(map[callKey]knownCall)
	for _, k := range append(slices.Clone(c.lost), c.now) {
		for _, t := range k {
			for _, call := range t.calls {
				if t.customer == customer && !call.sent.IsZero() && (call.kind == "delete" || len(call.shown) > 0) {
					calls[call.callKey] = call
				}
			}
		}
	}
	for _, a := range calls {
		if a.kind != "delete" {
			continue
		}
		until := a.answered
		if a.inDoubt() {
			until = until.Add(chaosSettle)
		}
		for _, b := range calls {
			if b.sent.After(a.sent) && b.sent.Before(until) {
				c.find(customer, "task %d sent call %d, a %s, %v after call %d of task %d, a DELETE (%s)", b.task, b.sequence, b.kind,
					b.sent.Sub(a.sent).Round(time.Millisecond), a.sequence, a.task, a.class)
			}
		}
	}
}

// orderly: for each order there is one task, and no other.
func (c *court) orderly(customer int64) {
	name := func(o order) string { return fmt.Sprintf("%s, list %q, %.8s", o.label, o.key, o.named) }
	tasks := make(map[string]int)
	for _, t := range c.now {
		if t.customer == customer {
			tasks[name(t.order)]++
		}
	}
	for _, o := range c.orders[customer] {
		if tasks[name(o)]--; tasks[name(o)] != 0 {
			c.find(customer, "for the order %s there are %d tasks", name(o), tasks[name(o)]+1)
		}
		delete(tasks, name(o))
	}
	for what, n := range tasks {
		c.find(customer, "%d tasks that nobody has ordered: %s", n, what)
	}
}

// gone: promise 2, and that nothing else went: by what was ordered, by what the
// listings showed, and by what stands there at the end.
func (c *court) gone(customer int64) {
	left := c.left[customer]
	for _, o := range c.orders[customer] {
		if strings.HasPrefix(o.key, recallable) {
			continue
		}
		for _, im := range c.api.Model().Initially(customer).Images {
			if d := digest(im.Token); slices.Contains(left, d) && (o.named == nil || slices.Contains(o.named, d)) {
				c.find(customer, "image %.8s was ordered to go, and is still there", d)
			}
		}
	}
	for _, t := range c.now {
		if t.customer != customer || t.State != "completed" {
			continue
		}
		for _, d := range left {
			if t.target(d) {
				c.find(customer, "image %.8s, a target of task %d, is still there", d, t.ID)
			}
		}
	}
}

// missing: a person is called for an image that went by our own hands only where no
// row tells of it: the DELETE's answer was lost, or a restore took it back.
func (c *court) missing(customer int64) {
	for _, s := range c.sends[customer] {
		if s.entry != nil && len(s.entry.Removed) > 0 && (s.inDoubt() || !s.current) {
			return
		}
	}
	c.find(customer, "a bystander was said to be missing, and nothing that was deleted is in doubt")
}

// ended: each task came to what its first listing says that it had to come to.
func (c *court) ended(t *knownTask) {
	if t.recalled && slices.Contains([]string{"cancelled", "attempts_exhausted", "bystander_missing"}, t.Outcome) {
		return
	}
	want := c.due(t.customer)
	if c.api.Model().Initially(t.customer).Standing == sandbox.Present {
		var targets []string
		for d := range t.images {
			if t.target(d) {
				targets = append(targets, d)
			}
		}
		want = came{State: "completed", Outcome: "images_deleted", Found: len(targets), Deleted: t.Deleted}
		if len(t.listings()) == 0 {
			c.find(t.customer, "task %d ended, and no listing of it is on record", t.ID)
			return
		}
		if !slices.ContainsFunc(targets, func(d string) bool { return slices.Contains(t.listings()[0], short(d)) }) {
			want.Outcome = "no_images"
			if t.named != nil {
				want.Outcome = "already_absent"
			}
		}
	}
	if t.came != want {
		c.find(t.customer, "task %d came to %+v, want %+v", t.ID, t.came, want)
	}
}

// answers: what the rows say of a DELETE's answer is what the journal says of it, also
// those that a restore took back.
func (c *court) answers(customer int64) {
	for _, s := range c.sends[customer] {
		var what string
		switch e := s.entry; {
		case s.class == "deleted" && (e == nil || !e.removed(s.key)):
			what = "it removed nothing"
		case s.class == "no_such_image" && (e == nil || !e.Executed || len(e.Removed) > 0):
			what = "there was an image"
		case !s.inDoubt() && s.class != "deleted" && e != nil && len(e.Removed) > 0:
			what = "it ran"
		}
		if what != "" {
			c.find(customer, "task %d, call %d: the row says %s, the journal that %s", s.task, s.sequence, s.class, what)
		}
	}
}

// listings: each listing on record is one that the server gave just then.
func (c *court) listings(t *knownTask) {
	for _, call := range t.calls {
		given := func(e *entry) bool {
			return e.ours(sandbox.KindList) && e.Executed &&
				!e.ExecutedAt.Before(call.sent.Add(-clocksDiffer)) && !e.ExecutedAt.After(call.answered.Add(clocksDiffer)) &&
				slices.EqualFunc(e.stood, call.shown, func(stood, shown string) bool { return short(stood) == shown })
		}
		if call.class == "listed" && !slices.ContainsFunc(c.entries[t.customer], given) {
			c.find(t.customer, "task %d, call %d: the server never gave a listing of %.8s", t.ID, call.sequence, call.shown)
		}
	}
}

// endsInDoubt: no task ends while it is unknown what became of a DELETE. Two ends in
// review may: a listing that can't tell, or says that the customer is another's, leaves
// it to a person.
const endsInDoubt = `
SELECT t.customer_id, format('task %s ended with %s, and image %s is %s', t.id, t.outcome, left(encode(i.image_key, 'hex'), 8), i.state)
FROM task_images i JOIN image_deletion_tasks t ON t.id = i.task_id
WHERE t.finished_at IS NOT NULL
  AND (i.state = 'intended' OR i.state = 'unknown' AND NOT (t.state = 'review' AND t.outcome IN ('merged_customer', 'unexpected_response')))`

// noteEndsInDoubt looks for them as the database is.
func (h *house) noteEndsInDoubt(ctx context.Context) error {
	return h.cluster.ask(ctx, "imagepurge", func(ctx context.Context, conn *pgx.Conn) error {
		rows, err := conn.Query(ctx, endsInDoubt)
		if err != nil {
			return err
		}
		var (
			customer int64
			what     string
		)
		_, err = pgx.ForEachRow(rows, []any{&customer, &what}, func() error {
			if !slices.Contains(h.doubtful[customer], what) {
				h.doubtful.find(customer, "%s", what)
			}
			return nil
		})
		return err
	})
}

// lookedAt: a task that has ended has looked what became of each DELETE in doubt, by a
// listing that was to be believed.
func (c *court) lookedAt(t *knownTask) {
	if t.State == "review" {
		return
	}
	for d := range t.inDoubt() {
		c.find(t.customer, "task %d ended with %s, and no listing has told what became of the DELETE for image %.8s", t.ID, t.Outcome, d)
	}
}

// inDoubt are the images whose DELETEs are in doubt by the calls on record. A listing
// that shows what is gone, or lacks a target that no DELETE of the task can have removed,
// contradicts what was known: only the next one is believed.
func (t *knownTask) inDoubt() map[string]bool {
	there, gone, doubt := make(map[string]bool), make(map[string]bool), make(map[string]bool)
	contradicted := false
	for _, c := range t.calls {
		switch {
		case c.inDoubt():
			doubt[short(c.key)] = true
		case c.class == "deleted":
			gone[short(c.key)] = true
			delete(there, short(c.key))
		case c.class == "listed":
			contradicts := slices.ContainsFunc(c.shown, func(d string) bool { return gone[d] })
			for d := range there {
				contradicts = contradicts || !doubt[d] && !slices.Contains(c.shown, d)
			}
			if contradicted = contradicts && !contradicted; contradicted {
				continue
			}
			maps.Copy(gone, there)
			maps.Copy(gone, doubt)
			clear(there)
			clear(doubt)
			for _, d := range c.shown {
				delete(gone, d)
				if t.target(d) {
					there[d] = true
				}
			}
		}
	}
	return doubt
}

// believed: the images' rows say what the listings on record showed, and what became
// of them.
func (c *court) believed(t *knownTask) {
	seen, added := make(map[string]bool), 0
	for i, shown := range t.listings() {
		for _, d := range shown {
			if !seen[d] && i > 0 {
				added++
			}
			seen[d] = true
		}
	}
	if t.new != added {
		c.find(t.customer, "task %d counts %d new images; its listings showed %d", t.ID, t.new, added)
	}
	for d, im := range t.images {
		if !seen[short(d)] {
			c.find(t.customer, "task %d has a row for image %.8s, which no listing showed", t.ID, d)
		}
		delete(seen, short(d))
		here := slices.Contains(c.left[t.customer], d)
		went := slices.ContainsFunc(c.sends[t.customer], func(s *sending) bool {
			return s.task == t.ID && s.current && s.entry != nil && s.entry.removed(d)
		})
		switch {
		case (im.State == "bystander") == t.target(d):
			c.find(t.customer, "task %d: image %.8s is %s", t.ID, d, im.State)
		case here && (im.State == "deleted" || im.State == "absent"):
			c.find(t.customer, "task %d: image %.8s is %s, and it is there", t.ID, d, im.State)
		case went && im.State != "deleted" && im.State != "unknown":
			c.find(t.customer, "task %d: image %.8s went by a DELETE of this task, and is %s", t.ID, d, im.State)
		}
	}
	for d := range seen {
		c.find(t.customer, "task %d has no row for image %.8s, which a listing showed", t.ID, d)
	}
}
