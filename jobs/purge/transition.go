package purge

import "strings"

// Transition is one step of a machine in words: what it waited for, what
// happened, what it waits for now and what it wants done. It is what a
// simulation counts.
type Transition struct {
	From   string // phase
	Fact   string
	Detail string // class of the answer, or why a write was refused
	To     string // phase
	Effect string // empty: what is under way goes on, or nothing is left
	Why    string // what the task waits for, or its outcome
}

var phaseNames = [...]string{
	unclaimed: "unclaimed", waitingForSlot: "waiting_for_slot", listing: "listing", saving: "saving",
	intending: "intending", sending: "sending", ending: "ending", done: "done",
}

func (p phase) String() string { return phaseNames[p] }

func transition(from phase, f Fact, to phase, e Effect) Transition {
	t := Transition{From: from.String(), To: to.String()}
	switch f := f.(type) {
	case Claimed:
		t.Fact = "claimed"
	case SlotGranted:
		t.Fact = "slot_granted"
	case Listed:
		t.Fact, t.Detail = "listed", string(f.Answer.Class)
	case IntentCommitted:
		t.Fact = "intent_committed"
	case WriteRefused:
		t.Fact, t.Detail = "write_refused", string(f.Why)
	case WriteFailed:
		t.Fact = "write_failed"
	case Answered:
		t.Fact, t.Detail = "answered", string(f.Answer.Class)
	case Written:
		t.Fact = "written"
	case Stop:
		t.Fact = "stop"
	}
	switch e := e.(type) {
	case AskSlot:
		t.Effect = "ask_slot"
	case List:
		t.Effect = "list"
	case Intend:
		t.Effect = "intend"
	case Send:
		t.Effect = "send"
	case Save:
		t.Effect = "save"
	case End:
		t.Effect = "end"
		t.Why = string(e.Write.Outcome)
		if e.Write.Kind == WriteGiveBack {
			t.Why = string(e.Write.Waiting)
		}
	case Drop:
		t.Effect = "drop"
	}
	return t
}

// row is what may follow a fact: effects as "effect why", in the phase that they
// lead to.
type row struct {
	from, fact, detail string
	effects            []string
}

// transitions is the machine as a table. It says what a worker can bring about; a
// simulation takes every line of it, and none that is missing here.
var transitions = [...]row{
	{"unclaimed", "claimed", "", []string{"ask_slot", "end cancelled"}},

	{"waiting_for_slot", "slot_granted", "", []string{"list", "intend"}},
	{"waiting_for_slot", "stop", "", []string{"end", "end breaker"}},
	{"waiting_for_slot", "write_refused", "lease_lost", []string{"end"}},

	{"listing", "stop", "", []string{""}},
	{"listing", "listed", "listed", []string{
		"save", "end no_images", "end already_absent", "end images_deleted", "end dry_run", "end listing_lag", "end cancelled",
		"end bystander_missing", "end still_present", "end index_contradiction", "end unexpected_response", "end attempts_exhausted",
		"end breaker",
	}},
	{"listing", "listed", "not_run", []string{"end", "end backoff", "end breaker", "end attempts_exhausted"}},
	{"listing", "listed", "unknown", []string{"end", "end backoff", "end breaker", "end attempts_exhausted"}},
	{"listing", "listed", "over_limit", []string{"save"}},
	{"listing", "listed", "refused", []string{"end breaker", "end unexpected_response"}},
	{"listing", "listed", "customer_erased", []string{"end customer_erased", "end cancelled", "end breaker"}},
	{"listing", "listed", "customer_not_found", []string{"end customer_not_found", "end customer_gone", "end cancelled", "end breaker"}},
	{"listing", "listed", "customer_merged", []string{"end merged_customer", "end breaker"}},
	{"listing", "listed", "invalid", []string{"end invalid_customer", "end unexpected_response", "end breaker"}},
	{"listing", "listed", "unexpected", []string{"end unexpected_response", "end breaker"}},

	{"saving", "stop", "", []string{""}},
	{"saving", "written", "", []string{"ask_slot", "end", "end breaker"}},
	{"saving", "write_refused", "lease_lost", []string{"drop"}},

	{"intending", "stop", "", []string{""}},
	{"intending", "intent_committed", "", []string{"send", "end", "end breaker"}},
	{"intending", "write_failed", "", []string{"end backoff"}},
	{"intending", "write_refused", "lease_lost", []string{"drop"}},
	{"intending", "write_refused", "lease_short", []string{"end"}},
	{"intending", "write_refused", "paused", []string{"end"}},
	{"intending", "write_refused", "held", []string{"end"}},
	{"intending", "write_refused", "cancelled", []string{"end cancelled"}},
	{"intending", "write_refused", "breaker", []string{"end breaker"}},
	{"intending", "write_refused", "budget_pause", []string{"save"}},

	{"sending", "stop", "", []string{""}},
	{"sending", "answered", "deleted", []string{"ask_slot", "save", "end images_deleted", "end listing_lag", "end", "end breaker"}},
	{"sending", "answered", "no_such_image", []string{"save", "end index_contradiction", "end listing_lag"}},
	{"sending", "answered", "not_sent", []string{"end backoff"}},
	{"sending", "answered", "not_run", []string{"end", "end backoff", "end breaker", "end attempts_exhausted"}},
	{"sending", "answered", "over_limit", []string{"save"}},
	{"sending", "answered", "refused", []string{"end breaker", "end unexpected_response"}},
	{"sending", "answered", "customer_erased", []string{"end customer_erased"}},
	{"sending", "answered", "customer_not_found", []string{"end customer_gone"}},
	{"sending", "answered", "customer_merged", []string{"end merged_customer"}},
	{"sending", "answered", "invalid", []string{"end unexpected_response"}},
	{"sending", "answered", "unknown", []string{"end settle"}},
	{"sending", "answered", "unexpected", []string{"end settle"}},

	{"ending", "stop", "", []string{""}},
	{"ending", "written", "", []string{""}},
	{"ending", "write_refused", "lease_lost", []string{"drop"}},
}

// Transitions lists every transition that a worker can bring about.
func Transitions() (all []Transition) {
	phaseAfter := map[string]phase{
		"ask_slot": waitingForSlot, "list": listing, "intend": intending, "send": sending, "save": saving, "end": ending, "drop": done,
	}
	for _, r := range transitions {
		for _, e := range r.effects {
			t := Transition{From: r.from, Fact: r.fact, Detail: r.detail, To: r.from}
			t.Effect, t.Why, _ = strings.Cut(e, " ")
			if to, ok := phaseAfter[t.Effect]; ok {
				t.To = to.String()
			}
			if r.fact == "written" && t.Effect == "" {
				t.To = done.String()
			}
			all = append(all, t)
		}
	}
	return all
}
