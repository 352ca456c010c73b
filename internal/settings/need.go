package settings

import "slices"

// hintDemo is for who only wants to see it work.
const hintDemo = "to try it without any of this: imagepurge demo"

// Line is one setting as it holds.
type Line struct {
	Key      string `json:"key"`      // as in the file: mode, or organizations.brand-a.mode
	Variable string `json:"variable"` // that would change it; empty where none would
	Value    string `json:"value"`    // a secret that was given is not shown
	Origin   string `json:"origin"`   // "environment", "FILE:line", "default" or "--allow-plain-http"
}

// Explain lists what holds, and whence. It is empty for Settings that weren't
// loaded.
func (s Settings) Explain() []Line { return slices.Clone(s.lines) }

// Organization is the one of that name.
func (s Settings) Organization(name string) (Organization, bool) {
	i := slices.IndexFunc(s.Organizations, func(o Organization) bool { return o.Name == name })
	if i < 0 {
		return Organization{}, false
	}
	return s.Organizations[i], true
}

// NeedAPI is nil where every organization has what its API needs to be called;
// else an *Error that names all that is missing.
func (s Settings) NeedAPI() error {
	e := &Error{Hint: hintDemo}
	for _, o := range s.Organizations {
		missing := func(name, or string) {
			k := keyOf(name)
			f := Fault{Key: k.Variable, Place: "environment", Problem: "is missing", Form: k.Form}
			also := keyOf(or).Variable
			if place, ok := s.places[o.Name]; ok {
				f.Key, f.Place, also = "organizations."+o.Name+"."+name, place, or
			}
			if or != name {
				f.Problem = "it and " + also + " are missing, one is needed"
				f.Form += ", or " + keyOf(or).Form
			}
			e.Faults = append(e.Faults, f)
		}
		if o.BaseURL == "" {
			missing("base_url", "base_url")
		}
		if o.Auth() == OAuth {
			if o.OAuthKey == "" {
				missing("oauth_key", "oauth_key")
			}
			if o.OAuthSecret == "" {
				missing("oauth_secret", "oauth_secret")
			}
			continue
		}
		if o.Username == "" {
			missing("username", "username")
		}
		if o.Password == "" && o.PasswordMD5 == "" {
			missing("password", "password_md5")
		}
	}
	if len(e.Faults) == 0 {
		return nil
	}
	return e
}
