package memory_test

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/imagepurge/imagepurge/jobs"
	"github.com/imagepurge/imagepurge/jobs/clearance"
	"github.com/imagepurge/imagepurge/jobs/purge"
	"github.com/imagepurge/imagepurge/simulation/memory"
)

var (
	start = time.Date(2026, 3, 4, 1, 0, 0, 0, time.UTC)
	terms = purge.Terms{Organization: 1, Lease: time.Minute, RequestTimeout: 5 * time.Second}
	key   = jobs.KeyOf("one")
)

func claim(s *memory.Store, now time.Time) []purge.Record {
	return s.ClaimTasks(now, purge.Claim{Organization: 1, Owner: "w1", Lease: time.Minute, Limit: 10, Mode: jobs.Verified, Scope: jobs.Snapshot, Source: "INSTORE"})
}

// intent is the first intent of a claimed task.
func intent(r purge.Record) purge.Write {
	return purge.Write{
		Task: r.Task, Owner: r.Owner, Epoch: r.Epoch, Kind: purge.WriteIntent, Customer: r.Customer,
		Images:  []purge.Image{{Key: key, State: jobs.Intended, Sends: 1}},
		Calls:   []jobs.Call{{Sequence: r.Sequence + 1, Kind: jobs.DeleteCall, Key: key, Targets: 1, ImagesSeen: -1}},
		Targets: []clearance.Target{{Key: key}},
		Rest:    purge.RestSettle, RestFor: 2 * time.Minute,
		Counters: purge.Counters{Sequence: r.Sequence + 1, APICalls: 1, Found: 1, Listed: true},
	}
}

// giveBack ends a claim after the delete of an intent was answered.
func giveBack(w purge.Write, at time.Time) purge.Write {
	w.Kind, w.Rest, w.RestFor, w.Targets = purge.WriteGiveBack, purge.RestClear, 0, nil
	w.Images = []purge.Image{{Key: key, State: jobs.Planned, Sends: 1, AnsweredAt: at}}
	w.Calls = []jobs.Call{w.Calls[0]}
	w.Calls[0].SentAt, w.Calls[0].AnsweredAt, w.Calls[0].Class = at, at, jobs.ClassNotRun
	return w
}

// stored is all that a judge can see.
func stored(s *memory.Store) (rows []any) {
	for _, t := range s.Tasks() {
		lease, ok := s.Customer(t.Customer)
		row := *t
		row.Rec.Images, row.Calls = append([]purge.Image(nil), t.Rec.Images...), append([]jobs.Call(nil), t.Calls...)
		rows = append(rows, row, lease, ok)
	}
	return append(rows, s.Organization())
}

func diff(a, b []any) string {
	return cmp.Diff(a, b, cmpopts.IgnoreUnexported(memory.Task{}), cmpopts.EquateEmpty())
}

func TestAFailOverBringsBackTheSnapshotAsOftenAsAsked(t *testing.T) {
	s := memory.New(memory.Options{Organization: 1})
	s.Enqueue(start, 1, memory.NewTask{Customer: 7}, memory.NewTask{Customer: 8})
	rs := claim(s, start)
	s.Write(start, start, terms, []purge.Write{intent(rs[0])})
	pointer, snapshot, want := s.Task(1), s.Snapshot(), stored(s)
	for range 2 {
		before := stored(s)
		s.Enqueue(start, 2, memory.NewTask{Customer: 9})
		s.Write(start, start, terms, []purge.Write{giveBack(intent(rs[0]), start)})
		s.CancelBatch(start, 1)
		s.Hold(8)
		s.Pause(start)
		if diff(stored(s), before) == "" {
			t.Fatal("nothing has changed")
		}
		s.FailOver(snapshot)
		if d := diff(stored(s), want); d != "" {
			t.Errorf("after a fail-over (- got, + want):\n%s", d)
		}
		if s.Task(1) != pointer {
			t.Error("a pointer that was handed out shows another server's row")
		}
	}
}

func TestNothingIsClaimedUntilTheServerIsNoted(t *testing.T) {
	s := memory.New(memory.Options{Organization: 1})
	s.Enqueue(start, 1, memory.NewTask{Customer: 7})
	if s.NoteServer(start, time.Minute) {
		t.Error("a server that is the same was noted as another")
	}
	s.FailOver(s.Snapshot())
	if n := len(claim(s, start)); n != 0 {
		t.Errorf("claimed %d tasks on a server that nobody noted", n)
	}
	if !s.NoteServer(start, time.Minute) || s.NoteServer(start, time.Minute) {
		t.Error("a new server is to be noted once")
	}
	if n := len(claim(s, start.Add(59*time.Second))); n != 0 {
		t.Errorf("claimed %d tasks within the settle time", n)
	}
	if n := len(claim(s, start.Add(time.Minute))); n != 1 {
		t.Errorf("claimed %d tasks after it, want 1", n)
	}
}

func TestARecordIsItsReceiversOwn(t *testing.T) {
	s := memory.New(memory.Options{Organization: 1})
	s.Enqueue(start, 1, memory.NewTask{Customer: 7})
	r := claim(s, start)[0]
	s.Write(start, start, terms, []purge.Write{intent(r)})
	s.Write(start, start, terms, []purge.Write{giveBack(intent(r), start)})
	claim(s, start)[0].Images[0].State = jobs.Deleted
	if got := s.Task(1).Rec.Images[0].State; got != jobs.Planned {
		t.Errorf("the store's image is %s", got)
	}
}

func TestAGroupThatBreaksAConstraintChangesNothing(t *testing.T) {
	s := memory.New(memory.Options{Organization: 1})
	s.Enqueue(start, 1, memory.NewTask{Customer: 7}, memory.NewTask{Customer: 8})
	rs := claim(s, start)
	bad := intent(rs[1])
	bad.Images[0].Sends = 0
	before := stored(s)
	defer func() {
		err, _ := recover().(error)
		if ce := (*memory.ConstraintError)(nil); !errors.As(err, &ce) || ce.Task != 2 || ce.Rule != "sent_before_deleted" {
			t.Errorf("got %v", err)
		}
		if d := diff(stored(s), before); d != "" {
			t.Errorf("it changed something:\n%s", d)
		}
	}()
	s.Write(start, start, terms, []purge.Write{intent(rs[0]), bad})
}

// BenchmarkNight is a claim and three writes for each of twenty customers.
func BenchmarkNight(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		s := memory.New(memory.Options{Organization: 1})
		tasks := make([]memory.NewTask, 20)
		for i := range tasks {
			tasks[i].Customer = int64(i + 1)
		}
		s.Enqueue(start, 1, tasks...)
		for _, r := range append(claim(s, start), claim(s, start)...) {
			w := intent(r)
			s.Write(start, start, terms, []purge.Write{w})
			s.Write(start, start, terms, []purge.Write{giveBack(w, start)})
			s.Outlook(start, 1, 0)
		}
	}
}
