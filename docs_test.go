package imagepurge_test

import (
	"bytes"
	"cmp"
	"context"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/imagepurge/imagepurge/internal/pgtest"
	"github.com/imagepurge/imagepurge/internal/settings"
	"github.com/imagepurge/imagepurge/jobs"
	"github.com/imagepurge/imagepurge/migrations"
)

// What the documents say is held to the program here.

var update = flag.Bool("update", false, "write docs/schema.sql anew")

func TestMain(m *testing.M) {
	flag.Parse()
	os.Exit(pgtest.Main(m, migrations.Fingerprint(), func(ctx context.Context, url string) error {
		_, err := migrations.Up(ctx, url)
		return err
	}))
}

// documents are all pages, by path.
func documents(t *testing.T) map[string]string {
	t.Helper()
	pages := map[string]string{}
	for _, pattern := range []string{"*.md", "docs/*.md", "docs/adr/*.md"} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			pages[filepath.ToSlash(f)] = read(t, f)
		}
	}
	if len(pages) < 8 {
		t.Fatalf("only %d pages were found", len(pages))
	}
	return pages
}

func read(t *testing.T, file string) string {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return strings.ReplaceAll(string(b), "\r\n", "\n")
}

// rows are the cells of all table rows of a page.
func rows(page string) (found [][]string) {
	for line := range strings.Lines(page) {
		line = strings.TrimSpace(line)
		if !strings.HasPrefix(line, "| ") {
			continue
		}
		cells := strings.Split(strings.Trim(strings.ReplaceAll(line, `\|`, "\x00"), "|"), "|")
		for i, c := range cells {
			cells[i] = strings.ReplaceAll(strings.TrimSpace(c), "\x00", "|")
		}
		found = append(found, cells)
	}
	return found
}

var (
	fenced      = regexp.MustCompile("(?ms)^```.*?^```")
	inBackticks = regexp.MustCompile("`([^`]+)`")
)

// code is what stands in backticks, outside of whole blocks.
func code(text string) (words []string) {
	for _, m := range inBackticks.FindAllStringSubmatch(fenced.ReplaceAllString(text, ""), -1) {
		words = append(words, m[1])
	}
	return words
}

var (
	link    = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	heading = regexp.MustCompile(`(?m)^#+ +(.+)$`)
	noSlug  = regexp.MustCompile(`[^a-z0-9 _-]`)
)

// anchors are the names under which a page's headings can be linked to.
func anchors(page string) (found []string) {
	for _, m := range heading.FindAllStringSubmatch(page, -1) {
		found = append(found, strings.ReplaceAll(noSlug.ReplaceAllString(strings.ToLower(m[1]), ""), " ", "-"))
	}
	return found
}

func TestLinksResolve(t *testing.T) {
	pages := documents(t)
	for file, page := range pages {
		for _, m := range link.FindAllStringSubmatch(page, -1) {
			if strings.Contains(m[1], "://") {
				continue
			}
			to, anchor, _ := strings.Cut(m[1], "#")
			target := file
			if to != "" {
				target = filepath.ToSlash(filepath.Join(filepath.Dir(file), to))
			}
			if _, err := os.Stat(target); err != nil {
				t.Errorf("%s links to %s, which isn't there.", file, m[1])
			}
			if anchor != "" && !slices.Contains(anchors(pages[target]), anchor) {
				t.Errorf("%s links to %s: %s has no such heading.", file, m[1], target)
			}
		}
	}
}

// typed are the command lines of a page's sh blocks, as words.
func typed(page string) (lines [][]string) {
	in := false
	for line := range strings.Lines(page) {
		line = strings.TrimRight(line, "\n")
		if strings.HasPrefix(line, "```") {
			in = strings.TrimSpace(line) == "```sh"
			continue
		}
		if !in {
			continue
		}
		words := shellWords(line)
		if len(words) > 2 && words[0] == "go" && words[1] == "run" && words[2] == "./cmd/imagepurge" {
			words = append([]string{"imagepurge"}, words[3:]...)
		}
		if len(words) > 1 && words[0] == "imagepurge" {
			lines = append(lines, words[1:])
		}
	}
	return lines
}

// shellWords splits one simple command as a shell would; what follows it (||, >,
// #) is left out.
func shellWords(line string) (words []string) {
	var word strings.Builder
	var quoted rune
	some := false
	end := func() {
		if some {
			words = append(words, word.String())
		}
		word.Reset()
		some = false
	}
	for _, r := range line {
		switch {
		case quoted != 0 && r == quoted:
			quoted = 0
		case quoted == 0 && (r == '"' || r == '\''):
			quoted, some = r, true
		case quoted == 0 && (r == ' ' || r == '\t'):
			end()
		case quoted == 0 && strings.ContainsRune("|&;<>#", r) && !some:
			return words
		default:
			word.WriteRune(r)
			some = true
		}
	}
	end()
	return words
}

func TestShellWords(t *testing.T) {
	for line, want := range map[string][]string{
		`imagepurge batch cancel 4 --reason "the wrong list"`: {"imagepurge", "batch", "cancel", "4", "--reason", "the wrong list"},
		`imagepurge status --check || echo "x"`:               {"imagepurge", "status", "--check"},
		`a 'b c' > d`:                                         {"a", "b c"},
		`a ""  # b`:                                           {"a", ""},
	} {
		if got := shellWords(line); !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", line, got, want)
		}
	}
}

// program is the built binary.
var program = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "imagepurge-docs-")
	if err != nil {
		return "", err
	}
	file := filepath.Join(dir, "imagepurge")
	if runtime.GOOS == "windows" {
		file += ".exe"
	}
	if out, err := exec.Command("go", "build", "-o", file, "./cmd/imagepurge").CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build: %w: %s", err, out)
	}
	return file, nil
})

// helper asks the program for its help.
type helper struct {
	file  string
	known map[string]string
}

func newHelper(t *testing.T) *helper {
	t.Helper()
	file, err := program()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(filepath.Dir(file)); err != nil {
			t.Error(err)
		}
	})
	return &helper{file: file, known: map[string]string{}}
}

func (h *helper) of(t *testing.T, command []string) string {
	t.Helper()
	name := strings.Join(command, " ")
	if _, ok := h.known[name]; !ok {
		c := exec.Command(h.file, append(slices.Clone(command), "--help")...)
		c.Env = []string{"HOME=" + t.TempDir(), "PATH=" + os.Getenv("PATH")}
		out, err := c.CombinedOutput()
		if err != nil {
			t.Fatalf("imagepurge %s --help: %v: %s", name, err, out)
		}
		h.known[name] = string(out)
	}
	return h.known[name]
}

// sub are the commands that a help text lists.
var sub = regexp.MustCompile(`(?m)^  ([a-z][a-z-]*) +[A-Z]`)

func (h *helper) commands(t *testing.T, of []string) (names []string) {
	t.Helper()
	_, list, found := strings.Cut(h.of(t, of), "\nExamples:\n")
	if !found {
		return nil
	}
	list, _, _ = strings.Cut(list, "\nFlags:")
	for _, m := range sub.FindAllStringSubmatch(list, -1) {
		if m[1] != "imagepurge" {
			names = append(names, m[1])
		}
	}
	if len(of) == 0 {
		names = append(names, "exit-codes")
	}
	return names
}

// split finds which command a line calls; the rest are its arguments.
func (h *helper) split(t *testing.T, words []string) (command, rest []string) {
	t.Helper()
	for i, w := range words {
		if !slices.Contains(h.commands(t, words[:i]), w) {
			return words[:i], words[i:]
		}
	}
	return words, nil
}

func (h *helper) hasFlag(t *testing.T, command []string, flag string) bool {
	t.Helper()
	name, _, _ := strings.Cut(flag, "=")
	return regexp.MustCompile(`(?m)^ +(-[a-zA-Z], )?` + regexp.QuoteMeta(name) + `\b|^ +` + regexp.QuoteMeta(name) + `, --`).MatchString(h.of(t, command))
}

func TestCommandsInDocumentsExist(t *testing.T) {
	h := newHelper(t)
	all := h.commands(t, nil)
	if len(all) < 15 {
		t.Fatalf("imagepurge --help lists only %q: this test has gone blind.", all)
	}
	seen := map[string]bool{}
	for file, page := range documents(t) {
		for _, line := range typed(page) {
			command, rest := h.split(t, line)
			name := strings.Join(command, " ")
			seen[name] = true
			if len(command) == 0 || len(h.commands(t, command)) > 0 && !slices.ContainsFunc(rest, isHelp) {
				t.Errorf("%s: there is no command in: imagepurge %s", file, strings.Join(line, " "))
				continue
			}
			for _, r := range rest {
				if strings.HasPrefix(r, "-") && r != "-" && !h.hasFlag(t, command, r) {
					t.Errorf("%s: imagepurge %s has no flag %s.", file, name, r)
				}
			}
		}
	}
	if len(seen) < 15 {
		t.Errorf("only %d commands were found in the documents: this test has gone blind.", len(seen))
	}

	// The README's table has them all, and no others.
	var told []string
	for _, cells := range rows(read(t, "README.md")) {
		for _, c := range code(cells[0]) {
			if rest, ok := strings.CutPrefix(c, "imagepurge "); ok {
				for first := range strings.SplitSeq(strings.Fields(rest)[0], "|") {
					told = append(told, first)
				}
				if fields := strings.Fields(rest); len(fields) > 1 && strings.Contains(fields[1], "|") {
					for second := range strings.SplitSeq(strings.Trim(fields[1], "[]"), "|") {
						if second != "-" && fields[0] != "migrate" && fields[0] != "enqueue" && !slices.Contains(h.commands(t, fields[:1]), second) {
							t.Errorf("README.md: there is no command imagepurge %s %s.", fields[0], second)
						}
					}
				}
			}
		}
	}
	for _, c := range all {
		if c != "help" && !slices.Contains(told, c) {
			t.Errorf("README.md's table of commands has no imagepurge %s.", c)
		}
	}
	for _, c := range told {
		if !slices.Contains(all, c) {
			t.Errorf("README.md's table of commands has imagepurge %s, which there is not.", c)
		}
	}
}

func isHelp(word string) bool { return word == "--help" || word == "-h" }

// elsewhere are variables that are no settings of the table.
var elsewhere = []string{"IMAGEPURGE_CONFIG", "IMAGEPURGE_PG_DOWNLOAD_URL", "IMAGEPURGE_TEST_DATABASE_URL", "IMAGEPURGE_TEST_KEEP"}

var variable = regexp.MustCompile(`\b(?:IMAGEPURGE|CAPILLARY)_[A-Z0-9_]+\b|\bDATABASE_URL(?:_FILE)?\b`)

func TestSettingsInDocumentsExist(t *testing.T) {
	var known []string
	for _, k := range settings.Keys() {
		if k.Variable == "" {
			continue
		}
		known = append(known, k.Variable)
		if k.Secret {
			known = append(known, k.Variable+"_FILE")
		}
	}
	pages := documents(t)
	pages["docker-compose.yml"] = read(t, "docker-compose.yml")
	for file, page := range pages {
		for _, v := range variable.FindAllString(page, -1) {
			if !slices.Contains(known, v) && !slices.Contains(elsewhere, v) && !strings.HasSuffix(v, "_") {
				t.Errorf("%s names %s, which is no setting.", file, v)
			}
		}
	}
}

func TestEverySettingIsDescribed(t *testing.T) {
	page := read(t, "docs/settings.md")
	table := map[string][]string{}
	for _, cells := range rows(page) {
		if len(cells) == 5 {
			table[strings.Trim(cells[1], "`")] = cells
		}
	}
	readme := read(t, "README.md")
	for _, k := range settings.Keys() {
		cells, ok := table[k.Name]
		if !ok {
			t.Errorf("docs/settings.md has no row for %s.", cmp.Or(k.Variable, k.Name))
			continue
		}
		delete(table, k.Name)
		if want := cmp.Or(k.Variable, "file only"); strings.Trim(cells[0], "`()") != want {
			t.Errorf("docs/settings.md, %s: its variable is %s, not %s.", k.Name, want, cells[0])
		}
		served := !strings.Contains(cells[4], "refused: ")
		if served && !strings.Contains(cells[2], k.Form) {
			t.Errorf("docs/settings.md, %s: its form is %q, not %q.", k.Name, k.Form, cells[2])
		}
		if k.Secret != strings.HasPrefix(cells[2], "(secret)") {
			t.Errorf("docs/settings.md, %s: its form must begin with (secret) where it is one, and only there.", k.Name)
		}
		if want := cmp.Or(k.Default, k.Absent, "none"); strings.ReplaceAll(cells[3], "`", "") != want {
			t.Errorf("docs/settings.md, %s: its default is %q, not %q.", k.Name, want, cells[3])
		}
		if idle := strings.HasPrefix(cells[4], "no effect"); k.Variable != "" && served && !idle && !strings.Contains(readme, "`"+k.Variable+"`") {
			t.Errorf("README.md's table of settings lacks %s.", k.Variable)
		}
	}
	for name := range table {
		if name != "key in the file" && !strings.HasPrefix(name, "--") {
			t.Errorf("docs/settings.md describes %s, which is no setting.", name)
		}
	}
}

func TestProtocolTellsEveryWord(t *testing.T) {
	page := read(t, "docs/protocol.md")
	words := code(page)
	need := func(what, word string) {
		if !slices.Contains(words, word) {
			t.Errorf("docs/protocol.md doesn't tell of the %s `%s`.", what, word)
		}
	}
	for _, c := range jobs.Classes() {
		need("class", string(c))
	}
	for _, s := range jobs.States() {
		need("state", string(s))
	}
	for _, s := range jobs.ImageStates() {
		need("state of an image", string(s))
	}
	for _, w := range jobs.Waitings() {
		need("reason to wait", string(w))
	}
	var outcomes, classes []string
	for _, cells := range rows(page) {
		first := strings.Trim(cells[0], "`")
		if len(cells) == 4 && slices.Contains(jobs.Classes(), jobs.Class(first)) {
			classes = append(classes, first)
		}
		if len(cells) != 3 || !slices.Contains(jobs.States(), jobs.State(first)) {
			continue
		}
		for _, o := range code(cells[1]) {
			outcomes = append(outcomes, o)
			if s, ok := jobs.StateOf(jobs.Outcome(o)); !ok || string(s) != first {
				t.Errorf("docs/protocol.md says that %s is an outcome of the state %s.", o, first)
			}
		}
	}
	for _, o := range jobs.Outcomes() {
		if !slices.Contains(outcomes, string(o)) {
			t.Errorf("docs/protocol.md's table of outcomes lacks %s.", o)
		}
	}
	for _, c := range jobs.Classes() {
		if !slices.Contains(classes, string(c)) {
			t.Errorf("docs/protocol.md's table of classes lacks %s.", c)
		}
	}
	operations := code(read(t, "docs/operations.md"))
	for _, o := range jobs.Outcomes() {
		if s, _ := jobs.StateOf(o); s == jobs.Review && !slices.Contains(operations, string(o)) {
			t.Errorf("docs/operations.md doesn't say what to do about %s.", o)
		}
	}
}

func TestGlossaryHasTheWords(t *testing.T) {
	page := read(t, "docs/glossary.md")
	var last string
	for _, w := range []string{
		"task", "batch", "run", "claim", "lease", "epoch", "renew", "reclaim", "listing", "target", "bystander", "intent",
		"send", "settle", "attempt", "outcome", "error code", "hold", "breaker", "slot",
	} {
		if !strings.Contains(page, "\n| **"+w+"** |") {
			t.Errorf("docs/glossary.md lacks %q.", w)
		}
	}
	for _, cells := range rows(page) {
		word := strings.Trim(cells[0], "*")
		if !strings.HasPrefix(cells[0], "**") {
			continue
		}
		if word < last {
			t.Errorf("docs/glossary.md: %q stands behind %q.", word, last)
		}
		last = word
	}
}

const schemaFile = "docs/schema.sql"

var dumpedBy = regexp.MustCompile(`(?m)^-- pg_dump (\d+)$`)

// The file is what the migrations make. It is compared in two ways: as the text
// that pg_dump writes, where one of the file's own version is there; and always as
// what a server understands of it, which no version's way of writing changes.
func TestSchemaFile(t *testing.T) {
	url := pgtest.URL(t)
	pool := connect(t, url)
	dump, major, err := pgDump(t, pool, url)
	if *update {
		if err != nil {
			t.Fatalf("docs/schema.sql can't be written: %v", err)
		}
		if err := os.WriteFile(schemaFile, []byte(dump), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	file := read(t, schemaFile)
	by := dumpedBy.FindStringSubmatch(file)
	switch {
	case by == nil:
		t.Errorf("%s doesn't say by which pg_dump it was written.", schemaFile)
	case err != nil:
		t.Logf("the text of %s is not compared: %v", schemaFile, err)
	case by[1] != major:
		t.Logf("the text of %s is not compared: it was written by pg_dump %s, and here is %s", schemaFile, by[1], major)
	case dump != file:
		t.Errorf("%s is not what the migrations make; write it anew with: go test . -run TestSchemaFile -update\n%s", schemaFile, firstDifference(file, dump))
	}

	want := catalog(t, pool)
	if len(want) < 100 {
		t.Fatalf("the catalog has only %d lines: this test has gone blind.", len(want))
	}
	other := connect(t, pgtest.URL(t))
	// The whole text goes in one simple query.
	conn, err := other.Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Release()
	text := "DROP SCHEMA public CASCADE; CREATE SCHEMA public; SET check_function_bodies = false;\n" + file
	if err := conn.Conn().PgConn().Exec(t.Context(), text).Close(); err != nil {
		t.Fatalf("%s can't be run: %v", schemaFile, err)
	}
	got := catalog(t, other)
	for _, line := range want {
		if !slices.Contains(got, line) {
			t.Errorf("%s lacks, or has otherwise: %s", schemaFile, line)
		}
	}
	for _, line := range got {
		if !slices.Contains(want, line) {
			t.Errorf("%s has what the migrations don't make: %s", schemaFile, line)
		}
	}
}

func connect(t *testing.T, url string) *pgxpool.Pool {
	t.Helper()
	pool, err := pgxpool.New(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	return pool
}

const wholeCatalog = `
SELECT format('column %s.%s %s not null %s default %s identity %s', c.relname, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull,
              coalesce(pg_get_expr(d.adbin, d.adrelid), '-'), a.attidentity)
FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid AND c.relkind = 'r' AND c.relnamespace = 'public'::regnamespace
LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
WHERE a.attnum > 0 AND NOT a.attisdropped AND c.relname <> 'goose_db_version'
UNION ALL
SELECT format('constraint %s on %s: %s', conname, conrelid::regclass, pg_get_constraintdef(oid))
FROM pg_constraint WHERE connamespace = 'public'::regnamespace AND contype <> 'n' AND conrelid::regclass::text <> 'goose_db_version'
UNION ALL
SELECT 'index ' || indexdef FROM pg_indexes WHERE schemaname = 'public' AND tablename <> 'goose_db_version'
UNION ALL
SELECT 'trigger ' || pg_get_triggerdef(oid) FROM pg_trigger WHERE NOT tgisinternal AND tgrelid::regclass::text <> 'goose_db_version'
UNION ALL
SELECT 'function ' || pg_get_functiondef(oid) FROM pg_proc WHERE pronamespace = 'public'::regnamespace
UNION ALL
SELECT format('options of %s: %s', relname, reloptions) FROM pg_class
WHERE relnamespace = 'public'::regnamespace AND reloptions IS NOT NULL
ORDER BY 1`

func catalog(t *testing.T, pool *pgxpool.Pool) (lines []string) {
	t.Helper()
	found, err := pool.Query(t.Context(), wholeCatalog)
	if err != nil {
		t.Fatal(err)
	}
	defer found.Close()
	for found.Next() {
		var line string
		if err := found.Scan(&line); err != nil {
			t.Fatal(err)
		}
		lines = append(lines, line)
	}
	if err := found.Err(); err != nil {
		t.Fatal(err)
	}
	return lines
}

// pgDump writes the schema with the pg_dump beside the server's programs, or
// else one on PATH.
func pgDump(t *testing.T, pool *pgxpool.Pool, url string) (text, major string, err error) {
	t.Helper()
	var candidates []string
	var bin string
	// Only some may ask where the programs are, and they may be on another machine.
	if err := pool.QueryRow(t.Context(), "SELECT setting FROM pg_config WHERE name = 'BINDIR'").Scan(&bin); err == nil {
		candidates = append(candidates, filepath.Join(bin, "pg_dump"))
	}
	candidates = append(candidates, "pg_dump")
	for _, c := range candidates {
		var version []byte
		if version, err = exec.Command(c, "--version").Output(); err != nil {
			continue
		}
		m := regexp.MustCompile(`\(PostgreSQL\) (\d+)`).FindSubmatch(version)
		if m == nil {
			err = fmt.Errorf("%s --version says %q", c, version)
			continue
		}
		var out, said bytes.Buffer
		dump := exec.Command(c, "--schema-only", "--no-owner", "--no-privileges", "--exclude-table=goose_db_version*", "--dbname="+url)
		dump.Stdout, dump.Stderr = &out, &said
		if err = dump.Run(); err != nil {
			err = fmt.Errorf("%s: %w: %s", c, err, bytes.TrimSpace(said.Bytes()))
			continue
		}
		return stable(out.String(), string(m[1])), string(m[1]), nil
	}
	return "", "", fmt.Errorf("no pg_dump that does: %w", err)
}

var (
	noise     = regexp.MustCompile(`(?m)^(--.*|SET .*;|SELECT pg_catalog\.set_config\(.*|\\(un)?restrict .*|CREATE SCHEMA public;|COMMENT ON SCHEMA public .*)\n`)
	emptyRows = regexp.MustCompile(`\n{3,}`)
)

// stable leaves out what differs from one run or machine to the next.
func stable(dump, major string) string {
	dump = noise.ReplaceAllString(strings.ReplaceAll(dump, "\r\n", "\n"), "")
	dump = strings.ReplaceAll(dump, "public.", "")
	dump = emptyRows.ReplaceAllString(dump, "\n\n")
	return "-- The schema as the migrations make it, for reading; rows that they insert are not in it.\n" +
		"-- Write it anew with: go test . -run TestSchemaFile -update\n" +
		"-- pg_dump " + major + "\n\n" + strings.TrimSpace(dump) + "\n"
}

func firstDifference(a, b string) string {
	left, right := strings.Split(a, "\n"), strings.Split(b, "\n")
	for i := range min(len(left), len(right)) {
		if left[i] != right[i] {
			return fmt.Sprintf("line %d\n  file: %s\n  now:  %s", i+1, left[i], right[i])
		}
	}
	return fmt.Sprintf("one is longer: %d and %d lines", len(left), len(right))
}

// The documents speak of the program alone: nothing of any machine.
func TestDocumentsNameNoMachine(t *testing.T) {
	pages := documents(t)
	for _, f := range []string{"docker-compose.yml", "deploy/Dockerfile", ".dockerignore", schemaFile} {
		pages[f] = read(t, f)
	}
	local := regexp.MustCompile(`/(work|home|Users)/|/tmp/[a-z]`)
	for file, page := range pages {
		if m := local.FindString(page); m != "" {
			t.Errorf("%s names a path of some machine: %s", file, m)
		}
	}
}

// What the image's build needs isn't kept from it.
func TestImageGetsItsSources(t *testing.T) {
	ignore := strings.Split(read(t, ".dockerignore"), "\n")
	entries, err := fs.ReadDir(os.DirFS("."), ".")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if !e.IsDir() || strings.HasPrefix(e.Name(), ".") || e.Name() == "tools" {
			continue
		}
		sources := false
		err := fs.WalkDir(os.DirFS(e.Name()), ".", func(path string, d fs.DirEntry, err error) error {
			sources = sources || strings.HasSuffix(path, ".go") && !strings.HasSuffix(path, "_test.go")
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		if sources && !slices.Contains(ignore, "!"+e.Name()) {
			t.Errorf(".dockerignore keeps %s from the image's build.", e.Name())
		}
	}
}
