package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	xterm "golang.org/x/term"

	"github.com/imagepurge/imagepurge/internal/settings"
	"github.com/imagepurge/imagepurge/internal/term"
	"github.com/imagepurge/imagepurge/repository"
)

// Exit statuses; docs and `imagepurge help exit-codes` say the same.
const (
	exitOK       = 0
	exitFailed   = 1 // the command could not do its work
	exitUsage    = 2
	exitSomeLeft = 3 // it did its work, and some tasks failed or wait for a person
	exitINT      = 130
	exitTERM     = 143
)

// app is what every command has at hand.
type app struct {
	environ []string
	stdin   io.Reader
	out     *term.Output
	now     func() time.Time

	// flags of all commands
	configFile string
	format     string // table or json
	yes        bool
	noColor    bool
	allowPlain bool
	wait       time.Duration

	began bool // a command's own work has begun: errors are no longer of usage
}

// usageError is a wrong call: exit status 2.
type usageError struct{ err error }

func (e *usageError) Error() string { return e.err.Error() }
func (e *usageError) Unwrap() error { return e.err }

func usagef(format string, args ...any) error { return &usageError{fmt.Errorf(format, args...)} }

// hintedError says what to type next.
type hintedError struct {
	err  error
	hint string
}

func (e *hintedError) Error() string { return e.err.Error() }
func (e *hintedError) Unwrap() error { return e.err }

func hint(err error, format string, args ...any) error {
	return &hintedError{err, fmt.Sprintf(format, args...)}
}

// statusError ends with a status and says nothing more.
type statusError int

func (e statusError) Error() string { return "exit status " + strconv.Itoa(int(e)) }

// run is the whole program: its result is the exit status.
func run(ctx context.Context, args, environ []string, stdin io.Reader, stdout, stderr io.Writer) int {
	a := &app{environ: environ, stdin: stdin, now: time.Now}
	a.out = term.New(stdout, stderr, a.getenv)
	root := a.root()
	root.SetArgs(args)
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	return a.explain(err)
}

// explain prints an error and its hint, and chooses the exit status.
func (a *app) explain(err error) int {
	if err == nil {
		return exitOK
	}
	if s := statusError(0); errors.As(err, &s) {
		return int(s)
	}
	fmt.Fprintf(a.out.Err, "imagepurge: error: %v\n", err)
	var (
		h      *hintedError
		schema *repository.SchemaError
		right  *repository.RightError
		yes    *term.NeedYesError
		usage  *usageError
	)
	if errors.As(err, &h) {
		fmt.Fprintf(a.out.Err, "imagepurge: hint: %s\n", h.hint)
	}
	if errors.As(err, &right) {
		fmt.Fprintf(a.out.Err, "imagepurge: hint: the schema's owner mends it with: %s\n", right.Mend)
	}
	switch {
	case errors.As(err, &usage), errors.As(err, &yes):
		return exitUsage
	case errors.As(err, &schema):
		return exitFailed
	case !a.began:
		fmt.Fprintln(a.out.Err, "imagepurge: hint: imagepurge --help")
		return exitUsage
	case errors.Is(err, term.ErrDeclined):
		return exitFailed
	}
	return exitFailed
}

func (a *app) getenv(name string) string {
	for i := len(a.environ) - 1; i >= 0; i-- {
		if k, v, ok := strings.Cut(a.environ[i], "="); ok && k == name {
			return v
		}
	}
	return ""
}

func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "imagepurge",
		Short: "Purge customers' images from Capillary, in batches, at night, and never the wrong image",
		Long: `imagepurge deletes the images of loyalty customers through the Capillary API, from
a table of tasks, within the allowed calls per minute, and writes down what happened.

  imagepurge demo                       everything, with nothing prepared
  imagepurge enqueue customers.csv      take in a list of customers
  imagepurge run                        work, in the windows of the schedule`,
		Example:           "  imagepurge demo\n  imagepurge enqueue --dry-run ten-customers.csv\n  imagepurge run --once",
		SilenceErrors:     true,
		SilenceUsage:      true,
		PersistentPreRunE: func(*cobra.Command, []string) error { return a.begin() },
		CompletionOptions: cobra.CompletionOptions{HiddenDefaultCmd: false},
	}
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return &usageError{hint(err, "%s --help", cmd.CommandPath())}
	})
	f := root.PersistentFlags()
	f.StringVar(&a.configFile, "config", "", "settings `file` (IMAGEPURGE_CONFIG)")
	f.StringVarP(&a.format, "output", "o", "table", "`form` of what is printed: table or json")
	f.BoolVarP(&a.yes, "yes", "y", false, "don't ask before doing it")
	f.BoolVar(&a.noColor, "no-color", false, "no colour (NO_COLOR)")
	f.BoolVar(&a.allowPlain, "allow-plain-http", false, "allow http:// for hosts other than this machine")
	f.DurationVar(&a.wait, "wait", 0, "how long to wait for the database to come up")

	root.AddGroup(&cobra.Group{ID: "work", Title: "Work:"}, &cobra.Group{ID: "look", Title: "Look:"}, &cobra.Group{ID: "decide", Title: "Decide:"}, &cobra.Group{ID: "set", Title: "Set up and try:"})
	root.SetHelpCommandGroupID("set")
	root.SetCompletionCommandGroupID("set")
	add := func(group string, commands ...*cobra.Command) {
		for _, c := range commands {
			c.GroupID = group
			root.AddCommand(c)
		}
	}
	add("work", a.enqueueCommand(), a.runCommand())
	add("look", a.statusCommand(), a.batchCommand(), a.taskCommand(), a.customerCommand(), a.reportCommand(), a.scheduleCommand())
	add("decide", a.pauseCommand(), a.resumeCommand(), a.orgCommand())
	add("set", a.demoCommand(), a.migrateCommand(), a.doctorCommand(), a.sandboxCommand(), a.versionCommand())
	root.AddCommand(&cobra.Command{Use: "exit-codes", Short: "What the exit status says", Long: exitCodes})
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd()
	for _, c := range root.Commands() {
		switch c.Name() { // cobra's own
		case "help":
			c.Example = "  imagepurge help enqueue"
		case "completion":
			c.Example = "  source <(imagepurge completion bash)"
		}
	}
	return root
}

const exitCodes = `0        all well
1        the command could not do its work (settings, database, credentials)
2        wrong usage
3        it did its work, and some tasks failed or wait for a person
130, 143 interrupted (Ctrl-C, SIGTERM) after an orderly stop: nothing in doubt was left unrecorded`

func (a *app) begin() error {
	switch a.format {
	case "table", "json":
	default:
		return usagef("--output is table or json, not %q", a.format)
	}
	if a.noColor {
		a.out.Color = false
	}
	a.began = true
	return nil
}

// exactly wants n arguments and says which.
func exactly(n int, what string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) != n {
			return &usageError{hint(fmt.Errorf("%s takes %s", cmd.CommandPath(), what), "%s --help", cmd.CommandPath())}
		}
		return nil
	}
}

func id(what, s string) (int64, error) {
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n <= 0 {
		return 0, usagef("a %s is a positive number, not %q", what, s)
	}
	return n, nil
}

// load reads the settings and prints what is odd about them.
func (a *app) load() (settings.Settings, error) {
	s, err := settings.Load(settings.Source{Environ: a.environ, File: a.configFile, ReadFile: os.ReadFile, AllowPlainHTTP: a.allowPlain, Now: a.now()})
	for _, w := range s.Warnings { // first: a mistyped name often explains a fault
		a.note("imagepurge: warning: %s", w)
	}
	return s, err
}

// logger writes to stderr: text for people, JSON for machines.
func (a *app) logger(s settings.Settings, w io.Writer, least slog.Level) *slog.Logger {
	var level slog.Level
	if err := level.UnmarshalText([]byte(s.LogLevel)); err != nil {
		level = slog.LevelInfo
	}
	if !s.Given["IMAGEPURGE_LOG_LEVEL"] {
		level = max(level, least)
	}
	o := &slog.HandlerOptions{Level: level}
	if s.LogFormat == "json" || s.LogFormat == "" && !a.out.IsTerminal {
		return slog.New(slog.NewJSONHandler(w, o))
	}
	return slog.New(slog.NewTextHandler(w, o))
}

// confirm says what will be done and asks.
func (a *app) confirm(question string) error {
	return term.Confirm(a.stdin, a.out, question, a.yes, isTerminal(a.stdin))
}

func isTerminal(r any) bool {
	f, ok := r.(*os.File)
	return ok && xterm.IsTerminal(int(f.Fd()))
}

// print writes v as JSON, or lets table write it for people.
func (a *app) print(v any, table func(io.Writer) error) error {
	if a.format == "json" {
		return term.JSON(a.out.Out, v)
	}
	return table(a.out.Out)
}

// note tells something on stderr.
func (a *app) note(format string, args ...any) { fmt.Fprintf(a.out.Err, format+"\n", args...) }

func orDash[T any](p *T) string {
	if p == nil {
		return "-"
	}
	return fmt.Sprint(*p)
}

func when(t *time.Time) string {
	if t == nil {
		return "-"
	}
	return term.Time(*t, nil)
}
