package jobs

import (
	"fmt"
	"slices"
	"time"
)

// TaskID names a task. It is the primary key of image_deletion_tasks.
type TaskID int64

// State is where a task stands. The same words stand in a CHECK constraint.
type State string

// The states of a task. A task in a final state (see [State.Final]) is changed
// only by a person's decision.
const (
	Pending   State = "pending"   // waits to be claimed, perhaps until due_at
	Running   State = "running"   // leased by a worker
	Completed State = "completed" // nothing is left to do
	Failed    State = "failed"    // ended without reaching its aim
	Review    State = "review"    // waits for a person's decision
	Cancelled State = "cancelled" // ended by a person
	Held      State = "held"      // a legal hold forbids it
)

// States lists every state, in the order in which they are shown.
func States() []State {
	return []State{Pending, Running, Completed, Failed, Review, Cancelled, Held}
}

// Final says whether no worker will touch a task in this state again.
func (s State) Final() bool {
	return s == Completed || s == Failed || s == Review || s == Cancelled
}

// Outcome says how a task ended. It is a closed set; the table of outcomes in
// docs/protocol.md says which state goes with which outcome.
type Outcome string

// The outcomes of a task.
const (
	ImagesDeleted      Outcome = "images_deleted"
	NoImages           Outcome = "no_images"
	AlreadyAbsent      Outcome = "already_absent"
	CustomerErased     Outcome = "customer_erased"
	CustomerGone       Outcome = "customer_gone"
	DryRun             Outcome = "dry_run"
	CustomerNotFound   Outcome = "customer_not_found"
	InvalidCustomer    Outcome = "invalid_customer"
	AttemptsExhausted  Outcome = "attempts_exhausted"
	MergedCustomer     Outcome = "merged_customer"
	BystanderMissing   Outcome = "bystander_missing"
	StillPresent       Outcome = "still_present"
	IndexContradiction Outcome = "index_contradiction"
	UnexpectedResponse Outcome = "unexpected_response"
	CancelledOutcome   Outcome = "cancelled"
)

// StateOf returns the only state in which a task may have the outcome, and
// false where there is no such outcome.
func StateOf(o Outcome) (State, bool) {
	switch o {
	case ImagesDeleted, NoImages, AlreadyAbsent, CustomerErased, CustomerGone, DryRun:
		return Completed, true
	case CustomerNotFound, InvalidCustomer, AttemptsExhausted:
		return Failed, true
	case MergedCustomer, BystanderMissing, StillPresent, IndexContradiction, UnexpectedResponse:
		return Review, true
	case CancelledOutcome:
		return Cancelled, true
	}
	return "", false
}

// Outcomes lists every outcome, in the order of the table in docs/protocol.md.
func Outcomes() []Outcome {
	return []Outcome{
		ImagesDeleted, NoImages, AlreadyAbsent, CustomerErased, CustomerGone, DryRun,
		CustomerNotFound, InvalidCustomer, AttemptsExhausted,
		MergedCustomer, BystanderMissing, StillPresent, IndexContradiction, UnexpectedResponse,
		CancelledOutcome,
	}
}

// Mode says how much a purge lists besides what it must.
type Mode string

// The modes, with the calls they cost for n images.
const (
	Economy  Mode = "economy"  // n + 1: the delete's own answer is the proof
	Verified Mode = "verified" // n + 2: a listing after the last delete is the proof
	Paranoid Mode = "paranoid" // 2n + 1: a listing before every delete, too
)

// ParseMode reads a mode's name.
func ParseMode(s string) (Mode, error) {
	return parseWord("mode", s, Economy, Verified, Paranoid)
}

// Scope says when a task's set of targets is fixed.
type Scope string

// The scopes.
const (
	Snapshot   Scope = "snapshot"    // by the task's first listing
	UntilEmpty Scope = "until_empty" // it grows with every listing until one is empty
)

// ParseScope reads a scope's name.
func ParseScope(s string) (Scope, error) {
	return parseWord("scope", s, Snapshot, UntilEmpty)
}

// Batching says how many indexes one DELETE carries.
type Batching string

// The two settings of IMAGEPURGE_DELETE_BATCHING.
const (
	SingleDelete Batching = "single" // one index a call
	BatchDelete  Batching = "all"    // all indexes in one call, where every image is a target
)

// ParseBatching reads the name of a batching.
func ParseBatching(s string) (Batching, error) {
	return parseWord("delete batching", s, SingleDelete, BatchDelete)
}

func parseWord[W ~string](what, s string, known ...W) (W, error) {
	if slices.Contains(known, W(s)) {
		return W(s), nil
	}
	return "", fmt.Errorf("%q is no %s; one of %v", s, what, known)
}

// Waiting says what a pending task waits for until its due time.
type Waiting string

// What a task can wait for. The empty string: for nothing but its turn.
const (
	WaitSettle     Waiting = "settle"      // the customer rests after an unknown delete
	WaitBackoff    Waiting = "backoff"     // a transient fault
	WaitBreaker    Waiting = "breaker"     // the organisation was refused
	WaitListingLag Waiting = "listing_lag" // a listing contradicted the rows and is made once more
	WaitCustomer   Waiting = "customer"    // another task has the customer, or the customer rests
	WaitDue        Waiting = "due"         // whoever made the task named a time
)

// Waitings lists every reason to wait.
func Waitings() []Waiting {
	return []Waiting{WaitSettle, WaitBackoff, WaitBreaker, WaitListingLag, WaitCustomer, WaitDue}
}

// Customer is what the remote API needs to know to find one customer.
type Customer struct {
	ID        int64
	Source    string // query parameter "source" of the listing; never empty
	AccountID string // query parameter "accountId"; empty: left out
}

// Limits that hold for every task.
const (
	// MaxTargets is how many targets a task in scope until_empty may gather
	// before a person has to look at it.
	MaxTargets = 20
	// MaxRepeats is the number of times that a success may prove wrong, an
	// index may miss or a single task may be refused before a person has to
	// look at it: the third time is the last.
	MaxRepeats = 3
	// SendMargin is how long after the intent's transaction began the request
	// may leave this machine (protocol, steps 5 and 6).
	SendMargin = time.Second
)
