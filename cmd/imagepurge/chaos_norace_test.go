//go:build linux && !race

package main_test

// raceDetector: these tests are built with the race detector.
const raceDetector = false
