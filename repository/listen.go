package repository

import (
	"context"
	"crypto/rand"
	"log/slog"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// Channel is where work that came is told of: the payload is an organisation's
// number, or 0 for all.
const Channel = "imagepurge_work"

const notifyWorkers = `SELECT pg_notify($1, $2::bigint::text)`

// wakes says whether a worker may have something to do after an act.
func wakes(action string) bool {
	switch action {
	case "batch.create", "batch.resume", "batch.retry", "batch.cancel", "task.retry", "breaker.close", "work.resume", "hold.release":
		return true
	}
	return false
}

// Timing of a listener.
const (
	proofLimit   = 2 * time.Second // for a notification to itself
	proofs       = 3               // tries, before it is given up
	firstRedial  = time.Second
	lastRedial   = 30 * time.Second
	listenerPing = time.Minute // of a connection on which nothing has come
)

// Listener tells of work as it comes. It is only a hint: whoever polls misses
// nothing. It has one connection of its own, outside of the pool.
type Listener struct {
	// Ring is called with an organisation's number, 0: all. Listening is called when
	// it begins and when it ceases to be so. Both from one goroutine; they must not
	// block.
	Ring      func(organization int64)
	Listening func(bool)
	Log       *slog.Logger
}

// Listen listens until ctx ends, or until it is clear that notifications don't
// reach this connection: a pooler in transaction mode gives LISTEN to one server
// connection and what follows to another.
func (s *Store) Listen(ctx context.Context, l Listener) {
	redial, vain := firstRedial, 0
	for ctx.Err() == nil {
		heard, err := s.listen(ctx, l)
		switch {
		case ctx.Err() != nil:
			return
		case heard:
			redial, vain = firstRedial, 0
			l.Listening(false)
			l.Log.Info("the connection for notifications was lost: work is polled for until it is back")
		case err == nil: // it was mute
			if vain++; vain == proofs {
				l.Log.Info("notifications don't reach this connection, as behind a pooler in transaction mode: work is polled for")
				return
			}
		default:
			l.Log.Debug("no connection for notifications", "error", err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(redial):
		}
		redial = min(2*redial, lastRedial)
	}
}

// listen connects and listens until the connection is lost. It returns whether
// notifications came; without an error it was connected, and they did not.
func (s *Store) listen(ctx context.Context, l Listener) (heard bool, err error) {
	cfg := s.pool.Config().ConnConfig
	cfg.OnNotification = nil // they are waited for
	conn, err := pgx.ConnectConfig(ctx, cfg)
	if err != nil {
		return false, err
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		_ = conn.Close(ctx) // it may be lost already
	}()
	if _, err := conn.Exec(ctx, "LISTEN "+Channel); err != nil {
		return false, err
	}
	if heard, err := s.proved(ctx, conn); !heard {
		return false, err
	}
	l.Listening(true)
	for {
		n, err := waitFor(ctx, conn, listenerPing)
		switch {
		case err == nil:
			// What is no number is another listener's proof.
			if organization, err := strconv.ParseInt(n.Payload, 10, 64); err == nil {
				l.Ring(organization)
			}
		case ctx.Err() == nil && pgconn.Timeout(err) && pingWithin(ctx, conn) == nil:
		default:
			return true, err
		}
	}
}

// proved sends a notification over the pool and waits for it. Over the connection
// itself it would come back from a pooler, too.
func (s *Store) proved(ctx context.Context, conn *pgx.Conn) (bool, error) {
	proof := "proof " + rand.Text()
	if _, err := s.pool.Exec(ctx, `SELECT pg_notify($1, $2)`, Channel, proof); err != nil {
		return false, err
	}
	deadline := time.Now().Add(proofLimit)
	for {
		n, err := waitFor(ctx, conn, time.Until(deadline))
		switch {
		case err == nil && strings.HasSuffix(n.Payload, proof):
			return true, nil
		case err == nil:
		case pgconn.Timeout(err) && ctx.Err() == nil:
			return false, nil
		default:
			return false, err
		}
	}
}

func waitFor(ctx context.Context, conn *pgx.Conn, limit time.Duration) (*pgconn.Notification, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	return conn.WaitForNotification(ctx)
}

func pingWithin(ctx context.Context, conn *pgx.Conn) error {
	ctx, cancel := context.WithTimeout(ctx, proofLimit)
	defer cancel()
	return conn.Ping(ctx)
}
