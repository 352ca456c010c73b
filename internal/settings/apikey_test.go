package settings

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// brands is a file of entries, each with its lines.
func brands(entries ...string) string {
	var b strings.Builder
	b.WriteString("organizations:\n")
	for _, e := range entries {
		b.WriteString("- " + strings.ReplaceAll(strings.TrimSpace(e), "; ", "\n  ") + "\n")
	}
	return b.String()
}

func TestExactlyOneKindOfAuthentication(t *testing.T) {
	const one = "; give one of the two kinds, such as username with password_file alone"
	for name, c := range map[string]struct {
		file    string
		environ []string
		want    []string
	}{
		"both": {"username: hunter2\noauth_key: hunter2\n", nil, []string{"oauth_key (f.yaml:2): is given beside username (f.yaml:1): Basic and OAuth exclude each other" + one}},
		"both, one by variable": {"oauth_secret_file: /run/pw\n", []string{"CAPILLARY_PASSWORD=hunter2"},
			[]string{"oauth_secret_file (f.yaml:1): is given beside CAPILLARY_PASSWORD (environment): Basic and OAuth exclude each other" + one}},
		"attribution with Basic": {"username: hunter2\nattribution_type: TILL\nattribution_code: hunter2\n", nil,
			[]string{"attribution_type (f.yaml:2): goes with OAuth alone; give oauth_key and oauth_secret beside it, such as oauth_key_file: /run/secrets/oauth-key"}},
		"half an attribution": {"oauth_key: hunter2\noauth_secret: x\nattribution_type: TILL\n", nil,
			[]string{"attribution_type (f.yaml:3): is given without attribution_code; give both, such as attribution_code: till01"}},
		"a header's end": {"oauth_key: hunter2\noauth_secret: x\nattribution_type: TILL\nattribution_code: \"a\\nb\"\n", nil,
			[]string{"attribution_code (f.yaml:4): holds a control character, which a header can't carry; give on whose behalf calls with OAuth run, such as till01"}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := from(c.file, c.environ...)
			if d := cmp.Diff(faultsOf(t, err), c.want); d != "" {
				t.Errorf("got-, want+:\n%s", d)
			}
			if strings.Contains(err.Error(), "hunter2") {
				t.Errorf("the error holds a secret: %v", err)
			}
		})
	}
}

func TestOAuthIsServed(t *testing.T) {
	s := mustLoad(t, "base_url: https://x\noauth_key: k\noauth_secret_file: /run/pw\nattribution_type: TILL\nattribution_code: till01\n")
	o := s.Organizations[0]
	if o.Auth() != OAuth || o.OAuthSecret != "fromfile" || o.AttributionType != "TILL" || o.AttributionCode != "till01" {
		t.Error("OAuth differs from the file")
	}
	if err := s.NeedAPI(); err != nil {
		t.Error(err)
	}
	err := mustLoad(t, "base_url: https://x\n", "CAPILLARY_OAUTH_KEY=k").NeedAPI()
	if d := cmp.Diff(faultsOf(t, err), []string{"CAPILLARY_OAUTH_SECRET (environment): is missing; give the client secret for OAuth, such as CAPILLARY_OAUTH_SECRET_FILE=/run/secrets/oauth-secret"}); d != "" {
		t.Errorf("got-, want+:\n%s", d)
	}
}

func TestOneKeyHasOneBudget(t *testing.T) {
	const till = "; base_url: https://EU.api.capillarytech.com/v2; username: hunter2"
	missing := "organizations.b.shares_key_with (f.yaml:5): is missing: b has the API key of a (f.yaml:2), and one key has one budget; give shares_key_with: a where that is meant, such as for two sources of one brand"
	for name, c := range map[string]struct {
		file string
		want []string
	}{
		"one key under two labels":    {brands("name: a"+till, "name: b; base_url: https://eu.api.capillarytech.com:443; username: hunter2"), []string{missing}},
		"the same key of OAuth":       {brands("name: a; base_url: https://x; oauth_key: hunter2", "name: b; base_url: https://x; oauth_key: hunter2"), []string{missing}},
		"it is meant":                 {brands("name: a"+till, "name: b"+till+"; shares_key_with: a"), nil},
		"it is meant, backwards":      {brands("name: a; shares_key_with: b"+till, "name: b"+till), nil},
		"it is meant, three":          {brands("name: a"+till, "name: b"+till+"; shares_key_with: a", "name: c; shares_key_with: b"+till), nil},
		"it is meant, three forwards": {brands("name: a; shares_key_with: b"+till, "name: b; shares_key_with: c"+till, "name: c"+till), nil},
		"another host":                {brands("name: a"+till, "name: b; base_url: https://apac.api.capillarytech.com; username: hunter2"), nil},
		"another user":                {brands("name: a"+till, "name: b; base_url: https://eu.api.capillarytech.com; username: other"), nil},
		"OAuth's key is no user":      {brands("name: a; base_url: https://x; oauth_key: hunter2", "name: b; base_url: https://x; username: hunter2"), nil},
		"nothing to compare as yet":   {brands("name: a; username: hunter2", "name: b; username: hunter2"), nil},
		"different rates": {brands("name: a; rate_per_minute: 300"+till, "name: b; shares_key_with: a; rate_per_minute: 400"+till), []string{
			"organizations.b.rate_per_minute (f.yaml:8): differs from that of a (f.yaml:3), which has the same API key; give the same for both, such as rate_per_minute left out of both"}},
		"a share of one": {brands("name: a"+till, "name: b; shares_key_with: a; rate_share: 80%"+till), []string{
			"organizations.b.rate_share (f.yaml:7): differs from that of a (f.yaml:2), which has the same API key; give the same for both, such as rate_share left out of both"}},
		"hours of one": {brands("name: a; rate_by_hour: 0-1 5"+till, "name: b; shares_key_with: a"+till), []string{
			"organizations.b.rate_by_hour (f.yaml:6): differs from that of a (f.yaml:3), which has the same API key; give the same for both, such as rate_by_hour left out of both"}},
		"the same hours elsewhere": {brands("name: a; rate_by_hour: 0-1 5"+till, "name: b; shares_key_with: a; rate_by_hour: 0-1 5; timezone: Europe/Berlin"+till), []string{
			"organizations.b.timezone (f.yaml:9): differs from that of a (f.yaml:2), which has the same API key; give the same for both, such as timezone left out of both"}},
		"shared with nobody": {brands("name: a", "name: b; shares_key_with: c"), []string{
			`organizations.b.shares_key_with (f.yaml:4): "c" is no organisation of this file; give the name of another organisation with the same API key, such as brand-a`}},
		"shared with itself": {brands("name: a", "name: b; shares_key_with: b"), []string{
			"organizations.b.shares_key_with (f.yaml:4): names the organisation itself; give the name of another organisation with the same API key, such as brand-a"}},
		"shared without need": {brands("name: a"+till, "name: b; shares_key_with: a; base_url: https://eu.api.capillarytech.com; username: other"), []string{
			"organizations.b.shares_key_with (f.yaml:6): a has another API key or another host; give the name of another organisation with the same API key, such as brand-a"}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := from(c.file)
			if d := cmp.Diff(faultsOf(t, err), c.want); d != "" {
				t.Errorf("%s\ngot-, want+:\n%s", c.file, d)
			}
			if err != nil && strings.Contains(err.Error(), "hunter2") {
				t.Errorf("the error holds a key: %v", err)
			}
		})
	}
}

func TestRateByHour(t *testing.T) {
	o := mustLoad(t, "rate_per_minute: 700\nrate_by_hour: 08-20 300, 22-24 500\n").Organizations[0]
	var want [24]int
	for h := 8; h < 20; h++ {
		want[h] = 300
	}
	want[22], want[23] = 500, 500
	if o.RateByHour != want {
		t.Errorf("%v", o.RateByHour)
	}
	for value, problem := range map[string]string{
		"22-06 300":          `"22-06 300" ends before it begins; what goes over midnight is two ranges`,
		"8-8 300":            `"8-8 300" ends before it begins; what goes over midnight is two ranges`,
		"8-25 300":           `"8-25 300" has no hours from 0 to 24`,
		"8-12 300, 11-13 50": `"11-13 50" has the hour 11 of a range before it`,
		"8-12 0":             `"8-12 0" has a rate below 1; to stop for hours, set the window`,
		"8-12 -1":            `"8-12 -1" has a rate below 1; to stop for hours, set the window`,
		"8-12 701":           `"8-12 701" is above rate_per_minute, which is 700`,
		"8-12":               `"8-12" is not hours with a rate`,
		"8-12 300,":          `"" is not hours with a rate`,
		"8:00-12:00 300":     `"8:00-12:00 300" is not hours with a rate`,
	} {
		_, err := from("rate_per_minute: 700\nrate_by_hour: " + value + "\n")
		if d := cmp.Diff(faultsOf(t, err), []string{"rate_by_hour (f.yaml:2): " + problem + "; give " + hoursForm}); d != "" {
			t.Errorf("%q: got-, want+:\n%s", value, d)
		}
	}
}

func TestNormalBaseURL(t *testing.T) {
	for raw, want := range map[string]string{
		"https://eu.api.capillarytech.com":         "https://eu.api.capillarytech.com",
		"https://EU.Api.capillarytech.com/v2/":     "https://eu.api.capillarytech.com",
		"https://eu.api.capillarytech.com.:443/v2": "https://eu.api.capillarytech.com",
		"http://127.0.0.1:8085/":                   "http://127.0.0.1:8085",
		"http://[::1]:80":                          "http://[::1]",
		"":                                         "",
	} {
		if got := NormalBaseURL(raw); got != want {
			t.Errorf("%q is %q, want %q", raw, got, want)
		}
	}
	if got := (Organization{BaseURL: "https://X:8443/v2"}).Host(); got != "x:8443" {
		t.Errorf("host %q", got)
	}
}

// A rotated password is taken; what can't be, leaves the old one.
func TestReread(t *testing.T) {
	s := mustLoad(t, "username_file: /run/pw\npassword_file: /run/pw\n")
	o := s.Organizations[0]
	read := func(f files) (Organization, bool, []string) { return o.Reread(f.read) }
	now, changed, problems := read(files{"/run/pw": "fromfile\n"})
	if changed || len(problems) > 0 || now.Password != "fromfile" {
		t.Errorf("%v %v", changed, problems)
	}
	for name, c := range map[string]struct {
		file    files
		problem string
	}{
		"gone":  {files{}, "password_file can't be read"},
		"empty": {files{"/run/pw": "\n"}, "password_file is empty"},
	} {
		now, changed, problems := read(c.file)
		if changed || now.Password != "fromfile" || len(problems) != 2 || problems[1] != c.problem {
			t.Errorf("%s: %v %q", name, changed, problems)
		}
	}
	s = mustLoad(t, "username: u\n", "CAPILLARY_PASSWORD_FILE=/run/pw")
	o = s.Organizations[0]
	if now, changed, problems := read(files{"/run/pw": "another"}); !changed || now.Password != "another" || len(problems) > 0 {
		t.Errorf("a rotated password isn't taken: %v %q", changed, problems)
	}
	s = mustLoad(t, "username_file: /run/pw\npassword: x\n")
	o = s.Organizations[0]
	if now, changed, problems := read(files{"/run/pw": "another"}); changed || now.Username != "fromfile" || len(problems) != 1 {
		t.Errorf("another user is taken without a start: %v %q", changed, problems)
	}
}

func TestCheckValue(t *testing.T) {
	s := mustLoad(t, "")
	for _, c := range []struct{ name, value, want string }{
		{"mode", "economy", "economy"}, {"base_url", "https://EU.api.capillarytech.com/v2", "https://eu.api.capillarytech.com"}, {"account_id", "007", "007"},
	} {
		if got, err := s.CheckValue(c.name, c.value); got != c.want || err != nil {
			t.Errorf("%s=%s is %q, %v", c.name, c.value, got, err)
		}
	}
	for _, c := range []struct{ name, value string }{{"mode", "fast"}, {"scope", ""}, {"base_url", "http://example.com"}} {
		var e *Error
		if _, err := s.CheckValue(c.name, c.value); !errors.As(err, &e) {
			t.Errorf("%s=%s: %v", c.name, c.value, err)
		}
	}
}
