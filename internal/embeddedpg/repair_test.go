//go:build linux

package embeddedpg

import (
	"bufio"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

func TestNoOrphanAfterKill(t *testing.T) {
	t.Parallel()
	for name, death := range map[string]ParentDeath{"at once": DieAtOnce, "in order": DieOrderly} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			base := roomyFolder(t)
			c := spawn(t, Options{Temporary: true, Tests: true, TempDir: base, ParentDeath: death})
			dataDir := filepath.Join(c.Dir, "data")
			if len(processesNaming(dataDir)) == 0 {
				t.Fatal("the server's process is not seen even before the kill")
			}
			c.kill()
			eventually(t, "the server followed its parent", func() bool { return len(processesNaming(dataDir)) == 0 })

			begin(t, temporary(t, base))
			if _, err := os.Stat(c.Dir); err == nil {
				t.Error("the next start left the dead one's folder")
			}
		})
	}
}

func TestSweepLeavesALivingServerAlone(t *testing.T) {
	t.Parallel()
	base := roomyFolder(t)
	c := spawn(t, Options{Temporary: true, Tests: true, TempDir: base})
	begin(t, temporary(t, base))
	query(t, c.URL, "SELECT 1")
	c.stop()
	if _, err := os.Stat(c.Dir); err == nil {
		t.Error("an orderly end left its folder")
	}
}

func TestAbandonedServerIsSweptOnlyWhenItHasEnded(t *testing.T) {
	t.Parallel()
	base := roomyFolder(t)
	opts := temporary(t, base)
	opts.ParentDeath = Survive
	s := begin(t, opts)
	pid := s.PID()
	if err := s.Abandon(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Kill(pid, syscall.SIGKILL) })
	begin(t, temporary(t, base))
	query(t, s.URL(), "SELECT 1")

	if err := syscall.Kill(pid, syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it has ended", func() bool { return !namesFolder(pid, s.place.dataDir()) })
	begin(t, temporary(t, base))
	if _, err := os.Stat(s.Dir()); err == nil {
		t.Error("its folder was left")
	}
}

func TestSecondStartRepairsWhatAKilledOneLeft(t *testing.T) {
	t.Parallel()
	for name, death := range map[string]ParentDeath{"dying server": DieOrderly, "orphan": Survive} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := dataFolder(t)
			c := spawn(t, Options{DataDir: dir, ParentDeath: death})
			remember(t, c.URL)
			c.kill()
			if death == Survive && !namesFolder(c.PID, filepath.Join(dir, "data")) {
				t.Fatal("there is no orphan to clear")
			}
			s := begin(t, Options{DataDir: dir})
			if s.PID() == 0 || s.PID() == c.PID {
				t.Errorf("the server is process %d, the orphan was %d", s.PID(), c.PID)
			}
			if namesFolder(c.PID, s.place.dataDir()) {
				t.Error("the orphan still runs")
			}
			if s.URL() != c.URL || !rowKept(s.URL()) {
				t.Errorf("URL %s (was %s), row kept: %v", s.URL(), c.URL, rowKept(s.URL()))
			}
		})
	}
}

func TestStaleFilesDoNotKeepItFromStarting(t *testing.T) {
	t.Parallel()
	dir := dataFolder(t)
	// The number of a killed server, by now that of a harmless process of the
	// same user: left to itself PostgreSQL refuses to start then.
	innocent := exec.Command("sleep", "60")
	innocent.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := innocent.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = innocent.Process.Kill(); _ = innocent.Wait() })
	stale := strconv.Itoa(innocent.Process.Pid) + "\n" + filepath.Join(dir, "data") + "\n1700000000\n5432\n"
	if err := os.WriteFile(filepath.Join(dir, "data", "postmaster.pid"), []byte(stale), 0o600); err != nil {
		t.Fatal(err)
	}
	halfDone := filepath.Join(dir, "data.new-123")
	if err := os.MkdirAll(filepath.Join(halfDone, "base"), 0o700); err != nil {
		t.Fatal(err)
	}
	s := begin(t, Options{DataDir: dir})
	query(t, s.URL(), "SELECT 1")
	if _, err := os.Stat(halfDone); err == nil {
		t.Error("the half-finished initdb is still there")
	}
	if err := innocent.Process.Signal(syscall.Signal(0)); err != nil {
		t.Errorf("the process that has the number now was ended: %v", err)
	}
}

func TestServerThatIsNotOursIsLeftAlone(t *testing.T) {
	t.Parallel()
	dir := dataFolder(t)
	dataDir := filepath.Join(dir, "data")
	// Stands for a server started by hand with a relative path: it works in the
	// data folder and does not name it.
	other := exec.Command("sleep", "60")
	other.Dir = dataDir
	other.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := other.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = other.Process.Kill(); _ = other.Wait() })
	if err := os.WriteFile(filepath.Join(dataDir, "postmaster.pid"), []byte(strconv.Itoa(other.Process.Pid)+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := Start(t.Context(), Options{DataDir: dir})
	if err == nil {
		end(t, s)
		t.Fatal("started beside another server")
	}
	if !strings.Contains(err.Error(), "is not ours, process "+strconv.Itoa(other.Process.Pid)) {
		t.Errorf("got %v, want the other server named", err)
	}
	if err := other.Process.Signal(syscall.Signal(0)); err != nil {
		t.Errorf("the other server was ended: %v", err)
	}
}

func TestTwoProcessesShareAndTheSurvivorTakesOver(t *testing.T) {
	t.Parallel()
	dir := dataFolder(t)
	runner := spawn(t, Options{DataDir: dir})
	s := begin(t, Options{DataDir: dir})
	if s.PID() != 0 || s.URL() != runner.URL {
		t.Fatalf("the second is process %d at %s; want a follower (0) at %s", s.PID(), s.URL(), runner.URL)
	}
	remember(t, s.URL())
	runner.kill()
	eventually(t, "after kill -9 the survivor runs the server", func() bool { return s.PID() != 0 && rowKept(s.URL()) })

	second := spawn(t, Options{DataDir: dir})
	if second.PID != 0 {
		t.Fatalf("the third runs process %d beside the survivor's", second.PID)
	}
	end(t, s)
	eventually(t, "after an orderly end the other one runs the server", func() bool { return rowKept(second.URL) })
	second.stop()
	if left := processesNaming(filepath.Join(dir, "data")); len(left) != 0 {
		t.Errorf("still running after the last one ended: %v", left)
	}
}

func TestStartedTogether(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(roomyFolder(t), "pg") // not even initdb was run
	const n = 4
	servers := make(chan *Server, n)
	for range n {
		go func() {
			s, err := Start(t.Context(), Options{DataDir: dir})
			if err != nil {
				t.Error(err)
			}
			servers <- s
		}()
	}
	runners := 0
	var all []*Server
	for range n {
		if s := <-servers; s != nil {
			all = append(all, s)
			if s.PID() != 0 {
				runners++
			}
			if got, err := tryQuery(s.URL(), "SELECT 1"); err != nil {
				t.Errorf("got %q, %v", got, err)
			}
		}
	}
	if runners != 1 {
		t.Errorf("%d run a server, want 1", runners)
	}
	for _, s := range all {
		end(t, s)
	}
}

func TestKilledTemporaryServerLeavesNoSharedMemory(t *testing.T) {
	t.Parallel()
	s := begin(t, temporary(t, roomyFolder(t)))
	left := leftSegment(s.place.dataDir())
	exists := func() bool {
		var desc unix.SysvShmDesc
		_, err := unix.SysvShmCtl(left.id, unix.IPC_STAT, &desc)
		return err == nil && int(desc.Perm.Key) == left.key
	}
	if left == (segment{}) || !exists() {
		t.Fatalf("the running server's segment %v is not seen", left)
	}
	if err := s.Crash(t.Context()); err != nil {
		t.Fatal(err)
	}
	end(t, s)
	eventually(t, "its segment is gone", func() bool { return !exists() })
}

func TestServerHasAProcessGroupOfItsOwn(t *testing.T) {
	t.Parallel()
	s := begin(t, temporary(t, roomyFolder(t)))
	if group, err := syscall.Getpgid(s.PID()); err != nil || group != s.PID() {
		t.Errorf("got group %d, %v; want %d: Ctrl-C at the terminal would end the server before us", group, err, s.PID())
	}
	env, err := os.ReadFile("/proc/" + strconv.Itoa(s.PID()) + "/environ")
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(env), "HOME=") || !strings.Contains(string(env), "TZ=UTC") {
		t.Errorf("the server has our environment: %q", env)
	}
}

func TestRootDropsToAnAccount(t *testing.T) {
	t.Parallel()
	needRoot(t)
	for _, name := range []string{"", "nobody"} {
		t.Run("as "+name, func(t *testing.T) {
			t.Parallel()
			s := begin(t, Options{Temporary: true, Tests: true, TempDir: roomyFolder(t), User: name})
			want := name
			if want == "" {
				want = "postgres"
				if _, err := user.Lookup(want); err != nil {
					want = "nobody"
				}
			}
			if got := ownerOfProcess(t, s.PID()); got != want {
				t.Errorf("the server runs as %s, want %s", got, want)
			}
			query(t, s.URL(), "SELECT 1")
		})
	}
}

func TestRootMendsTheOwnerOfData(t *testing.T) {
	t.Parallel()
	needRoot(t)
	dir := dataFolder(t)
	err := filepath.WalkDir(filepath.Join(dir, "data"), func(path string, _ os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Chown(path, 0, 0)
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Join(dir, "data"), 0o755); err != nil {
		t.Fatal(err)
	}
	s := begin(t, Options{DataDir: dir})
	query(t, s.URL(), "SELECT 1")
}

func TestFolderThatTheAccountCannotEnter(t *testing.T) {
	t.Parallel()
	needRoot(t)
	closed := filepath.Join(roomyFolder(t), "closed")
	if err := os.Mkdir(closed, 0o700); err != nil {
		t.Fatal(err)
	}
	for name, opts := range map[string]Options{
		"persistent": {DataDir: filepath.Join(closed, "pg")},
		"temporary":  {Temporary: true, TempDir: closed},
	} {
		s, err := Start(t.Context(), opts)
		if err == nil {
			end(t, s)
			t.Errorf("%s: started in a folder that only root can enter", name)
		} else if !strings.Contains(err.Error(), "cannot be entered by user ") || !strings.Contains(err.Error(), closed) {
			t.Errorf("%s: got %v, want the folder and the user named", name, err)
		}
	}
}

func TestOrdinaryUser(t *testing.T) {
	t.Parallel()
	base := roomyFolder(t)
	as := func(*exec.Cmd) {}
	want, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	if isRoot() {
		acct, err := lookupAccount(user.Lookup("nobody"))
		if err != nil {
			t.Fatal(err)
		}
		want.Username = "nobody"
		// The test's binary is in a folder that only root can enter.
		binary := filepath.Join(base, "helper")
		if err := exec.Command("install", "-m", "755", os.Args[0], binary).Run(); err != nil {
			t.Fatal(err)
		}
		as = func(cmd *exec.Cmd) {
			cmd.Path, cmd.Dir = binary, base
			cmd.SysProcAttr = &syscall.SysProcAttr{Credential: credential(acct)}
		}
	}
	passing := spawn(t, Options{Temporary: true, Tests: true, TempDir: base}, as)
	persistent := spawn(t, Options{DataDir: filepath.Join(base, "pg")}, as)
	for _, c := range []*child{passing, persistent} {
		if c.Error != "" {
			t.Fatal(c.Error)
		}
		if got := ownerOfProcess(t, c.PID); got != want.Username {
			t.Errorf("the server runs as %s, want %s", got, want.Username)
		}
		query(t, c.URL, "SELECT 1")
	}
	remember(t, persistent.URL)
	passing.stop()
	persistent.stop()
	// Root may use that user's data without taking it away.
	s := begin(t, Options{DataDir: filepath.Join(base, "pg")})
	if got := ownerOfProcess(t, s.PID()); got != want.Username || !rowKept(s.URL()) {
		t.Errorf("started by root: runs as %s, want the data's owner %s; row kept: %v", got, want.Username, rowKept(s.URL()))
	}
	end(t, s)
	if again := spawn(t, Options{DataDir: filepath.Join(base, "pg")}, as); again.Error != "" {
		t.Errorf("the user's own start after root's: %s", again.Error)
	}
}

func needRoot(t *testing.T) {
	t.Helper()
	if !isRoot() {
		t.Skip("only root can drop privileges")
	}
}

// processesNaming are the living processes with dir as an argument.
func processesNaming(dir string) []int {
	var pids []int
	found, _ := filepath.Glob("/proc/[0-9]*")
	for _, path := range found {
		if pid, err := strconv.Atoi(filepath.Base(path)); err == nil && namesFolder(pid, dir) {
			pids = append(pids, pid)
		}
	}
	return pids
}

func ownerOfProcess(t *testing.T, pid int) string {
	t.Helper()
	f, err := os.Open("/proc/" + strconv.Itoa(pid) + "/status")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if rest, ok := strings.CutPrefix(lines.Text(), "Uid:"); ok {
			u, err := user.LookupId(strings.Fields(rest)[1]) // the effective one
			if err != nil {
				t.Fatal(err)
			}
			return u.Username
		}
	}
	t.Fatalf("process %d has no owner", pid)
	return ""
}
