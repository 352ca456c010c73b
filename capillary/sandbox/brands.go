package sandbox

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"strings"
)

// Brands are several organisations behind one address, as on the real clusters:
// each with its own keys, customers, limits and number inside of the s3Tokens. A
// request is for whom its credentials belong to; what belongs to nobody is refused
// by the first. No two may have the same key.
type Brands struct{ servers []*Server }

// NewBrands puts servers behind one address. They are closed by whoever made them.
func NewBrands(first *Server, others ...*Server) *Brands {
	return &Brands{append([]*Server{first}, others...)}
}

// Listen serves plain HTTP at an address, as [Server.Listen] does, under the first
// one's options.
func (b *Brands) Listen(address string) (*Listener, error) {
	return b.servers[0].listenFor(b, address, nil, nil)
}

// ServeHTTP serves the API. The admin endpoints are the first one's.
func (b *Brands) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	b.of(r).ServeHTTP(w, r)
}

func (b *Brands) of(r *http.Request) *Server {
	if strings.HasPrefix(r.URL.Path, "/sandbox/") {
		return b.servers[0]
	}
	knows := func(s *Server) bool { return s.gate.who(r, s.o.Now()) != nil }
	if r.URL.Path == "/v3/oauth/token/generate" {
		body, err := io.ReadAll(io.LimitReader(r.Body, 1<<16))
		if err != nil {
			return b.servers[0]
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		var in struct{ Key string }
		_ = json.Unmarshal(body, &in) // the server itself says what is wrong with it
		knows = func(s *Server) bool { return s.gate.hasOAuthKey(in.Key) }
	}
	for _, s := range b.servers {
		if knows(s) {
			return s
		}
	}
	return b.servers[0]
}

func (g *gate) hasOAuthKey(key string) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	for known := range g.oauth {
		if name, _, _ := strings.Cut(known, "\x00"); name == key {
			return true
		}
	}
	return false
}
