package cluster

import (
	"testing"

	"lockplate/blockdev"
)

// A request that comes in parts is one request of all their bytes.
func TestWriteInPartsIsCountedOnce(t *testing.T) {
	t.Parallel()
	r := withCluster(t)
	v := r.create(CreateVolume{Name: "v", Size: mib})
	d := r.attach("v")
	ctx := t.Context()
	r.must(d.WriteAt(ctx, make([]byte, 8192), 0, blockdev.More))
	r.must(d.WriteAt(ctx, make([]byte, 4096), 8192, 0))
	all, err := r.VolumeStats(ctx)
	r.must(err)
	if s := all[0]; len(all) != 1 || s.VolumeID != v.ID || s.WriteOps != 1 || s.WriteBytes != 12288 {
		t.Errorf("%+v, want 1 write of 12288 bytes", all)
	}
}
