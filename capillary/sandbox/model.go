package sandbox

import (
	"cmp"
	"fmt"
	"slices"
	"sync"
	"time"
)

// MultiIndex is how a delete with several indexes is read; the API's
// documentation leaves it open.
type MultiIndex string

const (
	// HighestFirst: all indexes count in the list as it was before the call.
	HighestFirst MultiIndex = ""
	// AscendingShifting: the lowest first, one by one, each counting in the
	// list as the one before left it.
	AscendingShifting MultiIndex = "ascending"
)

// UploadRule is where setImage puts images; left open too.
type UploadRule string

const (
	UploadsAppend  UploadRule = ""
	UploadsReplace UploadRule = "replace" // the k-th file replaces slot k where it is taken
)

// ModelOptions say how the open points of the API are played.
type ModelOptions struct {
	Seed       uint64
	Org        int64      // organisation id in tokens; 0 means the population's
	Population Population // the customers there are; more by Put
	MultiIndex MultiIndex
	Uploads    UploadRule
	// MaxLag is how old a state a listing can show. 0: only the present one.
	MaxLag time.Duration
	// ErrorStatus is the HTTP status beside an API error code; nil means
	// SpreadStatus.
	ErrorStatus func(customer int64, code int) int
	// Journal takes the entries; nil means a new one.
	Journal *Journal
}

// Model is the state of the remote server and its rules: no HTTP, no clock, no
// goroutine. Times are arguments and must not go backwards. A customer costs
// memory once something of it has changed. It is safe for concurrent use.
type Model struct {
	o       ModelOptions
	journal *Journal

	mu      sync.Mutex
	touched map[int64]*state
	put     map[int64]Customer
	changes []change // those within MaxLag, oldest first
}

type state struct {
	standing Standing
	owner    int64
	images   []Image // never altered in place: past shares it
	past     []moment
	uploads  int            // so far
	versions [MaxImages]int // highest so far in each slot
}

type moment struct {
	until  time.Time
	images []Image
}

type change struct {
	at       time.Time
	customer int64
}

// NewModel returns the state at the beginning.
func NewModel(o ModelOptions) *Model {
	if o.Org == 0 {
		o.Org = cmp.Or(o.Population.o.Org, DefaultOrg)
	}
	if o.ErrorStatus == nil {
		o.ErrorStatus = SpreadStatus
	}
	if o.Journal == nil {
		o.Journal = NewJournal(nil)
	}
	return &Model{o: o, journal: o.Journal, touched: make(map[int64]*state), put: make(map[int64]Customer)}
}

// Journal is where the model writes.
func (m *Model) Journal() *Journal { return m.journal }

// Put adds a customer, or sets one of the population anew. It must be called
// before the customer's first request. It refuses more than MaxImages images,
// slots outside of 0 to 4 and tokens that are empty or doubled.
func (m *Model) Put(c Customer) error {
	if len(c.Images) > MaxImages {
		return fmt.Errorf("put customer %d: %d images", c.ID, len(c.Images))
	}
	seen := make(map[string]bool)
	for _, img := range c.Images {
		if img.Token == "" || seen[img.Token] || img.Slot < 0 || img.Slot >= MaxImages {
			return fmt.Errorf("put customer %d: token %q, slot %d", c.ID, img.Token, img.Slot)
		}
		seen[img.Token] = true
	}
	if c.Standing == "" {
		c.Standing = Present
	}
	if c.Owner == 0 {
		c.Owner = c.ID
	}
	c.Images = slices.Clone(c.Images)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.put[c.ID] = c
	delete(m.touched, c.ID)
	return nil
}

// Initially is the customer as it stood at the beginning; its standing is
// Unknown for an id nobody has.
func (m *Model) Initially(customer int64) Customer {
	m.mu.Lock()
	defer m.mu.Unlock()
	c := m.initially(customer)
	c.Images = slices.Clone(c.Images)
	return c
}

func (m *Model) initially(customer int64) Customer {
	if c, ok := m.put[customer]; ok {
		return c
	}
	c, _ := m.o.Population.Customer(customer)
	return c
}

// Now is the customer as it truly stands.
func (m *Model) Now(customer int64) Customer {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := m.look(customer)
	return Customer{ID: customer, Standing: s.standing, Owner: s.owner, Images: slices.Clone(s.images)}
}

// Images are the customer's images as they truly are, in index order.
func (m *Model) Images(customer int64) []Image { return m.Now(customer).Images }

// look is the customer's state; a fresh one is not kept.
func (m *Model) look(customer int64) *state {
	if s, ok := m.touched[customer]; ok {
		return s
	}
	c := m.initially(customer)
	s := &state{standing: c.Standing, owner: c.Owner, images: c.Images, uploads: len(c.Images)}
	for _, img := range c.Images {
		s.versions[img.Slot] = max(s.versions[img.Slot], img.Version, 1)
	}
	return s
}

// set replaces the customer's images at a time.
func (m *Model) set(now time.Time, customer int64, s *state, images []Image) {
	m.touched[customer] = s
	if m.o.MaxLag > 0 {
		s.past = append(s.past, moment{now, s.images})
		m.changes = append(m.changes, change{now, customer})
	}
	s.images = images
	m.forget(now)
}

// forget drops the past that no listing can show any more; without it each
// customer ever touched would keep its images for good.
func (m *Model) forget(now time.Time) {
	horizon := now.Add(-m.o.MaxLag)
	for len(m.changes) > 0 && !m.changes[0].at.After(horizon) {
		if s := m.touched[m.changes[0].customer]; s != nil {
			s.past = slices.DeleteFunc(s.past, func(p moment) bool { return !p.until.After(horizon) })
			if len(s.past) == 0 {
				s.past = nil
			}
		}
		m.changes = m.changes[1:]
	}
}

func (s *state) asOf(at time.Time) []Image {
	for _, p := range s.past {
		if p.until.After(at) {
			return p.images
		}
	}
	return s.images
}

// remove takes out images by index as the model reads several of them. Misses
// counts the indexes at which there was none.
func (m *Model) remove(images []Image, indexes []int) (left []Image, removed []Removal, misses int) {
	order := slices.Clone(indexes)
	slices.Sort(order)
	if m.o.MultiIndex == HighestFirst {
		order = slices.Compact(order)
		slices.Reverse(order)
	}
	left = slices.Clone(images)
	for _, i := range order {
		if i < 0 || i >= len(left) {
			misses++
			continue
		}
		removed = append(removed, Removal{left[i].Token, i})
		left = slices.Delete(left, i, i+1)
	}
	return left, removed, misses
}

// newImage makes the next image for a slot: the slot's handle, a version above
// all before, a token never seen.
func (m *Model) newImage(now time.Time, customer int64, s *state, slot int, size int64) Image {
	img := Image{
		Token:        imageToken(m.o.Seed, m.o.Org, s.owner, s.uploads),
		Handle:       uuid(m.o.Seed, saltHandle, s.owner, int64(slot)),
		Slot:         slot,
		LastModified: now.UTC(),
		Size:         size,
	}
	for _, before := range m.initially(customer).Images {
		if before.Slot == slot {
			img.Handle = before.Handle
		}
	}
	s.uploads++
	s.versions[slot]++
	img.Version = s.versions[slot]
	return img
}

func freeSlot(images []Image) int {
	for slot := range MaxImages {
		if !slices.ContainsFunc(images, func(img Image) bool { return img.Slot == slot }) {
			return slot
		}
	}
	return 0
}
