package capillary

import (
	"time"

	"golang.org/x/sys/unix"
)

// setUserTimeout is Linux's TCP_USER_TIMEOUT in whole seconds, rounded up.
func setUserTimeout(fd uintptr, after time.Duration) error {
	seconds := int((after + time.Second - 1) / time.Second)
	return unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_RXT_CONNDROPTIME, seconds)
}
