package capillary

import (
	"bytes"
	"slices"
	"strconv"
	"unicode/utf8"

	"github.com/imagepurge/imagepurge/jobs"
)

// evidence is what a body says by its codes, whichever list they stand in: the
// API puts them in errors, in warnings or in data (API page, "Errors").
type evidence struct {
	shaped       bool   // it has data, errors or warnings at all
	successes    int    // 200 with status "true" in data
	halfSuccess  bool   // 200 with another status, or in errors or warnings
	denied200    bool   // 200 with status "false"
	rows         []int  // of the table of known codes, each once
	contradicted bool   // a known code of failure with status "true"
	others       bool   // a code in no table, or a remark without a code
	otherCode    string // the first such code; empty: it had none that can be shown
}

// listing is what a listing's body says.
type listing struct {
	evidence
	profile   bool // it looks like a customer's profile
	wrong     bool // it is another customer's
	missing   bool // an entry without a token
	duplicate bool // the same token twice
	images    []jobs.Key
	numbers   []int64 // of the organisations that the tokens name, each once
}

// decodeDelete reads a DELETE's answer; false: unreadable.
func decodeDelete(body []byte) (evidence, bool) {
	var e evidence
	c := newCursor(body)
	if c == nil || c.object(remarkLists, func(name string) error { return e.remarks(c, name) }) != nil {
		return evidence{}, false
	}
	return e, true
}

var (
	remarkLists   = []string{"data", "errors", "warnings"}
	listingNames  = append([]string{"id", "profiles", "customerImage"}, remarkLists...)
	remarkNames   = []string{"code", "status", "message", "errors", "warnings"}
	imageNames    = []string{"file"}
	fileNames     = []string{"s3Token"}
	erasedMessage = []byte("Customer is deleted after PII delete request")
)

// maxImages bounds how many images a listing may show. The API's own limit is 5;
// what compares rows with a listing takes the square of their number.
const maxImages = 1000

// decodeListing reads a listing's answer; false: unreadable. Of the profile it
// looks at the keys id, profiles and customerImage, and there at file.s3Token
// alone; nothing of it leaves this function but the tokens' hashes.
func decodeListing(body []byte, customer int64) (listing, bool) {
	var l listing
	c := newCursor(body)
	if c == nil || c.object(listingNames, func(name string) error { return l.member(c, name, customer) }) != nil {
		return listing{}, false
	}
	return l, true
}

func (l *listing) member(c *cursor, name string, customer int64) error {
	switch name {
	case "id":
		return l.id(c, customer)
	case "profiles":
		if !c.null() {
			l.profile = true
			c.raw()
		}
		return nil
	case "customerImage":
		return l.customerImage(c)
	}
	return l.remarks(c, name)
}

func (l *listing) id(c *cursor, customer int64) error {
	if c.null() {
		return nil
	}
	text := c.raw()
	if text[0] == '"' {
		text = unquote(text)
	}
	if len(text) == 0 || len(bytes.Trim(text, "0123456789")) != 0 {
		return errShape
	}
	id, err := strconv.ParseInt(string(text), 10, 64)
	l.profile = true
	l.wrong = err != nil || id != customer // out of range: another's, too
	return nil                             //nolint:nilerr // said by wrong
}

func (l *listing) customerImage(c *cursor) error {
	if c.null() {
		return nil // alone no sign of a profile: it would read as "no images"
	}
	if c.kind() != '[' {
		return errShape
	}
	l.profile = true
	seen := make(map[jobs.Key]struct{})
	entries := 0
	return c.array(func() error {
		if entries++; entries > maxImages {
			return errShape
		}
		key, number, ok, err := image(c)
		if err != nil {
			return err
		}
		if !ok {
			l.missing = true
			return nil
		}
		if _, again := seen[key]; again {
			l.duplicate = true
		}
		seen[key] = struct{}{}
		if !slices.Contains(l.numbers, number) {
			l.numbers = append(l.numbers, number)
		}
		l.images = append(l.images, key)
		return nil
	})
}

// image reads one entry. Its own code and status don't count: whatever they
// are, an entry with a token stands at its index.
func image(c *cursor) (key jobs.Key, number int64, ok bool, err error) {
	if c.kind() != '{' {
		c.raw()
		return key, 0, false, nil
	}
	err = c.object(imageNames, func(string) error {
		if c.kind() != '{' {
			c.raw()
			return nil
		}
		return c.object(fileNames, func(string) error {
			text := c.raw()
			if text[0] != '"' {
				return nil
			}
			token := unquote(text)
			if len(bytes.TrimSpace(token)) == 0 {
				return nil
			}
			if bytes.ContainsRune(token, utf8.RuneError) {
				return errShape // mangled on the way: two tokens could have become one
			}
			key, number, ok = jobs.KeyOf(string(token)), organization(token), true
			return nil
		})
	})
	return key, number, ok, err
}

// organization is the number in a token of the form customerImage/ORG/USER/UUID
// (API page, "Get customer image"); 0 where it has another form.
func organization(token []byte) int64 {
	rest, ok := bytes.CutPrefix(bytes.TrimSpace(token), []byte("customerImage/"))
	digits, _, cut := bytes.Cut(rest, []byte("/"))
	if !ok || !cut || len(bytes.Trim(digits, "0123456789")) != 0 {
		return 0
	}
	n, err := strconv.ParseInt(string(digits), 10, 64)
	if err != nil {
		return 0
	}
	return n
}

// remark is one entry of data, errors or warnings.
type remark struct {
	inData bool
	coded  bool // it has a code, of whatever form
	code   int  // 0: none that can be read
	status string
	erased bool // it has the message of the platform's own erasure
}

// remarks reads one of the lists. A list that is none makes the body unreadable.
func (e *evidence) remarks(c *cursor, name string) error {
	if c.null() {
		e.shaped = true
		return nil
	}
	if c.kind() != '[' {
		return errShape
	}
	e.shaped = true
	return c.array(func() error {
		r := remark{inData: name == "data"}
		if c.kind() != '{' {
			c.raw() // a bare sentence, say: a remark without a code
			e.note(r)
			return nil
		}
		nested := false
		err := c.object(remarkNames, func(name string) error {
			switch name {
			case "errors", "warnings": // of one entry of data, as in the API's other answers
				nested = true
				return e.remarks(c, name)
			case "code":
				r.code, r.coded = code(c.raw())
			case "status":
				r.status = status(c.raw())
			case "message":
				if text := c.raw(); text[0] == '"' {
					r.erased = bytes.EqualFold(bytes.TrimSpace(unquote(text)), erasedMessage)
				}
			}
			return nil
		})
		if err == nil && (r.coded || !nested) {
			e.note(r)
		}
		return err
	})
}

// code reads a code, which may be a number or a string. Only plain ones of at
// most six digits are codes: what is stored and shown of a body is no more.
func code(text []byte) (n int, there bool) {
	switch text[0] {
	case 'n':
		return 0, false
	case '"':
		text = bytes.TrimSpace(unquote(text))
	}
	if len(text) == 0 || len(text) > 6 {
		return 0, true
	}
	n, err := strconv.Atoi(string(text))
	if err != nil || n <= 0 || text[0] == '0' || text[0] == '+' {
		return 0, true
	}
	return n, true
}

// status reads a status, a string in data and a boolean elsewhere, as "true",
// "false" or neither.
func status(text []byte) string {
	if text[0] == '"' {
		text = bytes.TrimSpace(unquote(text))
	}
	for _, word := range []string{"true", "false"} {
		if bytes.EqualFold(text, []byte(word)) {
			return word
		}
	}
	return ""
}

// note adds a remark to the evidence.
func (e *evidence) note(r remark) {
	if r.code == 200 {
		if r.inData && r.status == "true" && !r.erased {
			e.successes++
		} else {
			e.halfSuccess = true
			e.denied200 = e.denied200 || r.status == "false"
		}
		if r.erased {
			e.found(r, erasedRow)
		}
		return
	}
	known := false
	if r.erased {
		e.found(r, erasedRow)
		known = !r.coded || r.code == codes[erasedRow].code
	}
	if row, ok := rowOf(r.code); ok && !known {
		e.found(r, row)
		known = true
	}
	if known {
		return
	}
	if e.otherCode == "" && r.code > 0 {
		e.otherCode = strconv.Itoa(r.code)
	}
	e.others = true
}

func (e *evidence) found(r remark, row int) {
	e.contradicted = e.contradicted || r.status == "true"
	for _, seen := range e.rows {
		if seen == row {
			return
		}
	}
	e.rows = append(e.rows, row)
}
