package bench

import (
	"slices"
	"strconv"
)

// median of v; 0 if there is none. v keeps its order.
func median(v []float64) float64 { return quantile(v, 0.5) }

// quantile of v by linear interpolation between the two nearest; 0 if there is
// none. v keeps its order.
func quantile(v []float64, q float64) float64 {
	if len(v) == 0 {
		return 0
	}
	s := slices.Sorted(slices.Values(v))
	at := q * float64(len(s)-1)
	i := int(at)
	if i+1 >= len(s) {
		return s[len(s)-1]
	}
	return s[i] + (at-float64(i))*(s[i+1]-s[i])
}

// quotients divides place by place, as far as both have values.
func quotients(a, b []float64) []float64 {
	out := make([]float64, 0, min(len(a), len(b)))
	for i := range min(len(a), len(b)) {
		if b[i] != 0 {
			out = append(out, a[i]/b[i])
		}
	}
	return out
}

// rotated gives the numbers below n, beginning with another one each round, so
// that none always follows the same one.
func rotated(n, round int) []int {
	out := make([]int, n)
	for i := range out {
		out[i] = (i + round) % n
	}
	return out
}

// shortened keeps six digits: more are noise, and make the files long.
func shortened(v float64) float64 {
	short, err := strconv.ParseFloat(strconv.FormatFloat(v, 'g', 6, 64), 64)
	if err != nil {
		return v
	}
	return short
}
