package volume

import (
	"fmt"
	"testing"

	"lockplate/blockdev"
	"lockplate/blockdev/blockdevtest"
)

func TestConformance(t *testing.T) {
	for _, c := range []struct {
		sector, align int
		o             Options
	}{
		{0, 1, Options{Discard: DiscardZero}},
		{0, 512, Options{Discard: DiscardPass}},
		{0, 4096, Options{Discard: DiscardOff}},
		{0, 4096, Options{Discard: DiscardZero, ReadOnly: true}},
		{512, 1, Options{Discard: DiscardPass}},
		{512, 512, Options{Discard: DiscardZero}},
		{512, 4096, Options{Discard: DiscardPass}},
		{4096, 1, Options{Discard: DiscardOff}},
		{4096, 512, Options{Discard: DiscardPass}},
		{4096, 4096, Options{Discard: DiscardZero}},
		{4096, 512, Options{Discard: DiscardPass, ReadOnly: true}},
	} {
		name := fmt.Sprintf("sector%d/align%d/%s,ro=%v", c.sector, c.align, c.o.Discard, c.o.ReadOnly)
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			blockdevtest.TestDevice(t, func(t *testing.T) blockdev.Device {
				return mustOpen(t, newLower(2<<20, c.align), c.sector, c.o)
			})
		})
	}
}

// A volume over a volume is no use, but must not be wrong either.
func TestConformanceStacked(t *testing.T) {
	blockdevtest.TestDevice(t, func(t *testing.T) blockdev.Device {
		inner := mustOpen(t, newLower(1<<20, 512), 4096, Options{Discard: DiscardPass})
		return mustOpen(t, inner, 512, Options{Discard: DiscardZero})
	})
}
