package main_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/imagepurge/imagepurge/capillary/sandbox"
)

func TestRunKeepsToItsWindow(t *testing.T) {
	t.Parallel()
	crowd := present(141, 10, 1)
	w := newWorld(t, sandbox.Options{Seed: 141, Population: crowd})
	batch := w.enqueue(everyone(crowd))
	// A window that opens in six hours.
	opens := time.Now().UTC().Add(6 * time.Hour)
	closed := w.with(fmt.Sprintf("IMAGEPURGE_SCHEDULE=0 %d * * *", opens.Hour()), "IMAGEPURGE_WINDOW=1h")
	p := closed.start("run")
	w.until("it says what it waits for", func() bool { return strings.Contains(p.errOut.String(), "window closed") })
	for _, says := range []string{"the next opens " + opens.Format("2006-01-02 15:00"), "10 customers wait", "imagepurge run --once"} {
		if !strings.Contains(p.errOut.String(), says) {
			t.Errorf("does not say %q: %s", says, p)
		}
	}
	if e := closed.must(0, "status"); !strings.Contains(e.out, "limited by: window") {
		t.Errorf("%s", e)
	}
	p.stop()
	if n := w.api.Journal().Len(); n != 0 {
		t.Fatalf("%d calls outside of the window", n)
	}
	always := w.always()
	open := always.start("run")
	w.until("all is purged", func() bool {
		return w.count("SELECT count(*) FROM image_deletion_tasks WHERE state = 'completed'") == 10
	})
	w.enqueue(everyone(crowd)) // more work while it runs
	w.until("that is done, too", func() bool {
		return w.count("SELECT count(*) FROM image_deletion_tasks WHERE state = 'completed'") == 20
	})
	open.stop()
	if e := open.errOut.String(); !strings.Contains(e, "window open until") || !strings.Contains(e, "20 customers ended") || open.out.String() != "" {
		t.Errorf("%s", open)
	}
	w.wantTruth(batch, everyone(crowd))
	w.wantHarmless(true)
	// The schedule in use is that of the worker that was started last.
	hour := 0
	if _, err := fmt.Sscanf(always.env["IMAGEPURGE_SCHEDULE"], "0 %d", &hour); err != nil {
		t.Fatal(err)
	}
	if e := w.must(0, "schedule"); strings.Count(e.out, fmt.Sprintf(" %02d:00 UTC", hour)) < 10 || !strings.Contains(e.out, "these settings have another") {
		t.Errorf("%s", e)
	}
}
