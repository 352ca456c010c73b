package worker_test

import (
	"context"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/imagepurge/imagepurge/jobs/worker"
)

func TestAWorkerSaysThatItIsThere(t *testing.T) {
	cfg := testConfig()
	cfg.Budget.PerMinute = 60
	bubble(t, cfg, []int{5, 5}, func(s *shell) {
		s.Config.Once = false
		s.store.Beat(s.began, worker.Beat{Worker: "other", Organization: 1})
		s.beforeCall = func(ctx context.Context) { pause(ctx, 1500*time.Millisecond) }
		s.on = func(_ context.Context, name string) error {
			if name == "Beat" && len(s.sent(name)) == 4 { // which changes nothing
				return errDown
			}
			return nil
		}
		s.after(10*time.Second+100*time.Millisecond, func() { close(s.stop) })
		_, stats := s.work()
		beats := s.sent("Beat")
		if len(beats) != 5 {
			s.Fatalf("%d beats", len(beats))
		}
		for i, b := range beats[:4] {
			if b.at != time.Duration(3*i)*time.Second || b.limit != 30*time.Second {
				s.Errorf("beat %d: after %v, with %v to go", i, b.at, b.limit)
			}
		}
		b := beats[2].beat
		if b.InHand != 2 || b.InFlight < 1 || b.Calls < 2 || b.Calls > 6 || b.Ended {
			s.Errorf("in the middle: %+v", b)
		}
		last := worker.Beat{Worker: "w", Organization: 1, Host: "here", PID: 77, Version: "v1", Calls: int64(stats.Calls), Ended: true}
		if diff := cmp.Diff(last, beats[4].beat); diff != "" {
			s.Errorf("the last (-want +got):\n%s", diff)
		}
		if want := (worker.Fleet{Live: 2, Sharing: 2}); stats.Fleet != want {
			s.Errorf("the fleet is %+v, want %+v", stats.Fleet, want)
		}
		if others := s.store.Beat(time.Now(), worker.Beat{Worker: "other", Organization: 1}); others.Live != 1 {
			s.Errorf("%d live after its last beat", others.Live)
		}
	})
}

// A beat that isn't answered holds nothing up: neither the work nor the next numbers,
// and at the end it is waited for no longer than a person waits.
func TestABeatThatHangsHoldsNothingUp(t *testing.T) {
	bubble(t, testConfig(), many(6), func(s *shell) {
		s.on = func(ctx context.Context, name string) error {
			if name != "Beat" {
				return nil
			}
			<-ctx.Done()
			return ctx.Err()
		}
		end, stats := s.work()
		beats := s.sent("Beat")
		took := time.Since(s.began)
		if end != worker.NothingLeft || took > 10*time.Second || stats.Fleet != (worker.Fleet{}) {
			s.Errorf("%s after %v, %+v", end, took, stats.Fleet)
		}
		if b := beats[len(beats)-1]; beats[1].at != b.at || !b.beat.Ended || b.limit != 3*time.Second || took != b.at+3*time.Second {
			s.Errorf("%d beats; the last after %v of %v, with %v to go: %+v", len(beats), b.at, took, b.limit, b.beat)
		}
		if s.log.count("level=DEBUG", `"the last heartbeat failed"`) != 1 {
			s.Error(s.log.text.String())
		}
	})
}

// The questions of those who share a key are spread, by how many they are.
func TestTheFleetSpreadsItsQuestions(t *testing.T) {
	t.Parallel()
	askedAgain := func(sharing int, err error) time.Duration {
		w := newWorld(t, 1, testConfig(), 1)
		w.told(worker.Started{})
		w.told(worker.Beaten{Fleet: worker.Fleet{Live: 1, Sharing: sharing}, Err: err})
		want[worker.ReserveSlots](t, w.told(worker.ClaimEnded{Records: w.claim(w.one())}))
		none := w.slots(0)
		none.Block.Again = time.Second
		for _, e := range w.told(none) {
			if e, ok := e.(worker.WakeAt); ok {
				return e.At.Sub(w.now)
			}
		}
		return 0
	}
	if alone, two, failed := askedAgain(1, nil), askedAgain(2, nil), askedAgain(2, errDown); alone != time.Second || two <= alone || failed != alone {
		t.Errorf("asked again after %v alone, %v beside another, %v where nobody knows", alone, two, failed)
	}
}
