package blockdev_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"

	"lockplate/blockdev"
)

// holderEnv makes the test binary hold an image open until its input ends:
// the other process of TestSecondProcessIsBusy.
const holderEnv = "BLOCKDEV_TEST_HOLD"

func TestMain(m *testing.M) {
	if uri := os.Getenv(holderEnv); uri != "" {
		os.Exit(hold(uri))
	}
	os.Exit(m.Run())
}

// hold opens the image "a" of a drive and says how that went.
func hold(uri string) int {
	ctx := context.Background()
	d, err := blockdev.OpenDrive(ctx, uri, blockdev.DriveOptions{})
	if err == nil {
		_, err = d.Open(ctx, "a", false)
	}
	if err != nil {
		fmt.Println(err)
		return 1
	}
	fmt.Println("held")
	_, _ = io.Copy(io.Discard, os.Stdin)
	return 0
}

// startHolder runs hold in another process and returns its first line.
func startHolder(t *testing.T, uri string) (cmd *exec.Cmd, line string) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd = exec.Command(self)
	cmd.Env = append(os.Environ(), holderEnv+"="+uri)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { in.Close() })
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err = bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	return cmd, strings.TrimSpace(line)
}

// TestSecondProcessIsBusy opens an image in two processes, both ways round. A
// killed process leaves no lock behind.
func TestSecondProcessIsBusy(t *testing.T) {
	uris := driveURIs(t)[:2]
	if os.Geteuid() == 0 {
		disk, _ := loopDisk(t, diskSize, 512)
		uris = append(uris, "disk:"+disk)
	}
	for _, uri := range uris {
		t.Run(uri[:4], func(t *testing.T) {
			d, ctx := openDrive(t, uri, blockdev.DriveOptions{}), t.Context()
			dev := createImage(t, d, "a", 1<<20)
			cmd, line := startHolder(t, uri)
			if !strings.Contains(line, blockdev.ErrBusy.Error()) || !strings.Contains(line, d.Path("a")) {
				t.Errorf("the second process says %q", line)
			}
			_ = cmd.Wait()
			dev.Close()

			cmd, line = startHolder(t, uri)
			if line != "held" {
				t.Fatalf("the second process says %q", line)
			}
			if _, err := d.Open(ctx, "a", false); err == nil {
				t.Error("opened what another process holds")
			}
			if err := d.Remove(ctx, "a"); err == nil {
				t.Error("removed what another process holds")
			}
			if err := cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
			_ = cmd.Wait() // killed
			openImage(t, d, false)
		})
	}
}
