package sandbox

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"
)

// Actor is who made a request.
type Actor string

const (
	ActorAPI    Actor = "api"    // the caller under test
	ActorOthers Actor = "others" // store staff, apps, the platform
)

// Kind is what a request asked for.
type Kind string

const (
	KindList   Kind = "list"
	KindDelete Kind = "delete"
	KindUpload Kind = "upload"
	KindRemove Kind = "remove" // a delete by others
	KindToken  Kind = "token"  // OAuth
	KindOther  Kind = "other"  // a wrong path
)

// Removal is one image that went.
type Removal struct {
	Token string `json:"token"`
	// Position is where the image stood at the moment it went: for several
	// removed one by one, after the shifts by those before.
	Position int `json:"position"`
}

// Entry is one request that reached the server. It is written when the
// request's fate is sealed: for one that executes, in the instant it executes,
// so the order of entries is the order in which images went. A request that
// executes late has its entry late.
type Entry struct {
	Seq        int64     `json:"seq"` // from 1
	ReceivedAt time.Time `json:"received_at"`
	ExecutedAt time.Time `json:"executed_at,omitzero"` // zero if it did not execute
	Actor      Actor     `json:"actor"`
	Kind       Kind      `json:"kind"`
	Customer   int64     `json:"customer,omitempty"`
	// Ordinal counts this customer's requests that got past authentication,
	// limit and routing, from 1; 0 for those that did not, and for others.
	Ordinal int       `json:"ordinal,omitempty"`
	Indexes []int     `json:"indexes,omitempty"` // as sent
	Removed []Removal `json:"removed,omitempty"` // in the order in which they went
	Added   []string  `json:"added,omitempty"`   // tokens
	Before  int       `json:"before"`            // number of images
	After   int       `json:"after"`
	Status  int       `json:"status,omitempty"` // HTTP status sent; 0: none
	Code    int       `json:"code,omitempty"`   // the API's code in the body sent; 0: none
	Fault   Fault     `json:"fault,omitempty"`
	// Executed says that the operation was carried out on the customer's
	// images; a delete that found no image at its index is carried out too,
	// with nothing in Removed.
	Executed bool `json:"executed"`
	// Answered says that the server set out to give a whole answer; the caller
	// may have left all the same.
	Answered bool   `json:"answered"`
	Proto    string `json:"proto,omitempty"` // e.g. HTTP/1.1
}

// Counters are sums over all entries of a journal.
type Counters struct {
	Requests        int           `json:"requests"` // by ActorAPI
	Lists           int           `json:"lists"`
	Deletes         int           `json:"deletes"`          // DELETE requests received
	DeletesExecuted int           `json:"deletes_executed"` // those that removed an image
	ImagesDeleted   int           `json:"images_deleted"`   // by ActorAPI
	ImagesRemoved   int           `json:"images_removed"`   // by ActorOthers, replaced ones included
	ImagesAdded     int           `json:"images_added"`
	RateLimited     int           `json:"rate_limited"` // answers 429
	Faults          map[Fault]int `json:"faults"`
}

const chunkSize = 4096

// Journal is what truly happened, in order. It only grows: about 70 bytes an
// entry and 200 more for each image that went. Times come back in UTC, between
// the years 1678 and 2262. It is safe for concurrent use.
type Journal struct {
	mu sync.Mutex
	// Chunks, and a chain of entries per customer, so that a long journal is
	// neither copied when it grows nor walked to find one customer.
	chunks   [][]packed
	last     map[int64]int32 // number of the customer's newest entry
	words    words
	counters Counters
	stream   *json.Encoder
	streamTo error
}

// NewJournal returns an empty journal. Where stream is not nil, each entry is
// also written to it as one line of JSON as it comes.
func NewJournal(stream io.Writer) *Journal {
	j := &Journal{last: make(map[int64]int32), counters: Counters{Faults: make(map[Fault]int)}}
	if stream != nil {
		j.stream = json.NewEncoder(stream)
	}
	return j
}

// Append numbers the entry and keeps it.
func (j *Journal) Append(e Entry) Entry {
	j.mu.Lock()
	defer j.mu.Unlock()
	if len(j.chunks) == 0 || len(j.chunks[len(j.chunks)-1]) == chunkSize {
		j.chunks = append(j.chunks, make([]packed, 0, chunkSize))
	}
	at := len(j.chunks) - 1
	n := at*chunkSize + len(j.chunks[at])
	e.Seq = int64(n + 1)
	j.chunks[at] = append(j.chunks[at], j.words.pack(e, j.last[e.Customer]))
	e = j.entry(int32(n + 1)) // as it will be read again, times included
	j.last[e.Customer] = int32(n + 1)
	j.count(e)
	if j.stream != nil && j.streamTo == nil {
		j.streamTo = j.stream.Encode(e)
	}
	return e
}

func (j *Journal) count(e Entry) {
	c := &j.counters
	c.ImagesAdded += len(e.Added)
	if e.Actor != ActorAPI {
		c.ImagesRemoved += len(e.Removed)
		return
	}
	c.Requests++
	switch e.Kind {
	case KindList:
		c.Lists++
	case KindDelete:
		c.Deletes++
		if len(e.Removed) > 0 {
			c.DeletesExecuted++
		}
		c.ImagesDeleted += len(e.Removed)
	default:
		c.ImagesRemoved += len(e.Removed)
	}
	if e.Status == 429 {
		c.RateLimited++
	}
	if e.Fault != NoFault {
		c.Faults[e.Fault]++
	}
}

// Len is the number of entries.
func (j *Journal) Len() int {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.len()
}

func (j *Journal) len() int {
	if len(j.chunks) == 0 {
		return 0
	}
	return (len(j.chunks)-1)*chunkSize + len(j.chunks[len(j.chunks)-1])
}

// Entries returns a copy of all entries, oldest first.
func (j *Journal) Entries() []Entry {
	j.mu.Lock()
	defer j.mu.Unlock()
	all := make([]Entry, 0, j.len())
	for n := range j.len() {
		all = append(all, j.entry(int32(n+1)))
	}
	return all
}

// Customer returns a copy of the customer's entries, oldest first.
func (j *Journal) Customer(id int64) []Entry {
	j.mu.Lock()
	defer j.mu.Unlock()
	n := 0
	for at := j.last[id]; at != 0; at = j.at(at).previous {
		n++
	}
	out := make([]Entry, n)
	for at := j.last[id]; at != 0; at = j.at(at).previous {
		n--
		out[n] = j.entry(at)
	}
	return out
}

func (j *Journal) entry(n int32) Entry { return j.words.unpack(j.at(n), int64(n)) }

func (j *Journal) at(n int32) *packed { return &j.chunks[(n-1)/chunkSize][(n-1)%chunkSize] }

// Counters returns the sums so far.
func (j *Journal) Counters() Counters {
	j.mu.Lock()
	defer j.mu.Unlock()
	c := j.counters
	c.Faults = make(map[Fault]int, len(j.counters.Faults))
	for f, n := range j.counters.Faults {
		c.Faults[f] = n
	}
	return c
}

// StreamError is the error that ended the stream given to NewJournal, if any.
func (j *Journal) StreamError() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.streamTo
}

// WriteNDJSON writes the entries there are when it is called, one a line. It
// does not hold up the server while it writes.
func (j *Journal) WriteNDJSON(w io.Writer) error {
	out := bufio.NewWriter(w)
	enc := json.NewEncoder(out)
	for from, end := 0, j.Len(); from < end; {
		part := j.copyFrom(from, min(end, from+chunkSize))
		for i := range part {
			if err := enc.Encode(&part[i]); err != nil {
				return fmt.Errorf("write journal: %w", err)
			}
		}
		from += len(part)
	}
	return out.Flush()
}

func (j *Journal) copyFrom(from, to int) []Entry {
	j.mu.Lock()
	defer j.mu.Unlock()
	part := make([]Entry, 0, to-from)
	for n := from; n < to; n++ {
		part = append(part, j.entry(int32(n+1)))
	}
	return part
}

// ReadNDJSON reads what WriteNDJSON or a stream wrote.
func ReadNDJSON(r io.Reader) ([]Entry, error) {
	var all []Entry
	for dec := json.NewDecoder(r); ; {
		var e Entry
		err := dec.Decode(&e)
		if errors.Is(err, io.EOF) {
			return all, nil
		}
		if err != nil {
			return all, fmt.Errorf("read journal entry %d: %w", len(all)+1, err)
		}
		all = append(all, e)
	}
}
