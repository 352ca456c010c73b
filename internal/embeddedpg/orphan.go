package embeddedpg

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// orphan is the pid of a server that runs in our data folder without us; 0:
// none. Called only under the lock, so whoever started it is dead.
func (s *Server) orphan() int {
	pid := postmasterPID(s.place.dataDir())
	if pid == 0 || pid == os.Getpid() || !namesFolder(pid, s.place.dataDir()) {
		return 0
	}
	return pid
}

// How long an orphan is given for an end in order, then for one without a
// checkpoint, before it is killed.
const (
	orphanFast      = 10 * time.Second
	orphanImmediate = 5 * time.Second
)

// clearOrphan ends the server that a killed process left in our data folder
// and removes what would keep a new one from starting. A process is signalled
// only if its command line names the folder: pids are used again.
func (s *Server) clearOrphan(ctx context.Context) error {
	dataDir := s.place.dataDir()
	if pid := s.orphan(); pid != 0 {
		s.opts.Logf("embedded postgres: ending process %d, left in %s by a process that was killed", pid, s.place.dir)
		// It may be on its way out already: its parent's death told it to.
		steps := []struct {
			mode stopMode
			wait time.Duration
		}{{stopFast, orphanFast}, {stopImmediate, orphanImmediate}, {stopKill, orphanImmediate}}
		for _, step := range steps {
			if err := signalPID(pid, step.mode, s.programs); err != nil && namesFolder(pid, dataDir) {
				return fmt.Errorf("end process %d, left in %s: %w", pid, dataDir, err)
			}
			deadline := time.Now().Add(step.wait)
			for namesFolder(pid, dataDir) && time.Now().Before(deadline) {
				if err := pause(ctx, 10*time.Millisecond); err != nil {
					return err
				}
			}
			if !namesFolder(pid, dataDir) {
				break
			}
		}
		if namesFolder(pid, dataDir) {
			return fmt.Errorf("process %d, left in %s, cannot be ended", pid, dataDir)
		}
	}
	pidFile := filepath.Join(dataDir, "postmaster.pid")
	pid := postmasterPID(dataDir)
	if pid == 0 {
		return nil
	}
	if worksIn(pid, dataDir) {
		return fmt.Errorf("a PostgreSQL that is not ours, process %d, runs in %s; stop it", pid, dataDir)
	}
	// Left to itself the server would refuse to start if the number in it
	// belongs to any other process by now, which is common in containers.
	return os.Remove(pidFile)
}

// postmasterPID reads the server's pid file; 0 if there is none or it is torn.
func postmasterPID(dataDir string) int {
	f, err := os.Open(filepath.Join(dataDir, "postmaster.pid"))
	if err != nil {
		return 0
	}
	defer f.Close()
	line, _ := bufio.NewReader(f).ReadString('\n')
	pid, err := strconv.Atoi(strings.TrimSpace(line))
	if err != nil || pid <= 1 {
		return 0
	}
	return pid
}
