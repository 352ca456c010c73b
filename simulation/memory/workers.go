package memory

import (
	"slices"
	"time"

	"github.com/imagepurge/imagepurge/jobs/worker"
)

// workerRow is what a row of workers says of who is there.
type workerRow struct {
	name         string
	organization int64
	seen         time.Time
	ended        bool
}

// liveFor is how long a worker counts after its last beat.
const liveFor = 15 * time.Second

// Beat notes that a worker is there, or has ended, and says how many of its
// organisation there are.
func (s *Store) Beat(now time.Time, b worker.Beat) worker.Fleet {
	i := slices.IndexFunc(s.workers, func(r workerRow) bool { return r.name == b.Worker })
	if i < 0 {
		s.workers = append(s.workers, workerRow{name: b.Worker, organization: b.Organization})
		i = len(s.workers) - 1
	}
	s.workers[i].seen, s.workers[i].ended = now, b.Ended
	var f worker.Fleet
	for _, r := range s.workers {
		if r.organization == b.Organization && !r.ended && now.Sub(r.seen) < liveFor {
			f.Live++
		}
	}
	f.Sharing = f.Live // it plays one organisation
	return f
}
