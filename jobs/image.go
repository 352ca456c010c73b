package jobs

import (
	"crypto/sha256"
	"encoding/hex"
)

// Key is an image's identity: the SHA-256 of its s3Token. Never the slot or the
// handle, for a new upload into the same slot is another image. The token
// itself is kept nowhere.
type Key [sha256.Size]byte

// KeyOf returns the identity of the image with the given s3Token.
func KeyOf(token string) Key { return sha256.Sum256([]byte(token)) }

// String returns the first eight bytes in hex: enough to tell a customer's
// images apart in a log, and no token can be read from it.
func (k Key) String() string { return hex.EncodeToString(k[:8]) }

// ImageState is where one image of a task stands. The same words stand in a
// CHECK constraint.
type ImageState string

// The states of an image's row. All but [Bystander] are states of a target.
const (
	Planned   ImageState = "planned"   // to be deleted
	Intended  ImageState = "intended"  // a DELETE for it is about to be sent, or was
	Unknown   ImageState = "unknown"   // a DELETE was sent and nobody knows whether it ran
	Deleted   ImageState = "deleted"   // by a DELETE meant for it
	Absent    ImageState = "absent"    // gone by other means
	Bystander ImageState = "bystander" // seen, and no target
)

// ImageStates lists every state of an image's row.
func ImageStates() []ImageState {
	return []ImageState{Planned, Intended, Unknown, Deleted, Absent, Bystander}
}

// Evidence says by what a final state of a target was shown.
type Evidence string

// The kinds of evidence.
const (
	ByAnswer  Evidence = "answer"  // the DELETE's own answer
	ByListing Evidence = "listing" // a later listing
)
