package main

import (
	"regexp"
	"slices"
	"strings"
)

// keywords tell a statement, or a part of one, from other text.
var keywords = regexp.MustCompile(`\b(SELECT|UPDATE|WHERE|RETURNING|CASE|JOIN|AND)\b`)

type change struct {
	start, end int
	to         string
}

// word is a token of SQL. Parentheses and CASE … END are one level deeper than what
// stands around them.
type word struct {
	text       string // words in upper case
	start, end int
	depth      int
}

var tokens = regexp.MustCompile(`--[^\n]*|'[^']*'|\$\d+|\w+|[<>=!@#|&~?*/+-]+|[(),;\[\]]`)

func wordsOf(sql string) (words []word) {
	depth := 0
	for _, at := range tokens.FindAllStringIndex(sql, -1) {
		w := word{text: strings.ToUpper(sql[at[0]:at[1]]), start: at[0], end: at[1]}
		if strings.HasPrefix(w.text, "--") {
			continue
		}
		if slices.Contains([]string{")", "]", "END"}, w.text) {
			depth--
		}
		w.depth = depth
		if slices.Contains([]string{"(", "[", "CASE"}, w.text) {
			depth++
		}
		words = append(words, w)
	}
	return words
}

// ends are the words that a condition ends before.
var ends = strings.Fields("AND OR THEN ELSE WHEN ORDER GROUP LIMIT RETURNING FOR UNION WHERE LEFT INNER CROSS JOIN HAVING ON SET AS , ; " +
	"SELECT FROM USING VALUES OFFSET")

// statement is SQL with its words.
type statement struct {
	sql     string
	words   []word
	changes []change
}

// sqlChanges are the faults of a statement: a condition that holds always or never, a
// branch, a lock, an order, an assignment or an argument less, a comparison or a
// function that is another.
func sqlChanges(sql string) []change {
	s := &statement{sql: sql, words: wordsOf(sql)}
	for i, w := range s.words {
		switch w.text {
		case "WHERE", "HAVING":
			s.force(i+1, s.until(i+1, ends), true)
		case "ON":
			if s.at(i+1) != "CONFLICT" {
				s.force(i+1, s.until(i+1, ends), true)
			}
		case "AND", "OR":
			if s.between(i) {
				continue
			}
			s.force(i+1, s.until(i+1, ends), w.text == "AND")
			if first := s.from(i); first >= 0 {
				s.force(first, i, w.text == "AND")
			}
		case "WHEN":
			s.branch(i)
		case "SET":
			s.assignments(i + 1)
		case "ORDER":
			s.cut(i, s.until(i+1, strings.Fields("LIMIT FOR RETURNING OFFSET , ;")))
		case "DESC":
			s.cut(i, i+1)
		case "FOR":
			if next := s.at(i + 1); next == "UPDATE" || next == "NO" || next == "SHARE" {
				s.cut(i, s.until(i+1, []string{";"}))
			}
		case "SKIP":
			s.cut(i, i+2)
		case "<", "<=", ">", ">=", "+", "-", "GREATEST", "LEAST", "MIN", "MAX", "TRUE", "FALSE":
			s.changes = append(s.changes, change{w.start, w.end, map[string]string{
				"<": "<=", "<=": "<", ">": ">=", ">=": ">", "+": "-", "-": "+", "GREATEST": "least", "LEAST": "greatest",
				"MIN": "max", "MAX": "min", "TRUE": "false", "FALSE": "true",
			}[w.text]})
		}
		if slices.Contains([]string{"COALESCE", "GREATEST", "LEAST"}, w.text) && s.at(i+1) == "(" {
			s.items(i+2, nil)
		}
	}
	return s.changes
}

func (s *statement) at(i int) string {
	if i >= 0 && i < len(s.words) {
		return s.words[i].text
	}
	return ""
}

// until is the first word from i on, at its depth, that is one of the given, or that
// leaves the depth. A BETWEEN keeps its AND.
func (s *statement) until(i int, stops []string) int {
	for j := i; j < len(s.words); j++ {
		w := s.words[j]
		if w.depth < s.words[i].depth || w.depth == s.words[i].depth && slices.Contains(stops, w.text) && !s.between(j) &&
			!(w.text == "FROM" && s.at(j-1) == "DISTINCT") {
			return j
		}
	}
	return len(s.words)
}

func (s *statement) between(i int) bool {
	for j := i - 1; s.words[i].text == "AND" && j >= 0 && s.words[j].depth >= s.words[i].depth; j-- {
		if w := s.words[j]; w.depth == s.words[i].depth && slices.Contains(ends, w.text) {
			return false
		} else if w.depth == s.words[i].depth && w.text == "BETWEEN" {
			return true
		}
	}
	return false
}

// from is where the operand before word i begins, or -1 where a word stands before it
// that has found it already.
func (s *statement) from(i int) int {
	for j := i - 1; j >= 0; j-- {
		switch w := s.words[j]; {
		case w.depth < s.words[i].depth:
			return j + 1
		case w.depth > s.words[i].depth || !slices.Contains(ends, w.text) || s.at(j-1) == "DISTINCT" || s.between(j):
		case slices.Contains([]string{"AND", "OR", "WHERE", "ON", "HAVING"}, w.text):
			return -1
		default:
			return j + 1
		}
	}
	return 0
}

func (s *statement) part(i, j int) (start, end int, ok bool) {
	if i >= j || j > len(s.words) {
		return 0, 0, false
	}
	open := 0
	for _, w := range s.words[i:j] {
		switch w.text {
		case "(", "[":
			open++
		case ")", "]":
			open--
		}
	}
	return s.words[i].start, s.words[j-1].end, open == 0 // else it goes on in another part of the statement
}

// force makes the condition of the words from i to j hold always, or never, and keeps
// it in the text: parameters stay in use.
func (s *statement) force(i, j int, to bool) {
	if start, end, ok := s.part(i, j); ok {
		with := map[bool]string{true: "(true OR (", false: "(false AND ("}[to]
		s.changes = append(s.changes, change{start, end, with + s.sql[start:end] + "))"})
	}
}

func (s *statement) cut(i, j int) {
	if start, end, ok := s.part(i, j); ok {
		s.changes = append(s.changes, change{start, end, ""})
	}
}

// branch takes a branch of a CASE away, and lets a condition of one hold always.
func (s *statement) branch(i int) {
	if i > 0 && s.words[i-1].text == "CASE" || s.searched(i) {
		j := s.until(i+1, []string{"THEN"})
		s.force(i+1, j, false)
		s.force(i+1, j, true)
		return
	}
	s.cut(i, s.until(i+1, []string{"WHEN", "ELSE"}))
}

// searched says whether the CASE of a WHEN compares nothing: CASE WHEN, not CASE x WHEN.
func (s *statement) searched(i int) bool {
	for j := i - 1; j >= 0; j-- {
		if s.words[j].depth == s.words[i].depth-1 && s.words[j].text == "CASE" {
			return s.words[j+1].text == "WHEN"
		}
	}
	return true // its CASE stands in another part of the statement
}

func (s *statement) assignments(i int) {
	s.items(i, []string{"WHERE", "FROM", "RETURNING", ";"})
}

// items takes one element at a time out of a list of several.
func (s *statement) items(i int, stops []string) {
	for first, n := i, 0; first < len(s.words); n++ {
		next := s.until(first, append([]string{","}, stops...))
		more := s.at(next) == "," && s.words[next].depth == s.words[first].depth
		switch start, end, ok := s.part(first, next); {
		case !ok:
		case more:
			s.changes = append(s.changes, change{start, s.words[next].end, ""})
		case n > 0:
			s.changes = append(s.changes, change{s.words[first-1].start, end, ""})
		}
		if !more {
			return
		}
		first = next + 1
	}
}
