package repository_test

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/imagepurge/imagepurge/jobs/worker"
	"github.com/imagepurge/imagepurge/simulation/memory"
)

func (d *db) beat(b worker.Beat) worker.Fleet {
	d.Helper()
	if b.Organization == 0 {
		b.Organization = 1
	}
	b.Host, b.Version = "host", "v1"
	got, err := d.Beat(d.ctx, b)
	if err != nil {
		d.Fatal(err)
	}
	return got
}

// age moves all workers' beats into the past.
func (d *db) age(by time.Duration) {
	d.Helper()
	d.by("UPDATE workers SET seen_at = seen_at - make_interval(secs => $1), started_at = started_at - make_interval(secs => $1)", by.Seconds())
}

func TestABeatCountsTheLiveWorkersOfTheOrganisation(t *testing.T) {
	t.Parallel()
	d := open(t)
	d.by("INSERT INTO organizations (name) VALUES ('other')")
	for i, c := range []struct {
		beat worker.Beat
		age  time.Duration
		want int
	}{
		{beat: worker.Beat{Worker: "a"}, want: 1},
		{beat: worker.Beat{Worker: "b"}, want: 2},
		{beat: worker.Beat{Worker: "x", Organization: 2}, want: 1},
		{beat: worker.Beat{Worker: "b", Ended: true}, want: 1},
		{beat: worker.Beat{Worker: "b"}, want: 2}, // in the next window
		{beat: worker.Beat{Worker: "b"}, age: 16 * time.Second, want: 1},
		{beat: worker.Beat{Worker: "a"}, age: 14 * time.Second, want: 2},
	} {
		d.age(c.age)
		if got := d.beat(c.beat).Live; got != c.want {
			t.Errorf("beat %d: %d live workers, want %d", i, got, c.want)
		}
	}
}

func TestTheRowSaysWhatTheWorkerDoes(t *testing.T) {
	t.Parallel()
	d := open(t)
	d.beat(worker.Beat{Worker: "a", PID: 7, InFlight: 1, InHand: 2, Calls: 3})
	d.age(time.Minute)
	started := get[time.Time](d, "SELECT started_at FROM workers")
	if all, err := d.Workers(d.ctx); err != nil || len(all) != 1 || !all[0].Silent {
		t.Errorf("after a minute's silence: %+v, %v", all, err)
	}
	d.beat(worker.Beat{Worker: "a", PID: 7, InFlight: 4, InHand: 5, Calls: 6})
	all, err := d.Workers(d.ctx)
	if err != nil || len(all) != 1 {
		t.Fatalf("%+v, %v", all, err)
	}
	x := all[0]
	if x.Name != "a" || x.Organization != "default" || x.Host != "host" || x.PID != 7 || x.Version != "v1" || x.InFlight != 4 || x.InHand != 5 || x.Calls != 6 ||
		x.Silent || !x.StartedAt.Equal(started) {
		t.Errorf("the worker is shown as %+v", x)
	}
	d.beat(worker.Beat{Worker: "a", Calls: 9, Ended: true})
	if all, err := d.Workers(d.ctx); err != nil || len(all) != 0 {
		t.Errorf("one that has ended is still listed: %+v, %v", all, err)
	}
	if calls := get[int64](d, "SELECT calls FROM workers WHERE ended_at IS NOT NULL"); calls != 9 {
		t.Errorf("its last words are %d calls", calls)
	}
	d.beat(worker.Beat{Worker: "a"})
	if again := get[time.Time](d, "SELECT started_at FROM workers"); !again.After(started) {
		t.Errorf("in the next window it began %v, before that %v", again, started)
	}
}

func TestRowsOfWorkersGoAfterThirtyDays(t *testing.T) {
	t.Parallel()
	d := open(t)
	d.beat(worker.Beat{Worker: "old"})
	d.age(31 * 24 * time.Hour)
	d.beat(worker.Beat{Worker: "month"})
	d.age(29 * 24 * time.Hour)
	d.beat(worker.Beat{Worker: "new"})
	if left := list[string](d, "SELECT name FROM workers ORDER BY name"); fmt.Sprint(left) != "[month new]" {
		t.Errorf("left are %v", left)
	}
}

// A beat that were no HOT update would leave dead rows in two indexes, every three
// seconds for every worker.
func TestABeatTouchesNoIndex(t *testing.T) {
	t.Parallel()
	d := openWith(t, 1)
	const beats = 50
	for n := range beats {
		d.beat(worker.Beat{Worker: "a", Calls: int64(n)})
	}
	var hot, all int64
	d.eventually("the statistics", func() bool {
		if err := d.pool.QueryRow(d.ctx, "SELECT n_tup_hot_upd, n_tup_upd FROM pg_stat_user_tables WHERE relname = 'workers'").Scan(&hot, &all); err != nil {
			t.Fatal(err)
		}
		return all == beats-1
	})
	if hot != all {
		t.Errorf("%d of %d beats were HOT updates", hot, all)
	}
}

// The simulation's store counts as this one does.
func TestBothStoresSeeTheSameFleet(t *testing.T) {
	t.Parallel()
	d := open(t)
	mem := memory.New(memory.Options{Organization: 1})
	random := rand.New(rand.NewPCG(9, 1))
	now := time.Now()
	for range 100 {
		by := time.Duration(random.IntN(8)) * time.Second
		now = now.Add(by)
		d.age(by)
		b := worker.Beat{Worker: fmt.Sprint("w", random.IntN(4)), Organization: 1, Ended: random.IntN(5) == 0}
		if got, want := mem.Beat(now, b), d.beat(b); got != want {
			t.Fatalf("%+v: the simulation's store says %+v, the database %+v", b, got, want)
		}
	}
}
