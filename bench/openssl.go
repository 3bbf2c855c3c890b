package bench

import (
	"context"
	"fmt"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
)

// openSSL is a program to compare with, under the name that its version gives.
type openSSL struct{ program, name string }

// Settings of the comparison with OpenSSL. Its own speed command counts whole
// seconds and does not set a tweak for each sector; ours does.
const (
	sustained       = 0.3 // seconds of one average of ours
	opensslSeconds  = "1"
	besideOpenSSL   = "sustained"
	opensslCaseName = "openssl speed, %d B"
)

// findOpenSSL asks each program for its version.
func (r *Report) findOpenSSL(programs []string) (found []openSSL) {
	for _, p := range programs {
		out, err := exec.Command(p, "version").Output()
		if err != nil {
			r.Missing = append(r.Missing, fmt.Sprintf("%s: %v", p, err))
			continue
		}
		f := strings.Fields(string(out))
		if len(f) < 2 {
			r.Missing = append(r.Missing, p+": tells no version")
			continue
		}
		found = append(found, openSSL{p, f[0] + " " + f[1]})
	}
	return found
}

// besideOpenSSL takes averages of OpenSSL and of every engine in turn. Unlike
// the rest, ours are averages too, since OpenSSL gives nothing else.
func (r *Report) besideOpenSSL(ctx context.Context, o CipherOptions, programs []openSSL) error {
	for _, sector := range []int{4096, 512} {
		for _, p := range programs {
			v, err := p.speed(ctx, sector)
			if err != nil {
				return err
			}
			r.add(fmt.Sprintf(opensslCaseName, sector), p.name, besideOpenSSL, perSecond, v)
		}
		for _, e := range o.Engines {
			if len(programs) == 0 || e == plainEngine { // nothing to compare, or too slow to be of interest
				continue
			}
			for _, call := range []int{sector, 64 << 10} {
				s := shape{sector: sector, call: call}
				run, err := s.runner(e)
				if err != nil {
					return err
				}
				t := trial{bytes: call, run: run}
				r.add(s.String(), e, besideOpenSSL, perSecond, t.rate(t.calibrate(sustained)))
			}
		}
	}
	return nil
}

// speed runs OpenSSL's own measurement with one data unit of so many bytes a
// call.
func (p openSSL) speed(ctx context.Context, bytes int) (float64, error) {
	// -elapsed: by the clock, as ours are, not by processor time.
	cmd := exec.CommandContext(ctx, p.program, "speed", "-mr", "-elapsed", "-seconds", opensslSeconds,
		"-bytes", strconv.Itoa(bytes), "-evp", "aes-256-xts")
	out, err := cmd.Output()
	if err != nil {
		return 0, fmt.Errorf("%s speed: %w", p.program, err)
	}
	return parseSpeed(string(out))
}

// parseSpeed finds the bytes a second in the machine-readable output: a line
// such as "+F:25:AES-256-XTS:2014871552.00".
func parseSpeed(out string) (float64, error) {
	m := regexp.MustCompile(`(?im)^\+F:\d+:aes-256-xts:([0-9.]+)\s*$`).FindStringSubmatch(out)
	if m == nil {
		return 0, fmt.Errorf("openssl speed: no result in %q", out)
	}
	v, err := strconv.ParseFloat(m[1], 64)
	return v / 1e9, err
}
