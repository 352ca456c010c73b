package sandbox

import (
	"slices"
	"time"
)

// Place is where an upload goes.
type Place string

const (
	PlaceByRule  Place = "" // as ModelOptions.Uploads says
	PlaceAppend  Place = "append"
	PlacePrepend Place = "prepend"
	PlaceReplace Place = "replace" // the image at Request.At: same handle, new token
)

// Request is one request as the server understood it.
type Request struct {
	Actor      Actor // "" means ActorAPI
	Kind       Kind
	Customer   int64
	Ordinal    int       // see Entry.Ordinal
	ReceivedAt time.Time // zero: the time of Apply
	Proto      string

	Indexes  []int         // delete and remove
	NoSource bool          // list: no source was passed
	Lag      time.Duration // list: how old a state to show, at most ModelOptions.MaxLag
	Sizes    []int64       // upload: one per file, bytes
	Place    Place         // upload
	At       int           // upload: index to replace

	Fault Fault
	Gone  bool // the caller left before the answer
}

// Apply carries out one request at one instant, journals it and returns what
// the caller is to see. A fault that keeps the request from executing leaves
// the images alone; one that loses the answer shows in Reply.Delivery. A
// simulation calls it for [Fault.Late] requests at the later time.
func (m *Model) Apply(now time.Time, r Request) Reply {
	if r.Actor == "" {
		r.Actor = ActorAPI
	}
	if r.ReceivedAt.IsZero() {
		r.ReceivedAt = now
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	e := Entry{
		ReceivedAt: r.ReceivedAt, Actor: r.Actor, Kind: r.Kind, Customer: r.Customer, Ordinal: r.Ordinal,
		Indexes: r.Indexes, Fault: r.Fault, Proto: r.Proto,
	}
	s := m.look(r.Customer)
	e.Before = len(s.images)
	reply := m.refusal(r, s)
	if reply.Body == "" {
		reply = m.execute(now, r, s, &e)
	}
	reply = m.harm(r, reply)
	e.After = len(s.images)
	e.Status, e.Code = reply.Status, reply.code()
	e.Answered = reply.answered() && !r.Gone
	m.journal.Append(e)
	return reply
}

// Refuse journals a request that was turned away before it got to a customer's
// images: authentication, rate limit, wrong path, invalid input. A status of 0
// means that it got no answer.
func (m *Model) Refuse(now time.Time, r Request, status int) {
	if r.Actor == "" {
		r.Actor = ActorAPI
	}
	if r.ReceivedAt.IsZero() {
		r.ReceivedAt = now
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	n := 0
	if r.Customer != 0 {
		n = len(m.look(r.Customer).images)
	}
	m.journal.Append(Entry{
		ReceivedAt: r.ReceivedAt, Actor: r.Actor, Kind: r.Kind, Customer: r.Customer, Ordinal: r.Ordinal,
		Indexes: r.Indexes, Before: n, After: n, Status: status, Fault: r.Fault, Answered: status != 0, Proto: r.Proto,
	})
}

// refusal is the answer for a request that the customer's standing forbids;
// its Body is empty where nothing does.
func (m *Model) refusal(r Request, s *state) Reply {
	no := Reply{Body: BodyParts, Delivery: DeliverWhole}
	shape := draw(m.o.Seed, saltShape, r.Customer, codeUnknown)
	switch {
	case r.Kind == KindList && r.NoSource:
		no.Errors = []Part{{Code: codeNoSource, Message: "Get customer failed, no source passed"}}
	case s.standing == Unknown:
		no.Errors = []Part{{Code: codeUnknown, Message: "Customer not found for the given identifiers"}}
		no.OmitData, no.OmitWarnings = true, shape&1 == 0
	case s.standing == Erased:
		no.Errors = []Part{{Code: codeUnknown, Message: "Customer is deleted after PII delete request"}}
		no.OmitData = true
	case s.standing == Merged:
		no.Warnings = []Part{{Code: codeMerged, Message: "Merged customer found"}}
		if r.Kind == KindList {
			// The other account's profile, with its images, under the old id:
			// what a caller would delete there was never asked for.
			no.Body, no.Status, no.Customer, no.Images = BodyProfile, 200, s.owner, s.images
			return no
		}
	default:
		return Reply{}
	}
	no.Status = m.o.ErrorStatus(r.Customer, no.partCode())
	return no
}

func (m *Model) execute(now time.Time, r Request, s *state, e *Entry) Reply {
	times := 1
	switch {
	case !r.Fault.executes():
		times = 0
	case r.Fault == FaultRunsTwice:
		times = 2
	}
	if times > 0 {
		e.Executed, e.ExecutedAt = true, now
	}
	switch r.Kind {
	case KindDelete, KindRemove:
		return m.executeDelete(now, r, s, e, times)
	case KindUpload:
		return m.executeUpload(now, r, s, e, times)
	default:
		shown := s.asOf(now.Add(-min(max(r.Lag, 0), m.o.MaxLag)))
		return Reply{Status: 200, Body: BodyProfile, Delivery: DeliverWhole, Customer: r.Customer, Images: shown}
	}
}

func (m *Model) executeDelete(now time.Time, r Request, s *state, e *Entry, times int) Reply {
	// The first run's answer is the one given: whoever repeats a request on
	// the way keeps the first answer and drops the second.
	_, would, misses := m.remove(s.images, r.Indexes)
	for range times {
		left, removed, _ := m.remove(s.images, r.Indexes)
		if len(removed) > 0 {
			m.set(now, r.Customer, s, left)
			e.Removed = append(e.Removed, removed...)
		}
	}
	if len(r.Indexes) == 0 {
		misses = 1
	}
	reply := Reply{Status: 200, Body: BodyParts, Delivery: DeliverWhole, Removed: e.Removed}
	for range would {
		reply.Data = append(reply.Data, Part{Code: codeSuccess, Message: "Success", OK: true})
	}
	if misses == 0 {
		return reply
	}
	none := []Part{{Code: codeNoImage, Message: "No Image passed to be deleted"}}
	if draw(m.o.Seed, saltShape, r.Customer, codeNoImage)%4 == 0 {
		reply.Errors = none
	} else {
		reply.Warnings = none
	}
	reply.Status = 201 // some parts failed
	if len(would) == 0 {
		reply.Status = m.o.ErrorStatus(r.Customer, codeNoImage)
	}
	return reply
}

func (m *Model) executeUpload(now time.Time, r Request, s *state, e *Entry, times int) Reply {
	reply := Reply{Status: 200, Body: BodyParts, Delivery: DeliverWhole}
	images := slices.Clone(s.images)
	uploads := 0
	next := *s // versions and serials are used up by a success only
	for k, size := range r.Sizes {
		at := -1
		switch {
		case r.Place == PlaceReplace:
			at = r.At
		case r.Place == PlaceByRule && m.o.Uploads == UploadsReplace:
			at = slices.IndexFunc(images, func(img Image) bool { return img.Slot == k })
		}
		switch {
		case at >= 0 && at < len(images):
			e.Removed = append(e.Removed, Removal{images[at].Token, at})
			images[at] = m.newImage(now, r.Customer, &next, images[at].Slot, size)
			e.Added = append(e.Added, images[at].Token)
			uploads++
			continue
		case r.Place == PlaceReplace:
			continue // nothing there to replace
		}
		img := m.newImage(now, r.Customer, &next, freeSlot(images), size)
		e.Added = append(e.Added, img.Token)
		uploads++
		if r.Place == PlacePrepend {
			images = slices.Insert(images, 0, img)
		} else {
			images = append(images, img)
		}
	}
	if len(images) > MaxImages || len(r.Sizes) > MaxImages {
		reply.Errors = []Part{{Code: codeTooMany, Message: "Maximum number of images exceeded"}}
		reply.Status = m.o.ErrorStatus(r.Customer, codeTooMany)
		e.Added, e.Removed, e.Executed, e.ExecutedAt = nil, nil, false, time.Time{}
		return reply
	}
	for range uploads {
		reply.Data = append(reply.Data, Part{Code: codeSuccess, Message: "Success", OK: true})
	}
	if times == 0 {
		e.Added, e.Removed = nil, nil
		return reply
	}
	if uploads > 0 {
		s.uploads, s.versions = next.uploads, next.versions
		m.set(now, r.Customer, s, images)
	}
	reply.Removed = e.Removed
	return reply
}
