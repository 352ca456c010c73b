//go:build (cgo && !osusergo) || darwin || windows

package main

// asksSystem: package user asks the system for names, and never the environment.
const asksSystem = true
