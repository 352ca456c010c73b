// Package purge is the procedure by which one customer's images are deleted:
// docs/protocol.md as a state machine.
//
// A [Machine] is pure. It takes a [Fact] and the time and returns the next
// [Effect]; it does no I/O, reads no clock and starts no goroutine. Whatever it
// must remember beyond the life of a process is in the [Write] of an effect, so
// that any worker can go on from the rows alone. The worker does the effects; a
// seeded simulation or a fuzz test can do so in its place.
package purge
