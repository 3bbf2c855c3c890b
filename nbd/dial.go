package nbd

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"time"
)

// defaultPort is the registered port of NBD.
const defaultPort = "10809"

// maxReplyBytes bounds the data of one option reply (bytes): the longest
// strings of the protocol and what stands around them.
const maxReplyBytes = 16 << 10

// maxListed bounds the names a List takes from a server.
const maxListed = 1 << 20

// DialOptions say how a Client talks to a server. The zero value asks for
// everything and takes what the server has.
type DialOptions struct {
	// TLS encrypts the connection, which then fails if the server cannot.
	// ServerName defaults to the host dialled. The schemes nbds and nbds+unix
	// need it, the others must not have it.
	TLS *tls.Config
	// Simple keeps to simple replies: no holes, no extents.
	Simple bool
	// Compact does not ask for extended headers.
	Compact bool
	// AnyAlign does not ask for block sizes: Info().Align is 1 and every
	// request goes out as it is. For servers known to take that.
	AnyAlign bool
}

// target is a parsed address of an export.
type target struct {
	network, address, export, host string
	tls                            bool
}

// parseURI reads nbd://host[:port]/export, nbd+unix:///export?socket=PATH and
// the same with nbds for TLS.
func parseURI(uri string) (target, error) {
	u, err := url.Parse(uri)
	if err != nil {
		return target{}, fmt.Errorf("parse NBD address: %w", err)
	}
	t := target{export: strings.TrimPrefix(u.Path, "/"), host: u.Hostname()}
	scheme, unix := strings.CutSuffix(u.Scheme, "+unix")
	if scheme != "nbd" && scheme != "nbds" {
		return target{}, fmt.Errorf("parse NBD address %q: scheme must be nbd, nbds, nbd+unix or nbds+unix", uri)
	}
	t.tls = scheme == "nbds"
	if unix {
		t.network, t.address, t.host = "unix", u.Query().Get("socket"), "localhost"
		if t.address == "" {
			return target{}, fmt.Errorf("parse NBD address %q: ?socket=PATH is missing", uri)
		}
		return t, nil
	}
	if t.host == "" {
		return target{}, fmt.Errorf("parse NBD address %q: host is missing", uri)
	}
	port := u.Port()
	if port == "" {
		port = defaultPort
	}
	t.network, t.address = "tcp", net.JoinHostPort(t.host, port)
	return t, nil
}

// connect dials a target.
func (t target) connect(ctx context.Context, o DialOptions) (net.Conn, error) {
	if t.tls != (o.TLS != nil) {
		return nil, errors.New("TLS configuration and scheme (nbds or nbd) disagree")
	}
	var d net.Dialer
	nc, err := d.DialContext(ctx, t.network, t.address)
	if err != nil {
		return nil, err
	}
	setSocketOptions(nc)
	return nc, nil
}

// Dial attaches the export at uri: nbd://host[:port]/export,
// nbd+unix:///export?socket=PATH, or nbds for TLS. ctx bounds the handshake.
func Dial(ctx context.Context, uri string, o DialOptions) (*Client, error) {
	t, err := parseURI(uri)
	if err != nil {
		return nil, err
	}
	nc, err := t.connect(ctx, o)
	if err != nil {
		return nil, fmt.Errorf("attach %s: %w", uri, err)
	}
	o = o.named(t.host)
	c, err := NewClient(ctx, nc, t.export, o)
	if err != nil {
		return nil, fmt.Errorf("attach %s: %w", uri, err)
	}
	return c, nil
}

// named sets the server name of TLS where it is not set.
func (o DialOptions) named(host string) DialOptions {
	if o.TLS != nil && o.TLS.ServerName == "" {
		o.TLS = o.TLS.Clone()
		o.TLS.ServerName = host
	}
	return o
}

// List asks the server at uri for the names of its exports.
func List(ctx context.Context, uri string, o DialOptions) ([]string, error) {
	t, err := parseURI(uri)
	if err != nil {
		return nil, err
	}
	nc, err := t.connect(ctx, o)
	if err != nil {
		return nil, fmt.Errorf("list exports of %s: %w", uri, err)
	}
	defer nc.Close()
	g := &dialogue{nc: nc, o: o.named(t.host)}
	names, err := g.list(ctx)
	if err != nil {
		return nil, fmt.Errorf("list exports of %s: %w", uri, err)
	}
	return names, nil
}

// dialogue is the client's side of a handshake.
type dialogue struct {
	nc   net.Conn
	o    DialOptions
	mode replyMode
	meta uint32 // id of base:allocation; valid with allocation
	allocation,
	zeroes bool // the server sends padding after EXPORT_NAME

	size             uint64
	flags            uint16
	least, preferred uint32
	most             uint32
}

// refusal is an error reply to an option.
type refusal struct {
	typ  uint32
	text string
}

// Error says what the code means, and what the server added. That text is
// quoted: it is the server's and may hold anything.
func (r *refusal) Error() string {
	what := fmt.Sprintf("refused with error %d", r.typ&^repErrBit)
	switch r.typ {
	case repErrUnsup:
		what = "option not supported by the server"
	case repErrPolicy:
		what = "refused by the server's policy"
	case repErrTLSReqd:
		what = "the server requires TLS"
	case repErrUnknown:
		what = "no such export"
	case repErrShutdown:
		what = "the server is shutting down"
	}
	if r.text != "" {
		what += fmt.Sprintf(" (%q)", r.text)
	}
	return what
}

// bounded runs f with the connection cut when ctx ends.
func (g *dialogue) bounded(ctx context.Context, f func() error) error {
	raw := g.nc
	stop := context.AfterFunc(ctx, func() { raw.SetDeadline(time.Unix(1, 0)) })
	err := f()
	if !stop() {
		return ctx.Err()
	}
	if err == nil {
		g.nc.SetDeadline(time.Time{})
	}
	return err
}

// start greets and encrypts.
func (g *dialogue) start(ctx context.Context) error {
	var p [18]byte
	if err := readAll(g.nc, p[:]); err != nil {
		return fmt.Errorf("read greeting: %w", noEOF(err))
	}
	flags := binary.BigEndian.Uint16(p[16:])
	if binary.BigEndian.Uint64(p[:]) != magicInit || binary.BigEndian.Uint64(p[8:]) != magicOption ||
		flags&flagFixedNewstyle == 0 {
		return errors.New("not an NBD server that speaks fixed newstyle")
	}
	flags &= flagFixedNewstyle | flagNoZeroes
	g.zeroes = flags&flagNoZeroes == 0
	if _, err := g.nc.Write(binary.BigEndian.AppendUint32(nil, uint32(flags))); err != nil {
		return fmt.Errorf("greet: %w", err)
	}
	if g.o.TLS == nil {
		return nil
	}
	if _, err := g.ask(optStartTLS, nil, nil); err != nil {
		return fmt.Errorf("start TLS: %w", err)
	}
	t := tls.Client(g.nc, g.o.TLS)
	if err := t.HandshakeContext(ctx); err != nil {
		return fmt.Errorf("start TLS: %w", err)
	}
	g.nc = t
	return nil
}

// send writes an option.
func (g *dialogue) send(opt uint32, data []byte) error {
	p := binary.BigEndian.AppendUint64(nil, magicOption)
	p = binary.BigEndian.AppendUint32(p, opt)
	p = binary.BigEndian.AppendUint32(p, uint32(len(data)))
	_, err := g.nc.Write(append(p, data...))
	return err
}

// ask sends an option and reads the replies until ACK. Each reply before it
// is given to each. An error reply of the server is a *refusal.
func (g *dialogue) ask(opt uint32, data []byte, each func(typ uint32, data []byte) error) (*refusal, error) {
	if err := g.send(opt, data); err != nil {
		return nil, err
	}
	for range maxListed {
		typ, p, err := g.receive(opt)
		switch {
		case err != nil:
			return nil, err
		case typ == repAck:
			return nil, nil
		case typ&repErrBit != 0:
			r := &refusal{typ, string(p)}
			return r, r
		case each == nil:
		default:
			if err := each(typ, p); err != nil {
				return nil, err
			}
		}
	}
	return nil, errors.New("too many replies to an option")
}

// receive reads one reply to opt.
func (g *dialogue) receive(opt uint32) (typ uint32, data []byte, err error) {
	var h [optionReplyBytes]byte
	if err := readAll(g.nc, h[:]); err != nil {
		return 0, nil, noEOF(err)
	}
	n := binary.BigEndian.Uint32(h[16:])
	if binary.BigEndian.Uint64(h[:]) != magicOptionReply || binary.BigEndian.Uint32(h[8:]) != opt || n > maxReplyBytes {
		return 0, nil, errors.New("malformed reply to an option")
	}
	data = make([]byte, n)
	err = readAll(g.nc, data)
	return binary.BigEndian.Uint32(h[12:]), data, noEOF(err)
}

// list is the handshake of List.
func (g *dialogue) list(ctx context.Context) (names []string, err error) {
	err = g.bounded(ctx, func() error {
		if err := g.start(ctx); err != nil {
			return err
		}
		_, err := g.ask(optList, nil, func(typ uint32, p []byte) error {
			name, _, ok := cutString(p)
			if typ != repServer || !ok {
				return errors.New("malformed list of exports")
			}
			names = append(names, string(name))
			return nil
		})
		if err != nil {
			return err
		}
		return g.send(optAbort, nil)
	})
	return names, err
}

// negotiate is the handshake of a Client.
func (g *dialogue) negotiate(ctx context.Context, export string) error {
	return g.bounded(ctx, func() error {
		if err := g.start(ctx); err != nil {
			return err
		}
		if err := g.raise(); err != nil {
			return err
		}
		if err := g.selectAllocation(export); err != nil {
			return err
		}
		return g.enter(export)
	})
}

// raise asks for the best replies there are.
func (g *dialogue) raise() error {
	if g.o.Simple {
		return nil
	}
	if !g.o.Compact {
		refused, err := g.ask(optExtendedHeaders, nil, nil)
		if err == nil {
			g.mode = modeExtended
		}
		if refused == nil {
			return err
		}
	}
	refused, err := g.ask(optStructuredReply, nil, nil)
	if err == nil {
		g.mode = modeStructured
	}
	if refused == nil {
		return err
	}
	return nil
}

// selectAllocation asks for base:allocation. A server without it is fine.
func (g *dialogue) selectAllocation(export string) error {
	if g.mode == modeSimple {
		return nil
	}
	p := appendString(nil, export)
	p = binary.BigEndian.AppendUint32(p, 1)
	p = appendString(p, allocationContext)
	refused, err := g.ask(optSetMeta, p, func(typ uint32, p []byte) error {
		if typ == repMetaContext && len(p) >= 4 && string(p[4:]) == allocationContext {
			g.meta, g.allocation = binary.BigEndian.Uint32(p), true
		}
		return nil
	})
	if refused != nil {
		g.allocation = false
		return nil
	}
	return err
}

// appendString appends a string with its 32-bit length.
func appendString(p []byte, s string) []byte {
	return append(binary.BigEndian.AppendUint32(p, uint32(len(s))), s...)
}

// enter is GO, or EXPORT_NAME where that is not known.
func (g *dialogue) enter(export string) error {
	p := appendString(nil, export)
	if g.o.AnyAlign {
		p = binary.BigEndian.AppendUint16(p, 0)
	} else {
		p = binary.BigEndian.AppendUint16(p, 1)
		p = binary.BigEndian.AppendUint16(p, infoBlockSize)
	}
	found := false
	refused, err := g.ask(optGo, p, func(typ uint32, p []byte) error {
		found = found || (typ == repInfo && len(p) == 12 && binary.BigEndian.Uint16(p) == infoExport)
		return g.info(typ, p)
	})
	if refused != nil && refused.typ == repErrUnsup && g.mode != modeExtended {
		return g.enterByName(export)
	}
	if err == nil && !found {
		err = errors.New("the server did not tell the export's size")
	}
	return err
}

// info takes in one INFO reply.
func (g *dialogue) info(typ uint32, p []byte) error {
	if typ != repInfo || len(p) < 2 {
		return errors.New("malformed information about the export")
	}
	switch kind := binary.BigEndian.Uint16(p); {
	case kind == infoExport && len(p) == 12:
		g.size, g.flags = binary.BigEndian.Uint64(p[2:]), binary.BigEndian.Uint16(p[10:])
	case kind == infoBlockSize && len(p) == 14:
		g.least = binary.BigEndian.Uint32(p[2:])
		g.preferred = binary.BigEndian.Uint32(p[6:])
		g.most = binary.BigEndian.Uint32(p[10:])
		if g.least == 0 || g.least&(g.least-1) != 0 || g.least > 1<<16 || g.most < g.least {
			return errors.New("malformed block sizes of the export")
		}
	}
	return nil
}

// enterByName is EXPORT_NAME.
func (g *dialogue) enterByName(export string) error {
	if err := g.send(optExportName, []byte(export)); err != nil {
		return err
	}
	var p [10 + legacyPadding]byte
	n := 10
	if g.zeroes {
		n = len(p)
	}
	if err := readAll(g.nc, p[:n]); err != nil {
		return fmt.Errorf("export refused: %w", noEOF(err))
	}
	g.size, g.flags = binary.BigEndian.Uint64(p[:]), binary.BigEndian.Uint16(p[8:])
	return nil
}
