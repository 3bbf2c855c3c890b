//go:build race

package kmip_test

// slack stretches what tests allow for time: the race detector is slow.
const slack = 6
