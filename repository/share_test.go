package repository_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/imagepurge/imagepurge/jobs/budget"
	"github.com/imagepurge/imagepurge/repository"
)

func key(name byte, perMinute int) repository.KeyBudget {
	return repository.KeyBudget{Host: "api.example", Digest: [32]byte{name}, PerMinute: perMinute}
}

func (d *db) limit(organization int64) float64 {
	d.Helper()
	b, err := d.ReserveSlots(d.ctx, organization, budget.Ask{Age: 10 * time.Second})
	if err != nil {
		d.Fatal(err)
	}
	return b.Limit
}

// Budgets go by host and key, whatever our labels.
func TestOneKeyIsOneBudget(t *testing.T) {
	t.Parallel()
	d := openStill(t)
	other := get[int64](d, "INSERT INTO organizations (name) VALUES ('brand-b') RETURNING id")
	if err := d.ShareBudget(d.ctx, 1, key(1, 600)); err != nil {
		t.Fatal(err)
	}
	var shared *repository.KeySharedError
	if err := d.ShareBudget(d.ctx, other, key(1, 600)); !errors.As(err, &shared) || shared.Organization != "default" {
		t.Fatalf("the same key under a second name: %v", err)
	}
	if n := get[int](d, "SELECT count(DISTINCT budget_id) FROM organizations"); n != 2 {
		t.Errorf("a refusal left %d budgets", n)
	}
	told := key(1, 600)
	told.Shared = true
	if err := d.ShareBudget(d.ctx, other, told); err != nil {
		t.Fatal(err)
	}
	ask := budget.Ask{Slots: 3, Urgent: 3, Age: 10 * time.Second}
	first, err := d.ReserveSlots(d.ctx, 1, ask)
	if err != nil {
		t.Fatal(err)
	}
	second, err := d.ReserveSlots(d.ctx, other, ask)
	if err != nil {
		t.Fatal(err)
	}
	if first.Slots != 3 || second.Slots != 0 {
		t.Errorf("%d slots, and then %d for the other name at once", first.Slots, second.Slots)
	}
	if k, err := d.KeyState(d.ctx, "default"); err != nil || len(k.Shares) != 1 || k.Shares[0] != "brand-b" {
		t.Errorf("%+v, %v", k, err)
	}
	// Another key: a budget of its own again.
	if err := d.ShareBudget(d.ctx, other, key(2, 300)); err != nil {
		t.Fatal(err)
	}
	if a, b := d.limit(1), d.limit(other); a != 600 || b != 300 {
		t.Errorf("%v and %v calls a minute, want 600 and 300", a, b)
	}
}

// The newest that the settings say holds for all; what a person sets stands above.
func TestTheNewestLimitHolds(t *testing.T) {
	t.Parallel()
	d := open(t)
	person := repository.Person{Name: "ann", Host: "desk"}
	for _, perMinute := range []int{600, 700, 100} {
		if err := d.ShareBudget(d.ctx, 1, key(1, perMinute)); err != nil {
			t.Fatal(err)
		}
		if got := d.limit(1); got != float64(perMinute) {
			t.Errorf("%v calls a minute, told %d", got, perMinute)
		}
	}
	if err := d.SetRate(d.ctx, person, "default", 350, "agreed"); err != nil {
		t.Fatal(err)
	}
	if err := d.ShareBudget(d.ctx, 1, key(1, 800)); err != nil {
		t.Fatal(err)
	}
	if got := d.limit(1); got != 350 {
		t.Errorf("%v calls a minute, a person set 350", got)
	}
	if err := d.SetRate(d.ctx, person, "default", 0, ""); err != nil {
		t.Fatal(err)
	}
	if got := d.limit(1); got != 800 {
		t.Errorf("%v calls a minute, given back to the settings' 800", got)
	}
	if err := d.SetRate(d.ctx, person, "nobody", 100, ""); !errors.Is(err, repository.ErrNotFound) {
		t.Errorf("an organisation that is not there: %v", err)
	}
}

// A limit of its own by hour of the day; a lower one holds from a minute before its
// hour, for the calls of that minute are counted with the hour's first.
// However a limit is lowered while calls are made: the next slot waits until the minute
// before it holds no more than the new one allows.
func TestALoweredLimitWaits(t *testing.T) {
	t.Parallel()
	d := openStill(t)
	person := repository.Person{Name: "ann", Host: "desk"}
	for name, c := range map[string]struct {
		set   int // by a person, before
		given int // slots, ever
		from  float64
		to    float64 // seconds until the next slot
		lower func() error
	}{
		"by a person":          {0, 6000, 45, 61, func() error { return d.SetRate(d.ctx, person, "default", 100, "r") }},
		"back to the settings": {6000, 6000, 45, 61, func() error { return d.SetRate(d.ctx, person, "default", 0, "r") }},
		"by a worker's start":  {0, 6000, 45, 61, func() error { return d.ShareBudget(d.ctx, 1, key(1, 100)) }},
		"few calls before":     {0, 20, 11, 13, func() error { return d.SetRate(d.ctx, person, "default", 100, "r") }},
	} {
		if err := d.ShareBudget(d.ctx, 1, key(1, 6000)); err != nil {
			t.Fatal(err)
		}
		d.by("UPDATE rate_budgets SET next_slot = clock_timestamp(), set_per_minute = NULL, reserved = $1", c.given)
		if c.set > 0 {
			d.by("UPDATE rate_budgets SET per_minute = 100, set_per_minute = $1", c.set)
		}
		if err := c.lower(); err != nil {
			t.Fatal(err)
		}
		if wait := get[float64](d, "SELECT extract(epoch FROM next_slot - clock_timestamp())::float8 FROM rate_budgets"); wait < c.from || wait > c.to {
			t.Errorf("%s: the next slot is in %.1f s, want %v to %v", name, wait, c.from, c.to)
		}
		// And no wait where it is raised.
		d.by("UPDATE rate_budgets SET next_slot = clock_timestamp(), set_per_minute = NULL")
		if err := d.ShareBudget(d.ctx, 1, key(1, 7000)); err != nil {
			t.Fatal(err)
		}
		if wait := get[float64](d, "SELECT extract(epoch FROM next_slot - clock_timestamp())::float8 FROM rate_budgets"); wait > 1 {
			t.Errorf("%s, then raised: the next slot is in %.1f s", name, wait)
		}
	}
}

func TestLimitsByHourOfDay(t *testing.T) {
	t.Parallel()
	d := openStill(t)
	k := key(1, 600)
	k.Zone, k.Hourly = "Europe/Berlin", make([]int, 24)
	for h := range k.Hourly {
		k.Hourly[h] = 600
		if h >= 8 && h < 20 {
			k.Hourly[h] = 300
		}
	}
	if err := d.ShareBudget(d.ctx, 1, k); err != nil {
		t.Fatal(err)
	}
	for at, want := range map[string]float64{
		"2026-11-23 02:00 Europe/Berlin": 600, "2026-11-23 07:58:58 Europe/Berlin": 600, "2026-11-23 07:59 Europe/Berlin": 300,
		"2026-11-23 12:00 Europe/Berlin": 300, "2026-11-23 19:59:59 Europe/Berlin": 300, "2026-11-23 20:00 Europe/Berlin": 600,
		"2026-07-23 06:30 UTC": 300, "2026-11-23 06:30 UTC": 600, // summer, and winter
	} {
		d.by("UPDATE fake.clock SET now = $1::text::timestamptz", at)
		if got := d.limit(1); got != want {
			t.Errorf("%s: %v calls a minute, want %v", at, got, want)
		}
	}
}

// What is paused by a person gets no slot, and says why.
func TestNoSlotsWhilePaused(t *testing.T) {
	t.Parallel()
	d := open(t)
	person := repository.Person{Name: "ann", Host: "desk"}
	for _, organization := range []int64{0, 1} {
		if _, err := d.Pause(d.ctx, person, organization, "maintenance"); err != nil {
			t.Fatal(err)
		}
		if b, err := d.ReserveSlots(d.ctx, 1, budget.Ask{Slots: 2, Urgent: 2, Age: 10 * time.Second}); err != nil || b.Slots != 0 || !b.Stopped {
			t.Errorf("organisation %d paused: %+v, %v", organization, b, err)
		}
		if _, err := d.Resume(d.ctx, person, organization, "over"); err != nil {
			t.Fatal(err)
		}
	}
	if b, err := d.ReserveSlots(d.ctx, 1, budget.Ask{Slots: 2, Urgent: 2, Age: 10 * time.Second}); err != nil || b.Slots == 0 || b.Stopped {
		t.Errorf("resumed: %+v, %v", b, err)
	}
	if _, err := d.ReserveSlots(d.ctx, 4711, budget.Ask{Slots: 1, Age: time.Second}); err == nil {
		t.Error("an organisation that is not there gets slots")
	}
}

// A pair of a slow key reaches further than a crash takes: it is on the disk before
// it is told.
func TestAPairIsOnTheDisk(t *testing.T) {
	t.Parallel()
	d := open(t)
	if err := d.ShareBudget(d.ctx, 1, key(1, 6)); err != nil {
		t.Fatal(err)
	}
	for range 20 {
		d.by("UPDATE rate_budgets SET next_slot = clock_timestamp() - interval '1 minute'")
		before := get[string](d, "SELECT pg_current_wal_insert_lsn()::text")
		if b, err := d.ReserveSlots(d.ctx, 1, budget.Ask{Slots: 2, Urgent: 2, Age: 10 * time.Second}); err != nil || b.Slots != 2 {
			t.Fatalf("%+v, %v", b, err)
		}
		if !get[bool](d, "SELECT pg_current_wal_flush_lsn() > $1::pg_lsn", before) {
			t.Fatal("slots were told that a crash would forget")
		}
	}
}

// What Postgres undoes for another transaction's sake is worth the same once more;
// what it refuses is not.
func TestUndone(t *testing.T) {
	t.Parallel()
	d := open(t)
	tx, err := d.pool.BeginTx(d.ctx, pgx.TxOptions{IsoLevel: pgx.RepeatableRead})
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback(d.ctx)
	if _, err := tx.Exec(d.ctx, "SELECT FROM rate_budgets"); err != nil {
		t.Fatal(err)
	}
	d.by("UPDATE rate_budgets SET per_minute = 5")
	if _, err := tx.Exec(d.ctx, "UPDATE rate_budgets SET per_minute = 6"); !repository.Undone(fmt.Errorf("share: %w", err)) {
		t.Errorf("not undone: %v", err)
	}
	if _, err := d.pool.Exec(d.ctx, "UPDATE rate_budgets SET per_minute = -1"); err == nil || repository.Undone(err) {
		t.Errorf("undone: %v", err)
	}
}
