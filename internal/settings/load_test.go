package settings

import (
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/imagepurge/imagepurge/jobs"
)

// contract is the table of the contract: variable, default as it is written
// there, and what Explain says of it where that is in other words.
var contract = []struct{ variable, written, explained string }{
	{"DATABASE_URL", "the embedded one", ""},
	{"IMAGEPURGE_DATA_DIR", "the user's data directory", ""},
	{"IMAGEPURGE_PG_BIN", "searched for", ""},
	{"CAPILLARY_BASE_URL", "none", ""},
	{"CAPILLARY_USERNAME", "", "none"},
	{"CAPILLARY_PASSWORD", "", "none"},
	{"CAPILLARY_PASSWORD_MD5", "", "none"},
	{"CAPILLARY_OAUTH_KEY", "", "none"},
	{"CAPILLARY_OAUTH_SECRET", "", "none"},
	{"CAPILLARY_RATE_PER_MINUTE", "100", ""},
	{"CAPILLARY_SOURCE", "INSTORE", ""},
	{"CAPILLARY_ACCOUNT_ID", "none", ""},
	{"IMAGEPURGE_MODE", "verified", ""},
	{"IMAGEPURGE_SCOPE", "snapshot", ""},
	{"IMAGEPURGE_SCHEDULE", "0 1 * * *", ""},
	{"IMAGEPURGE_WINDOW", "5h", ""},
	{"IMAGEPURGE_TIMEZONE", "UTC", ""},
	{"IMAGEPURGE_CONCURRENCY", "as rate × latency seen needs, up to 256", "256"},
	{"IMAGEPURGE_DELETE_BATCHING", "single", ""},
	{"IMAGEPURGE_VIEW_MAX_AGE", "10s", ""},
	{"IMAGEPURGE_MIGRATE_URL", "DATABASE_URL", ""},
	{"IMAGEPURGE_REQUEST_TIMEOUT", "30s", ""},
	{"IMAGEPURGE_SETTLE", "2m", ""},
	{"IMAGEPURGE_LISTING_LAG", "30s", ""},
	{"IMAGEPURGE_LEASE", "2m", ""},
	{"IMAGEPURGE_MAX_ATTEMPTS", "10", ""},
	{"IMAGEPURGE_BACKOFF_BASE", "5s", ""},
	{"IMAGEPURGE_BACKOFF_MAX", "1h", ""},
	{"IMAGEPURGE_LISTEN", "none; serve: 127.0.0.1:8080", ""},
	{"IMAGEPURGE_LOG_LEVEL", "info", ""},
	{"IMAGEPURGE_LOG_FORMAT", "text on a terminal, else json", ""},
	{"IMAGEPURGE_ALLOW_PLAIN_HTTP", "false", ""}, // in the text above the table
}

func TestKeysAreTheContracts(t *testing.T) {
	left := map[string]bool{}
	for _, k := range Keys() {
		if k.Variable == "" {
			if !k.list && !slices.Contains([]string{"name", "rate_share", "rate_by_hour", "shares_key_with", "attribution_type", "attribution_code"}, k.Name) {
				t.Errorf("%s has no variable", k.Name)
			}
			continue
		}
		left[k.Variable] = true
		want := strings.ToLower(k.Variable)
		for _, p := range []string{"imagepurge_", "capillary_"} {
			want = strings.TrimPrefix(want, p)
		}
		if k.Name != want {
			t.Errorf("%s is %s in the file, want %s", k.Variable, k.Name, want)
		}
		if !strings.Contains(k.Form, "such as") {
			t.Errorf("the form of %s has no example: %s", k.Variable, k.Form)
		}
	}
	shown := map[string]Line{}
	for _, line := range mustLoad(t, "").Explain() {
		shown[line.Variable] = line
		if line.Origin != "default" {
			t.Errorf("%s comes from %s", line.Key, line.Origin)
		}
	}
	for _, row := range contract {
		if !left[row.variable] {
			t.Errorf("no key has the variable %s", row.variable)
		}
		delete(left, row.variable)
		want := row.explained
		if want == "" {
			want = row.written
		}
		if line, ok := shown[row.variable]; ok && line.Value != want {
			t.Errorf("%s is by default %q, want %q", row.variable, line.Value, want)
		}
	}
	for v := range left {
		t.Errorf("%s is not in the contract", v)
	}
}

func TestDefaults(t *testing.T) {
	s := mustLoad(t, "")
	if len(s.Organizations) != 1 {
		t.Fatalf("%d organizations", len(s.Organizations))
	}
	o := s.Organizations[0]
	if got, want := o.Schedule.Entries()[0].Expression()+" "+short(o.Schedule.Entries()[0].Length())+" "+o.Schedule.Zone().String(), "0 1 * * * 5h UTC"; got != want {
		t.Errorf("plan %s, want %s", got, want)
	}
	o.Schedule = Organization{}.Schedule
	if want := (Organization{Name: "default", RatePerMinute: 100, RateShare: 1, Source: "INSTORE", Mode: jobs.Verified, Scope: jobs.Snapshot}); !reflect.DeepEqual(o, want) {
		t.Error("the organization's defaults differ")
	}
	s.Organizations, s.lines = nil, nil
	want := Settings{
		Concurrency: 256, Batching: jobs.SingleDelete, ViewMaxAge: 10 * time.Second, RequestTimeout: 30 * time.Second,
		Settle: 2 * time.Minute, ListingLag: 30 * time.Second, Lease: 2 * time.Minute,
		MaxAttempts: 10, BackoffBase: 5 * time.Second, BackoffMax: time.Hour, LogLevel: "info", Given: map[string]bool{},
	}
	if !reflect.DeepEqual(s, want) {
		t.Error("the process's defaults differ")
	}
}

func TestPrecedence(t *testing.T) {
	file := "mode: economy\nrequest_timeout: 20s\nsettle: 3m\npassword_file: /run/none\nallow_plain_http: true\nrate_share: 29%\n"
	s := mustLoad(t, file, "IMAGEPURGE_REQUEST_TIMEOUT= 10s ", "IMAGEPURGE_SETTLE=", "CAPILLARY_PASSWORD=env", "IMAGEPURGE_SCOPE=until_empty", "IMAGEPURGE_LISTEN=:1", "IMAGEPURGE_LISTEN=:2", "IMAGEPURGE_MODE=  ")
	o := s.Organizations[0]
	got := []any{s.RequestTimeout, s.Settle, o.Password, o.Mode, o.Scope, o.ModeGiven, o.ScopeGiven, o.SourceGiven, s.AllowPlainHTTP, s.Listen, o.PerMinute()}
	want := []any{10 * time.Second, 3 * time.Minute, "env", jobs.Economy, jobs.UntilEmpty, true, true, false, true, ":2", 29}
	if d := cmp.Diff(got, want); d != "" {
		t.Errorf("got-, want+:\n%s", d)
	}
	given := map[string]bool{"IMAGEPURGE_REQUEST_TIMEOUT": true, "IMAGEPURGE_SETTLE": true, "CAPILLARY_PASSWORD": true, "IMAGEPURGE_MODE": true, "IMAGEPURGE_SCOPE": true, "IMAGEPURGE_LISTEN": true, "IMAGEPURGE_ALLOW_PLAIN_HTTP": true, "rate_share": true}
	if d := cmp.Diff(s.Given, given); d != "" {
		t.Errorf("Given: got-, want+:\n%s", d)
	}
	origins := map[string]string{}
	for _, l := range s.Explain() {
		origins[l.Key] = l.Value + " from " + l.Origin
	}
	for key, want := range map[string]string{
		"request_timeout": "10s from environment", "settle": "3m from f.yaml:3", "password": masked + " from environment", "lease": "2m from default",
	} {
		if origins[key] != want {
			t.Errorf("%s is %s, want %s", key, origins[key], want)
		}
	}
}

func TestFileByVariableAndFlag(t *testing.T) {
	src := Source{Environ: []string{"IMAGEPURGE_CONFIG=a.yaml"}, ReadFile: files{"a.yaml": "mode: economy\n", "b.yaml": "\ufeff# nothing\n"}.read}
	s, err := Load(src)
	if err != nil || s.Organizations[0].Mode != jobs.Economy {
		t.Errorf("IMAGEPURGE_CONFIG isn't read: %v", err)
	}
	src.File, src.AllowPlainHTTP = "b.yaml", true
	src.Environ = append(src.Environ, "CAPILLARY_BASE_URL=http://sandbox:8090/v2", "IMAGEPURGE_ALLOW_PLAIN_HTTP=false")
	s, err = Load(src)
	if err != nil || s.Organizations[0].Mode != jobs.Verified || !s.AllowPlainHTTP || !s.Given["IMAGEPURGE_ALLOW_PLAIN_HTTP"] {
		t.Errorf("--config and --allow-plain-http don't go first: %v", err)
	}
}

func TestSecretsElsewhere(t *testing.T) {
	s := mustLoad(t, "", "CAPILLARY_PASSWORD_FILE=/run/pw")
	if s.Organizations[0].Password != "fromfile" || !s.Given["CAPILLARY_PASSWORD"] {
		t.Error("CAPILLARY_PASSWORD_FILE isn't read, or its newline stays")
	}
	s = mustLoad(t, "organizations:\n- name: a\n  username: u\n  password_env: CAPILLARY_PW_A\n- name: b\n  password_file: /run/pw\n", "CAPILLARY_PW_A=p:1")
	if s.Organizations[0].Password != "p:1" || s.Organizations[1].Password != "fromfile" || len(s.Warnings) > 0 {
		t.Errorf("password_env or password_file isn't read; warnings %q", s.Warnings)
	}
	want := Line{"organizations.b.password", "", masked, "f.yaml:6 (organizations.b.password_file /run/pw)"}
	found := false
	for _, l := range s.Explain() {
		found = found || l == want
	}
	if !found {
		t.Errorf("no line is %+v", want)
	}
}

func TestOrganizations(t *testing.T) {
	s := mustLoad(t, `
organizations:
  - name: brand-a
    base_url: https://eu.api.capillarytech.com
    username: till01
    password: 0123
    rate_per_minute: 700
    rate_share: 80%
    schedule: "30 22 * * *"
    window: 5h
    timezone: Europe/Berlin
  - {name: b, account_id: 007, mode: economy}
`)
	a, _ := s.Organization("brand-a")
	b, ok := s.Organization("b")
	if a.Password != "0123" || a.PerMinute() != 560 || a.Schedule.Zone().String() != "Europe/Berlin" || a.Schedule.Entries()[0].Expression() != "30 22 * * *" {
		t.Error("brand-a differs from the file")
	}
	if !ok || b.AccountID != "007" || b.Mode != jobs.Economy || b.RatePerMinute != 100 {
		t.Error("b differs from the file")
	}
	if _, ok := s.Organization("c"); ok {
		t.Error("there is no c")
	}
	one := mustLoad(t, "organizations:\n- name: only\n  mode: economy\n", "IMAGEPURGE_MODE=paranoid", "CAPILLARY_USERNAME=u")
	if o, ok := one.Organization("only"); !ok || o.Mode != jobs.Paranoid || o.Username != "u" {
		t.Error("variables don't override the only entry of a list")
	}
	if _, ok := mustLoad(t, "organizations:\n- mode: economy\n").Organization("default"); !ok {
		t.Error("the only entry of a list isn't default where it has no name")
	}
}

func TestWarnings(t *testing.T) {
	s := mustLoad(t, "", "IMAGEPURGE_REQEST_TIMEOUT=1", "CAPILLARY_RATE_SHARE=80%", "IMAGEPURGE_BASE_URL=x", "CAPILLARY_PASWORD_FILE=hunter2", "IMAGEPURGE_TIMEOUT=1", "IMAGEPURGE_MODE_FILE=x", "IMAGEPURGE_EMPTY=",
		"IMAGEPURGE_SERVICE_HOST=1", "IMAGEPURGE_CONSOLE_SERVICE_HOST=1", "IMAGEPURGE_SERVICE_PORT=1", "IMAGEPURGE_PORT=tcp://1", "CAPILLARY_PORT_80_TCP_ADDR=1", "IMAGEPURGE_TEST_KEEP=1", "IMAGEPURGE_PG_DOWNLOAD_URL=x", "HOME=/", "DATABASE_URI=x")
	want := []string{
		"CAPILLARY_PASWORD_FILE is not a setting; the nearest name is CAPILLARY_PASSWORD_FILE",
		"CAPILLARY_RATE_SHARE is not a variable; the nearest name is rate_share, a key of the settings file",
		"IMAGEPURGE_BASE_URL is not a setting; the nearest name is CAPILLARY_BASE_URL",
		"IMAGEPURGE_MODE_FILE is not a setting; the nearest name is IMAGEPURGE_MODE",
		"IMAGEPURGE_REQEST_TIMEOUT is not a setting; the nearest name is IMAGEPURGE_REQUEST_TIMEOUT",
		"IMAGEPURGE_TIMEOUT is not a setting; the nearest name is IMAGEPURGE_REQUEST_TIMEOUT",
	}
	if d := cmp.Diff(s.Warnings, want); d != "" {
		t.Errorf("got-, want+:\n%s", d)
	}
	s, err := from("", "IMAGEPURGE_LESE=1", "IMAGEPURGE_LEASE=x")
	if err == nil || len(s.Warnings) != 1 {
		t.Errorf("a warning is lost beside an error: %q, %v", s.Warnings, err)
	}
}

func TestNeedAPI(t *testing.T) {
	whole := []string{"CAPILLARY_BASE_URL=https://x", "CAPILLARY_USERNAME=u"}
	for _, p := range []string{"CAPILLARY_PASSWORD=p", "CAPILLARY_PASSWORD_MD5=0123456789ABCDEF0123456789abcdef"} {
		if err := mustLoad(t, "", append(whole, p)...).NeedAPI(); err != nil {
			t.Error(err)
		}
	}
	err := mustLoad(t, "").NeedAPI()
	want := `3 faults in the settings:
  CAPILLARY_BASE_URL (environment): is missing; give scheme and host, such as https://eu.api.capillarytech.com
  CAPILLARY_USERNAME (environment): is missing; give the till's user name, such as till01
  CAPILLARY_PASSWORD (environment): it and CAPILLARY_PASSWORD_MD5 are missing, one is needed; give the till's password, such as CAPILLARY_PASSWORD_FILE=/run/secrets/till01 (in the settings file, password_file: /run/secrets/till01), or the password's MD5 as 32 hex digits, such as 0123456789abcdef0123456789abcdef
to try it without any of this: imagepurge demo`
	if err == nil || err.Error() != want {
		t.Errorf("got %v\nwant %s", err, want)
	}
	err = mustLoad(t, "organizations:\n- name: a\n  username: u\n  password: p\n- name: b\n  base_url: https://x\n  password: p\n").NeedAPI()
	if d := cmp.Diff(faultsOf(t, err), []string{
		"organizations.a.base_url (f.yaml:2): is missing; give scheme and host, such as https://eu.api.capillarytech.com",
		"organizations.b.username (f.yaml:5): is missing; give the till's user name, such as till01",
	}); d != "" {
		t.Errorf("got-, want+:\n%s", d)
	}
}
