//go:build !race

package luks

// raceEnabled shortens what the race detector makes slow.
const raceEnabled = false
