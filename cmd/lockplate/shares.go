package main

import (
	"bytes"
	"fmt"
	"io"
)

// maxShareFile bounds a file with shares in bytes: 255 of them.
const maxShareFile = 64 << 10

// readLimited reads all of a file with shares.
func readLimited(r io.Reader, name string) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(r, maxShareFile+1))
	if err == nil && len(b) > maxShareFile {
		err = usagef("%s is longer than %d bytes", name, maxShareFile)
	}
	if err != nil {
		clear(b)
		return nil, fmt.Errorf("read recovery share: %w", err)
	}
	return b, nil
}

// splitShares finds the lines that begin as shares do; what 'lockplate key
// shares create' printed can be given as it is.
func splitShares(b []byte) (out [][]byte) {
	for line := range bytes.Lines(b) {
		line = bytes.TrimSpace(line)
		if bytes.HasPrefix(bytes.ToLower(line), []byte("lockplate-share-")) {
			out = append(out, bytes.Clone(line))
		}
	}
	return out
}
