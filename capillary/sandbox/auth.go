package sandbox

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"sync"
	"time"
)

// gate knows the keys, their tokens and their meters.
type gate struct {
	seed uint64
	ttl  time.Duration

	mu     sync.Mutex
	basic  map[string]*access // username NUL md5 of the password
	oauth  map[string]*access // key NUL secret
	tokens map[string]grant
}

type access struct {
	name   string
	meter  meter
	tokens int64 // made so far
}

type grant struct {
	*access
	until time.Time
}

func newGate(o Options) *gate {
	g := &gate{
		seed: o.Seed, ttl: o.TokenTTL,
		basic: make(map[string]*access), oauth: make(map[string]*access), tokens: make(map[string]grant),
	}
	for _, k := range o.Keys {
		a := &access{name: k.Username, meter: meter{limit: o.Limit}}
		g.basic[k.Username+"\x00"+k.BasicPassword()] = a
		if k.OAuthKey != "" {
			g.oauth[k.OAuthKey+"\x00"+k.OAuthSecret] = a
		}
	}
	return g
}

// who is the key a request authenticates with; nil for none.
func (g *gate) who(r *http.Request, now time.Time) *access {
	g.mu.Lock()
	defer g.mu.Unlock()
	if token := r.Header.Get("X-CAP-API-OAUTH-TOKEN"); token != "" {
		if t, ok := g.tokens[token]; ok && now.Before(t.until) {
			return t.access
		}
		return nil
	}
	user, password, ok := r.BasicAuth()
	if !ok {
		return nil
	}
	return g.basic[user+"\x00"+password]
}

// RevokeTokens ends all tokens that were given so far, as the platform may at any
// time. It says how many.
func (s *Server) RevokeTokens() int {
	s.gate.mu.Lock()
	defer s.gate.mu.Unlock()
	n := len(s.gate.tokens)
	clear(s.gate.tokens)
	return n
}

// allow counts a call of the key.
func (g *gate) allow(a *access, now time.Time) (ok bool, wait time.Duration) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return a.meter.allow(now)
}

// serveToken answers POST /v3/oauth/token/generate; the status it sent comes
// back.
func (g *gate) serveToken(w http.ResponseWriter, r *http.Request, now time.Time) int {
	var in struct{ Key, Secret string }
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 1<<16)).Decode(&in); err != nil {
		writeJSON(w, 400, map[string]any{"data": nil, "errors": []partJSON{{Code: 400, Message: "Invalid input"}}})
		return 400
	}
	g.mu.Lock()
	a := g.oauth[in.Key+"\x00"+in.Secret]
	var token string
	if a != nil {
		a.tokens++
		token = fmt.Sprintf("header.%s.signature", base64.RawURLEncoding.EncodeToString(
			fmt.Appendf(nil, `{"till":%q,"id":"%x"}`, a.name, draw(g.seed, saltOAuth, a.tokens))))
		g.tokens[token] = grant{a, now.Add(g.ttl)}
	}
	g.mu.Unlock()
	if a == nil {
		writeJSON(w, 401, map[string]any{"data": nil, "errors": []partJSON{{Code: 401, Message: "Invalid key or secret"}}})
		return 401
	}
	writeJSON(w, 200, map[string]any{
		"data":   map[string]any{"accessToken": token, "ttlSeconds": int(g.ttl / time.Second)},
		"errors": nil,
	})
	return 200
}
