//go:build !amd64

package bench

// aesLimit knows no loops for this processor.
func aesLimit(string) (run func(n int), bytes int) { return nil, 0 }
