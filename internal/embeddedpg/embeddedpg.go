// Package embeddedpg runs a PostgreSQL server of our own: the default
// database where DATABASE_URL is not set, the demo's and the tests'.
//
// It must never touch a server or a folder that it did not make: it signals a
// process only if that process's command line names our data folder, and
// removes folders only under a lock that it holds. It knows nothing of the
// schema; callers migrate.
//
// # One server, several processes
//
// A persistent data folder may be used by several processes at once. The one
// that holds the lock file runs the server; the others connect to it through
// the same address. When the process that runs the server ends, in whatever
// way, one of the others takes the lock and starts the server again at the same
// address. A follower's connections break then, and for about a second (longer
// if the server has to recover a large log) new ones are refused: pools
// reconnect by themselves, a statement that was under way fails and its
// transaction did not happen or, where COMMIT was already sent, may have.
package embeddedpg

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	// Database is the name of the database that every server has.
	Database = "imagepurge"
	// Role is the superuser that URL connects as.
	Role = "imagepurge"

	// OldestMajor is the oldest PostgreSQL that is started.
	OldestMajor = 14
)

// ParentDeath says what happens to the server when this process dies without
// having called Stop.
type ParentDeath int

const (
	// DieByDefault is DieAtOnce with Options.Tests, else DieOrderly.
	DieByDefault ParentDeath = iota
	// DieOrderly breaks connections, writes a checkpoint and ends.
	DieOrderly
	// DieAtOnce ends without a checkpoint; the next start recovers.
	DieAtOnce
	// Survive leaves the server running; see Server.Abandon.
	Survive
)

// Options say which server is wanted. The zero value is the persistent one in
// the user's data folder.
type Options struct {
	// Temporary asks for a server in a new folder that Stop removes, in memory
	// where there is room for it.
	Temporary bool
	// TempDir is the folder below which a temporary server's folder is made.
	// Empty: /dev/shm if it has 1 GiB free, else the system's folder.
	TempDir string
	// DataDir is the persistent server's folder (IMAGEPURGE_DATA_DIR). Empty:
	// DefaultDataDir.
	DataDir string
	// BinDir is the folder of the server's programs (IMAGEPURGE_PG_BIN). If it
	// is set nothing else is tried.
	BinDir string
	// User is the account that a server started by root runs as. Empty: the
	// owner of existing data, else postgres, else nobody. Ignored unless root.
	User string

	// Tests chooses small and fast settings: no autovacuum, 32 MB of buffers,
	// 200 connections.
	Tests bool
	// Durable keeps fsync, synchronous_commit and full_page_writes on for a
	// temporary server. A persistent server always has them on.
	Durable bool
	// ParentDeath is what the server does when this process is killed. Only
	// Linux can tell it at once; elsewhere the next start clears the orphan.
	ParentDeath ParentDeath

	// Download is how programs are fetched where none are installed.
	Download Download

	// Logf takes one-line notices (a download, a repair, a takeover), without
	// the newline. Nil: none. It may be called from other goroutines.
	Logf func(format string, args ...any)
	// Getenv reads PATH, HOME and the XDG variables. Nil: os.Getenv.
	Getenv func(string) string

	folders []string                  // patterns of well-known folders; nil: the real ones
	fill    func(folder string) error // fills a new data folder; nil: initdb
}

// Download says where the pinned archive of programs comes from.
type Download struct {
	// Disabled: fail instead of downloading.
	Disabled bool
	// BaseURL is a Maven repository. Empty: DefaultBaseURL.
	BaseURL string
	// Version of the archive, as in 18.4.0. Empty: DefaultVersion.
	Version string
	// SHA256 of the .jar, in hex. Empty: the pinned one, else the one that the
	// repository has beside the archive, else the download is refused.
	SHA256 string
	// CacheDir keeps the unpacked programs. Empty: the user's cache folder,
	// /var/cache/imagepurge for root.
	CacheDir string
	// Progress shows a moving bar. Nil: none. Pass it only a terminal.
	Progress io.Writer
	// Client makes the requests. Nil: one with sensible limits.
	Client *http.Client
}

// Server is a running server, or a follower of another process's.
type Server struct {
	opts  Options
	place place

	life     context.Context // ends when Stop is called: breaks off a takeover
	endLife  context.CancelFunc
	requests chan request
	done     chan struct{}

	mu       sync.Mutex
	proc     *process // nil: follower, or down by request
	err      error    // why done was closed; nil after Stop
	programs programs
	account  *account // nil: the server runs as this process does
}

type requestKind int

const (
	requestStop requestKind = iota
	requestCrash
	requestRestart
	requestAbandon
)

type request struct {
	kind  requestKind
	ctx   context.Context
	reply chan error
}

// Start starts a server, or joins the one that another process runs in the
// same data folder, and returns when it accepts connections and the database
// exists. ctx bounds the start only; the server runs until Stop.
//
// The error is a *NotFoundError where no PostgreSQL can be had, and a
// *BinDirError where Options.BinDir does not hold one.
func Start(ctx context.Context, opts Options) (*Server, error) {
	if opts.Getenv == nil {
		opts.Getenv = os.Getenv
	}
	if opts.Logf == nil {
		opts.Logf = func(string, ...any) {}
	}
	s := &Server{opts: opts, requests: make(chan request), done: make(chan struct{})}
	s.life, s.endLife = context.WithCancel(context.WithoutCancel(ctx))

	var lock *fileLock
	var err error
	if opts.Temporary {
		lock, err = s.startTemporary(ctx)
	} else {
		lock, err = s.startPersistent(ctx)
	}
	if err != nil {
		s.endLife()
		return nil, fmt.Errorf("start embedded postgres: %w", err)
	}
	go s.supervise(lock)
	return s, nil
}

// DefaultDataDir is where the persistent server lives if nothing else is said:
// /var/lib/imagepurge for root (the account that the server drops to must reach
// it), else the user's data folder.
func DefaultDataDir(getenv func(string) string) (string, error) {
	if isRoot() {
		return "/var/lib/imagepurge", nil
	}
	return userFolder(getenv, "XDG_DATA_HOME", ".local/share", "Library/Application Support", "LOCALAPPDATA")
}

// userFolder is our folder in one of the user's standard folders. The XDG
// specification says that a relative path in a variable is to be ignored.
func userFolder(getenv func(string) string, xdg, unix, mac, windows string) (string, error) {
	if runtime.GOOS == "windows" {
		if dir := getenv(windows); dir != "" {
			return filepath.Join(dir, "imagepurge"), nil
		}
		return "", fmt.Errorf("%%%s%% is not set; set IMAGEPURGE_DATA_DIR", windows)
	}
	if dir := getenv(xdg); filepath.IsAbs(dir) {
		return filepath.Join(dir, "imagepurge"), nil
	}
	home := getenv("HOME")
	if home == "" {
		return "", fmt.Errorf("neither $%s nor $HOME is set; set IMAGEPURGE_DATA_DIR", xdg)
	}
	if runtime.GOOS == "darwin" {
		return filepath.Join(home, mac, "imagepurge"), nil
	}
	return filepath.Join(home, unix, "imagepurge"), nil
}

// URL is the address of Database, in a form that pgx understands. It stays the
// same for the life of the Server.
func (s *Server) URL() string { return s.place.url(Database) }

// Dir is the folder with everything of this server: for a temporary one the
// folder that Stop removes.
func (s *Server) Dir() string { return s.place.dir }

// Done is closed when the server is gone for good: after Stop, when a temporary
// server ended by itself, or when a persistent one could not be started again.
func (s *Server) Done() <-chan struct{} { return s.done }

// Err says why Done was closed; nil before, and after Stop.
func (s *Server) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

// PID is the server's process id; 0 while another process runs it.
func (s *Server) PID() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.proc == nil {
		return 0
	}
	return s.proc.cmd.Process.Pid
}

// Programs is the folder and the version of the programs in use; empty while
// another process runs the server.
func (s *Server) Programs() (dir, version string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.programs.dir, s.programs.version
}

// Stop ends the server, if this process runs it, and waits until it is gone; a
// temporary server's folder is removed. Connections are broken, what was
// committed is kept. Where ctx ends first the server is made to end without a
// checkpoint, and the error says so; the next start recovers. Stopping twice
// is allowed.
func (s *Server) Stop(ctx context.Context) error {
	s.endLife()
	return s.ask(ctx, requestStop)
}

// Crash kills the server as a power cut would, waits until it is gone, and
// leaves it down until Restart: for tests. It is an error where another process
// runs it.
func (s *Server) Crash(ctx context.Context) error { return s.ask(ctx, requestCrash) }

// Restart starts the server again at the same address, in order first if it is
// still up.
func (s *Server) Restart(ctx context.Context) error { return s.ask(ctx, requestRestart) }

// Abandon gives up a temporary server without ending it: it outlives this
// process if it was started with Survive. The next start removes its folder
// once it is no longer running.
func (s *Server) Abandon(ctx context.Context) error { return s.ask(ctx, requestAbandon) }

func (s *Server) ask(ctx context.Context, kind requestKind) error {
	r := request{kind: kind, ctx: ctx, reply: make(chan error, 1)}
	select {
	case s.requests <- r:
		err := <-r.reply // the supervisor minds ctx
		if kind == requestStop || kind == requestAbandon {
			<-s.done
		}
		return err
	case <-s.done:
		if kind == requestStop {
			return nil
		}
		return errors.New("the server has ended")
	}
}

// takeoverPoll is how often a follower looks whether the lock is free: a part
// of the time without a server after its runner ended.
const takeoverPoll = 100 * time.Millisecond

// takeoverAttempts is how often in a row a start may fail before the Server
// gives up. Pauses between them grow from half a second to 8 s.
const takeoverAttempts = 6

// supervise owns the process and the lock until the server is gone for good.
func (s *Server) supervise(lock *fileLock) {
	defer close(s.done)
	defer s.endLife()
	ticker := time.NewTicker(takeoverPoll)
	defer ticker.Stop()
	failures, downByRequest := 0, false
	var notBefore time.Time

	for {
		var exited <-chan struct{}
		if p := s.process(); p != nil {
			exited = p.exited
		}
		select {
		case r := <-s.requests:
			switch r.kind {
			case requestStop:
				r.reply <- s.finish(r.ctx, lock, nil)
				return
			case requestAbandon:
				r.reply <- s.abandon(lock)
				return
			case requestCrash:
				p := s.process()
				if p == nil {
					r.reply <- errors.New("this process does not run the server")
					continue
				}
				p.kill()
				s.setProcess(nil)
				downByRequest = true
				r.reply <- nil
			case requestRestart:
				if lock == nil {
					r.reply <- errors.New("this process does not run the server")
					continue
				}
				err := s.restart(r.ctx)
				downByRequest = err != nil
				r.reply <- err
			}

		case <-exited:
			how := s.process().describeExit()
			s.setProcess(nil)
			if s.opts.Temporary {
				err := fmt.Errorf("the server ended by itself (%s); end of its log:\n%s", how, s.place.logTail(0))
				_ = s.finish(context.Background(), lock, err) // nobody to tell
				return
			}
			// From here on this process is a follower like any other.
			s.opts.Logf("embedded postgres: the server ended by itself (%s); it is started again; its log is %s", how, s.place.logFile())
			lock.release()
			lock = nil

		case <-ticker.C:
			if lock != nil || downByRequest || time.Now().Before(notBefore) {
				continue
			}
			l, err := tryLock(s.place.lockFile())
			if errors.Is(err, errLocked) {
				failures = 0 // somebody runs it
				continue
			}
			if err == nil {
				err = s.becomeRunner(s.life, l)
			}
			if err == nil {
				lock, failures = l, 0
				s.opts.Logf("embedded postgres: this process runs the server now, in %s", s.place.dir)
				continue
			}
			if s.life.Err() != nil {
				continue // Stop is waiting
			}
			if failures++; failures == takeoverAttempts {
				_ = s.finish(context.Background(), nil, fmt.Errorf("take over the server: %w", err))
				return
			}
			s.opts.Logf("embedded postgres: start the server: %s (will try again)", oneLine(err.Error()))
			notBefore = time.Now().Add(250 * time.Millisecond << failures)
		}
	}
}

// restart runs the server again under the lock that is held already.
func (s *Server) restart(ctx context.Context) error {
	if p := s.process(); p != nil {
		if err := p.stop(ctx, stopFast); err != nil {
			return err
		}
		s.setProcess(nil)
	}
	if err := s.clearOrphan(ctx); err != nil {
		return err
	}
	return s.launch(ctx)
}

// becomeRunner starts the server under a lock just taken, and gives the lock
// back where that fails.
func (s *Server) becomeRunner(ctx context.Context, lock *fileLock) error {
	err := s.run(ctx)
	if err != nil {
		lock.release()
		return err
	}
	lock.note(strconv.Itoa(os.Getpid()))
	return nil
}

// finish ends the process if there is one, tidies up, and records cause as the
// reason why Done will be closed.
func (s *Server) finish(ctx context.Context, lock *fileLock, cause error) error {
	var err error
	if p := s.process(); p != nil {
		mode := stopFast
		if s.opts.Tests && !s.opts.Durable {
			mode = stopImmediate // the data is thrown away: no checkpoint needed
		}
		err = p.stop(ctx, mode)
		s.setProcess(nil)
	}
	if s.opts.Temporary {
		// Before the lock is released: afterwards the folder is anybody's.
		leftSegment(s.place.dataDir()).remove()
		err = errors.Join(err, removeTree(s.place.dir))
	}
	if lock != nil {
		lock.release()
	}
	s.mu.Lock()
	s.err = cause
	s.mu.Unlock()
	return err
}

// keepFile in a run folder tells sweeps to leave it while its server runs.
const keepFile = "keep"

func (s *Server) abandon(lock *fileLock) error {
	var err error
	if s.opts.Temporary {
		err = os.WriteFile(filepath.Join(s.place.dir, keepFile), nil, 0o600)
	}
	if lock != nil {
		lock.release()
	}
	return err
}

func (s *Server) process() *process {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.proc
}

func (s *Server) setProcess(p *process) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.proc = p
}

// oneLine makes text fit for a notice or an error of one line.
func oneLine(text string) string { return strings.Join(strings.Fields(text), " ") }
