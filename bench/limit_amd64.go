package bench

// aesLimit gives the loop of bare AES rounds for an engine, and how many bytes
// one turn of it stands for. The engine's presence says that the processor has
// the instructions.
func aesLimit(engine string) (run func(n int), bytes int) {
	switch engine {
	case "avx512-vaes":
		return aesRoundsAVX512, 8 * 64
	case "avx2-vaes":
		return aesRoundsAVX2, 8 * 32
	case "aesni":
		return aesRoundsAESNI, 8 * 16
	}
	return nil, 0
}
