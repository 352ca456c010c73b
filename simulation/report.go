package simulation

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/imagepurge/imagepurge/jobs/purge"
)

// Lines says a table of counts, one line each, the greatest first.
func Lines[K ~string](counts map[K]int) (lines []string) {
	keys := slices.SortedFunc(maps.Keys(counts), func(a, b K) int {
		return cmp.Or(cmp.Compare(counts[b], counts[a]), cmp.Compare(a, b))
	})
	for _, k := range keys {
		lines = append(lines, fmt.Sprintf("%9d  %s", counts[k], cmp.Or(string(k), "(none)")))
	}
	return lines
}

// Transitions says which of the purge's transitions the nights have taken, and how
// often, and which never.
func Transitions(r *Report) (hit, missed []string) {
	say := func(t purge.Transition) string {
		return fmt.Sprintf("%-16s %s -> %-16s %s", t.From, withDetail(t.Fact, t.Detail), t.To, withDetail(t.Effect, t.Why))
	}
	for _, t := range purge.Transitions() {
		if n := r.Transitions[t]; n > 0 {
			hit = append(hit, fmt.Sprintf("%9d  %s", n, say(t)))
		} else {
			missed = append(missed, say(t))
		}
	}
	for t, n := range r.Transitions {
		if !slices.Contains(purge.Transitions(), t) {
			hit = append(hit, fmt.Sprintf("%9d  %s (NOT IN THE TABLE)", n, say(t)))
		}
	}
	slices.SortFunc(hit, func(a, b string) int { return cmp.Compare(b, a) })
	return hit, missed
}

func withDetail(what, detail string) string {
	if detail == "" {
		return cmp.Or(what, "-")
	}
	return what + " " + detail
}

// Replay is the flags of cmd/simulate that name one night.
func Replay(seed uint64, size Size) string {
	c := fmt.Sprintf("--seed %d", seed)
	if size.Customers > 0 {
		c += fmt.Sprintf(" --customers %d", size.Customers)
	}
	if size.Workers > 0 {
		c += fmt.Sprintf(" --workers %d", size.Workers)
	}
	if size.Calm {
		c += " --calm"
	}
	if size.Keep == nil {
		return c
	}
	numbers := []string{}
	for _, n := range size.Keep {
		numbers = append(numbers, strconv.Itoa(n))
	}
	if len(numbers) == 0 {
		numbers = []string{"0"} // none
	}
	return c + " --faults " + strings.Join(numbers, ",")
}
