package embeddedpg

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"go.uber.org/goleak"
)

// helperVariable makes the test binary a program that runs a server: the parent
// that tests kill.
const helperVariable = "EMBEDDEDPG_TEST_HELPER"

// seedVariable names a helper's seed.
const seedVariable = "EMBEDDEDPG_TEST_SEED"

// report is what a helper prints once its server accepts connections.
type report struct {
	URL, Dir string
	PID      int
	Error    string
}

func TestMain(m *testing.M) {
	if text := os.Getenv(helperVariable); text != "" {
		helper(text)
		return
	}
	goleak.VerifyTestMain(m, goleak.Cleanup(func(status int) {
		if seedBase != "" {
			_ = os.RemoveAll(seedBase)
		}
		os.Exit(status)
	}))
}

// helper starts a server, reports, and stops it when its input ends.
func helper(text string) {
	var opts Options
	if err := json.Unmarshal([]byte(text), &opts); err != nil {
		panic(err)
	}
	if path := os.Getenv(seedVariable); path != "" {
		opts.fill = func(dir string) error { return unpack(path, dir, "--strip-components=2", "pg/data") }
	}
	s, err := Start(context.Background(), opts)
	var r report
	if err != nil {
		r.Error = err.Error()
	} else {
		r = report{URL: s.URL(), Dir: s.Dir(), PID: s.PID()}
	}
	_ = json.NewEncoder(os.Stdout).Encode(r)
	if err != nil {
		return
	}
	_, _ = io.Copy(io.Discard, os.Stdin)
	if err := s.Stop(context.Background()); err != nil {
		panic(err)
	}
}

// child is a running helper.
type child struct {
	report
	t     *testing.T
	cmd   *exec.Cmd
	stdin io.Closer
}

// spawn runs a helper with opts and waits for its report. change may alter the
// command before it starts.
func spawn(t *testing.T, opts Options, change ...func(*exec.Cmd)) *child {
	t.Helper()
	text, err := json.Marshal(map[string]any{
		"Temporary": opts.Temporary, "TempDir": opts.TempDir, "DataDir": opts.DataDir, "User": opts.User,
		"Tests": opts.Tests, "Durable": opts.Durable, "ParentDeath": opts.ParentDeath,
	})
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), helperVariable+"="+string(text))
	if opts.Temporary {
		cmd.Env = append(cmd.Env, seedVariable+"="+seedFile(t))
	}
	cmd.Stderr = os.Stderr
	for _, f := range change {
		f(cmd)
	}
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	c := &child{t: t, cmd: cmd, stdin: stdin}
	t.Cleanup(c.kill)
	line, err := bufio.NewReader(stdout).ReadBytes('\n')
	if err == nil {
		err = json.Unmarshal(line, &c.report)
	}
	if err != nil {
		t.Fatalf("helper said %q: %v", line, err)
	}
	return c
}

// kill ends the helper as a crash would; a second call does nothing.
func (c *child) kill() {
	_ = c.cmd.Process.Kill()
	_ = c.cmd.Wait()
}

// stop ends the helper in order.
func (c *child) stop() {
	c.t.Helper()
	c.stdin.Close()
	if err := c.cmd.Wait(); err != nil {
		c.t.Fatalf("helper: %v", err)
	}
}

// begin starts a server in this process, to be stopped with the test.
func begin(t *testing.T, opts Options) *Server {
	t.Helper()
	opts.Logf = logf(t)
	s, err := Start(t.Context(), opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { end(t, s) })
	return s
}

func end(t *testing.T, s *Server) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if err := s.Stop(ctx); err != nil {
		t.Error(err)
	}
}

// logf logs for a test from any goroutine; all end before the test does.
func logf(t *testing.T) func(string, ...any) {
	return func(format string, args ...any) { t.Logf("notice: "+format, args...) }
}

// roomyFolder is a new folder that every account can enter, which t.TempDir is
// not; in memory where possible, since fsync costs seconds on a disk.
func roomyFolder(t *testing.T) string {
	t.Helper()
	base := os.TempDir()
	if freeBytes(memoryFolder) >= memoryFolderMin {
		base = memoryFolder
	}
	dir, err := os.MkdirTemp(base, "iptest-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	return dir
}

// seed is an archive of a data folder that was used once and stopped in order.
// Tests that are not about initdb, which takes most of a second, start from it.
var seed = sync.OnceValues(func() (path string, err error) {
	base, err := os.MkdirTemp("", "iptest-seed-")
	if err != nil {
		return "", err
	}
	seedBase = base
	if err := os.Chmod(base, 0o755); err != nil {
		return "", err
	}
	dir := filepath.Join(base, "pg")
	s, err := Start(context.Background(), Options{DataDir: dir})
	if err != nil {
		return "", err
	}
	if err := s.Stop(context.Background()); err != nil {
		return "", err
	}
	path = filepath.Join(base, "seed.tar")
	if out, err := exec.Command("tar", "-C", base, "-cf", path, "pg").CombinedOutput(); err != nil {
		return "", fmt.Errorf("%w: %s", err, out)
	}
	return path, errors.Join(os.Chmod(path, 0o644), os.RemoveAll(dir))
})

// seedBase is what TestMain removes; seed writes it, before any test ends.
var seedBase string

func seedFile(t *testing.T) string {
	t.Helper()
	path, err := seed()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

func unpack(archive, dir string, args ...string) error {
	out, err := exec.Command("tar", append([]string{"-C", dir, "-xpf", archive}, args...)...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	return nil
}

// temporary are Options of a temporary server in base that skips initdb.
func temporary(t *testing.T, base string) Options {
	t.Helper()
	path := seedFile(t)
	return Options{Temporary: true, Tests: true, TempDir: base,
		fill: func(dir string) error { return unpack(path, dir, "--strip-components=2", "pg/data") }}
}

// dataFolder is a data folder with a database in it, not in use.
func dataFolder(t *testing.T) string {
	t.Helper()
	base := roomyFolder(t)
	if err := unpack(seedFile(t), base); err != nil {
		t.Fatal(err)
	}
	return filepath.Join(base, "pg")
}

// eventually waits for what; a minute is far more than any of it takes.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("not within a minute: %s", what)
		}
		_ = pause(context.Background(), 10*time.Millisecond)
	}
}

// query runs one statement and returns its first value as text.
func query(t *testing.T, url, sql string) string {
	t.Helper()
	value, err := tryQuery(url, sql)
	if err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return value
}

func tryQuery(url, sql string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return "", err
	}
	defer conn.Close(ctx)
	rows, err := conn.Query(ctx, sql)
	if err != nil {
		return "", err
	}
	value, err := pgx.CollectExactlyOneRow(rows, func(row pgx.CollectableRow) (string, error) {
		values, err := row.Values()
		return fmt.Sprint(values...), err
	})
	return value, err
}

// remember commits a row that rowKept looks for later.
func remember(t *testing.T, url string) {
	t.Helper()
	ctx := t.Context()
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(ctx)
	if _, err := conn.Exec(ctx, "CREATE TABLE kept AS SELECT 42 AS n"); err != nil {
		t.Fatal(err)
	}
}

func rowKept(url string) bool {
	value, err := tryQuery(url, "SELECT n FROM kept")
	return err == nil && value == "42"
}
