package sandbox

import (
	"slices"
	"time"
)

// List is an unharmed listing by the caller under test, showing the state of
// lag ago.
func (m *Model) List(now time.Time, customer int64, lag time.Duration) Reply {
	return m.Apply(now, Request{Kind: KindList, Customer: customer, Lag: lag})
}

// Delete is an unharmed delete by the caller under test.
func (m *Model) Delete(now time.Time, customer int64, indexes ...int) Reply {
	return m.Apply(now, Request{Kind: KindDelete, Customer: customer, Indexes: indexes})
}

// Upload adds n images at the end, by others. All or none: over MaxImages it
// answers 8082.
func (m *Model) Upload(now time.Time, customer int64, n int) Reply {
	return m.Apply(now, Request{
		Actor: ActorOthers, Kind: KindUpload, Customer: customer, Place: PlaceAppend, Sizes: slices.Repeat([]int64{20_480}, n),
	})
}

// Replace uploads into the place of the image at the index, by others: same
// handle, new token, higher version. No image there: nothing happens.
func (m *Model) Replace(now time.Time, customer int64, index int) Reply {
	return m.Do(now, customer, Act{Deed: DeedReplace, Index: index})
}

// Prepend inserts an image in front of all, by others.
func (m *Model) Prepend(now time.Time, customer int64) Reply {
	return m.Do(now, customer, Act{Deed: DeedPrepend})
}

// Remove takes out the image at the index, by others. No image there: nothing
// happens.
func (m *Model) Remove(now time.Time, customer int64, index int) Reply {
	return m.Do(now, customer, Act{Deed: DeedRemove, Index: index})
}

// Do carries out what others do.
func (m *Model) Do(now time.Time, customer int64, a Act) Reply {
	if n := len(m.Images(customer)); a.wrap && n > 0 {
		a.Index %= n
	}
	r := Request{Actor: ActorOthers, Kind: KindUpload, Customer: customer, Sizes: []int64{20_480}}
	switch a.Deed {
	case DeedUpload:
		r.Place = PlaceAppend
	case DeedPrepend:
		r.Place = PlacePrepend
	case DeedReplace:
		r.Place, r.At = PlaceReplace, a.Index
	case DeedRemove:
		r.Kind, r.Sizes, r.Indexes = KindRemove, nil, []int{a.Index}
	}
	return m.Apply(now, r)
}

// Turn changes what the platform says about the customer from now on: erased,
// merged into the owner's account, or unknown. It is no request, and is not
// journaled.
func (m *Model) Turn(customer int64, to Standing, owner int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := m.look(customer)
	s.standing = to
	if owner != 0 {
		s.owner = owner
	}
	m.touched[customer] = s
}
