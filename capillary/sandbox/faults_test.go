package sandbox_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/imagepurge/imagepurge/capillary/sandbox"
)

// Each fault on a DELETE: what the caller sees, and what truly happened.
func TestFaultsOfADelete(t *testing.T) {
	t.Parallel()
	closed := func(a answer) bool { return a.err != nil && a.status == 0 }
	status := func(want ...int) func(answer) bool {
		return func(a answer) bool {
			for _, s := range want {
				if a.status == s && a.err == nil {
					return true
				}
			}
			return false
		}
	}
	html := func(s int) func(answer) bool {
		return func(a answer) bool {
			return a.status == s && a.err == nil && strings.Contains(string(a.raw), "<html>") &&
				strings.HasPrefix(a.header.Get("Content-Type"), "text/html")
		}
	}
	says8080 := func(a answer) bool { return strings.Contains(string(a.raw), "8080") && a.err == nil }
	for _, c := range []struct {
		fault    sandbox.Fault
		ran      bool
		answered bool
		sees     func(answer) bool
	}{
		{sandbox.FaultLostAnswer, true, false, closed},
		{sandbox.FaultLostRequest, false, false, closed},
		{sandbox.FaultServerErrorRan, true, true, status(500, 502, 503, 504)},
		{sandbox.FaultServerErrorNotRun, false, true, status(500, 502, 503, 504)},
		{sandbox.FaultBare521Ran, true, true, html(521)},
		{sandbox.FaultBare521NotRun, false, true, html(521)},
		{sandbox.FaultHTMLRan, true, true, html(200)},
		{sandbox.FaultHTMLNotRun, false, true, html(200)},
		{sandbox.FaultCutBody, true, false, func(a answer) bool {
			return a.status == 200 && errors.Is(a.err, io.ErrUnexpectedEOF) && len(a.raw) > 0
		}},
		{sandbox.FaultBusy, false, true, func(a answer) bool { return cmp.Equal(a.codes("warnings"), []int{521}) }},
		{sandbox.FaultTooMany, false, true, status(429)},
		{sandbox.FaultTooManyRan, true, true, status(429)},
		{sandbox.FaultUnauthorized, false, true, status(401)},
		{sandbox.FaultForbidden, false, true, status(403)},
		{sandbox.FaultRedirect, false, true, func(a answer) bool {
			return status(301, 302, 303, 307, 308)(a) && strings.HasSuffix(a.header.Get("Location"), "deleteImage?image_ids=1")
		}},
		{sandbox.Fault8080Ran, true, true, says8080},
		{sandbox.Fault8080NotRun, false, true, says8080},
		{sandbox.FaultSuccessNotRun, false, true, func(a answer) bool { return cmp.Equal(a.codes("data"), []int{200}) }},
	} {
		t.Run(string(c.fault), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, sandbox.Options{})
			// Several customers, since a fault takes several forms.
			for i := range int64(8) {
				id := id + i
				w.put(id, 3)
				w.srv.ScriptKind(id, sandbox.KindDelete, []sandbox.Fault{c.fault})
				if a := w.delete(id, 1); !c.sees(a) {
					t.Fatalf("customer %d: status %d, error %v, body %s", id, a.status, a.err, a.raw)
				}
				left := tokens(id, 0, 1, 2)
				if c.ran {
					left = tokens(id, 0, 2)
				}
				if diff := cmp.Diff(w.truth(id), left); diff != "" {
					t.Fatalf("images (-got +want):\n%s", diff)
				}
				e := w.lastEntry()
				if e.Fault != c.fault || e.Executed != c.ran || e.Answered != c.answered || (len(e.Removed) == 1) != c.ran ||
					e.ExecutedAt.IsZero() == c.ran || e.Before != 3 || e.After != len(left) || e.Ordinal != 1 {
					t.Fatalf("entry %+v", e)
				}
				if a := w.delete(id, 0); a.err != nil || !cmp.Equal(a.codes("data"), []int{200}) {
					t.Fatalf("the fault does not end: %+v", a)
				}
			}
			if got := w.srv.Stats().Faults[c.fault]; got != 8 {
				t.Errorf("stats count %d faults, want 8", got)
			}
		})
	}
}

func TestBothFormsOfAClosedConnection(t *testing.T) {
	t.Parallel()
	w := newWorld(t, sandbox.Options{})
	seen := map[string]int{}
	for i := range int64(20) {
		w.srv.Script(id+i, []sandbox.Fault{sandbox.FaultLostRequest})
		a := w.list(id + i)
		switch {
		case errors.Is(a.err, io.EOF):
			seen["end"]++
		case a.err != nil && strings.Contains(a.err.Error(), "reset"):
			seen["reset"]++
		default:
			t.Fatalf("status %d, error %v", a.status, a.err)
		}
	}
	if seen["end"] == 0 || seen["reset"] == 0 {
		t.Errorf("seen %v", seen)
	}
}

func TestLateExecution(t *testing.T) {
	t.Parallel()
	for _, fault := range []sandbox.Fault{sandbox.FaultLate, sandbox.FaultLateTimeout} {
		t.Run(string(fault), func(t *testing.T) {
			t.Parallel()
			clock := newClock()
			w := withImages(t, 3, sandbox.Options{Now: clock.Now, Sleep: clock.Sleep,
				Faults: sandbox.Faults{LateBy: 10 * time.Second}})
			w.srv.ScriptKind(id, sandbox.KindDelete, []sandbox.Fault{fault})
			a := w.delete(id, 1)
			if timeout := fault == sandbox.FaultLateTimeout; timeout != (a.status == 504) || timeout != (a.err == nil) {
				t.Fatalf("status %d, error %v", a.status, a.err)
			}
			delay := <-clock.asleep
			if delay < 5*time.Second || delay > 10*time.Second {
				t.Errorf("delay %v, want 5 to 10 s", delay)
			}
			if w.srv.Pending() != 1 || len(w.truth(id)) != 3 || w.srv.Journal().Len() != 0 {
				t.Fatalf("executed at once: %v", w.truth(id))
			}
			// Meanwhile the indexes shift: what runs late hits another image.
			w.delete(id, 0)
			received := clock.Now()
			clock.Advance(delay)
			settle(t, w.srv)
			if diff := cmp.Diff(w.truth(id), tokens(id, 1)); diff != "" {
				t.Errorf("images (-got +want):\n%s", diff)
			}
			e := w.lastEntry()
			if e.Fault != fault || !e.Executed || !e.ReceivedAt.Equal(received) || !e.ExecutedAt.Equal(received.Add(delay)) ||
				!cmp.Equal(e.Removed, []sandbox.Removal{{Token: token(id, 2), Position: 1}}) || e.Ordinal != 1 {
				t.Errorf("entry %+v", e)
			}
		})
	}
}

func TestCloseDropsWhatIsStillToRun(t *testing.T) {
	t.Parallel()
	clock := newClock()
	w := withImages(t, 1, sandbox.Options{Now: clock.Now, Sleep: clock.Sleep})
	w.srv.Script(id, []sandbox.Fault{sandbox.FaultLate})
	w.delete(id, 0)
	w.srv.Close()
	if e := w.lastEntry(); e.Executed || len(w.truth(id)) != 1 || w.srv.Pending() != 0 {
		t.Errorf("entry %+v, images %v", e, w.truth(id))
	}
}

func TestHangingAnswers(t *testing.T) {
	t.Parallel()
	for fault, left := range map[sandbox.Fault]int{sandbox.FaultHangRan: 1, sandbox.FaultHangNotRun: 2} {
		// The caller gives up once the server has done what it will.
		ctx, cancel := context.WithCancel(context.Background())
		w := withImages(t, 2, sandbox.Options{JournalTo: writerFunc(cancel)})
		w.srv.Script(id, []sandbox.Fault{fault})
		a := w.doContext(ctx, "DELETE", fmt.Sprintf("/v2/customers/%d/deleteImage?image_ids=0", id), nil)
		cancel()
		if !errors.Is(a.err, context.Canceled) {
			t.Errorf("%s: status %d, error %v", fault, a.status, a.err)
		}
		if e := w.lastEntry(); len(w.truth(id)) != left || e.Answered || e.Executed != (left == 1) || e.Status != 0 {
			t.Errorf("%s: images %v, entry %+v", fault, w.truth(id), e)
		}
	}
}

// writerFunc is called for each journal entry.
type writerFunc func()

func (f writerFunc) Write(p []byte) (int, error) {
	f()
	return len(p), nil
}

func TestLongBodies(t *testing.T) {
	t.Parallel()
	const huge = 3 << 20
	w := withImages(t, 3, sandbox.Options{Faults: sandbox.Faults{HugeBytes: huge}})
	for _, fault := range []sandbox.Fault{sandbox.FaultHugeBody, sandbox.FaultEndlessBody} {
		w.srv.Script(id, []sandbox.Fault{fault})
		r, _ := http.NewRequest("DELETE", fmt.Sprintf("%s/v2/customers/%d/deleteImage?image_ids=0", w.url, id), nil)
		r.Header = w.header.Clone()
		res, err := w.client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		n, err := io.Copy(io.Discard, io.LimitReader(res.Body, 2*huge))
		res.Body.Close()
		want, length := int64(huge), int64(huge)
		if fault == sandbox.FaultEndlessBody {
			want, length = 2*huge, -1 // where we stopped reading
		}
		if err != nil || n != want || res.ContentLength != length || res.StatusCode != 200 {
			t.Errorf("%s: %d bytes, Content-Length %d, status %d, error %v", fault, n, res.ContentLength, res.StatusCode, err)
		}
		if e := w.lastEntry(); e.Fault != fault || !e.Executed || e.Answered || len(e.Removed) != 1 {
			t.Errorf("entry %+v", e)
		}
	}
}

func TestRepeatedByAGateway(t *testing.T) {
	t.Parallel()
	w := withImages(t, 3, sandbox.Options{})
	w.srv.Script(id, []sandbox.Fault{sandbox.FaultRunsTwice})
	if a := w.delete(id, 0); !cmp.Equal(a.codes("data"), []int{200}) {
		t.Errorf("body %s", a.raw)
	}
	if diff := cmp.Diff(w.truth(id), tokens(id, 2)); diff != "" {
		t.Errorf("images (-got +want):\n%s", diff)
	}
}

func TestStaleListings(t *testing.T) {
	t.Parallel()
	clock := newClock()
	w := withImages(t, 3, sandbox.Options{Now: clock.Now, Faults: sandbox.Faults{StaleBy: 10 * time.Second}})
	stale := func() []string {
		w.srv.Script(id, []sandbox.Fault{sandbox.FaultStaleListing})
		return w.list(id).listed(t)
	}
	w.delete(id, 0)
	clock.Advance(6 * time.Second)
	w.delete(id, 0)
	clock.Advance(3 * time.Second) // the first delete was 9 s ago, the second 3 s
	if diff := cmp.Diff(stale(), tokens(id, 0, 1, 2)); diff != "" {
		t.Errorf("10 s ago (-got +want):\n%s", diff)
	}
	clock.Advance(2 * time.Second)
	if diff := cmp.Diff(stale(), tokens(id, 1, 2)); diff != "" {
		t.Errorf("10 s ago, 2 s later (-got +want):\n%s", diff)
	}
	if diff := cmp.Diff(w.list(id).listed(t), tokens(id, 2)); diff != "" {
		t.Errorf("a listing without the fault (-got +want):\n%s", diff)
	}
	clock.Advance(5 * time.Second)
	if diff := cmp.Diff(stale(), tokens(id, 2)); diff != "" {
		t.Errorf("after all (-got +want):\n%s", diff)
	}
}

func TestListingLagIsBounded(t *testing.T) {
	t.Parallel()
	clock := newClock()
	w := newWorld(t, sandbox.Options{Now: clock.Now, ListingLag: 4 * time.Second})
	old := 0
	for i := range int64(40) {
		w.put(id+i, 1)
		w.delete(id+i, 0)
		clock.Advance(2 * time.Second)
		old += len(w.list(id + i).listed(t))
		clock.Advance(2 * time.Second)
		if got := w.list(id + i).listed(t); len(got) != 0 {
			t.Fatalf("still listed after the longest lag: %v", got)
		}
	}
	if old < 8 || old > 32 {
		t.Errorf("%d of 40 listings were stale at half the longest lag", old)
	}
}

func TestFaultsOfAListing(t *testing.T) {
	t.Parallel()
	w := withImages(t, 2, sandbox.Options{})
	w.srv.Script(id, []sandbox.Fault{sandbox.FaultLostAnswer, sandbox.FaultCutBody, sandbox.NoFault, sandbox.FaultHTMLRan})
	if a := w.list(id); a.err == nil {
		t.Errorf("first: %d", a.status)
	}
	if a := w.list(id); !errors.Is(a.err, io.ErrUnexpectedEOF) {
		t.Errorf("second: %d %v", a.status, a.err)
	}
	if got := w.list(id).listed(t); len(got) != 2 {
		t.Errorf("third: %v", got)
	}
	if a := w.list(id); a.body != nil || a.status != 200 {
		t.Errorf("fourth: %d %s", a.status, a.raw)
	}
}

func TestLatencyPassesHalfBeforeAndHalfAfter(t *testing.T) {
	t.Parallel()
	clock := newClock()
	w := withImages(t, 1, sandbox.Options{Now: clock.Now, Sleep: clock.Sleep, Latency: sandbox.FixedLatency(200 * time.Millisecond)})
	done := make(chan answer)
	go func() { done <- w.delete(id, 0) }()
	if d := <-clock.asleep; d != 100*time.Millisecond || len(w.truth(id)) != 1 {
		t.Errorf("first sleep %v, images %v", d, w.truth(id))
	}
	clock.Advance(100 * time.Millisecond)
	if d := <-clock.asleep; d != 100*time.Millisecond || len(w.truth(id)) != 0 {
		t.Errorf("second sleep %v, images %v", d, w.truth(id))
	}
	clock.Advance(100 * time.Millisecond)
	if a := <-done; a.status != 200 {
		t.Errorf("status %d, error %v", a.status, a.err)
	}
}

func TestACallerWhoLeavesDoesNotStopTheDelete(t *testing.T) {
	t.Parallel()
	clock := newClock()
	w := withImages(t, 1, sandbox.Options{Now: clock.Now, Sleep: clock.Sleep, Latency: sandbox.FixedLatency(time.Second)})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan answer)
	go func() {
		done <- w.doContext(ctx, "DELETE", fmt.Sprintf("/v2/customers/%d/deleteImage?image_ids=0", id), nil)
	}()
	<-clock.asleep
	cancel()
	if a := <-done; !errors.Is(a.err, context.Canceled) {
		t.Fatalf("error %v", a.err)
	}
	clock.Advance(time.Second)
	<-clock.asleep // the second half: the delete is done
	if e := w.lastEntry(); len(w.truth(id)) != 0 || !e.Executed {
		t.Errorf("images %v, entry %+v", w.truth(id), e)
	}
}

func TestAnAnswerToNobodyIsNoAnswer(t *testing.T) {
	t.Parallel()
	w := withImages(t, 1, sandbox.Options{})
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	r := httptest.NewRequestWithContext(ctx, "DELETE", fmt.Sprintf("/v2/customers/%d/deleteImage?image_ids=0", id), nil)
	r.Header = w.header.Clone()
	w.srv.ServeHTTP(httptest.NewRecorder(), r)
	if e := w.lastEntry(); !e.Executed || e.Answered {
		t.Errorf("entry %+v", e)
	}
}
