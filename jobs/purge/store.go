package purge

import (
	"time"

	"github.com/imagepurge/imagepurge/jobs"
	"github.com/imagepurge/imagepurge/jobs/clearance"
)

// Claim is what a worker asks the store for.
type Claim struct {
	Organization int64
	Batch        int64         // 0: any
	Only         []jobs.TaskID // nil: any
	After        int64         // the batch that was served last: of equal order the one behind it goes first
	Owner        string
	Lease        time.Duration
	Limit        int
	// Probe allows to claim one task although the breaker is open, once its probe
	// is due. ProbeNow does so before.
	Probe, ProbeNow bool
	// What tasks are given that were made before anyone had told the settings.
	Mode      jobs.Mode
	Scope     jobs.Scope
	Source    string
	AccountID string
}

// Lease names a claimed task.
type Lease struct {
	Task  jobs.TaskID
	Epoch int64
}

// Terms are what all writes of a worker have in common.
type Terms struct {
	Organization   int64
	Lease          time.Duration
	RequestTimeout time.Duration
	Host           string // for the audit log
}

// Result says what became of one write.
type Result struct {
	Applied bool
	Refused Refusal // set unless Applied
	// Clearance permits the DELETE of an intent that was applied.
	Clearance *clearance.Clearance
}

// Outlook says what is left to do, and what it waits for.
type Outlook struct {
	Ready   bool      // a task could be claimed now
	Waiting bool      // a task waits for its due time, which comes soon
	NextDue time.Time // the earliest due time, soon or not; by the database's clock
	Leased  bool      // a worker has a task
	LeaseTo time.Time // when the first of these leases runs out, at the latest
	Blocked bool      // a task can't proceed: paused
	Now     time.Time // the database's clock
	// NoClaimsUntil: after a fail-over nothing is claimed before then.
	NoClaimsUntil time.Time
	// Breaker is the reason for which the organisation's breaker is open; empty:
	// it is closed.
	Breaker                   string
	BreakerCode               string
	BreakerStatus             int
	BreakerSince, NextProbeAt time.Time
	Paused                    bool // everything, or the organisation
	PausedBy, PauseReason     string
}
