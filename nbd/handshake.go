package nbd

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"

	"lockplate/blockdev"
)

// Ends of a handshake that are nobody's fault or have a metric label of their
// own; all others are bad handshakes.
var (
	errAborted     = errors.New("client left during the handshake")
	errTLSRequired = errors.New("client asked for an export without TLS, which is required")
)

// handshake is the negotiation of one connection ("Fixed newstyle
// negotiation"). It reads from the socket exactly what it needs, never ahead:
// so nothing that was sent in plain text can be taken for something said
// under TLS (CVE-2021-3716).
type handshake struct {
	c       *conn
	nc      net.Conn
	secure  bool // TLS is on
	forced  bool // TLS must be on first
	noZeros bool // client flag NO_ZEROES
	missed  bool // an export that was asked for could not be had
	agreed

	hdr  [optionHeaderBytes]byte
	data []byte // of the option in hand
	out  []byte // replies of the option in hand
}

// agreed is what STARTTLS makes forgotten.
type agreed struct {
	mode    replyMode
	context bool   // base:allocation is selected …
	name    string // … for this export
}

// newHandshake makes the negotiation of c; whether TLS is forced depends on
// where the client comes from and stays so for the whole connection.
func newHandshake(c *conn) *handshake {
	_, local := c.nc.(*net.UnixConn)
	forced := c.srv.require && !(local && c.srv.plain)
	return &handshake{c: c, nc: c.nc, forced: forced}
}

// run negotiates until the client has chosen an export. The device is open
// and belongs to the caller. terms.openName is set as soon as it is known.
func (h *handshake) run(ctx context.Context) (blockdev.Device, terms, error) {
	if err := h.greet(); err != nil {
		return nil, terms{}, err
	}
	for range maxOptions {
		opt, err := h.readOption()
		var dev blockdev.Device
		var t terms
		if err == nil {
			dev, t, err = h.option(ctx, opt)
		}
		if err == errAborted && h.missed {
			err = errNoExport
		}
		if err != nil || dev != nil {
			return dev, t, err
		}
	}
	return nil, terms{}, errors.New("too many options")
}

// greet exchanges the magic numbers and flags.
func (h *handshake) greet() error {
	p := binary.BigEndian.AppendUint64(nil, magicInit)
	p = binary.BigEndian.AppendUint64(p, magicOption)
	p = binary.BigEndian.AppendUint16(p, flagFixedNewstyle|flagNoZeroes)
	if _, err := h.nc.Write(p); err != nil {
		return fmt.Errorf("greet: %w", err)
	}
	if err := readAll(h.nc, h.hdr[:4]); err != nil {
		return leaving("read client flags", err)
	}
	flags := binary.BigEndian.Uint32(h.hdr[:])
	if flags&^uint32(flagFixedNewstyle|flagNoZeroes) != 0 {
		return fmt.Errorf("unknown client flags %#x", flags)
	}
	h.noZeros = flags&uint32(flagNoZeroes) != 0
	return nil
}

// leaving wraps an error of reading where a client may also just leave.
func leaving(what string, err error) error {
	if errors.Is(err, io.EOF) {
		return errAborted
	}
	return fmt.Errorf("%s: %w", what, err)
}

// readOption reads an option and its data, of which it takes only so much.
func (h *handshake) readOption() (uint32, error) {
	if err := readAll(h.nc, h.hdr[:]); err != nil {
		return 0, leaving("read option", err)
	}
	if m := binary.BigEndian.Uint64(h.hdr[:]); m != magicOption {
		return 0, fmt.Errorf("wrong option magic %#x", m)
	}
	opt := binary.BigEndian.Uint32(h.hdr[8:])
	n := binary.BigEndian.Uint32(h.hdr[12:])
	if n > maxOptionBytes {
		return 0, fmt.Errorf("option %d has %d bytes of data, more than %d", opt, n, maxOptionBytes)
	}
	if cap(h.data) < int(n) {
		h.data = make([]byte, n)
	}
	h.data = h.data[:n]
	if err := readAll(h.nc, h.data); err != nil {
		return 0, leaving("read option data", noEOF(err))
	}
	return opt, nil
}

// option acts on one option. A device means that transmission begins.
func (h *handshake) option(ctx context.Context, opt uint32) (blockdev.Device, terms, error) {
	if opt == optAbort {
		h.reply(opt, repAck)
		h.send() // the client may be gone already
		return nil, terms{}, errAborted
	}
	if h.forced && !h.secure && opt != optStartTLS {
		if opt == optExportName {
			return nil, terms{}, errTLSRequired
		}
		h.refuse(opt, repErrTLSReqd, "this server requires TLS")
		return nil, terms{}, h.send()
	}
	switch opt {
	case optExportName:
		return h.exportName(ctx)
	case optStartTLS:
		return nil, terms{}, h.startTLS(ctx)
	case optGo, optInfo:
		dev, t := h.goOrInfo(ctx, opt)
		if err := h.send(); err != nil {
			closeDevice(dev)
			return nil, t, err
		}
		return dev, t, nil
	case optList:
		h.list(ctx)
	case optStructuredReply, optExtendedHeaders:
		h.raiseMode(opt)
	case optListMeta, optSetMeta:
		h.metaContext(ctx, opt)
	default:
		h.refuse(opt, repErrUnsup, "unknown option")
	}
	return nil, terms{}, h.send()
}

// closeDevice closes dev if there is one.
func closeDevice(dev blockdev.Device) {
	if dev != nil {
		dev.Close()
	}
}

// reply adds a reply with the given parts of data to what send will send.
func (h *handshake) reply(opt, typ uint32, data ...[]byte) {
	n := 0
	for _, d := range data {
		n += len(d)
	}
	h.out = binary.BigEndian.AppendUint64(h.out, magicOptionReply)
	h.out = binary.BigEndian.AppendUint32(h.out, opt)
	h.out = binary.BigEndian.AppendUint32(h.out, typ)
	h.out = binary.BigEndian.AppendUint32(h.out, uint32(n))
	for _, d := range data {
		h.out = append(h.out, d...)
	}
}

// refuse adds an error reply with a text for people.
func (h *handshake) refuse(opt, typ uint32, text string) {
	h.reply(opt, typ, []byte(text))
}

// send writes the replies.
func (h *handshake) send() error {
	_, err := h.nc.Write(h.out)
	h.out = h.out[:0]
	if err != nil {
		return fmt.Errorf("answer option: %w", err)
	}
	return nil
}

// startTLS encrypts the connection and forgets everything agreed before.
func (h *handshake) startTLS(ctx context.Context) error {
	switch {
	case len(h.data) > 0:
		h.refuse(optStartTLS, repErrInvalid, "STARTTLS has no data")
		return h.send()
	case h.secure:
		h.refuse(optStartTLS, repErrInvalid, "TLS is on already")
		return h.send()
	case h.c.srv.tls == nil:
		h.refuse(optStartTLS, repErrPolicy, "this server has no TLS certificate")
		return h.send()
	}
	h.reply(optStartTLS, repAck)
	if err := h.send(); err != nil {
		return err
	}
	// The deadline of the handshake is on the socket and holds for TLS too.
	t := tls.Server(&corkedConn{Conn: h.nc, pool: &h.c.srv.pool}, h.c.srv.tls)
	if err := t.HandshakeContext(ctx); err != nil {
		return &tlsError{err}
	}
	h.c.secure(t)
	h.nc, h.secure, h.agreed = t, true, agreed{}
	return nil
}

// raiseMode is STRUCTURED_REPLY and EXTENDED_HEADERS.
func (h *handshake) raiseMode(opt uint32) {
	switch {
	case len(h.data) > 0:
		h.refuse(opt, repErrInvalid, "this option has no data")
	case opt == optExtendedHeaders:
		h.mode = modeExtended
		h.reply(opt, repAck)
	case h.mode == modeExtended:
		h.refuse(opt, repErrExtHeader, "extended headers are in use already")
	default:
		h.mode = modeStructured
		h.reply(opt, repAck)
	}
}

// list is LIST: one reply for each name.
func (h *handshake) list(ctx context.Context) {
	if len(h.data) > 0 {
		h.refuse(optList, repErrInvalid, "LIST has no data")
		return
	}
	names, err := h.c.srv.exports.Names(ctx)
	if err != nil {
		h.refuseError(optList, err)
		return
	}
	for _, name := range names {
		h.reply(optList, repServer, binary.BigEndian.AppendUint32(nil, uint32(len(name))), []byte(name))
	}
	h.reply(optList, repAck)
}

// refuseError answers what Exports said.
func (h *handshake) refuseError(opt uint32, err error) {
	switch {
	case errors.Is(err, blockdev.ErrNotExist):
		h.refuse(opt, repErrUnknown, "no such export")
	case errors.Is(err, blockdev.ErrClosed) || errors.Is(err, context.Canceled):
		h.refuse(opt, repErrShutdown, "shutting down")
	case errors.Is(err, blockdev.ErrBusy):
		h.refuse(opt, repErrPolicy, "export is busy")
	default:
		h.refuse(opt, repErrPolicy, "export cannot be opened now")
	}
	h.c.srv.log.Warn("export refused", "client", remote(h.c.nc), "err", err)
}
