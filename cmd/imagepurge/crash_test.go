package main_test

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/imagepurge/imagepurge/capillary/sandbox"
)

var (
	kills    = flag.Int("crash.kills", 6, "kill -9 so many times")
	killSeed = flag.Uint64("crash.seed", 51, "of customers, faults and the moments of death")
)

// mishaps are faults within what the protocol assumes, with the settings of
// [world.quick]: a delete runs at most once, within the settle time, and a listing
// lags no longer than it may.
func mishaps(chance float64, kinds ...sandbox.Fault) sandbox.Faults {
	f := sandbox.Faults{Chance: make(map[sandbox.Fault]float64), LateBy: 800 * time.Millisecond, StaleBy: 150 * time.Millisecond, MaxPerCustomer: 3, HugeBytes: 64 << 20}
	for _, k := range kinds {
		f.Chance[k] = chance
	}
	return f
}

// lossy are the faults that leave a delete's outcome open.
var lossy = []sandbox.Fault{
	sandbox.FaultLostAnswer, sandbox.FaultLostRequest, sandbox.FaultLate, sandbox.FaultLateTimeout, sandbox.FaultServerErrorRan, sandbox.FaultServerErrorNotRun,
	sandbox.FaultHangRan, sandbox.FaultHangNotRun, sandbox.FaultCutBody, sandbox.FaultBusy, sandbox.Fault8080Ran, sandbox.Fault8080NotRun, sandbox.FaultStaleListing,
}

// crashWorld has a list, and named images of other customers.
func crashWorld(t *testing.T, seed uint64, n int) (w *world, batch int64) {
	crowd := people(seed, 2*n)
	w = newWorld(t, sandbox.Options{
		Seed: seed, Population: crowd, Latency: sandbox.LogNormalLatency(5*time.Millisecond, 60*time.Millisecond), Faults: mishaps(0.01, lossy...),
	}).quick().with("CAPILLARY_RATE_PER_MINUTE=6000")
	ids := everyone(crowd)
	batch = w.enqueue(ids[:n])
	for _, id := range ids[n:] {
		if c := w.api.Model().Initially(id); len(c.Images) > 2 {
			w.exec("INSERT INTO image_deletion_tasks (customer_id, image_tokens) VALUES ($1, $2)", id, w.tokens(id, 0, len(c.Images)-2))
		}
	}
	return w, batch
}

func TestKillNineAtAnyMoment(t *testing.T) {
	t.Parallel()
	n := 60 + 15**kills
	calm, _ := crashWorld(t, *killSeed, n)
	w, batch := crashWorld(t, *killSeed, n)
	undisturbed := calm.start("run", "--once")

	random := rand.New(rand.NewPCG(*killSeed, 0))
	killed := 0
	for killed < *kills {
		p := w.start("run", "--once")
		// So many requests of its life, and some milliseconds more.
		at := w.api.Journal().Len() + 1 + random.IntN(60)
		w.until("requests are made", func() bool { return !p.running() || w.api.Journal().Len() >= at })
		after(t, time.Duration(random.IntN(15_000))*time.Microsecond)
		if !p.running() {
			if p.wait().status == 1 { // a breaker on a busy machine
				continue
			}
			t.Logf("all was done after %d of %d kills", killed, *kills)
			break
		}
		p.signal(syscall.SIGKILL)
		<-p.done
		killed++
	}
	if killed < *kills*3/4 {
		t.Errorf("only %d kills of %d", killed, *kills)
	}
	w.toTheEnd()
	undisturbed.wait()
	calm.toTheEnd()
	if d := cmp.Diff(calm.came(0), w.came(0)); d != "" {
		t.Errorf("%d kills changed what it came to (-undisturbed +killed):\n%s", killed, tail(d))
	}
	for _, x := range []*world{calm, w} {
		x.wantHarmless(true)
		x.wantAtRest()
	}
	w.wantTruth(batch, everyone(people(*killSeed, 2*n))[:n])
	t.Logf("%d kills, %d customers, %d calls (undisturbed: %d), faults %v", killed, len(w.came(0)), w.api.Journal().Counters().Requests,
		calm.api.Journal().Counters().Requests, w.api.Journal().Counters().Faults)
	if b := w.must(0, "report", number(batch)); len(b.out) == 0 {
		t.Error("no report")
	}
}

func number(n int64) string { return fmt.Sprint(n) }
