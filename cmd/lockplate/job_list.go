package main

import (
	"io"

	"github.com/spf13/cobra"

	"lockplate/api/wire"
)

// jobListCommand is ListAsyncResults.
func (a *app) jobListCommand() *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List the long work whose result nobody has read yet", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			r, err := call[wire.ListAsyncResultsResult](c.Context(), a, wire.MethodListAsyncResults, wire.Empty{})
			if err != nil {
				return err
			}
			return a.show(r.Raw, func(w io.Writer) {
				rows := [][]string{}
				for _, h := range r.Value.AsyncHandles {
					rows = append(rows, []string{id(h.AsyncResultID), h.ResultType, jobState(h), h.CreateTime, h.LastUpdateTime})
				}
				table(w, "ID TYPE STATE CREATED UPDATED", rows)
			})
		},
	}
}

// jobState says in a word how a job stands.
func jobState(h wire.AsyncHandle) string {
	switch {
	case !h.Completed:
		return "running"
	case h.Success:
		return "done"
	}
	return "failed"
}
