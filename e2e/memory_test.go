package e2e

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"testing"
)

// TestMasterKeyIsInMemoryOnce scans the memory of a gateway that fetched its
// master key from PyKMIP: during a rekey, for the check, and at a start. The key
// in use is there once, in locked memory, and the one before nowhere.
func TestMasterKeyIsInMemoryOnce(t *testing.T) {
	needRoot(t) // to read the memory of a process that is not dumpable
	k := newKeyServer(t)
	g := newGateway(t)
	g.volume("vol", "4M")
	g.api("CreatePublicPrivateKeyPair", object{"commonName": "lockplate"})
	provider := g.addProvider(k)
	for range 2 {
		g.rekey(object{"keyManagementType": "external", "keyProviderID": provider})
	}
	keys := k.keys()
	if len(keys) != 2 {
		t.Fatalf("%d keys at the server", len(keys))
	}
	for _, when := range []string{"after a rekey", "after a start"} {
		old, _ := g.inMemory(keys[0])
		now, unlocked := g.inMemory(keys[1])
		t.Logf("%s: the master key is in memory %d time, the old one %d", when, now, old)
		if old != 0 || now != 1 || unlocked != 0 {
			t.Errorf("%s: old key %d times, new key %d times, %d of them not in locked memory", when, old, now, unlocked)
		}
		g.restart()
	}
}

// inMemory counts the places in the gateway's writable memory that hold a key,
// and those that may be swapped out.
func (g *gateway) inMemory(key []byte) (hits, unlocked int) {
	g.t.Helper()
	pid := g.proc.cmd.Process.Pid
	mem, err := os.Open(fmt.Sprintf("/proc/%d/mem", pid))
	if err != nil {
		lack(g.t, "needs the right to read the memory of a process: "+err.Error())
	}
	defer mem.Close()
	var lo, hi uint64
	here := 0
	for line := range strings.Lines(string(procFile(g.t, g, "smaps"))) {
		var a, b uint64
		var perm string
		if n, _ := fmt.Sscanf(line, "%x-%x %s", &a, &b, &perm); n == 3 {
			lo, hi, here = a, b, 0
			if strings.HasPrefix(perm, "rw") {
				here = count(mem, int64(lo), int64(hi), key)
			}
		}
		if flags, ok := strings.CutPrefix(line, "VmFlags:"); ok {
			if hits += here; !strings.Contains(flags, " lo ") {
				unlocked += here
			}
		}
	}
	return hits, unlocked
}

// count finds a key in a part of memory.
func count(mem *os.File, lo, hi int64, key []byte) (n int) {
	buf := make([]byte, 1<<20)
	for off := lo; off < hi; off += int64(len(buf) - len(key) + 1) {
		got, _ := mem.ReadAt(buf[:min(int64(len(buf)), hi-off)], off)
		n += bytes.Count(buf[:got], key)
	}
	return n
}
