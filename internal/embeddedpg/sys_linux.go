package embeddedpg

import (
	"bytes"
	"os"
	"slices"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// maxSocketPath is what sun_path takes, less the final zero byte.
const maxSocketPath = 107

func sysProcAttr(acct *account, death ParentDeath) *syscall.SysProcAttr {
	attr := &syscall.SysProcAttr{Setpgid: true, Credential: credential(acct)}
	switch death {
	case Survive:
	case DieAtOnce:
		attr.Pdeathsig = syscall.SIGQUIT
	default:
		attr.Pdeathsig = syscall.SIGINT
	}
	return attr
}

// freeBytes is what an ordinary user may still write below dir; 0 if unknown.
func freeBytes(dir string) uint64 {
	var st unix.Statfs_t
	if unix.Statfs(dir, &st) != nil {
		return 0
	}
	return st.Bavail * uint64(st.Bsize)
}

// namesFolder: the process lives and its command line has dir as an argument
// of its own. A zombie has no command line any more.
func namesFolder(pid int, dir string) bool {
	line, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/cmdline")
	if err != nil {
		return false
	}
	return slices.ContainsFunc(bytes.Split(line, []byte{0}), func(arg []byte) bool { return string(arg) == dir })
}

// worksIn: the process's current folder is dir, as every PostgreSQL's is its
// data folder, whatever its command line says.
func worksIn(pid int, dir string) bool {
	cwd, err := os.Readlink("/proc/" + strconv.Itoa(pid) + "/cwd")
	return err == nil && cwd == dir
}
