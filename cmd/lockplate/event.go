package main

import (
	"io"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"lockplate/api/wire"
)

// eventCommand groups the commands about events.
func (a *app) eventCommand() *cobra.Command {
	c := asGroup(&cobra.Command{Use: "event", Short: "What happened: faults, drives, keys"})
	c.AddCommand(a.eventListCommand())
	return c
}

// eventListCommand is ListEvents.
func (a *app) eventListCommand() *cobra.Command {
	var most int64
	c := &cobra.Command{
		Use: "list", Short: "List events, oldest first", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			r, err := call[wire.ListEventsResult](c.Context(), a, wire.MethodListEvents, wire.ListEventsParams{MaxEvents: wire.Int(most)})
			if err != nil {
				return err
			}
			return a.show(r.Raw, func(w io.Writer) {
				rows := [][]string{}
				for _, e := range r.Value.Events {
					rows = append(rows, []string{
						id(e.EventID), e.TimeOfReport, strconv.Itoa(e.Severity), e.EventInfoType, strings.ReplaceAll(e.Message, " ", "_"),
					})
				}
				table(w, "ID TIME SEVERITY TYPE MESSAGE", rows)
			})
		},
	}
	c.Flags().Int64Var(&most, "max", 100, "the newest so many")
	return c
}
