package embeddedpg

import (
	"context"
	"errors"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestTemporaryServerLeavesNothing(t *testing.T) {
	t.Parallel()
	base := roomyFolder(t)
	s := begin(t, Options{Temporary: true, Tests: true, TempDir: base})
	pid, dataDir := s.PID(), s.place.dataDir()
	if got := query(t, s.URL(), "SELECT current_database()"); got != Database {
		t.Errorf("database: got %s, want %s", got, Database)
	}
	if got := query(t, s.URL(), "SHOW fsync"); got != "off" {
		t.Errorf("fsync of a temporary server: got %s, want off", got)
	}
	if !namesFolder(pid, dataDir) {
		t.Fatalf("process %d is not the server of %s: the check below would see nothing", pid, dataDir)
	}
	end(t, s)
	if namesFolder(pid, dataDir) {
		t.Error("the server still runs after Stop")
	}
	select {
	case <-s.Done():
	default:
		t.Error("Done is open after Stop")
	}
	if err := s.Err(); err != nil {
		t.Errorf("Err after Stop: got %v, want nil", err)
	}
	if left, _ := os.ReadDir(base); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
	end(t, s) // twice is allowed
}

func TestDurabilityIsKeptWhereItIsPromised(t *testing.T) {
	t.Parallel()
	const settings = "SELECT current_setting('fsync') || current_setting('synchronous_commit') || current_setting('full_page_writes')"
	durable := temporary(t, roomyFolder(t))
	durable.Durable = true
	for name, s := range map[string]*Server{
		"temporary and durable": begin(t, durable),
		"persistent":            begin(t, Options{DataDir: dataFolder(t)}),
	} {
		if got := query(t, s.URL(), settings); got != "ononon" {
			t.Errorf("%s: got %s, want all three on", name, got)
		}
	}
}

func TestCommittedRowSurvivesACrash(t *testing.T) {
	t.Parallel()
	opts := temporary(t, roomyFolder(t))
	opts.Durable = true
	s := begin(t, opts)
	remember(t, s.URL())
	before := s.URL()
	if err := s.Crash(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := tryQuery(s.URL(), "SELECT 1"); err == nil {
		t.Fatal("the server answers after Crash")
	}
	if err := s.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	if s.URL() != before || !rowKept(s.URL()) {
		t.Errorf("after Restart: URL %s (was %s), row kept: %v", s.URL(), before, rowKept(s.URL()))
	}
}

func TestServerThatEndsByItself(t *testing.T) {
	t.Parallel()
	kill := func(s *Server) {
		t.Helper()
		p, err := os.FindProcess(s.PID())
		if err == nil {
			err = p.Kill()
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	t.Run("temporary: Done is closed and Err says so", func(t *testing.T) {
		t.Parallel()
		s := begin(t, temporary(t, roomyFolder(t)))
		kill(s)
		select {
		case <-s.Done():
		case <-time.After(20 * time.Second):
			t.Fatal("Done is still open")
		}
		if err := s.Err(); err == nil || !strings.Contains(err.Error(), "signal: killed") || !strings.Contains(err.Error(), "ready to accept connections") {
			t.Errorf("Err: got %v; want the reason and the log's end", err)
		}
	})
	t.Run("persistent: started again", func(t *testing.T) {
		t.Parallel()
		s := begin(t, Options{DataDir: dataFolder(t)})
		remember(t, s.URL())
		first := s.PID()
		kill(s)
		eventually(t, "the server is up again with its data", func() bool { return s.PID() != first && rowKept(s.URL()) })
	})
}

func TestStartSaysWhyTheServerEnded(t *testing.T) {
	t.Parallel()
	dir := dataFolder(t)
	f, err := os.OpenFile(filepath.Join(dir, "data", "postgresql.conf"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString("no_such_setting = 1\n"); err != nil {
		t.Fatal(err)
	}
	f.Close()
	begun := time.Now()
	s, err := Start(t.Context(), Options{DataDir: dir})
	if err == nil {
		end(t, s)
		t.Fatal("started with a broken postgresql.conf")
	}
	if !strings.Contains(err.Error(), `unrecognized configuration parameter "no_such_setting"`) {
		t.Errorf("got %v; want what the server's log says", err)
	}
	if took := time.Since(begun); took > silenceLimit/2 {
		t.Errorf("took %v: the end of the process was not seen", took)
	}
	lock, err := tryLock(filepath.Join(dir, "lock"))
	if err != nil {
		t.Fatalf("the lock is still held after a failed start: %v", err)
	}
	lock.release()
}

func TestSocketPathTooLongFallsBackToTCP(t *testing.T) {
	t.Parallel()
	long := filepath.Join(roomyFolder(t), strings.Repeat("d", 60), strings.Repeat("e", 60))
	s := begin(t, Options{DataDir: long})
	address := s.URL()
	u, err := url.Parse(address)
	if err != nil || u.Hostname() != "127.0.0.1" {
		t.Fatalf("got %s, %v; want an address on 127.0.0.1", address, err)
	}
	query(t, address, "SELECT 1")
	wrong := *u
	wrong.User = url.UserPassword(Role, "guess")
	if _, err := tryQuery(wrong.String(), "SELECT 1"); err == nil || !strings.Contains(err.Error(), "28P01") {
		t.Errorf("with a wrong password: got %v, want it refused (28P01)", err)
	}
	follower := begin(t, Options{DataDir: long})
	if follower.URL() != address || follower.PID() != 0 {
		t.Errorf("second start: got %s and process %d, want the first one's address and no process", follower.URL(), follower.PID())
	}
	end(t, s)
	eventually(t, "the follower took over at the same address", func() bool {
		_, err := tryQuery(address, "SELECT 1")
		return err == nil && follower.PID() != 0
	})
}

func TestVariablesOfLibpqDoNotCount(t *testing.T) {
	// Not parallel: pgx reads the environment of the process.
	opts := temporary(t, roomyFolder(t))
	t.Setenv("PGSSLMODE", "verify-full")
	t.Setenv("PGTARGETSESSIONATTRS", "standby")
	t.Setenv("PGPORT", "1")
	t.Setenv("PGHOST", "nowhere.invalid")
	s := begin(t, opts)
	query(t, s.URL(), "SELECT 1")
}

func TestLogKeepsStatementsAndKeysOut(t *testing.T) {
	t.Parallel()
	s := begin(t, Options{DataDir: dataFolder(t)})
	for range 2 { // the second one names its key in DETAIL
		_, _ = tryQuery(s.URL(), "CREATE TABLE IF NOT EXISTS customers (id bigint PRIMARY KEY)")
		_, _ = tryQuery(s.URL(), "INSERT INTO customers VALUES (564703420) RETURNING 1")
	}
	text, err := os.ReadFile(s.place.logFile())
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(text), "duplicate key") {
		t.Fatalf("the log does not even have the error:\n%s", text)
	}
	if strings.Contains(string(text), "564703420") {
		t.Errorf("a customer's id is in the log:\n%s", text)
	}
}

func TestDefaultDataDir(t *testing.T) {
	t.Parallel()
	if runtime.GOOS != "linux" {
		t.Skip("the cases are Linux's")
	}
	env := func(pairs ...string) func(string) string {
		return func(name string) string {
			for i := 0; i < len(pairs); i += 2 {
				if pairs[i] == name {
					return pairs[i+1]
				}
			}
			return ""
		}
	}
	for _, c := range []struct {
		name, want string
		env        func(string) string
	}{
		{"home", "/home/a/.local/share/imagepurge", env("HOME", "/home/a")},
		{"XDG", "/data/imagepurge", env("HOME", "/home/a", "XDG_DATA_HOME", "/data")},
		{"a relative XDG counts as unset", "/home/a/.local/share/imagepurge", env("HOME", "/home/a", "XDG_DATA_HOME", "data")},
		{"nothing set", "", env()},
	} {
		got, err := userFolder(c.env, "XDG_DATA_HOME", ".local/share", "Library/Application Support", "LOCALAPPDATA")
		if got != c.want || (err != nil) != (c.want == "") {
			t.Errorf("%s: got %q, %v; want %q", c.name, got, err, c.want)
		}
	}
	if isRoot() {
		if got, err := DefaultDataDir(env("HOME", "/root")); got != "/var/lib/imagepurge" {
			t.Errorf("root: got %q, %v; want a folder that other accounts can enter", got, err)
		}
	}
}

func TestStopWhoseContextEndedStillStops(t *testing.T) {
	t.Parallel()
	dir := dataFolder(t)
	s := begin(t, Options{DataDir: dir})
	remember(t, s.URL())
	pid := s.PID()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	// A fast shutdown may win the race against the ended context: both are right.
	if err := s.Stop(ctx); err != nil && !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want nil or the context's error", err)
	}
	if namesFolder(pid, s.place.dataDir()) {
		t.Error("the server still runs")
	}
	if again := begin(t, Options{DataDir: dir}); !rowKept(again.URL()) {
		t.Error("the row is gone")
	}
}

func TestRunnerNotesItsProcess(t *testing.T) {
	t.Parallel()
	s := begin(t, Options{DataDir: dataFolder(t)})
	if got, want := lockHolder(s.place.lockFile()), strconv.Itoa(os.Getpid()); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	var modes = map[string]fs.FileMode{}
	for _, name := range []string{"data", "run", "password", "postgres.log"} {
		fi, err := os.Stat(filepath.Join(s.Dir(), name))
		if err != nil {
			t.Fatal(err)
		}
		modes[name] = fi.Mode().Perm()
	}
	want := map[string]fs.FileMode{"data": 0o700, "run": 0o700, "password": 0o600, "postgres.log": 0o600}
	if diff := cmp.Diff(want, modes); diff != "" {
		t.Errorf("modes (-want +got):\n%s", diff)
	}
}
