package luks

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"lockplate/blockdev"
	"lockplate/blockdev/blockdevtest"
)

// rewrite replaces the JSON area of a container, keeping everything else valid.
func rewrite(t testing.TB, dev blockdev.Device, edit func(tree object)) {
	t.Helper()
	c, err := readCopies(context.Background(), dev)
	if err != nil {
		t.Fatal(err)
	}
	tree := c.copy[c.best].tree
	edit(tree)
	area, err := marshalJSON(tree, int(c.copy[c.best].bin.hdrSize)-binSize)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.write(context.Background(), dev, *c.copy[c.best].bin, area, nil); err != nil {
		t.Fatal(err)
	}
}

// at walks down a tree by member names.
func at(tree object, path ...string) object {
	for _, p := range path {
		tree = tree[p].(object)
	}
	return tree
}

func TestUnknownMembersSurvive(t *testing.T) {
	ctx := context.Background()
	dev, h := newContainer(t, 20<<20, Options{Token: &Token{"c", "v", "d"}})
	addSlot(t, dev, h, "first")
	rewrite(t, dev, func(tree object) {
		tree["future"] = object{"list": []any{json.Number("1"), nil, true, json.Number("1.50")}}
		at(tree, "config")["flags"] = []any{"allow-discards", "unheard-of"}
		at(tree, "config")["requirements"] = object{"optional": []any{"x"}, "mandatory": []any{}}
		at(tree, "segments", "0")["colour"] = "blue"
		at(tree, "keyslots", "0")["note"] = "mine"
		at(tree, "tokens", "0")["more"] = object{"a": json.Number("18446744073709551615")}
		at(tree, "tokens")["31"] = object{"type": "luks2-keyring", "keyslots": []any{"0"}, "key_description": "<desc>"}
	})
	h = reread(t, dev)
	if !slices.Equal(h.Flags, []string{"allow-discards", "unheard-of"}) {
		t.Errorf("flags %q", h.Flags)
	}
	var want bytes.Buffer
	if err := json.Compact(&want, bytes.TrimRight(h.area, "\x00")); err != nil {
		t.Fatal(err)
	}
	h = addSlot(t, dev, h, "second")
	h, err := h.RemoveKeyslot(ctx, dev, 1)
	if err != nil {
		t.Fatal(err)
	}
	h, err = h.SetToken(ctx, dev, Token{"c", "v", "other"})
	if err != nil {
		t.Fatal(err)
	}
	if h, err = h.SetToken(ctx, dev, Token{"c", "v", "d"}); err != nil {
		t.Fatal(err)
	}
	if got := string(bytes.TrimRight(h.area, "\x00")); got != want.String() {
		t.Errorf("after changes and back:\n%s\nwant\n%s", got, want.String())
	}
}

// TestRefusedMetadata gives headers with valid checksums and wrong contents.
func TestRefusedMetadata(t *testing.T) {
	slot0 := []string{"keyslots", "0"}
	in := func(path []string, name string, v any) func(object) {
		return func(tree object) { at(tree, path...)[name] = v }
	}
	for name, c := range map[string]struct {
		edit func(object)
		want error
		text string
	}{
		"mandatory requirement":     {in([]string{"config"}, "requirements", object{"mandatory": []any{"online-reencrypt"}}), ErrUnsupported, `"online-reencrypt"`},
		"no config":                 {in(nil, "config", nil), ErrCorrupt, "config"},
		"json size":                 {in([]string{"config"}, "json_size", "4096"), ErrCorrupt, "json_size"},
		"keyslots size as number":   {in([]string{"config"}, "keyslots_size", 16744448), ErrCorrupt, "keyslots_size"},
		"keyslots size too large":   {in([]string{"config"}, "keyslots_size", "18446744073709547520"), ErrCorrupt, "keyslots_size"},
		"keyslots size odd":         {in([]string{"config"}, "keyslots_size", "16744447"), ErrCorrupt, "keyslots_size"},
		"keyslots beyond device":    {in([]string{"config"}, "keyslots_size", "104857600"), ErrTruncated, ""},
		"flags no array":            {in([]string{"config"}, "flags", "allow-discards"), ErrCorrupt, "flags"},
		"no segments":               {in(nil, "segments", object{}), ErrCorrupt, "no data segment"},
		"segments missing":          {in(nil, "segments", nil), ErrCorrupt, "segments"},
		"segment number":            {in([]string{"segments"}, "x", object{}), ErrCorrupt, "segments.x"},
		"segment number 007":        {in([]string{"segments"}, "007", object{}), ErrCorrupt, "segments.007"},
		"negative offset":           {in([]string{"segments", "0"}, "offset", "-4096"), ErrCorrupt, "offset"},
		"huge offset":               {in([]string{"segments", "0"}, "offset", "18446744073709551104"), ErrCorrupt, "offset"},
		"odd offset":                {in([]string{"segments", "0"}, "offset", "16777217"), ErrCorrupt, "whole sectors"},
		"odd size":                  {in([]string{"segments", "0"}, "size", "4097"), ErrCorrupt, "whole sectors"},
		"size 0":                    {in([]string{"segments", "0"}, "size", "0"), ErrCorrupt, "size"},
		"sector size":               {in([]string{"segments", "0"}, "sector_size", 513), ErrCorrupt, "sector_size"},
		"sector size 8192":          {in([]string{"segments", "0"}, "sector_size", 8192), ErrCorrupt, "sector_size"},
		"sector size with fraction": {in([]string{"segments", "0"}, "sector_size", 512.5), ErrCorrupt, "sector_size"},
		"keyslot 32":                {in([]string{"keyslots"}, "32", object{}), ErrCorrupt, "keyslots.32"},
		"keyslot without area":      {in(slot0, "area", nil), ErrCorrupt, "keyslots.0.area"},
		"area in the header":        {in([]string{"keyslots", "0", "area"}, "offset", "4096"), ErrCorrupt, "outside"},
		"area in the data":          {in([]string{"keyslots", "0", "area"}, "offset", "16777216"), ErrCorrupt, "outside"},
		"area offset overflow":      {in([]string{"keyslots", "0", "area"}, "offset", "9223372036854775807"), ErrCorrupt, "offset"},
		"area too small":            {in([]string{"keyslots", "0", "area"}, "size", "4096"), ErrCorrupt, "stripes"},
		"area too large":            {in([]string{"keyslots", "0", "area"}, "size", "16748544"), ErrCorrupt, "outside"},
		"areas overlap":             {in([]string{"keyslots", "1", "area"}, "offset", "36864"), ErrCorrupt, "over another"},
		"too many stripes":          {in([]string{"keyslots", "0", "af"}, "stripes", 1<<31), ErrCorrupt, "stripes"},
		"no stripes":                {in([]string{"keyslots", "0", "af"}, "stripes", 0), ErrCorrupt, "stripes"},
		"key of 1 MiB":              {in(slot0, "key_size", 1<<20), ErrCorrupt, "key_size"},
		"salt no base64":            {in([]string{"keyslots", "0", "kdf"}, "salt", "???"), ErrCorrupt, "salt"},
		"salt of 2 KiB":             {in([]string{"keyslots", "0", "kdf"}, "salt", strings.Repeat("AAAA", 700)), ErrCorrupt, "salt"},
		"digest empty":              {in([]string{"digests", "0"}, "digest", ""), ErrCorrupt, "digest"},
		"digest of keyslot x":       {in([]string{"digests", "0"}, "keyslots", []any{"x"}), ErrCorrupt, "digests.0.x"},
		"digest of number":          {in([]string{"digests", "0"}, "keyslots", []any{1}), ErrCorrupt, "keyslots"},
		"token is a string":         {in([]string{"tokens"}, "0", "x"), ErrCorrupt, "tokens.0"},
		"our token without text":    {in([]string{"tokens"}, "0", object{"type": "lockplate", "volume": 7}), ErrCorrupt, "volume"},
	} {
		t.Run(name, func(t *testing.T) {
			dev, h := newContainer(t, 20<<20, Options{})
			addSlot(t, dev, addSlot(t, dev, h, "a"), "b")
			rewrite(t, dev, c.edit)
			_, err := Read(context.Background(), dev)
			if !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.text) {
				t.Errorf("error %v, want %v with %q", err, c.want, c.text)
			}
		})
	}
}

// TestRefusedWhenUsed gives headers that can be read, but not used.
func TestRefusedWhenUsed(t *testing.T) {
	ctx := context.Background()
	kdf := []string{"keyslots", "0", "kdf"}
	argon := func(name string, v int) func(object) {
		return func(tree object) {
			k := object{"type": "argon2id", "time": 4, "memory": 65536, "cpus": 1, "salt": "AAAA"}
			k[name] = v
			at(tree, "keyslots", "0")["kdf"] = k
		}
	}
	for name, c := range map[string]struct {
		edit func(object)
		text string
	}{
		"argon2 memory above 4 GiB": {argon("memory", 4<<20+1), "Argon2 memory in KiB 4194305, the limits are 32 to 4194304"},
		"argon2 memory tiny":        {argon("memory", 1), "Argon2 memory"},
		"argon2 passes":             {argon("time", 1<<31), "Argon2 passes"},
		"argon2 threads":            {argon("cpus", 65), "Argon2 threads 65"},
		"pbkdf2 rounds":             {func(tree object) { at(tree, kdf...)["iterations"] = 1<<26 + 1 }, "PBKDF2 rounds 67108865"},
		"pbkdf2 hash":               {func(tree object) { at(tree, kdf...)["hash"] = "md5" }, `hash "md5"`},
		"unknown kdf":               {func(tree object) { at(tree, kdf...)["type"] = "scrypt" }, `"scrypt"`},
		"af hash":                   {func(tree object) { at(tree, "keyslots", "0", "af")["hash"] = "md5" }, `hash "md5"`},
		"area cipher":               {func(tree object) { at(tree, "keyslots", "0", "area")["encryption"] = "aes-cbc-essiv:sha256" }, "aes-cbc"},
		"area key":                  {func(tree object) { at(tree, "keyslots", "0", "area")["key_size"] = 48 }, "48-byte key"},
	} {
		t.Run(name, func(t *testing.T) {
			dev, h := newContainer(t, 20<<20, Options{})
			addSlot(t, dev, h, "a")
			rewrite(t, dev, c.edit)
			h = reread(t, dev)
			_, _, err := h.Unlock(ctx, dev, []byte("a"))
			if !errors.Is(err, ErrUnsupported) || !strings.Contains(err.Error(), c.text) {
				t.Errorf("error %v, want %q", err, c.text)
			}
			h = addSlot(t, dev, h, "b") // another slot opens all the same
			wantKey(t, dev, h, "b", testKey(64, 1))
			_, _, err = h.Unlock(ctx, dev, []byte("a"))
			if !errors.Is(err, ErrWrongPassphrase) || !strings.Contains(err.Error(), "not tried: keyslot 0") {
				t.Errorf("with another slot: %v", err)
			}
		})
	}
}

func TestSegmentsThatCannotBeUsed(t *testing.T) {
	seg := []string{"segments", "0"}
	for name, edit := range map[string]func(object){
		"cipher":     func(tree object) { at(tree, seg...)["encryption"] = "serpent-xts-plain64" },
		"plain":      func(tree object) { at(tree, seg...)["encryption"] = "aes-xts-plain" },
		"linear":     func(tree object) { at(tree, seg...)["type"] = "linear" },
		"integrity":  func(tree object) { at(tree, seg...)["integrity"] = object{"type": "hmac(sha256)"} },
		"two of one": func(tree object) { at(tree, "segments")["1"] = cloneTree(at(tree, seg...)) },
	} {
		dev, _ := newContainer(t, 20<<20, Options{})
		rewrite(t, dev, edit)
		h := reread(t, dev)
		if _, err := h.Sectors(testKey(64, 1)); !errors.Is(err, ErrUnsupported) {
			t.Errorf("%s: Sectors: %v", name, err)
		}
		if _, err := h.DataSize(20 << 20); !errors.Is(err, ErrUnsupported) {
			t.Errorf("%s: DataSize: %v", name, err)
		}
		if _, err := h.SetSegmentSize(context.Background(), dev, 4096); !errors.Is(err, ErrUnsupported) {
			t.Errorf("%s: SetSegmentSize: %v", name, err)
		}
	}
}

// TestSeveralSegmentsAndDigests reads and rewrites what a re-encryption leaves
// in a header, without its requirement.
func TestSeveralSegmentsAndDigests(t *testing.T) {
	ctx := context.Background()
	dev, h := newContainer(t, 20<<20, Options{SegmentSize: 1 << 20})
	addSlot(t, dev, addSlot(t, dev, h, "mine"), "unbound")
	rewrite(t, dev, func(tree object) {
		next := cloneTree(at(tree, "segments", "0")).(object)
		next["offset"], next["flags"] = decimal(17<<20), []any{"backup-final"}
		at(tree, "segments")["1"] = next
		dig := cloneTree(at(tree, "digests", "0")).(object)
		dig["segments"], dig["keyslots"] = []any{"1"}, []any{"1"}
		at(tree, "digests")["1"] = dig
		at(tree, "digests", "0")["keyslots"] = []any{"0"}
		at(tree, "keyslots")["5"] = object{"type": "reencrypt", "mode": "reencrypt", "area": object{"type": "checksum", "offset": "8388608", "size": "4096"}}
	})
	h = reread(t, dev)
	if len(h.Segments) != 2 || h.Segments[1].Offset != 17<<20 || !slices.Equal(h.Segments[1].Flags, []string{"backup-final"}) {
		t.Errorf("segments %+v", h.Segments)
	}
	if !slices.Equal(h.Keyslots, []Keyslot{{0, PBKDF2}}) {
		t.Errorf("keyslots of the first segment's key: %v", h.Keyslots)
	}
	if _, _, err := h.Unlock(ctx, dev, []byte("unbound")); !errors.Is(err, ErrWrongPassphrase) {
		t.Errorf("keyslot of the other digest: %v", err)
	}
	h = addSlot(t, dev, h, "another")
	if _, err := h.RemoveKeyslot(ctx, dev, 5); !errors.Is(err, ErrNoKeyslot) {
		t.Errorf("removing a reencrypt keyslot: %v", err)
	}
	if at(h.tree, "keyslots", "5")["mode"] != "reencrypt" || len(h.meta.digests) != 2 {
		t.Error("the other segment's metadata was not kept")
	}
}

func TestHostileJSON(t *testing.T) {
	long := strings.Repeat
	for name, text := range map[string]string{
		"empty":            "",
		"array":            "[]",
		"space first":      " {}",
		"unclosed":         `{"a":`,
		"two objects":      "{}{}",
		"deep":             long(`{"a":`, 1000) + "1" + long("}", 1000),
		"deep arrays":      `{"a":` + long("[", 1_000_000),
		"many values":      `{"a":[` + long("0,", 1<<20) + `0]}`,
		"not UTF-8":        "{\"a\":\"\xff\xfe\"}",
		"bytes after":      "{}\x00x",
		"quoted brackets":  `{"a":"` + long("[", 100) + `"`,
		"escaped quote":    `{"a":"\"` + long("{", 100),
		"number as object": `{"a":1e999999999}x`,
	} {
		if _, err := parseJSON(append([]byte(text), 0, 0)); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := parseJSON([]byte(`{"a":"` + long(`[\"{`, 1000) + "\"}\x00")); err != nil {
		t.Errorf("brackets inside a string: %v", err)
	}
	if _, err := parseJSON([]byte("{}")); !errors.Is(err, ErrCorrupt) {
		t.Errorf("no zero at the end: %v", err)
	}
}

func TestKeyslotsFillUp(t *testing.T) {
	ctx := context.Background()
	dev, h := newContainer(t, 20<<20, Options{})
	for range maxKeyslots {
		h = addSlot(t, dev, h, "p")
	}
	if _, _, err := h.AddKeyslot(ctx, dev, testKey(64, 1), []byte("p"), FastKDF()); !errors.Is(err, ErrNoRoom) {
		t.Errorf("keyslot 33: %v", err)
	}
	h, err := h.RemoveKeyslot(ctx, dev, 7)
	if err != nil {
		t.Fatal(err)
	}
	h = addSlot(t, dev, h, "again")
	if slot := wantKey(t, dev, h, "again", testKey(64, 1)); slot != 7 {
		t.Errorf("the free slot was 7, not %d", slot)
	}
	reread(t, dev)

	small, h := newContainer(t, 2<<20, Options{DataOffset: 1 << 20})
	for range 3 {
		h = addSlot(t, small, h, "p")
	}
	if _, _, err := h.AddKeyslot(ctx, small, testKey(64, 1), []byte("p"), FastKDF()); !errors.Is(err, ErrNoRoom) {
		t.Errorf("fourth keyslot in 1 MiB: %v", err)
	}
}

func TestRemoveKeyslotWipesItsArea(t *testing.T) {
	ctx := context.Background()
	dev, h := newContainer(t, 20<<20, Options{})
	h = addSlot(t, dev, addSlot(t, dev, h, "a"), "b")
	gone, kept := h.meta.slots[0].area, h.meta.slots[1].area
	before, other := contents(t, dev, gone.off, gone.size), contents(t, dev, kept.off, kept.size)
	next, err := h.RemoveKeyslot(ctx, dev, 0)
	if err != nil {
		t.Fatal(err)
	}
	after := contents(t, dev, gone.off, gone.size)
	for i := 0; i < len(after); i += 16 {
		if bytes.Equal(before[i:i+16], after[i:i+16]) {
			t.Fatalf("16 bytes at %d of the area were not overwritten", i)
		}
	}
	if !bytes.Equal(other, contents(t, dev, kept.off, kept.size)) {
		t.Error("the other keyslot's area changed")
	}
	if _, err := next.RemoveKeyslot(ctx, dev, 0); !errors.Is(err, ErrNoKeyslot) {
		t.Errorf("removing it again: %v", err)
	}
	if len(h.Keyslots) != 2 {
		t.Error("the old snapshot changed")
	}
	wantKey(t, dev, reread(t, dev), "b", testKey(64, 1))
}

// TestOnlyWholeSectors runs everything on a device of 4096-byte sectors.
func TestOnlyWholeSectors(t *testing.T) {
	ctx := context.Background()
	dev := strict{blockdev.NewMem(20 << 20)}
	h, err := Format(ctx, dev, testKey(32, 1), Options{Token: &Token{"a", "b", "c"}})
	if err != nil {
		t.Fatal(err)
	}
	h, _, err = h.AddKeyslot(ctx, dev, testKey(32, 1), []byte("x"), FastKDF())
	if err != nil {
		t.Fatal(err)
	}
	h, _, err = h.AddKeyslot(ctx, dev, testKey(32, 1), []byte("y"), FastKDF())
	if err != nil {
		t.Fatal(err)
	}
	wantKey(t, dev, reread(t, dev), "y", testKey(32, 1))
	if _, err := h.RemoveKeyslot(ctx, dev, 0); err != nil {
		t.Fatal(err)
	}
	wantKey(t, dev, reread(t, dev), "y", testKey(32, 1))
	// An area that another program placed off the sectors is read and wiped too.
	area := contents(t, dev.Mem, h.meta.slots[1].area.off, 131072)
	put(t, dev.Mem, 1<<20+512, area)
	rewrite(t, dev, func(tree object) { at(tree, "keyslots", "1", "area")["offset"] = decimal(1<<20 + 512) })
	h = reread(t, dev)
	wantKey(t, dev, h, "y", testKey(32, 1))
	edge := contents(t, dev.Mem, 1<<20, 512)
	if _, err := h.RemoveKeyslot(ctx, dev, 1); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(edge, contents(t, dev.Mem, 1<<20, 512)) || bytes.Equal(area[:512], contents(t, dev.Mem, 1<<20+512, 512)) {
		t.Error("wiping did not keep to the area")
	}
}

func TestFormatRefuses(t *testing.T) {
	ctx := context.Background()
	equal := bytes.Repeat([]byte{1}, 64)
	for name, c := range map[string]struct {
		size int64
		key  []byte
		o    Options
		want error
	}{
		"key of 63 bytes":       {20 << 20, testKey(63, 1), Options{}, nil},
		"equal halves":          {20 << 20, equal, Options{}, nil},
		"sector size":           {20 << 20, testKey(64, 1), Options{SectorSize: 1000}, nil},
		"no room for data":      {16 << 20, testKey(64, 1), Options{}, ErrNoRoom},
		"no room for a keyslot": {20 << 20, testKey(64, 1), Options{DataOffset: 65536}, ErrNoRoom},
		"detached too small":    {65536, testKey(64, 1), Options{Detached: true}, ErrNoRoom},
		"segment beyond end":    {20 << 20, testKey(64, 1), Options{SegmentSize: 5 << 20}, ErrNoRoom},
		"segment not whole":     {20 << 20, testKey(64, 1), Options{SegmentSize: 4097}, nil},
		"odd data offset":       {20 << 20, testKey(64, 1), Options{DataOffset: 1<<20 + 512}, nil},
		"label too long":        {20 << 20, testKey(64, 1), Options{Label: strings.Repeat("x", 48)}, nil},
		"UUID too long":         {20 << 20, testKey(64, 1), Options{UUID: strings.Repeat("x", 40)}, nil},
	} {
		dev := blockdev.NewMem(c.size)
		_, err := Format(ctx, dev, c.key, c.o)
		if err == nil || c.want != nil && !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
		if _, err := Read(ctx, dev); !errors.Is(err, ErrNotLUKS) {
			t.Errorf("%s: something was written", name)
		}
	}
}

func TestFormatRemovesEveryOldHeader(t *testing.T) {
	ctx := context.Background()
	for size := int64(minHdrSize); size <= maxHdrSize; size *= 2 {
		dev := resized(t, size)
		if _, err := Format(ctx, dev, testKey(64, 2), Options{DataOffset: 1 << 20, UUID: "new"}); err != nil {
			t.Fatal(err)
		}
		put(t, dev, 0, make([]byte, 4096))
		if h, err := Read(ctx, dev); err != nil || h.UUID != "new" {
			t.Errorf("after losing the primary an old header of %d bytes is back: %v", size, err)
		}
	}
}

func TestSegmentSize(t *testing.T) {
	ctx := context.Background()
	dev, h := newContainer(t, 20<<20, Options{SegmentSize: 1 << 20, SectorSize: 512})
	for _, c := range []struct{ set, device, want int64 }{
		{1 << 20, 17 << 20, 1 << 20},
		{1 << 20, 17<<20 - 1, -1},
		{2 << 20, 20 << 20, 2 << 20},
		{0, 20<<20 + 511, 4 << 20},
		{0, 16<<20 + 511, -1},
		{0, 0, -1},
	} {
		next, err := h.SetSegmentSize(ctx, dev, c.set)
		if err != nil {
			t.Fatal(err)
		}
		h = reread(t, dev)
		if h.SegmentSize != c.set || next.SegmentSize != c.set {
			t.Errorf("set %d, have %d", c.set, h.SegmentSize)
		}
		got, err := h.DataSize(c.device)
		if c.want < 0 && !errors.Is(err, ErrTruncated) || c.want >= 0 && (err != nil || got != c.want) {
			t.Errorf("size %d on a device of %d: %d, %v", c.set, c.device, got, err)
		}
	}
	for _, n := range []int64{-512, 513} {
		if _, err := h.SetSegmentSize(ctx, dev, n); err == nil {
			t.Errorf("size %d was taken", n)
		}
	}
}

func TestTokensFillUp(t *testing.T) {
	dev, _ := newContainer(t, 20<<20, Options{})
	rewrite(t, dev, func(tree object) {
		for n := range maxKeyslots {
			at(tree, "tokens")[fmt.Sprint(n)] = object{"type": "other", "keyslots": []any{}}
		}
	})
	if _, err := reread(t, dev).SetToken(context.Background(), dev, Token{}); !errors.Is(err, ErrNoRoom) {
		t.Errorf("token 33: %v", err)
	}
}

func TestJSONAreaFillsUp(t *testing.T) {
	dev, h := newContainer(t, 20<<20, Options{})
	before := contents(t, dev, 0, 2*minHdrSize)
	_, err := h.SetToken(context.Background(), dev, Token{Volume: strings.Repeat("v", 12000)})
	if !errors.Is(err, ErrNoRoom) || !bytes.Equal(before, contents(t, dev, 0, 2*minHdrSize)) {
		t.Errorf("JSON area overflow: %v", err)
	}
}

func TestCancelledContext(t *testing.T) {
	dev, h := newContainer(t, 20<<20, Options{})
	h = addSlot(t, dev, h, "p")
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, _, err := h.Unlock(ctx, dev, []byte("p")); !errors.Is(err, context.Canceled) {
		t.Errorf("unlock: %v", err)
	}
}

// TestUnreadableCopy reads on when one copy's sectors cannot be read, and says
// which error it was when neither can.
func TestUnreadableCopy(t *testing.T) {
	ctx := context.Background()
	mem, _ := newContainer(t, 20<<20, Options{})
	dev := blockdevtest.NewFaulty(mem)
	dev.Arm(blockdevtest.Fault{Op: blockdevtest.OpRead, N: 3}) // 1: LUKS1, 2 and 3: primary
	h, err := Read(ctx, dev)
	if err != nil || len(h.Warnings) != 1 || dev.Fired() != 1 {
		t.Errorf("primary cannot be read: %v", err)
	}
	dev.Arm(blockdevtest.Fault{Op: blockdevtest.OpRead, N: 2, Stay: true})
	if _, err := Read(ctx, dev); !errors.Is(err, blockdevtest.ErrInjected) {
		t.Errorf("nothing can be read: %v", err)
	}
	dev.Arm(blockdevtest.Fault{Op: blockdevtest.OpRead, N: 1, Stay: true})
	if _, err := Read(ctx, dev); !errors.Is(err, blockdevtest.ErrInjected) {
		t.Errorf("nothing can be read at all: %v", err)
	}
}
