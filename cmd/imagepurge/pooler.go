package main

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// pooled says whether a pooler stands between us and the server: it can't tell the
// server's process number to its clients, and makes one up.
func pooled(ctx context.Context, pool *pgxpool.Pool) (bool, error) {
	conn, err := pool.Acquire(ctx)
	if err != nil {
		return false, err
	}
	defer conn.Release()
	var pid uint32
	// No prepared statement: it might not be there any more when it is used.
	if err := conn.QueryRow(ctx, "SELECT pg_backend_pid()", pgx.QueryExecModeSimpleProtocol).Scan(&pid); err != nil {
		return false, fmt.Errorf("ask whom we speak with: %w", err)
	}
	return pid != conn.Conn().PgConn().PID(), nil
}

// passPooler lets the database be used through a pooler in transaction mode, which
// gives each transaction to another server connection: named prepared statements
// would be missing there, or be there already.
func (d *database) passPooler(ctx context.Context) error {
	cfg := d.pool.Config()
	if cfg.ConnConfig.DefaultQueryExecMode != pgx.QueryExecModeCacheStatement {
		return nil
	}
	if through, err := pooled(ctx, d.pool); err != nil || !through {
		return err
	}
	cfg.ConnConfig.DefaultQueryExecMode = pgx.QueryExecModeCacheDescribe
	pool, err := pgxpool.NewWithConfig(ctx, cfg)
	if err != nil {
		return fmt.Errorf("connect to the database: %w", err)
	}
	d.pool.Close()
	d.pool = pool
	return nil
}
