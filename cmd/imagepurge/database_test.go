package main_test

import (
	"io"
	"net"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/imagepurge/imagepurge/capillary/sandbox"
	"github.com/imagepurge/imagepurge/internal/pgtest"
)

// door is an address of a database that can be shut.
type door struct {
	world       *world
	address     string
	kind, there string // of the database itself

	mu    sync.Mutex
	ear   net.Listener
	pairs []net.Conn
}

// newDoor returns a shut door to a database, and the URL through it.
func newDoor(w *world, database string) (*door, string) {
	w.Helper()
	cfg, err := pgx.ParseConfig(database)
	if err != nil {
		w.Fatal(err)
	}
	d := &door{world: w}
	d.kind, d.there = pgNetwork(cfg.Host, cfg.Port)
	ear, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		w.Fatal(err)
	}
	d.address = ear.Addr().String()
	if err := ear.Close(); err != nil {
		w.Fatal(err)
	}
	w.Cleanup(d.shut)
	u := url.URL{Scheme: "postgres", User: url.User(cfg.User), Host: d.address, Path: "/" + cfg.Database, RawQuery: "sslmode=disable"}
	if cfg.Password != "" {
		u.User = url.UserPassword(cfg.User, cfg.Password)
	}
	return d, u.String()
}

func pgNetwork(host string, port uint16) (kind, address string) {
	if strings.HasPrefix(host, "/") {
		return "unix", host + "/.s.PGSQL." + number(int64(port))
	}
	return "tcp", net.JoinHostPort(host, number(int64(port)))
}

func (d *door) open() {
	d.world.Helper()
	ear, err := net.Listen("tcp", d.address)
	if err != nil {
		d.world.Fatal(err)
	}
	d.mu.Lock()
	d.ear = ear
	d.mu.Unlock()
	go func() {
		for {
			here, err := ear.Accept()
			if err != nil {
				return
			}
			there, err := net.Dial(d.kind, d.there)
			if err != nil {
				_ = here.Close()
				continue
			}
			d.mu.Lock()
			d.pairs = append(d.pairs, here, there)
			d.mu.Unlock()
			pipe := func(a, b net.Conn) {
				_, _ = io.Copy(a, b)
				_ = a.Close()
				_ = b.Close()
			}
			go pipe(here, there)
			go pipe(there, here)
		}
	}()
}

// shut cuts all connections and lets no new ones through.
func (d *door) shut() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.ear != nil {
		_ = d.ear.Close()
		d.ear = nil
	}
	for _, c := range d.pairs {
		_ = c.Close()
	}
	d.pairs = nil
}

func TestDatabaseIsAwayAtTheStart(t *testing.T) {
	t.Parallel()
	w := newWorld(t, sandbox.Options{})
	d, address := newDoor(w, w.env["DATABASE_URL"])
	w = w.with("DATABASE_URL=" + address)
	for _, args := range []string{"status", "run --once", "migrate", "enqueue list.csv"} {
		w.list("list.csv", 1)
		e := w.must(1, strings.Fields(args)...)
		if !strings.Contains(e.err, "can't be reached") || !strings.Contains(e.err, d.address) || !strings.Contains(e.err, "--wait") {
			t.Errorf("%s", e)
		}
	}
	if e := w.must(1, "status", "--wait", "1500ms"); e.took < 1500*time.Millisecond || !strings.Contains(e.err, "waiting for the database") {
		t.Errorf("%s", e)
	}
	p := w.start("status", "--wait", "90s")
	w.until("it waits", func() bool { return strings.Contains(p.errOut.String(), "waiting for the database") })
	d.open()
	if e := p.wait(); e.status != 0 || e.out == "" {
		t.Errorf("%s", e)
	}
	secret := w.with("DATABASE_URL=postgres://imagepurge:" + wrongPassword + "@127.0.0.1:1/x") // wait looks for it in the output
	secret.must(1, "status")
	if e := w.with("DATABASE_URL=postgres://imagepurge:" + wrongPassword + "@127.0.0.1:x/x").run("status"); e.status != 1 {
		t.Errorf("%s", e)
	}
}

func TestDatabaseGoesAwayMeanwhile(t *testing.T) {
	t.Parallel()
	crowd := present(101, 200, 3)
	w := newWorld(t, sandbox.Options{Seed: 101, Population: crowd, Latency: sandbox.UniformLatency(10*time.Millisecond, 60*time.Millisecond)}).
		with("CAPILLARY_RATE_PER_MINUTE=6000", "IMAGEPURGE_REQUEST_TIMEOUT=5s", "IMAGEPURGE_SETTLE=5300ms", "IMAGEPURGE_LEASE=12s")
	ids := everyone(crowd)
	batch := w.enqueue(ids)
	d, address := newDoor(w, w.env["DATABASE_URL"])
	d.open()
	p := w.with("DATABASE_URL="+address).start("run", "--once")
	for _, at := range []int{60, 200, 350} {
		w.until("deletes are under way", func() bool { return len(w.deletes()) > at })
		d.shut()
		w.wantSilence() // without the database there is no intent
		d.open()
	}
	if e := p.wait(); e.status != 0 || !strings.Contains(e.err, "database failed") {
		t.Errorf("%s", e)
	}
	w.wantTruth(batch, ids)
	w.wantHarmless(true)
	w.wantAtRest()
}

func TestDiskUnderTheDatabaseIsFull(t *testing.T) {
	t.Parallel()
	crowd := present(102, 150, 3)
	w := newWorld(t, sandbox.Options{Seed: 102, Population: crowd, Latency: sandbox.UniformLatency(10*time.Millisecond, 60*time.Millisecond)}).
		with("CAPILLARY_RATE_PER_MINUTE=6000", "IMAGEPURGE_REQUEST_TIMEOUT=1s", "IMAGEPURGE_SETTLE=1300ms", "IMAGEPURGE_LEASE=5s")
	ids := everyone(crowd)
	batch := w.enqueue(ids)
	p := w.start("run", "--once")
	w.until("deletes are under way", func() bool { return len(w.deletes()) > 60 })
	// What PostgreSQL says when it can't extend a file.
	w.exec(`CREATE FUNCTION no_space() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
RAISE EXCEPTION 'could not extend file "base/16384/16385": No space left on device' USING ERRCODE = 'disk_full', HINT = 'Check free disk space.';
END $$`)
	tables := []string{"task_images", "image_calls", "image_deletion_tasks", "customer_leases", "batches"}
	for _, table := range tables {
		w.exec("CREATE TRIGGER no_space BEFORE INSERT OR UPDATE ON " + table + " FOR EACH STATEMENT EXECUTE FUNCTION no_space()")
	}
	w.wantSilence()
	full := len(w.deletes())
	w.until("the message names it", func() bool { return strings.Contains(p.errOut.String(), "No space left on device") })
	if !p.running() || full > 400 {
		t.Fatalf("%d deletes: %s", full, p)
	}
	w.until("leases are over", func() bool {
		return w.count("SELECT count(*) FROM image_deletion_tasks WHERE state = 'running' AND lease_until > clock_timestamp()") == 0
	})
	for _, table := range tables {
		w.exec("DROP TRIGGER no_space ON " + table)
	}
	if e := p.wait(); e.status != 0 {
		t.Errorf("%s", e)
	}
	w.wantTruth(batch, ids)
	w.wantHarmless(true)
	w.wantAtRest()
}

func TestSchemaOfAnotherVersion(t *testing.T) {
	t.Parallel()
	w := newWorldOn(t, sandbox.Options{}, pgtest.URL(t))
	w.list("list.csv", 1)
	commands := []string{"status", "run --once", "enqueue list.csv", "batch list", "task list", "report 1"}
	w.exec("INSERT INTO goose_db_version (version_id, is_applied) VALUES (9999, true)")
	for _, args := range append(commands, "migrate") {
		if e := w.must(1, strings.Fields(args)...); !strings.Contains(e.err, "newer than this program's") {
			t.Errorf("%s", e)
		}
	}
	w.exec("DELETE FROM goose_db_version WHERE version_id = 9999 OR version_id = (SELECT max(version_id) FROM goose_db_version WHERE version_id < 9999)")
	for _, args := range commands {
		if e := w.must(1, strings.Fields(args)...); !strings.Contains(e.err, "run: imagepurge migrate") {
			t.Errorf("%s", e)
		}
	}
}
