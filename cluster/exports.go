package cluster

import (
	"context"
	"fmt"
	"sync/atomic"

	"lockplate/blockdev"
)

// Exports is one front end's view of the volumes: those online, by name.
type Exports struct {
	c        *Cluster
	frontend string
}

// Exports gives a front end ("nbd", "fuse") its view. The name labels metrics.
func (c *Cluster) Exports(frontend string) *Exports { return &Exports{c, frontend} }

// Names lists the volumes that can be attached now.
func (e *Exports) Names(context.Context) ([]string, error) {
	var out []string
	for _, v := range e.c.liveVolumes() {
		if r := v.record(); r.live() && v.stack.Load() != nil {
			out = append(out, r.Name)
		}
	}
	return out, nil
}

// Open gives a handle on a volume. Its Info stays as it is at this moment, so
// a volume that grows shows its new size to the next handle. Errors:
// blockdev.ErrNotExist, or why the volume is not online.
func (e *Exports) Open(_ context.Context, name string) (blockdev.Device, error) {
	v := e.c.volumeByName(name)
	if v == nil {
		return nil, fmt.Errorf("volume %q: %w", name, blockdev.ErrNotExist)
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	s := v.stack.Load()
	if s == nil {
		return nil, fmt.Errorf("volume %q is %s: %w", name, v.state, v.err)
	}
	h := &handle{Device: s.dev, v: v, stack: s, io: v.io.frontend(e.frontend), info: exportInfo(s.dev.Info(), &v.rec)}
	v.handles.Add(1)
	return h, nil
}

// exportInfo is the shape a client is told. A volume takes requests of any
// alignment, and says so unless it was made for clients of 4096-byte sectors:
// some clients refuse to send what is finer than the sector they are told.
func exportInfo(i blockdev.Info, r *volumeRecord) blockdev.Info {
	i.LogicalSector = 1
	if !r.Emulate512 && i.Size%4096 == 0 {
		i.LogicalSector = 4096
	}
	i.ReadOnly = i.ReadOnly || r.Access != AccessReadWrite
	return i
}

// handle is one client's way to a volume. It counts and times every request
// and stops working when the volume is taken out of service.
type handle struct {
	blockdev.Device
	v      *liveVolume
	stack  *stack
	io     *frontendIO
	info   blockdev.Info
	closed atomic.Bool
}

// begin admits a request.
func (h *handle) begin(op ioOp) error {
	if h.closed.Load() {
		return h.io.refuse(op, blockdev.ErrClosed)
	}
	return nil
}

// beginWrite admits a request that changes data.
func (h *handle) beginWrite(op ioOp) error {
	if h.info.ReadOnly || h.v.readOnly.Load() {
		return h.io.refuse(op, blockdev.ErrReadOnly)
	}
	return h.begin(op)
}

func (h *handle) ReadAt(ctx context.Context, p []byte, off int64) error {
	if err := h.begin(opRead); err != nil {
		return err
	}
	t := h.io.start()
	err := h.admit(ctx, int64(len(p)))
	if err == nil {
		err = h.Device.ReadAt(ctx, p, off)
	}
	return h.io.end(opRead, t, int64(len(p)), err)
}

func (h *handle) WriteAt(ctx context.Context, p []byte, off int64, f blockdev.Flag) error {
	if err := h.beginWrite(opWrite); err != nil {
		return err
	}
	t := h.io.start()
	err := h.admitWrite(ctx, int64(len(p)))
	if err == nil {
		err = h.Device.WriteAt(ctx, p, off, f&^blockdev.More)
	}
	if err == nil && f&blockdev.More != 0 {
		h.io.part(opWrite, t, int64(len(p)))
		return nil
	}
	return h.io.end(opWrite, t, int64(len(p)), err)
}

func (h *handle) Zero(ctx context.Context, off, n int64, f blockdev.Flag) error {
	if err := h.beginWrite(opZero); err != nil {
		return err
	}
	t := h.io.start()
	cheap := h.info.CanZero || f&blockdev.FastZero != 0
	return h.io.end(opZero, t, n, h.inSteps(ctx, h.Device.Zero, off, n, f, cheap))
}

func (h *handle) Trim(ctx context.Context, off, n int64, f blockdev.Flag) error {
	if err := h.beginWrite(opTrim); err != nil {
		return err
	}
	t := h.io.start()
	cheap := h.info.CanZero || !h.info.TrimZeroes // else it writes zeroes
	return h.io.end(opTrim, t, n, h.inSteps(ctx, h.Device.Trim, off, n, f, cheap))
}

func (h *handle) Flush(ctx context.Context) error {
	if err := h.begin(opFlush); err != nil {
		return err
	}
	t := h.io.start()
	return h.io.end(opFlush, t, 0, h.Device.Flush(ctx))
}

func (h *handle) Extents(ctx context.Context, off, n int64) ([]blockdev.Extent, error) {
	if h.closed.Load() {
		return nil, blockdev.ErrClosed
	}
	return h.Device.Extents(ctx, off, n)
}

// Resize is the administrator's, not a client's.
func (h *handle) Resize(context.Context, int64) error { return blockdev.ErrNotSupported }

func (h *handle) Info() blockdev.Info { return h.info }

// Close ends the handle; the volume stays open.
func (h *handle) Close() error {
	if !h.closed.Swap(true) {
		h.v.handles.Add(-1)
	}
	return nil
}
