// Package pgtest gives each test a database of its own on a real PostgreSQL.
// Only tests import it.
//
// A package's TestMain hands in how its schema is made:
//
//	func TestMain(m *testing.M) {
//		os.Exit(pgtest.Main(m, migrations.Fingerprint(), migrations.Up))
//	}
//
// The server is started when the first test asks for it and ends with the run.
// IMAGEPURGE_TEST_DATABASE_URL names an existing server instead; its role must
// be allowed to create databases. Without any PostgreSQL tests fail and say how
// to get one: a suite that skips looks green.
package pgtest

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/imagepurge/imagepurge/internal/embeddedpg"
)

const (
	existingVariable = "IMAGEPURGE_TEST_DATABASE_URL"
	keepVariable     = "IMAGEPURGE_TEST_KEEP"
)

// Migrate brings the empty database at url to the schema that tests expect.
type Migrate func(ctx context.Context, url string) error

// Options say what a server of a test's own must be like.
type Options struct {
	// Durable keeps fsync and synchronous_commit on: for tests that crash the
	// server and look at what survived. Such a server is always embedded.
	Durable bool
}

// Server is a PostgreSQL with a template database that tests copy.
type Server struct {
	fingerprint string
	migrate     Migrate
	options     Options
	embedded    *embeddedpg.Server // nil: an existing server
	base        string             // the URL of a database to give orders in
	run         string             // in the names of this run's databases
	keep        atomic.Bool        // a failed test left a database on an embedded server
	names       atomic.Int64

	mu       sync.Mutex // guards template: one migration, and the rest waits
	template string
	strategy string // of CREATE DATABASE
}

// suite is the server of this test binary. It is package state because New has
// to find what TestMain handed in, and testing offers no way to pass it on; Main
// alone writes it, before any test runs.
var suite *lazyServer

type lazyServer struct {
	once   sync.Once
	server *Server
	err    error

	fingerprint string
	migrate     Migrate
}

func (l *lazyServer) get() (*Server, error) {
	l.once.Do(func() {
		l.server, l.err = start(context.Background(), Options{}, l.fingerprint, l.migrate, os.Getenv(existingVariable))
	})
	return l.server, l.err
}

// Main runs the tests and returns the exit status for os.Exit. fingerprint
// changes whenever what migrate does changes (a hash of the migrations): a
// template on an existing server is found by it. migrate may be nil for empty
// databases.
func Main(m *testing.M, fingerprint string, migrate func(ctx context.Context, url string) error) int {
	suite = &lazyServer{fingerprint: fingerprint, migrate: migrate}
	status := m.Run()
	// Where no test asked for the server this starts none.
	suite.once.Do(func() {})
	if suite.server != nil {
		if err := suite.server.end(); err != nil {
			fmt.Fprintf(os.Stderr, "pgtest: %v\n", err)
			status = max(status, 1)
		}
	}
	return status
}

// New is a pool on a database of t's own. The pool is closed and the database
// dropped when t ends, unless it failed; see URL.
func New(t testing.TB) *pgxpool.Pool {
	t.Helper()
	return theSuite(t).New(t)
}

// URL is the address of a database of t's own. It is dropped when t ends. If t
// failed it is kept and its address logged: on an embedded server that helps
// only with IMAGEPURGE_TEST_KEEP=1, which leaves that server running.
func URL(t testing.TB) string {
	t.Helper()
	return theSuite(t).URL(t)
}

func theSuite(t testing.TB) *Server {
	t.Helper()
	if suite == nil {
		t.Fatal("pgtest: TestMain of this package must call pgtest.Main")
	}
	s, err := suite.get()
	if err != nil {
		t.Fatalf("pgtest: %v", err)
	}
	return s
}

// Start starts an embedded server for t alone, with the schema that Main was
// given, for tests that stop or crash PostgreSQL; it ends with t.
func Start(t testing.TB, options Options) *Server {
	t.Helper()
	if suite == nil {
		t.Fatal("pgtest: TestMain of this package must call pgtest.Main")
	}
	s, err := start(t.Context(), options, suite.fingerprint, suite.migrate, "")
	if err != nil {
		t.Fatalf("pgtest: %v", err)
	}
	t.Cleanup(func() {
		if err := s.end(); err != nil {
			t.Errorf("pgtest: %v", err)
		}
	})
	return s
}

// startLimit bounds the start of a server, a download of its programs included.
const startLimit = 5 * time.Minute

func start(ctx context.Context, options Options, fingerprint string, migrate Migrate, existing string) (*Server, error) {
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	s := &Server{
		fingerprint: fingerprint, migrate: migrate, options: options, base: existing,
		run: strings.ToLower(rand.Text()[:8]),
	}
	if existing != "" {
		if u, err := url.Parse(existing); err != nil || u.Scheme != "postgres" && u.Scheme != "postgresql" {
			return nil, fmt.Errorf("%s must be of the form postgres://user:password@host/database", existingVariable)
		}
		return s, nil
	}
	death := embeddedpg.DieAtOnce
	if keepWanted() {
		death = embeddedpg.Survive
	}
	var err error
	s.embedded, err = embeddedpg.Start(ctx, embeddedpg.Options{
		Temporary: true, Tests: true, Durable: options.Durable, ParentDeath: death,
		BinDir: os.Getenv("IMAGEPURGE_PG_BIN"),
		Logf:   func(format string, args ...any) { fmt.Fprintf(os.Stderr, "pgtest: "+format+"\n", args...) },
	})
	if err != nil {
		return nil, err
	}
	s.base = s.embedded.URL()
	return s, nil
}

func keepWanted() bool { return os.Getenv(keepVariable) == "1" }

// stopLimit bounds an orderly end of the server.
const stopLimit = 20 * time.Second

func (s *Server) end() error {
	ctx, cancel := context.WithTimeout(context.Background(), stopLimit)
	defer cancel()
	switch {
	case s.embedded == nil:
		return nil
	case s.keep.Load() && keepWanted():
		fmt.Fprintf(os.Stderr, "pgtest: the server stays for the databases of failed tests; end it with: kill -INT %d (the next test run removes %s then)\n",
			s.embedded.PID(), s.embedded.Dir())
		return s.embedded.Abandon(ctx)
	}
	return s.embedded.Stop(ctx)
}

// Embedded is the server itself, to stop, crash or restart; nil for an existing
// server, which tests must leave alone.
func (s *Server) Embedded() *embeddedpg.Server { return s.embedded }

// New is a pool on a database of t's own, as the function New.
func (s *Server) New(t testing.TB) *pgxpool.Pool {
	t.Helper()
	pool, err := pgxpool.New(t.Context(), s.URL(t))
	if err != nil {
		t.Fatalf("pgtest: %v", err)
	}
	t.Cleanup(pool.Close) // before the database is dropped: cleanups run backwards
	return pool
}

// URL is the address of a database of t's own, as the function URL.
func (s *Server) URL(t testing.TB) string {
	t.Helper()
	name, err := s.create(t.Context(), t.Name())
	if err != nil {
		t.Fatalf("pgtest: make a database for the test: %v", err)
	}
	address := s.address(name)
	t.Cleanup(func() {
		if t.Failed() {
			s.keep.Store(true)
			hint := ""
			if s.embedded != nil && !keepWanted() {
				hint = "; it ends with this run unless " + keepVariable + "=1 is set"
			}
			t.Logf("pgtest: the test's database was kept: %s%s", address, hint)
			return
		}
		ctx, cancel := context.WithTimeout(context.Background(), stopLimit)
		defer cancel()
		err := s.inBase(ctx, func(conn *pgx.Conn) error {
			_, err := conn.Exec(ctx, "DROP DATABASE IF EXISTS "+quote(name)+" WITH (FORCE)")
			return err
		})
		// A test may have ended its own server; its databases go with it.
		if err != nil && (s.embedded == nil || s.embedded.PID() != 0) {
			t.Errorf("pgtest: drop the test's database: %v", err)
		}
	})
	return address
}

// create copies the template, and makes it first if this is the first copy.
func (s *Server) create(ctx context.Context, test string) (string, error) {
	template, strategy, err := s.ready(ctx)
	if err != nil {
		return "", err
	}
	name := s.databaseName(test)
	return name, s.inBase(ctx, func(conn *pgx.Conn) error {
		_, err := conn.Exec(ctx, "CREATE DATABASE "+quote(name)+" TEMPLATE "+quote(template)+strategy)
		return err
	})
}

// ready makes the template, or finds it. It has its name only once it is
// complete, and is named by the schema's fingerprint, so that packages tested
// at once on an existing server, and later runs, share it. Templates of earlier
// schemas stay there until somebody drops them (ip_template_*).
func (s *Server) ready(ctx context.Context) (template, strategy string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.template != "" {
		return s.template, s.strategy, nil
	}
	sum := sha256.Sum256([]byte(s.fingerprint))
	name := "ip_template_" + hex.EncodeToString(sum[:8])
	err = s.inBase(ctx, func(conn *pgx.Conn) error {
		var version int
		var fsync string
		if err := conn.QueryRow(ctx, "SELECT current_setting('server_version_num')::int, current_setting('fsync')").Scan(&version, &fsync); err != nil {
			return err
		}
		// Copying files needs checkpoints, which cost more than writing all to the
		// log where they go to a real disk. Version 14 knows no other way.
		if version >= 150000 && fsync == "off" {
			s.strategy = " STRATEGY FILE_COPY"
		}
		// The lock goes with the connection. Without it two packages tested at once
		// would make the template at the same time.
		if _, err := conn.Exec(ctx, "SELECT pg_advisory_lock(hashtextextended($1, 0))", name); err != nil {
			return err
		}
		var exists bool
		if err := conn.QueryRow(ctx, "SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)", name).Scan(&exists); err != nil || exists {
			return err
		}
		draft := name + "_draft"
		drop := "DROP DATABASE IF EXISTS " + quote(draft) + " WITH (FORCE)"
		if _, err := conn.Exec(ctx, drop); err != nil { // of a run that was killed
			return err
		}
		if _, err := conn.Exec(ctx, "CREATE DATABASE "+quote(draft)); err != nil {
			return err
		}
		if s.migrate != nil {
			if err := s.migrate(ctx, s.address(draft)); err != nil {
				_, derr := conn.Exec(ctx, drop)
				return errors.Join(fmt.Errorf("migrate: %w", err), derr)
			}
		}
		_, err := conn.Exec(ctx, "ALTER DATABASE "+quote(draft)+" RENAME TO "+quote(name))
		return err
	})
	if err != nil {
		return "", "", fmt.Errorf("make the template database: %w", err)
	}
	s.template = name
	return s.template, s.strategy, nil
}

// inBase gives orders about databases, over a connection of its own: tests run
// side by side, and a pool would have to be closed before the server ends.
func (s *Server) inBase(ctx context.Context, f func(*pgx.Conn) error) error {
	conn, err := pgx.Connect(ctx, s.base)
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	return f(conn)
}

// address is the base URL with another database in it.
func (s *Server) address(database string) string {
	u, err := url.Parse(s.base)
	if err != nil {
		panic(err) // start parsed it
	}
	u.Path = "/" + database
	return u.String()
}

// databaseName has the test's name in it, for whoever looks at a kept one; a
// name in PostgreSQL has at most 63 bytes.
func (s *Server) databaseName(test string) string {
	clean := strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9':
			return r
		case r >= 'A' && r <= 'Z':
			return r - 'A' + 'a'
		}
		return '_'
	}, strings.TrimPrefix(test, "Test"))
	return fmt.Sprintf("ip_%s_%d_%.40s", s.run, s.names.Add(1), clean)
}

func quote(name string) string { return pgx.Identifier{name}.Sanitize() }
