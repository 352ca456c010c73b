//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package embeddedpg

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

const (
	exe      = ""
	noFollow = unix.O_NOFOLLOW
)

func isRoot() bool { return os.Geteuid() == 0 }

// isEPERM: not allowed at all, as opposed to EACCES, a matter of modes. Both
// are fs.ErrPermission.
func isEPERM(err error) bool { return errors.Is(err, syscall.EPERM) }

func platformEnv() []string { return nil }

// account is whom the server runs as where we are root.
type account struct {
	name   string
	uid    uint32
	gid    uint32
	groups []uint32
}

// chooseAccount returns nil unless this process is root. PostgreSQL refuses
// root, and a uid that has no account.
func chooseAccount(name, dataDir string) (*account, error) {
	if !isRoot() {
		return nil, nil
	}
	if name != "" {
		return lookupAccount(user.Lookup(name))
	}
	// Data that an ordinary user made stays that user's.
	if fi, err := os.Stat(dataDir); dataDir != "" && err == nil {
		if st, ok := fi.Sys().(*syscall.Stat_t); ok && st.Uid != 0 {
			if acct, err := lookupAccount(user.LookupId(strconv.FormatUint(uint64(st.Uid), 10))); err == nil {
				return acct, nil
			}
		}
	}
	for _, name := range []string{"postgres", "nobody"} {
		if acct, err := lookupAccount(user.Lookup(name)); err == nil {
			return acct, nil
		}
	}
	return nil, errors.New("PostgreSQL refuses to run as root, and there is neither a user postgres nor a user nobody; start imagepurge as an ordinary user or set DATABASE_URL")
}

func lookupAccount(u *user.User, err error) (*account, error) {
	if err != nil {
		return nil, err
	}
	uid, err := strconv.ParseUint(u.Uid, 10, 32)
	if err != nil {
		return nil, err
	}
	gid, err := strconv.ParseUint(u.Gid, 10, 32)
	if err != nil {
		return nil, err
	}
	if uid == 0 {
		return nil, fmt.Errorf("user %s is root, which PostgreSQL refuses", u.Username)
	}
	acct := &account{name: u.Username, uid: uint32(uid), gid: uint32(gid)}
	ids, _ := u.GroupIds() // without them the primary group has to do
	for _, id := range ids {
		if g, err := strconv.ParseUint(id, 10, 32); err == nil {
			acct.groups = append(acct.groups, uint32(g))
		}
	}
	return acct, nil
}

// own gives one file to the account; links are not followed.
func (a *account) own(path string) error {
	if a == nil {
		return nil
	}
	return os.Lchown(path, int(a.uid), int(a.gid))
}

// ownTree mends the owner and mode of a data folder: one that was restored or
// copied by root would be refused by the server.
func (a *account) ownTree(dir string) error {
	fi, err := os.Stat(dir)
	if err != nil {
		return err
	}
	if st, ok := fi.Sys().(*syscall.Stat_t); ok {
		want := uint32(os.Geteuid())
		if a != nil {
			want = a.uid
		}
		switch {
		case st.Uid == want:
		case a == nil:
			return fmt.Errorf("%s belongs to user id %d, not to %d; run as that user, or: sudo chown -R %d %s", dir, st.Uid, want, want, dir)
		default:
			err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
				if err != nil {
					return err
				}
				return a.own(path)
			})
			if err != nil {
				return err
			}
		}
	}
	if fi.Mode().Perm()&0o027 != 0 { // the server takes 0700 and 0750
		return os.Chmod(dir, 0o700)
	}
	return nil
}

// ownFolder: the folder was made by us, or by the accounts that we drop to.
func ownFolder(fi fs.FileInfo) bool {
	st, ok := fi.Sys().(*syscall.Stat_t)
	return ok && int(st.Uid) == os.Geteuid()
}

func credential(acct *account) *syscall.Credential {
	if acct == nil {
		return nil
	}
	return &syscall.Credential{Uid: acct.uid, Gid: acct.gid, Groups: acct.groups}
}

var signals = map[stopMode]syscall.Signal{
	stopFast:      syscall.SIGINT,
	stopImmediate: syscall.SIGQUIT,
	stopKill:      syscall.SIGKILL,
}

func (p *process) signal(mode stopMode) error {
	err := p.cmd.Process.Signal(signals[mode])
	if errors.Is(err, os.ErrProcessDone) {
		return nil
	}
	return err
}

func signalPID(pid int, mode stopMode, _ programs) error {
	return syscall.Kill(pid, signals[mode])
}

var errLocked = errors.New("locked by another process")

// fileLock is an advisory lock that the kernel takes back when this process
// ends, however it ends. Children do not inherit it.
type fileLock struct{ file *os.File }

// tryLock takes the lock, or returns errLocked. A file that was removed or
// replaced meanwhile counts as locked: its lock would guard nothing.
func tryLock(path string) (*fileLock, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR|noFollow, 0o600)
	if err != nil {
		return nil, err
	}
	for {
		err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if !errors.Is(err, unix.EINTR) {
			break
		}
	}
	if err != nil {
		_ = f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, errLocked
		}
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	held, err1 := f.Stat()
	there, err2 := os.Lstat(path)
	if err1 != nil || err2 != nil || !os.SameFile(held, there) {
		_ = f.Close()
		return nil, errLocked
	}
	return &fileLock{file: f}, nil
}

// note leaves a text in the lock file, for people and for error messages.
func (l *fileLock) note(text string) {
	if l.file.Truncate(0) == nil {
		_, _ = l.file.WriteAt([]byte(text+"\n"), 0)
	}
}

func (l *fileLock) release() { _ = l.file.Close() }
