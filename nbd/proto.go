package nbd

import "github.com/pojntfx/go-nbd/pkg/protocol"

// Magic numbers.
const (
	magicInit         = protocol.NEGOTIATION_MAGIC_OLDSTYLE
	magicOption       = protocol.NEGOTIATION_MAGIC_OPTION
	magicOptionReply  = protocol.NEGOTIATION_MAGIC_REPLY
	magicRequest      = protocol.TRANSMISSION_MAGIC_REQUEST
	magicSimple       = protocol.TRANSMISSION_MAGIC_REPLY
	magicStructured   = uint32(0x668e33ef)
	magicExtRequest   = uint32(0x21e41c71)
	magicExtReply     = uint32(0x6e8a278c)
	legacyPadding     = 124 // zero bytes after EXPORT_NAME without NO_ZEROES
	optionHeaderBytes = 16
	optionReplyBytes  = 20
)

// Handshake and client flags.
const (
	flagFixedNewstyle = protocol.NEGOTIATION_HANDSHAKE_FLAG_FIXED_NEWSTYLE
	flagNoZeroes      = uint16(1 << 1)
)

// Options.
const (
	optExportName      = uint32(1)
	optAbort           = protocol.NEGOTIATION_ID_OPTION_ABORT
	optList            = protocol.NEGOTIATION_ID_OPTION_LIST
	optStartTLS        = uint32(5)
	optInfo            = protocol.NEGOTIATION_ID_OPTION_INFO
	optGo              = protocol.NEGOTIATION_ID_OPTION_GO
	optStructuredReply = uint32(8)
	optListMeta        = uint32(9)
	optSetMeta         = uint32(10)
	optExtendedHeaders = uint32(11)
)

// Option reply types.
const (
	repAck            = protocol.NEGOTIATION_TYPE_REPLY_ACK
	repServer         = protocol.NEGOTIATION_TYPE_REPLY_SERVER
	repInfo           = protocol.NEGOTIATION_TYPE_REPLY_INFO
	repMetaContext    = uint32(4)
	repErrUnsup       = protocol.NEGOTIATION_TYPE_REPLY_ERR_UNSUPPORTED
	repErrPolicy      = uint32(1<<31 + 2)
	repErrInvalid     = uint32(1<<31 + 3)
	repErrTLSReqd     = uint32(1<<31 + 5)
	repErrUnknown     = protocol.NEGOTIATION_TYPE_REPLY_ERR_UNKNOWN
	repErrShutdown    = uint32(1<<31 + 7)
	repErrTooBig      = uint32(1<<31 + 9)
	repErrExtHeader   = uint32(1<<31 + 10)
	repErrBit         = uint32(1 << 31)
	infoExport        = protocol.NEGOTIATION_TYPE_INFO_EXPORT
	infoName          = protocol.NEGOTIATION_TYPE_INFO_NAME
	infoDescription   = protocol.NEGOTIATION_TYPE_INFO_DESCRIPTION
	infoBlockSize     = protocol.NEGOTIATION_TYPE_INFO_BLOCKSIZE
	allocationContext = "base:allocation"
	allocationID      = uint32(1) // our id of base:allocation
)

// Transmission flags.
const (
	txHasFlags    = protocol.NEGOTIATION_REPLY_FLAGS_HAS_FLAGS
	txReadOnly    = uint16(1 << 1)
	txFlush       = uint16(1 << 2)
	txFUA         = uint16(1 << 3)
	txRotational  = uint16(1 << 4)
	txTrim        = uint16(1 << 5)
	txWriteZeroes = uint16(1 << 6)
	txDF          = uint16(1 << 7)
	txMultiConn   = protocol.NEGOTIATION_REPLY_FLAGS_CAN_MULTI_CONN
	txCache       = uint16(1 << 10)
	txFastZero    = uint16(1 << 11)
	txStatusLoad  = uint16(1 << 12) // BLOCK_STATUS_PAYLOAD
)

// Commands.
const (
	cmdRead        = protocol.TRANSMISSION_TYPE_REQUEST_READ
	cmdWrite       = protocol.TRANSMISSION_TYPE_REQUEST_WRITE
	cmdDisc        = protocol.TRANSMISSION_TYPE_REQUEST_DISC
	cmdFlush       = uint16(3)
	cmdTrim        = uint16(4)
	cmdCache       = uint16(5)
	cmdWriteZeroes = uint16(6)
	cmdBlockStatus = uint16(7)
	commands       = 8 // commands known
)

// Command flags.
const (
	flagFUA        = uint16(1 << 0)
	flagNoHole     = uint16(1 << 1)
	flagDF         = uint16(1 << 2)
	flagReqOne     = uint16(1 << 3)
	flagFastZero   = uint16(1 << 4)
	flagPayloadLen = uint16(1 << 5)
)

// Reply chunk types and flags, and sizes of headers in bytes.
const (
	chunkDone        = uint16(1 << 0)
	chunkNone        = uint16(0)
	chunkData        = uint16(1)
	chunkHole        = uint16(2)
	chunkStatus      = uint16(5)
	chunkStatusExt   = uint16(6)
	chunkError       = uint16(1<<15 + 1)
	chunkErrorOffset = uint16(1<<15 + 2)
	chunkErrorBit    = uint16(1 << 15)
	stateHole        = 1 // base:allocation
	stateZero        = 2

	requestBytes    = 28
	extRequestBytes = 32
	simpleBytes     = 16
	structuredBytes = 20
	extReplyBytes   = 32
	maxHeaderBytes  = extReplyBytes + 12 // the longest: an extended OFFSET_HOLE
	maxStatusLen32  = 1 << 31            // longest extent told in 32 bits, a multiple of every block size
)
