package sandbox

// Fault is something that goes wrong with one request. "Ran" means that the
// request executes all the same, "not run" that it never does; a caller cannot
// tell one from the other.
type Fault string

const (
	NoFault Fault = ""

	FaultLostAnswer  Fault = "lost_answer"  // executes; connection closed without a byte
	FaultLostRequest Fault = "lost_request" // connection closed without a byte; not run
	FaultLate        Fault = "late"         // connection closed at once; executes after a delay
	FaultLateTimeout Fault = "late_timeout" // 504 from a gateway at once; executes after a delay

	FaultServerErrorRan    Fault = "server_error_ran" // 500, 502, 503 or 504; HTML, text or JSON
	FaultServerErrorNotRun Fault = "server_error_not_run"
	FaultBare521Ran        Fault = "bare_521_ran" // a gateway's HTTP 521, no code in the body
	FaultBare521NotRun     Fault = "bare_521_not_run"
	FaultHTMLRan           Fault = "html_ran" // 200 with a page of HTML
	FaultHTMLNotRun        Fault = "html_not_run"
	FaultHangRan           Fault = "hang_ran" // no answer until the caller gives up
	FaultHangNotRun        Fault = "hang_not_run"
	FaultCutBody           Fault = "cut_body"     // executes; the body ends before its announced length
	FaultEndlessBody       Fault = "endless_body" // executes; the body never ends
	FaultHugeBody          Fault = "huge_body"    // executes; a body of Faults.HugeBytes

	FaultBusy         Fault = "busy"         // code 521 in the body; not run
	FaultTooMany      Fault = "too_many"     // a 429 beyond the limit's own; not run
	FaultTooManyRan   Fault = "too_many_ran" // a 429 by a gateway that let the request through
	FaultUnauthorized Fault = "unauthorized" // 401; not run
	FaultForbidden    Fault = "forbidden"    // 403; not run
	FaultRedirect     Fault = "redirect"     // 301, 302, 303, 307 or 308 to the same call; not run

	// Deletes only.
	Fault8080Ran       Fault = "8080_ran" // "Error in deleting image"
	Fault8080NotRun    Fault = "8080_not_run"
	FaultSuccessNotRun Fault = "success_not_run" // says success, does nothing
	FaultRunsTwice     Fault = "runs_twice"      // something on the way repeats the request

	// Listings only.
	FaultStaleListing Fault = "stale_listing" // shows the state of Faults.StaleBy ago
)

// AllFaults are all kinds but NoFault.
func AllFaults() []Fault {
	return []Fault{
		FaultLostAnswer, FaultLostRequest, FaultLate, FaultLateTimeout, FaultServerErrorRan, FaultServerErrorNotRun,
		FaultBare521Ran, FaultBare521NotRun, FaultHTMLRan, FaultHTMLNotRun, FaultHangRan, FaultHangNotRun, FaultCutBody,
		FaultEndlessBody, FaultHugeBody, FaultBusy, FaultTooMany, FaultTooManyRan, FaultUnauthorized, FaultForbidden,
		FaultRedirect, Fault8080Ran, Fault8080NotRun, FaultSuccessNotRun, FaultRunsTwice, FaultStaleListing,
	}
}

// Late says that the request executes some time after its answer.
func (f Fault) Late() bool { return f == FaultLate || f == FaultLateTimeout }

// Meets says that the fault can befall a request of this kind.
func (f Fault) Meets(k Kind) bool {
	switch f {
	case Fault8080Ran, Fault8080NotRun, FaultSuccessNotRun, FaultRunsTwice:
		return k == KindDelete
	case FaultStaleListing:
		return k == KindList
	case FaultLate, FaultLateTimeout:
		return k != KindList // a listing that runs late is a lost answer
	}
	return true
}

func (f Fault) executes() bool {
	switch f {
	case FaultLostRequest, FaultServerErrorNotRun, FaultBare521NotRun, FaultHTMLNotRun, FaultHangNotRun, FaultBusy,
		FaultTooMany, FaultUnauthorized, FaultForbidden, FaultRedirect, Fault8080NotRun, FaultSuccessNotRun:
		return false
	}
	return true
}

// harm is what the fault makes of an answer.
func (m *Model) harm(r Request, reply Reply) Reply {
	bits := draw(m.o.Seed, saltFaultShape, r.Customer, int64(r.Ordinal))
	// Nothing of the true answer may shine through a harmed one.
	bare := func(status int, body Body) Reply {
		return Reply{Status: status, Body: body, Delivery: DeliverWhole, Removed: reply.Removed}
	}
	parts := func(status, code int, message string) Reply {
		out := bare(status, BodyParts)
		out.Errors = []Part{{Code: code, Message: message}}
		return out
	}
	switch r.Fault {
	case FaultLostAnswer, FaultLostRequest, FaultLate:
		out := bare(0, BodyText)
		out.Delivery, out.Reset = DeliverNothing, bits%2 == 0
		return out
	case FaultHangRan, FaultHangNotRun:
		out := bare(0, BodyText)
		out.Delivery = DeliverHang
		return out
	case FaultCutBody:
		reply.Delivery = DeliverCut
	case FaultEndlessBody:
		reply.Delivery = DeliverEndless
	case FaultHugeBody:
		reply.Delivery = DeliverHuge
	case FaultLateTimeout:
		return bare(504, BodyHTML)
	case FaultServerErrorRan, FaultServerErrorNotRun:
		status := []int{500, 502, 503, 504}[bits%4]
		switch bits >> 8 % 3 {
		case 0:
			return bare(status, BodyHTML)
		case 1:
			return bare(status, BodyText)
		}
		return parts(status, status, "Internal error")
	case FaultBare521Ran, FaultBare521NotRun:
		return bare(521, BodyHTML)
	case FaultHTMLRan, FaultHTMLNotRun:
		return bare(200, BodyHTML)
	case FaultBusy:
		out := bare(m.o.ErrorStatus(r.Customer, codeBusy), BodyParts)
		out.Warnings = []Part{{
			Code: codeBusy, Message: "Multiple actions running for the same customer, Please try after some time",
		}}
		return out
	case Fault8080Ran, Fault8080NotRun:
		if bits%2 == 0 {
			out := bare(200, BodyParts)
			out.Data = []Part{{Code: codeFailed, Message: "Error in deleting image"}}
			return out
		}
		return parts(m.o.ErrorStatus(r.Customer, codeFailed), codeFailed, "Error in deleting image")
	case FaultTooMany, FaultTooManyRan:
		return bare(429, BodyText)
	case FaultUnauthorized:
		return refusedBy(401, bits, reply.Removed)
	case FaultForbidden:
		return refusedBy(403, bits, reply.Removed)
	case FaultRedirect:
		return bare([]int{301, 302, 303, 307, 308}[bits%5], BodyText)
	}
	return reply
}

// refusedBy is a status that no documented body goes with: some come as JSON
// with the status as code, some as a few words, some as a page.
func refusedBy(status int, bits uint64, removed []Removal) Reply {
	out := Reply{Status: status, Delivery: DeliverWhole, Removed: removed}
	switch bits % 3 {
	case 0:
		out.Body = BodyText
	case 1:
		out.Body = BodyHTML
	default:
		out.Body, out.Errors = BodyParts, []Part{{Code: status, Message: "Request refused"}}
	}
	return out
}
