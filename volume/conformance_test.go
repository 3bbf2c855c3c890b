package volume

import (
	"fmt"
	"testing"

	"lockplate/blockdev"
	"lockplate/blockdev/blockdevtest"
)

func TestConformance(t *testing.T) {
	for _, sector := range []int{0, 512, 4096} {
		for _, align := range []int{1, 512, 4096} {
			for _, o := range []Options{
				{Discard: DiscardZero}, {Discard: DiscardPass}, {Discard: DiscardOff, Emulate512: true}, {ReadOnly: true},
			} {
				name := fmt.Sprintf("sector%d/align%d/%s,ro=%v", sector, align, o.Discard, o.ReadOnly)
				t.Run(name, func(t *testing.T) {
					t.Parallel()
					blockdevtest.TestDevice(t, func(t *testing.T) blockdev.Device {
						return mustOpen(t, newLower(4<<20, align), sector, o)
					})
				})
			}
		}
	}
}

// A volume over a volume is no use, but must not be wrong either.
func TestConformanceStacked(t *testing.T) {
	blockdevtest.TestDevice(t, func(t *testing.T) blockdev.Device {
		inner := mustOpen(t, newLower(1<<20, 512), 4096, Options{Discard: DiscardPass})
		return mustOpen(t, inner, 512, Options{Discard: DiscardZero})
	})
}
