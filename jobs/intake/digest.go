package intake

import (
	"crypto/sha256"
	"encoding/binary"
	"hash"
)

// Digest is a SHA-256 over ids in their order, whatever the file they came from
// looked like: the same ids give the same sum from CSV, NDJSON or plain lines.
// The zero value is ready for use.
type Digest struct {
	hash  hash.Hash
	count uint64
	buf   []byte
}

// digestBuffer gathers ids: hashing them one by one costs four times as much.
const digestBuffer = 512 * 8

// Add takes in the next id.
func (d *Digest) Add(id int64) {
	if d.hash == nil {
		d.hash = sha256.New()
		d.buf = make([]byte, 0, digestBuffer)
	}
	d.buf = binary.BigEndian.AppendUint64(d.buf, uint64(id))
	d.count++
	if len(d.buf) == cap(d.buf) {
		d.flush()
	}
}

// Sum returns the digest of all ids so far and of what else makes two batches
// the same (an organisation, a mode, …), each of which counts for itself:
// ("ab", "c") isn't ("a", "bc"). More ids may be added behind it. The sum is
// stored, so its form is part of the contract: a change needs a migration.
func (d *Digest) Sum(preamble ...string) []byte {
	var ids [sha256.Size]byte
	if d.hash == nil {
		ids = sha256.Sum256(nil)
	} else {
		d.flush()
		d.hash.Sum(ids[:0])
	}
	b := []byte("imagepurge intake 1\n")
	b = binary.BigEndian.AppendUint64(b, uint64(len(preamble)))
	for _, p := range preamble {
		b = binary.BigEndian.AppendUint64(b, uint64(len(p)))
		b = append(b, p...)
	}
	b = binary.BigEndian.AppendUint64(b, d.count)
	b = append(b, ids[:]...)
	sum := sha256.Sum256(b)
	return sum[:]
}

func (d *Digest) flush() {
	d.hash.Write(d.buf) // a hash never returns an error
	d.buf = d.buf[:0]
}
