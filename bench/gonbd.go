package bench

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"

	"github.com/pojntfx/go-nbd/pkg/backend"
	peer "github.com/pojntfx/go-nbd/pkg/server"
)

// ServeGoNBD serves a file on a Unix socket with the server of the go-nbd
// module, as its example does, until ctx ends. It is a peer to measure and
// nothing to use: it has no flush, and drops connections at errors.
func ServeGoNBD(ctx context.Context, socket, file string) error {
	f, err := os.OpenFile(file, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	ln, err := net.Listen("unix", socket)
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	context.AfterFunc(ctx, func() { ln.Close() })
	// One back end for all connections, as in the module's example: its lock is
	// part of what is measured.
	disk := backend.NewFileBackend(f)
	for {
		c, err := ln.Accept()
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("accept: %w", err)
		}
		go func() {
			defer c.Close()
			_ = peer.Handle(c, []*peer.Export{{Name: export, Backend: disk}}, nil) // it has no log
		}()
	}
}
