package main

import (
	"math/big"
	"regexp"
	"strconv"
	"strings"

	"github.com/dustin/go-humanize"
)

// minPlain is the smallest size that may be written without a unit: below it
// a forgotten unit is more likely than a size in bytes.
const minPlain = 1 << 20

// parseSize reads a size in bytes: 10G, 10GiB, 512M, 1.5T, 10737418240. Units
// are powers of 1024. "GB" is refused, since half of the world means 10⁹ by
// it, and so is a small number without a unit.
func parseSize(s string) (int64, error) {
	m := sizePattern().FindStringSubmatch(s)
	if m == nil {
		return 0, hint(usagef("%q is not a size", s), "write a number and a unit: 512M, 10G, 1.5T")
	}
	number, unit := m[1], strings.ToUpper(m[2])
	if len(unit) == 2 {
		return 0, hint(usagef("size %q is ambiguous: %s may mean powers of 1000 or of 1024", s, m[2]),
			"write %s%siB for powers of 1024", number, unit[:1])
	}
	r, ok := new(big.Rat).SetString(number)
	if !ok {
		return 0, usagef("%q is not a size", s)
	}
	shift := 10 * uint(strings.Index("BKMGTPE", firstOf(unit, "B")[:1]))
	if shift == 0 && !r.IsInt() {
		return 0, usagef("size %q is not a whole number of bytes", s)
	}
	r.Mul(r, new(big.Rat).SetInt(new(big.Int).Lsh(big.NewInt(1), shift)))
	n, ok := roundUp(r)
	if !ok {
		return 0, usagef("size %q is not from 1 byte to 8 EiB", s)
	}
	if unit == "" && n < minPlain {
		return 0, hint(usagef("size %q has no unit", s), "write %sG for gibibytes, %sB for bytes", s, s)
	}
	return n, nil
}

// roundUp gives the whole number that is not less than r, if it is a size.
func roundUp(r *big.Rat) (int64, bool) {
	q, rest := new(big.Int).QuoRem(r.Num(), r.Denom(), new(big.Int))
	if rest.Sign() > 0 {
		q.Add(q, big.NewInt(1))
	}
	return q.Int64(), q.IsInt64() && q.Sign() > 0
}

// sizePattern takes apart a number and its unit; a unit of two letters (GB)
// is matched so that it can be refused with the reason.
func sizePattern() *regexp.Regexp {
	return regexp.MustCompile(`(?i)^([0-9]{1,19}(?:\.[0-9]{1,9})?)(B|[KMGTPE](?:iB|B)?)?$`)
}

// sizeFlag is a flag with a size.
type sizeFlag int64

func (f *sizeFlag) String() string {
	if *f == 0 {
		return ""
	}
	return formatSize(int64(*f))
}

func (f *sizeFlag) Set(s string) error {
	n, err := parseSize(s)
	*f = sizeFlag(n)
	return err
}

// Type names the value in the help text.
func (f *sizeFlag) Type() string { return "SIZE" }

// maxExact is the largest count of a unit that is worth showing exactly.
const maxExact = 1 << 14

// formatSize writes a size for people: exactly if that is short, else rounded.
// What it writes parseSize reads.
func formatSize(n int64) string {
	units := []string{"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"}
	for i := len(units) - 1; i >= 0; i-- {
		if u := int64(1) << (10 * i); n%u == 0 && n/u > 0 && n/u < maxExact {
			return strconv.FormatInt(n/u, 10) + units[i]
		}
	}
	return strings.ReplaceAll(humanize.IBytes(uint64(max(n, 0))), " ", "")
}
