package simulation

import (
	"net/http"
	"time"

	"github.com/imagepurge/imagepurge/capillary"
	"github.com/imagepurge/imagepurge/capillary/sandbox"
	"github.com/imagepurge/imagepurge/jobs"
	"github.com/imagepurge/imagepurge/jobs/clearance"
	"github.com/imagepurge/imagepurge/jobs/purge"
	"github.com/imagepurge/imagepurge/jobs/worker"
)

// weather is what the API does to all calls for a time.
type weather struct {
	refused, limited, down, strange time.Duration // until when; strange: the credentials are another brand's
	season                          int           // raised whenever they become that
	retryAfter                      time.Duration
	received                        []time.Duration // requests of the last minute
}

// call is one request and its answer.
type call struct {
	p        *process
	lease    purge.Lease
	kind     jobs.Kind
	customer int64
	permit   *clearance.Clearance
	indexes  []int
	sentAt   time.Time
	shown    []jobs.Key // what a listing's answer truly showed
	asOf     time.Duration
	sealed   bool // the caller has an answer, or has given up
	season   int  // in which another brand's API has it; 0: ours has
	began    time.Duration
	slot     time.Duration // when its slot was given
}

// list is capillary.Client.List.
func (p *process) list(l purge.Lease, customer jobs.Customer) {
	c := &call{p: p, lease: l, kind: jobs.ListCall, customer: customer.ID, slot: p.w.now}
	p.inCore(p.w.quick(), func() {
		if p.w.fault(4*p.w.netFaults, "no connection to the API") {
			c.answer(jobs.Answer{Class: jobs.ClassNotRun, Code: pick(p.w.chance, "refused", "dns", "tls")})
			return
		}
		c.send()
	})
}

// delete is capillary.Client.Delete: the clearance is spent right before the write.
func (p *process) delete(l purge.Lease, permit *clearance.Clearance) {
	in := permit.Intent()
	c := &call{p: p, lease: l, kind: jobs.DeleteCall, customer: in.Customer.ID, permit: permit, slot: p.granted[l.Task]}
	for _, t := range in.Targets {
		c.indexes = append(c.indexes, t.Position)
	}
	p.inCore(p.w.quick(), func() {
		if p.w.fault(4*p.w.netFaults, "no connection to the API") {
			c.answer(jobs.Answer{Class: jobs.ClassNotRun, Code: pick(p.w.chance, "refused", "dns", "tls")})
			return
		}
		if p.w.fault(p.w.crashes, "a DELETE as late as can be, and its process dies") || p.w.losing && p.w.fault(2, "a DELETE as late as can be, and its intent is lost") {
			c.asLateAsCanBe(in)
			return
		}
		if p.w.fault(p.w.freezes, "freeze before the deadline is checked") {
			p.freeze()
		}
		if p.w.sleeps > 0 && p.w.fault(20, "a machine sleeps before the deadline is checked") {
			p.sleep(p.w.upTo(time.Hour))
		}
		p.inCore(0, c.spend)
	})
}

// asLateAsCanBe is the worst that the settle time is made for: the deadline is checked
// at its last moment, the process is frozen before the write for as long as the
// margin allows, and dies after it, and the server runs the request at the very end.
func (c *call) asLateAsCanBe(in clearance.Intent) {
	w, p := c.p.w, c.p
	p.inCore(max(0, in.BeganAt.Add(in.Margin).Sub(p.now())), func() {
		if c.permit.Spend(p.now()) != nil {
			c.answer(jobs.Answer{Class: jobs.ClassNotSent, Code: "late"})
			return
		}
		c.sentAt = p.now()
		p.writing++
		p.inCore(jobs.SendMargin-time.Millisecond, func() {
			w.hist.sent(w, c)
			w.flying[c.customer]++
			w.after(w.timeout+w.serverMax, func() { c.execute(sandbox.NoFault) })
			p.crash("after a send")
		})
	})
}

func (c *call) spend() {
	if err := c.permit.Spend(c.p.now()); err != nil {
		c.p.say("task %d: does not send: %v", c.lease.Task, err)
		c.answer(jobs.Answer{Class: jobs.ClassNotSent, Code: "late"})
		return
	}
	c.sentAt = c.p.now()
	// A freeze between the check and the write counts as lateness of the request.
	if c.p.w.fault(2*c.p.w.freezes, "freeze between the deadline's check and the write") {
		c.p.frozen = c.p.w.now + c.p.w.late(jobs.SendMargin-time.Millisecond)
	}
	c.p.writing++
	c.p.inCore(0, func() {
		c.p.writing--
		c.send()
	})
}

// send writes the request, and draws what becomes of it.
func (c *call) send() {
	w, p := c.p.w, c.p
	if c.kind == jobs.ListCall {
		c.sentAt = p.now()
	}
	c.began = w.now
	if w.weather.strange > w.now {
		c.season = w.weather.season
	}
	w.hist.sent(w, c)
	p.inCore(w.timeout, func() { c.answer(unknown(0, "timeout")) })
	if c.kind == jobs.DeleteCall && w.fault(3*w.netFaults, "the link is down when a DELETE is written") {
		c.retransmit(w.upTo(kernelGivesUp))
		return
	}
	c.transmit()
	if w.fault(w.crashes, "crash after a send") {
		p.crash("after a send")
	}
}

// The kernel sends again what was not acknowledged, for up to so long. The client bounds
// that: its connections have the request's time-out as TCP_USER_TIMEOUT, and linger 0,
// which throws away what is unsent as soon as the caller is gone.
const (
	kernelGivesUp = 100 * time.Second
	userTimeout   = true
	lingerZero    = true
)

// retransmit lets the kernel send a DELETE when the link is back.
func (c *call) retransmit(after time.Duration) {
	w, life := c.p.w, c.p.coreLife
	w.flying[c.customer]++
	tried := after
	if userTimeout {
		tried = min(after, w.timeout)
	}
	w.after(tried, func() {
		gone := c.sealed || c.p.coreLife != life
		if tried < after || lingerZero && gone {
			w.flying[c.customer]--
			return
		}
		w.say("        the link is back: the DELETE of task %d leaves after %v", c.lease.Task, after)
		w.after(w.late(w.serverMax), func() { c.execute(sandbox.FaultHangRan) })
	})
}

func unknown(status int, code string) jobs.Answer {
	return jobs.Answer{Class: jobs.ClassUnknown, HTTPStatus: status, Code: code, Message: code}
}

// resends: HTTP/2 transports send a request again whose stream was reset. Ours
// speaks HTTP/1.1 only, and its guard lets one write through.
const resends = false

func (c *call) transmit() {
	w := c.p.w
	latency := w.upTo(w.latency)
	fault := w.drawFault(c.kind)
	if c.kind == jobs.DeleteCall {
		w.flying[c.customer]++
	}
	if w.sticky && c.kind == jobs.DeleteCall && w.happens("every DELETE finds no image") {
		w.flying[c.customer]--
		c.p.inCore(latency, func() { c.answer(capillary.ReadDelete(http.StatusOK, []byte(noImage), len(c.indexes))) })
		return
	}
	if w.fault(3*w.netFaults, "an odd answer") {
		c.odd(latency)
		return
	}
	switch {
	case w.weather.down > w.now:
		fault = sandbox.FaultServerErrorNotRun
	case w.weather.refused > w.now:
		fault = sandbox.FaultUnauthorized
	case w.weather.limited > w.now || w.overLimit():
		fault = sandbox.FaultTooMany
	}
	switch fault {
	case sandbox.FaultLate, sandbox.FaultLateTimeout:
		c.runsLate(latency, fault)
		return
	case sandbox.FaultHangRan:
		if w.one(2) { // it runs when its caller is gone
			w.after(w.timeout+w.late(w.serverMax), func() { c.execute(fault) })
			return
		}
	case sandbox.FaultLostAnswer:
		if resends {
			c.transmit()
		}
	}
	w.after(latency/2, func() {
		reply := c.execute(fault)
		c.p.inCore(latency-latency/2, func() { c.receive(reply, fault) })
	})
}

const noImage = `{"errors":[{"code":8078,"status":false,"message":""}],"data":[],"warnings":[]}`

// odd answers what the sandbox has no fault for: a status that is in no table, a
// request that is called invalid, an index that is said to be empty.
func (c *call) odd(latency time.Duration) {
	w := c.p.w
	read := func(status int, body string) jobs.Answer {
		if c.kind == jobs.DeleteCall {
			return capillary.ReadDelete(status, []byte(body), len(c.indexes))
		}
		return capillary.ReadListing(status, []byte(body), c.customer)
	}
	teapot := w.one(3)
	a := read(http.StatusTeapot, "")
	if !teapot {
		a = pick(w.chance, read(http.StatusBadRequest, ""), read(http.StatusOK, noImage))
	}
	if c.kind == jobs.DeleteCall {
		if teapot { // it may have run, or may still run
			w.after(latency+w.late(w.serverMax), func() { c.execute(sandbox.NoFault) })
		} else {
			w.flying[c.customer]--
		}
	}
	c.p.inCore(latency, func() { c.answer(a) })
}

// runsLate loses the connection, or has a gateway give up, before the request runs.
func (c *call) runsLate(latency time.Duration, fault sandbox.Fault) {
	w := c.p.w
	late := w.late(w.serverMax)
	w.after(latency+late, func() { c.execute(fault) })
	c.p.inCore(latency, func() {
		if fault == sandbox.FaultLate {
			c.answer(unknown(0, "reset"))
			return
		}
		c.answer(capillary.ReadDelete(http.StatusGatewayTimeout, []byte("<html>504</html>"), len(c.indexes)))
	})
}

// execute is the server's part.
func (c *call) execute(fault sandbox.Fault) sandbox.Reply {
	w := c.p.w
	r := sandbox.Request{Kind: sandbox.KindList, Customer: c.customer, Fault: fault, Ordinal: w.order}
	if c.kind == jobs.DeleteCall {
		w.flying[c.customer]--
		r.Kind, r.Indexes = sandbox.KindDelete, c.indexes
	} else if w.lag > 0 && !w.calm && w.one(3) {
		// What others did is seen at once: promise 1 counts from what a listing shows.
		r.Lag = min(w.upTo(w.lag), w.now-w.hist.othersActed[c.customer])
	}
	c.asOf = w.now - r.Lag
	api := w.api
	if c.season > 0 {
		api = w.strangers
	}
	reply := api.Apply(w.clock(), r)
	if c.kind == jobs.DeleteCall {
		w.hist.executed(w, c, reply.Removed)
	}
	return reply
}

// receive reads an answer as the client does.
func (c *call) receive(reply sandbox.Reply, fault sandbox.Fault) {
	switch reply.Delivery {
	case sandbox.DeliverNothing:
		word := "unreadable"
		if reply.Reset {
			word = "reset"
		}
		c.answer(unknown(0, word))
		return
	case sandbox.DeliverHang:
		return // until the caller gives up
	case sandbox.DeliverCut, sandbox.DeliverEndless, sandbox.DeliverHuge:
		c.answer(unknown(reply.Status, "unreadable"))
		return
	}
	for _, img := range reply.Images {
		c.shown = append(c.shown, c.p.w.key(img.Token))
	}
	a := c.read(reply)
	if a.Class == jobs.ClassOverLimit {
		a.RetryAfter = c.p.w.weather.retryAfter
	}
	if fault == sandbox.NoFault && c.p.w.fault(8*c.p.w.netFaults, "an answer comes twice") {
		c.answer(a)
	}
	c.answer(a)
}

// organizations is what the client reads in the images' tokens: see newMaterial.
func (c *call) organizations() []int64 {
	switch {
	case len(c.shown) == 0:
		return nil
	case c.season > 0:
		return []int64{strangeOrganization}
	}
	return []int64{remoteOrganization}
}

// read is the client's reading. What nothing is odd about is not written and read
// again as JSON: a test holds this way against the long one.
func (c *call) read(reply sandbox.Reply) jobs.Answer {
	w := c.p.w
	plain := reply.Status == http.StatusOK && len(reply.Errors)+len(reply.Warnings) == 0 && !w.bytes
	switch {
	case plain && c.kind == jobs.DeleteCall && reply.Body == sandbox.BodyParts && len(reply.Data) == len(c.indexes) && reply.Data[0].Code == http.StatusOK:
		return jobs.Answer{Class: jobs.ClassDeleted, HTTPStatus: reply.Status}
	case plain && c.kind == jobs.ListCall && reply.Body == sandbox.BodyProfile && reply.Customer == c.customer:
		return jobs.Answer{Class: jobs.ClassListed, HTTPStatus: reply.Status, Images: c.shown, Organizations: c.organizations()}
	}
	_, body := w.api.Render(reply, w.clock(), true)
	if c.kind == jobs.DeleteCall {
		return capillary.ReadDelete(reply.Status, body, len(c.indexes))
	}
	return capillary.ReadListing(reply.Status, body, c.customer)
}

// answer ends the call, once: a second answer, or a late one, finds it sealed.
func (c *call) answer(a jobs.Answer) {
	if c.sealed {
		return
	}
	c.sealed = true
	a.SentAt, a.AnsweredAt = c.sentAt, c.p.now()
	c.p.w.hist.heardOf(c.p.w, c)
	c.p.w.hist.answered(c.p.w, c, a)
	c.p.step(worker.CallEnded{Task: c.lease.Task, Epoch: c.lease.Epoch, Kind: c.kind, Answer: a})
}

// drawFault is what goes wrong with one call.
func (w *world) drawFault(k jobs.Kind) sandbox.Fault {
	if w.netFaults == 0 || !w.one(w.netFaults) {
		return sandbox.NoFault
	}
	f := pick(w.chance, deleteFaults[:]...)
	switch {
	case k == jobs.ListCall:
		f = pick(w.chance, listFaults[:]...)
	case w.lies && w.one(4):
		f = sandbox.FaultSuccessNotRun
	case w.late429 && w.one(4):
		f = sandbox.FaultTooManyRan
	}
	if !w.happens(string(f)) {
		return sandbox.NoFault
	}
	return f
}

var listFaults = [...]sandbox.Fault{
	sandbox.FaultLostAnswer, sandbox.FaultServerErrorRan, sandbox.FaultBare521Ran, sandbox.FaultHTMLRan, sandbox.FaultHangNotRun,
	sandbox.FaultCutBody, sandbox.FaultBusy, sandbox.FaultTooMany, sandbox.FaultForbidden, sandbox.FaultRedirect,
}

// Those that break what is assumed of the API (a success that did not run, a 429
// that did) come only in nights where they can be noticed. A DELETE that a gateway
// repeats (runs_twice) is outside of what is promised.
var deleteFaults = [...]sandbox.Fault{
	sandbox.FaultLostAnswer, sandbox.FaultLostAnswer, sandbox.FaultLostRequest, sandbox.FaultLate, sandbox.FaultLate, sandbox.FaultLateTimeout,
	sandbox.FaultServerErrorRan, sandbox.FaultServerErrorNotRun, sandbox.FaultBare521Ran, sandbox.FaultBare521NotRun, sandbox.FaultHTMLRan,
	sandbox.FaultHTMLNotRun, sandbox.FaultHangRan, sandbox.FaultHangRan, sandbox.FaultHangNotRun, sandbox.FaultCutBody, sandbox.FaultBusy,
	sandbox.FaultTooMany, sandbox.FaultForbidden, sandbox.FaultRedirect, sandbox.Fault8080Ran, sandbox.Fault8080NotRun,
}

// overLimit is the API's own count of the calls of one minute.
func (w *world) overLimit() bool {
	x := &w.weather
	old := 0
	for old < len(x.received) && w.now-x.received[old] >= time.Minute {
		old++
	}
	x.received = append(x.received[old:], w.now)
	return len(x.received) > w.perMinute+w.perMinute/5+10
}
