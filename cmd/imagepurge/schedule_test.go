package main_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/imagepurge/imagepurge/capillary/sandbox"
)

// Without a database the schedule of the settings is shown, and none is made for it.
func TestScheduleOfTheSettings(t *testing.T) {
	t.Parallel()
	w := newWorldOn(t, sandbox.Options{Population: present(181, 1, 1)}, "")
	tomorrow := time.Now().UTC().AddDate(0, 0, 1).Format(time.DateOnly)
	file := w.file("settings.yaml", `timezone: Europe/Berlin
windows:
  - schedule: "0 1 * * *"
    window: 5h
  - schedule: "0 12 * * 6"
    window: 90m
blackout: [`+tomorrow+`]
`)
	type row struct {
		Organization  string
		OpensAt       time.Time `json:"opens_at"`
		Local         string
		LengthSeconds float64 `json:"length_seconds"`
		Entry         int
		Skipped, Open bool
		Clocks        string
	}
	e := w.must(0, "schedule", "--config", file, "-n", "450", "-o", "json")
	rows := parse[[]row](w, e.out)
	var windows, skipped, forward, back, saturdays int
	for _, r := range rows {
		switch {
		case r.Skipped:
			skipped++
			if !strings.Contains(r.Local, tomorrow) {
				t.Errorf("skipped: %+v", r)
			}
			continue
		case r.Clocks == "forward":
			forward++
		case r.Clocks == "back":
			back++
		}
		windows++
		want := 5 * time.Hour
		if r.Entry == 2 {
			saturdays++
			want = 90 * time.Minute
		}
		// The day before tomorrow ends at its midnight: no window of these reaches it.
		if got := time.Duration(r.LengthSeconds) * time.Second; got != want {
			t.Errorf("%+v lasts %v, want %v", r, got, want)
		}
	}
	if windows != 450 || skipped == 0 || forward < 1 || back < 1 || saturdays < 50 {
		t.Errorf("%d windows, %d skipped, clocks forward %d and back %d times, %d Saturdays", windows, skipped, forward, back, saturdays)
	}
	e = w.must(0, "schedule", "--config", file, "-n", "450")
	for _, says := range []string{
		"default: 0 1 * * * for 5h0m0s; 0 12 * * 6 for 1h30m0s; in Europe/Berlin; not on " + tomorrow, "blackout date: does not open",
		"clocks go back: 5 h 00 real", "clocks go forward: 5 h 00 real", "1 h 30", "2: 0 12 * * 6",
	} {
		if !strings.Contains(e.out, says) {
			t.Errorf("does not say %q: %s", says, e)
		}
	}
	if e := w.must(2, "schedule", "--organization", "nobody"); !strings.Contains(e.err, "nobody") {
		t.Errorf("%s", e)
	}
	w.must(2, "schedule", "-n", "0")
	file = w.file("overlap.yaml", "windows:\n- {schedule: 0 1 * * *, window: 5h}\n- {schedule: 0 5 * * *, window: 1h}\n")
	if e := w.must(1, "schedule", "--config", file); !strings.Contains(e.err, "windows[1] ("+file+":3)") || !strings.Contains(e.err, "windows[0] ("+file+":2)") {
		t.Errorf("%s", e)
	}
}

// A window's end: nothing is in doubt, every lease is given back, and the run is
// ended by one of the workers that shared it.
func TestAWindowsEndLeavesNothingInDoubt(t *testing.T) {
	t.Parallel()
	crowd := present(182, 400, 2)
	w := newWorld(t, sandbox.Options{Seed: 182, Population: crowd, Latency: sandbox.UniformLatency(50*time.Millisecond, 200*time.Millisecond)}).
		with("IMAGEPURGE_SCHEDULE=* * * * *", "IMAGEPURGE_WINDOW=15s", "CAPILLARY_RATE_PER_MINUTE=900")
	w.enqueue(everyone(crowd))
	one, two := w.start("run"), w.start("run")
	completed := func() int {
		return w.count("SELECT count(*) FROM image_deletion_tasks WHERE state = 'completed'")
	}
	// They may have been started at the end of a window, or in one that a busy machine
	// gives no time: then the next one shows it.
	w.until("customers end in a run that both share", func() bool {
		return completed() > 0 && strings.Contains(one.errOut.String()+two.errOut.String(), "run was joined")
	})
	for _, p := range []*process{one, two} {
		w.until("a window is over", func() bool { return strings.Contains(p.errOut.String(), "customers ended") })
	}
	w.until("no run is open", func() bool { return w.count("SELECT count(*) FROM schedule_runs WHERE ended_at IS NULL") == 0 })
	one.stop()
	two.stop()
	for what, query := range map[string]string{
		"tasks in hand":    "SELECT count(*) FROM image_deletion_tasks WHERE state = 'running' OR lease_owner IS NOT NULL",
		"images in doubt":  "SELECT count(*) FROM task_images WHERE state IN ('intended', 'unknown')",
		"customers leased": "SELECT count(*) FROM customer_leases WHERE lease_until > clock_timestamp()",
		"runs too long":    "SELECT count(*) FROM schedule_runs WHERE closes_at - tick <> interval '15 seconds' OR extract(second FROM tick) <> 0",
		"late intents": `SELECT count(*) FROM image_calls c WHERE c.kind = 'delete' AND c.sent_at IS NOT NULL AND NOT EXISTS (
			SELECT FROM schedule_runs r WHERE c.sent_at >= r.tick AND c.sent_at < r.closes_at + interval '5 seconds')`,
	} {
		if n := w.count(query); n != 0 {
			t.Errorf("%s: %d", what, n)
		}
	}
	if completed() == len(everyone(crowd)) {
		t.Error("all was done before the window's end: it says nothing")
	}
	w.wantHarmless(true)
}

// While a run is open a worker is started with another schedule: it joins the run,
// the others adopt the schedule within seconds, and no run is added.
func TestAnotherScheduleWaitsForTheOpenRunsEnd(t *testing.T) {
	t.Parallel()
	crowd := present(183, 10, 1)
	w := newWorld(t, sandbox.Options{Seed: 183, Population: crowd})
	hour := time.Now().UTC()
	// It opened up to an hour ago, before any worker ran: it is caught up.
	open := w.with(fmt.Sprintf("IMAGEPURGE_SCHEDULE=0 %d * * *", hour.Hour()), "IMAGEPURGE_WINDOW=20h")
	one := open.start("run")
	w.until("the run is open", func() bool { return w.count("SELECT count(*) FROM schedule_runs") == 1 })
	other := w.with(fmt.Sprintf("IMAGEPURGE_SCHEDULE=0 %d * * *", hour.Add(-2*time.Hour).Hour()), "IMAGEPURGE_WINDOW=1h")
	two := other.start("run")
	w.until("the second joins it", func() bool { return strings.Contains(two.errOut.String(), "run was joined") })
	began := time.Now()
	w.until("the first adopts the schedule", func() bool { return strings.Contains(one.errOut.String(), "started with another schedule") })
	t.Logf("adopted %v after the start was seen", time.Since(began).Round(10*time.Millisecond))
	one.stop()
	w.enqueue(everyone(crowd)) // by the second alone, in the run that its own schedule doesn't have
	w.until("all is purged", func() bool {
		return w.count("SELECT count(*) FROM image_deletion_tasks WHERE state = 'completed'") == 10
	})
	if e := other.must(0, "schedule"); !strings.Contains(e.out, "of the schedule before") || !strings.Contains(e.out, "open") || !strings.Contains(e.out, "in use since") {
		t.Errorf("%s", e)
	}
	if e := other.must(0, "status"); !strings.Contains(e.out, "window open until") {
		t.Errorf("%s", e)
	}
	w.must(0, "pause", "--reason", "a look")
	if e := other.must(0, "schedule"); !strings.Contains(e.out, "paused since") {
		t.Errorf("%s", e)
	}
	two.stop()
	if n := w.count("SELECT count(*) FROM schedule_runs"); n != 1 {
		t.Errorf("%d runs, want one", n)
	}
	if n := w.count("SELECT count(*) FROM audit_entries WHERE action = 'schedule.change'"); n != 1 {
		t.Errorf("%d entries of the audit log, want one", n)
	}
}
