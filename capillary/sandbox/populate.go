package sandbox

import (
	"fmt"
	"time"
)

// Defaults of [PopulateOptions].
const (
	DefaultOrg     int64 = 100001
	DefaultFirstID int64 = 700000001
)

// MaxImages is how many images one customer can have.
const MaxImages = 5

// Standing is what the platform says about a customer id.
type Standing string

const (
	Present Standing = "present"
	Unknown Standing = "unknown" // 8015
	Erased  Standing = "erased"  // 8015 with the message of a PII delete request
	Merged  Standing = "merged"  // 8069: the id belongs to another account
)

// Image is one stored image. Its identity is Token; Handle and Slot name the
// place it was uploaded into and are used again by later uploads.
type Image struct {
	Token        string    `json:"token"`  // customerImage/ORG/CUSTOMER/UUID
	Handle       string    `json:"handle"` // UUID
	Slot         int       `json:"slot"`   // 0 to 4
	Version      int       `json:"version"`
	LastModified time.Time `json:"last_modified"`
	Size         int64     `json:"size"` // bytes; 0: the listing leaves fileSize out
}

// Customer is a customer as it stands at the beginning.
type Customer struct {
	ID       int64    `json:"id"`
	Standing Standing `json:"standing"`
	// Owner is the account the images belong to: the id itself, or the
	// surviving account of a merged customer.
	Owner  int64   `json:"owner"`
	Images []Image `json:"images"` // in index order, at most MaxImages
}

// PopulateOptions says what a population looks like. The zero value is usable.
type PopulateOptions struct {
	FirstID int64 // first customer id; 0 means DefaultFirstID
	Org     int64 // organisation id in the tokens; 0 means DefaultOrg

	// Images weighs how many customers have 0, 1, … 5 images. All zero means
	// 15, 35, 20, 15, 10 and 5 in a hundred.
	Images [MaxImages + 1]float64

	// Shares of all ids, each 0 to 1 and together at most 1. Default 0.
	Unknown, Merged, Erased float64

	// Until is the latest time at which an image was uploaded; zero means
	// the beginning of May 2026, UTC.
	Until time.Time
}

// Population is a range of customers made from a seed when asked for: one that
// nobody asks for costs nothing. The zero value has no customer. It is
// immutable.
type Population struct {
	seed uint64
	n    int
	o    PopulateOptions
}

// Populate describes n customers with consecutive ids. It panics for shares
// that cannot be, since no test or demonstration can go on with them.
func Populate(seed uint64, n int, o PopulateOptions) Population {
	if n < 0 || o.Unknown < 0 || o.Merged < 0 || o.Erased < 0 || o.Unknown+o.Merged+o.Erased > 1 {
		panic(fmt.Sprintf("sandbox: population of %d with shares %v, %v, %v", n, o.Unknown, o.Merged, o.Erased))
	}
	if o.FirstID == 0 {
		o.FirstID = DefaultFirstID
	}
	if o.Org == 0 {
		o.Org = DefaultOrg
	}
	if o.Images == [MaxImages + 1]float64{} {
		o.Images = [MaxImages + 1]float64{15, 35, 20, 15, 10, 5}
	}
	if o.Until.IsZero() {
		o.Until = time.Date(2026, 5, 1, 0, 0, 0, 0, time.UTC)
	}
	return Population{seed: seed, n: n, o: o}
}

// Len is the number of ids, those of unknown customers included.
func (p Population) Len() int { return p.n }

// ID is the i-th id, i from 0 to Len-1.
func (p Population) ID(i int) int64 { return p.o.FirstID + int64(i) }

// Customer makes the customer as it stands at the beginning; false for an id
// outside of the range.
func (p Population) Customer(id int64) (Customer, bool) {
	if !p.has(id) {
		return Customer{ID: id, Standing: Unknown, Owner: id}, false
	}
	c := Customer{ID: id, Standing: p.standing(id), Owner: id}
	if c.Standing == Merged {
		c.Owner = id + 1_000_000_000
	}
	n := p.images(id, c.Standing)
	if n == 0 {
		return c, true
	}
	c.Images = make([]Image, 0, n)
	for i := range n {
		c.Images = append(c.Images, p.image(c.Owner, i))
	}
	return c, true
}

// Counts says how many customers of each standing there are, and how many
// images those present have. It walks the whole range.
func (p Population) Counts() (customers map[Standing]int, images int) {
	customers = make(map[Standing]int, 4)
	for i := range p.n {
		id := p.ID(i)
		s := p.standing(id)
		customers[s]++
		if s == Present {
			images += p.images(id, s)
		}
	}
	return customers, images
}

func (p Population) has(id int64) bool {
	return id >= p.o.FirstID && id-p.o.FirstID < int64(p.n)
}

func (p Population) standing(id int64) Standing {
	u := unit(draw(p.seed, saltStanding, id))
	switch {
	case u < p.o.Unknown:
		return Unknown
	case u < p.o.Unknown+p.o.Merged:
		return Merged
	case u < p.o.Unknown+p.o.Merged+p.o.Erased:
		return Erased
	}
	return Present
}

func (p Population) images(id int64, s Standing) int {
	if s == Unknown || s == Erased {
		return 0
	}
	total := 0.0
	for _, w := range p.o.Images {
		total += w
	}
	u := unit(draw(p.seed, saltCount, id)) * total
	for n, w := range p.o.Images {
		if u < w {
			return n
		}
		u -= w
	}
	return 0
}

func (p Population) image(owner int64, i int) Image {
	bits := draw(p.seed, saltImage, owner, int64(i))
	img := Image{
		Token:        imageToken(p.seed, p.o.Org, owner, i),
		Handle:       uuid(p.seed, saltHandle, owner, int64(i)),
		Slot:         i,
		Version:      1 + int(bits>>8%4),
		LastModified: p.o.Until.Add(-time.Duration(bits>>16%(365*24*3600)) * time.Second),
		Size:         10_240 + int64(bits>>24%4_000_000),
	}
	if bits%5 == 0 {
		img.Version = -1
	}
	if bits%7 == 0 {
		img.Size = 0
	}
	return img
}
