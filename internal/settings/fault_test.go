package settings

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestVariables walks every bound: each value alone, and the fault it makes.
func TestVariables(t *testing.T) {
	const (
		timeout  = "a duration from 100ms to 168h, such as 30s"
		web      = "scheme and host, such as https://eu.api.capillarytech.com"
		window   = "a duration above 0 and up to 168h (7 days), such as 5h or 90m"
		postgres = "a Postgres URL, such as postgres://imagepurge@db.example:5432/imagepurge"
	)
	for _, c := range []struct{ pair, problem, form string }{
		{"IMAGEPURGE_REQUEST_TIMEOUT=100ms", "", ""},
		{"IMAGEPURGE_REQUEST_TIMEOUT=99ms", "99ms is below 100ms", timeout},
		{"IMAGEPURGE_REQUEST_TIMEOUT=30", `"30" has no unit; for seconds it is 30s`, timeout},
		{"IMAGEPURGE_REQUEST_TIMEOUT=1d", `"1d" is not a duration (its units are ms, s, m and h)`, timeout},
		{"IMAGEPURGE_REQUEST_TIMEOUT=0", `0 is below 100ms`, timeout},
		{"IMAGEPURGE_REQUEST_TIMEOUT=999999h", "999999h is above 168h", timeout},
		{"IMAGEPURGE_LEASE=62s", "", ""},
		{"IMAGEPURGE_LEASE=61999ms", "1m1.999s is below 1m2s, which is 2 × (IMAGEPURGE_REQUEST_TIMEOUT 30s + 1s)", "a duration of at least 1m2s, such as 1m2s"},
		{"IMAGEPURGE_SETTLE=60s", "", ""},
		{"IMAGEPURGE_SETTLE=59s", "59s is below 1m, which is IMAGEPURGE_REQUEST_TIMEOUT 30s + IMAGEPURGE_LISTING_LAG 30s", "a duration of at least 1m, such as 1m"},
		{"IMAGEPURGE_LISTING_LAG=0s", "", ""},
		{"IMAGEPURGE_LISTING_LAG=-1s", "-1s is below 0s", "a duration from 0s to 168h, such as 30s"},
		{"IMAGEPURGE_VIEW_MAX_AGE=1m", "", ""},
		{"IMAGEPURGE_VIEW_MAX_AGE=61s", "61s is above 1m", "a duration above 0 and up to 1m, such as 10s"},
		{"IMAGEPURGE_VIEW_MAX_AGE=0s", `"0s" is not above 0`, "a duration above 0 and up to 1m, such as 10s"},
		{"CAPILLARY_RATE_PER_MINUTE=2", "", ""},
		{"CAPILLARY_RATE_PER_MINUTE=1", "1 is below 2", "a whole number from 2 to 1000000, such as 100"},
		{"CAPILLARY_RATE_PER_MINUTE=1000000", "", ""},
		{"CAPILLARY_RATE_PER_MINUTE=0", "0 is below 2", "a whole number from 2 to 1000000, such as 100"},
		{"CAPILLARY_RATE_PER_MINUTE=1000001", "1000001 is above 1000000", "a whole number from 2 to 1000000, such as 100"},
		{"CAPILLARY_RATE_PER_MINUTE=1e3", `"1e3" is not a whole number in these bounds`, "a whole number from 2 to 1000000, such as 100"},
		{"IMAGEPURGE_CONCURRENCY=1024", "", ""},
		{"IMAGEPURGE_CONCURRENCY=0", "0 is below 1", "a whole number from 1 to 1024, such as 256"},
		{"IMAGEPURGE_CONCURRENCY=1025", "1025 is above 1024", "a whole number from 1 to 1024, such as 256"},
		{"IMAGEPURGE_MAX_ATTEMPTS=1000", "", ""},
		{"IMAGEPURGE_MAX_ATTEMPTS=0", "0 is below 1", "a whole number from 1 to 1000, such as 10"},
		{"IMAGEPURGE_MAX_ATTEMPTS=1001", "1001 is above 1000", "a whole number from 1 to 1000, such as 10"},
		{"IMAGEPURGE_BACKOFF_BASE=1h", "", ""},
		{"IMAGEPURGE_BACKOFF_BASE=0s", `"0s" is not above 0`, "a duration above 0 and up to the longest back-off, such as 5s"},
		{"IMAGEPURGE_BACKOFF_MAX=4s", "4s is below 5s, which is IMAGEPURGE_BACKOFF_BASE", "a duration of at least 5s, such as 5s"},
		{"IMAGEPURGE_DELETE_BATCHING=all", "", ""},
		{"IMAGEPURGE_DELETE_BATCHING=some", `"some" is not known`, "single or all, such as single"},
		{"IMAGEPURGE_MODE=fast", `"fast" is not known`, "economy, verified or paranoid, such as verified"},
		{"IMAGEPURGE_SCOPE=all", `"all" is not known`, "snapshot or until_empty, such as snapshot"},
		{"IMAGEPURGE_LOG_LEVEL=trace", `"trace" is not known`, "debug, info, warn or error, such as info"},
		{"IMAGEPURGE_LOG_FORMAT=xml", `"xml" is not known`, "text or json, such as json"},
		{"IMAGEPURGE_ALLOW_PLAIN_HTTP=1", "", ""},
		{"IMAGEPURGE_ALLOW_PLAIN_HTTP=yes", `"yes" is neither true nor false`, "true or false (or 1 or 0), such as true"},
		{"IMAGEPURGE_LISTEN=[::1]:8080", "", ""},
		{"IMAGEPURGE_LISTEN=8080", `"8080" is a port alone; on this machine only it is 127.0.0.1:8080, on every network :8080`, "an address with its port, such as 127.0.0.1:8080"},
		{"IMAGEPURGE_LISTEN=localhost", `"localhost" is not an address with a port`, "an address with its port, such as 127.0.0.1:8080"},
		{"IMAGEPURGE_LISTEN=:99999", `":99999" has no port from 0 to 65535`, "an address with its port, such as 127.0.0.1:8080"},
		{"IMAGEPURGE_DATA_DIR=a\nb", `"a\nb" holds a control character`, "a folder, such as /var/lib/imagepurge"},
		{"IMAGEPURGE_WINDOW=5", `"5" has no unit; for hours it is 5h`, "a duration above 0 and up to 168h (7 days), such as 5h"},
		{"IMAGEPURGE_WINDOW=169h", `"169h" is longer than 7 days`, window},
		{"IMAGEPURGE_TIMEZONE=Mars", `"Mars" is not a known time zone`, "an IANA name such as Europe/Berlin"},
		{"IMAGEPURGE_SCHEDULE=0 25 * * *", `"0 25 * * *" hour 25: end of range (25) above maximum (23); it may be 0-23`, `five fields: minute, hour, day of month, month, day of week, such as "0 1 * * *", or @hourly, @daily, @weekly, @monthly, @yearly`},
		{"IMAGEPURGE_SCHEDULE=0 0 30 2 *", `"0 0 30 2 *" never fires: no month that it names has such a day`, `five fields: minute, hour, day of month, month, day of week, such as "0 1 * * *", or @hourly, @daily, @weekly, @monthly, @yearly`},
		{"CAPILLARY_SOURCE=IN STORE", `"IN STORE" holds a space`, "a source's name, such as INSTORE"},
		{"CAPILLARY_BASE_URL=http://127.0.0.1:8090", "", ""},
		{"CAPILLARY_BASE_URL=http://localhost/", "", ""},
		{"CAPILLARY_BASE_URL=https://eu.api.capillarytech.com/v2/", "", ""},
		{"CAPILLARY_BASE_URL=http://[fd00::1]", "http://fd00::1 would send the password unencrypted, which is for loopback addresses only, unless --allow-plain-http or IMAGEPURGE_ALLOW_PLAIN_HTTP=true is given", web},
		{"CAPILLARY_BASE_URL=http://EU.api.capillarytech.com", "http://eu.api.capillarytech.com would send the password unencrypted; it is https://eu.api.capillarytech.com", web},
		{"CAPILLARY_BASE_URL=eu.api.capillarytech.com", "does not begin with https://", web},
		{"CAPILLARY_BASE_URL=https://", "names no host", web},
		{"CAPILLARY_BASE_URL=https://u:hunter2@host", "holds a user name or a password, which have settings of their own", web},
		{"CAPILLARY_BASE_URL=https://host?hunter2", "holds a query or a fragment", web},
		{"CAPILLARY_BASE_URL=https://host/v3", "holds a path other than /v2", web},
		{"CAPILLARY_BASE_URL=https://ho st", "can't be read as a URL", web},
		{"DATABASE_URL=host=db password=a://b", "", ""},
		{"DATABASE_URL=postgresql://u:p@a,b/db", "", ""},
		{"DATABASE_URL=mysql://u:hunter2@db/x?a=b", "does not begin with postgres://", postgres},
		{"IMAGEPURGE_MIGRATE_URL=hunter2", "does not begin with postgres://", postgres},
		{"CAPILLARY_USERNAME=hunter2:x", "holds a colon or a control character, which Basic authentication can't carry", "the till's user name, such as till01"},
		{"CAPILLARY_PASSWORD_MD5=hunter2", "is not 32 hex digits", "the password's MD5 as 32 hex digits, such as 0123456789abcdef0123456789abcdef"},
		{"CAPILLARY_OAUTH_KEY=hunter2", "", ""},
		{"CAPILLARY_OAUTH_SECRET_FILE=/run/pw", "", ""},
		{"CAPILLARY_OAUTH_KEY=hunter2\n", "holds a control character, which the token call can't carry", "the client key for OAuth, such as CAPILLARY_OAUTH_KEY_FILE=/run/secrets/oauth-key"},
		{"CAPILLARY_PASSWORD_FILE=/run/none", "can't read /run/none: file does not exist", "the path of a file that holds the value, such as /run/secrets/password"},
		{"DATABASE_URL_FILE=/run/empty", "/run/empty is empty", "the path of a file that holds the value, such as /run/secrets/database-url"},
		{"IMAGEPURGE_CONFIG=none.yaml", "can't read none.yaml: file does not exist", "the path of a YAML file, such as /etc/imagepurge.yaml"},
	} {
		_, err := from("", c.pair)
		var want []string
		if c.problem != "" {
			name, _, _ := strings.Cut(c.pair, "=")
			want = []string{name + " (environment): " + c.problem + "; give " + c.form}
		}
		if d := cmp.Diff(faultsOf(t, err), want); d != "" {
			t.Errorf("%q: got-, want+:\n%s", c.pair, d)
		}
		if err != nil && strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%q: the error holds a secret: %v", c.pair, err)
		}
	}
}

func TestDefaultsAreBoundToo(t *testing.T) {
	_, err := from("request_timeout: 2m\n")
	want := []string{
		"IMAGEPURGE_LEASE (default): 2m is below 4m2s, which is 2 × (request_timeout 2m + 1s); give a duration of at least 4m2s, such as 4m2s",
		"IMAGEPURGE_SETTLE (default): 2m is below 2m30s, which is request_timeout 2m + IMAGEPURGE_LISTING_LAG 30s; give a duration of at least 2m30s, such as 2m30s",
	}
	if d := cmp.Diff(faultsOf(t, err), want); d != "" {
		t.Errorf("got-, want+:\n%s", d)
	}
	// nothing is concluded from a default that stands for a wrong value
	if _, err := from("", "IMAGEPURGE_REQUEST_TIMEOUT=x", "IMAGEPURGE_LEASE=10s", "IMAGEPURGE_SETTLE=10s"); len(faultsOf(t, err)) != 1 {
		t.Errorf("got %v", err)
	}
}

func TestGivenTwice(t *testing.T) {
	const md5 = "0123456789abcdef0123456789abcdef"
	for _, c := range []struct {
		file    string
		environ []string
		want    []string
	}{
		{"", []string{"CAPILLARY_PASSWORD=hunter2", "CAPILLARY_PASSWORD_FILE=/run/pw"},
			[]string{"CAPILLARY_PASSWORD (environment): is given beside CAPILLARY_PASSWORD_FILE; give one of them, such as CAPILLARY_PASSWORD_FILE alone"}},
		{"password: hunter2\npassword_env: X\n", []string{"X=1"},
			[]string{"password (f.yaml:1): is given beside password_env; give one of them, such as password_env alone"}},
		{"", []string{"CAPILLARY_PASSWORD=hunter2", "CAPILLARY_PASSWORD_MD5=" + md5},
			[]string{"CAPILLARY_PASSWORD (environment): is given beside CAPILLARY_PASSWORD_MD5 (environment); give exactly one of the two, such as CAPILLARY_PASSWORD_MD5 alone"}},
		{"password_md5: " + md5 + "\n", []string{"CAPILLARY_PASSWORD=hunter2"},
			[]string{"CAPILLARY_PASSWORD (environment): is given beside password_md5 (f.yaml:1); give exactly one of the two, such as password_md5 alone"}},
	} {
		_, err := from(c.file, c.environ...)
		if d := cmp.Diff(faultsOf(t, err), c.want); d != "" {
			t.Errorf("%q %q: got-, want+:\n%s", c.file, c.environ, d)
		}
	}
}

func TestAllFaultsAtOnce(t *testing.T) {
	_, err := from("reqest_timeout: 1s\nmode: fast\norganizations: []\n", "IMAGEPURGE_LEASE=x", "IMAGEPURGE_WINDOW=1", "CAPILLARY_OAUTH_KEY=k\n")
	if n := len(faultsOf(t, err)); n != 6 || !strings.HasPrefix(err.Error(), "6 faults in the settings:\n  reqest_timeout (f.yaml:1): ") {
		t.Errorf("%d faults: %v", n, err)
	}
}
