package repository_test

import (
	"bytes"
	"context"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/imagepurge/imagepurge/repository"
)

// ear is a listener of a test, and what it heard.
type ear struct {
	*db
	rang      chan int64
	listening chan bool
	ended     chan struct{}
	said      *bytes.Buffer // after the end
}

func (d *db) listen() *ear {
	e := &ear{db: d, rang: make(chan int64, 100), listening: make(chan bool, 100), ended: make(chan struct{}), said: &bytes.Buffer{}}
	ctx, cancel := context.WithCancel(d.ctx)
	var group sync.WaitGroup
	group.Go(func() {
		d.Listen(ctx, repository.Listener{
			Ring: func(o int64) { e.rang <- o }, Listening: func(yes bool) { e.listening <- yes },
			Log: slog.New(slog.NewTextHandler(e.said, nil)),
		})
		close(e.ended)
	})
	d.Cleanup(func() { cancel(); group.Wait() })
	return e
}

func (e *ear) hears(what string, want int64) {
	e.Helper()
	select {
	case got := <-e.rang:
		if got != want {
			e.Errorf("%s: organisation %d is told of, want %d", what, got, want)
		}
	case <-time.After(time.Minute):
		e.Fatalf("%s: nothing is told", what)
	}
}

func (e *ear) turns(want bool) {
	e.Helper()
	select {
	case got := <-e.listening:
		if got != want {
			e.Fatalf("listening is %v, want %v", got, want)
		}
	case <-time.After(time.Minute):
		e.Fatalf("listening never turned %v", want)
	}
}

// Each of these lets a waiting worker begin; the others tell nobody anything.
func TestWorkThatComesIsTold(t *testing.T) {
	t.Parallel()
	d := open(t)
	d.by("INSERT INTO organizations (name) VALUES ('other')")
	ear := d.listen()
	ear.turns(true)
	do := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	d.by("INSERT INTO image_deletion_tasks (customer_id, organization_id) SELECT n, 1 FROM generate_series(1, 5) n")
	ear.hears("five tasks by hand", 1)
	d.by("INSERT INTO image_deletion_tasks (customer_id, organization_id) VALUES (1, 1), (2, 2)")
	ear.hears("tasks of two organisations", 0)
	d.by("INSERT INTO image_deletion_tasks (customer_id, organization_id) SELECT 1, 1 WHERE false")
	_, err := d.TakeIn(d.ctx, repository.Intake{Organization: 2, Name: "x", Person: ann}, people(7))
	do(err)
	ear.hears("an intake", 2)
	do(d.PauseBatch(d.ctx, ann, 1, "r")) // tells nobody
	do(d.ResumeBatch(d.ctx, ann, 1, "r"))
	ear.hears("a batch resumed", 1)
	_, err = d.Pause(d.ctx, ann, 0, "r") // tells nobody
	do(err)
	_, err = d.Resume(d.ctx, ann, 0, "r")
	do(err)
	ear.hears("everything resumed", 0)
	d.by("UPDATE organizations SET breaker_reason = 'refused', breaker_kind = 'list', breaker_since = now(), probe_at = now(), probe_delay = '1 minute' WHERE id = 2")
	_, err = d.CloseBreaker(d.ctx, ann, "other", "r")
	do(err)
	ear.hears("a breaker closed", 2)
	rs := d.claim()
	d.applied(finish(rs[0], "still_present"))
	d.applied(finish(rs[1], "attempts_exhausted"))
	_, err = d.RetryBatch(d.ctx, ann, 1, "r", false)
	do(err)
	ear.hears("a batch retried", 1)
	do(d.ResolveTask(d.ctx, ann, int64(rs[0].Task), true, "r"))
	ear.hears("a task retried", 0)
	select {
	case got := <-ear.rang:
		t.Errorf("told of organisation %d for nothing", got)
	default:
	}
}

func TestAListenerComesBackAfterALoss(t *testing.T) {
	t.Parallel()
	d := open(t)
	ear := d.listen()
	ear.turns(true)
	const listeners = "FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'LISTEN %' AND pid <> pg_backend_pid()"
	d.by("SELECT pg_terminate_backend(pid) " + listeners)
	ear.turns(false)
	ear.turns(true)
	d.customers(1)
	ear.hears("a task after the loss", 1)
}
