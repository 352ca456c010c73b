package worker_test

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/imagepurge/imagepurge/jobs"
	"github.com/imagepurge/imagepurge/jobs/purge"
	"github.com/imagepurge/imagepurge/jobs/worker"
)

// What gathers while two commits are under way is one commit, of 128 writes at most.
func TestWritesShareCommits(t *testing.T) {
	cfg := testConfig()
	cfg.Budget.PerMinute, cfg.Budget.Concurrency = 60000, 1000
	bubble(t, cfg, make([]int, 512), func(s *shell) {
		under, most := 0, 0
		s.on = func(ctx context.Context, name string) error {
			if name != "Write" {
				return nil
			}
			s.mu.Lock()
			under++
			most = max(most, under)
			s.mu.Unlock()
			err := pause(ctx, 5*time.Second)
			s.mu.Lock()
			under--
			s.mu.Unlock()
			return err
		}
		s.work()
		s.wantStates(map[jobs.State]int{jobs.Completed: 512})
		largest := 0
		for _, w := range s.sent("Write") {
			largest = max(largest, len(w.writes))
		}
		if largest != 128 || most != 2 {
			s.Errorf("%d writes in one commit, %d commits at a time", largest, most)
		}
	})
}

// An answer is written again and again, until it is known what became of it; an intent
// is given up.
func TestAWriteThatNobodyKnowsOf(t *testing.T) {
	for _, c := range []struct {
		of   purge.WriteKind
		lost bool // its commit's answer, not the write
	}{
		{of: purge.WriteProgress}, {of: purge.WriteProgress, lost: true}, {of: purge.WriteFinish}, {of: purge.WriteFinish, lost: true},
		{of: purge.WriteIntent}, {of: purge.WriteIntent, lost: true},
	} {
		t.Run(fmt.Sprintf("%s, lost: %v", c.of, c.lost), func(t *testing.T) {
			bubble(t, testConfig(), []int{2}, func(s *shell) {
				failed := 0
				s.fails = func(writes []purge.Write) (before, after error) {
					if writes[0].Kind != c.of || failed >= 9 || c.of == purge.WriteIntent && failed > 0 {
						return nil, nil
					}
					if failed++; c.lost {
						return nil, errDown
					}
					return errDown, nil
				}
				if end, stats := s.work(); end != worker.NothingLeft || s.deletes != 2 || stats.DatabaseFail != nil {
					s.Errorf("%s after %d DELETEs, %v", end, s.deletes, stats.DatabaseFail)
				}
				s.wantStates(map[jobs.State]int{jobs.Completed: 1})
				if task := s.store.Task(1); task.Outcome != jobs.ImagesDeleted || task.Deleted != 2 {
					s.Errorf("ended as %s with %d images deleted", task.Outcome, task.Deleted)
				}
				var sent []purge.Write
				var gaps []time.Duration
				var last time.Duration
				for _, w := range s.sent("Write") {
					if w := w.writes[0]; w.Kind != c.of || len(sent) > 0 && w.Counters.Sequence != sent[0].Counters.Sequence {
						continue
					}
					if sent = append(sent, w.writes[0]); len(sent) > 1 {
						gaps = append(gaps, w.at-last)
					}
					last = w.at
				}
				ms := time.Millisecond
				want := []time.Duration{0, 100 * ms, 200 * ms, 400 * ms, 800 * ms, 1600 * ms, 3200 * ms, 5000 * ms, 5000 * ms}
				if c.of == purge.WriteIntent {
					want = nil
				}
				if !slices.Equal(gaps, want) {
					s.Errorf("repeated after %v, want %v", gaps, want)
				}
				if n := s.log.count("level=ERROR", `"an answer could not be written`, "task=1"); n != len(want)/9 {
					s.Errorf("said %d times", n)
				}
			})
		})
	}
}

// A write that a constraint forbids is never repeated: its task is left to its lease.
func TestAWriteThatTheDatabaseRefuses(t *testing.T) {
	bubble(t, testConfig(), []int{0, 0}, func(s *shell) {
		refused := 0
		s.fails = func(writes []purge.Write) (before, after error) {
			for _, w := range writes {
				if w.Task == 1 && w.Epoch == 1 {
					refused++
					return fmt.Errorf("constraint: %w", worker.ErrRefusedByDatabase), nil
				}
			}
			return nil, nil
		}
		s.work()
		s.wantStates(map[jobs.State]int{jobs.Completed: 2})
		if got := s.store.Task(1).Rec.Epoch; got != 2 || refused != 2 {
			s.Errorf("ended by claim %d, after %d tries", got, refused)
		}
		if s.log.count("level=ERROR", `"the database refused a write`, "task=1", "kind=finish") != 1 || s.log.count("could not be written") != 0 {
			s.Error(s.log.text.String())
		}
	})
}

// What is not written when the worker is killed is not insisted on for ever.
func TestAKillEndsInsisting(t *testing.T) {
	bubble(t, testConfig(), []int{0}, func(s *shell) {
		s.fails = func([]purge.Write) (before, after error) { return errDown, nil }
		ctx, cancel := context.WithTimeout(s.Context(), 10*time.Second)
		defer cancel()
		if _, _, err := worker.New(s.Options).Run(ctx, s.stop); err == nil || time.Since(s.began) != 10*time.Second {
			s.Errorf("%v after %v", err, time.Since(s.began))
		}
	})
}
