package simulation_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/imagepurge/imagepurge/simulation"
)

var (
	ablationFrom = flag.Uint64("simulation.from", 0, "the first seed for each ablation; 0: near the one that is known to tell")
	ablationTell = flag.Bool("simulation.tell", false, "print the shortest history that was found for each ablation")
)

// ablation is one safeguard taken out of the source. It exists in this test alone:
// the simulation is built with the changed text laid over the file.
type ablation struct {
	without string
	changes []change
	breaks  simulation.Promise
	nights  int // within which the simulation must find it
	flags   []string
	known   uint64 // a seed that has told; 0: begin at 1
}

type change struct{ file, old, new string }

const (
	deleting = "jobs/purge/deleting.go"
	listing  = "jobs/purge/listing.go"
	machine  = "jobs/purge/machine.go"
	record   = "jobs/purge/record.go"
	core     = "jobs/worker/core.go"
	permit   = "jobs/clearance/clearance.go"
	decode   = "capillary/decode.go"
	classify = "capillary/classify.go"
	claims   = "simulation/memory/claims.go"
	writes   = "simulation/memory/writes.go"
	store    = "simulation/memory/store.go"
	server   = "simulation/memory/server.go"
	night    = "simulation/night.go"
	network  = "simulation/network.go"
	check    = "simulation/memory/check.go"
)

func ablations() []ablation {
	one := func(file, old, new string) []change { return []change{{file, old, new}} }
	const heldBy = "if t == nil || !t.heldBy(w.Owner, w.Epoch) {"
	const leasedTo = "if cust == nil || !cust.leasedTo(w.Task, w.Owner, w.Epoch) {"
	const inOrder = "w.Counters.Sequence < t.Rec.Sequence || "
	const settle = "return serverMax + stopped"
	const told, untold = "case finishes && t.endsInDoubt(w):", "case false && t.endsInDoubt(w):"
	return []ablation{
		{"descending order", one(deleting, "range slices.Backward(m.view) {", "range slices.All(m.view) {"), simulation.NothingElseDeleted, 40_000, nil, 10241},
		{"reconciling before a repeat", one(deleting, "	case jobs.ClassUnknown:\n	default:",
			"	case jobs.ClassUnknown:\n		m.plan()\n		m.live = true\n		return m.ask(m.askDelete())\n	default:"), simulation.NothingElseDeleted, 40_000, nil, 126},
		{"intent rows", one(writes, "		s.apply(now, t.Lease, w)", "		if w.Kind != purge.WriteIntent {\n			s.apply(now, t.Lease, w)\n		}"), simulation.NothingForgotten, 2_000, nil, 1},
		{"intent rows, what follows", one(writes, "		s.apply(now, t.Lease, w)", "		if w.Kind != purge.WriteIntent {\n			s.apply(now, t.Lease, w)\n		}"), simulation.NothingElseDeleted, 40_000, nil, 1455},
		{"a settle time", one(night, settle, "return 0 * (serverMax + stopped)"), simulation.NothingElseDeleted, 40_000, nil, 233},
		{"the second of a stopped process in the settle time", one(night, "const stopped = time.Second", "const stopped = 0 * time.Second"), simulation.SettledFirst, 40_000, nil, 4000},
		{"the server's time in the settle time", one(night, settle, "return 0*serverMax + stopped"), simulation.NothingElseDeleted, 40_000, nil, 482},
		{"the listing lag in the rest", one(record, "return c.Settle + c.ListingLag", "return c.Settle"), simulation.NothingElseDeleted, 40_000, nil, 1176},
		{"the request's time in the rest after a crash", one(record, "return jobs.SendMargin + c.RequestTimeout + c.Rest()", "return c.Rest()"), simulation.SettledFirst, 40_000, nil, 816},
		{"the customer's own settle time", one(store, "return c.row && (c.LeaseUntil.After(now) || c.RestUntil.After(now))", "return c.row && c.LeaseUntil.After(now)"), simulation.NothingElseDeleted, 40_000, nil, 106},
		{"the listing lag after a known success", one(deleting, "if m.deletedAt.IsZero() {", "if true {"), simulation.NothingElseDeleted, 40_000, nil, 4846},
		{"the epoch in the intent's fence", []change{
			{writes, heldBy, "if t == nil || w.Kind != purge.WriteIntent && !t.heldBy(w.Owner, w.Epoch) {"},
			{writes, leasedTo, "if cust == nil || w.Kind != purge.WriteIntent && !cust.leasedTo(w.Task, w.Owner, w.Epoch) {"},
			{writes, inOrder, "w.Kind != purge.WriteIntent && " + inOrder}, // it covers for the epoch
		}, simulation.SettledFirst, 40_000, nil, 17622},
		{"the epoch in the finish's fence", []change{
			{writes, heldBy, "if t == nil || t.State != jobs.Running || w.Kind != purge.WriteFinish && !t.heldBy(w.Owner, w.Epoch) {"},
			{writes, leasedTo, "if cust == nil || w.Kind != purge.WriteFinish && !cust.leasedTo(w.Task, w.Owner, w.Epoch) {"},
			{writes, inOrder, "w.Kind != purge.WriteFinish && " + inOrder},
		}, simulation.EndsSettled, 120_000, nil, 81877},
		{"the order of writes in the fence", one(writes, inOrder, ""), simulation.CountersTrue, 120_000, nil, 222},
		{"the deadline for sending", one(permit, "if mono > c.intent.Margin || wall > c.intent.Margin || wall < 0 || mono < 0 {", "if false {"), simulation.NothingElseDeleted, 120_000, nil, 1810},
		{"the wall clock in the deadline", one(permit, "if mono > c.intent.Margin || wall > c.intent.Margin || wall < 0 || mono < 0 {", "if mono > c.intent.Margin || mono < 0 {"), simulation.SettledFirst, 120_000, nil, 16192},
		{"identity by content", one(decode, `fileNames     = []string{"s3Token"}`, `fileNames     = []string{"fileHandle"}`), simulation.NothingElseDeleted, 20_000, []string{"--bytes"}, 296},
		{"the verifying listing", one(deleting, "if m.rec.Mode == jobs.Economy && m.rec.Scope == jobs.Snapshot {\n			return m.finish(jobs.ImagesDeleted, time.Time{})",
			"if true {\n			return m.finish(jobs.ImagesDeleted, m.deletedAt)"), simulation.DoneMeansGone, 20_000, nil, 119},
		{"doubt of a stale listing", one(listing, "if contradicts && !m.count.Relisting {", "if contradicts && false {"), simulation.NothingElseDeleted, 40_000, nil, 60},
		{"a listing after a 429", one(deleting, "		m.overLimit, m.pauseBudget = true, a.RetryAfter\n		return m.save(jobs.Slot{Kind: jobs.SlotList})",
			"		m.overLimit, m.pauseBudget, m.live = true, a.RetryAfter, true\n		m.plan()\n		return m.save(m.askDelete())"), simulation.NothingElseDeleted, 40_000, nil, 3901},
		{"a pause after a fail-over", one(server, "s.seen, s.claimsFrom = s.server, now.Add(rest)", "s.seen, s.claimsFrom = s.server, now"), simulation.SettledFirst, 40_000, nil, 14972},
		{"the request's time in the pause after a fail-over", one("simulation/process.go", "NoteServer(now, p.purge().WorstCase())", "NoteServer(now, p.purge().Rest())"), simulation.SettledFirst, 200_000, nil, 149568},
		{"leases that end with their server", []change{
			{server, "return s.seen == s.server && epoch > s.epochFloor", "return true"},
			{check, told, untold},
		}, simulation.EndsSettled, 80_000, nil, 17051},
		{"the body before the status", one(classify, "	e, readable := decodeDelete(body)\n", "	e, readable := decodeDelete(body)\n	if status == http.StatusOK {\n		return verdict{class: jobs.ClassDeleted}\n	}\n"), simulation.DoneMeansGone, 20_000, nil, 247},
		{"renewing leases that wait for a slot", one(core, "	return []Effect{RenewLeases{Leases: leases}}", "	return nil"), simulation.CallsFew, 20_000, []string{"--calm"}, 454},
		{"the customer's own row in the claim", []change{
			{claims, "	if cust.busy(now) {", "	if cust.busy(now) && cust.LeaseUntil.Before(now.Add(c.Lease-20*time.Millisecond)) {"},
			{writes, leasedTo, "if cust == nil {"},
		}, simulation.NothingElseDeleted, 40_000, nil, 2226},
		{"a believed listing before an end", []change{
			{machine, "if m.exhausted() && !m.any(jobs.Unknown) {", "if m.exhausted() {"},
			{check, told, untold}, // the database refuses it
		}, simulation.EndsSettled, 40_000, nil, 77},
		{"what was seen of another brand, by call", one(core, "		t.doubt = jobs.ClassUnknown\n", "		_ = t\n"), simulation.OursAlone, 40_000, nil, 1771},
		{"linger and the user time-out", one(network, "	userTimeout   = true\n	lingerZero    = true", "	userTimeout   = false\n	lingerZero    = false"), simulation.NothingElseDeleted, 40_000, nil, 454},
		{"HTTP/1.1", one(network, "const resends = false", "const resends = true"), simulation.NothingElseDeleted, 40_000, nil, 2310},
		{"settling before a cancel", []change{
			{machine, "if m.rec.Cancelled && !m.any(jobs.Unknown) {", "if m.rec.Cancelled {"},
			{check, told, untold},
		}, simulation.EndsSettled, 20_000, nil, 271},
		{"the review that is due, beyond a crash", one(writes, "	t.VerifiedAt = stored(w.VerifiedAt)\n", "	t.VerifiedAt = stored(w.VerifiedAt)\n	t.Rec.ReviewAs = \"\"\n"), simulation.PersonDecides, 100_000, nil, 44339},
	}
}

// TestEachSafeguardIsNeeded takes one rule at a time out of the code and demands that
// the simulation finds out what it was good for.
func TestEachSafeguardIsNeeded(t *testing.T) {
	if raceDetector {
		t.Skip("the programs that this builds have no race detector: the run without it tests the same")
	}
	root, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	var (
		mu    sync.Mutex
		table []string
	)
	t.Cleanup(func() {
		slices.Sort(table)
		t.Logf("\n| without | seed | promise broken |\n|---|--:|---|\n%s", strings.Join(table, "\n"))
	})
	for _, a := range ablations() {
		t.Run(a.without, func(t *testing.T) {
			t.Parallel()
			found := a.run(t, root)
			if len(found.Violations) == 0 {
				t.Errorf("without %s: no night of %d broke %q", a.without, found.Nights, a.breaks)
				return
			}
			mu.Lock()
			defer mu.Unlock()
			table = append(table, fmt.Sprintf("| %s | %d | %s |", a.without, found.Seed, a.breaks))
			t.Logf("seed %d: %s", found.Seed, found.said(a.breaks))
		})
	}
}

type found struct {
	Nights     int
	Seed       uint64
	Violations []simulation.Violation
}

func (f found) said(p simulation.Promise) string {
	for _, v := range f.Violations {
		if v.Promise == p {
			return v.What
		}
	}
	return ""
}

// run builds the simulation without the safeguard and runs it.
func (a ablation) run(t *testing.T, root string) (f found) {
	t.Helper()
	dir := t.TempDir()
	overlay := a.overlay(t, root, dir)
	binary := filepath.Join(dir, "simulate")
	build := exec.CommandContext(t.Context(), "go", "build", "-overlay", overlay, "-o", binary, "./cmd/simulate")
	build.Dir = root
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("without %s it does not build: %v\n%s", a.without, err, out)
	}
	first := max(1, a.known)
	if *ablationFrom > 0 {
		first = *ablationFrom
	}
	args := append([]string{"--json", "--seed", fmt.Sprint(first), "--nights", fmt.Sprint(a.nights), "--until", string(a.breaks), "--shrink", "0"}, a.flags...)
	if *ablationTell {
		args[0] = "--shrink=3000"
	}
	var stdout, stderr bytes.Buffer
	run := exec.CommandContext(t.Context(), binary, args...)
	run.Stdout, run.Stderr = &stdout, &stderr
	err := run.Run()
	var exit *exec.ExitError
	if err != nil && (!errors.As(err, &exit) || exit.ExitCode() != 1) {
		t.Fatalf("without %s: %v\n%s", a.without, err, &stderr)
	}
	if *ablationTell {
		t.Logf("%s", &stdout)
		return found{Violations: []simulation.Violation{{Promise: a.breaks}}}
	}
	if err := json.Unmarshal(stdout.Bytes(), &f); err != nil {
		t.Fatalf("without %s: %v: %s", a.without, err, &stdout)
	}
	return f
}

// overlay writes the changed files and the list that go build takes. Each text must
// stand in its file exactly once: else the ablation has lost its place.
func (a ablation) overlay(t *testing.T, root, dir string) string {
	t.Helper()
	texts := make(map[string]string)
	for _, c := range a.changes {
		text, ok := texts[c.file]
		if !ok {
			b, err := os.ReadFile(filepath.Join(root, c.file))
			if err != nil {
				t.Fatal(err)
			}
			text = string(b)
		}
		if n := strings.Count(text, c.old); n != 1 {
			t.Fatalf("without %s: %q stands %d times in %s, want once", a.without, c.old, n, c.file)
		}
		texts[c.file] = strings.Replace(text, c.old, c.new, 1)
	}
	replace := make(map[string]string)
	for file, text := range texts {
		path := filepath.Join(dir, strings.ReplaceAll(file, "/", "_"))
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		replace[filepath.Join(root, file)] = path
	}
	list, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(path, list, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
