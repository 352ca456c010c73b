package simulation

import (
	"runtime"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/imagepurge/imagepurge/jobs"
	"github.com/imagepurge/imagepurge/jobs/purge"
)

// Options of a series of nights.
type Options struct {
	First  uint64 // the first seed
	Nights int
	Size   Size
	// Bytes sends every answer through the client's decoder, not only the odd ones.
	Bytes bool
	// Until ends the series with the first night that breaks this promise; empty:
	// with the first that breaks any.
	Until Promise
	// Cores bounds how many nights run at a time; 0: one for each core.
	Cores int
	// Progress is called now and then from several goroutines; nil: nobody is told.
	Progress func(nights int)
}

// Found is a night that broke promises.
type Found struct {
	Seed       uint64
	Size       Size
	Violations []Violation
}

// Report is what a series of nights came to.
type Report struct {
	Nights, Customers, Tasks int
	Steps, Calls, Deletes    int
	Faults                   map[string]int
	Outcomes                 map[jobs.Outcome]int
	Transitions              map[purge.Transition]int
	Found                    *Found // the first by seed; nil: none
}

func newReport() *Report {
	return &Report{Faults: make(map[string]int), Outcomes: make(map[jobs.Outcome]int), Transitions: make(map[purge.Transition]int)}
}

func (r *Report) add(o *Report) {
	r.Nights += o.Nights
	r.Customers += o.Customers
	r.Tasks += o.Tasks
	r.Steps += o.Steps
	r.Calls += o.Calls
	r.Deletes += o.Deletes
	for k, n := range o.Faults {
		r.Faults[k] += n
	}
	for k, n := range o.Outcomes {
		r.Outcomes[k] += n
	}
	for k, n := range o.Transitions {
		r.Transitions[k] += n
	}
	if o.Found != nil && (r.Found == nil || o.Found.Seed < r.Found.Seed) {
		r.Found = o.Found
	}
}

func (r *Report) count(w *world) {
	r.Nights++
	r.Customers += w.customers
	r.Tasks += len(w.tasks)
	r.Steps += w.steps
	r.Calls += w.hist.calls
	for _, x := range w.hist.removed {
		if x.by != 0 {
			r.Deletes++
		}
	}
	for k, n := range w.hist.faults {
		r.Faults[k] += n
	}
	for _, t := range w.store.Tasks() {
		r.Outcomes[t.Outcome]++
	}
}

// Nights runs a series of nights on all cores and returns what they came to. It
// ends early with a broken promise.
func Nights(o Options) (*Report, error) {
	m, err := newMaterial()
	if err != nil {
		return nil, err
	}
	if o.Cores <= 0 {
		o.Cores = runtime.GOMAXPROCS(0)
	}
	var (
		next, ended atomic.Int64
		stop        atomic.Bool
		mu          sync.Mutex
		group       sync.WaitGroup
		all         = newReport()
	)
	for range o.Cores {
		group.Go(func() {
			mine := newReport()
			for !stop.Load() {
				n := next.Add(1) - 1
				if n >= int64(o.Nights) {
					break
				}
				if f := m.night(o, o.First+uint64(n), mine); f != nil {
					mine.Found = f
					stop.Store(true)
				}
				if done := ended.Add(1); done%64 == 0 && o.Progress != nil {
					o.Progress(int(done))
				}
			}
			mu.Lock()
			all.add(mine)
			mu.Unlock()
		})
	}
	group.Wait()
	return all, nil
}

// night runs one, and returns it where it broke what is looked for.
func (m *material) night(o Options, seed uint64, r *Report) *Found {
	w := newWorld(m, seed, o.Size)
	w.bytes = o.Bytes
	w.watch = func(t purge.Transition) { r.Transitions[t]++ }
	w.run()
	r.count(w)
	broken := w.judge()
	for _, v := range broken {
		if o.Until == "" || v.Promise == o.Until {
			return &Found{Seed: seed, Size: o.Size, Violations: broken}
		}
	}
	return nil
}

// Tell replays one night and returns its history, line by line.
func Tell(seed uint64, size Size) (settings string, lines []string, broken []Violation, err error) {
	m, err := newMaterial()
	if err != nil {
		return "", nil, nil, err
	}
	w := newWorld(m, seed, size)
	w.trace = func(line string) { lines = append(lines, line) }
	w.run()
	return w.night.String(), lines, w.judge(), nil
}

// has says whether the violations break the promise.
func has(broken []Violation, p Promise) bool {
	return slices.ContainsFunc(broken, func(v Violation) bool { return v.Promise == p })
}
