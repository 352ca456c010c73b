package pgtest

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"go.uber.org/goleak"

	"github.com/imagepurge/imagepurge/internal/embeddedpg"
)

// helperVariable makes TestHelper do something: other tests run this binary as
// a suite of its own and look at how it ends.
const helperVariable = "PGTEST_TEST_HELPER"

func TestMain(m *testing.M) {
	status := Main(m, "one table", func(ctx context.Context, url string) error {
		conn, err := pgx.Connect(ctx, url)
		if err != nil {
			return err
		}
		defer conn.Close(ctx)
		_, err = conn.Exec(ctx, "CREATE TABLE migrated (id int)")
		return err
	})
	if err := goleak.Find(); status == 0 && err != nil {
		fmt.Fprintln(os.Stderr, err)
		status = 1
	}
	os.Exit(status)
}

func TestHelper(t *testing.T) {
	switch os.Getenv(helperVariable) {
	case "pass":
		insert(t, New(t))
	case "fail":
		pool := New(t)
		insert(t, pool)
		t.Error("failed on purpose")
	}
}

// insert puts a row into the migrated table, which must be empty before.
func insert(t *testing.T, pool *pgxpool.Pool) {
	t.Helper()
	var before int
	err := pool.QueryRow(t.Context(), "WITH w AS (INSERT INTO migrated VALUES (1)) SELECT count(*) FROM migrated").Scan(&before)
	if err != nil || before != 0 {
		t.Fatalf("got %d rows, %v; want an empty migrated table", before, err)
	}
}

// suiteRun runs TestHelper in a process of its own.
func suiteRun(t *testing.T, what string, env ...string) (output string, passed bool) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestHelper$", "-test.v")
	cmd.Env = append(os.Environ(), helperVariable+"="+what)
	cmd.Env = append(cmd.Env, env...)
	out, err := cmd.CombinedOutput()
	return string(out), err == nil
}

func TestEachCallIsADatabaseOfItsOwn(t *testing.T) {
	t.Parallel()
	for i := range 8 {
		t.Run(strconv.Itoa(i), func(t *testing.T) {
			t.Parallel()
			insert(t, New(t))
		})
	}
}

func TestDatabaseIsDroppedAfterTheTest(t *testing.T) {
	t.Parallel()
	var address string
	t.Run("uses one", func(t *testing.T) {
		address = URL(t)
		conn, err := pgx.Connect(t.Context(), address)
		if err != nil {
			t.Fatal(err)
		}
		// Left open on purpose: a forgotten connection must not keep it.
		go func() { _ = conn.Close(context.Background()) }()
	})
	conn, err := pgx.Connect(t.Context(), address)
	if err == nil {
		conn.Close(t.Context())
	}
	if err == nil || !strings.Contains(err.Error(), "3D000") { // invalid_catalog_name
		t.Errorf("got %v, want the database gone (3D000)", err)
	}
}

func TestServerOfATestsOwnSurvivesACrash(t *testing.T) {
	t.Parallel()
	s := Start(t, Options{Durable: true})
	pool := s.New(t)
	insert(t, pool)
	if err := s.Embedded().Crash(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := s.Embedded().Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	pool.Reset() // its connections broke
	var n int
	if err := pool.QueryRow(t.Context(), "SELECT count(*) FROM migrated").Scan(&n); err != nil || n != 1 {
		t.Errorf("after the crash: got %d rows, %v; want the committed one", n, err)
	}
}

var keptURL = regexp.MustCompile(`the test's database was kept: (\S+?)(;|\s)`)

func TestFailedTestNamesItsDatabase(t *testing.T) {
	t.Parallel()
	out, passed := suiteRun(t, "fail", keepVariable+"=")
	if passed || !keptURL.MatchString(out) || !strings.Contains(out, "it ends with this run unless "+keepVariable+"=1 is set") {
		t.Fatalf("passed: %v; want the database's address and the hint in:\n%s", passed, out)
	}
	if conn, err := pgx.Connect(t.Context(), keptURL.FindStringSubmatch(out)[1]); err == nil {
		conn.Close(t.Context())
		t.Error("the server still runs")
	}
}

func TestKeepLeavesTheServerOfAFailedTest(t *testing.T) {
	t.Parallel()
	out, _ := suiteRun(t, "fail", keepVariable+"=1")
	kill := regexp.MustCompile(`kill -INT (\d+)`).FindStringSubmatch(out)
	if kill == nil || !keptURL.MatchString(out) {
		t.Fatalf("want the address and how to end the server in:\n%s", out)
	}
	pid, err := strconv.Atoi(kill[1])
	if err != nil {
		t.Fatal(err)
	}
	conn, err := pgx.Connect(t.Context(), keptURL.FindStringSubmatch(out)[1])
	if err != nil {
		_ = syscall.Kill(pid, syscall.SIGINT)
		t.Fatal(err)
	}
	var n int
	if err := conn.QueryRow(t.Context(), "SELECT count(*) FROM migrated").Scan(&n); err != nil || n != 1 {
		t.Errorf("got %d rows, %v; want what the failed test wrote", n, err)
	}
	conn.Close(t.Context())
	if err := syscall.Kill(pid, syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	// Its folder goes with a later start, once it has ended.
	dir := regexp.MustCompile(`removes (\S+) then`).FindStringSubmatch(out)[1]
	for deadline := time.Now().Add(20 * time.Second); ; {
		s := Start(t, Options{})
		if _, err := os.Stat(dir); err != nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s is still there; %s was started beside it", dir, s.Embedded().Dir())
		}
	}
}

func TestNothingStaysOfAPassedSuite(t *testing.T) {
	t.Parallel()
	if out, passed := suiteRun(t, "pass", keepVariable+"=1"); !passed || strings.Contains(out, "the server stays") {
		t.Errorf("passed: %v\n%s", passed, out)
	}
}

func TestNoPostgresFailsTheTest(t *testing.T) {
	t.Parallel()
	out, passed := suiteRun(t, "pass", "IMAGEPURGE_PG_BIN="+t.TempDir())
	if passed || !strings.Contains(out, "IMAGEPURGE_PG_BIN=") || !strings.Contains(out, "no postgres") || strings.Contains(out, "SKIP") {
		t.Errorf("passed: %v; want a failure that says why:\n%s", passed, out)
	}
}

func TestExistingServerIsUsedAndTidied(t *testing.T) {
	t.Parallel()
	s, err := embeddedpg.Start(t.Context(), embeddedpg.Options{Temporary: true, Tests: true})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := s.Stop(context.Background()); err != nil {
			t.Error(err)
		}
	}()
	databases := func() string {
		t.Helper()
		conn, err := pgx.Connect(t.Context(), s.URL())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close(t.Context())
		var all string
		if err := conn.QueryRow(t.Context(), "SELECT string_agg(datname || '=' || oid, ' ' ORDER BY datname) FROM pg_database WHERE datname LIKE 'ip%'").Scan(&all); err != nil {
			t.Fatal(err)
		}
		return all
	}
	// Two packages at once, as go test ./... runs them.
	done := make(chan string, 2)
	for range 2 {
		go func() {
			out, passed := suiteRun(t, "pass", existingVariable+"="+s.URL())
			if passed {
				out = ""
			}
			done <- out
		}()
	}
	for range 2 {
		if out := <-done; out != "" {
			t.Errorf("the suite failed:\n%s", out)
		}
	}
	first := databases()
	if !regexp.MustCompile(`^ip_template_[0-9a-f]{16}=\d+$`).MatchString(first) {
		t.Errorf("databases left: %s; want the template alone", first)
	}
	if out, passed := suiteRun(t, "pass", existingVariable+"="+s.URL()); !passed {
		t.Errorf("the suite failed:\n%s", out)
	}
	if again := databases(); again != first {
		t.Errorf("after a second run: %s, was %s; want the same template used again", again, first)
	}
	out, passed := suiteRun(t, "fail", existingVariable+"="+s.URL())
	if passed || !keptURL.MatchString(out) || strings.Contains(out, "it ends with this run") {
		t.Errorf("want the kept database's address and no word of the server's end:\n%s", out)
	}
	if !strings.Contains(databases(), "_helper=") {
		t.Errorf("databases: %s; want the failed test's among them", databases())
	}
}

func TestFailedMigrationSaysSoAndLeavesNoTemplate(t *testing.T) {
	t.Parallel()
	s, err := start(t.Context(), Options{}, "broken", func(context.Context, string) error { return fmt.Errorf("no such column") }, "")
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := s.end(); err != nil {
			t.Error(err)
		}
	}()
	for range 2 {
		if _, err := s.create(t.Context(), "TestX"); err == nil || !strings.Contains(err.Error(), "migrate: no such column") {
			t.Errorf("got %v, want the migration's error each time", err)
		}
	}
}
