package kmip

import (
	"net"
	"sync"
)

// wiping is the connection below TLS. crypto/tls decrypts answers where it read
// them, in a buffer that nobody else can reach, and leaves them there until
// later ones overwrite it. So this remembers where it was asked to read to, and
// zeroes all of that when it is closed.
type wiping struct {
	net.Conn

	mu   sync.Mutex
	read [][]byte // one for each array that was read into, its end included
}

// Read implements net.Conn.
func (w *wiping) Read(p []byte) (int, error) {
	w.remember(p)
	return w.Conn.Read(p)
}

// remember keeps p up to the end of its array, by which arrays are told apart.
func (w *wiping) remember(p []byte) {
	p = p[:cap(p)]
	if len(p) == 0 {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for i, known := range w.read {
		if end(known) == end(p) {
			if len(p) > len(known) {
				w.read[i] = p
			}
			return
		}
	}
	w.read = append(w.read, p)
}

// end points to the last byte of a slice that is not empty.
func end(p []byte) *byte { return &p[len(p)-1] }

// wipe zeroes all that was read. The connection must not be used afterwards: TLS
// may have kept the beginning of a later record there.
func (w *wiping) wipe() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, p := range w.read {
		clear(p)
	}
	w.read = nil
}
