package memory

import (
	"slices"
	"time"

	"github.com/imagepurge/imagepurge/jobs/budget"
)

// ReserveSlots is repository's: the row's rules are the budget's own.
func (s *Store) ReserveSlots(now time.Time, a budget.Ask) (b budget.Block) {
	row, b := s.key.Reserve(now, a)
	if s.paused {
		b.Slots, b.Stopped = 0, true
		s.key.OwedUntil = row.OwedUntil
		return b
	}
	s.key = row
	return b
}

// NoteOverLimit is repository's.
func (s *Store) NoteOverLimit(now time.Time, age, asked time.Duration) (l budget.Learnt) {
	s.key.Pace.Strikes = slices.Clone(s.key.Pace.Strikes) // a snapshot may have them
	s.key, l = s.key.OverLimit(now, age, asked)
	return l
}

// StepPace is repository's.
func (s *Store) StepPace(now time.Time) (l budget.Learnt) {
	s.key, l = s.key.Step(now)
	return l
}

// PinOrganization is repository's.
func (s *Store) PinOrganization(number int64) int64 {
	if s.remote == 0 {
		s.remote = number
	}
	return s.remote
}
