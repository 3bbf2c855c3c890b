package nbd

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"
	"strings"
	"unicode/utf8"

	"github.com/docker/go-units"

	"lockplate/blockdev"
)

// errNoExport is a handshake that ended at an export that could not be had.
var errNoExport = errors.New("export not available")

// openExport opens an export. The empty name is the only export there is.
func (h *handshake) openExport(ctx context.Context, name string) (blockdev.Device, terms, error) {
	t := terms{mode: h.mode, openName: name}
	dev, err := h.c.srv.exports.Open(ctx, name)
	if name == "" && errors.Is(err, blockdev.ErrNotExist) {
		names, listErr := h.c.srv.exports.Names(ctx)
		if listErr == nil && len(names) == 1 {
			t.openName = names[0]
			dev, err = h.c.srv.exports.Open(ctx, names[0])
		}
	}
	if err != nil {
		return nil, t, err
	}
	t.info = dev.Info()
	t.context = h.context && h.name == name && t.mode != modeSimple
	t.txFlags = transmissionFlags(t.info, t.mode, t.context)
	return dev, t, nil
}

// transmissionFlags tells what an export can do ("Transmission flags").
func transmissionFlags(i blockdev.Info, m replyMode, meta bool) uint16 {
	f := txHasFlags | txFlush | txFUA | txMultiConn | txCache
	if i.ReadOnly {
		f |= txReadOnly
	} else {
		f |= txWriteZeroes | txFastZero
		if i.CanTrim {
			f |= txTrim
		}
	}
	if i.Rotational {
		f |= txRotational
	}
	if m != modeSimple {
		f |= txDF
	}
	if m == modeExtended && meta {
		f |= txStatusLoad
	}
	return f
}

// exportName is EXPORT_NAME, which knows no error but to hang up.
func (h *handshake) exportName(ctx context.Context) (blockdev.Device, terms, error) {
	if h.mode == modeExtended {
		return nil, terms{}, errors.New("EXPORT_NAME after EXTENDED_HEADERS")
	}
	if !validName(h.data) {
		return nil, terms{}, errors.New("malformed export name")
	}
	dev, t, err := h.openExport(ctx, string(h.data))
	if err != nil {
		return nil, terms{}, fmt.Errorf("%w: %q: %w", errNoExport, h.data, err)
	}
	h.out = binary.BigEndian.AppendUint64(h.out, uint64(t.info.Size))
	h.out = binary.BigEndian.AppendUint16(h.out, t.txFlags)
	if !h.noZeros {
		h.out = append(h.out, make([]byte, legacyPadding)...)
	}
	if err := h.send(); err != nil {
		dev.Close()
		return nil, t, err
	}
	return dev, t, nil
}

// validName says whether p may be an export name or a query: UTF-8, no NUL,
// and not too long ("Conventions").
func validName(p []byte) bool {
	return len(p) <= maxNameBytes && utf8.Valid(p) && !strings.ContainsRune(string(p), 0)
}

// goOrInfo is GO and INFO. The device is returned only for GO.
func (h *handshake) goOrInfo(ctx context.Context, opt uint32) (blockdev.Device, terms) {
	name, requests, ok := parseInfo(h.data)
	if !ok {
		h.refuse(opt, repErrInvalid, "malformed data")
		return nil, terms{}
	}
	dev, t, err := h.openExport(ctx, name)
	if err != nil {
		h.missed = true
		h.refuseError(opt, err)
		return nil, t
	}
	h.describe(opt, t, requests)
	h.reply(opt, repAck)
	if opt == optInfo {
		dev.Close()
		return nil, t
	}
	return dev, t
}

// parseInfo reads the data of GO and INFO: a name and what is asked for.
func parseInfo(p []byte) (name string, requests []uint16, ok bool) {
	b, p, ok := cutString(p)
	if !ok || !validName(b) || len(p) < 2 {
		return "", nil, false
	}
	n := int(binary.BigEndian.Uint16(p))
	p = p[2:]
	if len(p) != 2*n {
		return "", nil, false
	}
	for ; len(p) > 0; p = p[2:] {
		requests = append(requests, binary.BigEndian.Uint16(p))
	}
	return string(b), requests, true
}

// cutString takes a string with its 32-bit length off p.
func cutString(p []byte) (s, rest []byte, ok bool) {
	if len(p) < 4 {
		return nil, nil, false
	}
	n := binary.BigEndian.Uint32(p)
	p = p[4:]
	if uint64(n) > uint64(len(p)) {
		return nil, nil, false
	}
	return p[:n], p[n:], true
}

// describe answers the export's information and whatever else was asked for.
func (h *handshake) describe(opt uint32, t terms, requests []uint16) {
	p := binary.BigEndian.AppendUint16(nil, infoExport)
	p = binary.BigEndian.AppendUint64(p, uint64(t.info.Size))
	h.reply(opt, repInfo, binary.BigEndian.AppendUint16(p, t.txFlags))
	seen := map[uint16]bool{}
	for _, q := range requests {
		if seen[q] {
			continue
		}
		seen[q] = true
		p := binary.BigEndian.AppendUint16(nil, q)
		switch q {
		case infoName:
			p = append(p, t.openName...)
		case infoDescription:
			p = append(p, description(t.info)...)
		case infoBlockSize:
			least, preferred := blockSizes(t.info)
			p = binary.BigEndian.AppendUint32(p, least)
			p = binary.BigEndian.AppendUint32(p, preferred)
			p = binary.BigEndian.AppendUint32(p, maxPayloadBytes)
		default:
			continue
		}
		h.reply(opt, repInfo, p)
	}
}

// description is a line for people who look at the export with a tool.
func description(i blockdev.Info) string {
	s := fmt.Sprintf("lockplate volume, %s, %d-byte sectors", units.BytesSize(float64(i.Size)), max(1, i.PhysicalSector))
	if i.ReadOnly {
		s += ", read-only"
	}
	return s
}

// blockSizes are the minimum and preferred block size ("Size constraints").
// The minimum divides the export size, or the end could not be reached.
func blockSizes(i blockdev.Info) (least, preferred uint32) {
	l := ceilPow2(max(i.LogicalSector, i.Align, 1), 1<<16)
	for l > i.Align && i.Size%int64(l) != 0 {
		l /= 2
	}
	p := ceilPow2(max(i.PhysicalSector, i.OptimalIO, minPreferred, l), maxPayloadBytes)
	return uint32(l), uint32(p)
}

// ceilPow2 is the smallest power of two not below n, and at most limit.
func ceilPow2(n, limit int) int {
	return min(1<<bits.Len(uint(n-1)), limit)
}

// metaContext is LIST_META_CONTEXT and SET_META_CONTEXT.
func (h *handshake) metaContext(ctx context.Context, opt uint32) {
	if opt == optSetMeta {
		h.context = false // replaced, also when this fails
	}
	if h.mode == modeSimple {
		h.refuse(opt, repErrInvalid, "needs structured replies")
		return
	}
	name, queries, ok := parseMeta(h.data)
	switch {
	case !ok:
		h.refuse(opt, repErrInvalid, "malformed data")
		return
	case len(queries) > maxQueries:
		h.refuse(opt, repErrTooBig, "too many queries")
		return
	}
	dev, _, err := h.openExport(ctx, name)
	if err != nil {
		h.refuseError(opt, err)
		return
	}
	dev.Close()
	match := opt == optListMeta && len(queries) == 0
	for _, q := range queries {
		match = match || q == allocationContext || (q == "base:" && opt == optListMeta)
	}
	if match {
		id := uint32(0)
		if opt == optSetMeta {
			id = allocationID
			h.context, h.name = true, name
		}
		h.reply(opt, repMetaContext, binary.BigEndian.AppendUint32(nil, id), []byte(allocationContext))
	}
	h.reply(opt, repAck)
}

// parseMeta reads the data of the context options: a name and queries.
func parseMeta(p []byte) (name string, queries []string, ok bool) {
	b, p, ok := cutString(p)
	if !ok || !validName(b) || len(p) < 4 {
		return "", nil, false
	}
	n := binary.BigEndian.Uint32(p)
	p = p[4:]
	if uint64(n)*4 > uint64(len(p)) {
		return "", nil, false
	}
	for range n {
		var q []byte
		q, p, ok = cutString(p)
		if !ok || !validName(q) || !strings.Contains(string(q), ":") {
			return "", nil, false
		}
		queries = append(queries, string(q))
	}
	return string(b), queries, len(p) == 0
}
