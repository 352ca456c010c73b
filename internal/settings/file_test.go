package settings

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestFileFaults(t *testing.T) {
	const yaml = "; give YAML, keys with values, such as request_timeout: 30s"
	list := "organizations:\n- name: a\n  username: u\n- name: b\n"
	for name, c := range map[string]struct {
		file    string
		environ []string
		want    []string
	}{
		"an unknown key":      {"reqest_timeout: 5s\n", nil, []string{"reqest_timeout (f.yaml:1): is not a key; the nearest name is request_timeout"}},
		"a variable's name":   {"CAPILLARY_BASE_URL: https://x\n", nil, []string{"CAPILLARY_BASE_URL (f.yaml:1): is not a key; the nearest name is base_url"}},
		"a key twice":         {"mode: economy\n\nmode: verified\n", nil, []string{"mode (f.yaml:3): is given twice, first at f.yaml:1"}},
		"a key that is none":  {"5: x\n", nil, []string{"(unreadable key) (f.yaml:1): is not a key; give keys with values, such as request_timeout: 30s"}},
		"no value":            {"source:\nmode: \"\"\n", nil, []string{"source (f.yaml:1): has no value; leave it out for the default; give a source's name, such as INSTORE", "mode (f.yaml:2): has no value; leave it out for the default; give economy, verified or paranoid, such as verified"}},
		"a list for a value":  {"mode: [economy]\n", nil, []string{"mode (f.yaml:1): is a list or a mapping, and takes one value; give economy, verified or paranoid, such as verified"}},
		"an anchor":           {"mode: &m economy\n", nil, []string{"mode (f.yaml:1): is an anchor, an alias or a tag, which aren't taken; a value that begins with &, * or ! stands in quotes; give economy, verified or paranoid, such as verified"}},
		"a bare number":       {"request_timeout: 30\n", nil, []string{`request_timeout (f.yaml:1): "30" has no unit; for seconds it is 30s; give a duration from 100ms to 168h, such as 30s`}},
		"a share":             {"rate_share: 0.8\n", nil, []string{`rate_share (f.yaml:1): "0.8" is not a percentage in whole numbers; give a percentage from 1% to 100%, such as 80%`}},
		"a share of 80":       {"rate_share: 80\n", nil, []string{`rate_share (f.yaml:1): "80" has no percent sign; give a percentage from 1% to 100%, such as 80%`}},
		"a share of 101%":     {"rate_share: 101%\n", nil, []string{`rate_share (f.yaml:1): "101%" is not from 1% to 100%; give a percentage from 1% to 100%, such as 80%`}},
		"stars without quote": {"\nschedule: * * * * *\n", nil, []string{"f.yaml (f.yaml:2): is not YAML: a value that begins with *, @ or another special character stands in quotes" + yaml}},
		"an open quote":       {"password: 'hunter2\n", nil, []string{"f.yaml (f.yaml:1): is not YAML: could not find end character of single-quoted text" + yaml}},
		"a colon too many":    {"mode: economy\npassword: hunter2: x\n", nil, []string{"f.yaml (f.yaml:2): is not YAML: mapping value is not allowed in this context" + yaml}},
		"no keys":             {"password hunter2\n", nil, []string{"f.yaml (f.yaml:1): holds no keys; give keys with values, such as request_timeout: 30s"}},
		"two documents":       {"mode: economy\n---\nmode: hunter2\n", nil, []string{"f.yaml (f.yaml:3): a second YAML document begins here, and the file is one (a %YAML line counts)"}},
		"a long line":         {"mode: " + strings.Repeat("x", maxLine), nil, []string{"f.yaml (f.yaml:1): the line is longer than 4 KiB"}},
		"a long file":         {strings.Repeat("#\n", maxFile), nil, []string{"f.yaml (f.yaml:1): the file is longer than 256 KiB"}},
		"brackets":            {strings.Repeat("[", maxBrackets+1), nil, []string{"f.yaml (f.yaml:1): the file has more than 1000 opening brackets"}},
		"no list":             {"organizations: hunter2\n", nil, []string{"organizations (f.yaml:1): is no list with at least one entry; give a list whose entries begin with a dash, such as - name: brand-a"}},
		"an entry of none":    {"organizations:\n- name: a\n- hunter2\n", nil, []string{"organizations[1] (f.yaml:3): holds no keys; give keys with values, such as name: brand-a"}},
		"levels confused": {"mode: economy\norganizations:\n- name: a\n  lease: 5m\n", nil, []string{
			"mode (f.yaml:1): is of one organization; beside a list it stands in the list's entries",
			"organizations.a.lease (f.yaml:4): is of the whole process; it stands at the file's top level"}},
		"a name without list": {"name: a\n", nil, []string{"name (f.yaml:1): is of an entry of organizations; without that list the only one is called default"}},
		"a bad name":          {"organizations:\n- name: Brand A\n- name: b\n", nil, []string{`organizations[0].name (f.yaml:2): "Brand A" is not such a name; give ` + nameForm}},
		"no name":             {"organizations:\n- name: a\n- mode: economy\n", nil, []string{"organizations[1].name (f.yaml:3): is missing, and with several organizations each has one of its own; give " + nameForm}},
		"a name twice":        {"organizations:\n- name: a\n- mode: economy\n  name: a\n", nil, []string{`organizations.a.name (f.yaml:4): "a" is the name of another one, at f.yaml:2; give ` + nameForm}},
		"an entry's value":    {"organizations:\n- name: a\n  timezone: Mars\n- name: b\n  rate_per_minute: many\n", nil, []string{`organizations.a.timezone (f.yaml:3): "Mars" is not a known time zone; give an IANA name such as Europe/Berlin`, `organizations.b.rate_per_minute (f.yaml:5): "many" is not a whole number in these bounds; give a whole number from 2 to 1000000, such as 100`}},
		"variables beside several": {list, []string{"CAPILLARY_PASSWORD_FILE=/run/none", "IMAGEPURGE_MODE=economy", "IMAGEPURGE_LEASE=3m"}, []string{
			"CAPILLARY_PASSWORD_FILE (environment): speaks for one organization, and f.yaml:1 lists 2; unset it, and give password_file in the entry that it is for",
			"IMAGEPURGE_MODE (environment): speaks for one organization, and f.yaml:1 lists 2; unset it, and give mode in the entry that it is for"}},
		"a variable unset":      {"password_env: BRAND_A_PW\n", nil, []string{"password_env (f.yaml:1): BRAND_A_PW is not set; give the name of an environment variable with the value, such as BRAND_A_PASSWORD"}},
		"a password for NAME":   {"password_env: hunter2\n", nil, []string{"password_env (f.yaml:1): the variable that it names is not set; give the name of an environment variable with the value, such as BRAND_A_PASSWORD"}},
		"no variable":           {"password_env: hunter2!\n", nil, []string{"password_env (f.yaml:1): does not name a variable; give the name of an environment variable with the value, such as BRAND_A_PASSWORD"}},
		"_env of the process":   {"database_url_env: X\n", nil, []string{"database_url_env (f.yaml:1): is not a key; the nearest name is database_url"}},
		"a secret's file":       {"password_file: /run/empty\n", nil, []string{"password_file (f.yaml:1): /run/empty is empty; give the path of a file that holds the value, such as /run/secrets/password"}},
		"an overridden mistake": {"mode: fast\n", []string{"IMAGEPURGE_MODE=economy"}, []string{`mode (f.yaml:1): "fast" is not known; give economy, verified or paranoid, such as verified`}},
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

func TestFileForms(t *testing.T) {
	for name, file := range map[string]string{
		"comments only": "# nothing\n", "CRLF": "mode: economy\r\nlease: 3m\r\n", "a marker": "---\nmode: economy\n",
		"flow": "{mode: economy, lease: 3m}", "quotes": "mode: 'economy'\nmax_attempts: \"5\"\n", "a comment": "window: 5h # long\nschedule: 0 1 * * *\nrate_share: 80%\n",
		"a block": "username: |\n  till01\npassword: >-\n  x\n",
	} {
		s, err := from(file)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if name == "a block" && s.Organizations[0].Username != "till01" {
			t.Error("the newline of a block stays")
		}
	}
}
