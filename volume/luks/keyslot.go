package luks

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"lockplate/blockdev"
	"lockplate/cipher"
)

// Unlock finds the keyslot that opens with the passphrase and returns the
// volume key, checked against the digest, and the keyslot's number. The key is
// the caller's to wipe. Keyslots of high priority come first, those of low
// priority last. ErrWrongPassphrase when no keyslot opens; ErrNoKeyslot when
// there is none; ErrUnsupported when those that are there cannot be tried.
func (h *Header) Unlock(ctx context.Context, hdr blockdev.Device, passphrase []byte) (key []byte, slot int, err error) {
	var skipped []error
	slots := h.unlockOrder()
	if len(slots) == 0 {
		return nil, 0, fmt.Errorf("%w: the container has no keyslot for a passphrase", ErrNoKeyslot)
	}
	for _, s := range slots {
		if err := ctx.Err(); err != nil {
			return nil, 0, err
		}
		key, err := h.openSlot(ctx, hdr, s, passphrase)
		switch {
		case err == nil:
			return key, s.id, nil
		case errors.Is(err, ErrUnsupported):
			skipped = append(skipped, fmt.Errorf("keyslot %d: %w", s.id, err))
		case !errors.Is(err, ErrWrongKey):
			return nil, 0, fmt.Errorf("open keyslot %d: %w", s.id, err)
		}
	}
	return nil, 0, notOpened(len(slots), skipped)
}

// notOpened is the error when none of n keyslots opened.
func notOpened(n int, skipped []error) error {
	switch len(skipped) {
	case 0:
		return ErrWrongPassphrase
	case n:
		return errors.Join(skipped...)
	}
	return fmt.Errorf("%w (not tried: %v)", ErrWrongPassphrase, errors.Join(skipped...))
}

// unlockOrder lists the keyslots of the data segment's key by priority.
func (h *Header) unlockOrder() []slot {
	var out []slot
	for _, s := range h.meta.slots {
		if slices.ContainsFunc(h.Keyslots, func(k Keyslot) bool { return k.Slot == s.id }) {
			out = append(out, s)
		}
	}
	slices.SortStableFunc(out, func(a, b slot) int { return int(b.priority - a.priority) })
	return out
}

// openSlot returns the key in a keyslot if it is the volume key, else ErrWrongKey.
func (h *Header) openSlot(ctx context.Context, hdr blockdev.Device, s slot, passphrase []byte) ([]byte, error) {
	newH, err := newHash(s.afHash)
	if err != nil {
		return nil, err
	}
	if err := s.area.check(h.Version); err != nil {
		return nil, err
	}
	split, err := readRange(ctx, hdr, s.area.off, int(s.splitBytes()))
	if err != nil {
		return nil, err
	}
	defer clear(split)
	if err := s.crypt(split, passphrase, cipher.Sectors.Decrypt); err != nil {
		return nil, err
	}
	key := afMerge(split, s.keySize, s.stripes, newH)
	if err := h.VerifyKey(key); err != nil {
		clear(key)
		return nil, err
	}
	return key, nil
}

// check refuses keyslot areas that are not encrypted with AES-XTS.
func (a area) check(version int) error {
	known := a.encrypt == "aes-xts-plain64" || version == 1 && a.encrypt == "aes-xts-plain"
	if a.typ != "raw" || !known || a.keySize != 32 && a.keySize != 64 {
		return fmt.Errorf("%w: keyslot area of type %q, cipher %q with %d-byte key", ErrUnsupported, a.typ, a.encrypt, a.keySize)
	}
	return nil
}

// crypt runs the area's cipher over the split key with the passphrase's key.
func (s slot) crypt(split, passphrase []byte, fn func(x cipher.Sectors, dst, src []byte, first uint64)) error {
	k, err := s.kdf.derive(passphrase, s.area.keySize)
	if err != nil {
		return err
	}
	defer clear(k)
	x, err := cipher.NewXTS(k, areaSector)
	if err != nil {
		return err
	}
	fn(x, split, split, 0)
	return nil
}

// AddKeyslot makes a keyslot in which the passphrase opens the volume key, and
// returns the new header and the keyslot's number. The keyslot area is durable
// before the header that names it. Errors: ErrWrongKey, ErrNoRoom, ErrChanged,
// ErrReadOnly for LUKS1.
func (h *Header) AddKeyslot(ctx context.Context, hdr blockdev.Device, key, passphrase []byte, k KDF) (*Header, int, error) {
	u, err := h.begin(ctx, hdr)
	if err != nil {
		return nil, 0, fmt.Errorf("add keyslot: %w", err)
	}
	if err := h.VerifyKey(key); err != nil {
		return nil, 0, fmt.Errorf("add keyslot: %w", err)
	}
	s, err := h.newSlot(len(key), k)
	if err != nil {
		return nil, 0, fmt.Errorf("add keyslot: %w", err)
	}
	if err := h.fillArea(ctx, hdr, s, key, passphrase); err != nil {
		return nil, 0, fmt.Errorf("add keyslot: %w", err)
	}
	putSlot(u.tree, s, h.digest().id)
	next, err := u.commit(ctx)
	return next, s.id, err
}

// putSlot enters a keyslot and binds it to the digest of its key.
func putSlot(tree object, s slot, digestID int) {
	name := strconv.Itoa(s.id)
	section(tree, "keyslots")[name] = s.marshal()
	d := section(section(tree, "digests"), strconv.Itoa(digestID))
	list, _ := d["keyslots"].([]any)
	d["keyslots"] = append(list, name)
}

// newSlot chooses number, place and parameters of a keyslot.
func (h *Header) newSlot(keySize int, k KDF) (s slot, err error) {
	s = slot{typ: "luks2", keySize: keySize, stripes: afStripes, afHash: "sha256"}
	s.area = area{typ: "raw", encrypt: "aes-xts-plain64", keySize: areaKeyBytes, size: roundUp(s.splitBytes(), areaAlign)}
	if s.id, err = h.meta.freeSlot(); err != nil {
		return s, err
	}
	if s.area.off, err = h.meta.freeArea(h.hdrSize, s.area.size); err != nil {
		return s, err
	}
	if s.kdf, err = k.params(s.area.keySize); err != nil {
		return s, err
	}
	s.kdf.salt, err = randomBytes(h.rand, saltBytes)
	return s, err
}

// fillArea writes the split and encrypted key and makes it durable. The rest
// of the area gets random bytes, so that nothing old is left in it.
func (h *Header) fillArea(ctx context.Context, hdr blockdev.Device, s slot, key, passphrase []byte) error {
	newH, err := newHash(s.afHash)
	if err != nil {
		return err
	}
	split, err := afSplit(key, s.stripes, newH, h.rand)
	if err != nil {
		return err
	}
	defer clear(split)
	pad, err := randomBytes(h.rand, int(s.area.size)-len(split))
	if err != nil {
		return err
	}
	whole := append(split, pad...)
	defer clear(whole)
	if err := s.crypt(whole[:s.splitBytes()], passphrase, cipher.Sectors.Encrypt); err != nil {
		return err
	}
	return writeArea(ctx, hdr, s.area.off, whole)
}

// writeArea overwrites a keyslot area and makes that durable.
func writeArea(ctx context.Context, hdr blockdev.Device, off int64, p []byte) error {
	if err := writeRange(ctx, hdr, off, p); err != nil {
		return fmt.Errorf("write keyslot area: %w", err)
	}
	if err := hdr.Flush(ctx); err != nil {
		return fmt.Errorf("flush keyslot area: %w", err)
	}
	return nil
}

// marshal is the JSON object of a keyslot.
func (s slot) marshal() object {
	return object{
		"type": s.typ, "key_size": s.keySize,
		"af": object{"type": "luks1", "stripes": s.stripes, "hash": s.afHash},
		"area": object{
			"type": s.area.typ, "encryption": s.area.encrypt, "key_size": s.area.keySize,
			"offset": decimal(s.area.off), "size": decimal(s.area.size),
		},
		"kdf": s.kdf.marshal(),
	}
}

func (k kdfParams) marshal() object {
	o := object{"type": k.typ, "salt": base64.StdEncoding.EncodeToString(k.salt)}
	if k.typ == PBKDF2 {
		o["hash"], o["iterations"] = k.hash, k.rounds
		return o
	}
	o["time"], o["memory"], o["cpus"] = k.rounds, k.memory, k.threads
	return o
}

// decimal is how LUKS2 writes 64-bit numbers.
func decimal(n int64) string { return strconv.FormatInt(n, 10) }

// RemoveKeyslot overwrites the area of a keyslot with random bytes, makes that
// durable, and then takes the keyslot out of the header: after a crash in
// between it is still listed and can be removed again, but opens nothing.
// Whoever kept a copy of the old area and knows the passphrase still has the
// key. Errors: ErrNoKeyslot, ErrChanged, ErrReadOnly for LUKS1.
func (h *Header) RemoveKeyslot(ctx context.Context, hdr blockdev.Device, slotID int) (*Header, error) {
	u, err := h.begin(ctx, hdr)
	if err != nil {
		return nil, fmt.Errorf("remove keyslot %d: %w", slotID, err)
	}
	i := slices.IndexFunc(h.meta.slots, func(s slot) bool { return s.id == slotID && s.typ == "luks2" })
	if i < 0 {
		return nil, fmt.Errorf("remove keyslot %d: %w", slotID, ErrNoKeyslot)
	}
	if err := h.wipeArea(ctx, hdr, h.meta.slots[i].area); err != nil {
		return nil, fmt.Errorf("remove keyslot %d: %w", slotID, err)
	}
	dropSlot(u.tree, strconv.Itoa(slotID))
	return u.commit(ctx)
}

// wipeArea overwrites a keyslot area with random bytes. It does not punch a
// hole: that would leave the old bytes on the medium.
func (h *Header) wipeArea(ctx context.Context, hdr blockdev.Device, a area) error {
	noise, err := randomBytes(h.rand, int(a.size))
	if err != nil {
		return err
	}
	return writeArea(ctx, hdr, a.off, noise)
}

// dropSlot removes a keyslot and every reference to it.
func dropSlot(tree object, name string) {
	delete(section(tree, "keyslots"), name)
	for _, sec := range []string{"digests", "tokens"} {
		for _, v := range section(tree, sec) {
			unlist(v, name)
		}
	}
}

// unlist takes a keyslot out of the list of a digest or token.
func unlist(v any, name string) {
	o, _ := v.(object)
	if list, ok := o["keyslots"].([]any); ok {
		o["keyslots"] = slices.DeleteFunc(list, func(e any) bool { return e == name })
	}
}
