// Package nbd serves blockdev devices over the NBD protocol, and holds a small
// client that makes a remote export a blockdev.Device.
//
// A Server is made from an Exports (what can be attached, by name) and given
// listeners:
//
//	srv, err := nbd.NewServer(nbd.Config{Exports: exports})
//	go srv.Serve(ctx, listener)
//	…
//	err = srv.Shutdown(ctx) // finishes and answers what was read, then closes
//
// The server speaks fixed newstyle negotiation with every option of the
// protocol document, TLS by STARTTLS, simple, structured and extended replies,
// and every command. Requests of one connection run concurrently and are
// answered in the order in which they finish. No request allocates memory in
// steady state; the bytes in flight are bounded for each connection and in
// all; a client that stalls holds up nobody else.
//
// A FLUSH covers every write that was answered before it on any connection,
// because blockdev.Device.Flush does; that is why CAN_MULTI_CONN is always
// offered.
//
// The protocol is that of doc/proto.md in the NetworkBlockDevice/nbd
// repository with its extension-ext-header branch; section names in comments
// refer to it.
package nbd

import (
	"context"
	"crypto/tls"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"lockplate/blockdev"
)

// Exports is what a Server offers. All methods may be called concurrently.
type Exports interface {
	// Open returns a handle of the named export for one connection, which
	// closes it when it ends. The empty name is the default export: when it
	// does not exist and Names has exactly one name, that one is opened.
	// An error that is blockdev.ErrNotExist is told as "unknown export",
	// blockdev.ErrClosed as "shutting down", any other as "refused".
	Open(ctx context.Context, name string) (blockdev.Device, error)
	// Names lists what Open takes.
	Names(ctx context.Context) ([]string, error)
}

// Config is what a Server is made from. Only Exports is required.
type Config struct {
	Exports Exports
	// TLS makes STARTTLS available. It is cloned. Its MinVersion is 1.3 unless
	// it says 1.2, for clients that know no better (nbd-client 3.24); then with
	// forward secrecy and authenticated ciphers only. Nothing older is spoken.
	// ClientAuth decides about client certificates. A configuration from
	// GetConfigForClient is used as it is: Harden it.
	TLS *tls.Config
	// RequireTLS answers every option but STARTTLS and ABORT with
	// ERR_TLS_REQD until the connection is encrypted. Needs TLS.
	RequireTLS bool
	// AllowPlainUnix exempts unix sockets from RequireTLS.
	AllowPlainUnix bool
	// Limits bounds what clients may use; zero members mean the defaults.
	Limits Limits
	// Logger gets connection events. Nil: none are logged.
	Logger *slog.Logger
	// Registerer takes the metrics. Nil: they are kept but not exported.
	Registerer prometheus.Registerer
}

// Limits bounds what clients may use. A zero member means the default.
type Limits struct {
	Connections    int           // open at once; one more is closed at accept
	Handshake      time.Duration // from accept to transmission, absolute
	Requests       int           // read and not yet answered, each connection
	ConnBytes      int64         // buffers of requests in flight, each connection
	TotalBytes     int64         // buffers of requests in flight, all connections
	StalledTimeout time.Duration // no reply taken for so long while others wait for memory: closed
}

// Limits and sizes of this implementation, each with its unit and reason.
const (
	defaultConnections = 2048                  // connections; 1,000 idle and 64 busy with room to spare
	defaultHandshake   = 10 * time.Second      // honest clients need milliseconds; qemu-nbd has the same
	defaultRequests    = 256                   // requests; the kernel sends 128 at once, libnbd 64
	defaultConnBytes   = 2 * maxPayloadBytes   // bytes; two of the largest requests overlap
	defaultTotalBytes  = 16 * maxPayloadBytes  // bytes (512 MiB); beyond it connections wait for each other
	defaultStalled     = 10 * time.Second      // a client that takes no byte for so long is not slow but stuck
	maxPayloadBytes    = 32 << 20              // bytes; what the protocol asks every server to take
	maxDrainBytes      = 2 * maxPayloadBytes   // bytes of an oversize WRITE read and thrown away to keep the connection
	maxOptionBytes     = 8 << 10               // bytes of option data; a name and a few queries
	maxOptions         = 4096                  // options in one handshake; listing tools ask some for each export
	maxNameBytes       = 4096                  // bytes of an export name or query, "Conventions"
	maxQueries         = 64                    // meta context queries in one option; we have one context
	maxWorkers         = 16                    // goroutines of one connection that run requests; as nbdkit and qemu-nbd
	inputBytes         = 64 << 10              // bytes read at once; thousands of headers, or 15 writes of 4 KiB
	unixSendBytes      = 1 << 20               // bytes a unix socket holds; fewer hand-overs between the two ends
	tlsInputBytes      = 4 << 10               // bytes read at once over TLS, held while idle; a record is kept by crypto/tls
	recordBytes        = 16 << 10              // bytes of one write where there is no writev: the most in a TLS record
	corkBytes          = 128 << 10             // bytes of TLS records gathered for one write
	inlineBytes        = 1 << 20               // bytes; requests up to this size run in the reader while the device is fast
	inlineLimit        = 60 * time.Microsecond // average time of a request below which the device counts as fast
	bytesPerNano       = 4                     // bytes; what a fast device moves in a nanosecond
	pieceBytes         = 256 << 10             // bytes; larger writes are run in such pieces at most while the device is fast
	leastPiece         = 32 << 10              // bytes; less is not worth a write
	pieceAlign         = 4096                  // pieces end at a multiple of so many bytes
	directBytes        = 16 << 10              // bytes; beyond a payload of this size only a header is read
	batchReplies       = 16                    // replies gathered before a write; more makes the client wait for its first
	batchBytes         = 128 << 10             // bytes of replies gathered before a write
	sparseBytes        = 64 << 10              // bytes; smaller reads are not looked through for zeroes
	holeStepBytes      = 4 << 10               // bytes; zeroes are looked for in such blocks
	minHole            = 16 << 10              // bytes; a shorter run of zeroes is cheaper as data
	maxChunks          = 64                    // chunks of one sparse read
	cacheStepBytes     = 1 << 20               // bytes read at once for CACHE
	maxCacheBytes      = maxPayloadBytes       // bytes one CACHE reads ahead; more would push out what it just read
	alignBytes         = 4096                  // alignment of request buffers in memory, for O_DIRECT
	minPreferred       = 4096                  // bytes; preferred block size at least
	acceptBackoffMin   = 5 * time.Millisecond  // first wait after accept fails, as with too many open files
	acceptBackoffMax   = time.Second           // longest wait after accept fails
	lingerTimeout      = time.Second           // wait for the client's close after the last answer
	spareSeries        = 64                    // exports that were, and whose metrics may still be kept
	keepAliveIdle      = 60 * time.Second      // TCP: probe a silent peer after this time …
	keepAliveInterval  = 10 * time.Second      // … so often …
	keepAliveCount     = 6                     // … and give up after so many. Idle connections are never cut otherwise
)

// withDefaults returns l with every zero member set.
func (l Limits) withDefaults() Limits {
	setDefault(&l.Connections, defaultConnections)
	setDefault(&l.Handshake, defaultHandshake)
	setDefault(&l.Requests, defaultRequests)
	setDefault(&l.ConnBytes, defaultConnBytes)
	setDefault(&l.TotalBytes, defaultTotalBytes)
	setDefault(&l.StalledTimeout, defaultStalled)
	return l
}

// setDefault sets *p to v if it is zero.
func setDefault[T comparable](p *T, v T) {
	var zero T
	if *p == zero {
		*p = v
	}
}
