// Utilisation shows how much of an API's limit a fleet of workers uses, under a
// simulated clock: the workers' own decisions (jobs/worker, jobs/purge,
// jobs/budget) against an API that counts strictly. It prints the table of
// docs/performance.md.
//
//	go run ./bench/utilisation
//	go run ./bench/utilisation --workers 3 --limit 700 --latency 300ms --minutes 30
package main

import (
	"flag"
	"fmt"
	"os"
	"runtime"
	"sync"
	"time"
)

func main() {
	var (
		workers = flag.Int("workers", 0, "so many workers (0: 1, 3, 10 and 100)")
		limit   = flag.Int("limit", 0, "calls a minute (0: 100, 700, 1500 and 6000)")
		latency = flag.Duration("latency", 0, "of a call, about (0: 50ms, 500ms and 3s)")
		minutes = flag.Int("minutes", 12, "how long each is watched, after one to begin")
		flight  = flag.Int("concurrency", 256, "calls in flight of a worker, at most (IMAGEPURGE_CONCURRENCY)")
		seed    = flag.Uint64("seed", 1, "what decides everything")
	)
	flag.Parse()
	if *minutes < 1 || *workers < 0 || *limit < 0 || *limit == 1 || *latency < 0 || *flight < 1 || flag.NArg() > 0 {
		fmt.Fprintln(os.Stderr, "utilisation: figures are above 0, a limit is at least 2; see: go run ./bench/utilisation --help")
		os.Exit(2)
	}
	var settings []setting
	for _, l := range choice(*limit, 100, 700, 1500, 6000) {
		for _, w := range choice(*workers, 1, 3, 10, 100) {
			for _, d := range choice(*latency, 50*time.Millisecond, 500*time.Millisecond, 3*time.Second) {
				for _, churn := range []bool{false, true} {
					settings = append(settings, setting{w, l, d, churn, *minutes, *flight, *seed})
				}
			}
		}
	}
	results := make([]figures, len(settings))
	var group sync.WaitGroup
	turns := make(chan struct{}, runtime.GOMAXPROCS(0))
	for i := range settings {
		group.Go(func() {
			turns <- struct{}{}
			results[i] = run(settings[i])
			<-turns
		})
	}
	group.Wait()
	fmt.Println("| limit | workers | latency | a kill and a start each minute | used | 429 | calls a customer, of those needed | questions a call |")
	fmt.Println("|--:|--:|--:|---|--:|--:|--:|--:|")
	for i, s := range settings {
		r := results[i]
		churn := "no"
		if s.churn {
			churn = "yes"
		}
		fmt.Printf("| %d | %d | %v | %s | %.2f %% | %d | %.3f | %.2f |\n", s.limit, s.workers, s.latency, churn, 100*r.least, r.overLimit,
			float64(r.spent)/float64(max(1, r.needed)), float64(r.asked)/float64(max(1, r.calls)))
	}
}

// choice is the one that was given, or all.
func choice[T comparable](given T, all ...T) []T {
	var none T
	if given != none {
		return []T{given}
	}
	return all
}
