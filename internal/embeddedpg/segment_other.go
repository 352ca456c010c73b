//go:build !linux

package embeddedpg

// segment is cleared on Linux only; elsewhere a killed temporary server's stays
// until the machine restarts.
type segment struct{}

func leftSegment(string) segment { return segment{} }
func (segment) remove()          {}
