package sandbox

import (
	"math"
	"time"
)

// Latency is a distribution of the time between a request's arrival and its
// answer. The zero value is no latency. Half of it passes before the request
// executes, half after.
type Latency struct {
	shape     latencyShape
	low, high time.Duration
}

type latencyShape uint8

const (
	latencyNone latencyShape = iota
	latencyUniform
	latencyLogNormal
)

// FixedLatency is always d.
func FixedLatency(d time.Duration) Latency { return UniformLatency(d, d) }

// UniformLatency lies between low and high, both included, evenly.
func UniformLatency(low, high time.Duration) Latency {
	return Latency{latencyUniform, low, max(low, high)}
}

// LogNormalLatency has the given median and 99th percentile, and no upper end.
// Both must be positive and p99 at least the median.
func LogNormalLatency(median, p99 time.Duration) Latency {
	return Latency{latencyLogNormal, max(median, 1), max(p99, median, 1)}
}

// At is the latency at a quantile: u in [0, 1).
func (l Latency) At(u float64) time.Duration {
	switch l.shape {
	case latencyUniform:
		return l.low + time.Duration(u*float64(l.high-l.low))
	case latencyLogNormal:
		// The quantile of the standard normal distribution; the ends are cut
		// off where it would be infinite.
		normal := func(u float64) float64 { return math.Sqrt2 * math.Erfinv(2*u-1) }
		sigma := math.Log(float64(l.high)/float64(l.low)) / normal(0.99)
		z := normal(min(max(u, 1e-9), 1-1e-9))
		return time.Duration(float64(l.low) * math.Exp(sigma*z))
	}
	return 0
}
