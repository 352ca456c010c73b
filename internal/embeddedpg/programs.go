package embeddedpg

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
)

// programs is a folder that has both postgres and initdb.
type programs struct {
	dir     string
	version string // as in 15.12
	major   int
}

// BinDirError: the folder that the user named does not hold usable programs.
// Nothing else is tried then.
type BinDirError struct {
	Dir string
	Err error
}

func (e *BinDirError) Error() string {
	return fmt.Sprintf("IMAGEPURGE_PG_BIN=%s: %v", e.Dir, e.Err)
}

func (e *BinDirError) Unwrap() error { return e.Err }

// Place is one place that was looked at for programs, and why it did not do.
type Place struct {
	Where, Why string
}

// NotFoundError: no PostgreSQL could be had. Its text lists every place looked
// at and a command for every way out.
type NotFoundError struct {
	Looked []Place
	// Major is the version that existing data needs; 0: any from OldestMajor on.
	Major int
	Err   error // of the download, if there was one
}

func (e *NotFoundError) Error() string {
	var b strings.Builder
	b.WriteString("no PostgreSQL server found")
	if e.Major != 0 {
		fmt.Fprintf(&b, " of version %d, which wrote the existing data", e.Major)
	}
	b.WriteString(". Looked at: ")
	for i, p := range e.Looked {
		if i > 0 {
			b.WriteString(", ")
		}
		fmt.Fprintf(&b, "%s (%s)", p.Where, oneLine(p.Why))
	}
	debian, brew := "postgresql", "postgresql@17"
	if e.Major != 0 {
		debian, brew = fmt.Sprintf("postgresql-%d", e.Major), fmt.Sprintf("postgresql@%d", e.Major)
	}
	fmt.Fprintf(&b, `
Do one of:
  %-35s (Debian/Ubuntu; the service need not run)
  %-35s (macOS)
  docker compose up -d postgres && export DATABASE_URL=postgres://...`,
		"apt-get install "+debian, "brew install "+brew)
	return b.String()
}

func (e *NotFoundError) Unwrap() error { return e.Err }

// wellKnown are the folders that distributions use, best first.
var wellKnown = map[string][]string{
	"linux": {"/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin", "/usr/libexec/postgresql*", "/usr/lib/postgresql*/bin", "/usr/local/pgsql/bin"},
	"darwin": {"/opt/homebrew/opt/postgresql@*/bin", "/usr/local/opt/postgresql@*/bin",
		"/Applications/Postgres.app/Contents/Versions/*/bin", "/Library/PostgreSQL/*/bin"},
	"windows": {`C:\Program Files\PostgreSQL\*\bin`},
}

// findPrograms looks in the order of the package's promises: the folder named,
// PATH, pg_config, the well-known folders newest first, our cache, a download.
// major is the version that existing data needs, 0 if there is none.
func findPrograms(ctx context.Context, opts Options, acct *account, major int) (programs, error) {
	if opts.BinDir != "" {
		progs, err := tryPrograms(ctx, opts.BinDir, acct)
		if err == nil && major != 0 && progs.major != major {
			err = fmt.Errorf("it has PostgreSQL %s; the existing data was written by version %d", progs.version, major)
		}
		if err != nil {
			return programs{}, &BinDirError{Dir: opts.BinDir, Err: err}
		}
		return progs, nil
	}

	notFound := &NotFoundError{Major: major, Looked: []Place{{"$IMAGEPURGE_PG_BIN", "unset"}}}
	miss := func(where, why string) { notFound.Looked = append(notFound.Looked, Place{where, why}) }
	// consider tries a folder, and notes why it does not do.
	consider := func(where, dir string) (programs, bool) {
		progs, err := tryPrograms(ctx, dir, acct)
		if err == nil && major != 0 && progs.major != major {
			err = fmt.Errorf("version %s", progs.version)
		}
		if err != nil {
			miss(where, err.Error())
			return programs{}, false
		}
		return progs, true
	}

	if path := lookPath(opts.Getenv("PATH"), "postgres"); path == "" {
		miss("PATH", "no postgres")
	} else if progs, ok := consider("PATH: "+filepath.Dir(path), filepath.Dir(path)); ok {
		return progs, nil
	}

	if path := lookPath(opts.Getenv("PATH"), "pg_config"); path == "" {
		miss("pg_config", "not on PATH")
	} else if out, err := exec.CommandContext(ctx, path, "--bindir").Output(); err != nil {
		miss("pg_config", err.Error())
	} else if progs, ok := consider("pg_config --bindir", strings.TrimSpace(string(out))); ok {
		return progs, nil
	}

	patterns := opts.folders
	if patterns == nil {
		patterns = wellKnown[runtime.GOOS]
	}
	for _, pattern := range patterns {
		dirs, _ := filepath.Glob(pattern)
		if len(dirs) == 0 {
			miss(pattern, "none")
			continue
		}
		for _, dir := range newestFirst(dirs) {
			if progs, ok := consider(dir, dir); ok {
				return progs, nil
			}
		}
	}

	if err := ctx.Err(); err != nil {
		return programs{}, err // what was missed above says nothing
	}
	progs, where, err := opts.Download.get(ctx, opts, acct, major)
	if err != nil {
		miss(where, err.Error())
		notFound.Err = err
		return programs{}, notFound
	}
	return progs, nil
}

// tryPrograms says what a folder holds. Links are resolved first, and both
// programs must be in the folder where postgres really is: initdb looks for
// postgres beside itself.
func tryPrograms(ctx context.Context, dir string, acct *account) (programs, error) {
	postgres, err := filepath.EvalSymlinks(filepath.Join(dir, "postgres"+exe))
	if err != nil {
		return programs{}, missing("postgres", err)
	}
	dir, err = filepath.Abs(filepath.Dir(postgres))
	if err != nil {
		return programs{}, err
	}
	if _, err := os.Stat(filepath.Join(dir, "initdb"+exe)); err != nil {
		return programs{}, missing("initdb beside "+postgres, err)
	}
	progs := programs{dir: dir}
	out, err := progs.output(ctx, acct, string(os.PathSeparator), "postgres", "--version")
	if err != nil {
		return programs{}, err
	}
	if progs.version, progs.major, err = parseVersion(out); err != nil {
		return programs{}, err
	}
	if progs.major < OldestMajor {
		return programs{}, fmt.Errorf("version %s; %d or newer is needed", progs.version, OldestMajor)
	}
	return progs, nil
}

func missing(what string, err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("no %s", what)
	}
	return err
}

// parseVersion reads "postgres (PostgreSQL) 15.12 (Debian …)"; a development
// version is "18beta1" or "19devel".
func parseVersion(out string) (version string, major int, err error) {
	_, rest, found := strings.Cut(out, "(PostgreSQL) ")
	fields := strings.Fields(rest)
	if !found || len(fields) == 0 {
		return "", 0, fmt.Errorf("postgres --version says %q", oneLine(out))
	}
	numbers := versionNumbers(fields[0])
	if len(numbers) == 0 {
		return "", 0, fmt.Errorf("postgres --version says %q", oneLine(out))
	}
	return fields[0], numbers[0], nil
}

// newestFirst sorts folders by the numbers in their paths: as text 9.6 would
// come after 15.
func newestFirst(dirs []string) []string {
	slices.SortStableFunc(dirs, func(a, b string) int {
		return slices.Compare(versionNumbers(b), versionNumbers(a))
	})
	return dirs
}

// versionNumbers are all numbers in text, in order.
func versionNumbers(text string) []int {
	var numbers []int
	for _, field := range strings.FieldsFunc(text, func(r rune) bool { return r < '0' || r > '9' }) {
		if n, err := strconv.Atoi(field); err == nil {
			numbers = append(numbers, n)
		}
	}
	return numbers
}

// lookPath is exec.LookPath over a PATH that is handed in. Relative entries are
// passed over, as os/exec does.
func lookPath(path, name string) string {
	for _, dir := range filepath.SplitList(path) {
		if !filepath.IsAbs(dir) {
			continue
		}
		file := filepath.Join(dir, name+exe)
		if fi, err := os.Stat(file); err == nil && !fi.IsDir() && (exe != "" || fi.Mode()&0o111 != 0) {
			return file
		}
	}
	return ""
}

// output runs one program in a folder and returns what it printed.
func (p programs) output(ctx context.Context, acct *account, dir, name string, args ...string) (string, error) {
	cmd := command(filepath.Join(p.dir, name+exe), acct, DieAtOnce, args...)
	cmd.Dir = dir
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	proc, err := startProcess(cmd)
	if err != nil {
		return "", explainStart(err, cmd.Path, acct)
	}
	select {
	case <-proc.exited:
	case <-ctx.Done():
		proc.kill()
		return "", ctx.Err()
	}
	if proc.err != nil {
		return "", fmt.Errorf("%s: %w: %s", name, proc.err, strings.TrimSpace(out.String()))
	}
	return out.String(), nil
}

// enter tries whether the server's account can enter dir: the kernel knows
// about modes, access lists and mounts, we would only guess.
func (p programs) enter(ctx context.Context, acct *account, dir string) error {
	if acct == nil {
		return nil
	}
	_, err := p.output(ctx, acct, dir, "postgres", "--version")
	if errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("folder %s cannot be entered by user %s, whom a server started by root runs as", dir, acct.name)
	}
	return err
}

// postgres starts the server itself, not pg_ctl: that would detach it.
func (p programs) postgres(acct *account, args []string, log *os.File, death ParentDeath) (*process, error) {
	cmd := command(filepath.Join(p.dir, "postgres"+exe), acct, death, args...)
	cmd.Stdout, cmd.Stderr = log, log
	proc, err := startProcess(cmd)
	if err != nil {
		return nil, explainStart(err, cmd.Path, acct)
	}
	return proc, nil
}

// explainStart says what is behind a bare "operation not permitted".
func explainStart(err error, path string, acct *account) error {
	switch {
	case acct == nil:
		return err
	case isEPERM(err):
		return fmt.Errorf("this system does not let root start a program as user %s (%w); PostgreSQL refuses to run as root: start imagepurge as an ordinary user or set DATABASE_URL", acct.name, err)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("user %s, whom a server started by root runs as, cannot run %s: %w", acct.name, path, err)
	}
	return err
}
