package main

import (
	"fmt"
	"net"
	"net/url"
	"strings"

	"lockplate/api/wire"
)

// attachment holds the lines that attach a volume through one listener.
type attachment struct {
	URI       string `json:"uri"`
	NBDClient string `json:"nbdClient"`
	QEMU      string `json:"qemu"`
	NBDTab    string `json:"nbdtab"`
	FSTab     string `json:"fstab"`
}

// nbdPort is the registered port, which clients need not be told.
const nbdPort = "10809"

// attachments gives the lines for every NBD listener of the gateway. Volumes
// that are deleted have none.
func attachments(listeners []wire.Listener, v wire.Volume) []attachment {
	out := []attachment{}
	for _, l := range listeners {
		if l.Kind != "nbd" || v.Status == wire.VolumeDeleted {
			continue
		}
		network, addr, _ := strings.Cut(l.Address, ":")
		switch network {
		case "unix":
			out = append(out, unixAttachment(addr, v))
		case "tcp":
			if a, ok := tcpAttachment(addr, l.TLS, v); ok {
				out = append(out, a)
			}
		}
	}
	return out
}

// unixAttachment gives the lines for a socket.
func unixAttachment(path string, v wire.Volume) attachment {
	uri := "nbd+unix:///" + v.Name + "?socket=" + strings.ReplaceAll(url.PathEscape(path), "%2F", "/")
	return attachment{
		URI:       uri,
		NBDClient: fmt.Sprintf("nbd-client -unix %s /dev/nbd0 -name %s -block-size %d -persist", shellWord(path), v.Name, blockSize(v)),
		QEMU:      qemuLine(uri),
		NBDTab:    fmt.Sprintf("nbd0 %s %s unix,bs=%d,persist", path, v.Name, blockSize(v)),
		FSTab:     fstabLine(v),
	}
}

// tcpAttachment gives the lines for a TCP listener. The default port is left out
// where it can be.
func tcpAttachment(addr string, secure bool, v wire.Volume) (attachment, bool) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return attachment{}, false
	}
	host = reachable(host)
	at := host
	if strings.Contains(host, ":") {
		at = "[" + host + "]"
	}
	tab := fmt.Sprintf("nbd0 %s %s bs=%d,persist", host, v.Name, blockSize(v))
	if port != nbdPort {
		at += ":" + port
		tab += ",port=" + port
	}
	scheme, tls := "nbd", ""
	if secure {
		scheme, tls = "nbds", " -cacertfile CA.pem"
		tab += ",cacertfile=CA.pem"
	}
	uri := scheme + "://" + at + "/" + v.Name
	return attachment{
		URI:       uri,
		NBDClient: fmt.Sprintf("nbd-client %s %s /dev/nbd0 -name %s -block-size %d -persist%s", host, port, v.Name, blockSize(v), tls),
		QEMU:      qemuLine(uri),
		NBDTab:    tab,
		FSTab:     fstabLine(v),
	}, true
}

// reachable replaces the address of a listener on every interface, to which
// no client can connect from elsewhere.
func reachable(host string) string {
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		return "HOST"
	}
	return host
}

// qemuLine is the option for a virtual machine. In it qemu reads a comma as the
// end of the file name unless it is doubled.
func qemuLine(uri string) string {
	return "qemu-system-x86_64 … -drive " + shellWord("file="+strings.ReplaceAll(uri, ",", ",,")+",format=raw,if=virtio")
}

// fstabLine mounts what nbdtab attaches as nbd0.
func fstabLine(v wire.Volume) string {
	options := "defaults"
	if v.Access == "readOnly" {
		options = "ro"
	}
	return fmt.Sprintf("/dev/nbd0 /mnt/%s auto %s,_netdev,nofail,x-systemd.requires=nbd@nbd0.service 0 0", v.Name, options)
}

// blockSize is the sector size that clients are told.
func blockSize(v wire.Volume) int {
	if v.Enable512e || v.TotalSize%4096 != 0 {
		return 512
	}
	return 4096
}

// shellWord quotes s for a shell unless it is safe as it is.
func shellWord(s string) string {
	safe := func(r rune) bool {
		return r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || strings.ContainsRune("-_./:=,+@%", r)
	}
	if s != "" && strings.TrimLeftFunc(s, safe) == "" {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
