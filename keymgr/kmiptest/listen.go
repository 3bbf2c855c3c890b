package kmiptest

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strings"
	"syscall"
)

// Ports of servers that a test stops and starts again. They lie below those
// that Linux gives to outgoing connections and to whoever asks for any (32768
// and up), or one of those could take the port while the server is down.
const firstPort, lastPort = 20000, 32000

// listen listens on address; port 0 is any that stays ours.
func listen(address string) (net.Listener, error) {
	host, any := strings.CutSuffix(address, ":0")
	if !any {
		return net.Listen("tcp", address)
	}
	for {
		l, err := net.Listen("tcp", fmt.Sprintf("%s:%d", host, firstPort+rand.IntN(lastPort-firstPort)))
		if !errors.Is(err, syscall.EADDRINUSE) {
			return l, err
		}
	}
}
