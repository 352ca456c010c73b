//go:build darwin || dragonfly || freebsd || netbsd || openbsd

package embeddedpg

import (
	"os/exec"
	"strconv"
	"strings"
	"syscall"
)

// maxSocketPath is what sun_path takes, less the final zero byte.
const maxSocketPath = 103

// sysProcAttr: there is no parent-death signal here; the next start clears the
// orphan instead.
func sysProcAttr(acct *account, _ ParentDeath) *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Credential: credential(acct)}
}

// freeBytes is asked only about /dev/shm, which is not memory here.
func freeBytes(string) uint64 { return 0 }

// namesFolder: the process lives and its command line names dir. A zombie's
// command line is its name in brackets.
func namesFolder(pid int, dir string) bool {
	out, err := exec.Command("ps", "-ww", "-o", "command=", "-p", strconv.Itoa(pid)).Output()
	line := strings.TrimSpace(string(out)) + " "
	return err == nil && strings.Contains(line, " -D "+dir+" ")
}

// worksIn cannot be told here; the server's own check has to do.
func worksIn(int, string) bool { return false }
