package imagepurge_test

import (
	"encoding/json"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/fstest"
)

const module = "github.com/imagepurge/imagepurge"

// arrows says which packages of ours a package may import; a name that ends in
// /... stands for everything below, too. Tests may import more.
var arrows = map[string][]string{
	"":                    {},
	"cmd/imagepurge":      {"capillary/...", "internal/...", "jobs/...", "migrations", "repository"}, // never the simulation
	"cmd/simulate":        {"internal/term", "simulation"},
	"bench/utilisation":   {"jobs/..."},
	"jobs":                {},
	"jobs/clearance":      {"jobs"},
	"jobs/budget":         {"jobs"},
	"jobs/purge":          {"jobs", "jobs/clearance"},
	"jobs/schedule":       {"jobs"},
	"jobs/estimate":       {"jobs/schedule"},
	"jobs/intake":         {},
	"jobs/worker":         {"jobs/..."},
	"capillary":           {"jobs", "jobs/clearance"},
	"capillary/sandbox":   {},
	"repository":          {"jobs/...", "migrations"},
	"migrations":          {},
	"simulation":          {"jobs/...", "capillary/...", "simulation/memory"},
	"simulation/memory":   {"jobs/..."},
	"console":             {"jobs/..."},
	"internal/settings":   {"jobs/..."},
	"internal/embeddedpg": {},
	"internal/term":       {},
	"internal/pgtest":     {"migrations", "internal/embeddedpg"},
}

// foreign are imports that nothing under jobs may have: no SQL, no HTTP.
var foreign = []string{"net", "net/http", "database/sql", "github.com/jackc/pgx/v5"}

type listedPackage struct {
	ImportPath string
	Imports    []string
}

func packages(t *testing.T) (found []listedPackage) {
	t.Helper()
	out, err := exec.Command("go", "list", "-e", "-json=ImportPath,Imports", "./...").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	for d := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p listedPackage
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		found = append(found, p)
	}
	if len(found) < 8 {
		t.Fatalf("go list names only %d packages", len(found))
	}
	return found
}

func ours(importPath string) (string, bool) {
	if importPath == module {
		return "", true
	}
	return strings.CutPrefix(importPath, module+"/")
}

func allowed(name string, rules []string) bool {
	return slices.ContainsFunc(rules, func(r string) bool {
		below, tree := strings.CutSuffix(r, "...")
		if !tree {
			return r == name
		}
		return strings.HasPrefix(name+"/", below)
	})
}

func TestArrowsPointInwards(t *testing.T) {
	for _, p := range packages(t) {
		name, _ := ours(p.ImportPath)
		rules, known := arrows[name]
		if !known {
			t.Errorf("package %s has no line in the table of arrows_test.go: say there what it may import.", name)
			continue
		}
		for _, i := range p.Imports {
			to, mine := ours(i)
			switch {
			case mine && to == "internal/pgtest":
				t.Errorf("%s imports %s, which is for tests alone.", name, to)
			case mine && !allowed(to, rules):
				t.Errorf("%s imports %s: that arrow points outwards; it may import %q.", name, to, rules)
			}
			if strings.HasPrefix(name+"/", "jobs/") {
				for _, f := range foreign {
					if i == f || strings.HasPrefix(i, f+"/") {
						t.Errorf("%s imports %s: what stands under jobs knows no SQL and no HTTP.", name, i)
					}
				}
			}
		}
	}
}

func TestAllowed(t *testing.T) {
	for _, c := range []struct {
		name, rule string
		want       bool
	}{
		{"jobs", "jobs", true}, {"jobs/purge", "jobs", false}, {"jobs", "jobs/...", true}, {"jobs/purge", "jobs/...", true},
		{"jobsite", "jobs/...", false}, {"repository", "...", true},
	} {
		if got := allowed(c.name, []string{c.rule}); got != c.want {
			t.Errorf("%s by %s: %v", c.name, c.rule, got)
		}
	}
}

// use is one mention of a package's member, like time.Now.
type use struct {
	file, member string
	position     token.Position
}

// uses finds every mention of members of the package importPath in a module's
// files that are no tests.
func uses(t *testing.T, root fs.FS, importPath string, members ...string) (found []use) {
	t.Helper()
	files := token.NewFileSet()
	err := fs.WalkDir(root, ".", func(file string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && file != "." && (strings.HasPrefix(d.Name(), ".") || d.Name() == "testdata") {
			return fs.SkipDir
		}
		if d.IsDir() || path.Ext(file) != ".go" || strings.HasSuffix(file, "_test.go") {
			return nil
		}
		source, err := fs.ReadFile(root, file)
		if err != nil {
			return err
		}
		f, err := parser.ParseFile(files, file, source, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		name := ""
		for _, i := range f.Imports {
			if p, _ := strconv.Unquote(i.Path.Value); p == importPath {
				name = path.Base(p)
				if i.Name != nil {
					name = i.Name.Name
				}
			}
		}
		if name == "." {
			t.Errorf("%s imports %s by a dot: nobody could say any more what is called.", file, importPath)
		}
		ast.Inspect(f, func(n ast.Node) bool {
			s, ok := n.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			if x, ok := s.X.(*ast.Ident); ok && name != "" && x.Name == name && slices.Contains(members, s.Sel.Name) {
				found = append(found, use{file, s.Sel.Name, files.Position(s.Pos())})
			}
			return true
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func TestJobsHasNoClock(t *testing.T) {
	for _, u := range uses(t, os.DirFS("."), "time", "Now", "Since", "Until") {
		if strings.HasPrefix(u.file, "jobs/") {
			t.Errorf("%v reads the clock with time.%s: the time is handed in under jobs.", u.position, u.member)
		}
	}
}

// Only a committed intent may permit a DELETE.
func TestOnlyTheStoreIssuesClearances(t *testing.T) {
	found := uses(t, os.DirFS("."), module+"/jobs/clearance", "Issue")
	if len(found) == 0 {
		t.Error("nobody issues a clearance: this test has gone blind.")
	}
	for _, u := range found {
		// What stands in for it in a simulation; no program that could call a real API has that.
		if d := path.Dir(u.file); d != "repository" && d != "simulation/memory" && d != "bench/utilisation" {
			t.Errorf("%v issues a clearance: only the store may, after an intent's transaction has committed.", u.position)
		}
	}
}

// The test sees what it is there for.
func TestUsesAreFound(t *testing.T) {
	root := fstest.MapFS{
		"a/a.go":           {Data: []byte("package a\nimport \"time\"\nvar T = time.Now")},
		"a/b.go":           {Data: []byte("package a\nimport clock \"time\"\nfunc f() { _ = clock.Now() }")},
		"a/c.go":           {Data: []byte("package a\nimport time \"other\"\nvar T = time.Now()")},
		"a/a_test.go":      {Data: []byte("package a\nimport \"time\"\nvar U = time.Now()")},
		"a/testdata/d.go":  {Data: []byte("package a\nimport \"time\"\nvar U = time.Now()")},
		".hidden/e.go":     {Data: []byte("package a\nimport \"time\"\nvar U = time.Now()")},
		"a/duration.go":    {Data: []byte("package a\nimport \"time\"\nvar U = time.Second")},
		"a/not-for-go.txt": {Data: []byte("time.Now")},
	}
	var got []string
	for _, u := range uses(t, root, "time", "Now") {
		got = append(got, u.file)
	}
	if want := []string{"a/a.go", "a/b.go"}; !slices.Equal(got, want) {
		t.Errorf("found in %v, want %v", got, want)
	}
}
