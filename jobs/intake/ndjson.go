package intake

import (
	"bytes"
	"encoding/json"
	"fmt"
)

// idOfObject finds the id in a line of NDJSON. encoding/json says whether the
// line is one valid object; the walk behind it relies on that, and takes number
// or string as it is written: by way of a float64 large ids would lose digits.
func idOfObject(line []byte, column string) (int64, string) {
	line = bytes.TrimSpace(line)
	if !json.Valid(line) {
		return 0, "not valid JSON on one line (jq -c . makes one object a line)"
	}
	if line[0] != '{' {
		return 0, "not a JSON object"
	}
	var value []byte
	found := 0
	rest := skipSpace(line[1:])
	for rest[0] != '}' {
		key := rest[:valueLen(rest)]
		rest = skipSpace(rest[len(key):])
		rest = skipSpace(rest[1:]) // the colon
		v := rest[:valueLen(rest)]
		rest = skipSpace(rest[len(v):])
		if rest[0] == ',' {
			rest = skipSpace(rest[1:])
		}
		if keyIs(key, column) {
			value = v
			found++
		}
	}
	switch {
	case found == 0:
		return 0, fmt.Sprintf("the object has no %q (--column NAME takes another)", column)
	case found > 1:
		return 0, fmt.Sprintf("the object has %q %d times", column, found)
	}
	switch value[0] {
	case '"':
		text := value[1 : len(value)-1]
		if bytes.IndexByte(text, '\\') >= 0 {
			var s string
			if err := json.Unmarshal(value, &s); err != nil {
				return 0, reasonNotNumber
			}
			text = []byte(s)
		}
		return parseID(text)
	case 'n':
		return 0, "null"
	case '{', '[', 't', 'f':
		return 0, reasonNotNumber
	}
	return parseID(value)
}

func keyIs(key []byte, column string) bool {
	text := key[1 : len(key)-1]
	if bytes.IndexByte(text, '\\') < 0 {
		return string(text) == column
	}
	var s string
	return json.Unmarshal(key, &s) == nil && s == column
}

// valueLen is the length of the value with which text, valid JSON, begins.
func valueLen(text []byte) int {
	depth := 0
	for i := 0; i < len(text); i++ {
		switch text[i] {
		case '"':
			for i++; text[i] != '"'; i++ {
				if text[i] == '\\' {
					i++
				}
			}
			if depth == 0 {
				return i + 1
			}
		case '{', '[':
			depth++
		case '}', ']':
			if depth == 0 {
				return i // a number ended by its object
			}
			if depth--; depth == 0 {
				return i + 1
			}
		case ',', ' ', '\t', '\r', '\n':
			if depth == 0 {
				return i
			}
		}
	}
	return len(text)
}

func skipSpace(text []byte) []byte {
	for len(text) > 0 && (text[0] == ' ' || text[0] == '\t' || text[0] == '\r' || text[0] == '\n') {
		text = text[1:]
	}
	return text
}

// refuseJSONDocument tells JSON that isn't NDJSON by its first line.
func refuseJSONDocument(line int, first []byte) error {
	first = bytes.TrimSpace(first)
	e := &FileError{Line: line}
	switch {
	case len(first) > 0 && first[0] == '[':
		e.Problem = "this is a JSON array, not NDJSON"
		e.Hint = "make it one object a line: jq -c '.[]' FILE | imagepurge enqueue -"
	case string(first) == "{":
		e.Problem = "an object spans several lines, which NDJSON doesn't have"
		e.Hint = "make it one object a line: jq -c . FILE | imagepurge enqueue -"
	default:
		return nil
	}
	return e
}
