package main_test

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

// process is a program that runs.
type process struct {
	w           *world
	args        []string
	cmd         *exec.Cmd
	out, errOut *output
	done        chan struct{} // closed once it has ended
	began       time.Time
	took        time.Duration
}

// output can be read while it is written.
type output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

// start runs imagepurge without waiting for it.
func (w *world) start(args ...string) *process { w.Helper(); return w.startWith(nil, args...) }

func (w *world) startWith(stdin []byte, args ...string) *process {
	w.Helper()
	cmd := exec.Command(program, args...)
	if stdin != nil {
		cmd.Stdin = bytes.NewReader(stdin)
	}
	return w.startCmd(cmd)
}

// startCmd starts a command in the world's folder, with its environment alone.
func (w *world) startCmd(cmd *exec.Cmd) *process {
	w.Helper()
	p := &process{w: w, args: cmd.Args[1:], cmd: cmd, out: &output{}, errOut: &output{}, done: make(chan struct{}), began: time.Now()}
	for _, k := range slices.Sorted(maps.Keys(w.env)) {
		p.cmd.Env = append(p.cmd.Env, k+"="+w.env[k])
	}
	p.cmd.Dir, p.cmd.Stdout, p.cmd.Stderr = w.dir, p.out, p.errOut
	if err := p.cmd.Start(); err != nil {
		w.Fatal(err)
	}
	go func() {
		_ = p.cmd.Wait() // its status is read from the process's state
		p.took = time.Since(p.began)
		close(p.done)
	}()
	w.Cleanup(func() {
		select {
		case <-p.done:
		default:
			p.signal(syscall.SIGCONT)
			p.signal(syscall.SIGKILL)
			<-p.done
		}
		if w.Failed() && os.Getenv("IMAGEPURGE_TEST_VERBOSE") != "" {
			w.Logf("%s", p)
		}
	})
	return p
}

func (p *process) String() string {
	return fmt.Sprintf("imagepurge %s\nstdout:\n%s\nstderr:\n%s", strings.Join(p.args, " "), tail(p.out.String()), tail(p.errOut.String()))
}

func tail(s string) string {
	const most = 6000
	if len(s) > most {
		return "…" + s[len(s)-most:]
	}
	return s
}

func (p *process) signal(s syscall.Signal) {
	if err := p.cmd.Process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		p.w.Errorf("signal %v: %v", s, err)
	}
}

// running says whether it has not ended.
func (p *process) running() bool {
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// ended is what a program left.
type ended struct {
	out, err string
	status   int // -1: by a signal
	took     time.Duration
	args     []string
}

func (e ended) String() string {
	return fmt.Sprintf("imagepurge %s\nexit status %d after %v\nstdout:\n%s\nstderr:\n%s", strings.Join(e.args, " "), e.status, e.took, tail(e.out), tail(e.err))
}

// wait waits for the end, and looks through all that was written for secrets.
func (p *process) wait() ended {
	p.w.Helper()
	select {
	case <-p.done:
	case <-time.After(patience):
		p.signal(syscall.SIGQUIT) // its goroutines go to stderr
		select {
		case <-p.done:
		case <-time.After(5 * time.Second):
		}
		p.w.Fatalf("did not end within %v: %s", patience, p)
	}
	e := ended{out: p.out.String(), err: p.errOut.String(), status: p.cmd.ProcessState.ExitCode(), took: p.took, args: p.args}
	for _, s := range p.w.secretsIn(e.out + e.err) {
		p.w.Errorf("a secret (%s) was written by %s", s, e)
	}
	return e
}

// run runs imagepurge to its end.
func (w *world) run(args ...string) ended { w.Helper(); return w.start(args...).wait() }

// must runs imagepurge and wants an exit status.
func (w *world) must(status int, args ...string) ended {
	w.Helper()
	e := w.run(args...)
	if e.status != status {
		w.Fatalf("want exit status %d: %s", status, e)
	}
	return e
}

// peak is the most memory that a running program has had so far, in kB; 0 once it
// has ended. What the kernel counts at the end holds the test's own memory.
func (p *process) peak() (kB int) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		return 0
	}
	if _, after, ok := strings.Cut(string(status), "VmHWM:"); ok {
		_, _ = fmt.Sscan(after, &kB)
	}
	return kB
}
