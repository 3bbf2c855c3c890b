package bench

import (
	"crypto/x509"
	"encoding/pem"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestParseFio(t *testing.T) {
	const report = "note: something\n" + `{"jobs":[{"error":0,
		"read":{"iops":10.5,"io_bytes":3000000,"total_ios":700,"runtime":2000,"clat_ns":{"percentile":{"50.000000":20000,"99.000000":99000,"99.900000":150000}}},
		"write":{"iops":1,"io_bytes":1000000,"total_ios":300,"runtime":1999}}]}`
	got, err := parseFio([]byte(report))
	if err != nil || got.bytes != 4e6 || got.requests != 1000 || got.seconds != 2 {
		t.Errorf("parseFio = %+v, %v", got, err)
	}
	if got.latency["p50"] != 20 || got.latency["p99"] != 99 || got.latency["p99.9"] != 150 {
		t.Errorf("latency %v", got.latency)
	}
	bulk, small := job{}, job{small: true}
	if bulk.value(got) != 2 || small.value(got) != 500 || small.done(got) != 0.001 || bulk.done(got) != 4e6/(1<<30) {
		t.Errorf("values %v %v", bulk.value(got), small.value(got))
	}
	for name, in := range map[string]string{
		"an error in the job": strings.Replace(report, `"error":0`, `"error":5`, 1),
		"nothing moved":       `{"jobs":[{"error":0}]}`,
		"two jobs":            `{"jobs":[{},{}]}`,
		"no report":           "oops",
		"nothing at all":      "",
	} {
		if _, err := parseFio([]byte(in)); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
	writes, err := parseFio([]byte(`{"jobs":[{"write":{"io_bytes":4096,"total_ios":1,"runtime":5,"clat_ns":{"percentile":{"50.000000":7000}}}}]}`))
	if err != nil || writes.latency["p50"] != 7 {
		t.Errorf("latency of writes: %+v, %v", writes, err)
	}
}

func TestParseSpeed(t *testing.T) {
	v, err := parseSpeed("+DT:AES-256-XTS:1:4096\n+R:491912:AES-256-XTS:1.000000\n+H:4096\n+F:25:AES-256-XTS:2014871552.00\n")
	if err != nil || math.Abs(v-2.014871552) > 1e-9 {
		t.Errorf("parseSpeed = %v, %v", v, err)
	}
	if v, err := parseSpeed("+F:22:aes-256-xts:1000000000\n"); err != nil || v != 1 {
		t.Errorf("lower case, as other versions print it: %v, %v", v, err)
	}
	for _, in := range []string{"", "+F:25:AES-128-CBC:1.0\n", "speed: Unknown option: -bytes\n"} {
		if _, err := parseSpeed(in); err == nil {
			t.Errorf("%q: taken", in)
		}
	}
}

func TestTicksCountChildrenAndSurviveOddNames(t *testing.T) {
	for in, want := range map[string]int64{
		"42 (nbdkit) S 1 42 42 0 -1 4194560 100 200 0 0 11 22 33 44 20 0 1 0 5 6": 110,
		"42 (a) b (c) S 1 42 42 0 -1 4194560 100 200 0 0 1 2 3 4 20 0 1 0 5 6":    10,
		"": 0, "42 (gone": 0,
	} {
		if got := ticksOf(in); got != want {
			t.Errorf("ticksOf(%q) = %d, want %d", in, got, want)
		}
	}
}

func TestServerTimeIsSeen(t *testing.T) {
	self, err := os.FindProcess(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	s := &server{proc: self}
	before := s.cpu()
	for end := time.Now().Add(10 * time.Second); s.cpu() == before; {
		if time.Now().After(end) {
			t.Fatal("ten seconds of work are not counted")
		}
	}
}

// The certificate must be what a client with the authority's certificate takes
// for this machine.
func TestCertificatesVerify(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "certs")
	if err := makeCertificates(dir); err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM([]byte(readText(filepath.Join(dir, "ca-cert.pem")))) {
		t.Fatal("no authority")
	}
	block, _ := pem.Decode([]byte(readText(filepath.Join(dir, "server-cert.pem"))))
	c, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	for _, host := range []string{"localhost", "127.0.0.1"} {
		if _, err := c.Verify(x509.VerifyOptions{Roots: pool, DNSName: host}); err != nil {
			t.Errorf("%s: %v", host, err)
		}
	}
	if st, err := os.Stat(filepath.Join(dir, "server-key.pem")); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("key: %v, %v", st, err)
	}
}

func TestEndpoints(t *testing.T) {
	for _, c := range []struct {
		e       endpoint
		uri, at string
	}{
		{endpoint{socket: "/d/s"}, "nbd+unix:///x?socket=/d/s", "/d/s"},
		{endpoint{port: "9"}, "nbd://localhost:9/x", "127.0.0.1:9"},
		{endpoint{port: "9", certs: "/d/c"}, "nbds://localhost:9/x?tls-certificates=/d/c", "127.0.0.1:9"},
	} {
		if l := c.e.launch("x", "prog"); l.uri != c.uri || l.at != c.at || l.args[0] != "prog" {
			t.Errorf("%+v: %+v", c.e, l)
		}
	}
}

func TestNoSpaceIsSaidBeforeTheRun(t *testing.T) {
	if err := checkSpace(t.TempDir(), math.MaxInt64); err == nil || !strings.Contains(err.Error(), "MiB free") {
		t.Errorf("error %v", err)
	}
	if err := checkSpace(t.TempDir(), 1); err != nil {
		t.Error(err)
	}
}
