package api

import (
	"bufio"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"slices"
	"strings"
)

// maxSocketLines bounds how much of the kernel's table of connections is read.
const maxSocketLines = 1 << 20

// localRoot says whether a request came over the loopback interface from a
// process of root, or of the user that the gateway runs as. The address alone
// would let any user of this machine make the cluster, and with it name a key
// file for the gateway to write.
func localRoot(r *http.Request) bool {
	remote, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil || !remote.Addr().Unmap().IsLoopback() {
		return false
	}
	local, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	if !ok {
		return false
	}
	to, err := netip.ParseAddrPort(local.String())
	if err != nil {
		return false
	}
	uid, ok := socketOwner(remote, to)
	return ok && (uid == 0 || uid == uint32(os.Getuid()))
}

// socketOwner looks up the user whose socket is connected from one address of
// this machine to another (proc(5), /proc/net/tcp).
func socketOwner(from, to netip.AddrPort) (uint32, bool) {
	for _, name := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		f, err := os.Open(name)
		if err != nil {
			continue
		}
		uid, ok := findSocket(f, from, to)
		f.Close()
		if ok {
			return uid, true
		}
	}
	return 0, false
}

// findSocket reads a table of sockets: number, local and remote address, state
// (01 is established), queues, timers, retransmits, uid.
func findSocket(table io.Reader, from, to netip.AddrPort) (uid uint32, ok bool) {
	s := bufio.NewScanner(table)
	for n := 0; s.Scan() && n < maxSocketLines; n++ {
		f := strings.Fields(s.Text())
		if len(f) < 8 || f[3] != "01" {
			continue
		}
		if a, good := kernelAddr(f[1]); !good || a != unmapped(from) {
			continue
		}
		if a, good := kernelAddr(f[2]); !good || a != unmapped(to) {
			continue
		}
		_, err := fmt.Sscan(f[7], &uid)
		return uid, err == nil
	}
	return 0, false
}

func unmapped(a netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(a.Addr().Unmap().WithZone(""), a.Port())
}

// kernelAddr parses "0100007F:1F90": 32-bit words in the machine's byte order
// (little endian on all that Go and lockplate run on here), then the port.
func kernelAddr(s string) (netip.AddrPort, bool) {
	words, port, ok := strings.Cut(s, ":")
	b, err := hex.DecodeString(words)
	if !ok || err != nil || len(b) != 4 && len(b) != 16 {
		return netip.AddrPort{}, false
	}
	for w := range slices.Chunk(b, 4) {
		slices.Reverse(w)
	}
	a, _ := netip.AddrFromSlice(b)
	var n uint16
	if _, err := fmt.Sscanf(port, "%04X", &n); err != nil {
		return netip.AddrPort{}, false
	}
	return netip.AddrPortFrom(a.Unmap(), n), true
}
