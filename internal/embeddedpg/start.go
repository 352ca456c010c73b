package embeddedpg

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

const (
	// silenceLimit bounds the wait for a server that does not answer at all. One
	// that says that it is recovering is waited for as long as it takes.
	silenceLimit = 60 * time.Second

	// attachedLimit bounds the wait for the children of a killed server.
	attachedLimit = 20 * time.Second

	// launchUndo is what a server whose start failed gets for an end in order.
	launchUndo = 5 * time.Second
)

// startPersistent runs the server in the data folder, or waits for the one
// that another process runs there; then the lock is nil.
func (s *Server) startPersistent(ctx context.Context) (*fileLock, error) {
	dir := s.opts.DataDir
	var err error
	if dir == "" {
		if dir, err = DefaultDataDir(s.opts.Getenv); err != nil {
			return nil, err
		}
	}
	if dir, err = makeDataFolder(dir); err != nil {
		return nil, err
	}
	s.place = place{dir: dir}

	giveUp := time.Now().Add(silenceLimit)
	for {
		lock, err := tryLock(s.place.lockFile())
		switch {
		case err == nil:
			return lock, s.becomeRunner(ctx, lock)
		case errors.Is(err, fs.ErrPermission):
			return nil, fmt.Errorf("the data folder %s belongs to another account: %w; run as that account or set IMAGEPURGE_DATA_DIR to another folder", dir, err)
		case !errors.Is(err, errLocked):
			return nil, err
		}
		err = s.place.readAddress()
		if err == nil {
			err = ping(ctx, s.place.url(Database))
		}
		if err == nil {
			return nil, nil
		}
		if isStartingUp(err) {
			giveUp = time.Now().Add(silenceLimit)
		}
		if time.Now().After(giveUp) {
			return nil, fmt.Errorf("process %s runs the server in %s, but it does not answer: %w", lockHolder(s.place.lockFile()), dir, err)
		}
		if err := pause(ctx, 20*time.Millisecond); err != nil {
			return nil, fmt.Errorf("wait for the server that process %s runs in %s: %w", lockHolder(s.place.lockFile()), dir, err)
		}
	}
}

// makeDataFolder makes the persistent folder, and returns its path without
// symbolic links: all processes must agree on the socket's path and on what
// the server's command line says.
func makeDataFolder(dir string) (string, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
			return "", err
		}
		// As root the folder stays root's, so that the server's account cannot
		// put links where root writes; it only has to pass through.
		mode := fs.FileMode(0o700)
		if isRoot() {
			mode = 0o711
		}
		if err := os.Mkdir(dir, mode); err != nil && !errors.Is(err, fs.ErrExist) {
			return "", err
		}
		if err := os.Chmod(dir, mode); err != nil {
			return "", err
		}
	}
	return filepath.EvalSymlinks(dir)
}

// choose settles which programs are used and as whom.
func (s *Server) choose(ctx context.Context, dataDir string) error {
	acct, err := chooseAccount(s.opts.User, dataDir)
	if err != nil {
		return err
	}
	major, err := dataMajor(dataDir)
	if err != nil {
		return err
	}
	progs, err := findPrograms(ctx, s.opts, acct, major)
	if err != nil {
		return err
	}
	s.mu.Lock()
	s.account, s.programs = acct, progs
	s.mu.Unlock()
	return nil
}

// dataMajor is the PostgreSQL version that wrote the data; 0: there is none.
func dataMajor(dataDir string) (int, error) {
	if dataDir == "" {
		return 0, nil
	}
	text, err := os.ReadFile(filepath.Join(dataDir, "PG_VERSION"))
	if err == nil {
		return strconv.Atoi(strings.TrimSpace(string(text)))
	}
	// initdb works under another name, so a data folder is always complete.
	if entries, derr := os.ReadDir(dataDir); derr == nil && len(entries) > 0 && errors.Is(err, fs.ErrNotExist) {
		return 0, fmt.Errorf("%s has files but is not a PostgreSQL data folder; move it away", dataDir)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	return 0, err
}

// run brings the server up under the lock: repairs what an earlier one left,
// makes the data if there is none, starts, and waits until it accepts.
func (s *Server) run(ctx context.Context) error {
	p := s.place // a copy: URL may be read at the same time
	if err := s.clearOrphan(ctx); err != nil {
		return err
	}
	if !s.opts.Temporary {
		if err := s.choose(ctx, p.dataDir()); err != nil {
			return err
		}
		if err := s.programs.enter(ctx, s.account, p.dir); err != nil {
			return fmt.Errorf("%w; set IMAGEPURGE_DATA_DIR to a folder that it can enter", err)
		}
	}
	if err := s.account.own(p.lockFile()); err != nil {
		return err
	}
	if err := p.prepare(s.account.own, s.place.port); err != nil {
		return err
	}
	switch {
	case s.place.password == "": // the first start
		s.place = p
	case s.place != p: // URL must stay what it was
		return fmt.Errorf("the server's address in %s was changed", p.dir)
	}
	if err := s.makeData(ctx); err != nil {
		return err
	}
	return s.launch(ctx)
}

// makeData runs initdb under another name, so that data is complete or absent.
func (s *Server) makeData(ctx context.Context) error {
	p := s.place
	halfDone, _ := filepath.Glob(filepath.Join(p.dir, "data.new-*"))
	for _, dir := range halfDone {
		s.opts.Logf("embedded postgres: removed %s, left by an interrupted start", dir)
		if err := removeTree(dir); err != nil {
			return err
		}
	}
	if _, err := os.Stat(filepath.Join(p.dataDir(), "PG_VERSION")); err == nil {
		return s.account.ownTree(p.dataDir())
	}
	fresh, err := os.MkdirTemp(p.dir, "data.new-") // 0700, as the server wants it
	if err != nil {
		return err
	}
	if err := s.account.own(fresh); err != nil {
		return err
	}
	if s.opts.fill != nil {
		err = errors.Join(s.opts.fill(fresh), s.account.ownTree(fresh))
	} else {
		err = s.initdb(ctx, fresh)
	}
	if err != nil {
		return errors.Join(err, removeTree(fresh))
	}
	if err := os.Remove(p.dataDir()); err != nil && !errors.Is(err, fs.ErrNotExist) { // an empty folder
		return err
	}
	if err := os.Rename(fresh, p.dataDir()); err != nil {
		return err
	}
	return syncFolder(p.dir)
}

func (s *Server) initdb(ctx context.Context, dir string) error {
	args := []string{"-D", dir, "-U", Role, "-E", "UTF8", "--no-locale", "--no-instructions", "-A", "scram-sha-256", "--pwfile", s.place.passFile()}
	if !s.durable() {
		args = append(args, "--no-sync")
	}
	_, err := s.programs.output(ctx, s.account, string(os.PathSeparator), "initdb", args...)
	return err
}

func (s *Server) durable() bool { return !s.opts.Temporary || s.opts.Durable }

// errStillAttached: the server before was killed, and one of its children has
// not noticed yet. They do within moments.
var errStillAttached = errors.New("processes of the server before are still ending")

// launch starts the server on complete data and waits until it accepts
// connections and has Database.
func (s *Server) launch(ctx context.Context) error {
	giveUp := time.Now().Add(attachedLimit)
	for {
		err := s.launchOnce(ctx)
		if !errors.Is(err, errStillAttached) || time.Now().After(giveUp) {
			return err
		}
		if err := pause(ctx, 50*time.Millisecond); err != nil {
			return err
		}
	}
}

func (s *Server) launchOnce(ctx context.Context) error {
	p := s.place
	log, err := p.openLog(s.account.own)
	if err != nil {
		return err
	}
	defer log.Close()
	begin, err := log.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	proc, err := s.programs.postgres(s.account, s.serverArgs(), log, s.parentDeath())
	if err != nil {
		return err
	}
	if err := s.awaitReady(ctx, proc, begin); err != nil {
		// Not killed, which would leave shared memory behind; ctx may have ended.
		stopping, cancel := context.WithTimeout(context.WithoutCancel(ctx), launchUndo)
		defer cancel()
		return errors.Join(err, proc.stop(stopping, stopFast))
	}
	s.setProcess(proc)
	return nil
}

func (s *Server) parentDeath() ParentDeath {
	if s.opts.ParentDeath == DieByDefault && s.opts.Tests {
		return DieAtOnce
	}
	return s.opts.ParentDeath
}

func (s *Server) serverArgs() []string {
	p := s.place
	args := []string{"-D", p.dataDir()}
	set := func(settings ...string) {
		for _, setting := range settings {
			args = append(args, "-c", setting)
		}
	}
	if p.port == 0 {
		set("listen_addresses=", "unix_socket_directories="+quoteList(p.runDir()), "port="+strconv.Itoa(unixPort))
	} else {
		set("listen_addresses=127.0.0.1", "unix_socket_directories=", "port="+strconv.Itoa(p.port))
	}
	set("hba_file="+p.hbaFile(), "cluster_name=imagepurge", "timezone=UTC", "log_timezone=UTC", "max_connections=200",
		// The log must not hold customer ids: no statements, no DETAIL with keys.
		"log_min_error_statement=panic", "log_error_verbosity=terse", "log_parameter_max_length_on_error=0",
		"logging_collector=off", "log_checkpoints=off")
	if s.opts.Temporary || runtime.GOOS == "linux" && freeBytes(memoryFolder) < 256<<20 {
		// Within the data folder, so that removing it leaves nothing behind; and
		// a container's 64 MB of shared memory would fail parallel queries.
		set("dynamic_shared_memory_type=mmap")
	}
	if s.opts.Temporary {
		set("max_wal_size=256MB") // it may be in memory
	}
	if s.opts.Tests {
		set("shared_buffers=32MB", "autovacuum=off")
		if s.counts() {
			set("shared_preload_libraries=pg_stat_statements")
		}
	}
	if s.durable() {
		// Said here too, so that an edited postgresql.conf cannot undo it.
		set("fsync=on", "synchronous_commit=on", "full_page_writes=on")
	} else {
		set("fsync=off", "synchronous_commit=off", "full_page_writes=off")
	}
	return args
}

// counts says whether the server can count its statements.
func (s *Server) counts() bool {
	bin, _ := s.Programs()
	_, err := os.Stat(filepath.Join(bin, "..", "lib", "pg_stat_statements.so"))
	return err == nil
}

// quoteList writes one element of a setting that is a list of names.
func quoteList(element string) string {
	return `"` + strings.ReplaceAll(element, `"`, `""`) + `"`
}

// awaitReady returns when the server accepts connections and Database exists,
// or why it never will.
func (s *Server) awaitReady(ctx context.Context, proc *process, logBegin int64) error {
	giveUp := time.Now().Add(silenceLimit)
	for {
		err := createDatabase(ctx, s.place.url("postgres"))
		if err == nil {
			return nil
		}
		if isStartingUp(err) {
			giveUp = time.Now().Add(silenceLimit)
		}
		if isRefused(err) || time.Now().After(giveUp) {
			return fmt.Errorf("the server does not answer: %w; end of its log:\n%s", err, s.place.logTail(logBegin))
		}
		select {
		case <-proc.exited:
			tail := s.place.logTail(logBegin)
			err := fmt.Errorf("the server ended while it started (%s); end of its log:\n%s", proc.describeExit(), tail)
			if strings.Contains(tail, "pre-existing shared memory block") {
				err = errors.Join(errStillAttached, err)
			}
			return err
		case <-ctx.Done():
			return fmt.Errorf("wait for the server: %w", ctx.Err())
		case <-time.After(5 * time.Millisecond):
		}
	}
}

func createDatabase(ctx context.Context, url string) error {
	conn, err := connect(ctx, url)
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	var exists bool
	if err := conn.QueryRow(ctx, "SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)", Database).Scan(&exists); err != nil || exists {
		return err
	}
	_, err = conn.Exec(ctx, "CREATE DATABASE "+Database)
	return err
}

func ping(ctx context.Context, url string) error {
	conn, err := connect(ctx, url)
	if err != nil {
		return err
	}
	return conn.Close(context.WithoutCancel(ctx))
}

func connect(ctx context.Context, url string) (*pgx.Conn, error) {
	cfg, err := pgx.ParseConfig(url)
	if err != nil {
		return nil, err
	}
	cfg.ConnectTimeout = 5 * time.Second
	return pgx.ConnectConfig(ctx, cfg)
}

// isStartingUp: the server is there, but still starting or recovering.
func isStartingUp(err error) bool {
	var pgErr *pgconn.PgError
	return errors.As(err, &pgErr) && pgErr.Code == "57P03" // cannot_connect_now
}

// isRefused: the server answers, and never will otherwise (class 28, invalid
// authorization).
func isRefused(err error) bool {
	var pgErr *pgconn.PgError
	return errors.As(err, &pgErr) && strings.HasPrefix(pgErr.Code, "28")
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

func syncFolder(dir string) error {
	if runtime.GOOS == "windows" {
		return nil
	}
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync()
}

// lockHolder is the pid that the lock's holder noted, for messages.
func lockHolder(path string) string {
	text, err := os.ReadFile(path)
	if pid := strings.TrimSpace(string(text)); err == nil && pid != "" {
		return pid
	}
	return "(unknown)"
}
