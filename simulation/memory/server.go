package memory

import (
	"slices"
	"time"
)

// NoteServer compares the server with the one seen last. It returns true, once,
// where it has changed; claims then wait for so long, and no lease from before
// holds any more.
func (s *Store) NoteServer(now time.Time, rest time.Duration) bool {
	if s.seen == s.server {
		return false
	}
	s.seen, s.claimsFrom = s.server, now.Add(rest)
	s.epochFloor += 1_000_000
	return true
}

// sameServer says whether an epoch was given by the server that the database runs
// on, and that has been noted.
func (s *Store) sameServer(epoch int64) bool { return s.seen == s.server && epoch > s.epochFloor }

// Snapshot is everything in the database at one moment.
type Snapshot struct{ state }

// Snapshot copies everything in the database.
func (s *Store) Snapshot() *Snapshot {
	copied := s.state.clone()
	for i, t := range copied.tasks {
		copied.tasks[i] = t.clone()
	}
	return &Snapshot{copied}
}

// FailOver puts the database on another server, which has only what the snapshot
// holds. Nothing is claimed until [Store.NoteServer] has noticed and its settle
// time is over. The snapshot may be used again.
func (s *Store) FailOver(to *Snapshot) {
	standing := s.tasks
	s.state = to.state.clone()
	for i, t := range s.tasks {
		c := t.clone()
		if i < len(standing) { // pointers that were handed out show what is now
			*standing[i] = *c
			c = standing[i]
		}
		s.tasks[i] = c
	}
	s.server++
}

func (st state) clone() state {
	st.tasks = slices.Clone(st.tasks)
	st.orgs = slices.Clone(st.orgs)
	st.batches = slices.Clone(st.batches)
	st.customers = slices.Clone(st.customers)
	st.workers = slices.Clone(st.workers)
	return st
}

func (t *Task) clone() *Task {
	c := *t
	c.Rec.Images = slices.Clone(t.Rec.Images)
	c.Calls, c.Callers = slices.Clone(t.Calls), slices.Clone(t.Callers)
	return &c
}
