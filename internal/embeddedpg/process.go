package embeddedpg

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"time"
)

// stopMode is PostgreSQL's way of ending.
type stopMode int

const (
	stopFast      stopMode = iota // breaks connections, writes a checkpoint
	stopImmediate                 // no checkpoint: recovery at the next start
	stopKill                      // not its choice
)

// process is a child that is waited for.
type process struct {
	cmd    *exec.Cmd
	exited chan struct{}
	err    error // of Wait; valid once exited is closed
}

// startProcess starts cmd and waits for it in a goroutine of its own.
//
// The parent-death signal fires when the THREAD that forked ends, not the
// process (golang/go 27505). So the goroutine keeps its thread to itself, and
// stays until the child has ended; being still locked when it returns, the
// thread ends with it.
func startProcess(cmd *exec.Cmd) (*process, error) {
	p := &process{cmd: cmd, exited: make(chan struct{})}
	started := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		err := cmd.Start()
		started <- err
		if err != nil {
			return
		}
		p.err = cmd.Wait()
		close(p.exited)
	}()
	if err := <-started; err != nil {
		return nil, err
	}
	return p, nil
}

// stop ends the process and waits for it. If ctx ends first it is ended without
// a checkpoint, and killed after 5 s more; the error then says so.
func (p *process) stop(ctx context.Context, mode stopMode) error {
	select {
	case <-p.exited:
		return nil
	default:
	}
	if err := p.signal(mode); err != nil {
		p.kill()
		return fmt.Errorf("stop the server: %w", err)
	}
	select {
	case <-p.exited:
		return nil
	case <-ctx.Done():
	}
	_ = p.signal(stopImmediate)
	select {
	case <-p.exited:
	case <-time.After(5 * time.Second):
		p.kill()
	}
	return fmt.Errorf("the server was ended without a checkpoint: %w", ctx.Err())
}

// kill kills the process and waits for it.
func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	<-p.exited
}

func (p *process) describeExit() string {
	if p.err == nil {
		return "exit status 0"
	}
	return p.err.Error()
}

// command prepares one of the programs: in a folder that every account can
// enter, in a process group of its own (Ctrl-C at the terminal is for us, we
// stop the server last), and with nothing of our environment (PG* variables
// would change what it does, secrets are none of its business).
func command(path string, acct *account, death ParentDeath, args ...string) *exec.Cmd {
	cmd := exec.Command(path, args...)
	cmd.Dir = string(os.PathSeparator)
	cmd.Env = append([]string{"LC_ALL=C", "TZ=UTC", "PATH=/usr/bin:/bin"}, platformEnv()...)
	cmd.SysProcAttr = sysProcAttr(acct, death)
	return cmd
}
