package settings

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"
)

func TestSecretsAreNeverPrinted(t *testing.T) {
	const md5 = "5ec5ec5ec5ec5ec5ec5ec5ec5ec5ec5e"
	s := mustLoad(t, "organizations:\n- name: a\n  username: sec-user\n  password: sec-pass\n- name: b\n  username: sec-user\n  shares_key_with: a\n  password_md5: "+md5+"\n",
		"DATABASE_URL=postgres://u:sec-db@h/d", "IMAGEPURGE_MIGRATE_URL=postgres://u:sec-db@h/d")
	var b bytes.Buffer
	type holder struct {
		S *Settings
		O []Organization
		M map[string]Organization
	}
	values := []any{s, &s, s.Organizations, s.Organizations[0], &s.Organizations[1], s.Explain(), holder{&s, s.Organizations, map[string]Organization{"x": s.Organizations[0]}}}
	for _, v := range values {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d", "%T"} {
			fmt.Fprintf(&b, verb+"\n", v)
		}
		for _, h := range []slog.Handler{slog.NewTextHandler(&b, nil), slog.NewJSONHandler(&b, nil)} {
			slog.New(h).Info("loaded", "value", v)
		}
		if err := json.NewEncoder(&b).Encode(v); err != nil {
			t.Error(err)
		}
	}
	fmt.Fprintln(&b, s.NeedAPI(), s.Warnings, s.Given, s.String(), s.Organizations[0].String())
	// and where much is wrong at once
	_, err := from("organizations:\n- name: a\n  username: sec-user\n  password: sec-pass\n  password_file: /run/pw\n  oauth_key: sec-key\n- name: a\n  password_md5: sec-md5\n  base_url: https://u:sec-url@h\n",
		"DATABASE_URL=sec-db", "IMAGEPURGE_MIGRATE_URL=sec-db", "CAPILLARY_PASSWORD=sec-pass", "CAPILLARY_OAUTH_SECRET=sec-key", "CAPILLARY_PASWORD=sec-pass")
	fmt.Fprintf(&b, "%v %+v %#v", err, err, err)
	for _, secret := range []string{"sec-", md5, fmt.Sprintf("%x", "sec-")} {
		if i := strings.Index(b.String(), secret); i >= 0 {
			t.Errorf("a secret is printed: …%s…", b.String()[max(0, i-200):min(b.Len(), i+20)])
		}
	}
	if n := len(faultsOf(t, err)); n != 9 {
		t.Errorf("%d faults: %v", n, err)
	}
}

func TestDistance(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want int
	}{{"", "", 0}, {"a", "", 1}, {"lease", "laese", 1}, {"reqest", "request", 1}, {"kitten", "sitting", 3}} {
		if got := distance(c.a, c.b); got != c.want {
			t.Errorf("distance(%q, %q) = %d, want %d", c.a, c.b, got, c.want)
		}
	}
}
