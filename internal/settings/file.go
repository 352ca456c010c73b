package settings

import (
	"fmt"
	"slices"
	"strings"

	"github.com/goccy/go-yaml/ast"
)

const (
	listName = "organizations"
	fileForm = "keys with values, such as request_timeout: 30s"
	listForm = "a list whose entries begin with a dash, such as - name: brand-a"
)

// document is a settings file as it was read.
type document struct {
	file          string
	top           mapping
	listed        bool // there is a list of organizations
	listLine      int
	organizations []mapping
	faults        []Fault
}

// mapping is one level of the file. Its keys are known ones.
type mapping struct {
	line    int
	label   string // what stands before its keys in errors: "", "organizations.brand-a."
	entries map[string]entry
}

type entry struct {
	value string
	line  int
	items []item // of a list
}

// readDocument never repeats the file's text, except for keys that look like
// keys: any of the rest may be a password out of place.
func readDocument(file string, data []byte) *document {
	d := &document{file: file}
	if line, problem := tooMuch(data); problem != "" {
		d.fault(file, line, problem, "")
		return d
	}
	parsed, err := parse(data)
	if err != nil {
		line, problem := syntaxProblem(err)
		d.fault(file, line, problem, "YAML, "+fileForm)
		return d
	}
	bodies := slices.DeleteFunc(parsed.Docs, func(n *ast.DocumentNode) bool { return n.Body == nil })
	switch {
	case len(bodies) == 0:
	case len(bodies) > 1:
		d.fault(file, lineOf(bodies[1].Body), "a second YAML document begins here, and the file is one (a %YAML line counts)", "")
	default:
		d.readTop(bodies[0].Body)
	}
	return d
}

func (d *document) fault(key string, line int, problem, form string) {
	d.faults = append(d.faults, Fault{Key: key, Place: d.place(line), Problem: problem, Form: form})
}

func (d *document) place(line int) string { return fmt.Sprintf("%s:%d", d.file, line) }

func (d *document) readTop(body ast.Node) {
	pairs, ok := pairsOf(body)
	if !ok {
		d.fault(d.file, lineOf(body), "holds no keys", fileForm)
		return
	}
	for _, p := range pairs {
		if keyText(p) == listName {
			d.listed = true
		}
	}
	d.top = d.read(pairs, lineOf(body), "", func(name string) (problem string, known bool) {
		k := spelt(name)
		switch {
		case k == nil:
			return "", false
		case k.Scope == ScopeOrganization && d.listed:
			return "is of one organization; beside a list it stands in the list's entries", true
		case k.Name == "name":
			return "is of an entry of organizations; without that list the only one is called default", true
		}
		return "", true
	})
}

// readList reads the organizations.
func (d *document) readList(n ast.Node, line int) {
	list, ok := n.(*ast.SequenceNode)
	if !ok || len(list.Values) == 0 {
		d.fault(listName, line, "is no list with at least one entry", listForm)
		return
	}
	for i, item := range list.Values {
		label := fmt.Sprintf("%s[%d]", listName, i)
		pairs, ok := pairsOf(item)
		if !ok {
			at := lineOf(item)
			if at == 0 {
				at = line
			}
			d.fault(label, at, "holds no keys", "keys with values, such as name: brand-a")
			d.organizations = append(d.organizations, mapping{line: at, label: label + "."})
			continue
		}
		for _, p := range pairs {
			if keyText(p) != "name" {
				continue
			}
			if name, problem := scalar(p.Value); problem == "" && validName.MatchString(name) {
				label = listName + "." + name
			}
		}
		d.organizations = append(d.organizations, d.read(pairs, lineOf(item), label+".", func(name string) (string, bool) {
			switch k := spelt(name); {
			case k == nil:
				return "", false
			case k.Scope == ScopeProcess:
				return "is of the whole process; it stands at the file's top level", true
			}
			return "", true
		}))
	}
}

// read reads one level. refuse says what is wrong with a key at this level, and
// whether anybody knows it.
func (d *document) read(pairs []*ast.MappingValueNode, line int, label string, refuse func(string) (string, bool)) mapping {
	m := mapping{line: line, label: label, entries: map[string]entry{}}
	seen := map[string]int{}
	for _, p := range pairs {
		name, at := keyText(p), lineOf(p.Key)
		if first, twice := seen[name]; twice && name != "" {
			d.fault(label+name, at, "is given twice, first at "+d.place(first), "")
			continue
		}
		seen[name] = at
		if name == listName && label == "" {
			d.listLine = at
			d.readList(p.Value, at)
			continue
		}
		problem, known := refuse(name)
		switch {
		case name == "":
			d.fault(label+"(unreadable key)", at, "is not a key", fileForm)
			continue
		case !known:
			d.fault(label+name, at, "is not a key; the nearest name is "+nearest(name, namesAt(refuse, label == "")), "")
			continue
		case problem != "":
			d.fault(label+name, at, problem, "")
			continue
		}
		if spelt(name).list {
			if e, ok := d.readItems(name, label, p.Value, at); ok {
				m.entries[name] = e
			}
			continue
		}
		value, problem := scalar(p.Value)
		if value = strings.TrimRight(value, "\r\n"); problem == "" && strings.TrimSpace(value) == "" {
			problem = "has no value; leave it out for the default"
		}
		if problem != "" {
			d.fault(label+name, at, problem, spelt(name).formAs(name))
			continue
		}
		m.entries[name] = entry{value: value, line: at}
	}
	return m
}

// spelt is the key that the file's name belongs to.
func spelt(name string) *Key {
	for i := range keys {
		if slices.Contains(keys[i].spellings(), name) {
			return &keys[i]
		}
	}
	return nil
}

// namesAt are the names that may stand at a level.
func namesAt(refuse func(string) (string, bool), top bool) []string {
	var names []string
	for i := range keys {
		for _, n := range keys[i].spellings() {
			if problem, known := refuse(n); known && problem == "" {
				names = append(names, n)
			}
		}
	}
	if top {
		names = append(names, listName)
	}
	return names
}

// formAs is the form of the value under one of the key's spellings, of the file
// or of the environment.
func (k *Key) formAs(spelling string) string {
	switch lower := strings.ToLower(spelling); {
	case k.Secret && strings.HasSuffix(lower, suffixFile):
		return "the path of a file that holds the value, such as /run/secrets/" + strings.ReplaceAll(k.Name, "_", "-")
	case k.Secret && strings.HasSuffix(lower, suffixEnv):
		return "the name of an environment variable with the value, such as BRAND_A_" + strings.ToUpper(k.Name)
	}
	return k.Form
}
