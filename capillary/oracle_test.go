package capillary

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/imagepurge/imagepurge/jobs"
)

// What encoding/json makes of a body, read without a line of this package's own
// walking: the fuzz targets hold the decoders to it.

// tree is one JSON value. An object keeps all its members, equal keys too.
type tree struct {
	kind    byte // '{', '[', '"', or the text of the rest in scalar
	scalar  string
	members []member
	items   []tree
}

type member struct {
	key   string
	value tree
}

var errTrailing = errors.New("more behind the value")

func treeOf(body []byte) (tree, error) {
	d := json.NewDecoder(bytes.NewReader(body))
	d.UseNumber()
	v, err := readTree(d)
	if err != nil {
		return tree{}, err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return tree{}, errTrailing
	}
	return v, nil
}

func readTree(d *json.Decoder) (v tree, err error) {
	token, err := d.Token()
	if err != nil {
		return v, err
	}
	switch t := token.(type) {
	case json.Delim:
		v.kind = byte(t)
		for d.More() {
			var m member
			if v.kind == '{' {
				key, err := d.Token()
				if err != nil {
					return v, err
				}
				m.key = key.(string)
			}
			if m.value, err = readTree(d); err != nil {
				return v, err
			}
			if v.kind == '{' {
				v.members = append(v.members, m)
			} else {
				v.items = append(v.items, m.value)
			}
		}
		_, err = d.Token()
		return v, err
	case string:
		return tree{kind: '"', scalar: t}, nil
	case json.Number:
		return tree{kind: '0', scalar: t.String()}, nil
	case bool:
		return tree{kind: 't', scalar: strconv.FormatBool(t)}, nil
	}
	return tree{kind: 'n'}, nil
}

// all returns the values of a key, whatever the case of its letters.
func (v tree) all(key string) (found []tree) {
	for _, m := range v.members {
		if strings.EqualFold(m.key, key) {
			found = append(found, m.value)
		}
	}
	return found
}

// one returns a key's value; the null tree where it is not there exactly once.
func (v tree) one(key string) tree {
	if found := v.all(key); len(found) == 1 {
		return found[0]
	}
	return tree{kind: 'n'}
}

func (v tree) depth() int {
	deepest := 0
	for _, m := range v.members {
		deepest = max(deepest, m.value.depth())
	}
	for _, i := range v.items {
		deepest = max(deepest, i.depth())
	}
	if v.kind == '{' || v.kind == '[' {
		deepest++
	}
	return deepest
}

// claim is one thing that a body says: an entry of data, errors or warnings.
type claim struct {
	list   string
	nested bool
	code   string // decimal; empty: none that is a code
	yes    bool   // status true
	no     bool   // status false
	erased bool
}

// claims gathers what a body says, at any of the places the API puts it.
func claims(v tree, nested bool) (all []claim) {
	for _, list := range []string{"data", "errors", "warnings"} {
		if nested && list == "data" {
			continue
		}
		for _, value := range v.all(list) {
			for _, entry := range value.items {
				inner := claims(entry, true)
				all = append(all, inner...)
				carrier := len(entry.all("errors"))+len(entry.all("warnings")) > 0
				if entry.one("code").kind == 'n' && carrier {
					continue // it only holds others'
				}
				status := strings.TrimSpace(entry.one("status").scalar)
				all = append(all, claim{
					list: list, nested: nested, code: codeText(entry.one("code")),
					yes: strings.EqualFold(status, "true"), no: strings.EqualFold(status, "false"),
					erased: strings.EqualFold(strings.TrimSpace(entry.one("message").scalar), string(erasedMessage)),
				})
			}
		}
	}
	return all
}

func codeText(v tree) string {
	text := v.scalar
	if v.kind == '"' {
		text = strings.TrimSpace(text)
	} else if v.kind != '0' {
		return ""
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 || n > 999_999 || strconv.Itoa(n) != text {
		return ""
	}
	return text
}

// saysItRan is the API's own success code, wherever it stands.
func saysItRan(all []claim) bool {
	return slices.ContainsFunc(all, func(c claim) bool { return c.code == "200" })
}

// knownCodes are those of the page's table of failures that a body holds.
func knownCodes(all []claim) map[string]bool {
	found := make(map[string]bool)
	for _, c := range all {
		switch {
		case c.erased:
			found["8015"] = true
		case slices.Contains([]string{"8015", "8016", "8069", "8078", "8080", "521"}, c.code):
			found[c.code] = true
		}
	}
	return found
}

// tokens are the images of a listing as encoding/json reads them; false where
// one has none, or more than one, or the same as another.
func tokens(v tree) (want []jobs.Key, ok bool) {
	seen := make(map[string]bool)
	for _, list := range v.all("customerImage") {
		for _, entry := range list.items {
			token := entry.one("file").one("s3Token")
			if token.kind != '"' || strings.TrimSpace(token.scalar) == "" || seen[token.scalar] || strings.ContainsRune(token.scalar, utf8.RuneError) {
				return nil, false
			}
			seen[token.scalar] = true
			want = append(want, jobs.KeyOf(token.scalar))
		}
	}
	return want, true
}

// checkWords: class, code and sentence are from closed sets; of the body at most
// six digits get out.
func checkWords(t *testing.T, v verdict) {
	t.Helper()
	if !slices.Contains(jobs.Classes(), v.class) {
		t.Errorf("class %q is in no table", v.class)
	}
	_, own := words[v.code]
	if v.code != "" && !own {
		if n, err := strconv.Atoi(v.code); err != nil || strconv.Itoa(n) != v.code || n > 999_999 {
			t.Errorf("code %q is neither a word of ours nor a number of six digits", v.code)
		}
	}
	sentences := []string{"the answer contradicts itself; whether the call ran is unknown"}
	for _, s := range words {
		sentences = append(sentences, s)
	}
	for _, s := range classSentences {
		sentences = append(sentences, s)
	}
	for _, row := range codes {
		sentences = append(sentences, row.sentence)
	}
	if s := v.sentence(); s == "" || !slices.Contains(sentences, s) {
		t.Errorf("%s %q has the sentence %q, which is none of ours", v.class, v.code, s)
	}
}
