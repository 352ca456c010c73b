package main_test

import (
	"context"
	"encoding/base64"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/imagepurge/imagepurge/capillary/sandbox"
	"github.com/imagepurge/imagepurge/internal/pgtest"
)

// patience is how long anything here may take before the test gives up: far more
// than it needs, for a machine that does other things as well.
const patience = 4 * time.Minute

// world is a database and a remote API of one test's own, and what programs are
// told of them.
type world struct {
	testing.TB
	api  *sandbox.Server
	ear  *sandbox.Listener
	pool *pgxpool.Pool
	dir  string            // where programs run, and their HOME
	env  map[string]string // all that they are given
}

// newWorld has a migrated database and a sandbox that listens.
func newWorld(t testing.TB, o sandbox.Options) *world {
	t.Helper()
	w := newWorldOn(t, o, pgtest.URL(t))
	// Registered after the database's own cleanup, so it runs before the drop.
	t.Cleanup(w.checkDatabase)
	return w
}

// newWorldOn is newWorld on a database that is there; "" means none.
func newWorldOn(t testing.TB, o sandbox.Options, url string) *world {
	t.Helper()
	if o.Keys == nil {
		o.Keys = []sandbox.Key{till}
	}
	w := &world{TB: t, dir: t.TempDir(), api: sandbox.New(o)}
	var err error
	if w.ear, err = w.api.Listen(""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.ear.Close(); err != nil {
			t.Error(err)
		}
		w.api.Close()
	})
	w.env = map[string]string{
		"PATH": os.Getenv("PATH"), "HOME": w.dir, "LOGNAME": "tester",
		"CAPILLARY_BASE_URL": w.ear.URL, "CAPILLARY_USERNAME": till.Username, "CAPILLARY_PASSWORD": till.Password,
		// Fast, with time-outs that a busy machine never meets; see quick.
		"CAPILLARY_RATE_PER_MINUTE": "60000", "IMAGEPURGE_REQUEST_TIMEOUT": "20s", "IMAGEPURGE_SETTLE": "21s",
		"IMAGEPURGE_LISTING_LAG": "200ms", "IMAGEPURGE_LEASE": "60s",
		// At such rates an overloaded machine, not the slots, makes views old; the tests
		// of freshness set their own.
		"IMAGEPURGE_VIEW_MAX_AGE": "1m",
		"IMAGEPURGE_BACKOFF_BASE": "50ms", "IMAGEPURGE_BACKOFF_MAX": "1s",
	}
	if bin := os.Getenv("IMAGEPURGE_PG_BIN"); bin != "" {
		w.env["IMAGEPURGE_PG_BIN"] = bin
	}
	if url == "" {
		return w
	}
	w.env["DATABASE_URL"] = url
	if w.pool, err = pgxpool.New(t.Context(), url); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.pool.Close)
	return w
}

// quick makes everything that is waited for short: for tests of crashes and
// faults. On a busy machine such time-outs are met without a fault as well; then
// the breaker may open, which toTheEnd allows for.
func (w *world) quick() *world {
	return w.with("IMAGEPURGE_REQUEST_TIMEOUT=1s", "IMAGEPURGE_SETTLE=1500ms", "IMAGEPURGE_LISTING_LAG=200ms", "IMAGEPURGE_LEASE=4s", "IMAGEPURGE_MAX_ATTEMPTS=100")
}

// with returns a world whose programs are given these variables as well; NAME
// alone takes one away.
func (w *world) with(pairs ...string) *world {
	other := *w
	other.env = maps.Clone(w.env)
	for _, p := range pairs {
		if k, v, ok := strings.Cut(p, "="); ok {
			other.env[k] = v
		} else {
			delete(other.env, k)
		}
	}
	return &other
}

// toTheEnd works until nothing is left. A breaker that opens on the way ends a run
// with 1; each start makes one probe.
func (w *world) toTheEnd() (starts int) {
	w.Helper()
	for end := time.Now().Add(patience); ; {
		starts++
		e := w.run("run", "--once")
		if e.status == 1 && time.Now().Before(end) && strings.Contains(e.err, "breaker open") {
			continue
		}
		if e.status != 0 && e.status != 3 {
			w.Errorf("start %d: %s", starts, e)
		}
		return starts
	}
}

// file writes a file where programs run and returns its name.
func (w *world) file(name, content string) string {
	w.Helper()
	if err := os.WriteFile(filepath.Join(w.dir, name), []byte(content), 0o600); err != nil {
		w.Fatal(err)
	}
	return name
}

// until waits for a condition.
func (w *world) until(what string, met func() bool) {
	w.Helper()
	deadline := time.After(patience)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !met() {
		select {
		case <-tick.C:
		case <-deadline:
			w.Fatalf("waited %v in vain: %s", patience, what)
		}
	}
}

// after waits until a time has come.
func after(t testing.TB, d time.Duration) {
	select {
	case <-time.After(d):
	case <-t.Context().Done():
	}
}

// secretsIn names the secrets that a text holds.
func (w *world) secretsIn(text string) (found []string) {
	for name, secret := range secrets() {
		if strings.Contains(text, secret) {
			found = append(found, name)
		}
	}
	return found
}

// secrets are what nobody may find in any output, nor in the database: by name.
func secrets() map[string]string {
	basic := base64.StdEncoding.EncodeToString([]byte(till.Username + ":" + till.BasicPassword()))
	return map[string]string{
		"user name": till.Username, "password": till.Password, "MD5 of the password": till.BasicPassword(), "Basic credentials": basic, "wrong password": wrongPassword, "s3Token": "customerImage/",
		"presigned URL": "X-Amz-Signature", "e-mail": "@example.invalid", "profile": "lifetimePurchases",
	}
}

// till is the key of every world. Its words stand nowhere else.
var till = sandbox.Key{Username: "till-of-the-test", Password: "sesame-opens-0815"}

const wrongPassword = "wrong-sesame-4711"

// checkDatabase looks through every row of every table for secrets.
func (w *world) checkDatabase() {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(w.Context()), patience)
	defer cancel()
	rows, err := w.pool.Query(ctx, "SELECT quote_ident(relname) FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace")
	if err != nil {
		w.Error(err)
		return
	}
	tables, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil || len(tables) < 4 {
		w.Errorf("tables %v: %v", tables, err)
	}
	for _, table := range tables {
		for name, secret := range secrets() {
			var n int
			if err := w.pool.QueryRow(ctx, "SELECT count(*) FROM "+table+" x WHERE strpos(x::text, $1) > 0", secret).Scan(&n); err != nil {
				w.Error(err)
			} else if n > 0 {
				w.Errorf("%d rows of %s hold a secret: %s", n, table, name)
			}
		}
	}
}
