//go:build linux

package main_test

import (
	"context"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"

	"github.com/imagepurge/imagepurge/capillary/sandbox"
)

// Two labels of ours for one organisation at the API. They have one key, and share
// its limit.
const (
	shopLabel = "shop"
	webLabel  = "web"
)

// labelsAt are the entries of the settings file, for an address of the API.
func labelsAt(url string) []brand {
	return []brand{
		{name: shopLabel, url: url, lines: []string{"rate_per_minute: 2400"}},
		{name: webLabel, url: url, lines: []string{"rate_per_minute: 2400", "shares_key_with: " + shopLabel}},
	}
}

// order is what one task was asked for.
type order struct {
	label string
	key   string   // of the list that it stands in; "": it comes by SQL
	named []string // the targets' digests; nil: all images
}

// list is a batch of customers, to be purged of all images.
type list struct {
	key, label string
	ids        []int64
}

// recallable begins the keys of lists that may be cancelled.
const recallable = "recall"

// handIn gives the workers the next customers of the population, some of them by
// several tasks at once.
func (h *house) handIn(ctx context.Context, n int) error {
	h.mu.Lock()
	first, second := h.newList("first", shopLabel), h.newList("second", shopLabel)
	recall, web := h.newList(recallable, shopLabel), h.newList("web", webLabel)
	for range min(n, h.crowd.Len()-h.next) {
		id := h.crowd.ID(h.next)
		c := h.api.Model().Initially(id)
		last := len(c.Images) - 1 // it stays: whatever shifts by one hits it
		kind := h.next % 8
		if kind > 3 && (c.Standing != sandbox.Present || last < 1) {
			kind -= 4
		}
		switch kind {
		case 0:
			first.add(h, id)
		case 1: // in two batches
			first.add(h, id)
			second.add(h, id)
		case 2: // under two labels
			first.add(h, id)
			web.add(h, id)
		case 3: // of which one may be cancelled
			recall.add(h, id)
			web.add(h, id)
		case 4: // named images beside all
			h.name(id, shopLabel, c.Images[:last])
			web.add(h, id)
		case 5: // images that another task named
			h.name(id, shopLabel, c.Images[:max(1, last-1)])
			h.name(id, webLabel, c.Images[max(1, last-1):last])
		case 6:
			recall.add(h, id)
			h.name(id, webLabel, c.Images[:last])
		default:
			h.name(id, shopLabel, c.Images[:last])
		}
		h.next++
	}
	for _, l := range []*list{first, second, recall, web} {
		if len(l.ids) > 0 {
			h.lists = append(h.lists, *l)
		}
	}
	h.mu.Unlock()
	return h.ensure(ctx)
}

func (h *house) newList(what, label string) *list {
	return &list{key: fmt.Sprintf("%s-%d", what, h.next), label: label}
}

func (l *list) add(h *house, id int64) {
	l.ids = append(l.ids, id)
	h.orders[id] = append(h.orders[id], order{label: l.label, key: l.key})
}

func (h *house) name(id int64, label string, images []sandbox.Image) {
	if len(images) == 0 {
		return
	}
	o := order{label: label}
	for _, im := range images {
		o.named = append(o.named, digest(im.Token))
	}
	slices.Sort(o.named) // as the database keeps them
	h.orders[id] = append(h.orders[id], o)
}

const namedTask = `
INSERT INTO image_deletion_tasks (organization_id, customer_id, image_tokens) SELECT o.id, $2, $3 FROM organizations o
WHERE o.name = $1 AND NOT EXISTS (
    SELECT FROM image_deletion_tasks t WHERE t.organization_id = o.id AND t.customer_id = $2 AND t.image_tokens = $3)`

// ensure hands in all orders that have no task: after a restore they may be missing
// again.
func (h *house) ensure(ctx context.Context) error {
	keys, err := column[string](ctx, h, "SELECT intake_key FROM batches WHERE intake_key IS NOT NULL")
	if err != nil {
		return err
	}
	for _, l := range h.lists {
		if slices.Contains(keys, l.key) {
			continue
		}
		file := h.list(l.key+".csv", l.ids...)
		if _, err := h.order("enqueue", "--organization", l.label, "--key", l.key, file); err != nil {
			return err
		}
	}
	return h.cluster.ask(ctx, "imagepurge", func(ctx context.Context, conn *pgx.Conn) error {
		return pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
			if _, err := tx.Exec(ctx, "SET LOCAL synchronous_commit = on"); err != nil {
				return err
			}
			for id, all := range h.orders {
				for _, o := range all {
					if o.named == nil {
						continue
					}
					if _, err := tx.Exec(ctx, namedTask, o.label, id, o.named); err != nil {
						return err
					}
				}
			}
			return nil
		})
	})
}
