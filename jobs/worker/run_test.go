package worker_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/imagepurge/imagepurge/jobs"
	"github.com/imagepurge/imagepurge/jobs/worker"
)

// work runs the worker to its end.
func (s *shell) work() (worker.End, worker.Stats) {
	s.Helper()
	end, stats, err := worker.New(s.Options).Run(s.Context(), s.stop)
	if err != nil {
		s.Error(err)
	}
	return end, stats
}

func TestAWorkerPurgesItsCustomers(t *testing.T) {
	bubble(t, testConfig(), many(12), func(s *shell) {
		var last worker.Stats
		watched := 0
		s.Watch = func(now worker.Stats) { last, watched = now, watched+1 }
		s.answer = func(id jobs.TaskID, kind jobs.Kind) *jobs.Answer {
			if id == 12 {
				return &jobs.Answer{Class: jobs.ClassMerged, Code: "8069"}
			}
			return nil
		}
		end, stats := s.work()
		s.wantStates(map[jobs.State]int{jobs.Completed: 11, jobs.Review: 1})
		if end != worker.NothingLeft || stats.Finished[jobs.Completed] != 11 || stats.Finished[jobs.Review] != 1 || stats.ImagesDeleted != 25 {
			s.Errorf("%s, %+v", end, stats)
		}
		if stats.Lists+stats.Deletes != s.calls || stats.Calls != s.calls || stats.Deletes != 25 || !stats.Batches[1] || stats.InHand != 0 || stats.InFlight != 0 {
			s.Errorf("%d calls, %+v", s.calls, stats)
		}
		if seconds := int(time.Since(s.began).Seconds()); watched != seconds+1 || last.ImagesDeleted != 25 {
			s.Errorf("told %d times in %d seconds, %+v at last", watched, seconds, last)
		}
		if n, warned := s.log.count("level=INFO", `"task ended"`, "outcome=images_deleted"), s.log.count("level=WARN", `"task ended"`, "task=12", "state=review", "outcome=merged_customer"); n != 9 || warned != 1 {
			s.Errorf("told of %d purges, and %d times of the merged one:\n%s", n, warned, s.log.text.String())
		}
	})
}

// A stop gives everything back, however long the last calls take; the database has
// three seconds more.
func TestAStopIsOrderly(t *testing.T) {
	bubble(t, testConfig(), many(60), func(s *shell) {
		s.beforeCall = func(ctx context.Context) { pause(ctx, s.cfg.Purge.RequestTimeout) }
		s.after(7*time.Second, func() { close(s.stop) })
		end, stats := s.work()
		if end != worker.Stopped || stats.InHand != 0 || s.states()[jobs.Running] != 0 {
			s.Errorf("%s, %+v, tasks %v", end, stats, s.states())
		}
		if s.log.count("level=DEBUG", `"task given back"`) == 0 {
			s.Error("not a word of what was given back")
		}
		if took := time.Since(s.began); took > 12*time.Second+100*time.Millisecond {
			s.Errorf("it took until %v", took)
		}
	})
}

func TestAStopDoesNotWaitForADatabaseThatIsAway(t *testing.T) {
	bubble(t, testConfig(), []int{1, 1}, func(s *shell) {
		s.after(2*time.Second, func() { close(s.stop) })
		s.on = func(_ context.Context, name string) error {
			if time.Since(s.began) > 500*time.Millisecond {
				return errDown
			}
			return nil
		}
		end, stats, err := worker.New(s.Options).Run(s.Context(), s.stop)
		if end != worker.Stopped || err == nil || stats.InHand == 0 {
			s.Errorf("%s, %v, %d in hand", end, err, stats.InHand)
		}
		if took := time.Since(s.began); took != 2*time.Second+s.cfg.Purge.RequestTimeout+3*time.Second {
			s.Errorf("it took until %v", took)
		}
	})
}

func TestAKillEndsAtOnce(t *testing.T) {
	bubble(t, testConfig(), many(60), func(s *shell) {
		killed := errors.New("killed")
		ctx, cancel := context.WithCancelCause(s.Context())
		s.after(2*time.Second, func() { cancel(killed) })
		end, stats, err := worker.New(s.Options).Run(ctx, s.stop)
		if end != worker.Stopped || !errors.Is(err, killed) || stats.InHand == 0 || time.Since(s.began) != 2*time.Second {
			s.Errorf("%s, %v, %d in hand, after %v", end, err, stats.InHand, time.Since(s.began))
		}
	})
}

// A worker without work claims once a second, and looks after what all share every
// five.
func TestAnIdleWorkerMaintains(t *testing.T) {
	cfg := testConfig()
	cfg.Once = false
	bubble(t, cfg, nil, func(s *shell) {
		s.after(20500*time.Millisecond, func() { close(s.stop) })
		if end, _ := s.work(); end != worker.Stopped {
			s.Errorf("%s", end)
		}
		for name, want := range map[string]int{
			"ClaimTasks": 21, "NoteServer": 21, "Outlook": 21, "ReclaimTasks": 5, "SweepRests": 5, "FoldArrivals": 5, "Beat": 8,
			"RenewLeases": 0, "ReserveSlots": 0, "Write": 0,
		} {
			if got := len(s.sent(name)); got != want {
				s.Errorf("%s: %d times, want %d", name, got, want)
			}
		}
	})
}

func TestNothingIsClaimedUnlessWhatAllShareIsLookedAfter(t *testing.T) {
	for _, fails := range []string{"ReclaimTasks", "SweepRests", "FoldArrivals"} {
		t.Run(fails, func(t *testing.T) {
			bubble(t, testConfig(), []int{1}, func(s *shell) {
				s.on = func(_ context.Context, name string) error {
					if name == fails && time.Since(s.began) < 3*time.Second {
						return errDown
					}
					return nil
				}
				if end, _ := s.work(); end != worker.NothingLeft {
					s.Error(end)
				}
				if first := s.sent("ClaimTasks")[0]; first.at != 4*time.Second { // it is tried every two seconds
					s.Errorf("claimed after %v", first.at)
				}
				s.wantStates(map[jobs.State]int{jobs.Completed: 1})
				if a, b := s.log.count("level=ERROR", `"database failed`, errDown.Error()), s.log.count("level=INFO", `"database answered again"`); a != 1 || b != 1 {
					s.Errorf("said %d times that the database failed, %d times that it is back", a, b)
				}
			})
		})
	}
}

func TestLeasesThatRanOutAreTakenBackAndSaid(t *testing.T) {
	bubble(t, testConfig(), []int{1}, func(s *shell) {
		dead := s.cfg.Claim
		dead.Owner, dead.Limit, dead.Lease = "dead", 1, 3*time.Second
		s.store.ClaimTasks(s.began, dead)
		if end, _ := s.work(); end != worker.NothingLeft {
			s.Error(end)
		}
		s.wantStates(map[jobs.State]int{jobs.Completed: 1})
		if s.log.count("level=WARN", `"leases ran out`, "tasks=1") != 1 {
			s.Error(s.log.text.String())
		}
	})
}

// A fail-over is noticed where nothing can be claimed, and said once.
func TestAFailOverIsNoticed(t *testing.T) {
	bubble(t, testConfig(), []int{1}, func(s *shell) {
		s.store.FailOver(s.store.Snapshot())
		if end, _ := s.work(); end != worker.NothingLeft {
			s.Error(end)
		}
		s.wantStates(map[jobs.State]int{jobs.Completed: 1})
		rest := s.cfg.Purge.WorstCase()
		if s.sent("NoteServer")[0].age != rest || s.log.count("level=WARN", `"database server changed`, "wait="+rest.String()) != 1 {
			s.Error(s.log.text.String())
		}
		if took := time.Since(s.began); took < rest {
			s.Errorf("ended after %v", took)
		}
	})
}

func TestANoteOfTheServerThatFailsIsAClaimThatFails(t *testing.T) {
	bubble(t, testConfig(), nil, func(s *shell) {
		s.on = func(_ context.Context, name string) error {
			if name == "NoteServer" && time.Since(s.began) < 3*time.Second {
				return errDown
			}
			return nil
		}
		if end, _ := s.work(); end != worker.NothingLeft || time.Since(s.began) != 4*time.Second {
			s.Errorf("%s after %v", end, time.Since(s.began))
		}
	})
}

// Credentials may be mended in their file: they are read again before each probe, and
// before no other call.
func TestCredentialsAreReadBeforeAProbe(t *testing.T) {
	cfg := testConfig()
	cfg.Once = false
	bubble(t, cfg, many(60), func(s *shell) {
		mended, probes := false, 0
		s.BeforeProbe = func(context.Context) {
			probes++
			mended = probes == 2
		}
		s.answer = func(jobs.TaskID, jobs.Kind) *jobs.Answer {
			if !mended {
				return &jobs.Answer{Class: jobs.ClassRefused, HTTPStatus: 401, Code: "401"}
			}
			return nil
		}
		s.after(10*time.Minute, func() { close(s.stop) })
		s.work()
		if probes != 2 || s.breaker() != "" {
			s.Errorf("read %d times, breaker %q", probes, s.breaker())
		}
		if s.log.count("level=ERROR", `"breaker opened`, "reason=refused", "call=list", "http_status=401", "error_code=401") != 2 {
			s.Error(s.log.text.String())
		}
		s.wantStates(map[jobs.State]int{jobs.Completed: 60})
	})
}

// A bell that is rung makes an idle worker claim, and may be rung twice.
func TestABellIsHeard(t *testing.T) {
	cfg := testConfig()
	cfg.Once = false
	cfg.Purge.Random = func() float64 { return 0 } // no spread
	bubble(t, cfg, nil, func(s *shell) {
		s.Bell = worker.NewBell()
		s.Bell.Ring()
		s.after(time.Second, func() { s.Bell.Listening(true) })
		s.after(8500*time.Millisecond, s.Bell.Ring)
		s.after(15*time.Second, func() { close(s.stop) })
		s.work()
		var at []time.Duration
		for _, c := range s.sent("ClaimTasks") {
			at = append(at, c.at)
		}
		// At first it polls every second, then it rests on the bell for five.
		if want := []time.Duration{0, 0, time.Second, time.Second, 6 * time.Second, 8500 * time.Millisecond, 13500 * time.Millisecond}; !slices.Equal(at, want) {
			s.Errorf("claimed at %v, want %v", at, want)
		}
		if s.log.count("level=DEBUG", "told of work", "told=true") != 1 || s.log.count("told of work", "told=false") != 0 {
			s.Error(s.log.text.String())
		}
	})
}
