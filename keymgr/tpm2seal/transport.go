package tpm2seal

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"time"

	"github.com/google/go-tpm/tpm2"
	"golang.org/x/sys/unix"
)

const (
	headBytes   = 10   // of a response: tag, length, code
	maxResponse = 4096 // bytes: what TPMs and the kernel driver bound it to

	// commandTime bounds one command. Making a primary key may take a slow TPM
	// some seconds.
	commandTime = 30 * time.Second

	// retryLimit is how often a command is repeated that the TPM did not begin,
	// waiting 1, 2, 4 ms and so on: 4 s in all.
	retryLimit = 12
)

// link is one connection to a TPM, for one operation. It implements
// transport.TPM. What came over it is wiped when it is closed.
type link struct {
	ctx  context.Context
	rw   io.ReadWriteCloser
	seen [][]byte
}

// dial opens a character device or the socket of an emulator.
func dial(ctx context.Context, path string) (*link, error) {
	fi, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNoTPM, err)
	}
	var rw io.ReadWriteCloser
	switch {
	case fi.Mode()&os.ModeSocket != 0:
		rw, err = (&net.Dialer{Timeout: commandTime}).DialContext(ctx, "unix", path)
	case fi.Mode()&os.ModeCharDevice != 0:
		rw, err = openDevice(path)
	default:
		err = fmt.Errorf("%s is neither a device nor a socket", path)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNoTPM, err)
	}
	return &link{ctx: ctx, rw: rw}, nil
}

// openDevice opens for blocking use: on a descriptor that does not block, the
// kernel's driver answers reads with nothing until the TPM is done. The driver
// has time limits of its own.
func openDevice(path string) (io.ReadWriteCloser, error) {
	fd, err := unix.Open(path, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	return os.NewFile(uintptr(fd), path), nil
}

// close wipes what was received.
func (l *link) close() {
	for _, b := range l.seen {
		clear(b)
	}
	l.rw.Close()
}

// Send implements transport.TPM. A command is sent again only when the TPM says
// that it has not begun it: what counts attempts is never counted twice.
func (l *link) Send(cmd []byte) ([]byte, error) {
	for i := 0; ; i++ {
		rsp, err := l.once(cmd)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrNoTPM, err)
		}
		switch code := tpm2.TPMRC(binary.BigEndian.Uint32(rsp[6:])); {
		case code != tpm2.TPMRCRetry && code != tpm2.TPMRCYielded && code != tpm2.TPMRCTesting:
			return rsp, nil
		case i == retryLimit:
			return nil, fmt.Errorf("%w: it stays busy: %w", ErrNoTPM, code)
		}
		select {
		case <-l.ctx.Done():
			return nil, l.ctx.Err()
		case <-time.After(time.Millisecond << i):
		}
	}
}

// once sends a command and reads the whole response.
func (l *link) once(cmd []byte) ([]byte, error) {
	if err := l.ctx.Err(); err != nil {
		return nil, err
	}
	if c, ok := l.rw.(net.Conn); ok {
		if err := c.SetDeadline(time.Now().Add(commandTime)); err != nil {
			return nil, err
		}
		stop := context.AfterFunc(l.ctx, func() { c.SetDeadline(time.Unix(1, 0)) })
		defer stop()
	}
	if _, err := l.rw.Write(cmd); err != nil {
		return nil, err
	}
	buf := make([]byte, maxResponse)
	l.seen = append(l.seen, buf)
	for have := 0; ; {
		n, err := l.rw.Read(buf[have:])
		have += n
		if have >= headBytes {
			size := int64(binary.BigEndian.Uint32(buf[2:]))
			switch {
			case size < headBytes || size > maxResponse || int64(have) > size:
				return nil, fmt.Errorf("response of %d bytes says that it has %d", have, size)
			case int64(have) == size:
				return buf[:have], nil
			}
		}
		if err == nil && n == 0 {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			return nil, errors.Join(err, l.ctx.Err())
		}
	}
}
