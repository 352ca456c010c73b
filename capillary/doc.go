// Package capillary is the client of the remote API (Capillary v2, customer
// images): two calls in, one classified answer out.
//
// Its promises, each pinned by a test:
//
//   - A DELETE needs a clearance, and one clearance permits one write to one
//     connection, ever. The clearance is spent at that write, after dial and TLS
//     handshake; where it is late nothing is written. net/http's own replay of a
//     request on a stale connection can't get past that ([guardConn]).
//   - Nothing of a call leaves this machine's TCP once its caller is gone: the
//     kernel is told to throw away what it would send again by itself ([boundSending]).
//   - Every call has an answer with a class; a fault of the network is no Go
//     error that could be dropped. "Did not run" and "not sent" are said only
//     where it is certain; all else is unknown (docs/protocol.md, step 7).
//   - At most one request leaves this machine per call, so the callers' count of
//     calls is the API's.
//
// It must not retry, follow a redirect, speak HTTP/2, go through a proxy, or
// keep, log or hand out anything of a body but image identities. It doesn't
// wait for call slots and knows nothing of tasks.
package capillary
