package luks

import (
	"fmt"
	"math"
	"slices"
)

// slot is a keyslot of either version.
type slot struct {
	id       int
	typ      string // "luks2" opens the volume key; others are only kept
	keySize  int    // bytes of the key it holds
	stripes  int
	afHash   string
	area     area
	kdf      kdfParams
	priority int64 // 2 tried first, 1 normal, 0 tried last
}

// area is where a keyslot keeps its split and encrypted key, bytes of the device.
type area struct {
	typ       string
	off, size int64
	encrypt   string
	keySize   int // of the cipher
}

// areaKeyBytes is the cipher key of every new keyslot area: AES-256-XTS.
const areaKeyBytes = 64

// digest proves a volume key.
type digest struct {
	id       int
	kdf      kdfParams
	sum      []byte
	slots    []int
	segments []int
}

// meta is what the JSON area says, checked.
type meta struct {
	slots       []slot
	segments    []Segment
	digests     []digest
	token       *Token
	flags       []string
	areaSize    int64 // keyslots_size
	requirement string
}

// parseMeta reads and checks the tree of a header of hdrSize bytes. What only
// matters when it is used (ciphers, costs) is checked then.
func parseMeta(tree object, hdrSize int64) (*meta, error) {
	var err error
	f := fields{"header", tree, &err}
	m := &meta{}
	m.parseConfig(f.obj("config"), hdrSize)
	f.each("keyslots", maxKeyslots, func(id int, o fields) { m.slots = append(m.slots, parseSlot(id, o)) })
	f.each("segments", maxSegments, func(id int, o fields) { m.segments = append(m.segments, parseSegment(id, o)) })
	f.each("digests", maxKeyslots, func(id int, o fields) { m.digests = append(m.digests, parseDigest(id, o)) })
	f.each("tokens", maxKeyslots, func(_ int, o fields) { m.parseToken(o) })
	if m.requirement != "" { // before err: it may be the reason for it
		return nil, fmt.Errorf("%w: the header requires %q; finish that with cryptsetup first", ErrUnsupported, m.requirement)
	}
	if err != nil {
		return nil, err
	}
	return m, m.checkAreas(hdrSize)
}

func (m *meta) parseConfig(f fields, hdrSize int64) {
	if f.offset("json_size") != hdrSize-binSize {
		f.fail("json_size", fmt.Sprintf("%d expected", hdrSize-binSize))
	}
	m.areaSize = f.offset("keyslots_size")
	if m.areaSize > maxAreaBytes || m.areaSize%areaAlign != 0 {
		f.fail("keyslots_size", fmt.Sprintf("multiple of %d up to %d expected", areaAlign, maxAreaBytes))
	}
	m.flags = f.strings("flags")
	if !f.has("requirements") {
		return
	}
	// No requirement is known: each changes how the data has to be read.
	if list := f.obj("requirements").strings("mandatory"); len(list) > 0 {
		m.requirement = list[0]
	}
}

// parseSlot reads a keyslot; of types other than luks2 only the area.
func parseSlot(id int, f fields) slot {
	s := slot{id: id, typ: f.str("type"), priority: 1}
	a := f.obj("area")
	s.area = area{typ: a.str("type"), off: a.offset("offset"), size: a.offset("size")}
	if f.has("priority") {
		s.priority = f.num("priority", 0, 2)
	}
	if s.typ != "luks2" || s.area.typ != "raw" {
		return s
	}
	s.keySize = int(f.num("key_size", 1, maxKeyBytes))
	s.area.encrypt, s.area.keySize = a.str("encryption"), int(a.num("key_size", 1, maxKeyBytes))
	af := f.obj("af")
	s.afHash = af.str("hash")
	if s.stripes = int(af.num("stripes", 1, maxAFBytes)); s.splitBytes() > maxAFBytes || s.splitBytes() > s.area.size {
		af.fail("stripes", "more than the keyslot area holds")
	}
	s.kdf = parseKDF(f.obj("kdf"))
	return s
}

// splitBytes is the length of the split key, padded to whole area sectors.
func (s slot) splitBytes() int64 {
	return roundUp(int64(s.keySize)*int64(s.stripes), areaSector)
}

func parseKDF(f fields) kdfParams {
	k := kdfParams{typ: f.str("type"), salt: f.base64("salt", maxSaltBytes)}
	switch k.typ {
	case PBKDF2:
		k.hash, k.rounds = f.str("hash"), f.num("iterations", 1, math.MaxUint32)
	case Argon2id, "argon2i":
		k.rounds, k.memory, k.threads = f.num("time", 1, math.MaxUint32), f.num("memory", 1, math.MaxUint32), f.num("cpus", 1, math.MaxUint32)
	}
	return k
}

func parseSegment(id int, f fields) Segment {
	s := Segment{ID: id, Type: f.str("type"), Offset: f.offset("offset"), Flags: f.strings("flags")}
	if f.str("size") != "dynamic" {
		s.Size = f.offset("size")
		if s.Size == 0 {
			f.fail("size", "more than 0 or dynamic expected")
		}
	}
	if s.Type != "crypt" {
		return s
	}
	s.Cipher, s.IVTweak = f.str("encryption"), f.u64("iv_tweak")
	s.SectorSize = int(f.num("sector_size", 512, 4096))
	if !validSectorSize(s.SectorSize) {
		f.fail("sector_size", "512, 1024, 2048 or 4096 expected")
	} else if unit := int64(s.SectorSize); s.Offset%areaSector != 0 || s.Size%unit != 0 {
		f.fail("offset", "segment is not made of whole sectors")
	}
	s.Integrity = f.has("integrity")
	return s
}

func validSectorSize(n int) bool { return n >= 512 && n <= 4096 && n&(n-1) == 0 }

func parseDigest(id int, f fields) digest {
	d := digest{id: id, slots: f.ids("keyslots"), segments: f.ids("segments")}
	d.kdf.typ = f.str("type")
	if d.kdf.typ != PBKDF2 {
		return d
	}
	d.kdf = kdfParams{typ: PBKDF2, hash: f.str("hash"), rounds: f.num("iterations", 1, math.MaxUint32), salt: f.base64("salt", maxSaltBytes)}
	d.sum = f.base64("digest", checksumSize)
	return d
}

// checkAreas refuses keyslot areas outside their region or over each other.
func (m *meta) checkAreas(hdrSize int64) error {
	end := 2 * hdrSize
	for _, s := range m.byOffset() {
		if !s.area.within(end, 2*hdrSize+m.areaSize) {
			return fmt.Errorf("%w: area of keyslot %d (%d bytes at %d) is outside the keyslot region or over another",
				ErrCorrupt, s.id, s.area.size, s.area.off)
		}
		end = s.area.off + s.area.size
	}
	return nil
}

// within tells whether the area lies in [low, high), without overflow.
func (a area) within(low, high int64) bool {
	return a.off >= low && a.off <= high && a.size <= high-a.off
}

// byOffset returns the keyslots in the order of their areas.
func (m *meta) byOffset() []slot {
	sorted := slices.Clone(m.slots)
	slices.SortFunc(sorted, func(a, b slot) int { return int(min(max(a.area.off-b.area.off, -1), 1)) })
	return sorted
}

// freeArea finds room for a keyslot area of n bytes.
func (m *meta) freeArea(hdrSize, n int64) (int64, error) {
	off := 2 * hdrSize
	for _, s := range m.byOffset() {
		if s.area.off-off >= n {
			return off, nil
		}
		off = roundUp(s.area.off+s.area.size, areaAlign)
	}
	if 2*hdrSize+m.areaSize-off < n {
		return 0, fmt.Errorf("%w: no free keyslot area of %d bytes; remove a keyslot first", ErrNoRoom, n)
	}
	return off, nil
}

// freeSlot finds the lowest unused keyslot number.
func (m *meta) freeSlot() (int, error) {
	for id := range maxKeyslots {
		if !slices.ContainsFunc(m.slots, func(s slot) bool { return s.id == id }) {
			return id, nil
		}
	}
	return 0, fmt.Errorf("%w: all %d keyslots are in use; remove one first", ErrNoRoom, maxKeyslots)
}
