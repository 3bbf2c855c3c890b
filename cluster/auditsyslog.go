package cluster

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"time"
)

// SyslogOptions say how audit records go to a syslog server, as RFC 5424
// messages: datagrams on a Unix socket, or over TCP (RFC 6587, octet counting)
// and TLS (RFC 5425).
type SyslogOptions struct {
	Address string      // local, unix:PATH, tcp:HOST:PORT, tls:HOST:PORT; "" = none
	TLS     *tls.Config // for tls:, nil takes the roots of the system
}

const (
	localSyslog   = "/dev/log"
	syslogTime    = 2 * time.Second // to connect, and for one write
	syslogAgain   = 64              // records that are sent again on a new connection
	syslogInfo    = 10<<3 | 5       // facility authpriv, severity notice
	syslogWarning = 10<<3 | 4
)

// Check says what is wrong with the address.
func (o SyslogOptions) Check() error {
	_, _, err := o.target()
	return err
}

// target is the network, or "tls", and the address on it.
func (o SyslogOptions) target() (network, address string, err error) {
	if o.Address == "local" {
		return "unixgram", localSyslog, nil
	}
	network, address, _ = strings.Cut(o.Address, ":")
	switch network {
	case "unix":
		network = "unixgram"
		if address == "" {
			err = errors.New("the path is missing")
		}
	case "tcp", "tls":
		_, _, err = net.SplitHostPort(address)
	default:
		err = errors.New("it is none of local, unix:PATH, tcp:HOST:PORT, tls:HOST:PORT")
	}
	if err != nil {
		return "", "", fmt.Errorf("syslog address %q: %w", o.Address, err)
	}
	return network, address, nil
}

// syslogSink sends records to a syslog server. TCP tells nobody whether a
// message arrived, so the latest ones are sent again when a connection breaks;
// receivers know a record by its number and hash.
type syslogSink struct {
	o      SyslogOptions
	host   string
	conn   net.Conn
	stream bool
	last   auditLink
	recent []auditLine
}

func newSyslogSink(o SyslogOptions) *syslogSink {
	host, err := os.Hostname()
	if err != nil {
		host = "-" // RFC 5424 section 6.2.4
	}
	return &syslogSink{o: o, host: host}
}

func (s *syslogSink) ready() bool { return s.conn != nil }

// end is unknown until a record was sent: the server does not say.
func (s *syslogSink) end() (auditLink, bool) { return s.last, s.last.seq > 0 }

// start connects.
func (s *syslogSink) start() (string, error) {
	network, address, err := s.o.target()
	if err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(context.Background(), syslogTime)
	defer cancel()
	if s.conn, err = s.dial(ctx, network, address); err != nil {
		s.conn = nil
		return "", err
	}
	s.stream = network != "unixgram"
	if !s.stream {
		return "", nil
	}
	for _, l := range s.recent {
		if err := s.send(l); err != nil {
			return "", err
		}
	}
	return "", nil
}

func (s *syslogSink) dial(ctx context.Context, network, address string) (net.Conn, error) {
	if network != "tls" {
		return (&net.Dialer{}).DialContext(ctx, network, address)
	}
	return (&tls.Dialer{Config: s.o.TLS}).DialContext(ctx, "tcp", address)
}

func (s *syslogSink) down() {
	if s.conn != nil {
		s.conn.Close()
	}
	s.conn = nil
}

// write sends one record.
func (s *syslogSink) write(l auditLine) error {
	if err := s.send(l); err != nil {
		return err
	}
	s.last = l.link
	if s.stream {
		s.recent = append(s.recent[max(0, len(s.recent)+1-syslogAgain):], l)
	}
	return nil
}

func (s *syslogSink) send(l auditLine) error {
	msg := s.message(l)
	if s.stream {
		msg = append(fmt.Appendf(nil, "%d ", len(msg)), msg...)
	}
	err := s.conn.SetWriteDeadline(time.Now().Add(syslogTime))
	if err == nil {
		_, err = s.conn.Write(msg)
	}
	if err != nil {
		s.down()
	}
	return err
}

// message is the record as RFC 5424 section 6 has it. Its text is the line of
// the log, whose hash can so be checked at the receiver.
func (s *syslogSink) message(l auditLine) []byte {
	pri := syslogInfo
	r, _, err := parseAudit(l.text[:len(l.text)-1])
	if err != nil || r.Outcome == AuditFailed || r.Outcome == AuditDenied {
		pri = syslogWarning
	}
	stamp := r.Time.UTC().Format("2006-01-02T15:04:05.000000Z")
	msg := fmt.Appendf(nil, "<%d>1 %s %s lockplate %d %s - ", pri, stamp, s.host, os.Getpid(), cmp.Or(r.Kind, "-"))
	return append(msg, l.text[:len(l.text)-1]...)
}

// sync finds out whether the server hung up: a write to a connection that is
// half closed still succeeds.
func (s *syslogSink) sync() error {
	if !s.stream {
		return nil
	}
	err := s.conn.SetReadDeadline(time.Now().Add(time.Millisecond))
	if err == nil {
		_, err = s.conn.Read(make([]byte, 1)) // servers send nothing
	}
	if e := net.Error(nil); err == nil || errors.As(err, &e) && e.Timeout() {
		return nil
	}
	s.down()
	return fmt.Errorf("syslog server hung up: %w", err)
}
