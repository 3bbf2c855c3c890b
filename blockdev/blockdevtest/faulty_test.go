package blockdevtest_test

import (
	"bytes"
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"lockplate/blockdev"
	"lockplate/blockdev/blockdevtest"
)

const layerSize = 1 << 20

func TestLayersConform(t *testing.T) {
	for name, open := range map[string]func(*testing.T) blockdev.Device{
		"crash": func(*testing.T) blockdev.Device {
			return blockdevtest.NewCrash(layerSize, blockdevtest.CrashOptions{})
		},
		"crash4096": func(*testing.T) blockdev.Device {
			return blockdevtest.NewCrash(layerSize, blockdevtest.CrashOptions{Align: 4096})
		},
		"faulty": func(*testing.T) blockdev.Device { return blockdevtest.NewFaulty(blockdev.NewMem(layerSize)) },
		"gate":   func(*testing.T) blockdev.Device { return blockdevtest.NewGate(blockdev.NewMem(layerSize)) },
		"delay": func(*testing.T) blockdev.Device {
			return blockdevtest.Delay(blockdev.NewMem(layerSize), func(blockdevtest.Op, int64) time.Duration { return 0 })
		},
	} {
		t.Run(name, func(t *testing.T) { blockdevtest.TestDevice(t, open) })
	}
}

// everyOp sends one request of each kind and returns the errors by kind.
func everyOp(d blockdev.Device) map[blockdevtest.Op]error {
	ctx, p := context.Background(), make([]byte, 1024)
	_, extents := d.Extents(ctx, 0, 512)
	return map[blockdevtest.Op]error{
		blockdevtest.OpRead:    d.ReadAt(ctx, p, 0),
		blockdevtest.OpWrite:   d.WriteAt(ctx, p, 0, 0),
		blockdevtest.OpZero:    d.Zero(ctx, 0, 512, 0),
		blockdevtest.OpTrim:    d.Trim(ctx, 0, 512, 0),
		blockdevtest.OpFlush:   d.Flush(ctx),
		blockdevtest.OpExtents: extents,
		blockdevtest.OpResize:  d.Resize(ctx, layerSize),
	}
}

func TestFaultyFailsTheNthOfItsKind(t *testing.T) {
	for op := blockdevtest.OpRead; op <= blockdevtest.OpResize; op++ {
		t.Run(op.String(), func(t *testing.T) {
			f := blockdevtest.NewFaulty(blockdev.NewMem(layerSize))
			f.Arm(blockdevtest.Fault{Op: op, N: 2, Err: blockdev.ErrNoSpace})
			for round := 1; round <= 3; round++ {
				for kind, err := range everyOp(f) {
					want := error(nil)
					if kind == op && round == 2 {
						want = blockdev.ErrNoSpace
					}
					if !errors.Is(err, want) {
						t.Errorf("round %d, %v: got %v, want %v", round, kind, err, want)
					}
				}
			}
			if f.Fired() != 1 || f.Count(op) != 3 || f.Count(blockdevtest.OpAny) != 21 {
				t.Errorf("fired %d, counted %d of %d", f.Fired(), f.Count(op), f.Count(blockdevtest.OpAny))
			}
		})
	}
}

func TestFaultyStaysDead(t *testing.T) {
	f := blockdevtest.NewFaulty(blockdev.NewMem(layerSize))
	f.Arm(blockdevtest.Fault{Op: blockdevtest.OpAny, N: 1, Stay: true})
	for range 2 {
		for kind, err := range everyOp(f) {
			if !errors.Is(err, blockdevtest.ErrInjected) {
				t.Errorf("%v on a dead disk: %v", kind, err)
			}
		}
	}
	f.Disarm()
	for kind, err := range everyOp(f) {
		if err != nil {
			t.Errorf("%v after Disarm: %v", kind, err)
		}
	}
}

func TestFaultyTearsAWrite(t *testing.T) {
	f := blockdevtest.NewFaulty(blockdev.NewMem(layerSize))
	f.Arm(blockdevtest.Fault{Op: blockdevtest.OpWrite, N: 1, Torn: true})
	err := f.WriteAt(background, bytes.Repeat([]byte{'a'}, 2048), 0, 0)
	if !errors.Is(err, blockdevtest.ErrInjected) {
		t.Fatal(err)
	}
	if got := sectors(t, f)[:5]; got != "aa..." {
		t.Errorf("a torn write left %q", got)
	}
}

func TestDelayWaitsAndCanBeCancelled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := blockdevtest.Delay(blockdev.NewMem(layerSize), func(op blockdevtest.Op, n int64) time.Duration {
			if op == blockdevtest.OpRead {
				return time.Duration(n) * time.Second
			}
			return 0
		})
		began := time.Now()
		everyOp(d)
		if got := time.Since(began); got != 1024*time.Second {
			t.Errorf("waited %v", got)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := d.ReadAt(ctx, make([]byte, 10), 0); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a cancelled wait gives %v", err)
		}
	})
}

func TestGateStallsOneKind(t *testing.T) {
	g := blockdevtest.NewGate(blockdev.NewMem(layerSize))
	g.Stall(blockdevtest.OpRead)
	done := make(chan error)
	go func() { done <- g.ReadAt(background, make([]byte, 1), 0) }()
	if err := g.AwaitWaiting(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	put(t, g, 0, 'a', 512, 0) // writes pass
	select {
	case err := <-done:
		t.Fatalf("the read came through a shut gate: %v", err)
	default:
	}
	g.Open()
	if err := <-done; err != nil {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(background)
	g.Stall(blockdevtest.OpAny)
	cancel()
	if err := g.Flush(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("a cancelled wait gives %v", err)
	}
	if err := g.Close(); err != nil {
		t.Errorf("close of a stalled gate: %v", err)
	}
}
