package main

import (
	"encoding/json"
	"fmt"
	"io"

	"github.com/spf13/cobra"
)

// maxParams bounds what is read from standard input, in bytes.
const maxParams = 1 << 20

// apiCommand is any method as it is, for scripts and for what no command does.
func (a *app) apiCommand() *cobra.Command {
	return &cobra.Command{
		Use: "api METHOD [JSON]", Short: "Call any API method and print its result object",
		Long: `Call any API method with the object of parameters, and print the result
object. "-" reads the object from standard input, which is the way for one
that holds a password: arguments can be seen by other users.`,
		Example: "  lockplate api ListVolumes\n  lockplate api ModifyVolume '{\"volumeID\": 3, \"access\": \"readOnly\"}'",
		Args:    cobra.RangeArgs(1, 2), ValidArgsFunction: a.completeMethods,
		RunE: func(c *cobra.Command, args []string) error {
			params, err := a.readParams(args[1:])
			if err != nil {
				return err
			}
			defer clear(params)
			r, err := call[json.RawMessage](c.Context(), a, args[0], params)
			if err != nil {
				return err
			}
			return a.showJSON(r.Raw)
		},
	}
}

// readParams reads the object of parameters; none is the empty object.
func (a *app) readParams(args []string) (json.RawMessage, error) {
	b := []byte("{}")
	if len(args) == 1 {
		b = []byte(args[0])
	}
	if len(args) == 1 && args[0] == "-" {
		var err error
		if b, err = io.ReadAll(io.LimitReader(a.in, maxParams+1)); err != nil {
			return nil, fmt.Errorf("read parameters: %w", err)
		}
		if len(b) > maxParams {
			return nil, usagef("parameters are longer than %d bytes", maxParams)
		}
	}
	var object map[string]json.RawMessage
	if err := json.Unmarshal(b, &object); err != nil || object == nil {
		return nil, hint(usagef("parameters are not a JSON object"), `write them as '{"name": value}'`)
	}
	return b, nil
}
