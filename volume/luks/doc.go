// Package luks reads and writes LUKS2 containers and reads LUKS1 containers,
// written from the on-disk formats (LUKS2 On-Disk Format Specification 1.1,
// LUKS1 On-Disk Format Specification 1.2.3).
//
// Format makes a container, Read parses one into a Header. A Header is a
// snapshot: it is never changed, methods that change the disk return the next
// snapshot, and refuse with ErrChanged when somebody else wrote in between.
//
//	h, err := luks.Format(ctx, dev, key, luks.Options{SectorSize: 4096})
//	h, slot, err := h.AddKeyslot(ctx, dev, key, passphrase, luks.KDF{})
//	key, slot, err := h.Unlock(ctx, dev, passphrase)
//	s, err := h.Sectors(key) // encrypts and decrypts the data segment
//
// The volume key is the caller's: a container may have no keyslot at all, then
// only who has the key opens it, and VerifyKey tells whether it is the one.
//
// A LUKS2 header exists twice. Every change first goes to the copy that may be
// lost, is made durable, and then goes to the other, so that at any moment at
// least one whole copy of the old or the new header is on the disk.
//
// After an error from a method that writes, the disk holds the old or the new
// header: Read tells which, and the change can be tried again.
//
// What is not understood is either kept (tokens, JSON members, flags) or
// refused with ErrUnsupported (requirements, ciphers); nothing is dropped.
// LUKS1 is never written.
package luks
