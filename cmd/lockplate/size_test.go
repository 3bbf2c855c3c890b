package main

import (
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestParseSizeTakesPowersOf1024(t *testing.T) {
	for in, want := range map[string]int64{
		"10G": 10 << 30, "10GiB": 10 << 30, "10gib": 10 << 30, "512MiB": 512 << 20, "512m": 512 << 20,
		"1.5T": 3 << 39, "4096B": 4096, "1K": 1024, "7E": 7 << 60, "1048576": 1 << 20, "0.5G": 1 << 29,
		"0.1K": 103, "0.000000001K": 1,
	} {
		if got, err := parseSize(in); err != nil || got != want {
			t.Errorf("parseSize(%q) = %d, %v; want %d", in, got, err, want)
		}
	}
}

func TestParseSizeRefuses(t *testing.T) {
	for in, reason := range map[string]string{
		"": "not a size", "G": "not a size", "-1G": "not a size", "10 G": "not a size", "1e9": "not a size",
		"10X": "not a size", "10Gi": "not a size", "0x10": "not a size", "10GiBs": "not a size",
		"10GB": "ambiguous", "1kb": "ambiguous", "10": "no unit", "1048575": "no unit",
		"0G": "not from 1 byte", "0.3B": "whole number", "8E": "not from 1 byte", "9999999999999999999": "not from 1 byte",
		"1.0000000001G": "not a size",
	} {
		_, err := parseSize(in)
		if err == nil || !strings.Contains(err.Error(), reason) {
			t.Errorf("parseSize(%q): error %v, want one with %q", in, err, reason)
			continue
		}
		if exitCode(err) != exitUsage {
			t.Errorf("parseSize(%q): exit code %d, want %d", in, exitCode(err), exitUsage)
		}
	}
}

func TestFormatSizeIsExactWhenShort(t *testing.T) {
	for n, want := range map[int64]string{
		0: "0B", -5: "0B", 1: "1B", 1023: "1023B", 1 << 10: "1KiB", 10 << 30: "10GiB", 21 << 29: "10752MiB",
		1<<30 + 1: "1.0GiB", 123456789012: "115GiB", 1<<63 - 1: "8.0EiB", 1 << 60: "1EiB",
	} {
		if got := formatSize(n); got != want {
			t.Errorf("formatSize(%d) = %q, want %q", n, got, want)
		}
	}
}

func TestFormattedSizesAreReadBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.Int64Range(1, 1<<62).Draw(t, "n")
		text := formatSize(n)
		if strings.Contains(text, " ") {
			t.Fatalf("%q has a space", text)
		}
		back, err := parseSize(text)
		if err != nil {
			t.Fatalf("parseSize(%q): %v", text, err)
		}
		if d := float64(back-n) / float64(n); d > 0.06 || d < -0.06 {
			t.Fatalf("%d is shown as %q, which is %d", n, text, back)
		}
	})
}
