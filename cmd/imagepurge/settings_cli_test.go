package main_test

import (
	"strings"
	"testing"

	"github.com/imagepurge/imagepurge/capillary/sandbox"
)

func TestWrongSettingsAreNamedWithTheirForm(t *testing.T) {
	t.Parallel()
	w := newWorld(t, sandbox.Options{})
	for _, c := range []struct{ set, form string }{
		{"DATABASE_URL=nonsense", "postgres://"},
		{"CAPILLARY_BASE_URL=eu.api.capillarytech.com", "https://"},
		{"CAPILLARY_BASE_URL=http://eu.api.capillarytech.com", "https://eu.api.capillarytech.com"},
		{"CAPILLARY_BASE_URL=http://api.example", "--allow-plain-http"},
		{"CAPILLARY_RATE_PER_MINUTE=many", "100"},
		{"CAPILLARY_RATE_PER_MINUTE=0", "100"},
		{"CAPILLARY_PASSWORD_MD5=xyz", "32 hex"},
		{"IMAGEPURGE_MODE=fast", "economy, verified or paranoid"},
		{"IMAGEPURGE_SCOPE=all", "until_empty"},
		{"IMAGEPURGE_SCHEDULE=every night", "0 1 * * *"},
		{"IMAGEPURGE_WINDOW=5", "5h"},
		{"IMAGEPURGE_TIMEZONE=Mars/Base", "Europe/Berlin"},
		{"IMAGEPURGE_CONCURRENCY=0", "whole number"},
		{"IMAGEPURGE_DELETE_BATCHING=some", "single or all"},
		{"IMAGEPURGE_VIEW_MAX_AGE=-1s", "10s"},
		{"IMAGEPURGE_REQUEST_TIMEOUT=50ms", "100ms"},
		{"IMAGEPURGE_REQUEST_TIMEOUT=30", "30s"},
		{"IMAGEPURGE_LEASE=1s", "at least"},
		{"IMAGEPURGE_SETTLE=1s", "at least"},
		{"IMAGEPURGE_LISTING_LAG=long", "30s"},
		{"IMAGEPURGE_MAX_ATTEMPTS=-1", "10"},
		{"IMAGEPURGE_BACKOFF_BASE=2h", "IMAGEPURGE_BACKOFF"},
		{"IMAGEPURGE_BACKOFF_MAX=x", "1h"},
		{"IMAGEPURGE_LOG_LEVEL=loud", "debug, info, warn or error"},
		{"IMAGEPURGE_LOG_FORMAT=xml", "json"},
		{"IMAGEPURGE_LISTEN=8080", "127.0.0.1:8080"},
	} {
		name, _, _ := strings.Cut(c.set, "=")
		for _, command := range []string{"run --once", "status"} {
			e := w.with(c.set).run(strings.Fields(command)...)
			if e.status != 1 || !strings.Contains(e.err, name) || !strings.Contains(e.err, c.form) || e.out != "" {
				t.Errorf("%s: want exit status 1, %q and %q: %s", c.set, name, c.form, e)
			}
		}
	}
	if n := w.api.Journal().Len(); n != 0 {
		t.Errorf("%d calls were made", n)
	}
}

func TestMissingSettingsAreNamedAtOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t, sandbox.Options{}).with("CAPILLARY_BASE_URL", "CAPILLARY_USERNAME", "CAPILLARY_PASSWORD")
	e := w.must(1, "run", "--once")
	for _, says := range []string{"CAPILLARY_BASE_URL", "CAPILLARY_USERNAME", "CAPILLARY_PASSWORD", "imagepurge demo"} {
		if !strings.Contains(e.err, says) {
			t.Errorf("%q is not named: %s", says, e)
		}
	}
	w.list("list.csv", 1)
	for _, args := range []string{"enqueue list.csv", "status", "report 1", "task list", "batch list", "batch show 1"} {
		w.must(0, strings.Fields(args)...) // these need none
	}
	if e := w.with("IMAGEPURGE_MODUS=fast").must(0, "status"); !strings.Contains(e.err, "IMAGEPURGE_MODUS") || !strings.Contains(e.err, "IMAGEPURGE_MODE") {
		t.Errorf("an unknown variable is not warned of: %s", e)
	}
	if e := w.with("CAPILLARY_API_SERVICE_HOST=10.0.0.1", "IMAGEPURGE_PORT_80_TCP=tcp://10.0.0.1").must(0, "status"); strings.Contains(e.err, "warning") {
		t.Errorf("%s", e)
	}
}

func TestSettingsFile(t *testing.T) {
	t.Parallel()
	crowd := present(95, 6, 1)
	w := newWorld(t, sandbox.Options{Seed: 95, Population: crowd})
	w.file("secret", till.Password+"\n")
	w.file("good.yaml", "request_timeout: 15s\norganizations:\n  - name: brand-a\n    base_url: "+w.ear.URL+"/\n    username: "+till.Username+
		"\n    password_file: "+w.dir+"/secret\n    rate_per_minute: 6000\n    mode: economy\n")
	bare := w.with("CAPILLARY_BASE_URL", "CAPILLARY_USERNAME", "CAPILLARY_PASSWORD", "CAPILLARY_RATE_PER_MINUTE")
	bare.enqueueWith("good.yaml", everyone(crowd))
	bare.must(0, "run", "--once", "--config", "good.yaml")
	w.wantCalls(0, func(n int) int { return n + 1 })
	w.wantHarmless(true)

	for content, says := range map[string][]string{
		"reqest_timeout: 5s\n":                       {"reqest_timeout", "request_timeout", "bad.yaml:1"},
		"mode: verified\nmode: economy\n":            {"mode", "bad.yaml:2"},
		"organizations:\n  - name: a\n    base: x\n": {"base", "bad.yaml:3"},
		"settle: [1, 2]\n":                           {"settle", "bad.yaml:1"},
		"\tx: 1\n":                                   {"bad.yaml"},
	} {
		w.file("bad.yaml", content)
		for _, e := range []ended{w.run("status", "--config", "bad.yaml"), w.with("IMAGEPURGE_CONFIG=bad.yaml").run("status")} {
			for _, s := range says {
				if e.status != 1 || !strings.Contains(e.err, s) {
					t.Errorf("%q: want exit status 1 and %q: %s", content, s, e)
				}
			}
		}
	}
	if e := w.must(1, "status", "--config", "absent.yaml"); !strings.Contains(e.err, "absent.yaml") {
		t.Errorf("%s", e)
	}
	if e := w.with("CAPILLARY_PASSWORD", "CAPILLARY_PASSWORD_FILE=absent").must(1, "run", "--once"); !strings.Contains(e.err, "CAPILLARY_PASSWORD_FILE") {
		t.Errorf("%s", e)
	}
}

func (w *world) enqueueWith(config string, ids []int64) {
	w.Helper()
	w.must(0, "enqueue", "--config", config, w.list("of-"+config+".csv", ids...))
}
