//go:build !race

package keymgr

const raceEnabled = false
