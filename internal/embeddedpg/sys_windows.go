package embeddedpg

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"

	"golang.org/x/sys/windows"
)

// Windows is compiled and vetted, not tried.

const (
	exe      = ".exe"
	noFollow = 0
	// maxSocketPath makes every server use TCP with a password.
	maxSocketPath = 0
)

func isRoot() bool       { return false }
func isEPERM(error) bool { return false }

// platformEnv: programs do not load their libraries without these.
func platformEnv() []string {
	var env []string
	for _, name := range []string{"SystemRoot", "TEMP", "TMP"} {
		env = append(env, name+"="+os.Getenv(name))
	}
	return env
}

type account struct{ name string }

func chooseAccount(string, string) (*account, error) { return nil, nil }
func (*account) own(string) error                    { return nil }
func (*account) ownTree(string) error                { return nil }
func ownFolder(fs.FileInfo) bool                     { return true }
func freeBytes(string) uint64                        { return 0 }

func sysProcAttr(*account, ParentDeath) *syscall.SysProcAttr {
	return &syscall.SysProcAttr{CreationFlags: windows.CREATE_NEW_PROCESS_GROUP}
}

// signal goes through pg_ctl: PostgreSQL listens on a pipe for its signals here.
func (p *process) signal(mode stopMode) error {
	if mode == stopKill {
		return p.cmd.Process.Kill()
	}
	return signalPID(p.cmd.Process.Pid, mode, programs{dir: filepath.Dir(p.cmd.Path)})
}

func signalPID(pid int, mode stopMode, progs programs) error {
	if mode == stopKill {
		p, err := os.FindProcess(pid)
		if err != nil {
			return err
		}
		return p.Kill()
	}
	name := map[stopMode]string{stopFast: "INT", stopImmediate: "QUIT"}[mode]
	return exec.Command(filepath.Join(progs.dir, "pg_ctl.exe"), "kill", name, strconv.Itoa(pid)).Run()
}

// namesFolder cannot be told here; the server's own check of its pid file does.
func namesFolder(int, string) bool { return false }
func worksIn(int, string) bool     { return false }

var errLocked = errors.New("locked by another process")

type fileLock struct{ file *os.File }

// lockOffset is beyond the note: locks are mandatory here.
const lockOffset = 1 << 20

func tryLock(path string) (*fileLock, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	err = windows.LockFileEx(windows.Handle(f.Fd()), windows.LOCKFILE_EXCLUSIVE_LOCK|windows.LOCKFILE_FAIL_IMMEDIATELY,
		0, 1, 0, &windows.Overlapped{Offset: lockOffset})
	if err != nil {
		f.Close()
		if errors.Is(err, windows.ERROR_LOCK_VIOLATION) {
			return nil, errLocked
		}
		return nil, err
	}
	return &fileLock{file: f}, nil
}

func (l *fileLock) note(text string) {
	if l.file.Truncate(0) == nil {
		_, _ = l.file.WriteAt([]byte(text+"\n"), 0)
	}
}

func (l *fileLock) release() { l.file.Close() }
