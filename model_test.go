package imagepurge_test

import (
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var modelAll = flag.Bool("model.all", false, "check the protocol's model in all its configurations, not the short set alone")

// TestModel checks the model of the protocol (docs/protocol): every configuration
// must come to the result that the script expects of it, the promises as well as
// the counterexamples of what was left out.
//
//	go test . -run 'TestModel$' -model.all -timeout 1h -v
func TestModel(t *testing.T) {
	if raceDetector {
		t.Skip("the programs that spin makes have no race detector: the run without it tests the same")
	}
	for _, tool := range []string{"spin", "gcc", "bash"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("%s is not installed, and the model can't be checked without it: spin, gcc and bash are packages of the distribution", tool)
		}
	}
	args := []string{"--short"}
	if *modelAll {
		args = nil
	}
	cmd := exec.CommandContext(t.Context(), "./check-model.sh", args...)
	cmd.Dir = filepath.Join("docs", "protocol")
	cmd.Env = append(os.Environ(), "TMPDIR="+t.TempDir())
	out, err := cmd.CombinedOutput()
	t.Logf("%s", out)
	if err != nil {
		t.Errorf("the model does not come to what is expected: %v", err)
	}
}

// TestModelIsTold holds the tables of docs/protocol/README.md to the script.
func TestModelIsTold(t *testing.T) {
	script, page := read(t, "docs/protocol/check-model.sh"), read(t, "docs/protocol/README.md")
	var want []string
	for _, m := range regexp.MustCompile(`(?m)^(check|quick) +(\w+) +'([^']+)'`).FindAllStringSubmatch(script, -1) {
		want = append(want, m[3]+" | "+m[2]+map[string]string{"quick": " | yes", "check": " |"}[m[1]])
	}
	var got []string
	for _, m := range regexp.MustCompile(`(?m)^\| (.+ \| \w+ \|(?: yes)?)[^|]*\| *[0-9]+ \|$`).FindAllStringSubmatch(page, -1) {
		got = append(got, strings.TrimRight(m[1], " "))
	}
	if len(want) < 100 || !slices.Equal(got, want) {
		for i := range min(len(got), len(want)) {
			if got[i] != want[i] {
				t.Fatalf("docs/protocol/README.md has %q where check-model.sh has %q", got[i], want[i])
			}
		}
		t.Errorf("docs/protocol/README.md tells %d configurations, check-model.sh has %d", len(got), len(want))
	}
}
