package cipher

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// vector is one published case, whatever its file.
type vector struct {
	name            string
	key, iv, pt, ct []byte
	mustRefuse      bool // the publisher says the key must not be accepted
}

// What became of a vector. A vector is checked as the beginning of a sector:
// block j of an XTS data unit does not depend on what follows it. With
// ciphertext stealing (a length that is no multiple of 16) all blocks but the
// last two are as without.
type outcome string

const (
	checkedWhole  outcome = "checked in both directions, every byte"
	checkedPrefix outcome = "checked up to the last two blocks: ciphertext stealing, which whole sectors never need"
	noPrefix      outcome = "not expressible: ciphertext stealing reaches the first block"
	refusedWeak   outcome = "refused: equal key halves"
	refusedSize   outcome = "refused: AES-192 halves, which neither dm-crypt nor IEEE 1619 has"
	wideTweak     outcome = "not expressible: tweak over 64 bits, sector numbers have 64"
)

func vectorFile(t *testing.T, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("..", "testdata", "vectors", name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func unhex(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func wycheproof(t *testing.T) []vector {
	var file struct {
		TestGroups []struct {
			Tests []struct {
				TcID                              int
				Comment, Key, IV, Msg, Ct, Result string
			}
		}
	}
	if err := json.Unmarshal(vectorFile(t, "aes_xts_test.json"), &file); err != nil {
		t.Fatal(err)
	}
	var out []vector
	for _, g := range file.TestGroups {
		for _, c := range g.Tests {
			if c.Result != "valid" {
				t.Fatalf("case %d: result %q is new to this test", c.TcID, c.Result)
			}
			out = append(out, vector{
				name: c.Comment, key: unhex(t, c.Key), iv: unhex(t, c.IV), pt: unhex(t, c.Msg), ct: unhex(t, c.Ct),
			})
		}
	}
	return out
}

func ieee1619(t *testing.T) []vector {
	var out []vector
	fields := map[string]string{}
	end := func() {
		if fields["Cipher"] != "" {
			out = append(out, vector{
				name: fields["Cipher"] + " iv " + fields["IV"],
				key:  unhex(t, fields["Key"]), iv: unhex(t, fields["IV"]),
				pt: unhex(t, fields["Plaintext"]), ct: unhex(t, fields["Ciphertext"]),
				mustRefuse: fields["Result"] == "KEY_SET_ERROR",
			})
		}
		clear(fields)
	}
	lines := bufio.NewScanner(bytes.NewReader(vectorFile(t, "ieee1619_xts_evp.txt")))
	for lines.Scan() {
		k, v, ok := strings.Cut(lines.Text(), " = ")
		if lines.Text() == "" {
			end()
		} else if ok {
			fields[k] = v
		}
	}
	end()
	return out
}

func acvp(t *testing.T) []vector {
	type group struct {
		Tests []struct {
			TcID           int
			Key, Pt, Ct    string
			SequenceNumber uint64
		}
	}
	var prompt, expected []struct{ TestGroups []group }
	if err := json.Unmarshal(vectorFile(t, "acvp_aes_xts_prompt.json"), &prompt); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(vectorFile(t, "acvp_aes_xts_expected.json"), &expected); err != nil {
		t.Fatal(err)
	}
	var out []vector
	for i, g := range prompt[1].TestGroups {
		for j, c := range g.Tests {
			answer := expected[1].TestGroups[i].Tests[j]
			if answer.TcID != c.TcID {
				t.Fatal("answers are in another order")
			}
			iv := binary.LittleEndian.AppendUint64(nil, c.SequenceNumber)
			out = append(out, vector{
				name: "ACVP", key: unhex(t, c.Key), iv: iv, pt: unhex(t, c.Pt+answer.Pt), ct: unhex(t, c.Ct+answer.Ct),
			})
		}
	}
	return out
}

func TestVectors(t *testing.T) {
	for _, file := range []struct {
		name string
		load func(*testing.T) []vector
		want map[outcome]int
	}{
		{"Wycheproof", wycheproof, map[outcome]int{
			checkedWhole: 26, checkedPrefix: 10, noPrefix: 30, refusedSize: 41, wideTweak: 16,
		}},
		{"IEEE 1619", ieee1619, map[outcome]int{
			checkedWhole: 27, checkedPrefix: 13, noPrefix: 5, refusedWeak: 3,
		}},
		{"ACVP", acvp, map[outcome]int{checkedWhole: 2}},
	} {
		t.Run(file.name, func(t *testing.T) {
			got := map[outcome]int{}
			for _, v := range file.load(t) {
				o := v.run(t)
				got[o]++
				if v.mustRefuse && o != refusedWeak {
					t.Errorf("%s: must be refused, was %s", v.name, o)
				}
			}
			for o, n := range got {
				t.Logf("%3d %s", n, o)
				if file.want[o] != n {
					t.Errorf("%d vectors %s, want %d", n, o, file.want[o])
				}
			}
			for o, n := range file.want {
				if got[o] == 0 {
					t.Errorf("no vector %s, want %d", o, n)
				}
			}
		})
	}
}

// run checks what can be checked of a vector, in every sector size.
func (v vector) run(t *testing.T) outcome {
	t.Helper()
	iv := append(bytes.Clone(v.iv), make([]byte, 16)...)
	n := len(v.pt)
	o := checkedWhole
	if n%16 != 0 {
		o, n = checkedPrefix, max(0, n/16-1)*16
	}
	for _, size := range []int{512, 1024, 2048, 4096} {
		_, err := NewXTS(v.key, size)
		switch {
		case errors.Is(err, ErrWeakKey):
			return refusedWeak
		case errors.Is(err, ErrKeySize) && len(v.key) == 48:
			return refusedSize
		case err != nil:
			t.Fatalf("%s: %v", v.name, err)
		case binary.LittleEndian.Uint64(iv[8:]) != 0:
			return wideTweak
		case n == 0:
			return noPrefix
		}
		for _, e := range Engines() {
			x := mustXTSWith(t, e, v.key, size)
			// Sector 0 with this tweak offset is the data unit, in any sector size.
			v.check(t, x.WithTweakOffset(binary.LittleEndian.Uint64(iv)), n, 0)
			if size == TweakUnit {
				v.check(t, x, n, binary.LittleEndian.Uint64(iv))
			}
		}
	}
	return o
}

// check compares the first n bytes.
func (v vector) check(t *testing.T, x *XTS, n int, sector uint64) {
	t.Helper()
	for _, step := range []struct {
		name     string
		call     func(dst, src []byte, first uint64)
		in, want []byte
	}{
		{"encryption", x.Encrypt, v.pt, v.ct},
		{"decryption", x.Decrypt, v.ct, v.pt},
	} {
		p := make([]byte, x.SectorSize())
		copy(p, step.in[:n])
		step.call(p, p, sector)
		if !bytes.Equal(p[:n], step.want[:n]) {
			t.Errorf("%s, sector size %d: %s gives %x, want %x", v.name, x.SectorSize(), step.name, p[:n], step.want[:n])
		}
	}
}
