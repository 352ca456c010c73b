package repository_test

import (
	"bytes"
	"cmp"
	"encoding/hex"
	"slices"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/imagepurge/imagepurge/jobs"
	"github.com/imagepurge/imagepurge/jobs/clearance"
	"github.com/imagepurge/imagepurge/jobs/purge"
	"github.com/imagepurge/imagepurge/simulation/memory"
)

// A clockTime was reckoned from the database's clock, in microseconds; two are the same
// if they are close. 0 is none. All other times must be the same to the microsecond.
type clockTime int64

const contractTolerance = 10 * time.Microsecond // for durations are rounded

func near(a, b clockTime) bool {
	return (a == 0) == (b == 0) && max(a-b, b-a) <= clockTime(contractTolerance.Microseconds())
}

var contractOptions = gocmp.Options{
	gocmp.Comparer(near), cmpopts.EquateEmpty(), cmpopts.IgnoreUnexported(clearance.Clearance{}),
	gocmp.Comparer(func(a, b time.Time) bool { return near(clock(a), clock(b)) }),
}

// view is all that is visible of a store.
type view struct {
	Tasks   []taskView
	Leases  []leaseView
	Breaker breakerView
}

type taskView struct {
	ID, Batch, Customer                       int64
	State, Outcome, Waiting                   string
	Code, Message                             string
	Status                                    int
	Owner                                     string
	Epoch                                     int64
	LeaseUntil, Due, CreatedAt                clockTime
	StartedAt, FinishedAt                     clockTime
	VerifiedAt                                int64
	Found, Deleted, New, Attempts, APICalls   int
	Sequence, Still, Contradictions, Refusals int
	Listed, Relisting                         bool
	ReviewAs, Mode, Scope, Source, Account    string
	DryRun                                    bool
	Named                                     []string
	Images                                    []imageView
	Calls                                     []callView
}

type imageView struct {
	Key             string
	Position        int
	State, Evidence string
	Sends           int
	IntendedAt      clockTime
	AnsweredAt      int64
	Status          int
	Code            string
	Missing         bool
}

type callView struct {
	Sequence           int
	Kind               string
	Position           int
	Key                string
	Targets            int
	SentAt, AnsweredAt int64
	Class              string
	Status             int
	Code               string
	Seen               int
	Shown              string
	Owner              string
	Epoch              int64
}

type leaseView struct {
	Customer, Task        int64
	Owner                 string
	Epoch                 int64
	LeaseUntil, RestUntil clockTime
}

type breakerView struct {
	Reason, Kind, Code string
	Status             int
	Since, ProbeAt     clockTime
	ProbeDelay         int64 // seconds
	ProbeTask          int64
	PausedUntil        clockTime
}

// agree takes over the other's times of the database's clock where they are near.
func (v *view) agree(o *view) {
	take := func(a *clockTime, b clockTime) {
		if near(*a, b) {
			*a = b
		}
	}
	for i := range min(len(v.Tasks), len(o.Tasks)) {
		a, b := &v.Tasks[i], &o.Tasks[i]
		take(&a.LeaseUntil, b.LeaseUntil)
		take(&a.Due, b.Due)
		take(&a.CreatedAt, b.CreatedAt)
		take(&a.StartedAt, b.StartedAt)
		take(&a.FinishedAt, b.FinishedAt)
		for j := range min(len(a.Images), len(b.Images)) {
			take(&a.Images[j].IntendedAt, b.Images[j].IntendedAt)
		}
	}
	for i := range min(len(v.Leases), len(o.Leases)) {
		take(&v.Leases[i].LeaseUntil, o.Leases[i].LeaseUntil)
		take(&v.Leases[i].RestUntil, o.Leases[i].RestUntil)
	}
	take(&v.Breaker.Since, o.Breaker.Since)
	take(&v.Breaker.ProbeAt, o.Breaker.ProbeAt)
	take(&v.Breaker.PausedUntil, o.Breaker.PausedUntil)
}

func clock(t time.Time) clockTime { return clockTime(fixed(t)) }

func fixed(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.Round(time.Microsecond).UnixMicro()
}

func hexKey(k jobs.Key) string { return hex.EncodeToString(k[:]) }

// memoryView is all that is visible of the simulation's store.
func memoryView(s *memory.Store) (v view) {
	seen := make(map[int64]bool)
	for _, t := range s.Tasks() {
		v.Tasks = append(v.Tasks, viewTask(t))
		if l, ok := s.Customer(t.Customer); ok && !seen[t.Customer] {
			v.Leases = append(v.Leases, leaseView{t.Customer, int64(l.Task), l.Owner, l.Epoch, clock(l.LeaseUntil), clock(l.RestUntil)})
		}
		seen[t.Customer] = true
	}
	slices.SortFunc(v.Leases, func(a, b leaseView) int { return cmp.Compare(a.Customer, b.Customer) })
	o := s.Organization()
	v.Breaker = breakerView{
		o.Reason, string(o.Kind), o.Code, o.HTTPStatus, clock(o.Since), clock(o.ProbeAt),
		int64(o.ProbeDelay / time.Second), int64(o.ProbeTask), clock(o.PausedUntil),
	}
	return v
}

func viewTask(t *memory.Task) taskView {
	r := &t.Rec
	v := taskView{
		ID: int64(t.ID), Batch: t.Batch, Customer: t.Customer, State: string(t.State), Outcome: string(t.Outcome), Waiting: string(t.Waiting),
		Code: t.Code, Message: t.Message, Status: t.HTTPStatus, Owner: t.Owner, Epoch: r.Epoch,
		LeaseUntil: clock(t.LeaseUntil), Due: clock(t.Due), CreatedAt: clock(t.CreatedAt), StartedAt: clock(t.StartedAt),
		FinishedAt: clock(t.FinishedAt), VerifiedAt: fixed(t.VerifiedAt),
		Found: r.Found, Deleted: t.Deleted, New: r.New, Attempts: r.Attempts, APICalls: r.APICalls, Sequence: r.Sequence,
		Still: r.StillPresent, Contradictions: r.Contradictions, Refusals: r.Refusals, Listed: r.Listed, Relisting: r.Relisting,
		ReviewAs: string(r.ReviewAs), Mode: string(r.Mode), Scope: string(r.Scope), Source: r.Customer.Source, Account: r.Customer.AccountID,
		DryRun: r.DryRun,
	}
	for _, k := range r.Named {
		v.Named = append(v.Named, hexKey(k))
	}
	for _, im := range r.Images {
		v.Images = append(v.Images, imageView{
			hexKey(im.Key), im.Position, string(im.State), string(im.Evidence), im.Sends, clock(im.IntendedAt), fixed(im.AnsweredAt),
			im.HTTPStatus, im.Code, im.Missing,
		})
	}
	slices.SortFunc(v.Images, func(a, b imageView) int { return cmp.Compare(a.Key, b.Key) })
	for i, call := range t.Calls {
		key, shown := "", ""
		if call.Kind == jobs.DeleteCall {
			key = hexKey(call.Key)
		}
		for _, k := range call.Shown { // the database keeps so much of each
			shown += k.String()
		}
		v.Calls = append(v.Calls, callView{
			call.Sequence, string(call.Kind), call.Position, key, call.Targets, fixed(call.SentAt), fixed(call.AnsweredAt),
			string(call.Class), call.HTTPStatus, call.Code, call.ImagesSeen, shown, t.Callers[i].Owner, t.Callers[i].Epoch,
		})
	}
	return v
}

// sameOrder puts what has no promised order into one.
func sameOrder(rs []purge.Record) {
	for i := range rs {
		slices.SortFunc(rs[i].DeletedElsewhere, func(a, b jobs.Key) int { return bytes.Compare(a[:], b[:]) })
	}
}
