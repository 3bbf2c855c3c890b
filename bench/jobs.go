package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"strconv"
	"time"
)

// job is one workload. Bulk is reported in MB/s (10^6), small requests in
// requests a second: more is better in both.
type job struct {
	name    string
	what    string
	unit    string
	measure func(ctx context.Context, w *work, s *server) (float64, error)
}

func jobs() []job {
	const bulk, small = "MB/s", "IOPS"
	return []job{
		{"seqr1m", "sequential read, 1 MiB, 4 in flight", bulk, fio("read", "1m", 4, 1)},
		{"seqw1m", "sequential write, 1 MiB, 4 in flight", bulk, fio("write", "1m", 4, 1)},
		{"r64k", "random read, 64 KiB, 16 in flight", bulk, fio("randread", "64k", 16, 1)},
		{"w64k", "random write, 64 KiB, 16 in flight", bulk, fio("randwrite", "64k", 16, 1)},
		{"rr4k", "random read, 4 KiB, 32 in flight", small, fio("randread", "4k", 32, 1)},
		{"rw4k", "random write, 4 KiB, 32 in flight", small, fio("randwrite", "4k", 32, 1)},
		{"rr4k-4c", "the same read on 4 connections", small, fio("randread", "4k", 32, 4)},
		{"rw4k-4c", "the same write on 4 connections", small, fio("randwrite", "4k", 32, 4)},
		{"copy-out", "nbdcopy from the volume", bulk, copyOut},
	}
}

// fio gives a measurement with fio's nbd engine.
func fio(rw, bs string, depth, connections int) func(context.Context, *work, *server) (float64, error) {
	return func(ctx context.Context, w *work, s *server) (float64, error) {
		out, err := w.fio(ctx, s, "--rw="+rw, "--bs="+bs, "--iodepth="+strconv.Itoa(depth), "--numjobs="+strconv.Itoa(connections),
			"--time_based", fmt.Sprintf("--runtime=%.0fms", w.seconds*1000))
		if err != nil {
			return 0, err
		}
		return fioResult(out, bs == "4k")
	}
}

func (w *work) fio(ctx context.Context, s *server, args ...string) ([]byte, error) {
	args = append([]string{
		"--name=bench", "--ioengine=nbd", "--uri=" + s.uri, "--size=" + strconv.FormatInt(w.size, 10),
		"--thread", "--group_reporting", "--output-format=json", "--randrepeat=0",
	}, args...)
	cmd := exec.CommandContext(ctx, "fio", args...)
	cmd.Dir = w.dir
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("fio %v: %w\n%s", args, err, out)
	}
	return out, nil
}

// fioResult reads the one job of fio's JSON report: requests or 10^6 bytes a second.
func fioResult(out []byte, iops bool) (float64, error) {
	type side struct {
		IOPS  float64 `json:"iops"`
		Bytes float64 `json:"bw_bytes"`
	}
	var report struct {
		Jobs []struct {
			Error       int
			Read, Write side
		}
	}
	// fio prints remarks of its own before the report
	if err := json.Unmarshal(out[max(bytes.IndexByte(out, '{'), 0):], &report); err != nil {
		return 0, fmt.Errorf("fio's report: %w", err)
	}
	if len(report.Jobs) != 1 || report.Jobs[0].Error != 0 {
		return 0, fmt.Errorf("fio's report: %d jobs or an error in it", len(report.Jobs))
	}
	j := report.Jobs[0]
	v := (j.Read.Bytes + j.Write.Bytes) / 1e6
	if iops {
		v = j.Read.IOPS + j.Write.IOPS
	}
	if v == 0 {
		return 0, errors.New("fio's report: nothing was moved")
	}
	return v, nil
}

// fill writes the whole volume once, so that nobody reads holes.
func (w *work) fill(ctx context.Context, s *server) error {
	_, err := w.fio(ctx, s, "--rw=write", "--bs=1m", "--iodepth=4", "--refill_buffers")
	return err
}

func copyOut(ctx context.Context, w *work, s *server) (float64, error) {
	start := time.Now()
	if err := w.tool(ctx, "nbdcopy", "--no-extents", s.uri, "null:"); err != nil {
		return 0, err
	}
	return float64(w.size) / time.Since(start).Seconds() / 1e6, nil
}
