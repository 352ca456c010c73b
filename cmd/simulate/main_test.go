package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/imagepurge/imagepurge/internal/term"
)

func simulate(t *testing.T, args ...string) (stdout string, err error) {
	t.Helper()
	var out, progress bytes.Buffer
	c := command(term.New(&out, &progress, func(string) string { return "" }), time.Now)
	c.SetArgs(args)
	c.SetOut(&out)
	c.SetErr(&progress)
	err = c.Execute()
	return out.String(), err
}

func TestNightsAreToldWithTheirFigures(t *testing.T) {
	out, err := simulate(t, "--nights", "40")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"40 nights in", "seeds 1 to 40", "outcomes", "faults", "transitions of the purge:", "every promise was kept"} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is missing in:\n%s", want, out)
		}
	}
	out, err = simulate(t, "--nights", "40", "--json")
	var report struct{ Nights int }
	if json.Unmarshal([]byte(out), &report); err != nil || report.Nights != 40 {
		t.Errorf("%v: %s", err, out)
	}
}

func TestOneNightIsTold(t *testing.T) {
	out, err := simulate(t, "--seed", "17", "--tell")
	if err != nil || !strings.Contains(out, "W0: starts") || !strings.HasSuffix(out, "every promise was kept\n") {
		t.Errorf("%v: %s", err, out)
	}
}

func TestWrongUsageIsRefused(t *testing.T) {
	for _, args := range [][]string{{"--nights", "0"}, {"--customers", "65"}, {"--workers", "17"}, {"--customers", "-1"}, {"more"}, {"--no-such"}} {
		if out, err := simulate(t, args...); err == nil || errors.Is(err, errBroken) || out != "" {
			t.Errorf("%v: %v, %q", args, err, out)
		}
	}
}

// Every example of the pages runs; those of many nights with few.
func TestExamplesOfThePagesRun(t *testing.T) {
	found := 0
	for _, page := range []string{"../../README.md", "../../docs/safety.md"} {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			example, ok := strings.CutPrefix(line, "go run ./cmd/simulate ")
			if !ok {
				continue
			}
			found++
			args := strings.Fields(example)
			if !slices.Contains(args, "--tell") {
				args = append(args, "--nights", "20")
			}
			if out, err := simulate(t, args...); err != nil || !strings.HasSuffix(out, "every promise was kept\n") {
				t.Errorf("%s: %s: %v: %s", page, line, err, out)
			}
		}
	}
	if found < 4 {
		t.Errorf("only %d examples were found", found)
	}
}
