package embeddedpg

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// segment is the small piece of System V shared memory by which PostgreSQL
// notices a second server on its data. A server that is killed leaves it until
// the next start on the same folder; a temporary one has no next start, and the
// system has room for some thousands only. A persistent server's is never
// removed: it is what keeps data from two servers at once.
type segment struct{ key, id int }

// leftSegment reads what a server that did not end in order left; zero if it
// did. The pid file's seventh line has the segment's key and id.
func leftSegment(dataDir string) segment {
	text, err := os.ReadFile(filepath.Join(dataDir, "postmaster.pid"))
	lines := strings.Split(string(text), "\n")
	if err != nil || len(lines) < 7 {
		return segment{}
	}
	fields := strings.Fields(lines[6])
	if len(fields) != 2 {
		return segment{}
	}
	key, err1 := strconv.Atoi(fields[0])
	id, err2 := strconv.Atoi(fields[1])
	if err1 != nil || err2 != nil {
		return segment{}
	}
	return segment{key, id}
}

// remove removes the segment if it still is the one that was noted; the system
// keeps it until its last user is gone.
func (s segment) remove() {
	var desc unix.SysvShmDesc
	if s == (segment{}) {
		return
	}
	if _, err := unix.SysvShmCtl(s.id, unix.IPC_STAT, &desc); err != nil || int(desc.Perm.Key) != s.key {
		return
	}
	_, _ = unix.SysvShmCtl(s.id, unix.IPC_RMID, nil)
}
