package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"regexp"
	"slices"
	"strings"
	"time"
)

// String shows a mutant in a line.
func (m mutant) String() string {
	return fmt.Sprintf("%s %s:%d %s  %s → %s", m.ID, m.File, m.Line, m.Func, short(m.Old), short(m.New))
}

func short(s string) string {
	s = strings.Join(strings.Fields(s), " ")
	if r := []rune(s); len(r) > 90 {
		return string(r[:60]) + " … " + string(r[len(r)-25:])
	}
	if s == "" {
		return "∅"
	}
	return s
}

// equivalents are lines of a table: | `id` | where | change | argument |
var equivalent = regexp.MustCompile("^\\| `([0-9a-f]{8})` \\| `?([^|`]+)`? \\| .* \\| ([^|]+) \\|$")

type explanation struct{ file, line string }

// readEquivalents reads the mutants that change nothing, each with its argument.
func readEquivalents(path string) (map[string]explanation, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	defer f.Close()
	found := make(map[string]explanation)
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if m := equivalent.FindStringSubmatch(lines.Text()); m != nil {
			found[m[1]] = explanation{file: strings.Fields(m[2])[0], line: lines.Text()}
		}
	}
	return found, nil
}

type report struct {
	pkg       string
	explained map[string]explanation
	dead      int
	whole     bool // every mutant of the package was tried
	took      time.Duration

	count     map[string]int
	survivors []mutant
	wrong     []string // listed as equivalent, and killed or gone
	seen      map[string]bool
}

func (r *report) add(m mutant, v verdict) {
	if r.count == nil {
		r.count, r.seen = make(map[string]int), make(map[string]bool)
	}
	r.seen[m.ID] = true
	e, listed := r.explained[m.ID]
	switch {
	case v.Result == survived && listed:
		r.count["equivalent"]++
		return
	case listed:
		r.wrong = append(r.wrong, fmt.Sprintf("%s by %s, though it is listed: %s", v.Result, v.By, e.line))
	case v.Result == survived:
		r.survivors = append(r.survivors, m)
	}
	r.count[v.Result]++
}

func (r *report) good() bool { return len(r.survivors) == 0 && len(r.wrong) == 0 }

func (r *report) print(w io.Writer) {
	if r.whole {
		for id, e := range r.explained {
			if !r.seen[id] && strings.HasPrefix(e.file, r.pkg+"/") && !strings.Contains(strings.TrimPrefix(e.file, r.pkg+"/"), "/") {
				r.wrong = append(r.wrong, "no such mutant any more: "+e.line)
			}
		}
	}
	slices.Sort(r.wrong)
	for _, l := range r.wrong {
		fmt.Fprintln(w, l)
	}
	slices.SortFunc(r.survivors, func(a, b mutant) int {
		return strings.Compare(fmt.Sprintf("%s%06d", a.File, a.Line), fmt.Sprintf("%s%06d", b.File, b.Line))
	})
	for _, m := range r.survivors {
		fmt.Fprintf(w, "survived: %s\n    in: %s\n", m, m.Text)
	}
	n := r.count[killed] + r.count[timedOut] + r.count[survived] + r.count["equivalent"]
	fmt.Fprintf(w, "\n| package | mutants | killed | timed out | equivalent | survived | do not run | in |\n|---|--:|--:|--:|--:|--:|--:|--:|\n")
	fmt.Fprintf(w, "| %s | %d | %d | %d | %d | %d | %d | %v |\n", r.pkg, n, r.count[killed], r.count[timedOut], r.count["equivalent"],
		r.count[survived], r.count[broken]+r.dead, r.took.Round(time.Second))
}
