package main_test

import (
	"encoding/json"
	"regexp"
	"strings"
	"testing"

	"github.com/imagepurge/imagepurge/capillary/sandbox"
)

var (
	inHelp   = regexp.MustCompile(`(?m)^  ([a-z][a-z-]*) +\S`)
	headings = regexp.MustCompile(`(?ms)^(Work|Look|Decide|Set up and try|Available Commands):\n(.*?)\n\n`)
)

// commands are all commands there are, as their help lists them.
func commands(w *world) (all []string) {
	var walk func(path []string)
	walk = func(path []string) {
		all = append(all, strings.Join(path, " "))
		help := w.must(0, append(path, "--help")...).out
		for _, block := range headings.FindAllStringSubmatch(help, -1) {
			for _, m := range inHelp.FindAllStringSubmatch(block[2], -1) {
				walk(append(path[:len(path):len(path)], m[1]))
			}
		}
	}
	walk(nil)
	return all
}

func TestEveryCommandHelpsAndRefusesWrongUsage(t *testing.T) {
	t.Parallel()
	w := newWorldOn(t, sandbox.Options{}, "").with("DATABASE_URL=postgres://127.0.0.1:1/none") // usage comes first
	all := commands(w)
	for _, must := range []string{"demo", "migrate", "enqueue", "run", "batch list", "batch show", "batch pause", "batch resume", "batch cancel", "batch retry",
		"task show", "task list", "task resolve", "customer", "pause", "resume", "org list", "org show", "org close-breaker", "schedule", "report", "status",
		"doctor", "sandbox", "version", "completion bash"} {
		found := false
		for _, c := range all {
			found = found || c == must
		}
		if !found {
			t.Errorf("the help does not lead to %q", must)
		}
	}
	for _, c := range all {
		path := strings.Fields(c)
		e := w.must(0, append(path, "--help")...)
		if !strings.Contains(e.out, "Examples:\n") && !strings.Contains(e.out, "\timagepurge "+c) && !strings.Contains(e.out, "<(imagepurge "+c) {
			t.Errorf("no example: %s", e)
		}
		if e.err != "" {
			t.Errorf("help belongs to stdout: %s", e)
		}
		for _, wrong := range [][]string{{"--no-such-flag"}, {"one", "too", "many"}, {"--output", "xml"}, {"--wait", "soon"}} {
			if c == "" && wrong[0] != "one" || c == "completion" || c == "help" {
				continue // print help whatever comes with them
			}
			e := w.run(append(path[:len(path):len(path)], wrong...)...)
			if e.status != 2 {
				t.Errorf("want exit status 2: %s", e)
			}
			if e.status == 2 && (!strings.Contains(e.err, "imagepurge: error: ") || e.out != "") {
				t.Errorf("wrong usage is said on stderr: %s", e)
			}
		}
	}
	for _, args := range []string{
		"no-such-command", "batch no-such-command", "enqueue", "batch show", "batch show x", "batch show 0", "batch show -1", "task show", "task show 1.5", "customer", "customer abc",
		"customer 99999999999999999999", "report", "report x", "report 1 --format xml", "run --once --limit -1", "run --limit 3", "run --once --batch x", "run --for 5h",
		"run --once --for 5", "migrate down", "migrate up status", "batch pause 1", "batch cancel 1", "batch retry 1", "task resolve 1 --close", "task resolve 1 --reason x",
		"task list --state done", "task list --outcome fine", "task list --limit x", "pause", "resume", "org show", "org close-breaker default", "demo --customers 0",
		"sandbox --faults 2", "sandbox --customers -1", "sandbox --unknown 0.9 --merged 0.9", "enqueue --format xml list.csv",
	} {
		w.list("list.csv", 1)
		e := w.run(strings.Fields(args)...)
		if e.status != 2 || e.out != "" || !strings.Contains(e.err, "imagepurge: error: ") {
			t.Errorf("want exit status 2: %s", e)
		}
	}
}

// lists are the keys of JSON whose values are lists: never null.
var lists = map[string]bool{"batches": true, "organizations": true, "pauses": true, "workers": true, "running": true, "trouble": true, "outcomes": true,
	"images": true, "calls": true, "audit": true, "tasks": true, "checks": true, "estimates": true}

func TestJSONOfEveryCommand(t *testing.T) {
	t.Parallel()
	crowd := people(11, 40)
	w := newWorld(t, sandbox.Options{Seed: 11, Population: crowd})
	ids := everyone(crowd)
	check := func(status int, args string) {
		t.Helper()
		e := w.run(append(strings.Fields(args), "-o", "json")...)
		var v any
		d := json.NewDecoder(strings.NewReader(e.out))
		if err := d.Decode(&v); err != nil || e.status != status || d.More() {
			t.Errorf("want exit status %d and one JSON value (%v): %s", status, err, e)
			return
		}
		if v == nil {
			t.Errorf("null: %s", e)
		}
		if path := nullList(v); path != "" {
			t.Errorf("%s is null: %s", path, e)
		}
		if !strings.Contains(e.err, "database: ") && args != "version" && args != "schedule" {
			t.Errorf("the database is not named on stderr: %s", e)
		}
	}
	for _, args := range []string{"batch list", "task list"} { // nothing is there yet
		if e := w.must(0, append(strings.Fields(args), "-o", "json")...); strings.TrimSpace(e.out) != "[]" {
			t.Errorf("want []: %s", e)
		}
	}
	check(0, "status")
	batch := number(w.enqueue(ids))
	for _, args := range []string{"status", "batch list", "batch show " + batch, "task list", "task list --state review", "task show 1", "customer " + number(ids[0]), "report " + batch, "schedule", "org list",
		"org show default", "version", "migrate status", "doctor --offline", "pause --reason x", "resume --reason x", "resume --reason x", "batch pause " + batch + " --reason x", "batch resume " + batch + " --reason x"} {
		status := 0
		if strings.HasPrefix(args, "doctor") {
			status = doctorSays(w)
		}
		check(status, args)
	}
	check(3, "run --once")
	check(0, "run --once")
	for _, args := range []string{"status", "batch show " + batch, "task show 1", "task list", "customer " + number(ids[0]), "customer 4711 --check-now", "report " + batch} {
		check(0, args)
	}
	check(3, "status --check")
	for _, args := range []string{"batch show 4711", "task show 4711", "customer 4711", "report 4711", "batch pause 4711 --reason x"} {
		if e := w.run(append(strings.Fields(args), "-o", "json")...); e.status != 1 || e.out != "" || !strings.Contains(e.err, "imagepurge: error: ") {
			t.Errorf("%s", e)
		}
	}
}

// doctorSays is what doctor must end with here: a test's server may be one without
// fsync, which it calls wrong.
func doctorSays(w *world) int {
	return w.count("SELECT CASE WHEN current_setting('fsync') = 'on' AND current_setting('full_page_writes') = 'on' THEN 0 ELSE 1 END")
}

// nullList finds a list that is null.
func nullList(v any) string {
	switch v := v.(type) {
	case map[string]any:
		for k, x := range v {
			if x == nil && lists[k] {
				return k
			}
			if path := nullList(x); path != "" {
				return k + "." + path
			}
		}
	case []any:
		for _, x := range v {
			if path := nullList(x); path != "" {
				return "[]." + path
			}
		}
	}
	return ""
}

func TestDoctor(t *testing.T) {
	t.Parallel()
	crowd := present(112, 3, 1)
	w := newWorld(t, sandbox.Options{Seed: 112, Population: crowd})
	want := doctorSays(w)
	if e := w.must(want, "doctor"); !strings.Contains(e.out, "not checked: no customer waits") || w.api.Journal().Len() != 0 {
		t.Errorf("%s", e)
	}
	w.enqueue(everyone(crowd))
	if e := w.must(want, "doctor"); !strings.Contains(e.out, "a listing was answered") || w.api.Journal().Counters().Lists != 1 {
		t.Errorf("%s", e)
	}
	if e := w.must(want, "doctor", "--customer", "4711"); !strings.Contains(e.out, "the API answered") {
		t.Errorf("%s", e)
	}
	if e := w.with("CAPILLARY_PASSWORD="+wrongPassword).must(1, "doctor"); !strings.Contains(e.out, "401") || !strings.Contains(e.out, "CAPILLARY_PASSWORD") {
		t.Errorf("%s", e)
	}
	if e := w.with("CAPILLARY_PASSWORD").must(1, "doctor"); !strings.Contains(e.out, "CAPILLARY_PASSWORD") {
		t.Errorf("%s", e)
	}
	w.exec("INSERT INTO batches (organization_id, kind, name, tasks_total) SELECT id, 'file', 'x', 7 FROM organizations")
	w.must(want, "doctor", "--recount", "--offline")
	if n := w.count("SELECT sum(tasks_total)::int FROM batches"); n != 3 {
		t.Errorf("%d tasks after a recount", n)
	}
	if c := w.api.Journal().Counters(); c.Deletes != 0 {
		t.Errorf("%d deletes", c.Deletes)
	}
}
