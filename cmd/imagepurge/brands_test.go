package main_test

import (
	"fmt"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/imagepurge/imagepurge/capillary/sandbox"
)

// brand is an organisation with an API of its own.
type brand struct {
	name  string
	api   *sandbox.Server
	url   string
	crowd sandbox.Population
	lines []string // of its entry, besides name, address and credentials
}

// another is a further brand beside the world's own.
func (w *world) another(name string, o sandbox.Options, lines ...string) brand {
	w.Helper()
	if o.Keys == nil {
		o.Keys = []sandbox.Key{till}
	}
	api := sandbox.New(o)
	ear, err := api.Listen("")
	if err != nil {
		w.Fatal(err)
	}
	w.Cleanup(func() {
		if err := ear.Close(); err != nil {
			w.Error(err)
		}
		api.Close()
	})
	return brand{name, api, ear.URL, o.Population, lines}
}

// serving is a world whose settings file has these brands.
func (w *world) serving(brands ...brand) *world {
	w.Helper()
	return w.servingFrom("brands.yaml", brands...)
}

// servingFrom is serving with a settings file of its own.
func (w *world) servingFrom(file string, brands ...brand) *world {
	w.Helper()
	var b strings.Builder
	b.WriteString("organizations:\n")
	for _, x := range brands {
		fmt.Fprintf(&b, "  - name: %s\n    base_url: %s\n    username: %s\n    password_env: TILL_PASSWORD\n    schedule: \"0 0 * * *\"\n    window: 24h\n", x.name, x.url, till.Username)
		for _, line := range x.lines {
			fmt.Fprintf(&b, "    %s\n", line)
		}
	}
	w.file(file, b.String())
	return w.with("CAPILLARY_BASE_URL", "CAPILLARY_USERNAME", "CAPILLARY_PASSWORD", "CAPILLARY_RATE_PER_MINUTE", "TILL_PASSWORD="+till.Password, "IMAGEPURGE_CONFIG="+file)
}

func (w *world) brand(name string, crowd sandbox.Population, lines ...string) brand {
	return brand{name, w.api, w.ear.URL, crowd, lines}
}

// One organisation's slowness, 401 or big batch never holds up another's.
func TestBulkheads(t *testing.T) {
	t.Parallel()
	for name, timeout := range map[string]string{"never answers": "10m", "times out after 3": "3s"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			const customers = 60
			crowd := present(181, 3*customers, 1)
			w := newWorld(t, sandbox.Options{Seed: 181, Population: crowd, Latency: sandbox.FixedLatency(20 * time.Millisecond)})
			wrong := till
			wrong.Password = wrongPassword
			many, few := present(182, 3000, 2), present(183, 200, 1)
			w = w.serving(
				w.brand("healthy", crowd, "rate_per_minute: 1200"),
				w.another("slow", sandbox.Options{Seed: 182, Population: few, Latency: sandbox.FixedLatency(time.Hour)}, "rate_per_minute: 6000"),
				w.another("refused", sandbox.Options{Seed: 183, Population: few, Keys: []sandbox.Key{wrong}}, "rate_per_minute: 6000"),
				w.another("big", sandbox.Options{Seed: 184, Population: many, Latency: sandbox.FixedLatency(20 * time.Millisecond)}, "rate_per_minute: 1200"),
			).with("IMAGEPURGE_REQUEST_TIMEOUT="+timeout, "IMAGEPURGE_SETTLE=11m", "IMAGEPURGE_LEASE=21m")
			for _, x := range []struct {
				name  string
				crowd sandbox.Population
			}{{"slow", few}, {"refused", few}, {"big", many}} {
				w.enqueue(everyone(x.crowd), "--organization", x.name)
			}
			ids := everyone(crowd)
			alone := func(ids []int64) time.Duration {
				batch := w.enqueue(ids, "--organization", "healthy")
				defer w.wantTruth(batch, ids)
				return w.must(0, "run", "--once", "--organization", "healthy").took
			}
			took := alone(ids[:customers])

			beside := w.enqueue(ids[customers:2*customers], "--organization", "healthy")
			began := time.Now()
			worker := w.start("run")
			w.until("the healthy one's batch is done", func() bool {
				return w.count("SELECT count(*) FROM image_deletion_tasks WHERE batch_id = $1 AND state = 'completed'", beside) == customers
			})
			together := time.Since(began)
			t.Logf("alone %v, beside the others %v", took, together)
			w.wantTruth(beside, ids[customers:2*customers])
			in := func(organization, what string) int {
				return w.count("SELECT count(*) FROM image_deletion_tasks t JOIN organizations o ON o.id = t.organization_id WHERE o.name = $1 AND "+what, organization)
			}
			w.until("the refused one's breaker is open", func() bool {
				return w.count("SELECT count(*) FROM organizations WHERE name = 'refused' AND breaker_reason = 'refused'") == 1
			})
			if n := in("slow", "t.state = 'completed'"); n > 0 {
				t.Errorf("the slow one ended %d customers: it wasn't slow", n)
			}
			if in("big", "t.state <> 'completed'") == 0 || in("big", "t.state = 'completed'") == 0 {
				t.Error("the big batch was not under way: nothing is shown")
			}
			if n := w.count("SELECT count(*) FROM organizations WHERE name IN ('healthy', 'big') AND breaker_reason IS NOT NULL"); n != 0 {
				t.Error("another's breaker is open")
			}
			worker.signal(syscall.SIGTERM)
			worker.signal(syscall.SIGINT) // not waiting for the slow one's answers
			worker.wait()
			tooLong := func() bool { return together > 2*took+15*time.Second }
			if tooLong() { // or the machine has become busier
				took = max(took, alone(ids[2*customers:]))
			}
			if tooLong() {
				t.Errorf("%v beside the others, %v alone", together, took)
			}
		})
	}
}

func TestSeveralOrganizationsHaveNoDefault(t *testing.T) {
	t.Parallel()
	crowd, others := present(185, 10, 1), present(186, 10, 2)
	w := newWorld(t, sandbox.Options{Seed: 185, Population: crowd})
	two := w.another("brand-b", sandbox.Options{Seed: 186, Population: others}, "rate_per_minute: 6000", "mode: economy")
	w = w.serving(w.brand("brand-a", crowd, "rate_per_minute: 6000"), two)
	list := w.list("list.csv", everyone(crowd)...)
	if e := w.must(2, "enqueue", list); !strings.Contains(e.err, "--organization") || !strings.Contains(e.err, "one of [brand-a brand-b]\n") {
		t.Errorf("%s", e)
	}
	for _, args := range [][]string{
		{"enqueue", list, "--organization", "brand-c"}, {"run", "--once", "--organization", "brand-c"},
		{"pause", "--organization", "brand-c", "--reason", "x"}, {"resume", "--organization", "brand-c", "--reason", "x"}, {"org", "show", "brand-c"},
	} {
		if e := w.must(2, args...); !strings.Contains(e.err, "brand-c") {
			t.Errorf("%s", e)
		}
	}
	if _, err := w.pool.Exec(t.Context(), "INSERT INTO image_deletion_tasks (customer_id) VALUES ($1)", crowd.ID(0)); err == nil || !strings.Contains(err.Error(), "there are 2 organisations") {
		t.Errorf("a bare INSERT: %v", err)
	}
	one := w.enqueue(everyone(crowd), "--organization", "brand-a")
	w.enqueue(everyone(others), "--organization", "brand-b")
	w.must(0, "pause", "--organization", "brand-b", "--reason", "theirs must wait")
	w.must(0, "run", "--once")
	w.wantTruth(one, everyone(crowd))
	if n := len(two.api.Journal().Entries()); n != 0 {
		t.Errorf("%d calls for a paused organisation", n)
	}
	w.must(0, "resume", "--organization", "brand-b", "--reason", "go on")
	w.must(0, "run", "--once", "--organization", "brand-b")
	if n := two.api.Stats().ImagesNow; n != 0 {
		t.Errorf("%d images of brand-b are left", n)
	}
	if e := w.must(0, "org", "list"); !strings.Contains(e.out, "brand-a") || !strings.Contains(e.out, "brand-b") || strings.Contains(e.out, "default") {
		t.Errorf("%s", e)
	}
	var listed []string
	for _, x := range parse[[]struct{ Name string }](w, w.must(0, "org", "list", "-o", "json").out) {
		listed = append(listed, x.Name)
	}
	if !slices.Equal(listed, []string{"brand-a", "brand-b"}) {
		t.Errorf("%v", listed)
	}
}

// A worker of one of two brands makes both known: a bare INSERT between the first
// start of the one and of the other must not go to the wrong one.
func TestAWorkerOfOneBrandKnowsTheOthers(t *testing.T) {
	t.Parallel()
	crowd := present(187, 3, 1)
	w := newWorld(t, sandbox.Options{Seed: 187, Population: crowd})
	w = w.serving(w.brand("brand-a", crowd), w.another("brand-b", sandbox.Options{Seed: 188}))
	w.must(0, "run", "--once", "--organization", "brand-b")
	if _, err := w.pool.Exec(t.Context(), "INSERT INTO image_deletion_tasks (customer_id) VALUES ($1)", crowd.ID(0)); err == nil {
		t.Error("a bare INSERT is taken for the one that has worked")
	}
}
