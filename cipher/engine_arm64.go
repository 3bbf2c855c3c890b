package cipher

import "golang.org/x/sys/cpu"

// accelerated lists what this processor can run, the best first.
func accelerated() []engine {
	if !cpu.ARM64.HasAES {
		return nil
	}
	return []engine{{
		"arm64-ce",
		steps{subWordCE, invMixColumnsCE},
		[2]kernel{encrypt128CE, encrypt256CE},
		[2]kernel{decrypt128CE, decrypt256CE},
	}}
}

// The kernels with ARM's AES instructions, see kernel.
//
//go:noescape
func encrypt256CE(keys, dst, src *byte, sectors, units int, tweak uint64)

//go:noescape
func decrypt256CE(keys, dst, src *byte, sectors, units int, tweak uint64)

//go:noescape
func encrypt128CE(keys, dst, src *byte, sectors, units int, tweak uint64)

//go:noescape
func decrypt128CE(keys, dst, src *byte, sectors, units int, tweak uint64)

// subWordCE is SubWord of FIPS 197 section 5.2.
func subWordCE(w uint32) uint32

// invMixColumnsCE is InvMixColumns of FIPS 197 section 5.3.3.
//
//go:noescape
func invMixColumnsCE(dst, src *[16]byte)
