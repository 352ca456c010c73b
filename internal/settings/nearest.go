package settings

import "strings"

// nearest is the known name that looks most like name; the first of equals.
func nearest(name string, known []string) string {
	best, least := "", -1
	for _, k := range known {
		if n := unlikeness(name, k); least < 0 || n < least {
			best, least = k, n
		}
	}
	return best
}

// unlikeness is the edit distance, without regard to case and prefix. A name
// that has or lacks whole words only is near: TIMEOUT is REQUEST_TIMEOUT.
func unlikeness(a, b string) int {
	full := distance(strings.ToLower(a), strings.ToLower(b))
	a, b = strip(a), strip(b)
	n := min(full, distance(a, b))
	if a != "" && b != "" && (strings.Contains("_"+a+"_", "_"+b+"_") || strings.Contains("_"+b+"_", "_"+a+"_")) {
		n = min(n, 2)
	}
	return n
}

// strip makes a variable's name look like a file's key.
func strip(name string) string {
	name = strings.ToLower(name)
	for _, prefix := range prefixes {
		name = strings.TrimPrefix(name, strings.ToLower(prefix))
	}
	return name
}

// distance counts the letters to insert, drop, change or swap with their
// neighbour.
func distance(a, b string) int {
	const longest = 100 // of the names of anything; bounds the work
	a, b = a[:min(len(a), longest)], b[:min(len(b), longest)]
	var before []int
	last := make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row := make([]int, len(b)+1)
		row[0] = i
		for j := 1; j <= len(b); j++ {
			change := last[j-1]
			if a[i-1] != b[j-1] {
				change++
			}
			row[j] = min(change, last[j]+1, row[j-1]+1)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last = last, row
	}
	return last[len(b)]
}
