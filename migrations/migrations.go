// Package migrations holds the schema as plain SQL files and runs them.
//
// There is no way down: where evidence exists, the schema only goes forward.
package migrations

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"
)

//go:embed *.sql
var files embed.FS

// lockTimeout bounds how long a migration waits for a table that workers use: it
// gives up and says so rather than queueing everybody behind it.
const lockTimeout = "10s"

// Migration is one file, and when it was applied.
type Migration struct {
	Version   int64
	Name      string
	AppliedAt time.Time // zero: not yet
}

// Up applies what is missing, and returns what it applied. Several at once wait
// for each other on an advisory lock: one applies, the others find nothing to do.
// It needs a direct connection, not a pooler in transaction mode.
func Up(ctx context.Context, url string) ([]Migration, error) {
	var applied []Migration
	err := with(url, func(p *goose.Provider) error {
		results, err := p.Up(ctx)
		for _, r := range results {
			applied = append(applied, Migration{Version: r.Source.Version, Name: r.Source.Path, AppliedAt: time.Time{}})
		}
		return err
	})
	if err != nil {
		return applied, fmt.Errorf("migrate: %w", err)
	}
	return applied, nil
}

// Status lists all migrations, with the time for those that are applied.
func Status(ctx context.Context, url string) ([]Migration, error) {
	var all []Migration
	err := with(url, func(p *goose.Provider) error {
		states, err := p.Status(ctx)
		for _, s := range states {
			all = append(all, Migration{Version: s.Source.Version, Name: s.Source.Path, AppliedAt: s.AppliedAt})
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("migration status: %w", err)
	}
	return all, nil
}

// with opens a connection of its own: goose speaks database/sql.
func with(url string, do func(*goose.Provider) error) error {
	cfg, err := pgx.ParseConfig(url)
	if err != nil {
		return errors.New("the database URL can't be read; its form is postgres://user@host:5432/database")
	}
	cfg.RuntimeParams["lock_timeout"] = lockTimeout
	cfg.RuntimeParams["application_name"] = "imagepurge migrate"
	cfg.OnNotice = func(*pgconn.PgConn, *pgconn.Notice) {}
	db := stdlib.OpenDB(*cfg)
	defer db.Close()
	return withProvider(db, do)
}

func withProvider(db *sql.DB, do func(*goose.Provider) error) error {
	// The default poll is five seconds; with several processes starting together
	// that is what all but one of them would wait.
	locker, err := lock.NewPostgresSessionLocker(lock.WithLockTimeout(1, 300))
	if err != nil {
		return err
	}
	p, err := goose.NewProvider(goose.DialectPostgres, db, files, goose.WithSessionLocker(locker))
	if err != nil {
		return err
	}
	return do(p)
}

// names returns the files in order.
func names() []string {
	all, err := fs.Glob(files, "*.sql")
	if err != nil {
		panic(err) // the pattern is a constant
	}
	slices.Sort(all)
	return all
}

// Latest is the version of the newest migration: what this program needs.
func Latest() int64 {
	all := names()
	var v int64
	if _, err := fmt.Sscanf(all[len(all)-1], "%d_", &v); err != nil {
		panic(fmt.Sprintf("migrations: %s has no number", all[len(all)-1]))
	}
	return v
}

// Fingerprint names the content of all migrations: a test's template database is
// made once for each.
func Fingerprint() string {
	h := sha256.New()
	for _, n := range names() {
		b, err := files.ReadFile(n)
		if err != nil {
			panic(err) // embedded
		}
		fmt.Fprintf(h, "%s %d\n", n, len(b))
		h.Write(b)
	}
	return hex.EncodeToString(h.Sum(nil))[:16]
}
