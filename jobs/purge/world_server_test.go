package purge_test

import (
	"slices"
	"strconv"
	"time"

	"github.com/imagepurge/imagepurge/jobs"
	"github.com/imagepurge/imagepurge/jobs/clearance"
)

// keys are made once: hashing is most of what a run would cost.
var (
	keys   []jobs.Key
	images = make(map[jobs.Key]int)
)

func init() {
	for i := range 1100 {
		k := jobs.KeyOf("token " + strconv.Itoa(i))
		keys = append(keys, k)
		images[k] = i
	}
}

// server keeps one customer's images and deletes by position.
type server struct {
	w         *world
	images    []int
	fresh     int
	ascending bool
	past      []snapshot // what a stale listing may show
	waiting   []*request // DELETEs that may still run
}

type snapshot struct {
	until  time.Time
	images []int
}

// request is a DELETE that has left a worker.
type request struct {
	permit clearance.Intent
	sentAt time.Time
	runsAt time.Time // zero: it never runs
}

func (s *server) newImage() int {
	s.fresh++
	return s.fresh - 1
}

func (s *server) remember() {
	s.past = append(s.past, snapshot{s.w.now, slices.Clone(s.images)})
	s.images = slices.Clone(s.images)
}

// list shows the images as they are, or as they were within the lag.
func (s *server) list() (shown []int, asOf time.Time) {
	from := s.w.now.Add(-s.w.lag)
	s.past = slices.DeleteFunc(s.past, func(p snapshot) bool { return p.until.Before(from) })
	if n := len(s.past); n > 0 && s.w.below(3) == 0 {
		p := s.past[s.w.below(n)]
		return p.images, p.until
	}
	return s.images, s.w.now
}

// runnable is how many DELETEs may still run.
func (s *server) runnable() int { return len(s.waiting) }

// receive takes a DELETE that runs at the given time; zero: never.
func (s *server) receive(in clearance.Intent, runs time.Time) *request {
	r := &request{permit: in, sentAt: s.w.now, runsAt: runs}
	if !runs.IsZero() {
		s.waiting = append(s.waiting, r)
	}
	return r
}

// execute runs a DELETE, once, and says whether it hit anything, and whether it
// missed anything.
func (s *server) execute(r *request) (hit, missed bool) {
	i := slices.Index(s.waiting, r)
	if i < 0 {
		panic("a DELETE runs twice: the model is wrong")
	}
	s.waiting = slices.Delete(s.waiting, i, i+1)
	s.remember()
	targets := slices.Clone(r.permit.Targets)
	if s.ascending {
		slices.Reverse(targets)
	}
	for _, t := range targets {
		if t.Position >= len(s.images) {
			missed = true
			continue
		}
		hit = true
		gone := s.images[t.Position]
		s.images = slices.Delete(s.images, t.Position, t.Position+1)
		meant := false
		for _, m := range targets {
			meant = meant || images[m.Key] == gone
		}
		s.w.log.removed = append(s.w.log.removed, removal{
			at: s.w.now, image: gone, by: r.permit.Task, meant: meant, isTarget: s.w.store.isTarget(r.permit.Task, gone),
		})
	}
	return hit, missed
}

// fate is what becomes of one DELETE on its way.
type fate struct {
	runs, answers time.Duration // after the send; runs < 0: never
	answer        jobs.Answer
	byResult      bool // the answer is what the run came to
	lie           bool
}

// draw decides what becomes of a DELETE.
func (s *server) draw() fate {
	w := s.w
	latency := w.upTo(min(time.Second, w.timeout))
	ok := fate{runs: latency / 2, answers: latency, byResult: true}
	if !w.fault(4) {
		return ok
	}
	late := w.upTo(w.serverMax) // after its caller is gone
	switch w.below(14) {
	case 0: // ran, answer lost
		return fate{runs: latency / 2, answers: w.timeout, answer: answer(jobs.ClassUnknown, 0, "timeout")}
	case 1: // the connection goes at once; it runs late
		return fate{runs: latency + late, answers: latency, answer: answer(jobs.ClassUnknown, 0, "reset")}
	case 2: // no answer in time; it runs late
		return fate{runs: w.timeout + late, answers: w.timeout, answer: answer(jobs.ClassUnknown, 0, "timeout")}
	case 3: // it never arrives
		return fate{runs: -1, answers: w.timeout, answer: answer(jobs.ClassUnknown, 0, "timeout")}
	case 4:
		return fate{runs: latency + late, answers: latency, answer: answer(jobs.ClassUnknown, 503, "503")}
	case 5:
		return fate{runs: -1, answers: latency, answer: answer(jobs.ClassUnknown, 500, "500")}
	case 6:
		return fate{runs: latency / 2, answers: latency, answer: answer(jobs.ClassUnknown, 502, "8080")}
	case 7:
		return fate{runs: -1, answers: latency, answer: answer(jobs.ClassNotRun, 200, "521")}
	case 8:
		a := answer(jobs.ClassOverLimit, 429, "429")
		a.RetryAfter = time.Duration(w.below(2)) * 10 * time.Second
		return fate{runs: -1, answers: latency, answer: a}
	case 9:
		return fate{runs: latency + late, answers: latency, answer: answer(jobs.ClassUnexpected, 418, "418")}
	case 10:
		return fate{runs: -1, answers: latency, answer: answer(jobs.ClassRefused, 403, "403")}
	case 11:
		return fate{runs: -1, answers: latency, answer: answer(jobs.ClassNoImage, 200, "8078")}
	case 12: // the very last moment
		return fate{runs: w.timeout + w.serverMax, answers: w.timeout, answer: answer(jobs.ClassUnknown, 0, "timeout")}
	}
	if w.lies {
		return fate{runs: -1, answers: latency, answer: answer(jobs.ClassDeleted, 200, ""), lie: true}
	}
	return ok
}

func answer(c jobs.Class, status int, code string) jobs.Answer {
	return jobs.Answer{Class: c, HTTPStatus: status, Code: code, Message: "a " + code}
}
