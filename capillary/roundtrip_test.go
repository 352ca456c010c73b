package capillary

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/imagepurge/imagepurge/jobs"
)

// The fuzz targets say when a body may be believed; these say that a good one is,
// whatever else stands in it.

// names are the API's own, so that noise meets what the decoders look for.
var names = rapid.OneOf(
	rapid.SampledFrom([]string{"file", "s3Token", "code", "status", "message", "x", "", "\u017f3Token"}),
	rapid.StringN(0, 6, -1),
)

// noise is any JSON value at all, of the depth at most.
func noise(depth int) *rapid.Generator[string] {
	return rapid.Custom(func(t *rapid.T) string {
		most := 5
		if depth > 0 {
			most = 7
		}
		switch rapid.IntRange(0, most).Draw(t, "kind") {
		case 0:
			return "null"
		case 1:
			return fmt.Sprint(rapid.Bool().Draw(t, "bool"))
		case 2:
			return fmt.Sprint(rapid.Int64().Draw(t, "int"))
		case 3:
			return rapid.SampledFrom([]string{"-0", "1e400", "0.1", "-1", "2E-2"}).Draw(t, "number")
		case 4, 5:
			return text(t, rapid.String().Draw(t, "text"))
		case 6:
			return "[" + strings.Join(rapid.SliceOfN(noise(depth-1), 0, 4).Draw(t, "items"), ",") + "]"
		}
		var members []string
		for _, name := range rapid.SliceOfN(names, 0, 4).Draw(t, "names") {
			members = append(members, text(t, name)+":"+noise(depth-1).Draw(t, "value"))
		}
		return "{" + strings.Join(members, ",") + "}"
	})
}

// text writes a string in one of the ways JSON has.
func text(t *rapid.T, s string) string {
	if rapid.IntRange(0, 3).Draw(t, "escaped") == 0 {
		var b strings.Builder
		b.WriteByte('"')
		for _, r := range s {
			if r > 0xffff {
				r -= 0x10000
				fmt.Fprintf(&b, `\u%04x\u%04x`, 0xd800+r>>10, 0xdc00+r&0x3ff)
				continue
			}
			fmt.Fprintf(&b, `\u%04X`, r)
		}
		return b.String() + `"`
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(rapid.Bool().Draw(t, "escape HTML"))
	if err := e.Encode(s); err != nil {
		t.Fatal(err)
	}
	return strings.TrimSuffix(b.String(), "\n")
}

// object puts members in any order, with space anywhere between.
func object(t *rapid.T, members ...string) string {
	space := rapid.SampledFrom([]string{"", "", " ", "\n", "\t\r\n"})
	var b strings.Builder
	b.WriteString("{" + space.Draw(t, "space"))
	for i, m := range rapid.Permutation(members).Draw(t, "order") {
		if i > 0 {
			b.WriteString("," + space.Draw(t, "space"))
		}
		b.WriteString(m + space.Draw(t, "space"))
	}
	return b.String() + "}"
}

// other is a member of a name that no decoder looks for.
func other(t *rapid.T) string {
	return fmt.Sprintf(`"other%d":%s`, rapid.IntRange(0, 1<<40).Draw(t, "n"), noise(3).Draw(t, "value"))
}

var good = rapid.String().Filter(func(s string) bool {
	return strings.TrimSpace(s) != "" && !strings.ContainsRune(s, utf8.RuneError)
})

// A profile with tokens is listed with their hashes in its order, whatever else it
// holds and however it is written; a token left out or put in twice is seen.
func TestListingIsReadAsWritten(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		tokens := rapid.SliceOfNDistinct(good, 0, 50, rapid.ID).Draw(t, "tokens")
		var entries []string
		var want []jobs.Key
		for _, token := range tokens {
			file := object(t, text(t, "s3Token")+":"+text(t, token), `"version":-1`, other(t))
			entries = append(entries, object(t, text(t, "file")+":"+file, `"code":`+noise(1).Draw(t, "code"), other(t)))
			want = append(want, jobs.KeyOf(token))
		}
		class, code := jobs.ClassListed, ""
		if n := len(tokens); n > 0 {
			at := rapid.IntRange(0, n-1).Draw(t, "at")
			switch rapid.IntRange(0, 3).Draw(t, "spoilt") {
			case 0:
				entries[at] = rapid.SampledFrom([]string{`{}`, `null`, `"a"`, `{"file":{}}`, `{"file":[]}`, `{"file":{"s3Token":null}}`, `{"file":{"s3Token":"\t"}}`, `{"file":{"s3Token":["a"]}}`}).Draw(t, "entry")
				class, code = jobs.ClassUnexpected, "missing_token"
			case 1:
				entries = append(entries, `{"file":{"s3Token":`+text(t, tokens[at])+`}}`)
				class, code = jobs.ClassUnexpected, "duplicate_token"
			}
		}
		body := object(t, `"id":7`, `"profiles":`+noise(3).Draw(t, "profiles"), text(t, "customerImage")+":["+strings.Join(entries, ",")+"]", `"warnings":[]`, other(t))
		got := classifyListing(200, []byte(body), 7)
		if class != jobs.ClassListed {
			want = nil
		}
		if got.class != class || got.code != code {
			t.Fatalf("%s %q, want %s %q: %s", got.class, got.code, class, code, body)
		}
		if diff := cmp.Diff(got.images, want); diff != "" {
			t.Errorf("images (got, want):\n%s", diff)
		}
	})
}

// A plain success is one, whatever else the body holds; with one remark more, of any
// kind and anywhere, it never is.
func TestSuccessIsReadAsWritten(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		code := rapid.SampledFrom([]string{`200`, `"200"`, `" 200 "`}).Draw(t, "code")
		status := rapid.SampledFrom([]string{`true`, `"true"`, `"TRUE"`, `" true"`}).Draw(t, "status")
		entries := map[string][]string{"data": {object(t, text(t, "code")+":"+code, text(t, "status")+":"+status, `"message":`+text(t, rapid.SampledFrom([]string{"Success", ""}).Draw(t, "message")), other(t))}}
		want := jobs.ClassDeleted
		if rapid.Bool().Draw(t, "spoilt") {
			list := rapid.SampledFrom([]string{"data", "errors", "warnings"}).Draw(t, "list")
			remark := rapid.SampledFrom([]string{
				`{"code":8078}`, `{"code":"8080","status":false}`, `{"code":200,"status":"true"}`, `{"code":200,"status":"false"}`, `{"code":1}`, `{"message":"x"}`, `{}`, `null`, `"x"`, `0`, `[]`, `{"errors":[{"code":521}]}`, `{"warnings":[{}]}`,
			}).Draw(t, "remark")
			entries[list] = rapid.Permutation(append(entries[list], remark)).Draw(t, "order")
			want = jobs.ClassUnknown
		}
		members := []string{other(t)}
		for _, list := range []string{"data", "errors", "warnings"} {
			if list == "data" || len(entries[list]) > 0 || rapid.Bool().Draw(t, "empty list") {
				members = append(members, text(t, list)+":["+strings.Join(entries[list], ",")+"]")
			}
		}
		body := object(t, members...)
		if got := classifyDelete(200, []byte(body), 1); got.class != want {
			t.Errorf("%s %q, want %s: %s", got.class, got.code, want, body)
		}
	})
}
