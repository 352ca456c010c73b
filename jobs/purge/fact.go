package purge

import (
	"github.com/imagepurge/imagepurge/jobs"
	"github.com/imagepurge/imagepurge/jobs/clearance"
)

// Fact is something that has happened.
type Fact interface{ fact() }

// The facts.
type (
	// Claimed starts the machine.
	Claimed struct{}
	// SlotGranted: the call slot that was asked for has come.
	SlotGranted struct{}
	// Listed: the listing was answered.
	Listed struct{ Answer jobs.Answer }
	// IntentCommitted: the intent stands, and this permits its DELETE.
	IntentCommitted struct{ Clearance *clearance.Clearance }
	// WriteRefused: the store did not accept the write.
	WriteRefused struct{ Why Refusal }
	// WriteFailed: nobody knows whether the intent was committed; nothing was sent.
	WriteFailed struct{}
	// Answered: the DELETE was answered, or given up.
	Answered struct{ Answer jobs.Answer }
	// Written: the write that was no intent is committed.
	Written struct{}
	// Stop: no new intents; give the task back when what is under way has ended.
	Stop struct{ Waiting jobs.Waiting }
)

func (Claimed) fact()         {}
func (SlotGranted) fact()     {}
func (Listed) fact()          {}
func (IntentCommitted) fact() {}
func (WriteRefused) fact()    {}
func (WriteFailed) fact()     {}
func (Answered) fact()        {}
func (Written) fact()         {}
func (Stop) fact()            {}

// Refusal says why the store did not accept a write.
type Refusal string

// The refusals. All but [LeaseLost] are of intents alone.
const (
	LeaseLost   Refusal = "lease_lost"   // the task is another's now: touch nothing
	LeaseShort  Refusal = "lease_short"  // too little of the lease is left to send under it
	Paused      Refusal = "paused"       // organisation, batch or everything
	HeldBack    Refusal = "held"         // a legal hold
	CancelledBy Refusal = "cancelled"    // by a person
	BreakerOpen Refusal = "breaker"      // another call of the organisation was refused
	BudgetPause Refusal = "budget_pause" // another call of the key met a 429
)

// Effect is what is to be done next. Exactly one is under way at a time.
type Effect interface{ effect() }

// The effects.
type (
	// AskSlot waits for a call slot; the next fact is [SlotGranted].
	AskSlot struct{ jobs.Slot }
	// List makes a listing; the next fact is [Listed].
	List struct {
		Customer jobs.Customer
	}
	// Intend commits an intent; the next fact is [IntentCommitted],
	// [WriteRefused] or [WriteFailed].
	Intend struct{ Write Write }
	// Send sends the DELETE; the next fact is [Answered].
	Send struct{ Clearance *clearance.Clearance }
	// Save commits what has been learned; the next fact is [Written], or
	// [WriteRefused] with [LeaseLost]. It is repeated until one of them is known.
	Save struct{ Write Write }
	// End gives the task back or finishes it, and is repeated like Save. After
	// its fact the machine is done.
	End struct{ Write Write }
	// Drop forgets the task: it is another's now.
	Drop struct{}
)

func (AskSlot) effect() {}
func (List) effect()    {}
func (Intend) effect()  {}
func (Send) effect()    {}
func (Save) effect()    {}
func (End) effect()     {}
func (Drop) effect()    {}
