package intake

import (
	"fmt"
	"io"
	"runtime"
	"strings"
	"testing"
)

// endless gives head once and then n times body, without holding it.
type endless struct {
	head, body string
	n          int
	rest       string
}

func newEndless(head, body string, n int) *endless {
	return &endless{head: head, body: body, n: n, rest: head}
}

func (e *endless) Read(p []byte) (int, error) {
	done := 0
	for done < len(p) {
		if e.rest == "" {
			if e.n == 0 {
				break
			}
			e.n--
			e.rest = e.body
		}
		n := copy(p[done:], e.rest)
		e.rest = e.rest[n:]
		done += n
	}
	if done == 0 {
		return 0, io.EOF
	}
	return done, nil
}

// forms are 1,000 records each in every form a file can have.
var forms = []struct {
	name, head string
	record     func(id int) string
	thousands  int // for the test of memory; -race is slow with JSON
}{
	{"lines", "", func(id int) string { return fmt.Sprintf("%d\n", id) }, 1000},
	{"csv", "customer_id,name,city\n", func(id int) string { return fmt.Sprintf("%d,Jane Doe,Utrecht\n", id) }, 1000},
	{"csv with quotes", "name,customer_id\n", func(id int) string { return fmt.Sprintf("\"Doe, Jane\",\"%d\"\n", id) }, 300},
	{"ndjson", "", func(id int) string { return fmt.Sprintf("{\"customer_id\":%d,\"name\":\"Jane\"}\n", id) }, 100},
}

func thousand(record func(int) string) string {
	var b strings.Builder
	for i := range 1000 {
		b.WriteString(record(564703420 + i))
	}
	return b.String()
}

// Nothing is allocated for a good line; under -race encoding/json's own pool
// loses what it should keep.
func TestReadsAMillionLinesInConstantMemory(t *testing.T) {
	for _, form := range forms {
		t.Run(form.name, func(t *testing.T) {
			r, err := NewReader(newEndless(form.head, thousand(form.record), form.thousands), Options{})
			if err != nil {
				t.Fatal(err)
			}
			var digest Digest
			read := func(n int) {
				for range n {
					row, err := r.Next()
					if err != nil {
						t.Fatal(err)
					}
					digest.Add(row.ID)
				}
			}
			heap := func() uint64 {
				runtime.GC()
				var m runtime.MemStats
				runtime.ReadMemStats(&m)
				return m.HeapAlloc
			}
			read(1000)
			before := heap()
			half := form.thousands / 2 * 1000
			read(half - 1000)
			if after := heap(); after > before+1<<20 {
				t.Errorf("the heap grew from %d to %d bytes over %d lines", before, after, half)
			}
			most := 1.0
			if r.Format() == NDJSON {
				most = 1000
			}
			if perThousand := testing.AllocsPerRun(10, func() { read(1000) }); perThousand > most {
				t.Errorf("%v allocations in 1,000 lines", perThousand)
			}
			read(half - 11_000)
			if _, err := r.Next(); err != io.EOF {
				t.Errorf("got %v, want io.EOF", err)
			}
			if after := heap(); after > before+1<<20 {
				t.Errorf("the heap grew from %d to %d bytes over %d lines", before, after, 2*half)
			}
			runtime.KeepAlive(r)
		})
	}
}

func BenchmarkReader(b *testing.B) {
	for _, form := range forms {
		body := thousand(form.record)
		b.Run(form.name, func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(body) / 1000))
			r, err := NewReader(newEndless(form.head, body, b.N/1000+1), Options{})
			if err != nil {
				b.Fatal(err)
			}
			for b.Loop() {
				if _, err := r.Next(); err == io.EOF {
					b.StopTimer()
					if r, err = NewReader(newEndless(form.head, body, 1_000_000), Options{}); err != nil {
						b.Fatal(err)
					}
					b.StartTimer()
				} else if err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "lines/s")
		})
	}
}

func BenchmarkDigest(b *testing.B) {
	b.ReportAllocs()
	var d Digest
	id := int64(0)
	for b.Loop() {
		id++
		d.Add(id)
	}
	d.Sum()
}
