package migrations_test

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/imagepurge/imagepurge/internal/pgtest"
	"github.com/imagepurge/imagepurge/migrations"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Main(m, "empty", nil)) }

func TestUpTwice(t *testing.T) {
	t.Parallel()
	ctx, url := t.Context(), pgtest.URL(t)
	before, err := migrations.Status(ctx, url)
	if err != nil || len(before) == 0 {
		t.Fatalf("status of an empty database: %v, %v", before, err)
	}
	for _, m := range before {
		if !m.AppliedAt.IsZero() {
			t.Errorf("%s is applied before the first Up", m.Name)
		}
	}
	first, err := migrations.Up(ctx, url)
	if err != nil || len(first) != len(before) {
		t.Errorf("first: applied %d of %d, %v", len(first), len(before), err)
	}
	second, err := migrations.Up(ctx, url)
	if err != nil || len(second) != 0 {
		t.Errorf("second: applied %v, %v", second, err)
	}
	after, err := migrations.Status(ctx, url)
	if err != nil || len(after) != len(before) {
		t.Fatalf("status: %v, %v", after, err)
	}
	for i, m := range after {
		if m.AppliedAt.IsZero() || i > 0 && m.Version <= after[i-1].Version || m.Name != first[i].Name {
			t.Errorf("status of number %d: %+v", i+1, m)
		}
	}
	if last := after[len(after)-1].Version; last != migrations.Latest() {
		t.Errorf("the latest is %d, but %d is applied", migrations.Latest(), last)
	}
}

// Processes that start together all find the schema, and none of them waits for
// long.
func TestManyAtOnce(t *testing.T) {
	t.Parallel()
	ctx, url := t.Context(), pgtest.URL(t)
	single := time.Now()
	if _, err := migrations.Up(ctx, pgtest.URL(t)); err != nil {
		t.Fatal(err)
	}
	alone := time.Since(single)
	var (
		all     sync.WaitGroup
		mu      sync.Mutex
		applied []int
	)
	began := time.Now()
	for range 4 {
		all.Go(func() {
			m, err := migrations.Up(ctx, url)
			if err != nil {
				t.Error(err)
			}
			mu.Lock()
			defer mu.Unlock()
			if len(m) > 0 {
				applied = append(applied, len(m))
			}
		})
	}
	all.Wait()
	if all, err := migrations.Status(ctx, url); err != nil || len(applied) != 1 || applied[0] != len(all) {
		t.Errorf("applied by those that did: %v, want all %d by one (%v)", applied, len(all), err)
	}
	if took := time.Since(began); took > 15*time.Second+4*alone {
		t.Errorf("took %v; one alone took %v", took, alone)
	}
}

// A migration that fails leaves nothing of itself, and is tried again by the next.
func TestUpThatFails(t *testing.T) {
	t.Parallel()
	ctx, url := t.Context(), pgtest.URL(t)
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.WithoutCancel(ctx))
	const inTheWay = "legal_holds" // of the first file, and not the first of its tables
	if _, err := conn.Exec(ctx, "CREATE TABLE "+inTheWay+" (id int)"); err != nil {
		t.Fatal(err)
	}
	if m, err := migrations.Up(ctx, url); err == nil || len(m) != 0 || !strings.Contains(err.Error(), "migrate: ") || !strings.Contains(err.Error(), inTheWay) {
		t.Errorf("applied %v, %v; want an error: %s is there already", m, err, inTheWay)
	}
	var left bool
	if err := conn.QueryRow(ctx, "SELECT to_regclass('organizations') IS NOT NULL").Scan(&left); err != nil || left {
		t.Errorf("half of the migration is left (%v)", err)
	}
	if _, err := conn.Exec(ctx, "DROP TABLE "+inTheWay); err != nil {
		t.Fatal(err)
	}
	if m, err := migrations.Up(ctx, url); err != nil || len(m) == 0 || m[0].Version != 1 || m[len(m)-1].Version != migrations.Latest() {
		t.Errorf("once it is out of the way: applied %v, %v", m, err)
	}
}

// A schema of another name, on another search path than the caller's: its functions
// find its own tables.
func TestTheSchemaMayHaveAnyName(t *testing.T) {
	t.Parallel()
	ctx, address := t.Context(), pgtest.URL(t)
	conn, err := pgx.Connect(ctx, address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.WithoutCancel(ctx))
	if _, err := conn.Exec(ctx, `CREATE SCHEMA "Purge it"; CREATE TABLE public.organizations (); CREATE TABLE public.batches ()`); err != nil {
		t.Fatal(err)
	}
	if _, err := migrations.Up(ctx, address+"&search_path="+url.PathEscape(`"Purge it",public`)); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Exec(ctx, `INSERT INTO "Purge it".image_deletion_tasks (customer_id) VALUES (1), (2)`); err != nil {
		t.Error(err)
	}
	var counted int
	if err := conn.QueryRow(ctx, `SELECT tasks FROM "Purge it".batch_arrivals JOIN "Purge it".batches b ON b.id = batch_id`).Scan(&counted); err != nil || counted != 2 {
		t.Errorf("%d tasks were counted (%v), want 2", counted, err)
	}
}

func TestAnURLThatCannotBeUsedIsSaidWithoutItsPassword(t *testing.T) {
	t.Parallel()
	for _, url := range []string{
		"postgres://ann:s3cret@host:notaport/db",
		"postgres://ann:s3cret@[::1/db",
		"postgres://ann:s3cret@localhost/db?sslmode=maybe",
		"ann:s3cret@host",
		"host=localhost password=s3cret port=nope",
		"postgres://ann:s3cret@127.0.0.1:1/db?connect_timeout=2",
		"postgres://ann:s3cret%zz@127.0.0.1:1/db",
	} {
		for what, f := range map[string]func() error{
			"up":     func() error { _, err := migrations.Up(t.Context(), url); return err },
			"status": func() error { _, err := migrations.Status(t.Context(), url); return err },
		} {
			err := f()
			if err == nil || strings.Contains(err.Error(), "s3cret") {
				t.Errorf("%s of %s: got error %v", what, url, err)
			}
			if err != nil && !strings.Contains(url, ":1/") && !strings.Contains(err.Error(), "postgres://user@host:5432/database") {
				t.Errorf("%s of %s: the error does not show the form: %v", what, url, err)
			}
		}
	}
}

func TestNamesAndFingerprint(t *testing.T) {
	t.Parallel()
	if !regexp.MustCompile(`^[0-9a-f]{16}$`).MatchString(migrations.Fingerprint()) {
		t.Errorf("fingerprint %q", migrations.Fingerprint())
	}
	files, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	last := ""
	for _, f := range files {
		if strings.HasSuffix(f.Name(), ".sql") {
			last = f.Name()
			if !regexp.MustCompile(`^\d{4}_[a-z]+(_[a-z]+)+\.sql$`).MatchString(f.Name()) {
				t.Errorf("%s: want NNNN_verb_noun.sql", f.Name())
			}
			text, err := os.ReadFile(f.Name())
			if err != nil || strings.Contains(string(text), "goose Down") || !strings.HasPrefix(string(text), "-- +goose Up\n") {
				t.Errorf("%s: there is one way, up (%v)", f.Name(), err)
			}
		}
	}
	if want := fmt.Sprintf("%04d_", migrations.Latest()); !strings.HasPrefix(last, want) {
		t.Errorf("the last file is %s, the latest is %d", last, migrations.Latest())
	}
}
