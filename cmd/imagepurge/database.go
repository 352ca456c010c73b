package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/imagepurge/imagepurge/internal/embeddedpg"
	"github.com/imagepurge/imagepurge/internal/settings"
	"github.com/imagepurge/imagepurge/migrations"
	"github.com/imagepurge/imagepurge/repository"
)

// database is an open database, perhaps with a server of our own behind it.
type database struct {
	*repository.Store
	url    string
	name   string // host and database, no password
	pool   *pgxpool.Pool
	server *embeddedpg.Server
}

// Close ends the connections and, where it is ours, the server.
func (d *database) Close() error {
	d.pool.Close()
	if d.server != nil {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		return d.server.Stop(ctx)
	}
	return nil
}

// connections of one process: two writers, a claim, a renewal, and some for
// people.
const connections = 8

// open connects to the database that the settings name, and says which it is. The
// embedded one migrates itself; elsewhere an unfit schema is an error.
func (a *app) open(ctx context.Context, s settings.Settings) (*database, error) {
	d, err := a.reach(ctx, s)
	if err != nil {
		return nil, err
	}
	if d.server != nil {
		if _, err := migrations.Up(ctx, d.url); err != nil {
			return nil, errors.Join(err, d.Close())
		}
	}
	if err := d.CheckSchema(ctx); err != nil {
		return nil, errors.Join(err, d.Close())
	}
	return d, nil
}

// migrate brings the schema up to date.
func migrate(ctx context.Context, d *database) error {
	_, err := migrations.Up(ctx, d.url)
	return err
}

// reach connects, whatever the schema.
func (a *app) reach(ctx context.Context, s settings.Settings) (*database, error) {
	d := &database{url: s.DatabaseURL}
	if d.url == "" {
		if err := a.startEmbedded(ctx, s, d); err != nil {
			return nil, err
		}
	}
	cfg, err := pgxpool.ParseConfig(d.url)
	if err != nil {
		return nil, errors.New("DATABASE_URL can't be read; its form is postgres://user:password@host:5432/database")
	}
	if d.server == nil {
		d.name = net.JoinHostPort(cfg.ConnConfig.Host, strconv.Itoa(int(cfg.ConnConfig.Port))) + "/" + cfg.ConnConfig.Database
	}
	a.note("database: %s", d.name)
	cfg.MaxConns = max(cfg.MaxConns, connections)
	if cfg.ConnConfig.RuntimeParams["application_name"] == "" {
		cfg.ConnConfig.RuntimeParams["application_name"] = "imagepurge"
	}
	// Behind a pooler what another listens for may come here: it is not kept.
	cfg.ConnConfig.OnNotification = func(*pgconn.PgConn, *pgconn.Notification) {}
	if cfg.ConnConfig.ConnectTimeout == 0 {
		cfg.ConnConfig.ConnectTimeout = 10 * time.Second
	}
	if cfg.PingTimeout == 0 {
		cfg.PingTimeout = 5 * time.Second // idle connections that fell silent are not waited for
	}
	d.pool, err = pgxpool.NewWithConfig(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("connect to the database: %w", err)
	}
	if err := a.await(ctx, d); err != nil {
		return nil, errors.Join(err, d.Close())
	}
	if err := d.passPooler(ctx); err != nil {
		return nil, errors.Join(err, d.Close())
	}
	d.Store = repository.New(d.pool, time.Now)
	return d, nil
}

// await pings until the database answers, or --wait is over.
func (a *app) await(ctx context.Context, d *database) error {
	deadline := a.now().Add(a.wait)
	for said := false; ; {
		err := d.pool.Ping(ctx)
		if err == nil {
			return nil
		}
		if !a.now().Before(deadline) || ctx.Err() != nil {
			return hint(fmt.Errorf("the database %s can't be reached: %w", d.name, err),
				"is it up, and is DATABASE_URL right? --wait 2m waits for it; without DATABASE_URL an embedded one is used")
		}
		if !said {
			a.note("waiting for the database, up to %v", a.wait)
			said = true
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(time.Second):
		}
	}
}

func (a *app) startEmbedded(ctx context.Context, s settings.Settings, d *database) error {
	server, err := embeddedpg.Start(ctx, embeddedpg.Options{
		DataDir: s.DataDir, BinDir: s.PGBin, Getenv: a.getenv, Logf: a.note, Download: a.download(),
	})
	if err != nil {
		return err
	}
	d.server, d.url = server, server.URL()
	d.name = "embedded, " + server.Dir()
	return nil
}

// download shows a bar on a terminal only.
func (a *app) download() embeddedpg.Download {
	d := embeddedpg.Download{BaseURL: a.getenv("IMAGEPURGE_PG_DOWNLOAD_URL")}
	if a.out.IsTerminal {
		d.Progress = a.out.Err
	}
	return d
}

// patience is how long a worker bears with a server that is being restarted: an
// embedded one changes hands when the process that ran it ends.
const patience = 15 * time.Second

// patiently repeats f while the database's connections break, or another transaction
// is in its way. f must be such that doing it twice does no harm.
func patiently(ctx context.Context, f func() error) error {
	deadline := time.Now().Add(patience)
	for {
		err := f()
		if err == nil || !repository.ConnectionLost(err) && !repository.Undone(err) || time.Now().After(deadline) {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// refuseEmptyDatabase keeps a container that forgot its DATABASE_URL from
// succeeding every night on an empty database.
func (a *app) refuseEmptyDatabase(s settings.Settings) error {
	if s.DatabaseURL != "" || s.DataDir != "" || a.out.IsTerminal {
		return nil
	}
	if f, ok := a.out.Err.(*os.File); ok && isTerminal(f) {
		return nil
	}
	return hint(errors.New("DATABASE_URL is not set, and this is no terminal"),
		"set DATABASE_URL=postgres://user:password@host:5432/database, or IMAGEPURGE_DATA_DIR to use the embedded database there")
}
