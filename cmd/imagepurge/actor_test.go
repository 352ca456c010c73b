package main_test

import (
	"os/exec"
	"strings"
	"testing"

	"github.com/imagepurge/imagepurge/capillary/sandbox"
)

// whoami is the name that the operating system has for this process's user.
func whoami(t testing.TB) string {
	t.Helper()
	name, err := exec.Command("id", "-un").Output()
	if err != nil {
		t.Fatalf("id -un: %v", err)
	}
	return strings.TrimSpace(string(name))
}

// The audit log names who the operating system says it was; what the environment says
// stands beside it.
func TestTheEnvironmentNamesNobodyElse(t *testing.T) {
	t.Parallel()
	w := newWorld(t, sandbox.Options{}).with("LOGNAME=mallory", "SUDO_USER=eve", "USER="+whoami(t))
	w.list("list.csv", 4711)
	w.must(0, "enqueue", "list.csv")
	w.must(0, "pause", "--reason", "lunch")
	w.must(0, "resume", "--reason", "back")
	w.must(0, "batch", "cancel", "1", "--yes", "--reason", "a mistake")
	if n := w.count("SELECT count(*) FROM audit_entries WHERE actor = $1", whoami(t)); n < 4 {
		t.Errorf("%d entries name the system's user, want all of 4", n)
	}
	if n := w.count(`SELECT count(*) FROM audit_entries WHERE actor <> $1 OR details->'claimed' IS DISTINCT FROM '{"LOGNAME": "mallory", "SUDO_USER": "eve"}'`, whoami(t)); n != 0 {
		t.Errorf("%d entries name somebody else, or don't tell what was claimed", n)
	}
	if n := w.count("SELECT count(*) FROM pauses WHERE paused_by = $1 AND resumed_by = $1", whoami(t)); n != 1 {
		t.Error("the pause names somebody else")
	}
	// Nothing is claimed where the environment agrees.
	w.with("LOGNAME="+whoami(t), "SUDO_USER").must(0, "pause", "--reason", "tea")
	if n := w.count("SELECT count(*) FROM audit_entries WHERE reason = 'tea' AND NOT details ? 'claimed'"); n != 1 {
		t.Error("something is said to be claimed")
	}
}
