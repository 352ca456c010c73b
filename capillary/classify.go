package capillary

import (
	"net/http"
	"strconv"

	"github.com/imagepurge/imagepurge/jobs"
)

// codes is the API page's table of codes in bodies, with the class of each for
// a listing and for a DELETE. A DELETE's class is one that says "did not run"
// only where the page says so.
var codes = []struct {
	code      int
	list, del jobs.Class
	sentence  string
}{
	{8015, jobs.ClassErased, jobs.ClassErased, "the customer was erased by the platform"}, // with its message: see erasedRow
	{8015, jobs.ClassNotFound, jobs.ClassNotFound, "customer not found"},
	{8016, jobs.ClassRefused, jobs.ClassRefused, "the API missed the source"},
	{8069, jobs.ClassMerged, jobs.ClassMerged, "the customer was merged into another account"},
	{8078, jobs.ClassUnexpected, jobs.ClassNoImage, "no image at that index"},
	{8080, jobs.ClassUnexpected, jobs.ClassUnknown, "the API met an error while it deleted the image"},
	{521, jobs.ClassNotRun, jobs.ClassNotRun, "the API is busy with another action for this customer"},
}

// erasedRow is the row of codes for which the message decides: 8015 alone means
// "not found".
const erasedRow = 0

func rowOf(code int) (int, bool) {
	for row := erasedRow + 1; row < len(codes); row++ {
		if codes[row].code == code {
			return row, true
		}
	}
	return 0, false
}

// statuses is the API page's table of HTTP statuses, for answers without a
// known code. Not in it: 2xx, whose body must say what happened; 3xx and 5xx, a
// class each; and all others, which are in no table.
var statuses = map[int]jobs.Class{
	http.StatusBadRequest:           jobs.ClassInvalid,
	http.StatusUnauthorized:         jobs.ClassRefused,
	http.StatusForbidden:            jobs.ClassRefused,
	http.StatusNotFound:             jobs.ClassRefused,
	http.StatusMethodNotAllowed:     jobs.ClassRefused,
	http.StatusUnsupportedMediaType: jobs.ClassRefused,
	http.StatusTooManyRequests:      jobs.ClassOverLimit,
	http.StatusRequestTimeout:       jobs.ClassUnknown,
}

// verdict is a call's class with its code; images are a listing's.
type verdict struct {
	class        jobs.Class
	code         string
	contradicted bool // the answer says two things, or one thing twice
	images       []jobs.Key
	numbers      []int64
}

// byStatus is the verdict where the body holds no code that is known. other is
// a code in no table, if the body had one.
func byStatus(status int, other string) verdict {
	code := other
	if code == "" {
		code = strconv.Itoa(status)
	}
	class, ok := statuses[status]
	switch {
	case ok:
	case status >= 300 && status <= 399:
		return verdict{class: jobs.ClassRefused, code: "redirect"}
	case status >= 500 && status <= 599:
		class = jobs.ClassUnknown // 520 to 524 too: there the origin may have run it
	default:
		class = jobs.ClassUnexpected
	}
	return verdict{class: class, code: code}
}

// ofOrganisation says that a status tells more than any code of failure beside
// it: both say that the call didn't run, but after a 401 or a redirect every
// further call fails too, and may lock the till.
func ofOrganisation(status int) bool {
	return status == http.StatusUnauthorized || status >= 300 && status <= 399
}

// classifyDelete is step 7 for a DELETE of so many indexes, whose body came
// whole. It leans to unknown: a wrong "did not run", like a wrong "deleted",
// deletes another image next.
func classifyDelete(status int, body []byte, indexes int) verdict {
	e, readable := decodeDelete(body)
	success := e.successes > 0 || e.halfSuccess
	contradicts := func(code string) verdict {
		if code == "" {
			code = strconv.Itoa(status)
		}
		return verdict{class: jobs.ClassUnknown, code: code, contradicted: true}
	}
	switch {
	case success && len(e.rows) > 0:
		return contradicts(strconv.Itoa(codes[e.rows[0]].code)) // a success beside another code
	case e.successes > 0 && e.others:
		return contradicts(e.otherCode) // the same
	case e.halfSuccess:
		return contradicts("200") // a success that says of itself that it is none
	case e.successes > indexes:
		return contradicts("200") // more deleted than was asked for
	case e.successes > 0 && (status == http.StatusOK || status == http.StatusCreated):
		return verdict{class: jobs.ClassDeleted}
	case e.successes > 0:
		return contradicts("") // the status contradicts, or says "accepted, later"
	}
	if len(e.rows) > 0 {
		row := codes[e.rows[0]]
		switch {
		case len(e.rows) > 1, e.contradicted, e.others:
			return contradicts(strconv.Itoa(row.code))
		case ofOrganisation(status) && row.del != jobs.ClassUnknown:
			return byStatus(status, "")
		}
		return verdict{class: row.del, code: strconv.Itoa(row.code)}
	}
	if status < 200 || status > 299 {
		return byStatus(status, e.otherCode)
	}
	if !readable || !e.shaped {
		return verdict{class: jobs.ClassUnknown, code: "unreadable"}
	}
	return byStatus(status, e.otherCode) // 2xx is in no table without a code: unexpected
}

// classifyListing is step 7 for a listing. A listing changes nothing, so one
// known code decides whatever stands beside it; but a list of images is
// believed only where nothing at all contradicts it.
func classifyListing(status int, body []byte, customer int64) verdict {
	l, readable := decodeListing(body, customer)
	unexpected := func(code string) verdict { return verdict{class: jobs.ClassUnexpected, code: code} }
	switch {
	case ofOrganisation(status):
		return byStatus(status, "")
	case len(l.rows) > 1:
		return verdict{class: jobs.ClassUnknown, code: strconv.Itoa(codes[l.rows[0]].code), contradicted: true}
	case len(l.rows) == 1:
		// Before all else: a merged customer's profile is another account's.
		row := codes[l.rows[0]]
		return verdict{class: row.list, code: strconv.Itoa(row.code)}
	case status < 200 || status > 299:
		return byStatus(status, l.otherCode)
	case !readable:
		return verdict{class: jobs.ClassUnknown, code: "unreadable"}
	case l.wrong:
		return unexpected("wrong_customer")
	case l.others:
		return byStatus(status, l.otherCode)
	case l.denied200:
		return unexpected("200")
	case !l.profile:
		// A gateway's {} must not become "this customer has no images".
		return verdict{class: jobs.ClassUnknown, code: "unreadable"}
	case status != http.StatusOK && status != http.StatusCreated:
		return byStatus(status, "") // 206, say: a part of a listing
	case l.missing:
		return unexpected("missing_token")
	case l.duplicate:
		return unexpected("duplicate_token")
	}
	return verdict{class: jobs.ClassListed, images: l.images, numbers: l.numbers}
}

// words has the sentences for the codes that are this package's own.
var words = map[string]string{ //nolint:gosec // sentences about tokens, no tokens
	"cancelled":         "imagepurge was stopped during the call",
	"dns":               "the API's host name could not be resolved",
	"duplicate_token":   "the listing shows the same image twice",
	"invalid":           "nothing was sent: the call has no valid customer, source or index",
	"late":              "nothing was sent: the time for sending was over",
	"missing_token":     "the listing has an image without an s3Token",
	"redirect":          "the API answered with a redirect, which is not followed; check the base URL",
	"refused":           "no connection to the API",
	"reset":             "the connection was lost before an answer came",
	"spent":             "nothing was sent: this delete was sent before",
	"timeout":           "no answer in time",
	"tls":               "no secure connection to the API",
	"token_expired":     "the API did not take the token any more; a new one is fetched",
	"token_unavailable": "nothing was sent: no OAuth token could be had",
	"unreadable":        "the answer was cut off or could not be read",
	"wrong_customer":    "the listing is another customer's",
}

// classSentences are for answers whose code has no sentence of its own.
var classSentences = map[jobs.Class]string{
	jobs.ClassListed:     "listed",
	jobs.ClassDeleted:    "deleted",
	jobs.ClassUnknown:    "the API met a fault; whether the call ran is unknown",
	jobs.ClassRefused:    "the API refused the call: credentials, permissions or address",
	jobs.ClassOverLimit:  "over the API's rate limit",
	jobs.ClassInvalid:    "the API calls the request invalid",
	jobs.ClassUnexpected: "an answer that is in no table",
	jobs.ClassNotRun:     "the call did not run",
	jobs.ClassNotSent:    "nothing was sent",
}

// sentence is the answer's message: ours, with nothing of the body in it.
func (v verdict) sentence() string {
	if s, ok := words[v.code]; ok {
		return s
	}
	if v.contradicted {
		return "the answer contradicts itself; whether the call ran is unknown"
	}
	for _, row := range codes {
		if v.code == strconv.Itoa(row.code) && (v.class == row.del || v.class == row.list) && v.class != jobs.ClassUnexpected {
			return row.sentence
		}
	}
	return classSentences[v.class]
}
