// Package jobs holds the words and rules of imagepurge: tasks, targets,
// outcomes, answers, and what may become what.
//
// It must not know SQL, HTTP or the time of day: everything here is a plain
// value. Who stores, sends or waits imports this package, never the other way
// round.
package jobs
