package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// memory is what a test may address: a mutant may allocate without end.
const memory = 16 << 20 // KiB

// suite is the tests of one package, as they ran without a mutant.
type suite struct {
	program
	fast []string      // top-level tests, which run first
	slow []string      // the others
	out  []string      // left out: each takes longer than the limit
	took time.Duration // all that run
	cpu  time.Duration // of the whole run: a mutant's time is measured by it, for a machine may be busy
}

type runner struct {
	root    string
	dir     string // for binaries and overlays
	perTest time.Duration
	timeout time.Duration // of a package's tests, for those that wait for ever
}

// overlay writes files of the module as they are to be, and the list that go build
// takes.
func (r *runner) overlay(name string, files map[string][]byte) (list string, err error) {
	replace := make(map[string]string)
	for file, text := range files {
		path := filepath.Join(r.dir, name+"_"+strings.ReplaceAll(file, "/", "_"))
		if err := os.WriteFile(path, text, 0o600); err != nil {
			return "", err
		}
		replace[filepath.Join(r.root, filepath.FromSlash(file))] = path
	}
	b, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		return "", err
	}
	list = filepath.Join(r.dir, name+".json")
	return list, os.WriteFile(list, b, 0o600)
}

// program is a package's tests, built with an overlay.
type program struct {
	pkg, binary, overlay string
	rapid                bool
}

func (r *runner) build(ctx context.Context, pkg, name, overlay string) (program, error) {
	p := program{pkg: pkg, binary: filepath.Join(r.dir, name+"_"+strings.ReplaceAll(pkg, "/", "_")+".test"), overlay: overlay}
	cmd := exec.CommandContext(ctx, "go", "test", "-c", "-vet=off", "-overlay", overlay, "-o", p.binary, "./"+pkg)
	cmd.Dir = r.root
	if out, err := cmd.CombinedOutput(); err != nil {
		return program{}, fmt.Errorf("build the tests of %s: %w\n%s", pkg, err, tail(string(out)))
	}
	usage, _ := exec.CommandContext(ctx, p.binary, "-h").CombinedOutput()
	p.rapid = bytes.Contains(usage, []byte("-rapid.seed"))
	return p, nil
}

// run runs tests in their package's folder. What is random is fixed, so that a mutant
// is killed twice, or never.
func (r *runner) run(ctx context.Context, p program, active int, cpu time.Duration, args ...string) (string, time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, r.timeout+10*time.Second)
	defer cancel()
	args = append(args, "-test.timeout", r.timeout.String())
	if p.rapid {
		args = append(args, "-rapid.seed=1", "-rapid.nofailfile", "-rapid.shrinktime=0s")
	}
	limits := fmt.Sprintf(`ulimit -v %d && ulimit -t %d && exec "$0" "$@"`, memory, int(cpu.Seconds()))
	cmd := exec.CommandContext(ctx, "sh", append([]string{"-c", limits, p.binary}, args...)...)
	cmd.Dir = filepath.Join(r.root, filepath.FromSlash(p.pkg))
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // its children end with it
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = time.Second
	// Programs that the tests build have the fault, too.
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%d", activeMutant, active), "GOFLAGS=-overlay="+p.overlay)
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	switch {
	case err != nil && !errors.As(err, &exit): // it was not begun
		return string(out), 0, err
	case err == nil:
		return string(out), cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime(), nil
	}
	used := exit.UserTime() + exit.SystemTime()
	switch {
	case bytes.Contains(out, []byte("panic: test timed out")), errors.Is(ctx.Err(), context.DeadlineExceeded), used > cpu-2*time.Second:
		err = errTimedOut
	case !exit.Exited():
		return string(out), used, fmt.Errorf("the machine ended it: %w", err)
	default:
		err = errFailed
	}
	return string(out), used, err
}

var errFailed, errTimedOut = errors.New("a test failed"), errors.New("timed out")

var (
	passed  = regexp.MustCompile(`(?m)^--- PASS: (\w+) \(([\d.]+)s\)`)
	failed  = regexp.MustCompile(`(?m)^\s*--- FAIL: (\S+)`)
	running = regexp.MustCompile(`(?m)^\t(Test\w+|Fuzz\w+)\S* \(`)
	invalid = regexp.MustCompile(`SQLSTATE (42601|42P\d\d|42702|42703|42804|42883|42P18)`)
)

// baseline runs the tests of a package with no mutant active, and sorts them: the fast
// ones come first, what takes too long is left out.
func (r *runner) baseline(ctx context.Context, k killer, overlay string) (suite, error) {
	p, err := r.build(ctx, k.pkg, "woven", overlay)
	if err != nil {
		return suite{}, err
	}
	out, cpu, err := r.run(ctx, p, 0, time.Hour, "-test.v", "-test.run", k.tests)
	if err != nil {
		return suite{}, fmt.Errorf("the tests of %s fail without a mutant: %w\n%s", k.pkg, err, tail(out))
	}
	s := suite{program: p, cpu: cpu}
	type timed struct {
		name string
		took time.Duration
	}
	var tests []timed
	for _, m := range passed.FindAllStringSubmatch(out, -1) {
		seconds, _ := strconv.ParseFloat(m[2], 64)
		tests = append(tests, timed{m[1], time.Duration(seconds * float64(time.Second))})
	}
	slices.SortStableFunc(tests, func(a, b timed) int { return int(a.took - b.took) })
	for _, t := range tests {
		switch {
		case t.took > r.perTest:
			s.out = append(s.out, t.name)
			continue
		case t.took < 300*time.Millisecond:
			s.fast = append(s.fast, t.name)
		default:
			s.slow = append(s.slow, t.name)
		}
		s.took += t.took
	}
	return s, nil
}

// verdict is what became of a mutant.
type verdict struct {
	Result string        `json:"result"` // one of the results below
	By     string        `json:"by,omitempty"`
	Took   time.Duration `json:"took"`
}

const (
	killed   = "killed"
	survived = "survived"
	timedOut = "timed out"
	broken   = "does not run" // it does not compile, or is no SQL
)

// try runs the tests that should kill a mutant, until one does. A mutant that no
// switch can choose gets a build of its own.
func (r *runner) try(ctx context.Context, name string, m mutant, active int, src []byte, suites []suite) (verdict, error) {
	began := time.Now()
	end := func(result, by string) (verdict, error) {
		return verdict{result, by, time.Since(began).Round(time.Millisecond)}, ctx.Err()
	}
	alone := ""
	if active == 0 {
		var err error
		if alone, err = r.overlay(name, map[string][]byte{m.File: m.apply(src)}); err != nil {
			return verdict{}, err
		}
	}
	for _, s := range suites {
		p := s.program
		if alone != "" {
			var err error
			if p, err = r.build(ctx, s.pkg, name, alone); err != nil {
				return end(broken, "")
			}
		}
		for _, tests := range [][]string{s.fast, s.slow} {
			if len(tests) == 0 {
				continue
			}
			out, _, err := r.run(ctx, p, active, 10*time.Second+10*s.cpu, "-test.failfast", "-test.run", "^("+strings.Join(tests, "|")+")$")
			if err == nil {
				continue
			}
			if !errors.Is(err, errFailed) && !errors.Is(err, errTimedOut) {
				return verdict{}, err
			}
			if invalid.MatchString(out) {
				return end(broken, "")
			}
			by := ""
			if all := failed.FindAllStringSubmatch(out, -1); len(all) > 0 {
				by = all[0][1]
			} else if at := running.FindStringSubmatch(out); at != nil {
				by = at[1]
			}
			if errors.Is(err, errTimedOut) {
				return end(timedOut, s.pkg+" "+by)
			}
			return end(killed, s.pkg+" "+by)
		}
	}
	return end(survived, "")
}

func tail(out string) string {
	lines := strings.Split(strings.TrimSpace(out), "\n")
	return strings.Join(lines[max(0, len(lines)-20):], "\n")
}
