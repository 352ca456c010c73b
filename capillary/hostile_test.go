package capillary

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/imagepurge/imagepurge/jobs"
)

// hostile are bodies that no good API sends, with what they mean as a listing of
// customer 7 and as the answer to a DELETE of one index. They are seeds of the
// fuzz targets, too.
var hostile = []struct {
	name, body string
	list       jobs.Class
	listCode   string
	del        jobs.Class
	delCode    string
}{
	{"never ends", `{"id":7,"customerImage":[` + strings.Repeat(`{"file":{"s3Token":"a`, 40), jobs.ClassUnknown, "unreadable", jobs.ClassUnknown, "unreadable"},
	{"one string without an end", `{"id":7,"x":"` + strings.Repeat(`\"`, 400), jobs.ClassUnknown, "unreadable", jobs.ClassUnknown, "unreadable"},
	{"as deep as may be", `{"id":7,"customerImage":[],"data":[{"code":200,"status":"true"}],"x":` + strings.Repeat("[", maxDepth-1) + strings.Repeat("]", maxDepth-1) + `}`, jobs.ClassListed, "", jobs.ClassDeleted, ""},
	{"one deeper", `{"id":7,"customerImage":[],"data":[{"code":200,"status":"true"}],"x":` + strings.Repeat("[", maxDepth) + strings.Repeat("]", maxDepth) + `}`, jobs.ClassUnknown, "unreadable", jobs.ClassUnknown, "unreadable"},
	{"deep in errors", strings.Repeat(`{"data":[{"code":200,"status":"true","errors":[`, 50), jobs.ClassUnknown, "unreadable", jobs.ClassUnknown, "unreadable"},
	{"a success nested in a success", `{"id":7,"data":[{"code":200,"status":"true","errors":[{"code":200,"status":"true"}]}]}`, jobs.ClassListed, "", jobs.ClassUnknown, "200"},
	{"a failure nested deeply", `{"data":[{"errors":[{"warnings":[{"errors":[{"code":8078}]}]}]}]}`, jobs.ClassUnexpected, "8078", jobs.ClassNoImage, "8078"},
	{"objects for lists", `{"id":7,"customerImage":{"0":{"file":{"s3Token":"a"}}},"data":{"0":{"code":200,"status":"true"}}}`, jobs.ClassUnknown, "unreadable", jobs.ClassUnknown, "unreadable"},
	{"lists for objects", `{"id":[7],"customerImage":[["a"]],"data":[["200","true"]]}`, jobs.ClassUnknown, "unreadable", jobs.ClassUnexpected, "200"},
	{"booleans for codes", `{"id":7,"data":[{"code":true,"status":200}]}`, jobs.ClassUnexpected, "200", jobs.ClassUnexpected, "200"},
	{"objects for codes", `{"id":7,"data":[{"code":{"code":200},"status":["true"]}]}`, jobs.ClassUnexpected, "200", jobs.ClassUnexpected, "200"},
	{"an exponent for a code", `{"id":7,"data":[{"code":2e2,"status":"true"}]}`, jobs.ClassUnexpected, "200", jobs.ClassUnexpected, "200"},
	{"a code with a sign and zeros", `{"data":[{"code":"+0200","status":"true"}],"errors":[{"code":-8078}]}`, jobs.ClassUnexpected, "200", jobs.ClassUnexpected, "200"},
	{"a code of seven digits", `{"id":7,"errors":[{"code":5647034}]}`, jobs.ClassUnexpected, "200", jobs.ClassUnexpected, "200"},
	{"a list of texts for images", `{"id":7,"customerImage":["a","b"]}`, jobs.ClassUnexpected, "missing_token", jobs.ClassUnknown, "unreadable"},
	{"an object for a token", `{"id":7,"customerImage":[{"file":{"s3Token":{"s3Token":"a"}}}]}`, jobs.ClassUnexpected, "missing_token", jobs.ClassUnknown, "unreadable"},
	{"a list of files", `{"id":7,"customerImage":[{"file":[{"s3Token":"a"}]}]}`, jobs.ClassUnexpected, "missing_token", jobs.ClassUnknown, "unreadable"},
	{"a key twice", `{"id":7,"id":8,"customerImage":[],"data":[{"code":200,"code":8080,"status":"true"}]}`, jobs.ClassUnknown, "unreadable", jobs.ClassUnknown, "unreadable"},
	{"a key twice, once escaped", `{"id":7,"\u0069d":7,"customerImage":[],"data":[{"code":200,"st\u0061tus":"true","status":"false"}]}`, jobs.ClassUnknown, "unreadable", jobs.ClassUnknown, "unreadable"},
	{"a key twice, once in letters that fold", `{"id":7,"customerImage":[{"file":{"s3Token":"a","` + "\u017f" + `3To` + "\u212a" + `en":"b"}}],"data":[{"code":200,"status":"true","` + "\u017f" + `tatus":"false"}]}`, jobs.ClassUnknown, "unreadable", jobs.ClassUnknown, "unreadable"},
	{"keys in other letters", `{"id":7,"CustomerImage":[{"file":{"s3Token":"a"}}],"Data":[{"code":200,"status":"true"}]}`, jobs.ClassUnknown, "unreadable", jobs.ClassUnknown, "unreadable"},
	{"two codes of failure", `{"errors":[{"code":8078}],"warnings":[{"code":521}]}`, jobs.ClassUnknown, "8078", jobs.ClassUnknown, "8078"},
	{"a success that denies itself", `{"id":7,"customerImage":[],"warnings":[{"code":200,"status":false}]}`, jobs.ClassUnexpected, "200", jobs.ClassUnknown, "200"},
	{"tokens twice, one with its entry's case changed", `{"id":7,"customerImage":[{"file":{"s3Token":"a"},"FILE":{"s3Token":"b"}}]}`, jobs.ClassUnknown, "unreadable", jobs.ClassUnknown, "unreadable"},
	{"invalid UTF-8 in a token", "{\"id\":7,\"customerImage\":[{\"file\":{\"s3Token\":\"a\xc3\x28\"}}]}", jobs.ClassUnknown, "unreadable", jobs.ClassUnknown, "unreadable"},
	{"invalid UTF-8 in a name", "{\"id\":7,\"profiles\":[{\"firstName\":\"J\xfcrgen\"}],\"customerImage\":[]}", jobs.ClassUnknown, "unreadable", jobs.ClassUnknown, "unreadable"},
	{"a surrogate alone", `{"id":7,"customerImage":[{"file":{"s3Token":"a\udc00"}}]}`, jobs.ClassUnknown, "unreadable", jobs.ClassUnknown, "unreadable"},
	{"a token with control characters", `{"id":7,"customerImage":[{"file":{"s3Token":"a\u0000\n"}}]}`, jobs.ClassListed, "", jobs.ClassUnknown, "unreadable"},
	{"negative versions", `{"id":7,"customerImage":[{"file":{"version":-1,"latestVersion":-9223372036854775809,"s3Token":"a"}}]}`, jobs.ClassListed, "", jobs.ClassUnknown, "unreadable"},
	{"fifty images", profileOf(7, manyTokens(50)...), jobs.ClassListed, "", jobs.ClassUnknown, "unreadable"},
	{"as many images as may be", profileOf(7, manyTokens(maxImages)...), jobs.ClassListed, "", jobs.ClassUnknown, "unreadable"},
	{"one more", profileOf(7, manyTokens(maxImages+1)...), jobs.ClassUnknown, "unreadable", jobs.ClassUnknown, "unreadable"},
	{"the same token twice", profileOf(7, "a", "b", "a"), jobs.ClassUnexpected, "duplicate_token", jobs.ClassUnknown, "unreadable"},
	{"a token missing", `{"id":7,"customerImage":[{"file":{"s3Token":"a"}},{"file":{"fileHandle":"h"}}]}`, jobs.ClassUnexpected, "missing_token", jobs.ClassUnknown, "unreadable"},
	{"the same token twice, and one missing", `{"id":7,"customerImage":[{"file":{"s3Token":"a"}},{"file":{"s3Token":"a"}},{"file":{}}]}`, jobs.ClassUnexpected, "missing_token", jobs.ClassUnknown, "unreadable"},
	{"a negative id", `{"id":-7,"customerImage":[]}`, jobs.ClassUnknown, "unreadable", jobs.ClassUnknown, "unreadable"},
	{"two documents", `{"id":7,"customerImage":[]}{"data":[{"code":200,"status":"true"}]}`, jobs.ClassUnknown, "unreadable", jobs.ClassUnknown, "unreadable"},
	{"a byte order mark", "\ufeff" + `{"id":7,"customerImage":[]}`, jobs.ClassUnknown, "unreadable", jobs.ClassUnknown, "unreadable"},
	{"half a million remarks", `{"data":[` + strings.Repeat("0,", 500_000) + `0]}`, jobs.ClassUnexpected, "200", jobs.ClassUnexpected, "200"},
}

func manyTokens(n int) (tokens []string) {
	for i := range n {
		tokens = append(tokens, fmt.Sprintf("token %d", i))
	}
	return tokens
}

func profileOf(id int64, tokens ...string) string {
	var b strings.Builder
	fmt.Fprintf(&b, `{"id":%d,"customerImage":[`, id)
	for i, token := range tokens {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, `{"code":200,"file":{"s3Token":%q,"version":1}}`, token)
	}
	return b.String() + "]}"
}

func TestHostileBodies(t *testing.T) {
	t.Parallel()
	for _, tt := range hostile {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if got := classifyListing(200, []byte(tt.body), 7); got.class != tt.list || got.code != tt.listCode {
				t.Errorf("as a listing %s %q, want %s %q", got.class, got.code, tt.list, tt.listCode)
			}
			if got := classifyDelete(200, []byte(tt.body), 1); got.class != tt.del || got.code != tt.delCode {
				t.Errorf("as a delete's answer %s %q, want %s %q", got.class, got.code, tt.del, tt.delCode)
			}
		})
	}
}

// meter is a connection that counts what is read from it.
type meter struct {
	net.Conn
	read *atomic.Int64
}

func (m meter) Read(p []byte) (int, error) {
	n, err := m.Conn.Read(p)
	m.read.Add(int64(n))
	return n, err
}

// However much a server sends, no more than the bound is read of it, and memory
// follows the bound, never the answer. Not parallel: it measures the process.
func TestEndlessBodiesTakeBoundedMemory(t *testing.T) {
	const (
		bound = 1 << 20
		head  = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
		sent  = 1 << 30
		// What net/http reads ahead, and the frame around the body.
		readAbove = 128 << 10
		// Twice the bound for the buffer that doubles, once more for what it
		// doubled from, and what the call and its connection take.
		taken = 4 * bound
	)
	block := strings.Repeat("{\"a\":[", 32<<10/6)
	for _, tt := range []struct {
		name, head, chunk string
		frame             int64 // bytes on the wire for one of the body
	}{
		{"a gigabyte announced", head + fmt.Sprintf("Content-Length: %d\r\n\r\n", sent), block, 1},
		{"endless", head + "\r\n", block, 1},
		{"endless in chunks", head + "Transfer-Encoding: chunked\r\n\r\n", fmt.Sprintf("%x\r\n%s\r\n", len(block), block), 1},
		{"endless in chunks of one byte", head + "Transfer-Encoding: chunked\r\n\r\n", strings.Repeat("1\r\n{\r\n", 5000), 6},
		{"one endless chunk", head + "Transfer-Encoding: chunked\r\n\r\n7fffffffffffffff\r\n", block, 1},
		{"endless trailers", head + "Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n", strings.Repeat("X: y\r\n", 5000), 1},
		{"one endless header", head + "X: ", block, 1},
		{"endless headers", head, strings.Repeat("X: y\r\n", 5000), 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWire(t, false, func(w *wire, conn net.Conn, in *bufio.Reader) {
				if w.request(in) == nil {
					return
				}
				_, err := conn.Write([]byte(tt.head))
				chunk := []byte(tt.chunk)
				for n := 0; err == nil && n < sent; n += len(chunk) {
					_, err = conn.Write(chunk)
				}
			})
			read := new(atomic.Int64)
			o := wireOptions(w)
			o.MaxBodyBytes = bound
			o.RequestTimeout = time.Minute
			o.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
				conn, err := defaultDial(ctx, network, address)
				return meter{conn, read}, err
			}
			c := newClient(t, o)
			before := allocated()
			list := c.List(t.Context(), customer(7))
			del := c.Delete(t.Context(), permit(7))
			grown := allocated() - before
			for _, got := range []jobs.Answer{list, del} {
				if got.Class != jobs.ClassUnknown || got.Code != "unreadable" {
					t.Errorf("answer is %s %q, want %s unreadable", got.Class, got.Code, jobs.ClassUnknown)
				}
			}
			if n := read.Load(); n > 2*(bound*tt.frame+readAbove) {
				t.Errorf("%d bytes were read of two answers with a bound of %d", n, bound)
			}
			if grown > 2*taken {
				t.Errorf("%d bytes were allocated for two answers with a bound of %d", grown, bound)
			}
		})
	}
}

// A large body is walked in place: what is allocated for it is a few times its own
// size at most, whatever it holds. Not parallel: it measures the process.
func TestLargeBodiesAreReadInPlace(t *testing.T) {
	const large = 1 << 20
	fill := func(head, unit, tail string) string {
		return head + strings.Repeat(unit, (large-len(head)-len(tail))/len(unit)) + tail
	}
	for name, body := range map[string]string{
		"brackets":             fill("", "[", ""),
		"objects":              fill("", `{"data":[`, ""),
		"remarks":              fill(`{"id":7,"data":[`, `{"code":8078},`, `0]}`),
		"nested remarks":       fill(`{"id":7,"data":[`, `{"errors":[{"warnings":[{"code":1}]}]},`, `0]}`),
		"keys":                 fill(`{"id":7`, `,"customerimag":0`, `}`),
		"escapes in a key":     fill(`{"id":7,"`, `\u0061`, `":0}`),
		"escapes in a token":   fill(`{"id":7,"customerImage":[{"file":{"s3Token":"`, `\u0061`, `"}}]}`),
		"escapes in a message": fill(`{"id":7,"errors":[{"message":"`, `\u0061`, `"}]}`),
		"images":               fill(`{"id":7,"customerImage":[`, `{"file":{"s3Token":"a"}},`, `0]}`),
		"digits":               fill(`{"id":`, `7`, `}`),
		"space":                fill(`{"id":7`, " ", `}`),
	} {
		t.Run(name, func(t *testing.T) {
			text := []byte(body)
			before := allocated()
			list := classifyListing(200, text, 7)
			del := classifyDelete(200, text, 1)
			grown := allocated() - before
			checkWords(t, list)
			checkWords(t, del)
			if most := uint64(4 * len(text)); grown > most {
				t.Errorf("%d bytes were allocated for a body of %d, want %d at most", grown, len(text), most)
			}
		})
	}
}

func allocated() uint64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.TotalAlloc
}
