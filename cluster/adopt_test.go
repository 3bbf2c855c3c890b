package cluster

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"lockplate/blockdev"
	"lockplate/volume/luks"
)

// tool finds an outside program, or skips the test with the reason.
func tool(t *testing.T, name string) string {
	t.Helper()
	p, err := exec.LookPath(name)
	if err != nil {
		if os.Getenv("LOCKPLATE_REQUIRE_ALL") != "" {
			t.Fatalf("needs %s", name)
		}
		t.Skipf("needs %s", name)
	}
	return p
}

// run runs a program with passphrase "secret" on its standard input.
func run(t *testing.T, name string, args ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), tool(t, name), args...)
	cmd.Stdin = bytes.NewReader([]byte("secret"))
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s %q: %v\n%s", name, args, err, out)
	}
}

// container makes a LUKS container with cryptsetup at path.
func container(t *testing.T, path string, size int64, args ...string) {
	t.Helper()
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, size); err != nil {
		t.Fatal(err)
	}
	run(t, "cryptsetup", append([]string{"luksFormat", "-q", "--key-file", "-", "--pbkdf", "pbkdf2", "--pbkdf-force-iterations", "1000", path}, args...)...)
}

func (r *rig) adopt(p AdoptVolume) (Volume, error) {
	p.DriveID, p.Passphrase = 1, []byte("secret")
	return r.AdoptVolume(r.t.Context(), p)
}

func TestAdoptContainersOfCryptsetup(t *testing.T) {
	for name, args := range map[string][]string{
		"luks2 default":       {"--type", "luks2"},
		"luks2 512 sectors":   {"--type", "luks2", "--sector-size", "512"},
		"luks2 4096 sectors":  {"--type", "luks2", "--sector-size", "4096"},
		"luks2 AES-128 (256)": {"--type", "luks2", "--key-size", "256"},
	} {
		t.Run(name, func(t *testing.T) {
			r := withCluster(t)
			path := filepath.Join(r.dir, "d1", "theirs.img")
			container(t, path, 24*mib, args...)
			v, err := r.adopt(AdoptVolume{Name: "v", Image: "theirs"})
			r.must(err)
			if v.State != VolumeOnline || !v.Adopted || v.RecoveryKeys != 1 || v.Size != 8*mib {
				t.Fatalf("adopted volume: %+v", v)
			}
			data := random(100_000)
			r.write(r.attach("v"), 4321, data)
			r.restart()
			r.expect(r.attach("v"), 4321, data)
			if _, err := r.adopt(AdoptVolume{Name: "again", Image: "theirs"}); !errors.Is(err, ErrInUse) {
				t.Errorf("adopting twice = %v, want ErrInUse", err)
			}
			r.shutdown() // cryptsetup waits for the lock that an open image has
			run(t, "cryptsetup", "open", "--test-passphrase", "--key-file", "-", path)
		})
	}
}

func TestAdoptWithDetachedHeader(t *testing.T) {
	r := withCluster(t)
	meta := r.addDrive("meta", RoleMetadata)
	path := filepath.Join(r.dir, "d1", "theirs.img")
	r.must(os.WriteFile(path, nil, 0o600))
	r.must(os.Truncate(path, 4*mib))
	hdr := filepath.Join(meta, "hdr.img")
	container(t, hdr, 16*mib, "--type", "luks2", "--header", hdr)
	v, err := r.adopt(AdoptVolume{Name: "v", Image: "theirs", HeaderDriveID: 2, HeaderImage: "hdr"})
	r.must(err)
	if v.State != VolumeOnline || v.Size != 4*mib || v.HeaderPath != hdr {
		t.Fatalf("adopted volume: %+v", v)
	}
	data := random(512)
	r.write(r.attach("v"), v.Size-512, data)
	r.restart()
	r.expect(r.attach("v"), v.Size-512, data)
}

// A LUKS1 container is served as it is: qemu-img filled it, we read it, and
// nothing of ours changes a byte of it.
func TestLUKS1IsReadOnly(t *testing.T) {
	r := withCluster(t)
	qemuImg := tool(t, "qemu-img")
	plain := filepath.Join(r.dir, "plain.raw")
	data := random(2 * mib)
	r.must(os.WriteFile(plain, data, 0o600))
	path := filepath.Join(r.dir, "d1", "old.img")
	for try := 1; ; try++ {
		out, err := exec.Command(qemuImg, "convert", "-f", "raw", "-O", "luks", "--object", "secret,id=s,data=secret",
			"-o", "key-secret=s,iter-time=50", plain, path).CombinedOutput()
		if err == nil {
			break
		}
		if try == 5 || !bytes.Contains(out, []byte("accurate CPU usage")) { // its own measurement, on a busy machine
			t.Fatalf("qemu-img convert: %v\n%s", err, out)
		}
	}
	before, err := os.ReadFile(path)
	r.must(err)
	v, err := r.adopt(AdoptVolume{Name: "old", Image: "old"})
	r.must(err)
	if v.State != VolumeOnline || v.Access != AccessReadOnly {
		t.Fatalf("adopted volume: %+v", v)
	}
	d := r.attach("old")
	r.expect(d, 0, data)
	if err := d.WriteAt(t.Context(), make([]byte, 512), 0, 0); !errors.Is(err, blockdev.ErrReadOnly) {
		t.Errorf("write = %v, want ErrReadOnly", err)
	}
	rw := AccessReadWrite
	if _, err := r.ModifyVolume(t.Context(), v.ID, ModifyVolume{Access: &rw}); err == nil {
		t.Error("a LUKS1 volume was made writable")
	}
	if _, err := r.AddRecoveryKey(t.Context(), v.ID, []byte("x"), "pbkdf2"); err == nil {
		t.Error("a LUKS1 header was changed")
	}
	r.restart()
	r.expect(r.attach("old"), 0, data)
	r.shutdown()
	after, err := os.ReadFile(path)
	r.must(err)
	if !bytes.Equal(before, after) {
		t.Error("the LUKS1 container was changed")
	}
}

func TestAdoptRefusals(t *testing.T) {
	r := withCluster(t)
	path := filepath.Join(r.dir, "d1", "theirs.img")
	container(t, path, 20*mib, "--type", "luks2")
	if _, err := r.AdoptVolume(t.Context(), AdoptVolume{Name: "v", DriveID: 1, Image: "theirs", Passphrase: []byte("wrong")}); !errors.Is(err, luks.ErrWrongPassphrase) {
		t.Errorf("wrong passphrase = %v", err)
	}
	if _, err := r.adopt(AdoptVolume{Name: "v", Image: "missing"}); !errors.Is(err, blockdev.ErrNotExist) {
		t.Errorf("missing image = %v", err)
	}
	r.must(os.WriteFile(filepath.Join(r.dir, "d1", "junk.img"), random(mib), 0o600))
	if _, err := r.adopt(AdoptVolume{Name: "v", Image: "junk"}); !errors.Is(err, luks.ErrNotLUKS) {
		t.Errorf("junk = %v", err)
	}
	r.must(os.Truncate(path, 8*mib))
	if _, err := r.adopt(AdoptVolume{Name: "v", Image: "theirs"}); !errors.Is(err, luks.ErrTruncated) {
		t.Errorf("truncated = %v", err)
	}
	vols, err := r.Volumes(t.Context())
	if err != nil || len(vols) != 0 {
		t.Errorf("volumes after refusals: %v, %v", vols, err)
	}
}
