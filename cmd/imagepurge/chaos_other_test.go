//go:build !linux

package main_test

import "testing"

func TestChaos(t *testing.T) {
	t.Skip("needs Linux: it mounts a file system to fill it, and tells children of this process's death")
}
