package blockdev_test

import (
	"bytes"
	"context"
	"errors"
	"path/filepath"
	"testing"

	"lockplate/blockdev"
)

func openDrive(t *testing.T, uri string, o blockdev.DriveOptions) blockdev.Drive {
	t.Helper()
	d, err := blockdev.OpenDrive(t.Context(), uri, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

// driveURIs gives one new drive of each kind that needs no privileges.
func driveURIs(t *testing.T) []string {
	dir := t.TempDir()
	return []string{"dir:" + dir, "file:" + filepath.Join(dir, "single"), "mem:8M"}
}

func TestDriveKeepsWhatWasWritten(t *testing.T) {
	for _, uri := range driveURIs(t) {
		t.Run(uri[:4], func(t *testing.T) {
			ctx := context.Background()
			d := openDrive(t, uri, blockdev.DriveOptions{})
			if names, err := d.Images(ctx); err != nil || len(names) != 0 {
				t.Fatalf("new drive has images %v, %v", names, err)
			}
			dev, err := d.Create(ctx, "a", 8<<20)
			if err != nil {
				t.Fatal(err)
			}
			want := bytes.Repeat([]byte("lockplate"), 1000)
			if err := dev.WriteAt(ctx, bytes.Clone(want), 12345, blockdev.FUA); err != nil {
				t.Fatal(err)
			}
			if _, err := d.Open(ctx, "a", false); !errors.Is(err, blockdev.ErrBusy) {
				t.Errorf("second opener got %v, want ErrBusy", err)
			}
			if err := d.Remove(ctx, "a"); !errors.Is(err, blockdev.ErrBusy) {
				t.Errorf("remove of an open image got %v, want ErrBusy", err)
			}
			if err := dev.Close(); err != nil {
				t.Fatal(err)
			}
			dev, err = d.Open(ctx, "a", true)
			if err != nil {
				t.Fatal(err)
			}
			got := make([]byte, len(want))
			if err := dev.ReadAt(ctx, got, 12345); err != nil || !bytes.Equal(got, want) {
				t.Errorf("read back differs, %v", err)
			}
			if err := dev.WriteAt(ctx, got, 0, 0); !errors.Is(err, blockdev.ErrReadOnly) {
				t.Errorf("write to a read-only image got %v", err)
			}
			dev.Close()
			if _, err := d.Create(ctx, "a", 8<<20); !errors.Is(err, blockdev.ErrExist) {
				t.Errorf("second create got %v, want ErrExist", err)
			}
			if err := d.Remove(ctx, "a"); err != nil {
				t.Fatal(err)
			}
			if names, err := d.Images(ctx); err != nil || len(names) != 0 {
				t.Errorf("images after remove: %v, %v", names, err)
			}
		})
	}
}
