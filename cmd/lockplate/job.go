package main

import (
	"fmt"
	"io"
	"strconv"

	"github.com/spf13/cobra"

	"lockplate/api/client"
	"lockplate/api/wire"
)

// jobCommand groups the commands about long work.
func (a *app) jobCommand() *cobra.Command {
	c := asGroup(&cobra.Command{
		Use: "job", Short: "Long work: adding drives, changing keys",
		Long: `Long work that goes on after the call that started it. Its result is kept until
somebody has read it with 'job wait', and over a restart.`,
	})
	c.AddCommand(a.jobListCommand(), a.jobShowCommand(), a.jobWaitCommand())
	return c
}

// parseJob reads the number of a job.
func parseJob(s string) (wire.Int, error) {
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n < 1 {
		return 0, hint(usagef("job %q is not a number", s), "see 'lockplate job list'")
	}
	return wire.Int(n), nil
}

// jobText shows one job. A result is shown as it is, since each type of work
// has its own.
func (a *app) jobText(w io.Writer, handle wire.Int, r wire.GetAsyncResultResult) {
	failed := ""
	if r.Error != nil {
		failed = r.Error.Name + ": " + r.Error.Message
	}
	pairs(w, "job", id(int64(handle)), "type", r.ResultType, "status", r.Status,
		"percent", strconv.Itoa(client.Percent(r)),
		"created", r.CreateTime, "updated", r.LastUpdateTime, "error", failed)
	if len(r.Result) > 0 {
		fmt.Fprintln(w, "result")
		_ = a.showJSON(r.Result) // a broken pipe shows at the next write
	}
}
