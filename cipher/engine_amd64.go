package cipher

import "golang.org/x/sys/cpu"

// accelerated lists what this processor can run, the best first.
func accelerated() []engine {
	x := &cpu.X86
	if !x.HasAES || !x.HasPCLMULQDQ {
		return nil
	}
	s := steps{subWordAESNI, invMixColumnsAESNI}
	list := []engine{{
		"aesni", s, [2]kernel{encrypt128AESNI, encrypt256AESNI}, [2]kernel{decrypt128AESNI, decrypt256AESNI},
	}}
	if !x.HasAVX2 || !wideAES() {
		return list
	}
	list = append([]engine{{
		"avx2-vaes", s, [2]kernel{encrypt128AVX2, encrypt256AVX2}, [2]kernel{decrypt128AVX2, decrypt256AVX2},
	}}, list...)
	if !x.HasAVX512F || !x.HasAVX512BW || !x.HasAVX512DQ || !x.HasAVX512VL {
		return list
	}
	wide := engine{
		"avx512-vaes", s, [2]kernel{encrypt128AVX512, encrypt256AVX512}, [2]kernel{decrypt128AVX512, decrypt256AVX512},
	}
	if slowsDownFor512() {
		return append(list[:1:1], append([]engine{wide}, list[1:]...)...)
	}
	return append([]engine{wide}, list...)
}

// wideAES reports VAES and VPCLMULQDQ. x/sys/cpu counts them as features of
// AVX-512, but processors with AVX2 alone have them too (Zen 3, Alder Lake).
func wideAES() bool {
	_, _, ecx, _ := cpuid(7, 0)
	return ecx&(1<<9) != 0 && ecx&(1<<10) != 0
}

// slowsDownFor512 names the Intel models whose clock falls while 512-bit
// registers are in use, by family 6 and model: Ice Lake, Tiger Lake and Rocket
// Lake.
func slowsDownFor512() bool {
	_, ebx, ecx, edx := cpuid(0, 0)
	if ebx != 0x756e6547 || edx != 0x49656e69 || ecx != 0x6c65746e { // GenuineIntel
		return false
	}
	eax, _, _, _ := cpuid(1, 0)
	if eax>>8&0xf != 6 {
		return false
	}
	switch eax>>4&0xf | eax>>12&0xf0 {
	case 0x6a, 0x6c, 0x7d, 0x7e, 0x8c, 0x8d, 0xa7:
		return true
	}
	return false
}
