// Package sandbox plays the remote image API for tests, demonstrations and
// load runs: images deleted by position, positions that shift, deletes that
// hit another image when repeated, answers that get lost, other people who
// upload and delete meanwhile. It keeps a journal of what truly happened, so
// that a purge can be judged by what it did and not by what it says it did.
//
// It must not import the API's client nor the packages of the purge: a
// misunderstanding of the API shared by both sides would hide in both.
//
// Three layers, usable apart:
//
//   - [Model] is the server's state and rules. No HTTP, no clock, no goroutine:
//     time is an argument, so a simulation can drive it under its own clock.
//   - [Plan] and [OthersPlan] decide, from a seed, which request meets which
//     fault and when other people act. They decide by customer and by the
//     ordinal of the request among this customer's, so that the interleaving
//     of customers changes nothing.
//   - [Server] puts both behind HTTP.
//
// [Judge] reads a [Journal] and knows nothing else.
//
// All names, addresses and images are invented.
package sandbox
