// Package repository keeps everything that imagepurge knows in Postgres. Each
// statement stands above the method that runs it. Decisions are made in the
// statement: a guarded write either does all it says or returns no row, and no
// row has a name. Statements keep to what a pooler in transaction mode accepts.
package repository

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/imagepurge/imagepurge/migrations"
)

// Store is the database. It is safe for concurrent use.
type Store struct {
	pool *pgxpool.Pool
	now  func() time.Time
}

// New returns the store on a pool. now is the clock by which intents measure
// how long their transaction took; it must carry monotonic readings.
func New(pool *pgxpool.Pool, now func() time.Time) *Store {
	return &Store{pool: pool, now: now}
}

// Pool returns the connections, for tests and for checks of the server itself.
func (s *Store) Pool() *pgxpool.Pool { return s.pool }

// SchemaError says that database and program do not fit together.
type SchemaError struct {
	Have, Want int64 // versions; Have is 0 where there is no schema
}

func (e *SchemaError) Error() string {
	switch {
	case e.Have == 0:
		return "no schema; run: imagepurge migrate"
	case e.Have < e.Want:
		return fmt.Sprintf("the schema is at version %d, this program needs %d; run: imagepurge migrate", e.Have, e.Want)
	}
	return fmt.Sprintf("the schema is at version %d, newer than this program's %d; install the imagepurge that made it, or a later one", e.Have, e.Want)
}

const schemaVersion = `
SELECT coalesce(max(version_id) FILTER (WHERE is_applied), 0)
FROM goose_db_version`

// CheckSchema returns a [*SchemaError] where the schema is missing, too old or
// too new for this program.
func (s *Store) CheckSchema(ctx context.Context) error {
	var have int64
	err := s.pool.QueryRow(ctx, schemaVersion).Scan(&have)
	if pe := (*pgconn.PgError)(nil); errors.As(err, &pe) && pe.Code == "42P01" { // undefined_table
		err, have = nil, 0
	}
	if err != nil {
		return fmt.Errorf("read the schema's version: %w", err)
	}
	if want := migrations.Latest(); have != want {
		return &SchemaError{Have: have, Want: want}
	}
	return nil
}

// command names what a transaction does, for the guards of the tables, and makes
// its commit durable whatever the server's default is.
const command = `
SELECT set_config('imagepurge.command', $1, true), set_config('synchronous_commit', 'on', true), ` + rightMissing

// inTx runs do in one transaction of the named command, or returns a [*RightError].
func (s *Store) inTx(ctx context.Context, name string, do func(pgx.Tx) error) error {
	return pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error {
		var mend *string
		if err := tx.QueryRow(ctx, command, name).Scan(nil, nil, &mend); err != nil {
			return err
		}
		if mend != nil {
			return &RightError{Mend: *mend}
		}
		return do(tx)
	})
}

// ConnectionLost says whether an error is of the connection, not of what was asked:
// the server is being stopped or started, or can't be reached.
func ConnectionLost(err error) bool {
	if pe := (*pgconn.PgError)(nil); errors.As(err, &pe) {
		return strings.HasPrefix(pe.Code, "57P") || strings.HasPrefix(pe.Code, "08")
	}
	if ce := (*pgconn.ConnectError)(nil); errors.As(err, &ce) {
		return true
	}
	if pgconn.SafeToRetry(err) { // such as "conn closed": nothing was sent
		return true
	}
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

// Undone reports whether Postgres has undone the transaction for another's sake: a
// deadlock (40P01) or a serialization failure (40001). The same once more may succeed.
func Undone(err error) bool {
	pe := (*pgconn.PgError)(nil)
	return errors.As(err, &pe) && (pe.Code == "40P01" || pe.Code == "40001")
}

func seconds(d time.Duration) float64 { return d.Seconds() }
