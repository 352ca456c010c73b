//go:build linux

package main_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/imagepurge/imagepurge/internal/pgtest"
)

// databasePassword is the chaos cluster's: nobody may find it in any output.
const databasePassword = "sesame-of-the-cluster-1147"

// cluster is a Postgres of the test's own, on a file system of its own, that can
// be killed, filled up and put back to an earlier copy. It commits
// asynchronously by default: what must be durable has to ask for it.
type cluster struct {
	bin, base, data, copied string
	port                    int
	account                 *syscall.Credential // nil: this process is not root
	mounted                 bool                // its disk can be filled
	log                     *os.File

	cmd    *exec.Cmd
	exited chan struct{}
}

// newCluster makes a cluster and starts it.
func newCluster(t testing.TB) *cluster {
	t.Helper()
	bin, _ := pgtest.Start(t, pgtest.Options{}).Embedded().Programs() // found or fetched
	sweepClusters(t)
	// t.TempDir can't be entered by the account that Postgres runs as.
	base, err := os.MkdirTemp("", clusterPrefix+strconv.Itoa(os.Getpid())+"-")
	if err != nil {
		t.Fatal(err)
	}
	c := &cluster{bin: bin, base: base, data: filepath.Join(base, "disk", "data"), copied: filepath.Join(base, "copy"), port: freePort(t)}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("end of the cluster's log:\n%s", c.tail())
		}
		if err := c.remove(); err != nil {
			t.Errorf("remove the cluster: %v", err)
		}
	})
	if err := c.make(); err != nil {
		t.Fatalf("make a cluster: %v", err)
	}
	if !c.mounted {
		t.Log("NOT SHOWN: a full disk. A small file system can't be mounted here; that takes root on Linux")
	}
	if err := c.start(t.Context()); err != nil {
		t.Fatal(err)
	}
	return c
}

const clusterPrefix = "imagepurge-chaos-"

// sweepClusters removes what tests left that were killed: their file systems take
// memory.
func sweepClusters(t testing.TB) {
	t.Helper()
	left, _ := filepath.Glob(filepath.Join(os.TempDir(), clusterPrefix+"*"))
	for _, base := range left {
		pid, _, _ := strings.Cut(strings.TrimPrefix(filepath.Base(base), clusterPrefix), "-")
		if n, err := strconv.Atoi(pid); err != nil || syscall.Kill(n, 0) == nil {
			continue
		}
		_ = exec.Command("umount", filepath.Join(base, "disk")).Run() // it may not be mounted
		if err := os.RemoveAll(base); err != nil {
			t.Logf("a cluster that was left could not be removed: %v", err)
		}
	}
}

// freePort is a port that no outgoing connection takes meanwhile: below the
// range from which the kernel gives those theirs.
func freePort(t testing.TB) int {
	t.Helper()
	for range 100 {
		port := 20000 + rand.IntN(12000)
		ear, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		if err == nil {
			_ = ear.Close()
			return port
		}
	}
	t.Fatal("no free port")
	return 0
}

func (c *cluster) make() error {
	disk := filepath.Dir(c.data)
	if err := errors.Join(os.Chmod(c.base, 0o711), os.Mkdir(disk, 0o700)); err != nil {
		return err
	}
	if os.Geteuid() == 0 { // whom Postgres refuses
		if err := c.chooseAccount(); err != nil {
			return err
		}
		if err := exec.Command("mount", "-t", "tmpfs", "-o", "size=160m,mode=0700", "tmpfs", disk).Run(); err == nil {
			c.mounted = true
		}
		if err := os.Chown(disk, int(c.account.Uid), int(c.account.Gid)); err != nil {
			return err
		}
	}
	word := filepath.Join(c.base, "password")
	if err := os.WriteFile(word, []byte(databasePassword), 0o644); err != nil {
		return err
	}
	var err error
	if c.log, err = os.Create(filepath.Join(c.base, "postgres.log")); err != nil {
		return err
	}
	// Segments of 1 MB: a full disk is soon felt in the log as well.
	return c.do("initdb", "-D", c.data, "-U", "imagepurge", "-A", "scram-sha-256", "--pwfile", word, "-E", "UTF8", "--no-locale",
		"--wal-segsize", "1", "--no-sync", "--no-instructions")
}

func (c *cluster) chooseAccount() error {
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, err1 := strconv.ParseUint(u.Uid, 10, 32)
		gid, err2 := strconv.ParseUint(u.Gid, 10, 32)
		if err1 == nil && err2 == nil {
			c.account = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
			return nil
		}
	}
	return errors.New("there is neither a user postgres nor a user nobody")
}

func (c *cluster) command(program string, args ...string) *exec.Cmd {
	cmd := exec.Command(filepath.Join(c.bin, program), args...)
	cmd.Dir, cmd.Env = "/", []string{"LC_ALL=C", "TZ=UTC", "PATH=/usr/bin:/bin"}
	cmd.Stdout, cmd.Stderr = c.log, c.log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Credential: c.account, Pdeathsig: syscall.SIGQUIT}
	return cmd
}

func (c *cluster) do(program string, args ...string) error {
	if err := c.command(program, args...).Run(); err != nil {
		return fmt.Errorf("%s: %w", program, err)
	}
	return nil
}

// url names a database of the cluster, at an address.
func (c *cluster) url(address, database string) string {
	return "postgres://imagepurge:" + databasePassword + "@" + address + "/" + database + "?sslmode=disable"
}

func (c *cluster) address() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(c.port)) }

// start starts the server and waits until it answers.
func (c *cluster) start(ctx context.Context) error {
	args := []string{"-D", c.data}
	for _, s := range []string{
		"listen_addresses=127.0.0.1", "port=" + strconv.Itoa(c.port), "unix_socket_directories=", "timezone=UTC",
		"shared_buffers=32MB", "max_connections=100", "max_wal_size=24MB", "min_wal_size=4MB", "wal_keep_size=64MB", "dynamic_shared_memory_type=mmap",
		// Nothing is durable unless it asks: a hard stop loses seconds of it.
		"synchronous_commit=off", "wal_writer_delay=10s", "wal_writer_flush_after=0",
		"log_min_error_statement=panic", "log_error_verbosity=terse",
	} {
		args = append(args, "-c", s)
	}
	c.cmd, c.exited = c.command("postgres", args...), make(chan struct{})
	exited := c.exited
	if err := startTied(c.cmd, func() { close(exited) }); err != nil {
		return fmt.Errorf("start postgres: %w", err)
	}
	return c.awaitAnswer(ctx)
}

func (c *cluster) awaitAnswer(ctx context.Context) error {
	deadline := time.Now().Add(time.Minute)
	for {
		err := c.ask(ctx, "postgres", func(ctx context.Context, conn *pgx.Conn) error { return conn.Ping(ctx) })
		if err == nil {
			return nil
		}
		select {
		case <-c.exited:
			return fmt.Errorf("postgres ended while it started; end of its log:\n%s", c.tail())
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(20 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("postgres does not answer: %w", err)
		}
	}
}

// ask gives one order over a connection of its own, past all links.
func (c *cluster) ask(ctx context.Context, database string, f func(context.Context, *pgx.Conn) error) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	conn, err := pgx.Connect(ctx, c.url(c.address(), database))
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	return f(ctx, conn)
}

func (c *cluster) running() bool {
	if c.cmd == nil {
		return false
	}
	select {
	case <-c.exited:
		return false
	default:
		return true
	}
}

// signalStop tells the server to end without a checkpoint.
func (c *cluster) signalStop() error {
	if err := c.cmd.Process.Signal(syscall.SIGQUIT); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	return nil
}

// stopHard ends the server without a checkpoint, and waits for it.
func (c *cluster) stopHard() error {
	if err := c.signalStop(); err != nil {
		return err
	}
	select {
	case <-c.exited:
		return nil
	case <-time.After(30 * time.Second):
		return errors.New("postgres does not stop")
	}
}

// takeCopy copies the files of a server that is down.
func (c *cluster) takeCopy() error {
	if err := os.RemoveAll(c.copied); err != nil {
		return err
	}
	return run("cp", "-a", c.data, c.copied)
}

// putCopyBack replaces the files of a server that is down.
func (c *cluster) putCopyBack() error {
	if err := os.RemoveAll(c.data); err != nil {
		return err
	}
	if err := run("cp", "-a", c.copied, c.data); err != nil {
		return err
	}
	if err := os.Remove(filepath.Join(c.data, "postmaster.pid")); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

func run(program string, args ...string) error {
	if out, err := exec.Command(program, args...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", program, err, out)
	}
	return nil
}

func (c *cluster) ballast() string { return filepath.Join(filepath.Dir(c.data), "ballast") }

// fill leaves no byte free on the disk.
func (c *cluster) fill() error {
	f, err := os.Create(c.ballast())
	if err != nil {
		return err
	}
	defer f.Close()
	for size := 1 << 20; size >= 1<<12; size >>= 4 {
		for err == nil {
			_, err = f.Write(make([]byte, size))
		}
		if !errors.Is(err, syscall.ENOSPC) {
			return fmt.Errorf("fill the disk: %w", err)
		}
		err = nil
	}
	return nil
}

// feelsFull says whether the server finds the disk full as it extends a table or,
// with log, as it begins a new segment of its write-ahead log, which ends it.
func (c *cluster) feelsFull(ctx context.Context, log bool) bool {
	err := c.ask(ctx, "postgres", func(ctx context.Context, conn *pgx.Conn) error {
		if !log {
			_, err := conn.Exec(ctx, "CREATE TABLE ballast AS SELECT repeat('x', 500) FROM generate_series(1, 20000)")
			return err
		}
		for range 200 { // more than there are segments to use again
			if _, err := conn.Exec(ctx, "SELECT pg_logical_emit_message(false, 'chaos', repeat('x', 900000))"); err != nil {
				return err
			}
		}
		return nil
	})
	if pe := (*pgconn.PgError)(nil); errors.As(err, &pe) && pe.Code == "53100" {
		return true
	}
	return log && err != nil // it ended in the middle of the answer
}

// free frees the disk, and starts the server if it died of the want of space.
func (c *cluster) free(ctx context.Context) (died bool, err error) {
	if err := os.Remove(c.ballast()); err != nil {
		return false, err
	}
	// A server that recovers just now may still end of it.
	for deadline := time.Now().Add(10 * time.Second); c.running() && time.Now().Before(deadline); {
		if err := c.awaitAnswer(ctx); err == nil {
			return false, c.forgetBallast(ctx)
		}
	}
	if c.running() {
		return false, errors.New("postgres neither answers nor ends")
	}
	if err := c.start(ctx); err != nil {
		return true, err
	}
	return true, c.forgetBallast(ctx)
}

func (c *cluster) forgetBallast(ctx context.Context) error {
	return c.ask(ctx, "postgres", func(ctx context.Context, conn *pgx.Conn) error {
		_, err := conn.Exec(ctx, "DROP TABLE IF EXISTS ballast")
		return err
	})
}

func (c *cluster) tail() string {
	text, err := os.ReadFile(filepath.Join(c.base, "postgres.log"))
	if err != nil {
		return err.Error()
	}
	return tail(string(text))
}

func (c *cluster) remove() error {
	var err error
	if c.running() {
		err = c.stopHard()
	}
	if c.log != nil {
		err = errors.Join(err, c.log.Close())
	}
	if c.mounted {
		err = errors.Join(err, run("umount", filepath.Dir(c.data)))
	}
	if err != nil {
		return err
	}
	return os.RemoveAll(c.base)
}
