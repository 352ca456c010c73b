package sandbox

// Codes the API puts into its bodies.
const (
	codeSuccess  = 200
	codeBusy     = 521
	codeUnknown  = 8015
	codeNoSource = 8016
	codeMerged   = 8069
	codeNoImage  = 8078
	codeFailed   = 8080
	codeTooMany  = 8082
)

// Part is one element of a body's data, warnings or errors. In data its status
// is a string, in the others a boolean.
type Part struct {
	Code    int
	Message string
	OK      bool
}

// Body is which kind of body an answer has.
type Body string

const (
	BodyParts   Body = "parts"   // data, warnings, errors
	BodyProfile Body = "profile" // a customer's whole profile
	BodyHTML    Body = "html"    // a gateway's page
	BodyText    Body = "text"    // a few words
)

// Delivery is what becomes of an answer on its way.
type Delivery string

const (
	DeliverWhole   Delivery = "whole"
	DeliverNothing Delivery = "nothing" // the connection is closed without a byte
	DeliverHang    Delivery = "hang"    // nothing comes until the caller gives up
	DeliverCut     Delivery = "cut"     // the body ends before its announced length
	DeliverEndless Delivery = "endless" // the body never ends
	DeliverHuge    Delivery = "huge"    // a body of Faults.HugeBytes
)

// Reply is what the caller is to see.
type Reply struct {
	Status   int // HTTP status; 0 where nothing is delivered
	Body     Body
	Delivery Delivery
	Reset    bool // DeliverNothing by a reset of the connection

	Data, Warnings, Errors []Part
	// OmitData and OmitWarnings leave the key out of the body, where it would
	// be an empty array.
	OmitData, OmitWarnings bool

	Customer int64   // account whose profile is shown
	Images   []Image // those the profile shows

	Removed []Removal // what went, whether or not the caller is told
}

// code is the one sent that tells most about the answer; 0 where none is sent.
func (r Reply) code() int {
	if r.Status == 0 || (r.Body != BodyParts && r.Body != BodyProfile) {
		return 0
	}
	return r.partCode()
}

func (r Reply) partCode() int {
	for _, parts := range [][]Part{r.Errors, r.Warnings, r.Data} {
		if len(parts) > 0 {
			return parts[0].Code
		}
	}
	return 0
}

func (r Reply) answered() bool { return r.Delivery == DeliverWhole }

// SpreadStatus is the default of [ModelOptions.ErrorStatus]: the HTTP status
// beside an error code differs from customer to customer, since the body
// decides and not the status.
func SpreadStatus(customer int64, code int) int {
	spread := []int{200, 200, 201, 400, 404, 500}
	return spread[draw(0, saltStatus, customer, int64(code))%uint64(len(spread))]
}
