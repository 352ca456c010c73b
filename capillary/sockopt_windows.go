package capillary

import (
	"time"

	"golang.org/x/sys/windows"
)

// setUserTimeout is Linux's TCP_USER_TIMEOUT in whole seconds, rounded up.
func setUserTimeout(fd uintptr, after time.Duration) error {
	seconds := int((after + time.Second - 1) / time.Second)
	return windows.SetsockoptInt(windows.Handle(fd), windows.IPPROTO_TCP, windows.TCP_MAXRT, seconds)
}
