//go:build !((cgo && !osusergo) || darwin || windows)

package main

// asksSystem: package user reads /etc/passwd, and then believes $USER.
const asksSystem = false
