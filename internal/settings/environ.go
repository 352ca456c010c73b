package settings

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

const (
	configVariable = "IMAGEPURGE_CONFIG"
	inEnvironment  = "environment"
)

var prefixes = []string{"IMAGEPURGE_", "CAPILLARY_"}

// readElsewhere are variables that are no settings: the path of the settings
// file, and where to download Postgres from.
var readElsewhere = []string{configVariable, "IMAGEPURGE_PG_DOWNLOAD_URL"}

// environment makes a map of what os.Environ says. An empty variable counts as
// unset; of two with a name the later holds.
func environment(environ []string) map[string]string {
	m := map[string]string{}
	for _, pair := range environ {
		name, value, _ := strings.Cut(pair, "=")
		if value == "" {
			delete(m, name)
			continue
		}
		m[name] = value
	}
	return m
}

// passedOver says whether others use such names: Kubernetes injects addresses of
// services, and tests have variables of their own.
func passedOver(name string) bool {
	return strings.Contains(name, "_SERVICE_") || strings.Contains(name, "_PORT") ||
		strings.HasPrefix(name, "IMAGEPURGE_TEST_")
}

// unknownVariables warns of names that look like settings and are none. named
// are those which the settings file refers to.
func unknownVariables(env map[string]string, named map[string]bool) []string {
	known := slices.Clone(readElsewhere)
	onlyFile := map[string]bool{}
	for i := range keys {
		known = append(known, keys[i].variables()...)
		onlyFile[keys[i].Name] = keys[i].Variable == ""
	}
	var warnings []string
	for _, name := range slices.Sorted(maps.Keys(env)) {
		ours := slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasPrefix(name, p) })
		switch {
		case !ours, slices.Contains(known, name), named[name], passedOver(name):
		case onlyFile[strip(name)]:
			warnings = append(warnings, fmt.Sprintf("%s is not a variable; the nearest name is %s, a key of the settings file", name, strip(name)))
		default:
			warnings = append(warnings, fmt.Sprintf("%s is not a setting; the nearest name is %s", name, nearest(name, known)))
		}
	}
	return warnings
}
