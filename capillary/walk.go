package capillary

import (
	"bytes"
	"encoding/json"
	"errors"
	"unicode/utf8"
)

// maxDepth bounds how deep a body may nest. The API's own go to 6.
const maxDepth = 64

// errShape says that a body is JSON, but not of the shape that it must have.
var errShape = errors.New("capillary: unreadable body")

// cursor walks over a JSON text in place. encoding/json's decoders would copy
// every string of the profile, keep the last of two equal keys, match keys
// whatever their case and mend broken UTF-8 without a word; here nothing is
// copied but what is asked for. [json.Valid] has seen the text before, so there
// is no syntax error left to meet.
type cursor struct {
	b []byte
	i int
}

// newCursor returns nil where body is no JSON object that may be walked.
func newCursor(body []byte) *cursor {
	if !utf8.Valid(body) || !json.Valid(body) || tooDeep(body) {
		return nil
	}
	c := &cursor{b: body}
	if c.kind() != '{' {
		return nil
	}
	return c
}

func tooDeep(b []byte) bool {
	depth, quoted := 0, false
	for i := 0; i < len(b); i++ {
		switch ch := b[i]; {
		case quoted && ch == '\\':
			i++
		case ch == '"':
			quoted = !quoted
		case quoted:
		case ch == '{' || ch == '[':
			if depth++; depth > maxDepth {
				return true
			}
		case ch == '}' || ch == ']':
			depth--
		}
	}
	return false
}

// kind returns the first byte of the next value, which tells its type.
func (c *cursor) kind() byte {
	for c.b[c.i] == ' ' || c.b[c.i] == '\t' || c.b[c.i] == '\r' || c.b[c.i] == '\n' {
		c.i++
	}
	return c.b[c.i]
}

// null passes over a null, and says whether there was one.
func (c *cursor) null() bool {
	if c.kind() != 'n' {
		return false
	}
	c.raw()
	return true
}

// raw passes over the next value and returns its text.
func (c *cursor) raw() []byte {
	c.kind()
	start, depth := c.i, 0
	for {
		switch c.b[c.i] {
		case '"':
			c.quoted()
		case '{', '[':
			depth++
			c.i++
		case '}', ']':
			depth--
			c.i++
		default:
			c.i++
			if depth > 0 { // a comma, a colon, a part of a number or a word
				continue
			}
			for c.i < len(c.b) && bytes.IndexByte([]byte(",]} \t\r\n"), c.b[c.i]) < 0 {
				c.i++
			}
		}
		if depth == 0 {
			return c.b[start:c.i]
		}
	}
}

// quoted passes over a string, at whose first quote the cursor stands.
func (c *cursor) quoted() []byte {
	start := c.i
	for c.i++; c.b[c.i] != '"'; c.i++ {
		if c.b[c.i] == '\\' {
			c.i++
		}
	}
	c.i++
	return c.b[start:c.i]
}

// array calls element at each element, which it must pass over.
func (c *cursor) array(element func() error) error {
	c.i++
	for {
		switch c.kind() {
		case ']':
			c.i++
			return nil
		case ',':
			c.i++
		default:
			if err := element(); err != nil {
				return err
			}
		}
	}
}

// object calls member at the value of each key among names, which it must pass
// over, and passes over all others itself. A key that is there twice, or is one
// of names but for the case of its letters, can mean two things: errShape.
func (c *cursor) object(names []string, member func(name string) error) error {
	seen := 0
	c.i++
	for {
		switch c.kind() {
		case '}':
			c.i++
			return nil
		case ',':
			c.i++
			continue
		}
		key := unquote(c.quoted())
		c.kind()
		c.i++ // the colon
		at := -1
		for i, name := range names {
			if bytes.EqualFold(key, []byte(name)) {
				at = i
			}
		}
		if at < 0 {
			c.raw()
			continue
		}
		if string(key) != names[at] || seen&(1<<at) != 0 {
			return errShape
		}
		seen |= 1 << at
		if err := member(names[at]); err != nil {
			return err
		}
	}
}

// unquote returns a string's value: a part of the body where nothing in it is
// escaped.
func unquote(quoted []byte) []byte {
	inner := quoted[1 : len(quoted)-1]
	if bytes.IndexByte(inner, '\\') < 0 {
		return inner
	}
	var s string
	_ = json.Unmarshal(quoted, &s) // it is valid
	return []byte(s)
}
