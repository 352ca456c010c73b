package capillary

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/imagepurge/imagepurge/jobs"
)

func fixture(t testing.TB, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", "fixtures", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// Every fixture goes through both calls, over HTTP. A new fixture without a
// line here fails.
func TestEveryFixture(t *testing.T) {
	t.Parallel()
	type want struct {
		class jobs.Class
		code  string
	}
	type row struct{ list, del want }
	wants := map[string]row{
		"busy-customer.json":           {want{jobs.ClassNotRun, "521"}, want{jobs.ClassNotRun, "521"}},
		"customer-not-found.json":      {want{jobs.ClassNotFound, "8015"}, want{jobs.ClassNotFound, "8015"}},
		"customer-pii-deleted.json":    {want{jobs.ClassErased, "8015"}, want{jobs.ClassErased, "8015"}},
		"delete-no-image-warning.json": {want{jobs.ClassUnexpected, "8078"}, want{jobs.ClassNoImage, "8078"}},
		"delete-status-false.json":     {want{jobs.ClassUnexpected, "8080"}, want{jobs.ClassUnknown, "8080"}},
		"delete-success.json":          {want{jobs.ClassUnknown, "unreadable"}, want{jobs.ClassDeleted, ""}},
		"get-no-images.json":           {want{jobs.ClassListed, ""}, want{jobs.ClassUnexpected, "200"}},
		"get-two-images.json":          {want{jobs.ClassListed, ""}, want{jobs.ClassUnexpected, "200"}},
		"token.json":                   {want{jobs.ClassUnknown, "unreadable"}, want{jobs.ClassUnknown, "unreadable"}},
	}
	names, err := filepath.Glob("testdata/fixtures/*")
	if err != nil || len(names) != len(wants) {
		t.Fatalf("%d fixtures (%v), want %d", len(names), err, len(wants))
	}
	body := ""
	s := serve(t, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, body) })
	c := newClient(t, options(s.URL))
	for _, name := range names {
		name = filepath.Base(name)
		body = fixture(t, name)
		id := int64(700000001)
		if name == "get-no-images.json" {
			id = 700000002
		}
		listed := c.List(t.Context(), customer(id))
		expect(t, listed, wants[name].list.class, 200, wants[name].list.code)
		expect(t, c.Delete(t.Context(), permit(id)), wants[name].del.class, 200, wants[name].del.code)
		var keys []jobs.Key
		if name == "get-two-images.json" {
			for i := 1; i <= 2; i++ {
				keys = append(keys, jobs.KeyOf(fmt.Sprintf("customerImage/100001/700000001/0c8f1b1e-2f3a-4c55-8f6d-aaaaaaaa000%d", i)))
			}
		}
		if diff := cmp.Diff(listed.Images, keys); diff != "" {
			t.Errorf("%s: images (got, want):\n%s", name, diff)
		}
	}
}

// remarkIn makes a body with one remark in one of the three lists.
func remarkIn(list, remark string) string {
	lists := map[string]string{"data": "", "errors": "", "warnings": ""}
	lists[list] = remark
	return fmt.Sprintf(`{"data":[%s],"errors":[%s],"warnings":[%s]}`, lists["data"], lists["errors"], lists["warnings"])
}

// The API page's table of codes, in every list, in both forms of code and
// status, under every status that lets the body decide.
func TestKnownCodes(t *testing.T) {
	t.Parallel()
	const erased = " customer is DELETED after PII delete request "
	rows := []struct {
		code      int
		message   string
		list, del jobs.Class
	}{
		{8015, "x", jobs.ClassNotFound, jobs.ClassNotFound},
		{8015, erased, jobs.ClassErased, jobs.ClassErased},
		{8016, "x", jobs.ClassRefused, jobs.ClassRefused},
		{8069, "x", jobs.ClassMerged, jobs.ClassMerged},
		{8078, "x", jobs.ClassUnexpected, jobs.ClassNoImage},
		{8080, "x", jobs.ClassUnexpected, jobs.ClassUnknown},
		{521, "x", jobs.ClassNotRun, jobs.ClassNotRun},
	}
	for _, r := range rows {
		for _, list := range []string{"data", "errors", "warnings"} {
			for _, form := range []string{`{"code":%d,"status":false,"message":%q}`, `{"code":"%d","status":"false","message":%q}`, `{"message":%[2]q,"code":%[1]d}`} {
				for _, status := range []int{200, 201, 400, 403, 404, 429, 500, 503, 521} {
					body := remarkIn(list, fmt.Sprintf(form, r.code, r.message))
					for call, got := range map[jobs.Class]verdict{
						r.list: classifyListing(status, []byte(body), 7),
						r.del:  classifyDelete(status, []byte(body), 1),
					} {
						if got.class != call || got.code != strconv.Itoa(r.code) || got.sentence() == "" {
							t.Errorf("%d %s: %s %q, want %s %d", status, body, got.class, got.code, call, r.code)
						}
					}
				}
				// A known code doesn't outrank what is wrong for all customers.
				for _, status := range []int{401, 302, 307} {
					body := []byte(remarkIn(list, fmt.Sprintf(form, r.code, r.message)))
					want := jobs.ClassRefused
					if got := classifyListing(status, body, 7); got.class != want {
						t.Errorf("listing: %d %s: %s, want %s", status, body, got.class, want)
					}
					if r.code == 8080 {
						want = jobs.ClassUnknown
					}
					if got := classifyDelete(status, body, 1); got.class != want {
						t.Errorf("delete: %d %s: %s, want %s", status, body, got.class, want)
					}
				}
			}
		}
	}
}

// Every status without a known code, with bodies of every kind.
func TestStatuses(t *testing.T) {
	t.Parallel()
	bodies := map[string]string{ // body → code in no table
		"": "", "<html><body>502</body></html>": "", "{}": "", "[]": "", `{"errors":[{"code":9999,"status":false}]}`: "9999",
		`{"data":`: "", remarkIn("errors", ""): "", `{"id":7,"customerImage":[]}`: "",
	}
	for status := 200; status <= 599; status++ {
		for body, other := range bodies {
			want, code := jobs.ClassUnexpected, strconv.Itoa(status)
			if other != "" {
				code = other
			}
			switch {
			case status < 300:
				continue // see below
			case status < 400:
				want, code = jobs.ClassRefused, "redirect"
			case status == 400:
				want = jobs.ClassInvalid
			case status == 401 || status == 403 || status == 404 || status == 405 || status == 415:
				want = jobs.ClassRefused
			case status == 408 || status >= 500:
				want = jobs.ClassUnknown
			case status == 429:
				want = jobs.ClassOverLimit
			}
			for _, got := range []verdict{classifyListing(status, []byte(body), 7), classifyDelete(status, []byte(body), 1)} {
				listing401 := status == 401 && got.code == "401" // of a listing's 401 no code in the body is looked at
				if got.class != want || got.code != code && !listing401 || got.sentence() == "" {
					t.Errorf("%d %q: %s %q, want %s %q", status, body, got.class, got.code, want, code)
				}
			}
		}
	}
}

func TestDeleteBodies(t *testing.T) {
	t.Parallel()
	const ok = `{"code":200,"message":"Success","status":"true"}`
	for _, tt := range []struct {
		name   string
		status int
		body   string
		class  jobs.Class
		code   string
	}{
		{"success", 200, success, jobs.ClassDeleted, ""},
		{"success under 201", 201, success, jobs.ClassDeleted, ""},
		{"success with boolean and string", 200, `{"data":[{"code":"200","status":true}]}`, jobs.ClassDeleted, ""},
		{"success with null lists", 200, `{"data":[` + ok + `],"warnings":null,"errors":null}`, jobs.ClassDeleted, ""},
		{"success, accepted for later", 202, success, jobs.ClassUnknown, "202"},
		{"success under 500", 500, success, jobs.ClassUnknown, "500"},
		{"success under 401", 401, success, jobs.ClassUnknown, "401"},
		{"success under 302", 302, success, jobs.ClassUnknown, "302"},
		{"success under 429", 429, success, jobs.ClassUnknown, "429"},
		{"two successes for one index", 200, `{"data":[` + ok + `,` + ok + `]}`, jobs.ClassUnknown, "200"},
		{"success with status false", 200, `{"data":[{"code":200,"status":"false"}]}`, jobs.ClassUnknown, "200"},
		{"success without status", 200, `{"data":[{"code":200}]}`, jobs.ClassUnknown, "200"},
		{"success in warnings", 200, remarkIn("warnings", ok), jobs.ClassUnknown, "200"},
		{"success beside 8078", 200, `{"data":[` + ok + `],"warnings":[{"code":8078,"status":false}]}`, jobs.ClassUnknown, "8078"},
		{"success beside 8080 in data", 200, `{"data":[` + ok + `,{"code":8080,"status":"false"}]}`, jobs.ClassUnknown, "8080"},
		{"success beside 521", 200, `{"data":[` + ok + `],"errors":[{"code":521}]}`, jobs.ClassUnknown, "521"},
		{"success beside a code in no table", 200, `{"data":[` + ok + `],"warnings":[{"code":1234}]}`, jobs.ClassUnknown, "1234"},
		{"success beside a remark without code", 200, `{"data":[` + ok + `],"warnings":[{"message":"slow"}]}`, jobs.ClassUnknown, "200"},
		{"success beside a sentence", 200, `{"data":[` + ok + `],"warnings":["slow"]}`, jobs.ClassUnknown, "200"},
		{"success beside a null", 200, `{"data":[` + ok + `],"errors":[null]}`, jobs.ClassUnknown, "200"},
		{"success with a nested error", 200, `{"data":[{"code":200,"status":"true","errors":[{"code":8080}]}]}`, jobs.ClassUnknown, "8080"},
		{"success of the erased", 200, `{"data":[{"code":200,"status":"true","message":"Customer is deleted after PII delete request"}]}`, jobs.ClassUnknown, "8015"},
		{"two codes that differ", 200, `{"errors":[{"code":8015}],"warnings":[{"code":521}]}`, jobs.ClassUnknown, "8015"},
		{"not found and erased", 200, `{"errors":[{"code":8015}],"warnings":[{"code":8015,"message":"Customer is deleted after PII delete request"}]}`, jobs.ClassUnknown, "8015"},
		{"a code twice", 200, `{"errors":[{"code":521}],"warnings":[{"code":"521"}]}`, jobs.ClassNotRun, "521"},
		{"known beside a code in no table", 200, `{"errors":[{"code":8078},{"code":4711}]}`, jobs.ClassUnknown, "8078"},
		{"failure with status true", 200, `{"errors":[{"code":8078,"status":true}]}`, jobs.ClassUnknown, "8078"},
		{"erased by the message alone", 200, `{"errors":[{"message":"Customer is deleted after PII delete request"}]}`, jobs.ClassErased, "8015"},
		{"erased message with another code", 200, `{"errors":[{"code":8016,"message":"Customer is deleted after PII delete request"}]}`, jobs.ClassUnknown, "8015"},
		{"code in no table", 200, `{"errors":[{"code":4711,"status":false}]}`, jobs.ClassUnexpected, "4711"},
		{"code that is none", 200, `{"errors":[{"code":"drop table","status":false}]}`, jobs.ClassUnexpected, "200"},
		{"code too long", 200, `{"errors":[{"code":12345678901234567890}]}`, jobs.ClassUnexpected, "200"},
		{"code with a fraction", 200, `{"data":[{"code":200.0,"status":"true"}]}`, jobs.ClassUnexpected, "200"},
		{"unnamed, then named", 200, `{"errors":["x",{"code":4711}]}`, jobs.ClassUnexpected, "4711"},
		{"nothing said", 200, `{"data":[],"errors":[],"warnings":[]}`, jobs.ClassUnexpected, "200"},
		{"empty object", 200, `{}`, jobs.ClassUnknown, "unreadable"},
		{"empty body", 200, ``, jobs.ClassUnknown, "unreadable"},
		{"no content", 204, ``, jobs.ClassUnknown, "unreadable"},
		{"HTML", 200, `<html>`, jobs.ClassUnknown, "unreadable"},
		{"array", 200, `[` + success + `]`, jobs.ClassUnknown, "unreadable"},
		{"more after it", 200, success + success, jobs.ClassUnknown, "unreadable"},
		{"data is an object", 200, `{"data":` + ok + `}`, jobs.ClassUnknown, "unreadable"},
		{"data twice", 200, `{"data":[` + ok + `],"data":[` + ok + `]}`, jobs.ClassUnknown, "unreadable"},
		{"data twice, once escaped", 200, `{"data":[` + ok + `],"d\u0061ta":[]}`, jobs.ClassUnknown, "unreadable"},
		{"data in capitals", 200, `{"data":[` + ok + `],"ERRORS":[{"code":8080}]}`, jobs.ClassUnknown, "unreadable"},
		{"code twice", 200, `{"data":[{"code":8080,"code":200,"status":"true"}]}`, jobs.ClassUnknown, "unreadable"},
		{"broken UTF-8", 200, "{\"data\":[" + ok + "],\"x\":\"\xff\"}", jobs.ClassUnknown, "unreadable"},
		{"too deep", 200, `{"data":[` + ok + `],"x":` + strings.Repeat("[", 70) + strings.Repeat("]", 70) + `}`, jobs.ClassUnknown, "unreadable"},
		{"far too deep", 200, strings.Repeat(`{"data":[`, 100000), jobs.ClassUnknown, "unreadable"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got := classifyDelete(tt.status, []byte(tt.body), 1)
			if got.class != tt.class || got.code != tt.code {
				t.Errorf("%s %q, want %s %q", got.class, got.code, tt.class, tt.code)
			}
		})
	}
	if got := classifyDelete(200, []byte(`{"data":[`+ok+`,`+ok+`]}`), 2); got.class != jobs.ClassDeleted {
		t.Errorf("two successes for two indexes: %s", got.class)
	}
}

func TestListingBodies(t *testing.T) {
	t.Parallel()
	image := func(token string) string { return `{"code":200,"file":{"s3Token":` + token + `}}` }
	profile := func(images, rest string) string {
		return `{"id":7,"profiles":[{"firstName":"x"}],"customerImage":` + images + rest + `}`
	}
	keys := func(tokens ...string) (k []jobs.Key) {
		for _, token := range tokens {
			k = append(k, jobs.KeyOf(token))
		}
		return k
	}
	var fifty, fiftyTokens []string
	for i := range 50 {
		fifty = append(fifty, image(fmt.Sprintf(`"t%d"`, i)))
		fiftyTokens = append(fiftyTokens, fmt.Sprintf("t%d", i))
	}
	for _, tt := range []struct {
		name  string
		body  string
		class jobs.Class
		code  string
		keys  []jobs.Key
	}{
		{"two in order", profile(`[`+image(`"b"`)+`,`+image(`"a"`)+`]`, ""), jobs.ClassListed, "", keys("b", "a")},
		{"fifty", profile(`[`+strings.Join(fifty, ",")+`]`, ""), jobs.ClassListed, "", keys(fiftyTokens...)},
		{"none", profile(`[]`, ""), jobs.ClassListed, "", nil},
		{"null", profile(`null`, ""), jobs.ClassListed, "", nil},
		{"absent", `{"id":"7"}`, jobs.ClassListed, "", nil},
		{"only profiles", `{"profiles":[]}`, jobs.ClassListed, "", nil},
		{"only images", `{"customerImage":[]}`, jobs.ClassListed, "", nil},
		{"escaped token", profile(`[`+image(`"a\/\u0062"`)+`]`, ""), jobs.ClassListed, "", keys("a/b")},
		{"entry of another code", profile(`[{"code":500,"status":"false","file":{"s3Token":"a"}}]`, ""), jobs.ClassListed, "", keys("a")},
		{"success code beside it", profile(`[]`, `,"warnings":[{"code":200,"status":true}]`), jobs.ClassListed, "", nil},
		{"only a null list of images", `{"customerImage":null}`, jobs.ClassUnknown, "unreadable", nil},
		{"only nulls", `{"id":null,"profiles":null,"customerImage":null,"warnings":[]}`, jobs.ClassUnknown, "unreadable", nil},
		{"empty object", `{}`, jobs.ClassUnknown, "unreadable", nil},
		{"gateway's health", `{"status":"UP"}`, jobs.ClassUnknown, "unreadable", nil},
		{"array", `[]`, jobs.ClassUnknown, "unreadable", nil},
		{"HTML", `<html>`, jobs.ClassUnknown, "unreadable", nil},
		{"cut", `{"id":7,"customerImage":[`, jobs.ClassUnknown, "unreadable", nil},
		{"images as an object", profile(`{}`, ""), jobs.ClassUnknown, "unreadable", nil},
		{"images twice", profile(`[`+image(`"a"`)+`]`, `,"customerImage":[]`), jobs.ClassUnknown, "unreadable", nil},
		{"images twice in another case", profile(`[`+image(`"a"`)+`]`, `,"customerimage":[]`), jobs.ClassUnknown, "unreadable", nil},
		{"token twice in an entry", profile(`[{"file":{"s3Token":"a","s3Token":"b"}}]`, ""), jobs.ClassUnknown, "unreadable", nil},
		{"file twice in an entry", profile(`[{"file":{"s3Token":"a"},"file":{"s3Token":"b"}}]`, ""), jobs.ClassUnknown, "unreadable", nil},
		{"broken UTF-8 in a token", profile("[{\"file\":{\"s3Token\":\"\xff\"}}]", ""), jobs.ClassUnknown, "unreadable", nil},
		{"half a surrogate in a token", profile(`[`+image(`"\ud800"`)+`]`, ""), jobs.ClassUnknown, "unreadable", nil},
		{"id of a wrong form", `{"id":{},"customerImage":[]}`, jobs.ClassUnknown, "unreadable", nil},
		{"id with a fraction", `{"id":7.0,"customerImage":[]}`, jobs.ClassUnknown, "unreadable", nil},
		{"warnings as an object", profile(`[]`, `,"warnings":{}`), jobs.ClassUnknown, "unreadable", nil},
		{"another customer", `{"id":8,"customerImage":[]}`, jobs.ClassUnexpected, "wrong_customer", nil},
		{"another customer as a string", `{"id":"8","customerImage":[]}`, jobs.ClassUnexpected, "wrong_customer", nil},
		{"another customer, out of range", `{"id":99999999999999999999,"customerImage":[]}`, jobs.ClassUnexpected, "wrong_customer", nil},
		{"no file", profile(`[{"code":200}]`, ""), jobs.ClassUnexpected, "missing_token", nil},
		{"null file", profile(`[{"file":null}]`, ""), jobs.ClassUnexpected, "missing_token", nil},
		{"no token", profile(`[{"file":{"fileHandle":"h"}}]`, ""), jobs.ClassUnexpected, "missing_token", nil},
		{"empty token", profile(`[`+image(`""`)+`]`, ""), jobs.ClassUnexpected, "missing_token", nil},
		{"blank token", profile(`[`+image(`" "`)+`]`, ""), jobs.ClassUnexpected, "missing_token", nil},
		{"number as token", profile(`[`+image(`1`)+`]`, ""), jobs.ClassUnexpected, "missing_token", nil},
		{"null entry", profile(`[null]`, ""), jobs.ClassUnexpected, "missing_token", nil},
		{"one good, one without", profile(`[`+image(`"a"`)+`,{}]`, ""), jobs.ClassUnexpected, "missing_token", nil},
		{"token twice", profile(`[`+image(`"a"`)+`,`+image(`"b"`)+`,`+image(`"\u0061"`)+`]`, ""), jobs.ClassUnexpected, "duplicate_token", nil},
		{"merged, with images", profile(`[`+image(`"a"`)+`]`, `,"warnings":[{"code":8069,"status":false}]`), jobs.ClassMerged, "8069", nil},
		{"merged, with another's id", `{"id":8,"customerImage":[],"warnings":[{"code":8069}]}`, jobs.ClassMerged, "8069", nil},
		{"erased, with images", profile(`[`+image(`"a"`)+`]`, `,"warnings":[{"message":"Customer is deleted after PII delete request"}]`), jobs.ClassErased, "8015", nil},
		{"warning in no table", profile(`[]`, `,"warnings":[{"code":1021,"message":"x"}]`), jobs.ClassUnexpected, "1021", nil},
		{"warning without a code", profile(`[]`, `,"warnings":["x"]`), jobs.ClassUnexpected, "200", nil},
		{"200 with status false", profile(`[]`, `,"warnings":[{"code":200,"status":false}]`), jobs.ClassUnexpected, "200", nil},
		{"code in no table, no profile", `{"errors":[{"code":1021}]}`, jobs.ClassUnexpected, "1021", nil},
		{"two codes that differ", `{"errors":[{"code":8015},{"code":8069}]}`, jobs.ClassUnknown, "8015", nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got := classifyListing(200, []byte(tt.body), 7)
			if got.class != tt.class || got.code != tt.code {
				t.Errorf("%s %q, want %s %q", got.class, got.code, tt.class, tt.code)
			}
			if diff := cmp.Diff(got.images, tt.keys); diff != "" {
				t.Errorf("images (got, want):\n%s", diff)
			}
		})
	}
	for _, status := range []int{202, 206} {
		if got := classifyListing(status, []byte(noImages), 7); got.class != jobs.ClassUnexpected {
			t.Errorf("%d: %s, want %s", status, got.class, jobs.ClassUnexpected)
		}
	}
}

// A message is one of ours: each class that can come without a code has a sentence.
func TestEveryClassHasASentence(t *testing.T) {
	t.Parallel()
	for _, class := range jobs.Classes() {
		for _, code := range []string{"", "8015", "8078", "503", "timeout"} {
			if s := (verdict{class: class, code: code}).sentence(); s == "" && code == "" {
				switch class {
				case jobs.ClassNoImage, jobs.ClassErased, jobs.ClassNotFound, jobs.ClassMerged: // always with a code
				default:
					t.Errorf("%s without a code has no sentence", class)
				}
			}
		}
	}
}
