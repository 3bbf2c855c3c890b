package kmip

import "time"

// Numbers of the specification (KMIP 1.4).
const (
	headerBytes = 8 // tag 3, type 1, length 4 (section 9.1.1)
	alignBytes  = 8 // every value is padded to this

	// DefaultPort is the registered port of KMIP over TLS.
	DefaultPort = 5696
)

// Numbers of this implementation.
const (
	maxFrame  = 64 << 10 // bytes of an answer; a Get needs 300, a chatty Query 2,000
	maxDepth  = 12       // nesting of an answer; a Get with attributes needs 8
	maxNodes  = 20_000   // items of an answer
	maxID     = 256      // bytes of a server's unique identifier
	maxText   = 512      // bytes of a server's message that get into an error
	maxLocate = 10       // keys asked for by Locate unless told: two are too many already
	itemID    = 12       // random bytes of a batch item id

	maxAddresses = 16 // of one Client, joined or not
	maxIPs       = 8  // of one host name
	maxConns     = 8  // open at once to one address
	maxIdle      = 2  // kept open for the next request, to one address

	// MaxServers is how many key servers Join takes.
	MaxServers = 4

	// NameBytes is the longest name, group or custom attribute that servers
	// must take (Storage Array with Self-Encrypting Drives profile).
	NameBytes = 128

	defaultConnectTimeout = 5 * time.Second
	defaultRequestTimeout = 10 * time.Second
	idleTimeout           = 55 * time.Second // firewalls forget after a minute

	// A request that has to wait for its address is sent to the next one after
	// maxStagger, or sooner when there are many: all were asked after
	// staggerSum, so that failover stays under two seconds.
	maxStagger = 500 * time.Millisecond
	staggerSum = 1500 * time.Millisecond

	minBackoff = time.Second // an address that failed is tried last for so long
	maxBackoff = time.Minute // at most; doubled at each failure
)
