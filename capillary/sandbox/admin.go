package sandbox

import (
	"net"
	"net/http"
	"strconv"
	"strings"
)

// Stats are the server's numbers.
type Stats struct {
	Counters
	Customers     int `json:"customers"` // present or merged
	ImagesAtStart int `json:"images_at_start"`
	ImagesNow     int `json:"images_now"`
	Pending       int `json:"pending"` // requests still to execute late
}

// Stats counts. The first call walks the whole population.
func (s *Server) Stats() Stats {
	c := s.model.journal.Counters()
	customers, images := s.atStart()
	putCustomers, putImages := s.model.putCounts()
	return Stats{
		Counters: c, Customers: customers + putCustomers, ImagesAtStart: images + putImages,
		ImagesNow: images + putImages + c.ImagesAdded - c.ImagesDeleted - c.ImagesRemoved,
		Pending:   s.Pending(),
	}
}

func (s *Server) countAtStart() (customers, images int) {
	by, images := s.o.Population.Counts()
	return by[Present] + by[Merged], images
}

// putCounts is by how much Put changed the population's own counts.
func (m *Model) putCounts() (customers, images int) {
	count := func(c Customer, sign int) {
		if c.Standing == Present || c.Standing == Merged {
			customers += sign
		}
		if c.Standing == Present {
			images += sign * len(c.Images)
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for id, c := range m.put {
		count(c, 1)
		if was, ok := m.o.Population.Customer(id); ok {
			count(was, -1)
		}
	}
	return customers, images
}

// serveAdmin is for whoever drives and judges the sandbox from another
// process. It has no authentication, hence the loopback rule.
func (s *Server) serveAdmin(w http.ResponseWriter, r *http.Request) {
	if !s.o.Exposed && !fromLoopback(r.RemoteAddr) {
		adminError(w, http.StatusForbidden, "the admin endpoints are for loopback callers")
		return
	}
	parts := strings.Split(strings.TrimPrefix(r.URL.Path, "/sandbox/"), "/")
	switch {
	case len(parts) == 1 && parts[0] == "journal" && r.Method == http.MethodGet:
		w.Header().Set("Content-Type", "application/x-ndjson")
		_ = s.model.journal.WriteNDJSON(w) // the caller left
	case len(parts) == 1 && parts[0] == "stats" && r.Method == http.MethodGet:
		writeJSON(w, 200, s.Stats())
	case len(parts) == 2 && parts[0] == "tokens" && parts[1] == "revoke" && r.Method == http.MethodPost:
		writeJSON(w, 200, map[string]int{"revoked": s.RevokeTokens()})
	case parts[0] == "customers" && len(parts) > 1:
		id, err := strconv.ParseInt(parts[1], 10, 64)
		if err != nil {
			adminError(w, http.StatusBadRequest, "a customer id is an integer")
			return
		}
		s.serveAdminCustomer(w, r, id, parts[2:])
	default:
		adminError(w, http.StatusNotFound, "no such admin endpoint")
	}
}

func (s *Server) serveAdminCustomer(w http.ResponseWriter, r *http.Request, id int64, rest []string) {
	c := s.model.Now(id)
	act := Act{Deed: DeedUpload}
	switch {
	case len(rest) == 0 && r.Method == http.MethodGet:
		writeJSON(w, 200, c)
		return
	case len(rest) == 1 && rest[0] == "images" && r.Method == http.MethodPost:
		if r.URL.Query().Get("place") == "front" {
			act.Deed = DeedPrepend
		}
		if text := r.URL.Query().Get("replace"); text != "" {
			index, err := strconv.Atoi(text)
			if err != nil || index < 0 || index >= len(c.Images) {
				adminError(w, http.StatusBadRequest, "no image at the index to replace")
				return
			}
			act.Deed, act.Index = DeedReplace, index
		}
	case len(rest) == 2 && rest[0] == "images" && r.Method == http.MethodDelete:
		index, err := strconv.Atoi(rest[1])
		if err != nil || index < 0 || index >= len(c.Images) {
			adminError(w, http.StatusNotFound, "no image at this index")
			return
		}
		act.Deed, act.Index = DeedRemove, index
	default:
		adminError(w, http.StatusNotFound, "no such admin endpoint")
		return
	}
	if c.Standing != Present {
		adminError(w, http.StatusConflict, "the customer is "+string(c.Standing))
		return
	}
	if reply := s.model.Do(s.o.Now(), id, act); len(reply.Errors) > 0 {
		adminError(w, http.StatusConflict, reply.Errors[0].Message)
		return
	}
	writeJSON(w, 200, s.model.Now(id))
}

func adminError(w http.ResponseWriter, status int, message string) {
	writeJSON(w, status, map[string]string{"error": message})
}

func fromLoopback(address string) bool {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return false
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}
