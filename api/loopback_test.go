package api

import (
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
)

// The kernel is asked who owns the other end of a real connection.
func TestSocketOwnerIsFound(t *testing.T) {
	for _, address := range []string{"127.0.0.1:0", "[::1]:0"} {
		ln, err := net.Listen("tcp", address)
		if err != nil {
			t.Skipf("needs %s: %v", address, err)
		}
		defer ln.Close()
		c, err := net.Dial("tcp", ln.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		from, to := netip.MustParseAddrPort(c.LocalAddr().String()), netip.MustParseAddrPort(c.RemoteAddr().String())
		if uid, ok := socketOwner(from, to); !ok || uid != uint32(os.Getuid()) {
			t.Errorf("%s: owner %d, found %v; want %d", address, uid, ok, os.Getuid())
		}
		if uid, ok := socketOwner(to, netip.AddrPortFrom(from.Addr(), 1)); ok {
			t.Errorf("%s: a connection that does not exist belongs to %d", address, uid)
		}
	}
}

func TestSocketTable(t *testing.T) {
	const head = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
	from, to := netip.MustParseAddrPort("127.0.0.1:4660"), netip.MustParseAddrPort("127.0.0.1:10811")
	for line, want := range map[string]int{
		"0: 0100007F:1234 0100007F:2A3B 01 00000000:00000000 00:00000000 00000000  1000        0 1 1\n":     1000,
		"0: 0000000000000000FFFF00000100007F:1234 0000000000000000FFFF00000100007F:2A3B 01 0:0 0:0 0 7 0\n": 7,
		"0: 0100007F:1234 0100007F:2A3B 06 00000000:00000000 00:00000000 00000000     0        0 1 1\n":     -1, // TIME_WAIT
		"0: 0100007F:2A3B 0100007F:1234 01 00000000:00000000 00:00000000 00000000     0        0 1 1\n":     -1, // the other end
		"0: 0100007F:1234 0200007F:2A3B 01 00000000:00000000 00:00000000 00000000     0        0 1 1\n":     -1,
		"0: 7F:1234 x:y 01 0 0 0 0 0\n":                          -1,
		"0: 0100007F:1234 0100007F:2A3B 01 0:0 0:0 0 nobody 0\n": -1,
		"short\n": -1,
	} {
		uid, ok := findSocket(strings.NewReader(head+line), from, to)
		if want < 0 && ok || want >= 0 && (!ok || uid != uint32(want)) {
			t.Errorf("%q: %d, %v; want %d", line, uid, ok, want)
		}
	}
}
