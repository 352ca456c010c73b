package settings

import (
	"cmp"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/imagepurge/imagepurge/jobs"
	"github.com/imagepurge/imagepurge/jobs/schedule"
)

// where names a key by its origin: as it was given, or as the default of its
// variable.
func (l *loader) where(at slot) origin {
	if o, ok := l.origins[at]; ok {
		return o
	}
	return origin{key: keyOf(at.name).id(), place: "default"}
}

// sound says that all these keys of the process were taken in.
func (l *loader) sound(names ...string) bool {
	for _, n := range names {
		if l.faulty[slot{-1, n}] {
			return false
		}
	}
	return true
}

// checkProcess compares the settings that bound each other.
func (l *loader) checkProcess() {
	const step = time.Second
	s := &l.s
	atLeast := func(name string, got, least time.Duration, because string) {
		if got < least {
			example := least.Truncate(step)
			if example < least || example == 0 {
				example += step
			}
			o := l.where(slot{-1, name})
			l.fault(o.key, o.place, fmt.Sprintf("%s is below %s, %s", short(got), short(least), because),
				fmt.Sprintf("a duration of at least %s, such as %s", short(least), short(example)))
		}
	}
	key := func(name string) string { return l.where(slot{-1, name}).key }
	if l.sound("lease", "request_timeout") {
		atLeast("lease", s.Lease, 2*(s.RequestTimeout+jobs.SendMargin),
			fmt.Sprintf("which is 2 × (%s %s + 1s)", key("request_timeout"), short(s.RequestTimeout)))
	}
	if l.sound("settle", "request_timeout", "listing_lag") {
		atLeast("settle", s.Settle, s.RequestTimeout+s.ListingLag,
			fmt.Sprintf("which is %s %s + %s %s", key("request_timeout"), short(s.RequestTimeout), key("listing_lag"), short(s.ListingLag)))
	}
	if l.sound("backoff_base", "backoff_max") {
		atLeast("backoff_max", s.BackoffMax, s.BackoffBase, "which is "+key("backoff_base"))
	}
}

// checkOrganization looks at the credentials. What is merely missing is NeedAPI's:
// most commands need none.
func (l *loader) checkOrganization(i int, o *Organization, hours string) {
	password, one := l.origins[slot{i, "password"}]
	sum, two := l.origins[slot{i, "password_md5"}]
	if one && two {
		l.fault(password.key, password.place, fmt.Sprintf("is given beside %s (%s)", sum.key, sum.place), "exactly one of the two, such as "+sum.key+" alone")
	}
	l.checkAuth(i)
	l.checkHours(i, o, hours)
}

func settingErrors(err error) []*schedule.SettingError {
	if err == nil {
		return nil
	}
	all := []error{err}
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		all = joined.Unwrap()
	}
	var found []*schedule.SettingError
	for _, e := range all {
		var s *schedule.SettingError
		if !errors.As(e, &s) {
			panic("settings: package schedule refuses without a SettingError: " + e.Error())
		}
		found = append(found, s)
	}
	return found
}

// checkName is for the i-th of several organizations.
func (l *loader) checkName(i int, entries []mapping) {
	at, m := slot{i, "name"}, entries[i]
	o, given := l.origins[at]
	switch {
	case m.entries == nil || l.faulty[at]: // named already
		return
	case !given:
		l.fault(m.label+"name", l.doc.place(m.line), "is missing, and with several organizations each has one of its own", nameForm)
		return
	}
	for j := range i {
		other, given := l.origins[slot{j, "name"}]
		if given && l.s.Organizations[j].Name == l.s.Organizations[i].Name {
			l.fault(o.key, o.place, quote(l.s.Organizations[i].Name)+" is the name of another one, at "+other.place, nameForm)
			return
		}
	}
}

// given stands for a secret's value.
const masked = "(given, not shown)"

// explain writes down what holds, in the order of the table.
func (l *loader) explain() {
	add := func(k *Key, label string, at slot) {
		line := Line{Key: label + k.Name, Variable: k.Variable, Value: k.Default, Origin: "default"}
		if label != "" && len(l.s.Organizations) > 1 {
			line.Variable = ""
		}
		if line.Value == "" {
			line.Value = cmp.Or(k.Absent, "none")
		}
		if _, replaced := l.origins[slot{at.org, keyWindows}]; replaced && (k.Name == keySchedule || k.Name == keyWindow) {
			line.Value = "see windows"
		}
		if o, ok := l.origins[at]; ok {
			line.Value, line.Origin = strings.TrimSpace(o.value), o.place
			switch {
			case o.how == suffixFile:
				line.Origin += " (" + o.key + " " + line.Value + ")"
			case o.how == suffixEnv:
				line.Origin += " (" + o.key + ")"
			}
			if k.Secret {
				line.Value = masked
			}
		}
		l.s.lines = append(l.s.lines, line)
	}
	for i := range keys {
		if keys[i].Scope == ScopeProcess {
			add(&keys[i], "", slot{-1, keys[i].Name})
		}
	}
	for n, o := range l.s.Organizations {
		label := ""
		if l.doc.listed {
			label = listName + "." + o.Name + "."
		}
		for i := range keys {
			if keys[i].Scope == ScopeOrganization {
				add(&keys[i], label, slot{n, keys[i].Name})
			}
		}
	}
}
