package repository

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// One index probe a batch. Where nothing waits for its turn any more the batch's own
// hour stands in.
const batchOrders = `
SELECT b.id, coalesce((SELECT t.sort_at FROM image_deletion_tasks t
        WHERE t.state = 'pending' AND t.waiting_for IS NULL AND t.batch_id = b.id
        ORDER BY t.sort_at, t.id LIMIT 1), task_sort_at(b.created_at, 0, NULL))
FROM batches b WHERE b.id = ANY ($1)`

// BatchOrders says for each batch where its next task stands in the order of work.
func (s *Store) BatchOrders(ctx context.Context, ids []int64) (map[int64]time.Time, error) {
	rows, err := s.pool.Query(ctx, batchOrders, ids)
	if err != nil {
		return nil, fmt.Errorf("read the batches' order: %w", err)
	}
	var (
		orders = make(map[int64]time.Time, len(ids))
		id     int64
		order  time.Time
	)
	_, err = pgx.ForEachRow(rows, []any{&id, &order}, func() error { orders[id] = order; return nil })
	if err != nil {
		return nil, fmt.Errorf("read the batches' order: %w", err)
	}
	return orders, nil
}
