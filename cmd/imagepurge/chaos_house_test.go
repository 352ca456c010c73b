//go:build linux

package main_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/imagepurge/imagepurge/capillary/sandbox"
)

// What the chaos test's workers are told. The sandbox runs a late request up to
// 5 s after its caller was gone, and the links hold one up by less than a second:
// the settle time is longer than both together.
const (
	chaosTimeout = time.Second
	chaosLease   = 4 * time.Second
	chaosSettle  = 7 * time.Second
)

// house is everything that runs in the chaos test: a cluster, a sandbox, the
// links to them, and three workers; and the operator, who goes past the links.
type house struct {
	*world
	seed       uint64
	binary     string // what the workers run
	crowd      sandbox.Population
	cluster    *cluster
	toDatabase *link
	toAPI      *link
	sandboxURL string
	theirs     *world // what the workers are told

	crew     [3]*process
	links    sync.Mutex // held while a link is spoilt, and while nothing may be
	desk     sync.Mutex // held by who decides of tasks
	mu       sync.Mutex // guards what follows
	ran      []*process
	orders   map[int64][]order // what was asked for, by customer
	lists    []list
	next     int // of the population, to hand in
	lost     []known
	breakers int     // closed by the operator
	retried  int     // batches
	doubtful verdict // tasks that ended in doubt, also those that were tried again
	missed   []int64 // customers of whom a bystander was said to be missing
	selves   int     // workers that ended by themselves
}

// chaosShares are the sandbox's own customers, as its command line makes them.
func chaosShares(seed uint64, n int) (sandbox.Population, []string) {
	return sandbox.Populate(seed, n, sandbox.PopulateOptions{Unknown: 0.02, Merged: 0.02, Erased: 0.02}),
		[]string{"--customers", number(int64(n)), "--unknown", "0.02", "--merged", "0.02", "--erased", "0.02"}
}

func newHouse(t testing.TB, seed uint64, customers int, binary string) *house {
	t.Helper()
	c := newCluster(t)
	if err := c.ask(t.Context(), "postgres", func(ctx context.Context, conn *pgx.Conn) error {
		_, err := conn.Exec(ctx, "CREATE DATABASE imagepurge")
		return err
	}); err != nil {
		t.Fatal(err)
	}
	crowd, shares := chaosShares(seed, customers)
	// The world's own sandbox only knows how everybody stood at the beginning.
	w := newWorldOn(t, sandbox.Options{Seed: seed, Population: crowd}, c.url(c.address(), "imagepurge"))
	h := &house{world: w, seed: seed, binary: binary, crowd: crowd, cluster: c, orders: make(map[int64][]order), doubtful: make(verdict)}
	h.startSandbox(append(shares, "--listen", "127.0.0.1:0", "--seed", fmt.Sprint(seed), "--rate", "0", "--faults", "0.08",
		"--latency", "100ms", "--latency-p99", "500ms", "--username", till.Username, "--password", till.Password))
	h.toDatabase = newLink(t, "database", c.address())
	h.toAPI = newLink(t, "API", strings.TrimPrefix(h.sandboxURL, "http://"))
	h.world = w.servingFrom("past-the-links.yaml", labelsAt(h.sandboxURL)...).with(
		"IMAGEPURGE_REQUEST_TIMEOUT="+chaosTimeout.String(), "IMAGEPURGE_SETTLE="+chaosSettle.String(),
		"IMAGEPURGE_LEASE="+chaosLease.String(), "IMAGEPURGE_LISTING_LAG=200ms", "IMAGEPURGE_VIEW_MAX_AGE=10s", "IMAGEPURGE_MAX_ATTEMPTS=1000")
	h.theirs = h.servingFrom("through-the-links.yaml", labelsAt("http://"+h.toAPI.address)...).
		with("DATABASE_URL=" + c.url(h.toDatabase.address, "imagepurge"))
	h.must(0, "migrate")
	return h
}

func (h *house) startSandbox(args []string) {
	h.Helper()
	p, err := h.launch(program, h.env, append([]string{"sandbox"}, args...)...)
	if err != nil {
		h.Fatal(err)
	}
	h.until("the sandbox says its address", func() bool {
		_, after, _ := strings.Cut(p.out.String(), "CAPILLARY_BASE_URL=")
		address, _, whole := strings.Cut(after, "\n")
		h.sandboxURL = address
		return whole
	})
}

// launch starts a program of the house. Unlike start it may be called from any
// goroutine.
func (h *house) launch(binary string, env map[string]string, args ...string) (*process, error) {
	p := &process{w: h.world, args: args, cmd: exec.Command(binary, args...), out: &output{}, errOut: &output{}, done: make(chan struct{}), began: time.Now()}
	for _, k := range slices.Sorted(maps.Keys(env)) {
		p.cmd.Env = append(p.cmd.Env, k+"="+env[k])
	}
	p.cmd.Dir, p.cmd.Stdout, p.cmd.Stderr = h.dir, p.out, p.errOut
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := startTied(p.cmd, func() {
		p.took = time.Since(p.began)
		close(p.done)
	}); err != nil {
		return nil, err
	}
	h.mu.Lock()
	h.ran = append(h.ran, p)
	h.mu.Unlock()
	h.Cleanup(func() {
		if p.running() {
			p.signal(syscall.SIGKILL)
			<-p.done
		}
	})
	return p, nil
}

// startTied starts a child that is signalled when this process dies, and calls
// ended once it has ended. The signal comes when the thread ends that started the
// child, so it is kept.
func startTied(cmd *exec.Cmd, ended func()) error {
	started := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait() // its status is read from the process's state
			ended()
		}
	}()
	return <-started
}

// order gives a command as the operator, past the links, and wants status 0.
func (h *house) order(args ...string) (string, error) {
	p, err := h.launch(program, h.env, args...)
	if err != nil {
		return "", err
	}
	select {
	case <-p.done:
	case <-time.After(30 * time.Second):
		return "", fmt.Errorf("does not end: %s", p)
	}
	if status := p.cmd.ProcessState.ExitCode(); status != 0 {
		return "", fmt.Errorf("status %d: %s", status, p)
	}
	return p.out.String(), nil
}

// work starts a worker in a place of the crew. All but the first give tasks up soon.
func (h *house) work(place int) error {
	w := h.theirs
	if place > 0 {
		w = w.with("IMAGEPURGE_MAX_ATTEMPTS=2")
	}
	p, err := h.launch(h.binary, w.env, "run", "--wait", "2m")
	h.crew[place] = p
	return err
}

// tend starts again what ended by itself, as whatever supervises services does.
func (h *house) tend() (ended []string, err error) {
	for place, p := range h.crew {
		if p != nil && p.running() {
			continue
		}
		if p != nil {
			h.selves++
			ended = append(ended, fmt.Sprintf("worker %d ended by itself, status %d: %s", place, p.cmd.ProcessState.ExitCode(), lastLine(p.errOut.String())))
		}
		if err := h.work(place); err != nil {
			return ended, err
		}
	}
	return ended, nil
}

func lastLine(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return lines[len(lines)-1]
}

// one reads one number past the links.
func (h *house) one(ctx context.Context, sql string, args ...any) (n int, err error) {
	err = h.cluster.ask(ctx, "imagepurge", func(ctx context.Context, conn *pgx.Conn) error {
		return conn.QueryRow(ctx, sql, args...).Scan(&n)
	})
	return n, err
}

// column reads one column past the links.
func column[T any](ctx context.Context, h *house, sql string, args ...any) (all []T, err error) {
	err = h.cluster.ask(ctx, "imagepurge", func(ctx context.Context, conn *pgx.Conn) error {
		rows, err := conn.Query(ctx, sql, args...)
		if err != nil {
			return err
		}
		all, err = pgx.CollectRows(rows, pgx.RowTo[T])
		return err
	})
	return all, err
}

// upload is what a shop does meanwhile: one more image, at the end.
func (h *house) upload(ctx context.Context, customer int64) error {
	return send(ctx, fmt.Sprintf("%s/sandbox/customers/%d/images", h.sandboxURL, customer))
}

// closeBreakers plays the operator who finds a breaker open and knows that the API
// is well.
func (h *house) closeBreakers(ctx context.Context) (closed []string, err error) {
	open, err := column[string](ctx, h, "SELECT name FROM organizations WHERE breaker_reason IS NOT NULL")
	for _, label := range open {
		if _, err := h.order("org", "close-breaker", label, "--reason", "the way to the API is mended"); err != nil {
			return closed, err
		}
		closed = append(closed, "the operator closed the breaker of "+label)
		h.breakers++
	}
	return closed, err
}

// undecided is true of a task that waits for the operator: it met too many faults, or
// another task's DELETE may have removed what it misses, and a restore or a crash took
// the answer.
const undecided = "outcome IN ('attempts_exhausted', 'bystander_missing') AND batch_id NOT IN (SELECT id FROM batches WHERE state = 'cancelled')"

// decide plays the operator who looks at what waits for him, and lets it go on.
func (h *house) decide(ctx context.Context) (decided []string, err error) {
	h.desk.Lock()
	defer h.desk.Unlock()
	if err := h.noteEndsInDoubt(ctx); err != nil { // before a retry hides them
		return nil, err
	}
	batches, err := column[int64](ctx, h, "SELECT DISTINCT batch_id FROM image_deletion_tasks WHERE state = 'failed' AND "+undecided)
	for _, id := range batches {
		if _, err := h.order("batch", "retry", number(id), "--reason", "the way to the API is mended"); err != nil {
			return decided, err
		}
		decided = append(decided, fmt.Sprintf("the operator tried batch %d again", id))
		h.retried++
	}
	if err != nil {
		return decided, err
	}
	tasks, err := column[int64](ctx, h, "SELECT id FROM image_deletion_tasks WHERE state = 'review' AND "+undecided)
	for _, id := range tasks {
		customer, err := column[int64](ctx, h, "SELECT customer_id FROM image_deletion_tasks WHERE id = $1", id)
		if err != nil {
			return decided, err
		}
		if _, err := h.order("task", "resolve", number(id), "--retry", "--reason", "it was another task"); err != nil {
			return decided, err
		}
		decided = append(decided, fmt.Sprintf("the operator tried task %d again: a bystander is missing", id))
		h.missed = append(h.missed, customer...)
	}
	return decided, err
}

// recall cancels a batch of which a DELETE's outcome is unknown, as soon as there is one.
func (h *house) recall(ctx context.Context) (batch int64, err error) {
	for deadline := time.Now().Add(5 * time.Second); time.Now().Before(deadline) && ctx.Err() == nil; wait(ctx, 100*time.Millisecond) {
		inDoubt, err := column[int64](ctx, h, `SELECT b.id FROM batches b JOIN image_deletion_tasks t ON t.batch_id = b.id
JOIN task_images i ON i.task_id = t.id AND i.state = 'unknown'
WHERE b.intake_key LIKE $1 AND b.state = 'active' AND t.finished_at IS NULL LIMIT 1`, recallable+"%")
		if err != nil || len(inDoubt) == 0 {
			continue
		}
		h.desk.Lock()
		defer h.desk.Unlock()
		_, err = h.order("batch", "cancel", number(inDoubt[0]), "--reason", "the wrong list")
		return inDoubt[0], err
	}
	return 0, nil
}

// journal is the sandbox's own.
func (h *house) journal(ctx context.Context) ([]sandbox.Entry, error) {
	var text bytes.Buffer
	if err := fetch(ctx, h.sandboxURL+"/sandbox/journal", &text); err != nil {
		return nil, err
	}
	return sandbox.ReadNDJSON(&text)
}

// stopCrew stops all workers in order, and says when the last was gone.
func (h *house) stopCrew() (time.Time, error) {
	for _, p := range h.crew {
		p.signal(syscall.SIGTERM)
	}
	var faults []error
	for place, p := range h.crew {
		select {
		case <-p.done:
		case <-time.After(20 * time.Second):
			faults = append(faults, fmt.Errorf("worker %d does not stop: %s", place, p))
			p.signal(syscall.SIGKILL)
			<-p.done
		}
	}
	return time.Now(), errors.Join(faults...)
}
