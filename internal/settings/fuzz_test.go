package settings

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/imagepurge/imagepurge/jobs"
)

// planted is a password that no seed and no text of ours holds.
const planted = "Zk9-password-of-the-fuzzer"

// checkPossible: the settings are within the bounds that the rest relies on.
func checkPossible(t *testing.T, s Settings) {
	t.Helper()
	for _, o := range s.Organizations {
		if o.PerMinute() < 1 || o.PerMinute() > maxRate || o.RateShare <= 0 || o.RateShare > 1 || o.Schedule.Zone() == nil || !validName.MatchString(o.Name) || o.Source == "" {
			t.Errorf("an organization that can't be: %s", o.Name)
		}
		if o.BaseURL != "" && !strings.HasPrefix(o.BaseURL, "https://") && !strings.HasPrefix(o.BaseURL, "http://") || strings.ContainsAny(o.BaseURL, "@?#") {
			t.Error("a base URL that can't be")
		}
		if o.Password != "" && o.PasswordMD5 != "" || strings.ContainsAny(o.Username, ":\n") {
			t.Error("credentials that can't be")
		}
	}
	if len(s.Organizations) == 0 || s.Lease < 2*(s.RequestTimeout+jobs.SendMargin) || s.Settle < s.RequestTimeout+s.ListingLag || s.ListingLag < 0 ||
		s.RequestTimeout < minRequestTimeout || s.ViewMaxAge <= 0 || s.ViewMaxAge > maxViewAge || s.BackoffBase <= 0 || s.BackoffMax < s.BackoffBase ||
		s.Concurrency < 1 || s.Concurrency > maxConcurrency || s.MaxAttempts < 1 || s.MaxAttempts > maxAttempts {
		t.Errorf("settings that can't be: %d, %v, %v, %v, %v, %v", s.Concurrency, s.Lease, s.Settle, s.RequestTimeout, s.ListingLag, s.ViewMaxAge)
	}
	for _, d := range []time.Duration{s.Lease, s.Settle, s.ListingLag, s.RequestTimeout, s.BackoffMax} {
		if d > maxDuration {
			t.Errorf("a duration of %v", d)
		}
	}
	_ = s.NeedAPI()
}

// checkSilent: neither what is wrong nor what holds tells the password.
func checkSilent(t *testing.T, s Settings, err error) {
	t.Helper()
	told := fmt.Sprintf("%v %v %+v %#v %v", err, s, s, s, s.Warnings)
	for _, o := range s.Organizations {
		told += fmt.Sprintf("%v %+v %#v", o, o, o)
	}
	for _, l := range s.Explain() {
		told += fmt.Sprint(l)
	}
	if strings.Contains(told, planted) {
		t.Errorf("the password is told: %s", told)
	}
}

// Property: any file gives settings within their bounds, or faults each with its
// key, place and form; a password of its own line is never told.
func FuzzLoadFile(f *testing.F) {
	for _, s := range []string{
		"request_timeout: 30s\norganizations:\n  - name: a\n    password_env: X\n    schedule: \"0 1 * * *\"\n  - name: b\n", "mode: &a economy\n<<: *a\n", "? [x]\n: y", "%YAML 1.2\n---\na: !!b\n",
		"organizations: [{name: a, rate_share: 5%}, {}]", "password: |\n  x\n", "a: 'b", "- - - x", "timezone: ../x\nwindow: 1ns\nschedule: '@daily'\n",
		"lease: 1ns\nsettle: 168h\nlisting_lag: -1s\n", "base_url: http://user:pw@eu.api.capillarytech.com/v2?x#y\n", "organizations:\n- &a\n  name: a\n- *a\n", "a: [[[[[[[[{b: {c: ", "mode: economy\nmode: economy\n", "\ufeffmode: economy", "listen: '8080'\n", "{", "\"", "%", "\t- x", "timezone: \"", "username: a:b\n", "rate_share: 101%\n", "rate_share: 1%\nrate_per_minute: 1\n",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, file string) {
		s, err := from(file, "X=secret")
		if err == nil {
			checkPossible(t, s)
		} else {
			faultsOf(t, err)
		}
		s, err = from("password: "+planted+"\n"+file, "X=secret")
		checkSilent(t, s, err)
	})
}

// Property: the same of any value of any variable.
func FuzzVariable(f *testing.F) {
	var names []string
	for i := range keys {
		names = append(names, keys[i].variables()...)
	}
	for _, value := range []string{
		"", " ", "0", "-1", "1", "1.5", "9223372036854775808", "1e3", "30", "30s", "1ns", "168h", "169h", "9999999999h", "-0s", "100%", "UTC", "Local", "../../etc/passwd", "Europe/Berlin", "0 1 * * *", "@every 1s", "TZ=UTC * * * * *", "* * * * * *",
		"http://127.0.0.1:1", "https://u:p@h", "https://h/v2/", "https://[::1", "http://eu.api.capillarytech.com.", "postgres://x", "host=", "true", "economy", "127.0.0.1:99999", ":0", "\x00", "\xff", "a\nb", "0123456789abcdef0123456789abcdef", "/run/pw", "/run/empty",
	} {
		for at := range names {
			f.Add(uint8(at), value)
		}
	}
	f.Fuzz(func(t *testing.T, at uint8, value string) {
		name := names[int(at)%len(names)]
		s, err := from("", name+"="+value)
		if err == nil {
			checkPossible(t, s)
		} else {
			faultsOf(t, err)
		}
		if keyNamed(name).Secret {
			s, err := from("", name+"="+value+planted)
			checkSilent(t, s, ignoreFile(name, err))
		}
	})
}

// ignoreFile: a file's path is no secret, and an error may name it.
func ignoreFile(name string, err error) error {
	if strings.HasSuffix(name, "_FILE") {
		return nil
	}
	return err
}

func keyNamed(variable string) *Key {
	for i := range keys {
		for _, v := range keys[i].variables() {
			if v == variable {
				return &keys[i]
			}
		}
	}
	return nil
}
