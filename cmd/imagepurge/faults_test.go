package main_test

import (
	"flag"
	"slices"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/imagepurge/imagepurge/capillary/sandbox"
)

var (
	faultSeed      = flag.Uint64("faults.seed", 61, "of customers and faults")
	faultCustomers = flag.Int("faults.customers", 160, "how many customers")
)

func TestEveryKindOfFault(t *testing.T) {
	t.Parallel()
	for mode, beyond := range map[string][]sandbox.Fault{
		// Beyond what is assumed of the outside, or what the mode can notice.
		"verified": {sandbox.FaultRunsTwice, sandbox.FaultTooManyRan},
		"economy":  {sandbox.FaultRunsTwice, sandbox.FaultTooManyRan, sandbox.FaultSuccessNotRun, sandbox.FaultStaleListing},
		"paranoid": {sandbox.FaultRunsTwice, sandbox.FaultTooManyRan, sandbox.FaultSuccessNotRun},
	} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			n := *faultCustomers
			if mode != "verified" {
				n /= 2
			}
			faults := mishaps(0, sandbox.AllFaults()...)
			faults.Chance, faults.Count = make(map[sandbox.Fault]float64), make(map[sandbox.Fault]int)
			for _, f := range sandbox.AllFaults() {
				if slices.Contains(beyond, f) {
					continue
				}
				faults.Count[f] = 2
				switch f {
				case sandbox.FaultTooMany: // each is a pause of seconds
					faults.Count[f] = 1
				case sandbox.FaultUnauthorized, sandbox.FaultForbidden, sandbox.FaultRedirect: // each opens the breaker
					faults.Count[f] = 1
				default:
					faults.Chance[f] = 0.004
				}
			}
			crowd := people(*faultSeed, n)
			w := newWorld(t, sandbox.Options{
				Seed: *faultSeed, Population: crowd, Latency: sandbox.LogNormalLatency(5*time.Millisecond, 60*time.Millisecond), Faults: faults,
				Others: sandbox.Others{Chance: map[sandbox.Deed]float64{sandbox.DeedUpload: 0.05}, MaxPerCustomer: 1},
			}).quick().with("IMAGEPURGE_MODE="+mode, "CAPILLARY_RATE_PER_MINUTE=6000")
			ids := everyone(crowd)
			batch := w.enqueue(ids)
			starts := w.toTheEnd()
			w.wantHarmless(true)
			w.wantOldTargets()
			for id, x := range w.tasks(batch) {
				want := w.due(id)
				if want.Outcome == "no_images" && x.New+x.Found > 0 { // uploaded meanwhile
					continue
				}
				if x.State != want.State || x.Outcome != want.Outcome || x.Found != x.Deleted || x.Found < want.Found {
					t.Errorf("customer %d: got %+v, want %+v\n%s", id, x, want, w.story(id))
				}
			}
			met := w.api.Journal().Counters().Faults
			for f := range faults.Count {
				if met[f] == 0 {
					t.Errorf("fault %s was never met", f)
				}
			}
			t.Logf("%d starts, %d faults, %d images uploaded meanwhile", starts, sum(met), w.api.Journal().Counters().ImagesAdded)
		})
	}
}

func sum(m map[sandbox.Fault]int) (n int) {
	for _, k := range m {
		n += k
	}
	return n
}

// wantOldTargets checks that no image was made a target which was uploaded after
// the first listing that came through.
func (w *world) wantOldTargets() {
	w.Helper()
	rows, err := w.pool.Query(w.Context(), `SELECT t.customer_id, min(c.answered_at) FROM image_calls c JOIN image_deletion_tasks t ON t.id = c.task_id
WHERE c.class = 'listed' GROUP BY 1`)
	if err != nil {
		w.Fatal(err)
	}
	images := w.images()
	var (
		customer int64
		listed   time.Time
	)
	_, err = pgx.ForEachRow(rows, []any{&customer, &listed}, func() error {
		for _, e := range w.api.Journal().Customer(customer) {
			for _, token := range e.Added {
				if im := images[customer][digest(token)]; e.ExecutedAt.After(listed) && im.State != "" && im.State != "bystander" {
					w.Errorf("customer %d: an image uploaded after the first listing, of %v, is %s\n%s", customer, listed.UTC(), im.State, w.story(customer))
				}
			}
		}
		return nil
	})
	if err != nil {
		w.Fatal(err)
	}
}

func TestBodiesThatNeverEnd(t *testing.T) {
	t.Parallel()
	crowd := present(62, 4, 2)
	w := newWorld(t, sandbox.Options{Seed: 62, Population: crowd}).
		with("IMAGEPURGE_REQUEST_TIMEOUT=2s", "IMAGEPURGE_SETTLE=2200ms", "IMAGEPURGE_LEASE=6s")
	ids := everyone(crowd)
	w.api.ScriptKind(ids[0], sandbox.KindDelete, []sandbox.Fault{sandbox.FaultHugeBody}) // a gigabyte
	w.api.ScriptKind(ids[1], sandbox.KindDelete, []sandbox.Fault{sandbox.FaultEndlessBody})
	w.api.ScriptKind(ids[2], sandbox.KindList, []sandbox.Fault{sandbox.FaultHugeBody})
	w.api.ScriptKind(ids[3], sandbox.KindList, []sandbox.Fault{sandbox.FaultEndlessBody})
	batch := w.enqueue(ids)
	p := w.start("run", "--once")
	most, unknown := 0, 0
	w.until("it has ended", func() bool {
		most = max(most, p.peak())
		unknown = max(unknown, w.count("SELECT count(*) FROM task_images WHERE state = 'unknown'"))
		return !p.running()
	})
	if unknown != 2 {
		t.Errorf("%d images were unknown; want both whose delete had such an answer", unknown)
	}
	if e := p.wait(); e.status != 0 {
		t.Errorf("%s", e)
	}
	w.wantTruth(batch, ids)
	w.wantHarmless(true)
	if n := w.count("SELECT count(*) FROM image_calls WHERE class = 'unknown'"); n != 4 {
		t.Errorf("%d calls are on record as unknown; want 4", n)
	}
	if most == 0 || most > 128<<10 {
		t.Errorf("%d kB of memory: the bodies were read", most)
	}
}
