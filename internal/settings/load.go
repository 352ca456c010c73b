package settings

import (
	"errors"
	"fmt"
	"io/fs"
	"regexp"
	"strings"
	"time"
)

// Source is where settings come from.
type Source struct {
	Environ []string // as os.Environ says it
	File    string   // from --config; empty: what IMAGEPURGE_CONFIG names, if it names one
	// ReadFile reads the settings file and the files of secrets, as os.ReadFile.
	ReadFile       func(string) ([]byte, error)
	AllowPlainHTTP bool // --allow-plain-http
	// Now is where the search for windows that overlap begins.
	Now time.Time
}

// loader gathers settings and faults on the way.
type loader struct {
	src    Source
	env    map[string]string
	doc    *document
	faults []Fault
	s      Settings
	// origins says where each value was given; faulty, which of them were not
	// taken, so that nothing is concluded from the default in their place.
	origins map[slot]origin
	faulty  map[slot]bool
}

// slot is a key of an organization, or of the process (-1).
type slot struct {
	org  int
	name string
}

// origin is a value where it was given.
type origin struct {
	key   string // the variable or the file's key
	place string
	value string
	how   string // "", suffixFile or suffixEnv
}

// Load reads and checks everything. A variable goes before the file, the file
// before the default. In a list of one organization its variables override
// the entry; beside a list of several they are refused, since they can't say
// which one they mean. An empty variable counts as unset.
//
// An error is an *Error with all faults; of the Settings only Warnings is set
// then.
func Load(src Source) (Settings, error) {
	l := &loader{
		src: src, env: environment(src.Environ),
		s:       Settings{Given: map[string]bool{}},
		origins: map[slot]origin{}, faulty: map[slot]bool{},
	}
	l.readFile()
	named := l.namedVariables()
	l.s.Warnings = unknownVariables(l.env, named)

	for i := range keys {
		if keys[i].Scope == ScopeProcess {
			l.apply(draft{Settings: &l.s}, &keys[i], slot{-1, keys[i].Name}, l.doc.top, true)
		}
	}
	if src.AllowPlainHTTP {
		l.s.AllowPlainHTTP = true
		l.s.Given["IMAGEPURGE_ALLOW_PLAIN_HTTP"] = true
		l.origins[slot{-1, "allow_plain_http"}] = origin{key: "--allow-plain-http", place: "--allow-plain-http", value: "true"}
	}
	l.organizations(named)
	l.checkProcess()
	if len(l.faults) > 0 {
		return Settings{Warnings: l.s.Warnings}, &Error{Faults: l.faults}
	}
	l.explain()
	return l.s, nil
}

// readFile reads the settings file; without one the document is empty.
func (l *loader) readFile() {
	l.doc = &document{}
	path, key, place := l.src.File, "--config", "command line"
	if path == "" {
		path, key, place = l.env[configVariable], configVariable, inEnvironment
	}
	if path == "" {
		return
	}
	data, problem := l.read(path)
	if problem != "" {
		l.fault(key, place, problem, "the path of a YAML file, such as /etc/imagepurge.yaml")
		return
	}
	l.doc = readDocument(path, data)
	l.faults = append(l.faults, l.doc.faults...)
}

func (l *loader) read(path string) (data []byte, problem string) {
	if l.src.ReadFile == nil {
		return nil, "can't read " + path + ": no files are read here"
	}
	data, err := l.src.ReadFile(path)
	if pathError := (*fs.PathError)(nil); errors.As(err, &pathError) {
		err = pathError.Err // the path is named already
	}
	if err != nil {
		return nil, fmt.Sprintf("can't read %s: %v", path, err)
	}
	return data, ""
}

func (l *loader) fault(key, place, problem, form string) {
	l.faults = append(l.faults, Fault{Key: key, Place: place, Problem: problem, Form: form})
}

// namedVariables are those which the file refers to: they belong to it.
func (l *loader) namedVariables() map[string]bool {
	named := map[string]bool{}
	for _, m := range append([]mapping{l.doc.top}, l.doc.organizations...) {
		for name, e := range m.entries {
			if strings.HasSuffix(name, suffixEnv) {
				named[strings.TrimSpace(e.value)] = true
			}
		}
	}
	return named
}

// organizations applies the keys of each. Without a list there is one, and the
// file's top level is its entry.
func (l *loader) organizations(named map[string]bool) {
	entries := []mapping{l.doc.top}
	if len(l.doc.organizations) > 0 {
		entries = l.doc.organizations
	}
	several := len(entries) > 1
	if several {
		l.refuseVariables(named, len(entries))
		l.s.places = map[string]string{}
	}
	l.s.Organizations = make([]Organization, len(entries))
	for i, m := range entries {
		o := &l.s.Organizations[i]
		p := &plan{}
		for j := range keys {
			if keys[j].Scope == ScopeOrganization {
				l.apply(draft{Settings: &l.s, org: o, plan: p}, &keys[j], slot{i, keys[j].Name}, m, !several)
			}
		}
		_, o.ModeGiven = l.origins[slot{i, "mode"}]
		_, o.ScopeGiven = l.origins[slot{i, "scope"}]
		_, o.SourceGiven = l.origins[slot{i, "source"}]
		o.Schedule = l.calendar(i, *p, m)
		l.checkOrganization(i, o, p.hours)
		if several {
			l.checkName(i, entries)
			l.s.places[o.Name] = l.doc.place(m.line)
		}
	}
	l.checkKeys(entries)
}

// refuseVariables names every variable that speaks for one organization.
func (l *loader) refuseVariables(named map[string]bool, n int) {
	for i := range keys {
		if keys[i].Scope != ScopeOrganization {
			continue
		}
		for j, v := range keys[i].variables() {
			if l.env[v] == "" || named[v] {
				continue
			}
			l.fault(v, inEnvironment, fmt.Sprintf("speaks for one organization, and %s lists %d; unset it, and give %s in the entry that it is for",
				l.doc.place(l.doc.listLine), n, keys[i].spellings()[j]), "")
		}
	}
}

// apply sets one key: to its default, to what the file says, to what the
// environment says.
func (l *loader) apply(d draft, k *Key, at slot, m mapping, variables bool) {
	if k.Default != "" {
		if problem := k.set(d, k.Default); problem != "" {
			panic("settings: default of " + k.Name + ": " + problem)
		}
	}
	var inFile, inEnv []origin
	for i, name := range k.spellings() {
		if e, ok := m.entries[name]; ok {
			inFile = append(inFile, origin{m.label + name, l.doc.place(e.line), e.value, []string{"", suffixFile, suffixEnv}[i]})
		}
	}
	for i, name := range k.variables() {
		if value := l.env[name]; variables && value != "" && (k.Secret || strings.TrimSpace(value) != "") {
			inEnv = append(inEnv, origin{name, inEnvironment, value, []string{"", suffixFile}[i]})
		}
	}
	for _, given := range [][]origin{inFile, inEnv} {
		if len(given) == 0 {
			continue
		}
		l.origins[at] = given[0]
		l.s.Given[k.id()] = true
		if len(given) > 1 {
			l.refuse(at, given[0], "is given beside "+given[1].key, "one of them, such as "+given[1].key+" alone")
			continue
		}
		// A secret that the environment overrides isn't fetched.
		if k.Secret && given[0].place != inEnvironment && len(inEnv) > 0 {
			continue
		}
		l.take(d, k, at, given[0])
	}
}

// take sets a key to one value.
func (l *loader) take(d draft, k *Key, at slot, o origin) {
	if k.list { // see windows.go
		return
	}
	value, problem := o.value, ""
	switch {
	case o.how == suffixFile:
		value, problem = l.secretFile(strings.TrimSpace(o.value))
	case o.how == suffixEnv:
		value, problem = l.secretVariable(strings.TrimSpace(o.value))
	case !k.Secret:
		value = strings.TrimSpace(value)
	}
	if o.how == suffixFile && d.org != nil {
		d.org.files = append(d.org.files, secretFile{k, o.key, strings.TrimSpace(o.value)})
	}
	form := k.formAs(o.key)
	if problem == "" {
		problem = k.set(d, value)
		form = k.Form
	}
	if problem != "" {
		l.refuse(at, o, problem, form)
	}
}

func (l *loader) refuse(at slot, o origin, problem, form string) {
	l.faulty[at] = true
	l.fault(o.key, o.place, problem, form)
}

func (l *loader) secretFile(path string) (value, problem string) {
	data, problem := l.read(path)
	if problem != "" {
		return "", problem
	}
	value = strings.TrimRight(string(data), "\r\n")
	if value == "" {
		return "", path + " is empty"
	}
	return value, ""
}

var (
	variableName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)
	plainlyAName = regexp.MustCompile(`^[A-Z][A-Z0-9]*(_[A-Z0-9]+)+$`)
)

// secretVariable repeats only what is plainly a name: who takes the key for
// another has written the password itself.
func (l *loader) secretVariable(name string) (value, problem string) {
	shown := "the variable that it names"
	if plainlyAName.MatchString(name) {
		shown = name
	}
	switch {
	case !variableName.MatchString(name):
		return "", "does not name a variable"
	case l.env[name] == "":
		return "", shown + " is not set"
	}
	return l.env[name], ""
}
