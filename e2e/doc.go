// Package e2e holds the proofs that need the built program and a client that
// we did not write: cryptsetup, the NBD tools, qemu, fio, a real kernel in a
// guest. It has tests only; nothing imports it.
//
// A test that lacks a tool or root skips with the reason; with
// LOCKPLATE_REQUIRE_ALL=1 it fails instead. LOCKPLATE_BIN names a binary to
// test in place of one built on the spot. With -short the long campaigns run a
// tenth of their rounds.
package e2e
