package main

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"lockplate/cluster"
)

// auditPoll is how often 'audit show -f' looks for new records.
const auditPoll = 500 * time.Millisecond

// auditShowCommand prints records: a line of words each, or with --json the
// lines of the log as they are.
func (a *app) auditShowCommand() *cobra.Command {
	var f cluster.AuditFilter
	var since string
	var follow bool
	c := &cobra.Command{
		Use: "show [FILE|DIR]", Short: "Show records, oldest first", Args: cobra.MaximumNArgs(1),
		Long: `Show records of the audit log, oldest first: time, number, kind, user, address,
method or key operation, object, outcome, details. With --json the lines of the
log as they are, one JSON object each. Showing is not verifying.`,
		Example: "  lockplate audit show --since 24h --user ann\n  lockplate audit show --method DeleteVolume --json",
		RunE: func(c *cobra.Command, args []string) (err error) {
			if f.Since, err = sinceTime(since, time.Now()); err != nil {
				return err
			}
			return a.showAudit(c.Context(), a.auditPath(args), f, follow)
		},
	}
	c.Flags().StringVar(&since, "since", "", "only records since a time (2006-01-02, RFC 3339) or for a while (90m, 24h)")
	c.Flags().StringVar(&f.Actor, "user", "", "only records of this user; system is the gateway itself")
	c.Flags().StringVar(&f.Action, "method", "", "only records of this API method or key operation")
	c.Flags().BoolVarP(&follow, "follow", "f", false, "go on with new records until interrupted")
	return c
}

// sinceTime reads a moment, or how long before now it is.
func sinceTime(s string, now time.Time) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	if d, err := time.ParseDuration(s); err == nil && d > 0 {
		return now.Add(-d), nil
	}
	for _, layout := range []string{time.RFC3339, "2006-01-02T15:04:05", time.DateTime, time.DateOnly} {
		if t, err := time.Parse(layout, s); err == nil {
			return t, nil
		}
	}
	return time.Time{}, hint(usagef("--since %q is no time", s), "write 24h, 2026-01-31 or 2026-01-31T12:00:00Z (UTC without a zone)")
}

// showAudit prints what there is, and with follow what comes.
func (a *app) showAudit(ctx context.Context, path string, f cluster.AuditFilter, follow bool) error {
	t := time.NewTicker(auditPoll)
	defer t.Stop()
	for {
		err := cluster.AuditEach(path, f, func(r cluster.AuditRecord) error {
			f.After = r.Seq
			text := string(r.Line)
			if !a.opt.json {
				text = auditText(&r)
			}
			_, err := fmt.Fprint(a.out, text)
			return err
		})
		if err != nil || !follow {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
		}
	}
}

// auditText is a record for people: columns without spaces, then the details.
func auditText(r *cluster.AuditRecord) string {
	words := dashes([]string{
		r.Time.UTC().Format(time.RFC3339), id(r.Seq), r.Kind, r.Actor, r.Role, r.From, r.Action, r.Object, r.Outcome,
	})
	for i := range words {
		words[i] = strings.ReplaceAll(words[i], " ", "_")
	}
	for _, k := range slices.SortedFunc(maps.Keys(r.Detail), cmp.Compare[string]) {
		words = append(words, fmt.Sprintf("%s=%q", k, r.Detail[k]))
	}
	return strings.Join(words, " ") + "\n"
}
