package main

import (
	"io"

	"github.com/spf13/cobra"

	"lockplate/api/wire"
)

// jobShowCommand is GetAsyncResult that keeps the result.
func (a *app) jobShowCommand() *cobra.Command {
	return &cobra.Command{
		Use: "show ID", Short: "Show how a job stands, and keep its result", Args: cobra.ExactArgs(1),
		ValidArgsFunction: a.completeJobs,
		RunE: func(c *cobra.Command, args []string) error {
			n, err := parseJob(args[0])
			if err != nil {
				return err
			}
			r, err := call[wire.GetAsyncResultResult](c.Context(), a, wire.MethodGetAsyncResult,
				wire.GetAsyncResultParams{AsyncHandle: n, KeepResult: true})
			if err != nil {
				return err
			}
			return a.show(r.Raw, func(w io.Writer) { a.jobText(w, n, r.Value) })
		},
	}
}
