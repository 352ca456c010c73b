//go:build linux

package main_test

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/imagepurge/imagepurge/capillary/sandbox"
)

// court holds what the judge compares: the sandbox's own journal, the rows, and
// the rows that restores took back.
type court struct {
	*house
	verdict
	entries map[int64][]*entry // by customer, in the order in which they were executed
	left    map[int64][]string // each customer's images at the end, as digests
	now     known
	sends   map[int64][]*sending // by customer: every DELETE that a row of any database says may have left
}

// entry is one of the journal, with the customer's images just before it.
type entry struct {
	sandbox.Entry
	stood []string // digests in index order
	by    *sending // of a DELETE of ours: by which it was intended
}

// sending is a DELETE's row.
type sending struct {
	knownCall
	of      *knownTask // as the database that knew most of it had it
	current bool       // the row is still there; else a restore took it back
	entry   *entry     // of its arrival; nil: none that is known
}

// replay follows the customers' images through the journal. New ones stand at the end.
func (c *court) replay(journal []sandbox.Entry) {
	for i := range c.next {
		id := c.crowd.ID(i)
		if initially := c.api.Model().Initially(id); initially.Standing == sandbox.Present {
			for _, im := range initially.Images {
				c.left[id] = append(c.left[id], digest(im.Token))
			}
		}
	}
	for _, e := range journal {
		c.entries[e.Customer] = append(c.entries[e.Customer], &entry{Entry: e, stood: c.left[e.Customer]})
		if len(e.Removed)+len(e.Added) == 0 {
			continue
		}
		images := slices.Clone(c.left[e.Customer])
		for _, r := range e.Removed {
			images = slices.DeleteFunc(images, func(d string) bool { return d == digest(r.Token) })
		}
		for _, token := range e.Added {
			images = append(images, digest(token))
		}
		c.left[e.Customer] = images
	}
}

// gather collects the DELETEs of all databases, and finds for each that arrived by
// which it was intended, one for one.
func (c *court) gather() {
	all := make(map[callKey]*sending)
	for i, k := range append(slices.Clone(c.lost), c.now) {
		for _, t := range k {
			for _, call := range t.calls {
				// Where nothing was written, nothing can have arrived.
				if call.kind != "delete" || call.sent.IsZero() && !call.inDoubt() {
					continue
				}
				s := all[call.callKey]
				if s == nil {
					s = &sending{}
					all[call.callKey] = s
				}
				if s.class == "" || call.class != "" {
					s.knownCall, s.of = call, t
				}
				s.current = i == len(c.lost)
			}
		}
	}
	for _, s := range all {
		c.sends[s.customer] = append(c.sends[s.customer], s)
	}
	for customer, sends := range c.sends {
		// The newest first; those of which no answer is on record last.
		slices.SortFunc(sends, func(a, b *sending) int {
			return cmp.Or(b.sent.Compare(a.sent), cmp.Compare(a.task, b.task), cmp.Compare(a.sequence, b.sequence))
		})
		for _, e := range c.entries[customer] {
			if !e.ours(sandbox.KindDelete) {
				continue
			}
			fits := func(s *sending) bool { return s.entry == nil && s.mayBe(e) }
			i := slices.IndexFunc(sends, func(s *sending) bool { return fits(s) && (!s.sent.IsZero() || e.removed(s.key)) })
			if i < 0 {
				i = slices.IndexFunc(sends, fits)
			}
			if i >= 0 {
				e.by, sends[i].entry = sends[i], e
			}
		}
	}
}

func (e *entry) ours(k sandbox.Kind) bool { return e.Actor == sandbox.ActorAPI && e.Kind == k }

func (e *entry) removed(digestOf string) bool {
	return slices.ContainsFunc(e.Removed, func(r sandbox.Removal) bool { return digest(r.Token) == digestOf })
}

// A request arrives before its answer; without one within the time for which its
// customer rests. Clocks are kept to the microsecond.
const (
	chaosRest    = time.Second + chaosTimeout + chaosSettle
	clocksDiffer = time.Millisecond
)

// mayBe says whether a DELETE that arrived may be this one.
func (s *sending) mayBe(e *entry) bool {
	if !slices.Equal(e.Indexes, []int{s.position}) {
		return false
	}
	if s.sent.IsZero() {
		return true
	}
	until := s.answered.Add(clocksDiffer)
	if s.inDoubt() {
		until = s.sent.Add(chaosRest)
	}
	return !e.ReceivedAt.Before(s.sent.Add(-clocksDiffer)) && e.ReceivedAt.Before(until)
}

// inDoubt says whether its row can't tell what became of the DELETE.
func (c knownCall) inDoubt() bool {
	return c.kind == "delete" && (c.class == "" || c.class == "unknown" || c.class == "unexpected")
}

// tell is what there is to say of a customer: the journal, and the calls of every
// database there was.
func (c *court) tell(customer int64) string {
	const clock = "15:04:05.000"
	var b strings.Builder
	for _, e := range c.entries[customer] {
		fmt.Fprintf(&b, "    %s to %s: entry %d: %s %s %v of %.8s, removed %d added %d, status %d code %d fault %q\n",
			e.ReceivedAt.Format(clock), e.ExecutedAt.Format(clock), e.Seq, e.Actor, e.Kind, e.Indexes, e.stood,
			len(e.Removed), len(e.Added), e.Status, e.Code, e.Fault)
	}
	for i, k := range append(slices.Clone(c.lost), c.now) {
		name := fmt.Sprintf("lost database %d", i+1)
		if i == len(c.lost) {
			name = "rows"
		}
		for _, id := range slices.Sorted(maps.Keys(k)) {
			if t := k[id]; t.customer == customer {
				fmt.Fprintf(&b, "    %s: task %d of %s, list %q, %.8s: %+v\n", name, id, t.label, t.order.key, t.named, t.came)
				for _, r := range t.calls {
					fmt.Fprintf(&b, "      %s to %s: call %d epoch %d by %s: %s index %d image %.8s: %s %.8s\n", r.sent.UTC().Format(clock),
						r.answered.UTC().Format(clock), r.sequence, r.epoch, r.worker, r.kind, r.position, r.key, r.class, r.shown)
				}
			}
		}
	}
	rest, err := c.row(customer)
	fmt.Fprintf(&b, "    row: %s %v\n", rest, err)
	return b.String()
}

// row is a customer's tasks and images as text.
func (c *court) row(customer int64) (string, error) {
	var text []byte
	err := c.cluster.ask(context.Background(), "imagepurge", func(ctx context.Context, conn *pgx.Conn) error {
		return conn.QueryRow(ctx, `SELECT jsonb_agg(jsonb_build_object('task', to_jsonb(t) - 'image_tokens',
'images', (SELECT jsonb_agg(to_jsonb(i)) FROM task_images i WHERE i.task_id = t.id)))
FROM image_deletion_tasks t WHERE t.customer_id = $1`, customer).Scan(&text)
	})
	var short bytes.Buffer
	if json.Compact(&short, text) != nil {
		return string(text), err
	}
	return short.String(), err
}

// calls counts the requests of the programs under test that arrived.
func (c *court) calls() (n int) {
	for _, all := range c.entries {
		for _, e := range all {
			if e.Actor == sandbox.ActorAPI {
				n++
			}
		}
	}
	return n
}

// deletes counts the DELETEs that may have left by what became of them.
func (c *court) deletes() map[string]int {
	by := make(map[string]int)
	for _, all := range c.sends {
		for _, s := range all {
			by[s.class]++
		}
	}
	return by
}

// wantCases checks that the world was what it is meant to be: the labels came to be one
// organisation, customers were purged by two tasks in turns, and images that were to
// stay stood behind what was deleted of those who were to lose all.
func (c *court) wantCases(ctx context.Context) {
	c.Helper()
	if n, err := c.one(ctx, "SELECT count(DISTINCT remote_id) FROM organizations"); n != 1 || err != nil {
		c.Errorf("the two labels are %d organisations (%v)", n, err)
	}
	shared, behind := 0, 0
	for _, all := range c.entries {
		tasks := make(map[int64]bool)
		for _, e := range all {
			if e.by == nil || len(e.Removed) == 0 {
				continue
			}
			tasks[e.by.task] = true
			after := e.stood[e.Removed[0].Position+1:]
			if e.by.of.named == nil && slices.ContainsFunc(after, func(d string) bool { return !e.by.of.target(d) }) {
				behind++
			}
		}
		if len(tasks) > 1 {
			shared++
		}
	}
	c.Logf("%d customers lost images by two tasks; %d DELETEs of tasks of all had an image behind that stays", shared, behind)
	if shared == 0 || behind == 0 {
		c.Error("a case was never met")
	}
}
