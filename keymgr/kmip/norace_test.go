//go:build !race

package kmip_test

// slack stretches what tests allow for time.
const slack = 1
