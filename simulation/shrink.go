package simulation

import "slices"

// Shrunk is the shortest history of a violation that was found.
type Shrunk struct {
	Seed       uint64
	Size       Size
	Settings   string
	Lines      []string
	Violations []Violation
	Tried      int // nights
}

// Shrink looks for the shortest history that breaks the promise: of the same seed
// with fewer customers, workers and faults, and of other seeds of that size. It runs
// so many nights, at most.
func Shrink(seed uint64, size Size, p Promise, nights int) (*Shrunk, error) {
	m, err := newMaterial()
	if err != nil {
		return nil, err
	}
	s := &shrinker{material: m, promise: p, left: nights}
	s.best = s.tell(seed, size)
	if s.best == nil {
		return &Shrunk{Seed: seed, Size: size}, nil // not there: nothing to shrink
	}
	s.fewer()
	s.faults()
	if len(s.best.Lines) > 40 {
		s.others()
		s.fewer()
		s.faults()
	}
	s.best.Tried = nights - s.left
	return s.best, nil
}

type shrinker struct {
	*material
	promise Promise
	best    *Shrunk
	left    int // nights to run
	last    int // faults that the last night could have had
}

// tell runs one night; nil where it keeps the promise.
func (s *shrinker) tell(seed uint64, size Size) *Shrunk {
	s.left--
	w := newWorld(s.material, seed, size)
	var lines []string
	w.trace = func(line string) { lines = append(lines, line) }
	w.run()
	s.last = w.faults
	broken := w.judge()
	if !has(broken, s.promise) {
		return nil
	}
	return &Shrunk{Seed: seed, Size: size, Settings: w.night.String(), Lines: lines, Violations: broken}
}

// try keeps a night that breaks the promise in fewer lines.
func (s *shrinker) try(seed uint64, size Size) bool {
	if s.left <= 0 {
		return false
	}
	t := s.tell(seed, size)
	if t == nil || len(t.Lines) >= len(s.best.Lines) {
		return false
	}
	s.best = t
	return true
}

// fewer tries fewer customers and workers.
func (s *shrinker) fewer() {
	for customers := 1; customers <= 3; customers++ {
		for workers := 1; workers <= 3; workers++ {
			size := s.best.Size
			size.Customers, size.Workers = customers, workers
			if s.try(s.best.Seed, size) {
				return
			}
		}
	}
}

// faults leaves faults out: halves first, then single ones.
func (s *shrinker) faults() {
	s.tell(s.best.Seed, s.best.Size)
	keep := s.best.Size.Keep
	if keep == nil {
		for n := range s.last {
			keep = append(keep, n+1)
		}
	}
	for chunk := max(1, len(keep)/2); ; chunk /= 2 {
		for at := 0; at < len(keep) && s.left > 0; {
			without := slices.Concat(keep[:at], keep[min(len(keep), at+chunk):])
			size := s.best.Size
			size.Keep = append([]int{}, without...)
			if s.try(s.best.Seed, size) {
				keep = without
				continue
			}
			at += chunk
		}
		if chunk <= 1 {
			return
		}
	}
}

// others tries other seeds at the smallest sizes.
func (s *shrinker) others() {
	for seed := uint64(1); s.left > s.last && seed < 4000; seed++ {
		s.try(seed, Size{Customers: 1, Workers: 1 + int(seed%2)})
	}
}
