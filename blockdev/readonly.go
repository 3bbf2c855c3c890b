package blockdev

import "context"

// ReadOnly returns d with every change refused. Closing it closes d.
func ReadOnly(d Device) Device { return &readOnly{d} }

// readOnly refuses what would change the device below. Flush passes: it
// changes nothing that others do not expect.
type readOnly struct{ Device }

// refuse gives the error of the range if there is one, so that a caller's
// mistake is named before the device's state.
func (r *readOnly) refuse(off, n int64) error {
	if err := r.Device.Info().Check(off, n); err != nil {
		return err
	}
	return ErrReadOnly
}

func (r *readOnly) WriteAt(_ context.Context, p []byte, off int64, _ Flag) error {
	return r.refuse(off, int64(len(p)))
}

func (r *readOnly) Zero(_ context.Context, off, n int64, _ Flag) error { return r.refuse(off, n) }
func (r *readOnly) Trim(_ context.Context, off, n int64, _ Flag) error { return r.refuse(off, n) }
func (r *readOnly) Resize(context.Context, int64) error                { return ErrReadOnly }

func (r *readOnly) Info() Info { return r.Device.Info().readOnly() }

// readOnly is the info of a device that can only be read.
func (i Info) readOnly() Info {
	i.ReadOnly, i.CanTrim, i.TrimZeroes, i.CanZero, i.Volatile = true, false, false, false, false
	return i
}
