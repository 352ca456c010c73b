package capillary

import (
	"bufio"
	"bytes"
	"net/http"
	"strconv"
)

// frame follows the answer's bytes and knows where it ends, so that the guard
// can keep from net/http what comes after it. Two reasons: a second answer
// waiting there would be taken for the next request's, and net/http writes what
// it finds on an idle connection to the process's log, which may be a customer's
// profile (seen: "Unsolicited response received on idle HTTP channel").
type frame struct {
	state frameState
	line  []byte // of head: all of it; of a chunk's size and of trailers: the line
	left  int64  // bytes of the body, or of the chunk with its line end
}

type frameState int

const (
	framesNothing frameState = iota // nothing was asked, or the answer is over
	framesHead
	framesLength
	framesChunkSize
	framesChunk
	framesTrailer
	framesAll // until the connection's end; also where net/http will give up
)

const maxFrameLine = 4 << 10 // net/http's own bound for a chunk's line

// ask begins a new answer.
func (f *frame) ask() { *f = frame{state: framesHead} }

// take returns how many of the bytes belong to the answer.
func (f *frame) take(p []byte) int {
	taken := 0
	for taken < len(p) && f.state != framesNothing {
		taken += f.step(p[taken:])
	}
	return taken
}

// step takes at least one byte.
func (f *frame) step(p []byte) int {
	switch f.state {
	case framesLength, framesChunk:
		n := min(int64(len(p)), f.left)
		if f.left -= n; f.left == 0 {
			if f.state == framesLength {
				f.state = framesNothing
			} else {
				f.state = framesChunkSize
			}
		}
		return int(n)
	case framesHead, framesChunkSize, framesTrailer:
		n := bytes.IndexByte(p, '\n') + 1
		if n == 0 {
			n = len(p)
		}
		f.line = append(f.line, p[:n]...)
		switch {
		case f.state == framesHead && len(f.line) > maxResponseHeaderBytes, f.state != framesHead && len(f.line) > maxFrameLine:
			f.state, f.line = framesAll, nil
		case p[n-1] == '\n':
			f.endOfLine()
		}
		return n
	}
	return len(p)
}

func (f *frame) endOfLine() {
	switch f.state {
	case framesHead:
		if bytes.HasSuffix(f.line, []byte("\n\r\n")) || bytes.HasSuffix(f.line, []byte("\n\n")) {
			f.endOfHead()
		}
		return
	case framesChunkSize:
		size, _, _ := bytes.Cut(f.line, []byte(";"))
		n, err := strconv.ParseInt(string(bytes.TrimSpace(size)), 16, 62)
		switch {
		case err != nil || n < 0:
			f.state = framesAll
		case n == 0:
			f.state = framesTrailer
		default:
			f.state, f.left = framesChunk, n+2 // with the CRLF behind it
		}
	case framesTrailer:
		if len(bytes.TrimSpace(f.line)) == 0 {
			f.state = framesNothing
		}
	}
	f.line = f.line[:0]
}

// endOfHead lets net/http's own reader say what kind of body follows, so that
// the two can't be of different minds.
func (f *frame) endOfHead() {
	head, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(f.line)), nil) //nolint:bodyclose // it is the head alone
	f.line = nil
	switch {
	case err != nil, head.StatusCode == http.StatusSwitchingProtocols:
		f.state = framesAll
	case head.StatusCode >= 100 && head.StatusCode < 200: // the answer is still to come
	case len(head.TransferEncoding) > 0:
		f.state = framesChunkSize
	case head.ContentLength < 0:
		f.state = framesAll
	case head.ContentLength == 0:
		f.state = framesNothing
	default:
		f.state, f.left = framesLength, head.ContentLength
	}
}
