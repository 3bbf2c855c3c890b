//go:build race

package keymgr

// raceEnabled: the detector's shadow memory is too much to scan.
const raceEnabled = true
