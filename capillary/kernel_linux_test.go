package capillary

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/imagepurge/imagepurge/jobs"
)

// roleVariable tells the test binary, started again, which part it plays.
const roleVariable = "CAPILLARY_TEST_ROLE"

// linkDown is how long the links stay down once all callers are gone. A packet that waits for its neighbour's
// address (ARP) is below TCP: the kernel keeps it for three seconds, whatever becomes of its connection.
const linkDown = 4500 * time.Millisecond

// lacking is what ip says where the kernel has no such links, or gives this user no right to make them.
var lacking = regexp.MustCompile("not permitted|not supported|Unknown device type")

// sending is a DELETE whose link is down at its write, and the end of its caller.
type sending struct {
	Customer int64
	Link     string // "near": this machine's own end is down; "far": the server's
	End      string // of the caller: "timeout", "cancelled", "killed", "frozen"
	Bounded  bool   // false: without the client's bounds on the kernel, to show that it would arrive
	URL      string
}

// timeout is the call's: the one that hides the other bound is out of the way.
func (s sending) timeout() time.Duration {
	if s.End == "cancelled" || s.End == "killed" {
		return time.Minute
	}
	return time.Second
}

// Nothing leaves this machine for a caller that is gone, though its kernel holds a DELETE that the server has not
// acknowledged: the link is down at the write, and comes up after the call was given up, or its process killed or
// frozen. By itself the kernel goes on sending for minutes.
func TestNothingLeavesOnceTheCallerIsGone(t *testing.T) {
	switch role := os.Getenv(roleVariable); role {
	case "":
		t.Parallel()
		inNamespace(t)
	case "world":
		sendWithoutLink(t)
	default:
		var s sending
		if _, err := fmt.Sscan(role, &s.Customer, &s.Link, &s.End, &s.Bounded, &s.URL); err != nil {
			t.Fatal(err)
		}
		send(t, s)
	}
}

// inNamespace runs the test once more, in a network of its own.
func inNamespace(t *testing.T) {
	if _, err := exec.LookPath("ip"); err != nil {
		t.Fatal("ip is missing, which makes the links: install iproute2")
	}
	world := playing(t, "world")
	world.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	if os.Geteuid() != 0 {
		world.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
		world.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}}
		world.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}}
	}
	out, err := world.CombinedOutput()
	switch {
	case errors.Is(err, syscall.EPERM), errors.Is(err, syscall.EINVAL), errors.Is(err, syscall.ENOSPC):
		t.Skipf("no network namespace may be made here (%v): this test wants root of the machine", err)
	case bytes.Contains(out, []byte("--- SKIP")):
		t.Skipf("no link may be made here; this test wants root of the machine:\n%s", out)
	case err != nil || !bytes.Contains(out, []byte("--- PASS")):
		t.Errorf("%v\n%s", err, out)
	}
}

// playing is this test binary, to be started in a part.
func playing(t *testing.T, role string) *exec.Cmd {
	self := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestNothingLeavesOnceTheCallerIsGone$", "-test.v")
	self.Env = append(os.Environ(), roleVariable+"="+role)
	return self
}

func ip(args string, values ...any) error {
	args = fmt.Sprintf(args, values...)
	if out, err := exec.Command("ip", strings.Fields(args)...).CombinedOutput(); err != nil {
		return fmt.Errorf("ip %s: %w\n%s", args, err, out)
	}
	return nil
}

// newNamespace is another network, and what runs a function on a thread in it.
func newNamespace(t *testing.T) (path string, within func(func() error) error) {
	calls, results := make(chan func() error), make(chan error)
	go func() {
		runtime.LockOSThread() // for good: the thread ends with the goroutine
		for f := range calls {
			results <- f()
		}
	}()
	t.Cleanup(func() { close(calls) })
	within = func(f func() error) error { calls <- f; return <-results }
	err := within(func() error {
		path = fmt.Sprintf("/proc/%d/task/%d/ns/net", os.Getpid(), unix.Gettid())
		return unix.Unshare(unix.CLONE_NEWNET)
	})
	if err != nil {
		t.Fatal(err)
	}
	return path, within
}

func sendWithoutLink(t *testing.T) {
	path, far := newNamespace(t)
	address := map[string]string{"near": "10.77.0", "far": "10.77.1"}
	for link, net := range address {
		err := ip("link add %s type veth peer name %s netns %s", link, link, path)
		if err != nil && lacking.MatchString(err.Error()) {
			t.Skip(err)
		}
		err = errors.Join(err,
			ip("address add %s.1/24 dev %s", net, link),
			ip("link set %s up", link),
			far(func() error {
				return errors.Join(ip("address add %s.2/24 dev %s", net, link), ip("link set %s up", link))
			}))
		if err != nil {
			t.Fatal(err)
		}
	}
	links := func(state string) {
		t.Helper()
		if err := errors.Join(ip("link set near %s", state), far(func() error { return ip("link set far %s", state) })); err != nil {
			t.Fatal(err)
		}
	}

	arrived := make(chan string, 100)
	server := &http.Server{ErrorLog: quiet, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodDelete {
			arrived <- strings.Split(r.URL.Path, "/")[3]
		}
		fmt.Fprint(w, noImages)
	})}
	var listener net.Listener
	err := far(func() (err error) {
		listener, err = net.Listen("tcp", "0.0.0.0:0") // a socket stays in the namespace that it was made in
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error)
	go func() { served <- server.Serve(listener) }()
	defer func() { _ = server.Close(); <-served }()

	var senders []*sender
	sendings := map[string]sending{}
	for link := range address {
		for _, end := range []string{"timeout", "cancelled", "killed", "frozen"} {
			for _, bounded := range []bool{true, false} {
				s := sending{int64(len(senders) + 1), link, end, bounded,
					fmt.Sprintf("http://%s.2:%d", address[link], listener.Addr().(*net.TCPAddr).Port)}
				sendings[strconv.FormatInt(s.Customer, 10)] = s
				senders = append(senders, start(t, s))
			}
		}
	}
	for _, s := range senders {
		s.expect("ready")
	}
	links("down")
	began := time.Now()
	for _, s := range senders {
		fmt.Fprintln(s.in, "go")
	}
	for _, s := range senders {
		s.leave()
	}
	t.Logf("all callers are gone after %v", time.Since(began))

	select {
	case who := <-arrived:
		t.Fatalf("%+v arrived without a link", sendings[who])
	case <-time.After(linkDown):
	}
	links("up")
	unbounded := len(senders) / 2
	end := time.After(time.Minute)
	for {
		select {
		case who := <-arrived:
			t.Logf("%v after its write: %+v", time.Since(began).Round(time.Millisecond), sendings[who])
			if sendings[who].Bounded {
				t.Errorf("arrived for a caller that was gone: %+v", sendings[who])
			} else if unbounded--; unbounded == 0 {
				end = time.After(time.Second) // all were written at one time, and are sent again at one time
			}
		case <-end:
			if unbounded > 0 {
				t.Errorf("%d that nothing holds back did not arrive: this says nothing of the others", unbounded)
			}
			return
		}
	}
}

// sender is a process that makes one call.
type sender struct {
	t *testing.T
	sending
	process *exec.Cmd
	in      io.Writer
	out     *bufio.Reader
}

func start(t *testing.T, what sending) *sender {
	s := &sender{t: t, sending: what, process: playing(t, strings.Trim(fmt.Sprint(what), "{}"))}
	in, err := s.process.StdinPipe()
	out, err2 := s.process.StdoutPipe()
	s.process.Stderr = os.Stderr
	if err := errors.Join(err, err2, s.process.Start()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.process.Process.Kill(); _ = s.process.Wait() })
	s.in, s.out = in, bufio.NewReader(out)
	return s
}

// expect waits for a word of the process.
func (s *sender) expect(word string) {
	s.t.Helper()
	for {
		line, err := s.out.ReadString('\n')
		if err != nil {
			s.t.Fatalf("%+v: waits for %q: %v", s.sending, word, err)
		}
		if strings.TrimSpace(line) == word {
			return
		}
	}
}

// leave is the end of the caller, after its write.
func (s *sender) leave() {
	s.t.Helper()
	s.expect("written")
	var err error
	switch s.End {
	case "killed":
		err = s.process.Process.Kill()
		_ = s.process.Wait()
	case "frozen":
		err = s.process.Process.Signal(syscall.SIGSTOP)
	case "cancelled":
		_, err = fmt.Fprintln(s.in, "cancel")
		s.expect("over")
	case "timeout":
		s.expect("over")
	}
	if err != nil {
		s.t.Fatal(err)
	}
}

// announced is a connection that says on stdout when the kernel has taken a DELETE.
type announced struct{ *net.TCPConn }

func (a announced) Write(p []byte) (int, error) {
	n, err := a.TCPConn.Write(p)
	if err == nil && bytes.HasPrefix(p, []byte("DELETE")) {
		fmt.Println("written")
	}
	return n, err
}

// send is the process that makes the call.
func send(t *testing.T, s sending) {
	o := options(s.URL)
	o.AllowPlainHTTP = true
	o.RequestTimeout = s.timeout()
	o.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := new(net.Dialer).DialContext(ctx, network, address)
		if err != nil {
			return nil, err
		}
		if !s.Bounded {
			return struct{ net.Conn }{announced{conn.(*net.TCPConn)}}, nil
		}
		return announced{conn.(*net.TCPConn)}, nil
	}
	c := newClient(t, o)
	expect(t, c.List(t.Context(), customer(7)), jobs.ClassListed, 200, "") // so that the connection is there
	fmt.Println("ready")
	in := bufio.NewReader(os.Stdin)
	_, _ = in.ReadString('\n')
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	rest := make(chan struct{})
	go func() {
		_, _ = in.ReadString('\n')
		cancel()
		close(rest)
	}()
	c.Delete(ctx, permit(s.Customer))
	fmt.Println("over")
	<-rest
	_, _ = in.ReadString('\n') // never: the process is killed, and must not die before
}
