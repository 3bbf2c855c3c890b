package main

import (
	"io"

	"github.com/spf13/cobra"
)

// jobWaitCommand polls GetAsyncResult until the job is complete, and ends it.
func (a *app) jobWaitCommand() *cobra.Command {
	return &cobra.Command{
		Use: "wait ID", Short: "Wait for a job and read its result, which ends it", Args: cobra.ExactArgs(1),
		Long: `Wait for a job and read its result, which ends it. When the job failed, its
error is the error of this command. Interrupting it leaves the job running.`,
		ValidArgsFunction: a.completeJobs,
		RunE: func(c *cobra.Command, args []string) error {
			n, err := parseJob(args[0])
			if err != nil {
				return err
			}
			r, err := a.wait(c.Context(), int64(n), "job "+args[0])
			if err != nil {
				return err
			}
			return a.show(r, func(w io.Writer) { a.jobText(w, n, r) })
		},
	}
}
