//go:build linux

package main_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
)

// nemesis makes things go wrong, one after another in each of two lanes: one for
// processes and the database's server, one for the links. The seed decides what
// comes when and how hard; what the processes are doing at that moment it does not.
type nemesis struct {
	h     *house
	began time.Time
	until time.Time // new faults are dealt
	limit time.Time // by when each kind must have happened

	mu       sync.Mutex
	timeline []string
	met      map[string]int // faults that were really felt, by kind
	faults   []error        // of the nemesis itself
}

// fault is a kind of mishap. do lets it happen and pass, and says what was done
// and whether it was felt: a kill of a worker that had nothing in hand is none.
type fault struct {
	kind string
	do   func(ctx context.Context, r *rand.Rand) (what string, felt bool, err error)
}

func newNemesis(h *house, d time.Duration) *nemesis {
	now := time.Now()
	return &nemesis{h: h, began: now, until: now.Add(d), limit: now.Add(d + time.Minute), met: make(map[string]int)}
}

func (n *nemesis) note(format string, args ...any) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.timeline = append(n.timeline, fmt.Sprintf("%7.2fs  %s", time.Since(n.began).Seconds(), fmt.Sprintf(format, args...)))
}

func (n *nemesis) fail(err error) {
	n.note("FAILED: %v", err)
	n.mu.Lock()
	defer n.mu.Unlock()
	n.faults = append(n.faults, err)
}

// torment deals faults of one lane until its time is over and each kind was felt.
func (n *nemesis) torment(ctx context.Context, lane string, faults []fault, r *rand.Rand, between func()) {
	var deck []fault
	for ctx.Err() == nil {
		if len(deck) == 0 {
			deck = n.missing(faults)
			if len(deck) == 0 {
				deck = append(deck, faults...)
				r.Shuffle(len(deck), func(i, j int) { deck[i], deck[j] = deck[j], deck[i] })
			}
		}
		now := time.Now()
		if now.After(n.limit) || now.After(n.until) && len(n.missing(faults)) == 0 {
			return
		}
		f := deck[0]
		deck = deck[1:]
		if now.After(n.until) && n.count(f.kind) > 0 {
			continue
		}
		n.note("%s: %s", lane, f.kind)
		what, felt, err := f.do(ctx, r)
		if err != nil {
			n.fail(fmt.Errorf("%s: %w", f.kind, err))
			return
		}
		n.note("%s: %s is over: %s; felt: %v", lane, f.kind, what, felt)
		if felt {
			n.mu.Lock()
			n.met[f.kind]++
			n.mu.Unlock()
		}
		between()
	}
}

func (n *nemesis) count(kind string) int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.met[kind]
}

// missing are the faults that were not felt yet.
func (n *nemesis) missing(faults []fault) (left []fault) {
	for _, f := range faults {
		if n.count(f.kind) == 0 {
			left = append(left, f)
		}
	}
	return left
}

// spread is a time between two bounds.
func spread(r *rand.Rand, low, high time.Duration) time.Duration {
	return low + time.Duration(r.Int64N(int64(high-low)))
}

// serverFaults befall processes and the database's server. A restore comes last
// in the first round: it needs a copy, which a hard stop takes.
func (n *nemesis) serverFaults(r *rand.Rand) []fault {
	all := []fault{
		{"a worker is killed", n.killOne},
		{"the power of Postgres and all workers is cut", n.cutPower},
		{"a worker is frozen beyond its lease", n.freeze},
		{"Postgres is stopped hard", n.stopPostgres},
	}
	if n.h.cluster.mounted {
		all = append(all, fault{"the database's disk is full", n.fillTables}, fault{"no room for the write-ahead log", n.fillLog})
	}
	r.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	return append(all, fault{"the database is restored from a copy", n.restore})
}

// leases are what a worker has in hand: tasks by their epoch.
func (n *nemesis) leases(ctx context.Context, place int) (held map[int64]int64, err error) {
	held = make(map[int64]int64)
	err = n.h.cluster.ask(ctx, "imagepurge", func(ctx context.Context, conn *pgx.Conn) error {
		rows, err := conn.Query(ctx, "SELECT id, lease_epoch FROM image_deletion_tasks WHERE state = 'running' AND lease_owner LIKE $1",
			fmt.Sprintf("%%-%d-%%", n.h.crew[place].cmd.Process.Pid))
		if err != nil {
			return err
		}
		var id, epoch int64
		_, err = pgx.ForEachRow(rows, []any{&id, &epoch}, func() error { held[id] = epoch; return nil })
		return err
	})
	return held, err
}

// busy chooses a worker and waits until it has something in hand.
func (n *nemesis) busy(ctx context.Context, r *rand.Rand) (place int, held map[int64]int64, err error) {
	place = r.IntN(len(n.h.crew))
	for deadline := time.Now().Add(8 * time.Second); ; {
		if held, err = n.leases(ctx, place); err != nil || len(held) > 2 || time.Now().After(deadline) {
			break
		}
		place = (place + 1) % len(n.h.crew)
		wait(ctx, 30*time.Millisecond)
	}
	wait(ctx, time.Duration(r.Int64N(int64(30*time.Millisecond)))) // any instruction
	return place, held, err
}

func wait(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

func (n *nemesis) kill(place int) {
	n.h.crew[place].signal(syscall.SIGKILL)
	<-n.h.crew[place].done
}

func (n *nemesis) killOne(ctx context.Context, r *rand.Rand) (string, bool, error) {
	place, held, err := n.busy(ctx, r)
	if err != nil {
		return "", false, err
	}
	n.kill(place)
	wait(ctx, spread(r, 0, time.Second))
	return fmt.Sprintf("worker %d had %d tasks", place, len(held)), len(held) > 0, n.h.work(place)
}

// cutPower kills all workers and Postgres at once, as when their machine fails.
func (n *nemesis) cutPower(ctx context.Context, r *rand.Rand) (string, bool, error) {
	_, held, err := n.busy(ctx, r)
	if err != nil {
		return "", false, err
	}
	err = n.h.cluster.signalStop()
	for place := range n.h.crew {
		n.h.crew[place].signal(syscall.SIGKILL)
	}
	for place := range n.h.crew {
		<-n.h.crew[place].done
	}
	wait(ctx, spread(r, 0, time.Second))
	err = errors.Join(err, n.h.cluster.stopHard(), n.h.cluster.start(ctx))
	for place := range n.h.crew {
		err = errors.Join(err, n.h.work(place))
	}
	return fmt.Sprintf("one of the workers had %d tasks", len(held)), len(held) > 0, err
}

// freeze stops a worker until its leases are over and, if that comes soon, another
// has taken one of its tasks; then it goes on where it was. It is not frozen for
// so long that a request it is about to write would come after the settle time.
func (n *nemesis) freeze(ctx context.Context, r *rand.Rand) (string, bool, error) {
	place, held, err := n.busy(ctx, r)
	if err != nil {
		return "", false, err
	}
	p := n.h.crew[place]
	p.signal(syscall.SIGSTOP)
	began := time.Now()
	defer p.signal(syscall.SIGCONT)
	ids := slices.Collect(maps.Keys(held))
	taken := 0
	for ctx.Err() == nil && time.Since(began) < chaosSettle-time.Second && (taken == 0 || time.Since(began) < chaosLease+chaosTimeout) {
		wait(ctx, 50*time.Millisecond)
		if taken, err = n.h.one(ctx, `SELECT count(*) FROM image_deletion_tasks t JOIN unnest($1::bigint[], $2::bigint[]) AS h (id, epoch) ON t.id = h.id AND t.lease_epoch > h.epoch`,
			ids, epochs(held, ids)); err != nil {
			return "", false, err
		}
	}
	return fmt.Sprintf("worker %d had %d tasks; others have taken %d of them", place, len(held), taken), len(held) > 0 && p.running() && taken > 0, nil
}

func epochs(held map[int64]int64, ids []int64) (all []int64) {
	for _, id := range ids {
		all = append(all, held[id])
	}
	return all
}

func (n *nemesis) stopPostgres(ctx context.Context, r *rand.Rand) (string, bool, error) {
	_, held, err := n.busy(ctx, r)
	if err != nil {
		return "", false, err
	}
	c := n.h.cluster
	if err := c.stopHard(); err != nil {
		return "", false, err
	}
	what := "no copy taken"
	if n.count("Postgres is stopped hard") == 0 || r.IntN(2) == 0 {
		if err := c.takeCopy(); err != nil {
			return "", false, err
		}
		what = "a copy was taken"
	}
	wait(ctx, spread(r, 200*time.Millisecond, 1200*time.Millisecond))
	return what, len(held) > 0, c.start(ctx)
}

func (n *nemesis) fillTables(ctx context.Context, r *rand.Rand) (string, bool, error) {
	return n.fillDisk(ctx, r, false)
}

func (n *nemesis) fillLog(ctx context.Context, r *rand.Rand) (string, bool, error) {
	return n.fillDisk(ctx, r, true)
}

func (n *nemesis) fillDisk(ctx context.Context, r *rand.Rand, log bool) (string, bool, error) {
	c := n.h.cluster
	if err := c.fill(); err != nil {
		return "", false, err
	}
	felt := c.feelsFull(ctx, log)
	wait(ctx, spread(r, time.Second, 2500*time.Millisecond))
	died, err := c.free(ctx)
	return fmt.Sprintf("the server had to be started again: %v", died), felt, err
}

// restore plays the operator, word by word as docs/operations.md says it.
func (n *nemesis) restore(ctx context.Context, r *rand.Rand) (string, bool, error) {
	h := n.h
	h.links.Lock() // the operator has enough to do
	defer h.links.Unlock()
	h.desk.Lock()
	defer h.desk.Unlock()
	if n.count("Postgres is stopped hard") == 0 {
		return "there is no copy yet", false, nil
	}
	// 1. Pause, and stop all workers.
	if _, err := h.order("pause", "--reason", "restore"); err != nil {
		return "", false, err
	}
	stopped, err := h.stopCrew()
	if err != nil {
		return "", false, err
	}
	// What the lost database knew is kept for the judge; nobody else has it.
	before, err := h.known(ctx)
	if err != nil {
		return "", false, err
	}
	h.lost = append(h.lost, before)
	// 2. Restore.
	if err := errors.Join(h.cluster.stopHard(), h.cluster.putCopyBack(), h.cluster.start(ctx)); err != nil {
		return "", false, err
	}
	// 3. Pause the restored one, too.
	if _, err := h.order("pause", "--reason", "restore"); err != nil {
		return "", false, err
	}
	// 4. Wait the settle time since the last worker ended.
	wait(ctx, time.Until(stopped.Add(chaosSettle)))
	// 5. and 6.
	for _, args := range []string{"doctor", "doctor --recount", "status"} {
		// The doctor's listing for each label may meet a fault of the API's own.
		for try := 0; ; try++ {
			if _, err = h.order(strings.Fields(args)...); err == nil {
				break
			}
			if try == 5 {
				return "", false, err
			}
		}
	}
	if _, err := h.order("resume", "--reason", "restored"); err != nil {
		return "", false, err
	}
	after, err := h.known(ctx)
	if err != nil {
		return "", false, err
	}
	for place := range h.crew {
		if err := h.work(place); err != nil {
			return "", false, err
		}
	}
	// Lists that came after the copy are gone, too.
	if err := h.ensure(ctx); err != nil {
		return "", false, err
	}
	gone := before.calls() - after.calls()
	return fmt.Sprintf("%d calls of %d are forgotten", gone, before.calls()), gone > 0, nil
}

// linkFaults befall the ways to the database and to the API.
func (n *nemesis) linkFaults(r *rand.Rand) []fault {
	database, api := n.h.toDatabase, n.h.toAPI
	atDatabase := func(kind string, make func(*rand.Rand) []toxic, bites func(probe) bool) fault {
		return fault{"database link: " + kind, n.spoilt(database, n.h.probeDatabase, make, bites)}
	}
	atAPI := func(kind string, make func(*rand.Rand) []toxic, bites func(probe) bool) fault {
		return fault{"API link: " + kind, n.spoilt(api, n.h.probeAPI, make, bites)}
	}
	cut := func(p probe) bool { return p.err != nil }
	slow := func(p probe) bool { return p.took > 200*time.Millisecond }
	all := []fault{
		{"database link: down", n.downFor(database)},
		atDatabase("reset", plain(toxic{"reset_peer", "downstream", map[string]int64{"timeout": 0}}), cut),
		atDatabase("cut in the middle of a statement", limit("upstream", 1000, 15000), cut),
		atDatabase("cut in the middle of an answer", limit("downstream", 600, 6000), cut),
		atDatabase("answers vanish", plain(toxic{"timeout", "downstream", map[string]int64{"timeout": 0}}), cut),
		atDatabase("late", plain(toxic{"latency", "downstream", map[string]int64{"latency": 250, "jitter": 150}}), slow),
		atDatabase("narrow", plain(toxic{"bandwidth", "downstream", map[string]int64{"rate": 4}}), slow),
		atDatabase("cut, and slow to close", func(r *rand.Rand) []toxic {
			return append(limit("downstream", 600, 6000)(r), toxic{"slow_close", "downstream", map[string]int64{"delay": 1200}})
		}, slow),
		{"API link: down", n.downFor(api)},
		atAPI("reset", plain(toxic{"reset_peer", "downstream", map[string]int64{"timeout": 0}}), cut),
		atAPI("cut in the middle of an answer", limit("downstream", 20, 400), cut),
		atAPI("answers vanish", plain(toxic{"timeout", "downstream", map[string]int64{"timeout": 0}}), cut),
		atAPI("late", plain(toxic{"latency", "downstream", map[string]int64{"latency": 700, "jitter": 600}},
			toxic{"latency", "upstream", map[string]int64{"latency": 250, "jitter": 100}}), slow),
		atAPI("narrow", plain(toxic{"bandwidth", "downstream", map[string]int64{"rate": 1}}), slow),
	}
	r.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	return all
}

// peopleFaults are what people do at the wrong moment. The database may be down just
// then.
func (n *nemesis) peopleFaults() []fault {
	return []fault{{"a batch is cancelled with a DELETE in doubt", func(ctx context.Context, _ *rand.Rand) (string, bool, error) {
		batch, err := n.h.recall(ctx)
		return fmt.Sprintf("batch %d (%v)", batch, err), batch > 0 && err == nil, nil
	}}}
}

func plain(all ...toxic) func(*rand.Rand) []toxic {
	return func(*rand.Rand) []toxic { return all }
}

// limit closes each connection after so many bytes.
func limit(stream string, low, high int64) func(*rand.Rand) []toxic {
	return func(r *rand.Rand) []toxic {
		return []toxic{{"limit_data", stream, map[string]int64{"bytes": low + r.Int64N(high-low)}}}
	}
}

// spoilt spoils a link for a while, and tries it meanwhile.
func (n *nemesis) spoilt(l *link, try func(context.Context) probe, make func(*rand.Rand) []toxic, bites func(probe) bool) func(context.Context, *rand.Rand) (string, bool, error) {
	return func(ctx context.Context, r *rand.Rand) (string, bool, error) {
		n.h.links.Lock()
		defer n.h.links.Unlock()
		toxics, hold := make(r), spread(r, 1200*time.Millisecond, 2500*time.Millisecond)
		began := time.Now()
		if err := l.spoil(toxics...); err != nil {
			return "", false, errors.Join(err, l.mend())
		}
		p := try(ctx)
		wait(ctx, hold-time.Since(began))
		return fmt.Sprintf("%v for %v", toxics, time.Since(began).Round(10*time.Millisecond)), bites(p), l.mend()
	}
}

func (n *nemesis) downFor(l *link) func(context.Context, *rand.Rand) (string, bool, error) {
	return func(ctx context.Context, r *rand.Rand) (string, bool, error) {
		n.h.links.Lock()
		defer n.h.links.Unlock()
		hold := spread(r, 600*time.Millisecond, 1800*time.Millisecond)
		if err := l.down(); err != nil {
			return "", false, err
		}
		wait(ctx, hold)
		return fmt.Sprintf("for %v", hold.Round(10*time.Millisecond)), true, l.open()
	}
}
