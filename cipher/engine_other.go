//go:build !amd64 && !arm64

package cipher

// accelerated is empty: this processor gets the generic engine.
func accelerated() []engine { return nil }
