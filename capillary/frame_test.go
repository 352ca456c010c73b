package capillary

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
)

func TestFrameEndsWhereTheAnswerEnds(t *testing.T) {
	t.Parallel()
	chunked := "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
	for _, tt := range []struct {
		name, answer string
		open         bool // it ends with the connection alone
	}{
		{"length", "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc", false},
		{"no body", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", false},
		{"204", "HTTP/1.1 204 No Content\r\n\r\n", false},
		{"304", "HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n", false},
		{"a status below 100", "HTTP/1.1 042 Odd\r\nContent-Length: 3\r\n\r\nabc", false},
		{"bare line feeds", "HTTP/1.1 200 OK\nContent-Length: 3\n\nabc", false},
		{"103 before", "HTTP/1.1 103 Early Hints\r\nX: y\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc", false},
		{"chunks", chunked + "3\r\nabc\r\n00A;x=y\r\n01234567\r\n\r\n0\r\n\r\n", false},
		{"chunks and trailers", chunked + "3\r\nabc\r\n0\r\nX: y\r\n\r\n", false},
		{"no length", "HTTP/1.1 200 OK\r\n\r\nabc", true},
		{"101", "HTTP/1.1 101 Switching Protocols\r\n\r\nabc", true},
		{"no HTTP", "220 hello\r\n\r\nabc", true},
		{"no chunk", chunked + "-1\r\nabc", true},
		{"endless chunk line", chunked + strings.Repeat("0", maxFrameLine+1), true},
		{"endless head", "HTTP/1.1 200 OK\r\nX: " + strings.Repeat("x", maxResponseHeaderBytes), true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			all := []byte(tt.answer + "HTTP/1.1 200 OK\r\n\r\n")
			want := len(tt.answer)
			if tt.open {
				want = len(all)
			}
			for _, piece := range []int{1, 2, 3, 7, len(all)} {
				var f frame
				f.ask()
				got := 0
				for at := 0; at < len(all); at += piece {
					got += f.take(all[at:min(at+piece, len(all))])
				}
				if got != want {
					t.Errorf("in pieces of %d: %d bytes belong to it, want %d", piece, got, want)
				}
			}
		})
	}
	var f frame
	if f.take([]byte("x")) != 0 {
		t.Error("a byte before any question belongs to an answer")
	}
}

// Property: where net/http reads an answer whole and would use the connection
// again, the frame ends where net/http's reading ends, however it was cut.
func FuzzFrame(f *testing.F) {
	f.Add([]byte("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabcdef"), 1)
	f.Add([]byte("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\nHTTP/1.1"), 5)
	f.Add([]byte("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3 ; x\r\nabc\r\n0\r\nA: b\r\n\r\nHTTP/1.1"), 50)
	f.Add([]byte("HTTP/1.1 204 No\r\n\r\nabcdef"), 3)
	f.Add([]byte("HTTP/1.1 042 Odd\r\nContent-Length: 3\r\n\r\nabcdef"), 3)
	f.Add([]byte("HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\nContent-Length: 3\n\nabcdef"), 2)
	f.Add([]byte("HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\nx"), 4)
	f.Add([]byte("HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\nabcdef"), 9)
	f.Add([]byte("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0x3\r\nabc\r\n 0\r\n\r\nx"), 1)
	f.Add([]byte("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\nabc\r\n0\n\nHTTP/1.1"), 6)
	f.Fuzz(func(t *testing.T, wire []byte, piece int) {
		if piece < 1 || piece > 1<<16 {
			return
		}
		var whole frame
		whole.ask()
		atOnce := whole.take(wire)
		var fr frame
		fr.ask()
		taken := 0
		for at := 0; at < len(wire); at += piece {
			taken += fr.take(wire[at:min(at+piece, len(wire))])
		}
		if taken != atOnce {
			t.Errorf("%d bytes belong to it in pieces of %d, %d at once: %q", taken, piece, atOnce, wire)
		}
		in := bufio.NewReader(bytes.NewReader(wire))
		r, err := http.ReadResponse(in, nil)
		if err != nil || r.StatusCode >= 100 && r.StatusCode < 200 || r.ContentLength < 0 && len(r.TransferEncoding) == 0 {
			return
		}
		n, err := io.Copy(io.Discard, r.Body)
		if err != nil {
			return
		}
		if want := len(wire) - in.Buffered(); len(wire) < 4096 && taken < want {
			t.Errorf("taken %d of %d that net/http reads (body %d): %s", taken, want, n, fmt.Sprintf("%q", wire))
		} else if len(wire) < 4096 && taken > want && fr.state != framesAll {
			t.Errorf("taken %d, net/http reads %d: %q", taken, want, wire)
		}
	})
}
