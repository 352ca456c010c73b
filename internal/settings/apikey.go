package settings

import (
	"crypto/sha256"
	"fmt"
	"net/url"
	"strings"
)

// Auth is a kind of authentication.
type Auth string

// The two kinds.
const (
	Basic Auth = "basic"
	OAuth Auth = "oauth"
)

// Auth is how the organization authenticates: with OAuth where anything of it is
// given.
func (o Organization) Auth() Auth {
	if o.OAuthKey != "" || o.OAuthSecret != "" {
		return OAuth
	}
	return Basic
}

// Host is the API's host in lower case, with its port where that isn't the
// scheme's own; empty without a base URL.
func (o Organization) Host() string {
	_, host, _ := strings.Cut(NormalBaseURL(o.BaseURL), "://")
	return host
}

// NormalBaseURL writes a base URL in the one way in which two can be compared:
// scheme and host in lower case, no port that goes without saying, no path.
// It is empty for what is no URL.
func NormalBaseURL(raw string) string {
	u, err := url.Parse(raw)
	if err != nil || u.Hostname() == "" {
		return ""
	}
	scheme := strings.ToLower(u.Scheme)
	host := strings.TrimSuffix(strings.ToLower(u.Hostname()), ".")
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	usual := map[string]string{"https": "443", "http": "80"}[scheme]
	if port := u.Port(); port != "" && port != usual {
		host += ":" + port
	}
	return scheme + "://" + host
}

// KeyDigest identifies the API key without telling it: two organizations have the
// same limit at the API where it is the same, whatever their names.
func (o Organization) KeyDigest() [sha256.Size]byte {
	key := o.Username
	if o.Auth() == OAuth {
		key = o.OAuthKey
	}
	h := sha256.New()
	for _, part := range []string{o.Host(), string(o.Auth()), key} {
		// With its length: no two lists of parts read the same.
		fmt.Fprintf(h, "%d:%s", len(part), part)
	}
	return [sha256.Size]byte(h.Sum(nil))
}

// hasKey says that there is a key to be compared with others'.
func (o Organization) hasKey() bool {
	return o.Host() != "" && (o.Username != "" || o.OAuthKey != "")
}

// checkAuth refuses two kinds of authentication at once: nobody could say which
// of them a budget or a breaker is about.
func (l *loader) checkAuth(i int) {
	first := func(names ...string) (origin, bool) {
		for _, n := range names {
			if o, ok := l.origins[slot{i, n}]; ok {
				return o, true
			}
		}
		return origin{}, false
	}
	basic, isBasic := first("username", "password", "password_md5")
	oauth, isOAuth := first("oauth_key", "oauth_secret")
	if isBasic && isOAuth {
		l.fault(oauth.key, oauth.place, fmt.Sprintf("is given beside %s (%s): Basic and OAuth exclude each other", basic.key, basic.place),
			"one of the two kinds, such as username with password_file alone")
	}
	kind, hasKind := first("attribution_type")
	code, hasCode := first("attribution_code")
	switch {
	case hasKind && !isOAuth:
		l.fault(kind.key, kind.place, "goes with OAuth alone", "oauth_key and oauth_secret beside it, such as oauth_key_file: /run/secrets/oauth-key")
	case hasCode && !isOAuth:
		l.fault(code.key, code.place, "goes with OAuth alone", "oauth_key and oauth_secret beside it, such as oauth_key_file: /run/secrets/oauth-key")
	case hasKind && !hasCode:
		l.fault(kind.key, kind.place, "is given without attribution_code", "both, such as attribution_code: till01")
	case hasCode && !hasKind:
		l.fault(code.key, code.place, "is given without attribution_type", "both, such as attribution_type: TILL")
	}
}

// checkKeys refuses two organizations with one API key: their budgets would add
// up to more than the key is allowed. Where shares_key_with says that it is meant,
// they must agree on what the key is allowed. Errors name places, never keys.
func (l *loader) checkKeys(entries []mapping) {
	all := l.s.Organizations
	group := make([]int, len(all)) // of organizations that are said to share
	for i := range group {
		group[i] = i
	}
	for i := range all {
		if j := l.sharer(i); j >= 0 {
			from, to := group[i], group[j]
			for k := range group {
				if group[k] == from {
					group[k] = to
				}
			}
		}
	}
	for i := range all {
		for j := range i {
			if !all[i].hasKey() || !all[j].hasKey() || all[i].KeyDigest() != all[j].KeyDigest() {
				continue
			}
			if group[i] != group[j] {
				l.fault(entries[i].label+"shares_key_with", l.doc.place(entries[i].line),
					fmt.Sprintf("is missing: %s has the API key of %s (%s), and one key has one budget", all[i].Name, all[j].Name, l.doc.place(entries[j].line)),
					fmt.Sprintf("shares_key_with: %s where that is meant, such as for two sources of one brand", all[j].Name))
				continue
			}
			l.checkAgreement(i, j, entries)
		}
	}
}

// sharer is the organization that the i-th says it shares its key with; -1: none.
func (l *loader) sharer(i int) int {
	o, given := l.origins[slot{i, "shares_key_with"}]
	if !given {
		return -1
	}
	all := l.s.Organizations
	const form = "the name of another organisation with the same API key, such as brand-a"
	for j := range all {
		switch {
		case all[j].Name != all[i].SharesKeyWith:
			continue
		case j == i:
			l.fault(o.key, o.place, "names the organisation itself", form)
		case all[i].hasKey() && all[j].hasKey() && all[i].KeyDigest() != all[j].KeyDigest():
			l.fault(o.key, o.place, fmt.Sprintf("%s has another API key or another host", all[j].Name), form)
		default:
			return j
		}
		return -1
	}
	l.fault(o.key, o.place, quote(all[i].SharesKeyWith)+" is no organisation of this file", form)
	return -1
}

func (l *loader) checkAgreement(i, j int, entries []mapping) {
	a, b := l.s.Organizations[i], l.s.Organizations[j]
	differ := func(name string, unlike bool) {
		if !unlike || l.faulty[slot{i, name}] || l.faulty[slot{j, name}] {
			return
		}
		at := func(n int) string {
			if o, ok := l.origins[slot{n, name}]; ok {
				return o.place
			}
			return l.doc.place(entries[n].line)
		}
		l.fault(entries[i].label+name, at(i), fmt.Sprintf("differs from that of %s (%s), which has the same API key", b.Name, at(j)),
			"the same for both, such as "+name+" left out of both")
	}
	differ("rate_per_minute", a.RatePerMinute != b.RatePerMinute)
	differ("rate_share", a.RateShare != b.RateShare)
	differ("rate_by_hour", a.RateByHour != b.RateByHour)
	if a.RateByHour == b.RateByHour && a.RateByHour != [24]int{} {
		differ("timezone", a.Schedule.Zone() != nil && b.Schedule.Zone() != nil && a.Schedule.Zone().String() != b.Schedule.Zone().String())
	}
}
