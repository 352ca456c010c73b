// Package simulation runs whole nights of the real code in one process, under a
// simulated clock and by one seed: the steppers of purge, worker, budget and
// schedule, the client's reading of answers and the sandbox's model of the remote
// API, with a fault possible at every effect. After each night a judge compares
// what truly happened with the rows.
//
// There is no goroutine, no sleep and no clock within a night, so a seed replays
// it to the last step. Nights are independent of each other, so they run on all
// cores.
//
//   - night.go: what a seed decides before the night begins
//   - world.go: clock, queue of events, chance
//   - process.go: one `imagepurge run`: what the shell around worker.Core does,
//     with crashes, freezes, machine sleep and clock steps
//   - database.go: the way to the store, and what can happen on it
//   - network.go: the way to the API, and what can happen on it
//   - surroundings.go: other people's uploads and deletes; holds, pauses, cancels
//   - history.go, judge.go: what truly happened, and the promises
//   - nights.go: many nights; shrink.go: the shortest history of a violation
package simulation
