package repository_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/imagepurge/imagepurge/migrations"
	"github.com/imagepurge/imagepurge/repository"
)

func TestCheckSchema(t *testing.T) {
	t.Parallel()
	d := open(t)
	if err := d.CheckSchema(d.ctx); err != nil {
		t.Errorf("the present schema: %v", err)
	}
	latest := migrations.Latest()
	before := get[int64](d, "SELECT max(version_id) FROM goose_db_version WHERE version_id < $1", latest)
	for _, c := range []struct {
		sql  string
		want string
	}{
		{"DELETE FROM goose_db_version WHERE version_id = (SELECT max(version_id) FROM goose_db_version)",
			fmt.Sprintf("the schema is at version %d, this program needs %d; run: imagepurge migrate", before, latest)},
		{fmt.Sprintf("INSERT INTO goose_db_version (version_id, is_applied) VALUES (%d, true), (%d, true)", latest, latest+2),
			fmt.Sprintf("the schema is at version %d, newer than this program's %d; install the imagepurge that made it, or a later one", latest+2, latest)},
		{"DELETE FROM goose_db_version", "no schema; run: imagepurge migrate"},
		{"DROP TABLE goose_db_version", "no schema; run: imagepurge migrate"},
	} {
		d.by(c.sql)
		err := d.CheckSchema(d.ctx)
		var se *repository.SchemaError
		if !errors.As(err, &se) || err.Error() != c.want {
			t.Errorf("after %s: got %v, want %s", c.sql, err, c.want)
		}
	}
	ctx, cancel := context.WithCancel(d.ctx)
	cancel()
	if err := d.CheckSchema(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("without time: got error %v", err)
	}
}

// A role that may only read and write the tables, and has the program's right, is
// enough for all that a worker does.
func TestAPlainRoleIsEnoughForAWorker(t *testing.T) {
	t.Parallel()
	d := open(t).login("worker", "SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public", "EXECUTE ON FUNCTION imagepurge_program()")
	d.customers(7, 8)
	w := intent(d.one(), "x")
	d.applied(w)
	d.applied(progress(w))
	d.applied(finish(d.one(), "no_images"))
	if _, err := d.NoteServer(d.ctx, 0); err != nil {
		t.Error(err)
	}
	if _, err := d.ReclaimTasks(d.ctx); err != nil {
		t.Error(err)
	}
	if err := d.FoldArrivals(d.ctx); err != nil {
		t.Error(err)
	}
	if err := d.SweepRests(d.ctx); err != nil {
		t.Error(err)
	}
	if _, err := d.Outlook(d.ctx, 1, 0); err != nil {
		t.Error(err)
	}
	if _, err := d.Status(d.ctx); err != nil {
		t.Error(err)
	}
}
