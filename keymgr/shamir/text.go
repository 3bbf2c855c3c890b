package shamir

import (
	"bytes"
	"crypto/sha256"
	"fmt"
)

// A share as text is prefix and 14 groups of 6 characters, joined by dashes:
//
//	lockplate-share-1-0G40R4-…
//
// Each group has 5 characters of data and one that checks them and the group's
// place. The characters are Crockford's base 32, 5 bits each, high bits first:
// digits and letters without I, L, O and U. The data are 43 bytes and 6 zero bits:
//
//	 0  4  set id
//	 4  1  threshold
//	 5  1  index
//	 6 32  value
//	38  5  first bytes of SHA-256 over "lockplate share 1" and bytes 0-37
//
// Readers take small letters, O for 0, I and L for 1, and space anywhere.
const (
	textFamily  = "lockplate-share-"
	textPrefix  = textFamily + "1-"
	checkLabel  = "lockplate share 1"
	alphabet    = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
	groups      = 14
	groupData   = 5
	headBytes   = 6
	checkBytes  = 5
	shareBytes  = headBytes + SecretBytes + checkBytes
	symbolCount = groups * (groupData + 1)

	// MaxText bounds the text of a share, with room for spaces.
	MaxText = 512
)

// Text is the share as people keep it. The caller wipes it.
func (s Share) Text() []byte {
	data := make([]byte, 0, groups*groupData*5/8+1)
	defer func() { clear(data[:cap(data)]) }()
	data = append(data, s.Set[:]...)
	data = append(data, byte(s.Threshold), byte(s.Index))
	data = append(data, s.value...)
	data = append(data, check(data)...)
	data = data[:cap(data)] // the zero bits
	out := append(make([]byte, 0, len(textPrefix)+symbolCount+groups), textPrefix...)
	for g := range groups {
		sum := groupStart(g)
		for i := range groupData {
			v := bits5(data, (g*groupData+i)*5)
			sum = groupNext(sum, v)
			out = append(out, alphabet[v])
		}
		out = append(out, alphabet[groupNext(sum, 0)])
		if g < groups-1 {
			out = append(out, '-')
		}
	}
	return out
}

// bits5 reads 5 bits at a bit offset, which may end a byte later.
func bits5(b []byte, at int) byte {
	w := uint16(b[at/8]) << 8
	if at/8+1 < len(b) {
		w |= uint16(b[at/8+1])
	}
	return byte(w >> (11 - at%8) & 31)
}

// groupStart and groupNext compute the check character: a polynomial over
// GF(32), so that one wrong character and two that changed places are found,
// and so is a group in a wrong place.
func groupStart(g int) byte { return byte(g + 1) }

func groupNext(sum, v byte) byte {
	sum <<= 1
	return (sum^0x25&-(sum>>5))&31 ^ v // modulo x^5+x^2+1
}

func check(data []byte) []byte {
	h := sha256.New()
	h.Write([]byte(checkLabel))
	h.Write(data)
	return h.Sum(nil)[:checkBytes]
}

// Parse reads the text of a share; the caller wipes both. ErrText says where it
// was mistyped, ErrVersion is for a share of another version.
func Parse(text []byte) (Share, error) {
	if len(text) > MaxText {
		return Share{}, fmt.Errorf("%w: %d characters", ErrText, len(text))
	}
	t := bytes.ToLower(bytes.Join(bytes.Fields(text), nil))
	defer clear(t)
	rest, ok := bytes.CutPrefix(t, []byte(textPrefix))
	if !ok {
		if bytes.HasPrefix(t, []byte(textFamily)) {
			return Share{}, ErrVersion
		}
		return Share{}, fmt.Errorf("%w: it begins with %s", ErrText, textPrefix)
	}
	data, err := decode(bytes.ReplaceAll(rest, []byte("-"), nil))
	if err != nil {
		return Share{}, err
	}
	defer clear(data)
	body := data[:headBytes+SecretBytes]
	s := Share{Set: SetID(body), Threshold: int(body[4]), Index: int(body[5])}
	switch {
	case !bytes.Equal(check(body), data[len(body):shareBytes]):
		return Share{}, fmt.Errorf("%w: its checksum does not fit", ErrText)
	case s.Threshold < MinThreshold || s.Index == 0 || data[shareBytes]>>2 != 0:
		return Share{}, fmt.Errorf("%w: threshold %d, index %d", ErrText, s.Threshold, s.Index)
	}
	s.value = bytes.Clone(body[headBytes:])
	return s, nil
}

// decode turns characters into bytes, group by group, and wipes them.
func decode(symbols []byte) ([]byte, error) {
	defer clear(symbols)
	if len(symbols) != symbolCount {
		return nil, fmt.Errorf("%w: it has %d characters after %s, not %d", ErrText, len(symbols), textPrefix, symbolCount)
	}
	data := make([]byte, shareBytes+1)
	for g := range groups {
		sum := groupStart(g)
		for i := range groupData + 1 {
			v, ok := symbol(symbols[g*(groupData+1)+i])
			if sum = groupNext(sum, v); !ok || i == groupData && sum != 0 {
				clear(data)
				return nil, fmt.Errorf("%w: group %d is mistyped", ErrText, g+1)
			}
			if i < groupData {
				put5(data, (g*groupData+i)*5, v)
			}
		}
	}
	return data, nil
}

// put5 writes 5 bits at a bit offset of zero bits.
func put5(b []byte, at int, v byte) {
	w := uint16(v) << (11 - at%8)
	b[at/8] |= byte(w >> 8)
	if at/8+1 < len(b) {
		b[at/8+1] |= byte(w)
	}
}

// symbol gives the value of a character in lower case.
func symbol(c byte) (byte, bool) {
	switch c {
	case 'o':
		c = '0'
	case 'i', 'l':
		c = '1'
	}
	i := bytes.IndexByte([]byte(alphabet), bytes.ToUpper([]byte{c})[0])
	return byte(max(i, 0)), i >= 0
}
