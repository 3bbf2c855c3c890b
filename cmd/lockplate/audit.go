package main

import (
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"lockplate/cluster"
)

// auditCommand groups the commands about the audit log.
func (a *app) auditCommand() *cobra.Command {
	c := asGroup(&cobra.Command{
		Use: "audit", Short: "The log of every key use, change and failed login",
		Long: `The log of every use of a key, every administrative call and every failed
login, in STATE/audit.log.`,
	})
	c.AddCommand(a.auditVerifyCommand())
	return c
}

// auditReport is what 'audit verify' prints as JSON.
type auditReport struct {
	Path     string   `json:"path"`
	Records  int64    `json:"records"`
	First    string   `json:"first,omitempty"`
	Last     string   `json:"last,omitempty"`
	LastSeq  int64    `json:"lastSeq"`
	LastHash string   `json:"lastHash"`
	Problems []string `json:"problems"`
}

// auditVerifyCommand reads the file itself: it must not have to trust a daemon.
func (a *app) auditVerifyCommand() *cobra.Command {
	return &cobra.Command{
		Use: "verify [FILE]", Short: "Look for records that were altered, removed or moved", Args: cobra.MaximumNArgs(1),
		Long: `Look for records of the audit log that were altered, removed or moved. The
daemon may run. It prints number and hash of the last record: kept on another
machine, they prove later that nothing before was changed. Any problem makes the
exit code 14.`,
		RunE: func(_ *cobra.Command, args []string) error {
			path := cluster.AuditPath(a.state())
			if len(args) == 1 {
				path = args[0]
			}
			r, err := cluster.AuditVerify(path)
			if err != nil {
				return err
			}
			report := auditReport{
				Path: path, Records: r.Records, First: stamp(r.First), Last: stamp(r.Last),
				LastSeq: r.LastSeq, LastHash: r.LastHash, Problems: append([]string{}, r.Problems...),
			}
			if err := a.show(report, report.text); err != nil || len(r.Problems) == 0 {
				return err
			}
			return &codedError{exitIntegrity, fmt.Errorf("the audit log has %d problems", len(r.Problems))}
		},
	}
}

func stamp(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339)
}

func (r auditReport) text(w io.Writer) {
	pairs(w, "file", r.Path, "records", id(r.Records), "first", r.First, "last", r.Last,
		"head", id(r.LastSeq)+" "+r.LastHash)
	problemText(w, r.Problems)
}
