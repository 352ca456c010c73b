package main_test

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/imagepurge/imagepurge/capillary/sandbox"
	"github.com/imagepurge/imagepurge/internal/pgtest"
)

// bouncer runs the real PgBouncer in transaction mode before a server, and returns
// the URL that goes through it. The server's connections are few, so that one
// client's transactions land on several.
func bouncer(t *testing.T, direct string) string {
	t.Helper()
	program, err := exec.LookPath("pgbouncer")
	if err != nil {
		program = "/usr/sbin/pgbouncer" // not on everybody's PATH
	}
	if _, err := os.Stat(program); err != nil {
		t.Skip("PgBouncer is not installed: what is promised of it is not tried here; apt-get install pgbouncer")
	}
	cfg, err := pgx.ParseConfig(direct)
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "ip-bouncer-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := listener.Addr().(*net.TCPAddr).Port
	listener.Close()
	auth := "user=" + cfg.User
	if cfg.Password != "" {
		auth += " password=" + cfg.Password
	}
	ini := filepath.Join(dir, "pgbouncer.ini")
	text := fmt.Sprintf(`[databases]
* = host=%s port=%d %s
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = %d
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = 4
max_client_conn = 200
server_round_robin = 1
`, cfg.Host, cfg.Port, auth, port)
	if err := os.WriteFile(ini, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	args := []string{ini}
	if os.Getuid() == 0 { // it refuses to run as root; the server's folder is its user's alone
		owner := ownerOf(t, cfg.Host)
		for _, p := range []string{dir, ini} {
			if err := os.Chown(p, owner, -1); err != nil {
				t.Fatal(err)
			}
		}
		args = []string{"-u", userName(t, owner), ini}
	}
	log, err := os.Create(filepath.Join(t.TempDir(), "pgbouncer.log"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	cmd := exec.Command(program, args...)
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM) // at once
		_ = cmd.Wait()                          // by a signal
		if t.Failed() {
			said, _ := os.ReadFile(log.Name())
			t.Logf("pgbouncer: %s", tail(string(said)))
		}
	})
	through := fmt.Sprintf("postgres://%s@127.0.0.1:%d/%s", cfg.User, port, cfg.Database)
	deadline := time.Now().Add(patience)
	for {
		conn, err := pgx.Connect(t.Context(), through)
		if err == nil {
			conn.Close(t.Context())
			return through
		}
		if time.Now().After(deadline) {
			t.Fatalf("PgBouncer does not answer: %v", err)
		}
		after(t, 50*time.Millisecond)
	}
}

func ownerOf(t *testing.T, path string) int {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Skipf("the server is not on this machine: %v", err)
	}
	return int(info.Sys().(*syscall.Stat_t).Uid)
}

func userName(t *testing.T, uid int) string {
	t.Helper()
	out, err := exec.Command("id", "-nu", fmt.Sprint(uid)).Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}

// The whole work through PgBouncer in transaction mode: the schema over a direct
// connection, everything else through the pooler, with nothing set.
func TestThroughPgBouncerInTransactionMode(t *testing.T) {
	t.Parallel()
	crowd := present(661, 20, 2)
	direct := pgtest.URL(t)
	empty, err := pgxpool.New(t.Context(), direct)
	if err != nil {
		t.Fatal(err)
	}
	defer empty.Close()
	if _, err := empty.Exec(t.Context(), "DROP SCHEMA public CASCADE; CREATE SCHEMA public"); err != nil {
		t.Fatal(err)
	}
	w := newWorldOn(t, sandbox.Options{Seed: 661, Population: crowd}, direct)
	w = w.with("DATABASE_URL="+bouncer(t, direct), "IMAGEPURGE_MIGRATE_URL="+direct)
	if e := w.must(1, "status"); !strings.Contains(e.err, "imagepurge migrate") {
		t.Errorf("%s", e)
	}
	w.must(0, "migrate")
	batch := w.enqueue(everyone(crowd)[:10])
	if e := w.must(0, "run", "--once"); !strings.Contains(e.out, "10 customers ended") {
		t.Errorf("%s", e)
	}
	w.wantTruth(batch, everyone(crowd)[:10])
	w.must(0, "status")

	// A worker in its window finds out that nobody tells it of work, and polls.
	p := w.always().start("run")
	w.until("it gives up to listen", func() bool { return strings.Contains(p.errOut.String(), "notifications don't reach this connection") })
	w.enqueue(everyone(crowd)[10:])
	w.until("the rest is purged", func() bool {
		return w.count("SELECT count(*) FROM image_deletion_tasks WHERE state = 'completed'") == 20
	})
	if e := w.must(0, "status"); !strings.Contains(e.out, "worker ") {
		t.Errorf("%s", e)
	}
	p.stop()
	if n := strings.Count(p.errOut.String(), "notifications don't reach"); n != 1 {
		t.Errorf("it said %d times that it polls", n)
	}
	w.wantHarmless(true)
}
