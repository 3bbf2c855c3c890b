package kmip_test

import (
	"testing"

	"lockplate/keymgr/kmip"
	"lockplate/keymgr/kmiptest"
)

func TestNegotiationTakesTheBestCommonVersion(t *testing.T) {
	for _, tt := range []struct {
		name   string
		o      kmiptest.Options
		faults []kmiptest.Fault
		want   string
	}{
		{"all", kmiptest.Options{}, nil, "1.4"},
		{"1.2 and older", kmiptest.Options{Minors: []uint32{0, 1, 2}}, nil, "1.2"},
		{"1.1 and a newer one", kmiptest.Options{Minors: []uint32{1, 9}}, nil, "1.1"},
		{"1.0", kmiptest.Options{Minors: []uint32{0}}, nil, "1.0"},
		{"no Discover Versions", kmiptest.Options{Minors: []uint32{0, 1, 2}, NoDiscover: true}, nil, "1.2"},
		{"hangs up on new versions", kmiptest.Options{Minors: []uint32{0, 1, 2}}, []kmiptest.Fault{
			{Op: kmiptest.OpDiscoverVersions, Drop: true, Times: 2},
		}, "1.2"},
		{"fails in an odd way", kmiptest.Options{}, []kmiptest.Fault{
			{Op: kmiptest.OpDiscoverVersions, Reason: kmiptest.ReasonGeneralFailure, Times: 1},
		}, "1.4"},
		{"lists nothing at first", kmiptest.Options{}, []kmiptest.Fault{func() kmiptest.Fault {
			f := kmiptest.EditPayload(kmiptest.OpDiscoverVersions, func(p *kmiptest.Node) { p.Kids = nil })
			f.Times = 1
			return f
		}()}, "1.4"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newRig(t, tt.o)
			c := open(t, r.config())
			r.server.Inject(tt.faults...)
			result := c.Test(t.Context())[0]
			if result.Err != nil || result.Version.String() != tt.want {
				t.Errorf("version %v, want %s: %v", result.Version, tt.want, result.Err)
			}
			symmetricKeyLife(t, c)
		})
	}
}

// TestVersionIsNegotiatedOnce, and again when the server behind the address is
// another one.
func TestVersionIsNegotiatedOnce(t *testing.T) {
	r := newRig(t, kmiptest.Options{})
	c := open(t, r.config())
	id := mustCreate(t, c, "k")
	mustCreate(t, c, "k2")
	mustGet(t, c, id)
	if n := r.server.Requests(kmiptest.OpDiscoverVersions); n != 1 {
		t.Errorf("negotiated %d times", n)
	}
	r.server.Close()
	older := kmiptest.Start(t, r.ca, kmiptest.Options{Listen: r.server.Address, Keys: r.server.Keys, Minors: []uint32{0, 1}})
	_, _ = c.Get(t.Context(), id, kmip.SymmetricKey) // may fail once: 1.4 is unknown there
	mustGet(t, c, id)
	if older.Requests(kmiptest.OpDiscoverVersions) == 0 {
		t.Error("not negotiated again")
	}
}
