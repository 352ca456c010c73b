package sandbox_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/imagepurge/imagepurge/capillary/sandbox"
)

var t0 = time.Date(2026, 6, 1, 10, 0, 0, 0, time.UTC)

func TestPopulation(t *testing.T) {
	t.Parallel()
	o := sandbox.PopulateOptions{FirstID: 5000, Org: 42, Unknown: 0.1, Merged: 0.1, Erased: 0.1}
	p, same, other := sandbox.Populate(1, 2000, o), sandbox.Populate(1, 2000, o), sandbox.Populate(2, 2000, o)
	seen, sizes, customers, images := map[string]bool{}, map[int]int{}, map[sandbox.Standing]int{}, 0
	differs, minusOne, noSize := false, 0, 0
	for i := range p.Len() {
		c, ok := p.Customer(p.ID(i))
		if again, _ := same.Customer(p.ID(i)); !ok || !cmp.Equal(c, again) {
			t.Fatalf("customer %d differs from itself", p.ID(i))
		}
		if else2, _ := other.Customer(p.ID(i)); !cmp.Equal(c, else2) {
			differs = true
		}
		customers[c.Standing]++
		if c.Standing == sandbox.Present {
			images += len(c.Images)
			sizes[len(c.Images)]++
		}
		for n, img := range c.Images {
			if seen[img.Token] || !strings.HasPrefix(img.Token, fmt.Sprintf("customerImage/42/%d/", c.Owner)) || img.Slot != n {
				t.Fatalf("customer %d: image %+v", c.ID, img)
			}
			seen[img.Token] = true
			if img.Version == -1 {
				minusOne++
			}
			if img.Size == 0 {
				noSize++
			}
		}
	}
	if !differs {
		t.Error("another seed gives the same customers")
	}
	gotCustomers, gotImages := p.Counts()
	if gotImages != images || !cmp.Equal(gotCustomers, customers) {
		t.Errorf("counts %v, %d; want %v, %d", gotCustomers, gotImages, customers, images)
	}
	for _, s := range []sandbox.Standing{sandbox.Unknown, sandbox.Merged, sandbox.Erased} {
		if n := customers[s]; n < 140 || n > 260 {
			t.Errorf("%d %s of 2000, want about 200", n, s)
		}
	}
	for n := range 6 {
		if sizes[n] == 0 {
			t.Errorf("nobody has %d images: %v", n, sizes)
		}
	}
	if minusOne == 0 || noSize == 0 {
		t.Errorf("%d versions of -1, %d without size", minusOne, noSize)
	}
	if _, ok := p.Customer(4999); ok {
		t.Error("an id before the range exists")
	}
	if _, ok := p.Customer(7000); ok {
		t.Error("an id after the range exists")
	}
}

func TestModelKeepsWhatWasAtTheBeginning(t *testing.T) {
	t.Parallel()
	p := sandbox.Populate(1, 10, sandbox.PopulateOptions{Images: [6]float64{0, 0, 0, 1}})
	m := sandbox.NewModel(sandbox.ModelOptions{Population: p})
	c := p.ID(4)
	first := m.Initially(c)
	m.Delete(t0, c, 2)
	m.Delete(t0, c, 0)
	if diff := cmp.Diff(m.Initially(c), first); diff != "" || len(first.Images) != 3 {
		t.Errorf("initially (-now +before):\n%s", diff)
	}
	if got := m.Images(c); len(got) != 1 || got[0] != first.Images[1] {
		t.Errorf("now %v", got)
	}
	// What a caller does to its copy is not done to the model.
	m.Images(c)[0].Token = "x"
	m.Initially(c).Images[0].Token = "x"
	if m.Images(c)[0] != first.Images[1] || m.Initially(c).Images[0] != first.Images[0] {
		t.Error("a copy is the model's own")
	}
}

func TestAnUploadedImageIsNeverOneThatWas(t *testing.T) {
	t.Parallel()
	p := sandbox.Populate(1, 1, sandbox.PopulateOptions{Images: [6]float64{0, 0, 0, 1}})
	m := sandbox.NewModel(sandbox.ModelOptions{Seed: 1, Population: p}) // the population's own seed
	c := p.ID(0)
	was := m.Images(c)
	m.Delete(t0, c, 0)
	m.Upload(t0, c, 1)
	now := m.Images(c)
	if len(now) != 3 || now[2].Handle != was[0].Handle {
		t.Fatalf("images %+v", now)
	}
	for _, img := range was {
		if img.Token == now[2].Token {
			t.Errorf("token %s came back", img.Token)
		}
	}
}

func TestModelPutRefuses(t *testing.T) {
	t.Parallel()
	m := sandbox.NewModel(sandbox.ModelOptions{})
	for name, images := range map[string][]sandbox.Image{
		"six":            {image(1, 0), image(1, 1), image(1, 2), image(1, 3), image(1, 4), image(2, 0)},
		"the same twice": {image(1, 0), image(1, 0)},
		"no token":       {{}},
		"slot 5":         {{Token: "a", Slot: 5}},
	} {
		if m.Put(sandbox.Customer{ID: 1, Images: images}) == nil {
			t.Errorf("took %s", name)
		}
	}
}

func TestOthersOnTheModel(t *testing.T) {
	t.Parallel()
	m := sandbox.NewModel(sandbox.ModelOptions{})
	if err := m.Put(sandbox.Customer{ID: id, Images: []sandbox.Image{image(id, 0), image(id, 1)}}); err != nil {
		t.Fatal(err)
	}
	names := func() string {
		var out []string
		for _, img := range m.Images(id) {
			out = append(out, fmt.Sprintf("%d.%d", img.Slot, img.Version))
		}
		return strings.Join(out, " ")
	}
	steps := []struct {
		do   func() sandbox.Reply
		want string // slot.version in index order
	}{
		{func() sandbox.Reply { return m.Prepend(t0, id) }, "2.1 0.1 1.1"},
		{func() sandbox.Reply { return m.Replace(t0, id, 1) }, "2.1 0.2 1.1"},
		{func() sandbox.Reply { return m.Remove(t0, id, 0) }, "0.2 1.1"},
		{func() sandbox.Reply { return m.Upload(t0, id, 3) }, "0.2 1.1 2.2 3.1 4.1"},
		{func() sandbox.Reply { return m.Upload(t0, id, 1) }, "0.2 1.1 2.2 3.1 4.1"},
		{func() sandbox.Reply { return m.Replace(t0, id, 5) }, "0.2 1.1 2.2 3.1 4.1"},
		{func() sandbox.Reply { return m.Remove(t0, id, 4) }, "0.2 1.1 2.2 3.1"},
	}
	seen := map[string]bool{}
	for n, s := range steps {
		s.do()
		if got := names(); got != s.want {
			t.Fatalf("step %d: %s, want %s", n, got, s.want)
		}
		for _, e := range m.Journal().Entries()[n:] {
			for _, token := range e.Added {
				if seen[token] {
					t.Fatalf("step %d: token %s was there before", n, token)
				}
				seen[token] = true
			}
		}
	}
	if len(seen) != 5 {
		t.Errorf("%d images added, want 5", len(seen))
	}
}

func TestModelLag(t *testing.T) {
	t.Parallel()
	m := sandbox.NewModel(sandbox.ModelOptions{MaxLag: 5 * time.Second})
	if err := m.Put(sandbox.Customer{ID: id, Images: []sandbox.Image{image(id, 0)}}); err != nil {
		t.Fatal(err)
	}
	m.Delete(t0, id, 0)
	for _, c := range []struct {
		at, lag time.Duration
		want    int
	}{{0, 0, 0}, {0, time.Second, 1}, {time.Second, time.Second, 0}, {time.Second, 2 * time.Second, 1}, {6 * time.Second, time.Hour, 0}} {
		if got := len(m.List(t0.Add(c.at), id, c.lag).Images); got != c.want {
			t.Errorf("at %v, lag %v: %d images, want %d", c.at, c.lag, got, c.want)
		}
	}
}

func TestModelForgetsNoSoonerThanMaxLag(t *testing.T) {
	t.Parallel()
	m := sandbox.NewModel(sandbox.ModelOptions{MaxLag: 5 * time.Second})
	if err := m.Put(sandbox.Customer{ID: id, Images: []sandbox.Image{image(id, 0), image(id, 1), image(id, 2)}}); err != nil {
		t.Fatal(err)
	}
	for n := range time.Duration(3) {
		m.Delete(t0.Add(n*3*time.Second), id, 0)
	}
	for lag, want := range map[time.Duration]int{0: 0, time.Second: 1, 3 * time.Second: 1, 4 * time.Second: 2, 5 * time.Second: 2} {
		if got := len(m.List(t0.Add(6*time.Second), id, lag).Images); got != want {
			t.Errorf("lag %v: %d images, want %d", lag, got, want)
		}
	}
}

func TestJournalQueriesAndStream(t *testing.T) {
	t.Parallel()
	var stream bytes.Buffer
	p := sandbox.Populate(1, 3000, sandbox.PopulateOptions{})
	m := sandbox.NewModel(sandbox.ModelOptions{Population: p, Journal: sandbox.NewJournal(&stream)})
	for round := range 2 { // more entries than fit one piece of the journal
		for i := range p.Len() {
			m.Delete(t0.Add(time.Duration(round)*time.Hour), p.ID(i), 0)
		}
	}
	all := m.Journal().Entries()
	if len(all) != 6000 || m.Journal().Len() != 6000 || all[0].Seq != 1 || all[5999].Seq != 6000 {
		t.Fatalf("%d entries", len(all))
	}
	if diff := cmp.Diff(m.Journal().Customer(p.ID(7)), []sandbox.Entry{all[7], all[3007]}); diff != "" {
		t.Errorf("one customer's (-got +want):\n%s", diff)
	}
	if got := m.Journal().Customer(1); len(got) != 0 {
		t.Errorf("a stranger's: %v", got)
	}
	var out bytes.Buffer
	if err := m.Journal().WriteNDJSON(&out); err != nil || out.String() != stream.String() {
		t.Errorf("written and streamed differ, error %v", err)
	}
	back, err := sandbox.ReadNDJSON(&out)
	if diff := cmp.Diff(back, all); err != nil || diff != "" {
		t.Errorf("read back: %v (-got +want):\n%s", err, diff)
	}
	if _, err := sandbox.ReadNDJSON(strings.NewReader("{\"seq\":1}\n{\"seq\":")); err == nil {
		t.Error("a cut journal was read without an error")
	}
}

func TestJudge(t *testing.T) {
	t.Parallel()
	put := func(t *testing.T) *sandbox.Model {
		m := sandbox.NewModel(sandbox.ModelOptions{})
		if err := m.Put(sandbox.Customer{ID: id, Images: []sandbox.Image{image(id, 0), image(id, 1), image(id, 2)}}); err != nil {
			t.Fatal(err)
		}
		return m
	}
	target := func(_ int64, token0 string) bool { return token0 != token(id, 0) }

	m := put(t)
	m.List(t0, id, 0)
	m.Delete(t0, id, 2)
	// By others: neither a violation nor part of the order.
	m.Apply(t0, sandbox.Request{Actor: sandbox.ActorOthers, Kind: sandbox.KindDelete, Customer: id, Indexes: []int{0}})
	m.Delete(t0, id, 0)
	m.Delete(t0, id, 0)
	m.Refuse(t0, sandbox.Request{Kind: sandbox.KindDelete, Customer: id}, 429)
	good := sandbox.NewJudge(m.Journal().Entries())
	if v := good.Violations(target); len(v) != 0 || !good.StrictlyDescending(id) {
		t.Errorf("violations %v, descending %v", v, good.StrictlyDescending(id))
	}
	if l, d := good.Calls(id); l != 1 || d != 4 {
		t.Errorf("calls %d, %d; want 1, 4", l, d)
	}
	var got []string
	for _, d := range good.Deleted(id) {
		got = append(got, fmt.Sprint(d.Token[len(d.Token)-1:], " at ", d.Position, " by ", d.Actor))
	}
	if diff := cmp.Diff(got, []string{"2 at 2 by api", "0 at 0 by others", "1 at 0 by api"}); diff != "" {
		t.Errorf("deleted (-got +want):\n%s", diff)
	}
	if diff := cmp.Diff(good.Customers(), []int64{id}); diff != "" {
		t.Errorf("customers (-got +want):\n%s", diff)
	}

	m = put(t)
	m.Delete(t0, id, 1)
	m.Delete(t0, id, 1)
	m.Delete(t0, id, 0)
	bad := sandbox.NewJudge(m.Journal().Entries())
	if v := bad.Violations(target); len(v) != 1 || !strings.Contains(v[0], token(id, 0)) {
		t.Errorf("violations %v", v)
	}
	if bad.StrictlyDescending(id) {
		t.Error("1, 1, 0 passes as strictly descending")
	}
}

func TestLatency(t *testing.T) {
	t.Parallel()
	ms := time.Millisecond
	for _, c := range []struct {
		name      string
		l         sandbox.Latency
		u         float64
		low, high time.Duration
	}{
		{"none", sandbox.Latency{}, 0.5, 0, 0},
		{"fixed", sandbox.FixedLatency(30 * ms), 0.9, 30 * ms, 30 * ms},
		{"uniform, least", sandbox.UniformLatency(10*ms, 30*ms), 0, 10 * ms, 10 * ms},
		{"uniform, middle", sandbox.UniformLatency(10*ms, 30*ms), 0.5, 20 * ms, 20 * ms},
		{"log-normal, median", sandbox.LogNormalLatency(80*ms, 900*ms), 0.5, 80*ms - 1, 80*ms + 1},
		{"log-normal, 99 of 100", sandbox.LogNormalLatency(80*ms, 900*ms), 0.99, 900*ms - 1000, 900*ms + 1000},
		{"log-normal, least", sandbox.LogNormalLatency(80*ms, 900*ms), 0, 1, 10 * ms},
		{"log-normal without spread", sandbox.LogNormalLatency(80*ms, 80*ms), 0.9, 80 * ms, 80 * ms},
	} {
		if got := c.l.At(c.u); got < c.low || got > c.high {
			t.Errorf("%s: %v, want %v to %v", c.name, got, c.low, c.high)
		}
	}
}
