package purge_test

import (
	"math/rand/v2"
	"testing"

	"pgregory.net/rapid"
)

// few are as many images as the API allows, and one; many are more than it should.
const few, many = 6, 50

func tryTrial(t interface {
	Fatalf(format string, args ...any)
	Helper()
}, c choices, most int) *trial {
	t.Helper()
	r := newTrial(c, most)
	r.run()
	for _, b := range r.broken {
		t.Fatalf("%s\n%s, %s, batching %s (ascending %v), named %d, shelf %v\nrows %q", b, r.rec.Mode, r.rec.Scope, r.cfg.Batching, r.ascending, len(r.rec.Named), r.shelf, r.rows())
	}
	return r
}

// For any listing, any set of targets and any sequence of own deletes and their
// answers, the index of every DELETE is the one of the right image.
func TestIndexIsTheRightImages(t *testing.T) {
	outcomes := make(map[string]int)
	sends := 0
	for seed := range uint64(6000) {
		most := few
		if seed%10 == 0 {
			most = many
		}
		r := tryTrial(t, newSeeded(seed+1), most)
		outcomes[string(r.outcome)]++
		sends += r.sends
	}
	t.Logf("%d DELETEs, outcomes %v", sends, outcomes)
	for _, o := range []string{"images_deleted", "no_images", "already_absent", "attempts_exhausted", "cancelled", "unexpected_response", "index_contradiction", "customer_gone"} {
		if outcomes[o] == 0 {
			t.Errorf("no trial ended with %s: the trials have become too tame", o)
		}
	}
}

// The same, shrunk by rapid to the fewest images and answers where it fails.
func TestIndexIsTheRightImagesShrunk(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) { tryTrial(t, drawn{t}, few) })
}

// tape takes choices from a fuzzer's bytes, and from chance where they have ended: a
// short tape that is easily changed steers the beginning of a trial.
type tape struct {
	bytes []byte
	rest  seeded
}

func (t *tape) below(n int) int {
	if len(t.bytes) == 0 || n > 256 {
		return t.rest.below(n)
	}
	b := t.bytes[0]
	t.bytes = t.bytes[1:]
	return int(b) % n
}

// The same, guided by coverage.
func FuzzIndex(f *testing.F) {
	for seed := range byte(8) {
		start := make([]byte, 100)
		_, _ = rand.NewChaCha8([32]byte{seed}).Read(start)
		f.Add(start, uint64(seed))
	}
	f.Fuzz(func(t *testing.T, start []byte, seed uint64) {
		tryTrial(t, &tape{start, newSeeded(seed)}, few)
	})
}
