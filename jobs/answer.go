package jobs

import "time"

// Kind is a kind of call to the remote API.
type Kind string

// The two calls that imagepurge makes.
const (
	ListCall   Kind = "list"
	DeleteCall Kind = "delete"
)

// Class is what an answer of the remote API means. Outside of the client only
// the class decides; status and code are recorded and shown.
type Class string

// The classes of an answer. docs/protocol.md, step 7, says what follows from each.
const (
	ClassListed     Class = "listed"        // a listing that can be believed
	ClassDeleted    Class = "deleted"       // the delete ran
	ClassNotRun     Class = "not_run"       // the call certainly did not run
	ClassNoImage    Class = "no_such_image" // no image at that index: the view was wrong
	ClassUnknown    Class = "unknown"       // it may have run, or may still run
	ClassErased     Class = "customer_erased"
	ClassNotFound   Class = "customer_not_found"
	ClassMerged     Class = "customer_merged"
	ClassRefused    Class = "refused"    // refused for the whole organisation; did not run
	ClassOverLimit  Class = "over_limit" // 429; did not run
	ClassInvalid    Class = "invalid"    // 400 without a known code; did not run
	ClassUnexpected Class = "unexpected" // in no table: may have run
	ClassNotSent    Class = "not_sent"   // an intent that was withdrawn: nothing left this machine
)

// Classes lists every class.
func Classes() []Class {
	return []Class{
		ClassListed, ClassDeleted, ClassNotRun, ClassNoImage, ClassUnknown, ClassErased, ClassNotFound,
		ClassMerged, ClassRefused, ClassOverLimit, ClassInvalid, ClassUnexpected, ClassNotSent,
	}
}

// MayHaveRun says whether a DELETE with this answer may have been executed, or
// may still be, although no success was reported.
func (c Class) MayHaveRun() bool { return c == ClassUnknown || c == ClassUnexpected }

// Answer is a classified answer to one call. A call always has one: a call that
// could not be made, or whose answer did not come, is an answer of its class.
// It holds nothing of the body but image identities.
type Answer struct {
	Class Class
	// HTTPStatus is 0 where no status line came.
	HTTPStatus int
	// Code is the API's own code ("8015"), the HTTP status ("503") or a transport
	// word ("timeout", "reset", "refused", "dns", "tls", "unreadable", "redirect",
	// "late"). Empty for a plain success.
	Code string
	// Message is ours: a sentence for people, without anything of the body.
	Message string
	// Images are the customer's images in index order, of a listing of [ClassListed].
	Images []Key
	// Organizations are the numbers of the remote organisations that the images'
	// tokens name, each once; 0 stands for tokens that name none.
	Organizations []int64
	// RetryAfter is how long the API asked to wait; 0 where it did not say.
	RetryAfter time.Duration
	// SentAt is just before the request was written, AnsweredAt when the answer
	// was complete or given up. SentAt is zero where nothing was written.
	SentAt, AnsweredAt time.Time
}

// CodeWrongOrganisation is the code of a listing whose images belong to another
// organisation than the one that was seen first: the credentials, or the address,
// are another brand's.
const CodeWrongOrganisation = "wrong_organisation"

// CodeTokenExpired is the code of a call whose OAuth token was not taken any more. It
// did not run, and the token is renewed: no sign of an outage.
const CodeTokenExpired = "token_expired"

// Call is one call to the remote API as it is recorded.
type Call struct {
	Sequence   int // 1, 2, 3 … within the task
	Kind       Kind
	Position   int // of a delete; -1 for a listing
	Key        Key // of a delete; zero for a listing
	SentAt     time.Time
	AnsweredAt time.Time // zero: not answered yet
	Class      Class     // empty: not answered yet
	HTTPStatus int
	Code       string
	ImagesSeen int   // of a listing that can be believed; -1 else
	Shown      []Key // what such a listing showed, in index order
	Targets    int   // indexes in a delete; 0 for a listing
}
