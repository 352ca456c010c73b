package purge

import (
	"time"

	"github.com/imagepurge/imagepurge/jobs"
	"github.com/imagepurge/imagepurge/jobs/clearance"
)

// Config is what all purges of an organisation have in common.
type Config struct {
	RequestTimeout time.Duration // one call, at most
	// Settle is how long the API may still run a DELETE whose caller is gone, plus
	// jobs.SendMargin for a process that is stopped between the deadline's check and
	// the write.
	Settle      time.Duration
	ListingLag  time.Duration // how long a listing may lag behind a delete
	ViewMaxAge  time.Duration // how long after its answer a listing may be relied on
	MaxAttempts int           // transient faults of one task, at most
	BackoffBase time.Duration // wait after the first transient fault; doubles
	BackoffMax  time.Duration // and never exceeds this
	Batching    jobs.Batching
	// Random returns a number in [0, 1): it spreads back-offs.
	Random func() float64
	// Watch is told of every step of every machine; nil: nobody is.
	Watch func(Transition)
}

// Rest is how long a customer is left alone after a DELETE whose outcome is unknown:
// until it can't run any more, and until a listing shows whether it did.
func (c Config) Rest() time.Duration { return c.Settle + c.ListingLag }

// WorstCase is how long after an intent its customer must rest if nothing more
// is ever heard of it: the deadline for sending, the request, the rest.
func (c Config) WorstCase() time.Duration { return jobs.SendMargin + c.RequestTimeout + c.Rest() }

// Image is one row of task_images.
type Image struct {
	Key        jobs.Key
	Position   int // 0-based, in the last listing that showed it
	State      jobs.ImageState
	Evidence   jobs.Evidence // what the state rests on; empty for none yet
	Sends      int           // DELETEs that were sent for it
	IntendedAt time.Time
	AnsweredAt time.Time
	HTTPStatus int
	Code       string
	// Missing marks a bystander whose absence has been noticed: it is reported
	// once, and a person's retry accepts it.
	Missing bool
}

// Counters are a task's numbers. They are written as absolute values, so that a
// write that is repeated changes nothing.
type Counters struct {
	Sequence       int  // of the last call
	APICalls       int  // requests sent, 429s included
	Attempts       int  // transient faults
	StillPresent   int  // times that a recorded deletion proved wrong
	Contradictions int  // times that no image stood at an index
	Refusals       int  // times that this task was refused while others were not
	Found          int  // targets found
	New            int  // images by others since the first listing
	Listed         bool // the targets are written
	Relisting      bool // the next listing is believed, whatever it contradicts
}

// Record is what the store hands out with a claim: everything that the
// procedure knows of a task.
type Record struct {
	Task     jobs.TaskID
	Batch    int64
	Owner    string
	Epoch    int64
	Customer jobs.Customer
	Named    []jobs.Key // the named targets; nil: all images
	Mode     jobs.Mode
	Scope    jobs.Scope
	DryRun   bool
	// Cancelled: a person has cancelled the task. It is settled, then ended.
	Cancelled bool
	// Probe: the organisation's breaker is open, and this task tries whether it
	// can be closed.
	Probe bool
	// Foreign: it is open since images of another organisation were seen. Only a
	// listing that shows ours tells anything of this customer.
	Foreign bool
	// ReviewAs is the outcome that the task ends with as soon as its customer has
	// settled; empty for none.
	ReviewAs jobs.Outcome
	Images   []Image
	// DeletedElsewhere are images that other tasks of ours deleted from this
	// customer: their absence is no surprise.
	DeletedElsewhere []jobs.Key
	Counters
}

// WriteKind says what a write does to the task.
type WriteKind string

// The kinds of a write.
const (
	WriteIntent   WriteKind = "intent"
	WriteProgress WriteKind = "progress"
	WriteGiveBack WriteKind = "give_back"
	WriteFinish   WriteKind = "finish"
)

// Rest says what a write does to the customer's rest.
type Rest string

// What can be done to a customer's rest.
const (
	RestKeep   Rest = "keep"   // nothing
	RestSettle Rest = "settle" // set to at least RestFor from now
	RestClear  Rest = "clear"  // over: every answer is known
)

// Breaker reports a refusal or an outage to the organisation's breaker.
type Breaker struct {
	Reason     string    // "refused", "api_unavailable" or "wrong_organisation"
	Kind       jobs.Kind // of the call that was refused
	HTTPStatus int
	Code       string
}

// Write is one fenced change of a task and its rows: all of it or nothing. Its
// values are absolute, so that the same write may be repeated when nobody knows
// whether it was committed.
type Write struct {
	Task     jobs.TaskID
	Owner    string
	Epoch    int64
	Kind     WriteKind
	Customer jobs.Customer
	Images   []Image
	Calls    []jobs.Call
	Counters Counters
	Deleted  int // images in state deleted

	// The last fault: what the API or the wire said.
	Code       string
	Message    string
	HTTPStatus int

	Rest    Rest
	RestFor time.Duration

	// Of an intent: the images that the DELETE names, highest index first.
	Targets []clearance.Target

	// Of a give-back: when the task is looked at again, counted from the write.
	After    time.Duration
	Waiting  jobs.Waiting
	ReviewAs jobs.Outcome

	// Of a finish.
	State      jobs.State
	Outcome    jobs.Outcome
	VerifiedAt time.Time // the listing that showed it; zero: none did

	// For the organisation.
	Breaker     *Breaker
	Passed      jobs.Kind     // kind of a probe's call that was accepted; empty: none
	OverLimit   bool          // a 429 was met: the key's budget pauses
	PauseBudget time.Duration // for as long as the API asked; 0: it did not say
}
