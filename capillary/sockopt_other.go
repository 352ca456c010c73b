//go:build !linux && !darwin && !windows

package capillary

import "time"

// setUserTimeout does nothing: this system has no such option that we know. A
// process that is frozen right behind its write leaves its bytes to the kernel,
// for as long as that goes on sending.
func setUserTimeout(uintptr, time.Duration) error { return nil }
