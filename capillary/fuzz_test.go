package capillary

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/imagepurge/imagepurge/jobs"
)

// bodies are the seeds of what comes as a body: the fixtures, and the hostile ones
// that a fuzzer can still change with a purpose.
func bodies(f *testing.F) (all [][]byte) {
	names, err := filepath.Glob("testdata/fixtures/*.json")
	if err != nil || len(names) == 0 {
		f.Fatalf("no fixtures: %v", err)
	}
	for _, name := range names {
		b, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		all = append(all, b)
	}
	for _, h := range hostile {
		if len(h.body) < 8<<10 {
			all = append(all, []byte(h.body))
		}
	}
	for _, s := range []string{"", "{}", "null", `{"data":[{"code":"200","status":true}]}`, `{"id":7,"customerImage":[{"file":{"s3Token":"a\u0062"}}]}`, `{"data":[{"errors":[{"code":521}]}]}`, noImages, noImageThere} {
		all = append(all, []byte(s))
	}
	return all
}

// Property: a body is "listed" only if encoding/json sees the same tokens in it,
// in the same order and each once, of this customer, and nothing that speaks
// against it; other classes hold no image; nothing of the body gets out.
func FuzzDecodeListing(f *testing.F) {
	for _, b := range bodies(f) {
		for _, customer := range []int64{7, 700000001, 700000002} {
			f.Add(200, customer, b)
		}
		f.Add(206, int64(7), b)
		f.Add(404, int64(7), b)
	}
	f.Fuzz(func(t *testing.T, status int, customer int64, body []byte) {
		got := classifyListing(status, body, customer)
		checkWords(t, got)
		switch got.class {
		case jobs.ClassListed:
			checkListed(t, got, status, customer, body)
			return
		case jobs.ClassDeleted, jobs.ClassNotSent, jobs.ClassNoImage:
			t.Errorf("a listing can't be %s", got.class)
		}
		if len(got.images) > 0 {
			t.Errorf("%s with images", got.class)
		}
	})
}

func checkListed(t *testing.T, got verdict, status int, customer int64, body []byte) {
	t.Helper()
	if status != 200 && status != 201 {
		t.Errorf("listed under %d", status)
	}
	v, err := treeOf(body)
	if err != nil || v.kind != '{' || !utf8.Valid(body) || v.depth() > maxDepth {
		t.Fatalf("listed, but %v, depth %d", err, v.depth())
	}
	for _, key := range []string{"id", "profiles", "customerImage", "data", "errors", "warnings"} {
		if len(v.all(key)) > 1 {
			t.Errorf("listed with the key %s %d times", key, len(v.all(key)))
		}
	}
	if id := v.one("id"); id.kind != 'n' && strings.TrimLeft(id.scalar, "0") != strconv.FormatInt(customer, 10) {
		t.Errorf("listed for customer %d with the id %q", customer, id.scalar)
	}
	if v.one("id").kind == 'n' && v.one("profiles").kind == 'n' && v.one("customerImage").kind != '[' {
		t.Error("listed without anything of a profile")
	}
	for _, c := range claims(v, false) {
		if c.code != "200" || c.no || c.erased {
			t.Errorf("listed beside %+v", c)
		}
	}
	want, ok := tokens(v)
	if !ok {
		t.Error("listed with a token that is twice or missing")
	}
	if diff := cmp.Diff(got.images, want); diff != "" {
		t.Errorf("images (got, encoding/json):\n%s", diff)
	}
}

// Property: "deleted" only where encoding/json sees a single entry, in data, of
// code 200 and status true, and no remark anywhere else; a class that says "did
// not run" only where no entry says that it did, and either a known code or the
// status says so; nothing of the body gets out.
func FuzzDecodeDelete(f *testing.F) {
	for _, b := range bodies(f) {
		for _, status := range []int{200, 401, 404} {
			f.Add(status, 1, b)
		}
		f.Add(200, 2, b)
	}
	f.Fuzz(func(t *testing.T, status, indexes int, body []byte) {
		got := classifyDelete(status, body, indexes)
		checkWords(t, got)
		v, err := treeOf(body)
		all := claims(v, false)
		switch got.class {
		case jobs.ClassListed, jobs.ClassNotSent:
			t.Errorf("a delete's answer can't be %s", got.class)
		case jobs.ClassDeleted:
			if status != 200 && status != 201 || err != nil || !utf8.Valid(body) || len(all) < 1 || len(all) > indexes {
				t.Fatalf("deleted %d by %d %q (%v)", indexes, status, body, err)
			}
			for _, c := range all {
				if c.list != "data" || c.nested || c.code != "200" || !c.yes || c.erased {
					t.Errorf("deleted by %+v", c)
				}
			}
		case jobs.ClassUnknown, jobs.ClassUnexpected:
		default:
			checkNotRun(t, got, status, v, all, utf8.Valid(body) && readable(v))
		}
	})
}

// checkNotRun: the class says that nothing ran. Where the body can't be read, the
// status decides.
func checkNotRun(t *testing.T, got verdict, status int, v tree, all []claim, readable bool) {
	t.Helper()
	if got.class.MayHaveRun() {
		t.Errorf("%s is none of the classes that say so", got.class)
	}
	known := knownCodes(all)
	byCode := map[jobs.Class]string{
		jobs.ClassNotRun: "521", jobs.ClassNoImage: "8078", jobs.ClassErased: "8015",
		jobs.ClassNotFound: "8015", jobs.ClassMerged: "8069", jobs.ClassRefused: "8016",
	}
	ofStatus := statuses[status] == got.class || got.class == jobs.ClassRefused && status >= 300 && status <= 399
	if !known[byCode[got.class]] && !ofStatus {
		t.Errorf("%s, and neither code nor status %d says so", got.class, status)
	}
	for _, list := range []string{"data", "errors", "warnings"} {
		if len(v.all(list)) > 1 {
			return // a body that means two things counts for nothing: the status decides
		}
	}
	if saysItRan(all) && readable {
		t.Errorf("%s beside a success", got.class)
	}
	if len(known) > 1 && !ofOrganisation(status) && readable {
		t.Errorf("%s beside the codes %v", got.class, known)
	}
}

// readable: the lists are lists, and no entry has a key twice.
func readable(v tree) bool {
	if v.kind != '{' || v.depth() > maxDepth {
		return false
	}
	for _, list := range []string{"data", "errors", "warnings"} {
		found := v.all(list)
		if len(found) > 1 || len(found) == 1 && found[0].kind != '[' && found[0].kind != 'n' {
			return false
		}
		for _, m := range v.members {
			if strings.EqualFold(m.key, list) && m.key != list {
				return false
			}
		}
		for _, entry := range v.one(list).items {
			for _, m := range entry.members {
				for _, name := range remarkNames {
					if strings.EqualFold(m.key, name) && (m.key != name || len(entry.all(name)) > 1) {
						return false
					}
				}
			}
			if entry.kind == '{' && len(entry.all("errors"))+len(entry.all("warnings")) > 0 {
				inner := tree{kind: '{'}
				for _, m := range entry.members {
					if m.key == "errors" || m.key == "warnings" {
						inner.members = append(inner.members, m)
					}
				}
				if !readable(inner) {
					return false
				}
			}
		}
	}
	return true
}

// Property: whatever bytes a server answers with, one request leaves, and the
// answer is what net/http's own reading of those bytes comes to, or unknown.
func FuzzAnswer(f *testing.F) {
	for _, b := range bodies(f) {
		f.Add([]byte(fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(b), b)), uint16(0))
	}
	for _, s := range []string{
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", len(success), success),
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + fmt.Sprintf("%x\r\n%s\r\n0\r\nX: y\r\n\r\n", len(success), success),
		"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + success,
		"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 85\r\n\r\n" + success,
		"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n" + success,
		"HTTP/1.1 429 Too Many\r\nRetry-After: 7\r\nContent-Length: 0\r\n\r\n", "HTTP/1.1 101 Switching\r\n\r\n" + success,
		"HTTP/1.1 204 No\r\n\r\n" + success, "HTTP/1.0 200 OK\n\n" + success, "HTTP/2.0 200 OK\r\n\r\n", "220 hello\r\n", "",
		"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n\r\n\x1f\x8b\x08",
	} {
		f.Add([]byte(s), uint16(1))
		f.Add([]byte(s), uint16(20))
	}
	f.Fuzz(func(t *testing.T, wire []byte, piece uint16) {
		got, requests := answerTo(t, wire, int(piece))
		checkWords(t, verdict{class: got.Class, code: got.Code, contradicted: got.Message == (verdict{class: got.Class, code: got.Code, contradicted: true}).sentence()})
		if requests != 1 {
			t.Errorf("%d requests left", requests)
		}
		if got.RetryAfter < 0 || got.RetryAfter > maxRetryAfter || got.AnsweredAt.IsZero() || got.SentAt.IsZero() {
			t.Errorf("%+v", got)
		}
		if got.Class == jobs.ClassUnknown {
			return
		}
		status, body, err := readByNetHTTP(wire)
		if err != nil {
			t.Fatalf("%s %q, but net/http says: %v", got.Class, got.Code, err)
		}
		if want := classifyDelete(status, body, 1); got.HTTPStatus != status || got.Class != want.class || got.Code != want.code {
			t.Errorf("%d %s %q, want %d %s %q", got.HTTPStatus, got.Class, got.Code, status, want.class, want.code)
		}
	})
}

// answerTo makes one DELETE, to which a server says what stands in wire and then
// closes the connection. It returns how many requests arrived.
func answerTo(t *testing.T, wire []byte, piece int) (jobs.Answer, int) {
	t.Helper()
	var servers sync.WaitGroup
	var requests atomic.Int64
	o := options("http://127.0.0.1:1")
	o.MaxBodyBytes = 64 << 10
	o.DialContext = func(context.Context, string, string) (net.Conn, error) {
		ours, theirs := net.Pipe()
		servers.Go(func() {
			defer theirs.Close()
			if _, err := http.ReadRequest(bufio.NewReader(theirs)); err != nil {
				return
			}
			requests.Add(1)
			for rest := wire; len(rest) > 0; {
				n := len(rest)
				if piece > 0 {
					n = min(n, piece)
				}
				if _, err := theirs.Write(rest[:n]); err != nil {
					return
				}
				rest = rest[n:]
			}
		})
		return ours, nil
	}
	c, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	got := c.Delete(t.Context(), permit(7))
	c.CloseIdleConnections()
	servers.Wait()
	return got, int(requests.Load())
}

func readByNetHTTP(wire []byte) (status int, body []byte, err error) {
	in := bufio.NewReader(bytes.NewReader(wire))
	for {
		r, err := http.ReadResponse(in, &http.Request{Method: http.MethodDelete})
		if err != nil {
			return 0, nil, err
		}
		if r.StatusCode >= 100 && r.StatusCode < 200 && r.StatusCode != http.StatusSwitchingProtocols {
			continue
		}
		body, err = io.ReadAll(r.Body)
		return r.StatusCode, body, err
	}
}

func BenchmarkDecodeListing(b *testing.B) {
	body := []byte(fixture(b, "get-two-images.json"))
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		if got := classifyListing(200, body, 700000001); len(got.images) != 2 {
			b.Fatal(got)
		}
	}
}

func BenchmarkDecodeDelete(b *testing.B) {
	body := []byte(success)
	b.ReportAllocs()
	for b.Loop() {
		if got := classifyDelete(200, body, 1); got.class != jobs.ClassDeleted {
			b.Fatal(got)
		}
	}
}
