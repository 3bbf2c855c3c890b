package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"lockplate/api/client"
	"lockplate/api/wire"
)

// reply is the answer of one API method: the type, and the object as it came.
type reply[R any] struct {
	Value R
	Raw   json.RawMessage
}

// call runs an API method on the daemon that the flags name.
func call[R any](ctx context.Context, a *app, method string, params any) (reply[R], error) {
	var r reply[R]
	c, err := a.connect(ctx)
	if err != nil {
		return r, err
	}
	if err := c.Call(ctx, method, params, &r.Raw); err != nil {
		return r, plain(err)
	}
	if err := json.Unmarshal(r.Raw, &r.Value); err != nil {
		return r, fmt.Errorf("read answer of %s: %w", method, err)
	}
	return r, nil
}

// plain takes the method's name off an error of the client: people asked for
// a command, and what its error lacks the command adds.
func plain(err error) error {
	if inner := errors.Unwrap(err); inner != nil {
		return inner
	}
	return err
}

// findVolume finds a volume by its name, or by its number if no name matches.
// A volume that is not deleted goes before one that is.
func (a *app) findVolume(ctx context.Context, name string) (wire.Volume, error) {
	r, err := call[wire.ListVolumesResult](ctx, a, wire.MethodListVolumes, wire.Empty{})
	if err != nil {
		return wire.Volume{}, err
	}
	v, ok := pickVolume(r.Value.Volumes, name)
	if !ok {
		return v, hint(&codedError{exitNotFound, fmt.Errorf("volume %q does not exist", name)}, "see 'lockplate volume list'")
	}
	return v, nil
}

// pickVolume finds a volume: a live one by name, then by number, then a deleted one
// by name.
func pickVolume(vols []wire.Volume, name string) (wire.Volume, bool) {
	number, err := strconv.ParseInt(name, 10, 64)
	tests := []func(wire.Volume) bool{
		func(v wire.Volume) bool { return v.Name == name && v.Status == wire.VolumeActive },
		func(v wire.Volume) bool { return err == nil && v.VolumeID == number },
		func(v wire.Volume) bool { return v.Name == name },
	}
	for _, t := range tests {
		if i := slices.IndexFunc(vols, t); i >= 0 {
			return vols[i], true
		}
	}
	return wire.Volume{}, false
}

// findDrive finds a drive by its number or its address.
func (a *app) findDrive(ctx context.Context, name string) (wire.Drive, error) {
	r, err := call[wire.ListDrivesResult](ctx, a, wire.MethodListDrives, wire.Empty{})
	if err != nil {
		return wire.Drive{}, err
	}
	for _, d := range r.Value.Drives {
		if strconv.FormatInt(d.DriveID, 10) == name || d.Lockplate.URI == name || d.Lockplate.URI == a.localURI(name) {
			return d, nil
		}
	}
	return wire.Drive{}, hint(&codedError{exitNotFound, fmt.Errorf("drive %q does not exist", name)}, "see 'lockplate drive list'")
}

// wait waits for long work, with a progress bar if standard error is a
// terminal. Interrupting it leaves the work running.
func (a *app) wait(ctx context.Context, handle int64, what string) (wire.GetAsyncResultResult, error) {
	var r wire.GetAsyncResultResult
	c, err := a.connect(ctx)
	if err != nil {
		return r, err
	}
	bar := a.progress(what)
	defer bar.done()
	r, err = c.WaitAsync(ctx, handle, func(r wire.GetAsyncResultResult) { bar.set(client.Percent(r)) })
	if ctx.Err() != nil {
		return r, hint(err, "the work goes on: 'lockplate job wait %d' tells how it ends", handle)
	}
	if err != nil {
		return r, fmt.Errorf("%s: %w", what, err)
	}
	return r, nil
}

// id writes a number of the API.
func id(n int64) string { return strconv.FormatInt(n, 10) }

// ids writes a list of numbers.
func ids(ns []int64) string {
	out := make([]string, len(ns))
	for i, n := range ns {
		out[i] = id(n)
	}
	return strings.Join(out, ",")
}
