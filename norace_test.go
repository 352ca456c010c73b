//go:build !race

package imagepurge_test

const raceDetector = false
