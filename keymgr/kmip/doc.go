// Package kmip is a client for key servers that speak KMIP 1.0 to 1.4 over
// mutually authenticated TLS. It makes, finds, fetches and retires the keys
// that the key manager wraps others with; it keeps none of them.
//
// A [Client] is one key server, reached at one or several addresses; [Join]
// makes one Client of up to [MaxServers] servers that hold the same keys. Both
// have the same operations and the same rules:
//
//   - An operation that can be repeated goes to the first healthy address.
//     When that fails, or says nothing for half a second, the next is asked as
//     well, and the first good answer counts. An address that failed is tried
//     last for a while.
//   - Create and Register are sent once, over a connection that just proved
//     itself. When the answer does not come, the error is an
//     [UnknownOutcomeError]: the key may exist, so Locate it on every address
//     ([Client.Each]) before trying again.
//   - Every error of a server or of the way to it is an [Error] with a
//     [Class] that says what there is to be fixed, and a hint that says how.
//
// Bytes from a server are hostile: a frame is bounded before memory is asked
// for, checked in one pass over it, and only then read, by a reader of our own
// (message.go); the encoder is github.com/gemalto/kmip-go/ttlv. Text from a
// server is capped and quoted before it gets into an error. After any oddity
// the connection is closed, so that a late answer cannot be taken for another
// request's.
//
// Key bytes are in buffers that the caller wipes; our own are wiped here. What
// crypto/tls buffers of an answer is out of reach, and lives as long as the
// connection: no longer than a minute after its last use.
package kmip
