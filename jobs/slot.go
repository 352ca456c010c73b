package jobs

import "time"

// SlotKind is what a call slot is wanted for, in the order in which slots are
// given (protocol, step 4).
type SlotKind int

// The kinds of a slot, most urgent first.
const (
	SlotDelete SlotKind = iota // a live view waits for it
	SlotVerify                 // the listing after the last delete
	SlotList                   // a listing that makes a new view
)

// Slot is a wish for a call slot.
type Slot struct {
	Kind   SlotKind
	ViewAt time.Time // of a delete: when the view was made
	Left   int       // of a delete: how many deletes the view still needs, this one included
}
