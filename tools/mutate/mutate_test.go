package main

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

func changesOf(t *testing.T, src string) []string {
	t.Helper()
	found, err := mutantsOf("p/p.go", []byte(src))
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, m := range found {
		out = append(out, m.Kind+": "+short(m.Old)+" → "+short(m.New))
	}
	return out
}

func TestMutators(t *testing.T) {
	for _, c := range []struct {
		name, body string
		want       []string
	}{
		{"a condition", "if a == b { x++ }", []string{
			"condition: a == b → (false && (a == b))", "condition: a == b → (true || (a == b))", "statement: x++ → ∅",
		}},
		{"operands", "if a && b < c { return }", []string{
			"condition: a && b < c → (false && (a && b < c))", "operand: a → (true || (a))",
			"operand: b < c → (true || (b < c))", "operator: b < c → b <= c", "statement: return → ∅",
		}},
		{"durations", "f(3*time.Second, time.Hour)", []string{
			"statement: f(3*time.Second, time.Hour) → ∅", "duration: 3*time.Second → (0*(3*time.Second))",
			"duration: 3*time.Second → (2*(3*time.Second))", "duration: time.Hour → (0*(time.Hour))", "duration: time.Hour → (2*(time.Hour))",
		}},
		{"cases", "switch a { case B, C: x = 1 }", []string{
			"case: case B, C: x = 1 → ∅", "element: B, → ∅", "element: , C → ∅", "statement: x = 1 → ∅", "literal: 1 → 2",
		}},
		{"conditions of a switch", "switch { case a || b: default: f(true) }", []string{
			"condition: a || b → (true || (a || b))", "operand: a → (false && (a))", "operand: b → (false && (b))",
			"statement: f(true) → ∅", "literal: true → false",
		}},
		{"bounds and lists", "x = append(x, T{A: min(c, 1.5)})", []string{
			"statement: x = append(x, T{A: min(c, 1.5)}) → ∅", "element: , T{A: min(c, 1.5)} → ∅", "element: A: min(c, 1.5) → ∅",
			"element: c, → ∅", "element: , 1.5 → ∅", "literal: 1.5 → (2*1.5)", "literal: 1.5 → (0.5*1.5)",
		}},
	} {
		got := changesOf(t, "package p\nfunc f() {\n"+c.body+"\n}\n")
		slices.Sort(got)
		slices.Sort(c.want)
		if !slices.Equal(got, c.want) {
			t.Errorf("%s:\n%s\nwant\n%s", c.name, strings.Join(got, "\n"), strings.Join(c.want, "\n"))
		}
	}
}

func TestSQL(t *testing.T) {
	for _, c := range []struct {
		sql  string
		want []string
	}{
		{"SELECT x FROM t WHERE a = $1 AND b BETWEEN 1 AND 2 AND (c OR d)", []string{
			"a = $1 → (true OR (a = $1))", "b BETWEEN 1 AND 2 → (true OR (b BETWEEN 1 AND 2))", "(c OR d) → (true OR ((c OR d)))",
			"c → (false AND (c))", "d → (false AND (d))",
		}},
		{"UPDATE t SET a = greatest(x, 1), b = CASE WHEN c <= 1 THEN d ELSE e END WHERE f", []string{
			"a = greatest(x, 1), → ∅", ", b = CASE WHEN c <= 1 THEN d ELSE e END → ∅", "greatest → least", "x, → ∅", ", 1 → ∅",
			"c <= 1 → (false AND (c <= 1))", "c <= 1 → (true OR (c <= 1))", "<= → <", "f → (true OR (f))",
		}},
		{"SELECT CASE k WHEN 'a' THEN 1 WHEN 'b' THEN 2 END FROM t ORDER BY id DESC LIMIT 1 FOR NO KEY UPDATE OF t SKIP LOCKED", []string{
			"WHEN 'a' THEN 1 → ∅", "WHEN 'b' THEN 2 → ∅", "ORDER BY id DESC → ∅", "DESC → ∅",
			"FOR NO KEY UPDATE OF t SKIP LOCKED → ∅", "SKIP LOCKED → ∅",
		}},
		{"AND a IS DISTINCT FROM b -- AND it is told\n AND h = ANY (ARRAY", []string{"a IS DISTINCT FROM b → (true OR (a IS DISTINCT FROM b))"}},
	} {
		var got []string
		for _, x := range sqlChanges(c.sql) {
			got = append(got, short(c.sql[x.start:x.end])+" → "+short(x.to))
		}
		slices.Sort(got)
		slices.Sort(c.want)
		if !slices.Equal(got, c.want) {
			t.Errorf("%s:\n%s\nwant\n%s", c.sql, strings.Join(got, "\n"), strings.Join(c.want, "\n"))
		}
	}
}

func TestIDsSurviveMoves(t *testing.T) {
	const body = "func f(x int) int {\n\tif x < 0 {\n\t\treturn 0\n\t}\n\tif x < 0 {\n\t\treturn 0\n\t}\n\treturn x\n}\n"
	before, err := mutantsOf("p/p.go", []byte("package p\n"+body))
	if err != nil {
		t.Fatal(err)
	}
	after, err := mutantsOf("p/p.go", []byte("package p\n// A comment.\nvar y = 1\n"+body))
	if err != nil {
		t.Fatal(err)
	}
	after = slices.DeleteFunc(after, func(m mutant) bool { return m.Func == "y" })
	seen := make(map[string]bool)
	for i, m := range before {
		if m.ID != after[i].ID || m.Line == after[i].Line {
			t.Errorf("%s has become %s", m, after[i])
		}
		if seen[m.ID] {
			t.Errorf("%s stands twice", m)
		}
		seen[m.ID] = true
	}
}

// TestRun tries the mutants of a module whose test leaves one alive.
func TestRun(t *testing.T) {
	root := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("go.mod", "module example.com/m\n\ngo 1.26\n")
	write("p/p.go", `package p

const limit = 3

type T[E any] struct{ n int }

func (t *T[E]) Add(xs ...E) {
	for range xs {
		if t.n >= limit {
			t.n = limit
		} else {
			t.n++
		}
	}
}
`)
	const test = `package p

import "testing"

func TestAdd(t *testing.T) {
	var x T[int]
	if x.Add(1, 2); x.n != 2 {
		t.Fatal(x.n)
	}
	if x.Add(3, 4, 5); x.n != 3 {
		t.Fatal(x.n)
	}
}
`
	write("p/p_test.go", test)
	mutate := func(args ...string) (int, string) {
		t.Helper()
		var out, told bytes.Buffer
		code := run(t.Context(), append(args, "-root", root, "-results", filepath.Join(root, "results"), "p"), &out, &told)
		return code, out.String() + told.String()
	}
	code, out := mutate()
	survivors := regexp.MustCompile(`(?m)^survived: (\w+) p/p.go:(\d+) \w+  (.*)$`).FindAllStringSubmatch(out, -1)
	if code != 1 || len(survivors) != 2 || survivors[0][3] != "t.n >= limit → t.n > limit" && survivors[0][3] != "t.n = limit → ∅" {
		t.Fatalf("exit %d:\n%s", code, out)
	}
	for _, want := range []string{"p.go:3 limit  3 → 4: killed p TestAdd", "p.go:12 Add  t.n++ → ∅: killed p TestAdd"} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is not in\n%s", want, out)
		}
	}
	// Each is explained: then all is well, until one is gone or killed.
	table := "| id | where | change | why |\n|---|---|---|---|\n"
	for _, s := range survivors {
		table += "| `" + s[1] + "` | `p/p.go Add` | `" + s[3] + "` | it has the same effect |\n"
	}
	write("docs/mutants.md", table)
	if code, out := mutate(); code != 0 || !strings.Contains(out, "| p | ") {
		t.Errorf("with all explained: exit %d:\n%s", code, out)
	}
	write("docs/mutants.md", table+"| `00000000` | `p/p.go Add` | `a → b` | it was there |\n")
	if code, out := mutate(); code != 1 || !strings.Contains(out, "no such mutant any more: | `00000000`") {
		t.Errorf("one that is gone: exit %d:\n%s", code, out)
	}
	write("docs/mutants.md", table)
	write("p/p_test.go", test+`
func TestMore(t *testing.T) {
	x := T[int]{n: 9}
	if x.Add(1); x.n != 3 {
		t.Fatal(x.n)
	}
}
`)
	if code, out := mutate(); code != 1 || !strings.Contains(out, "killed by p TestMore, though it is listed") {
		t.Errorf("one that is killed: exit %d:\n%s", code, out)
	}
}
