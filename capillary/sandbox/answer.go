package sandbox

import (
	"crypto/tls"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// write gives an answer, or does to it what its delivery says. The journal has
// its entry by then.
func (s *Server) write(w http.ResponseWriter, r *http.Request, reply Reply) {
	if reply.Status >= 300 && reply.Status < 400 {
		// To the very same call: a caller who follows a 307 or 308 makes it
		// twice, and one who follows a 303 takes the answer to a GET for that
		// to a DELETE.
		w.Header().Set("Location", r.URL.RequestURI())
	}
	switch reply.Delivery {
	case DeliverNothing:
		drop(w, reply.Reset)
	case DeliverHang:
		select {
		case <-r.Context().Done():
		case <-s.stop.Done():
		}
		panic(http.ErrAbortHandler)
	case DeliverCut:
		contentType, body := s.render(reply, embeds(r))
		w.Header().Set("Content-Type", contentType)
		w.Header().Set("Content-Length", strconv.Itoa(len(body)))
		w.WriteHeader(reply.Status)
		_, _ = w.Write(body[:len(body)/2])
		flush(w)
		panic(http.ErrAbortHandler)
	case DeliverEndless, DeliverHuge:
		s.writeLong(w, r, reply)
	default:
		s.writeWhole(w, reply, embeds(r))
	}
}

// embeds says that the caller asked for the images; a profile without the
// wish has none.
func embeds(r *http.Request) bool { return r.URL.Query().Get("embed") == "CUSTOMERIMAGE" }

func (s *Server) writeWhole(w http.ResponseWriter, reply Reply, embedded bool) {
	contentType, body := s.render(reply, embedded)
	w.Header().Set("Content-Type", contentType)
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(reply.Status)
	_, _ = w.Write(body) // the caller may have left
}

func (s *Server) render(reply Reply, embedded bool) (contentType string, body []byte) {
	return s.model.Render(reply, s.o.Now(), embedded)
}

// Render writes a reply's whole body. The model's seed decides what the API's
// documentation leaves open; embedded says that the images were asked for.
func (m *Model) Render(reply Reply, now time.Time, embedded bool) (contentType string, body []byte) {
	switch reply.Body {
	case BodyHTML:
		return "text/html; charset=UTF-8", fmt.Appendf(nil,
			"<!DOCTYPE html>\n<html><head><title>example.invalid | %d</title></head>"+
				"<body><h1>Gateway %d</h1></body></html>\n", reply.Status, reply.Status)
	case BodyText:
		return "text/plain; charset=utf-8", []byte(http.StatusText(reply.Status) + "\n")
	case BodyProfile:
		return "application/json", marshal(m.bodyProfile(reply, now, embedded))
	}
	return "application/json", marshal(bodyParts(reply))
}

// writeLong begins like the true answer, so that nothing shows at the start,
// and goes on with blanks.
func (s *Server) writeLong(w http.ResponseWriter, r *http.Request, reply Reply) {
	contentType, body := s.render(reply, embeds(r))
	w.Header().Set("Content-Type", contentType)
	left := int64(-1)
	if reply.Delivery == DeliverHuge {
		left = max(s.o.Faults.HugeBytes, int64(len(body)))
		w.Header().Set("Content-Length", strconv.FormatInt(left, 10))
		left -= int64(len(body))
	}
	w.WriteHeader(reply.Status)
	// The last byte, the closing brace, is kept back.
	last := body[len(body)-1:]
	if _, err := w.Write(body[:len(body)-1]); err != nil {
		panic(http.ErrAbortHandler)
	}
	blanks := []byte(strings.Repeat(" ", 64<<10))
	for left != 0 {
		n := int64(len(blanks))
		if left > 0 {
			n = min(n, left)
			left -= n
		}
		_, err := w.Write(blanks[:n])
		if err != nil || r.Context().Err() != nil || s.stop.Err() != nil {
			panic(http.ErrAbortHandler)
		}
	}
	_, _ = w.Write(last)
}

// drop closes the connection without a byte, in order or by a reset: callers
// see two different errors.
func drop(w http.ResponseWriter, reset bool) {
	hijacker, ok := w.(http.Hijacker)
	if !ok {
		panic(http.ErrAbortHandler)
	}
	conn, _, err := hijacker.Hijack()
	if err != nil {
		panic(http.ErrAbortHandler) // HTTP/2 resets the stream
	}
	raw := conn
	if secure, ok := conn.(*tls.Conn); ok {
		raw = secure.NetConn()
	}
	if tcp, ok := raw.(*net.TCPConn); ok && reset {
		_ = tcp.SetLinger(0)
	}
	_ = raw.Close()
}

func flush(w http.ResponseWriter) {
	if f, ok := w.(http.Flusher); ok {
		f.Flush()
	}
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(marshal(v))
}

// marshal is for the sandbox's own types, which always encode.
func marshal(v any) []byte {
	body, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("sandbox: encode %T: %v", v, err))
	}
	return body
}
