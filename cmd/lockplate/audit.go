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
login: STATE/audit.log, and the older files audit-SEQ.log beside it.`,
	})
	c.AddCommand(a.auditVerifyCommand(), a.auditShowCommand(), a.auditExportCommand())
	return c
}

// auditPath is the log that a command is about: of the state directory, unless
// a file or directory is given.
func (a *app) auditPath(args []string) string {
	if len(args) == 1 {
		return args[0]
	}
	return cluster.AuditPath(a.state())
}

// auditReport is what 'audit verify' prints as JSON.
type auditReport struct {
	Path     string   `json:"path"`
	Files    int      `json:"files"`
	Records  int64    `json:"records"`
	First    string   `json:"first,omitempty"`
	Last     string   `json:"last,omitempty"`
	FirstSeq int64    `json:"firstSeq"`
	LastSeq  int64    `json:"lastSeq"`
	LastHash string   `json:"lastHash"`
	Notes    []string `json:"notes"`
	Problems []string `json:"problems"`
}

// auditVerifyCommand reads the files themselves: it must not have to trust a
// daemon.
func (a *app) auditVerifyCommand() *cobra.Command {
	var head string
	c := &cobra.Command{
		Use: "verify [FILE|DIR]", Short: "Look for records that were altered, removed or moved", Args: cobra.MaximumNArgs(1),
		Long: `Look for records of the audit log that were altered, removed or moved, in
audit.log and all older files beside it. The daemon may run. It prints the head:
number and hash of the last record. Kept on another machine and given to
--head later, it proves that nothing up to there was cut off or rewritten since.
Any problem makes the exit code 14.`,
		Example: "  lockplate audit verify\n  lockplate audit verify --head 4711:6f1e…",
		RunE: func(_ *cobra.Command, args []string) error {
			path := a.auditPath(args)
			r, err := cluster.AuditVerify(path, head)
			if err != nil {
				return err
			}
			report := auditReport{
				Path: path, Files: r.Files, Records: r.Records, First: stamp(r.First), Last: stamp(r.Last),
				FirstSeq: r.FirstSeq, LastSeq: r.LastSeq, LastHash: r.LastHash,
				Notes: append([]string{}, r.Notes...), Problems: append([]string{}, r.Problems...),
			}
			if err := a.show(report, report.text); err != nil || len(r.Problems) == 0 {
				return err
			}
			return &codedError{exitIntegrity, fmt.Errorf("the audit log has %d problems", len(r.Problems))}
		},
	}
	c.Flags().StringVar(&head, "head", "", "SEQ:HASH that was printed earlier and kept elsewhere")
	return c
}

func stamp(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339)
}

func (r auditReport) text(w io.Writer) {
	pairs(w, "file", r.Path, "files", id(int64(r.Files)), "records", id(r.Records),
		"range", id(r.FirstSeq)+"-"+id(r.LastSeq), "first", r.First, "last", r.Last, "head", id(r.LastSeq)+":"+r.LastHash)
	for _, n := range r.Notes {
		fmt.Fprintln(w, "note: "+n)
	}
	problemText(w, r.Problems)
}

// auditExport is what 'audit export' prints as JSON.
type auditExport struct {
	Path string `json:"path"`
	Head string `json:"head"`
}

// auditExportCommand makes a copy for an auditor.
func (a *app) auditExportCommand() *cobra.Command {
	return &cobra.Command{
		Use: "export DIR", Short: "Copy the whole log into a directory", Args: cobra.ExactArgs(1),
		Long: `Copy the whole audit log, with all older files, into DIR as one file that
'lockplate audit verify DIR' checks. The daemon may run.`,
		RunE: func(_ *cobra.Command, args []string) error {
			head, err := cluster.AuditExport(cluster.AuditPath(a.state()), args[0])
			if err != nil {
				return err
			}
			e := auditExport{Path: cluster.AuditPath(args[0]), Head: head}
			return a.show(e, func(w io.Writer) { pairs(w, "file", e.Path, "head", e.Head) })
		},
	}
}
