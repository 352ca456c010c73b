package settings

import (
	"fmt"
	"strings"
)

// secretFile is a secret that was read from a file.
type secretFile struct {
	key  *Key
	name string // as it was given: password_file, CAPILLARY_PASSWORD_FILE
	path string
}

// HasFiles says whether any secret comes from a file, so that [Organization.Reread]
// can bring another one.
func (o Organization) HasFiles() bool { return len(o.files) > 0 }

// Reread returns the organization with its secrets as their files hold them now.
// What can't be read or taken is named, and the old one stays: a file may be in
// the middle of being replaced. Who authenticates stays as well: another user or
// another key has another budget, which needs a new start.
func (o Organization) Reread(read func(string) ([]byte, error)) (now Organization, changed bool, problems []string) {
	now = o
	for _, f := range o.files {
		next := now
		data, err := read(f.path)
		value := strings.TrimRight(string(data), "\r\n")
		switch {
		case err != nil:
			problems = append(problems, f.name+" can't be read")
			continue
		case value == "":
			problems = append(problems, f.name+" is empty")
			continue
		}
		if problem := f.key.set(draft{org: &next}, value); problem != "" {
			problems = append(problems, fmt.Sprintf("%s %s", f.name, problem))
			continue
		}
		if next.KeyDigest() != o.KeyDigest() {
			problems = append(problems, f.name+" names another key, which is taken at the next start")
			continue
		}
		changed = changed || next.Password != now.Password || next.PasswordMD5 != now.PasswordMD5 || next.OAuthSecret != now.OAuthSecret
		now = next
	}
	return now, changed, problems
}

// CheckValue reads a value of one of an organization's keys, as the settings
// would, and returns it as it would hold.
func (s Settings) CheckValue(name, value string) (string, error) {
	k := keyOf(name)
	var o Organization
	form := func(problem string) error {
		return &Error{Faults: []Fault{{Key: name, Place: "command line", Problem: problem, Form: k.Form}}}
	}
	if strings.TrimSpace(value) == "" {
		return "", form("has no value")
	}
	if problem := k.set(draft{Settings: &s, org: &o, plan: &plan{}}, strings.TrimSpace(value)); problem != "" {
		return "", form(problem)
	}
	switch name {
	case "base_url":
		return NormalBaseURL(o.BaseURL), nil
	default:
		return strings.TrimSpace(value), nil
	}
}
