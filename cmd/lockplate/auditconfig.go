package main

import (
	"crypto/tls"
	"crypto/x509"
	"os"
	"path/filepath"
	"strconv"

	"lockplate/cluster"
)

// auditOptions are the settings of the audit log, if they can be used.
func (c *config) auditOptions() (o cluster.AuditOptions, err error) {
	o = cluster.AuditOptions{Syslog: cluster.SyslogOptions{Address: c.AuditSyslog}}
	if size := firstOf(c.AuditMaxSize, defaultAuditSize); size != auditNone {
		n, err := parseSize(size)
		if err != nil {
			return o, usagef("audit_max_size: %w", err)
		}
		o.MaxSize = n
	}
	if keep := firstOf(c.AuditKeep, auditAll); keep != auditAll {
		n, err := strconv.Atoi(keep)
		if err != nil || n < 1 {
			return o, hint(usagef("audit_keep %q is no number of files", keep), "write a number from 1, or all")
		}
		o.Keep = n
	}
	return o, c.completeCopy(&o)
}

// completeCopy judges where else the audit log goes.
func (c *config) completeCopy(o *cluster.AuditOptions) (err error) {
	if c.AuditCopy != "" {
		if o.Copy, err = filepath.Abs(c.AuditCopy); err != nil {
			return usagef("audit_copy: %w", err)
		}
		if o.Copy == c.State {
			return hint(usagef("audit_copy is the state directory"), "name a directory on other media")
		}
	}
	if c.AuditSyslog != "" {
		if err := o.Syslog.Check(); err != nil {
			return usagef("audit_syslog: %w", err)
		}
	}
	if c.AuditSyslogCA == "" {
		return nil
	}
	text, err := os.ReadFile(c.AuditSyslogCA)
	if err != nil {
		return usagef("audit_syslog_ca: %w", err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(text) {
		return usagef("audit_syslog_ca: %s has no PEM certificate", c.AuditSyslogCA)
	}
	o.Syslog.TLS = &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
	return nil
}
