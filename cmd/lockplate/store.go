package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/spf13/cobra"

	"lockplate/api/wire"
	"lockplate/cluster"
)

// storeCommand groups the commands about the store.
func (a *app) storeCommand() *cobra.Command {
	c := asGroup(&cobra.Command{Use: "store", Short: "The database with everything that must not be lost"})
	c.AddCommand(a.storeCheckCommand())
	return c
}

// storeCheckCommand is CheckStore, or the same on the file of a stopped daemon.
func (a *app) storeCheckCommand() *cobra.Command {
	return &cobra.Command{
		Use: "check", Short: "Look for damage in the store", Args: cobra.NoArgs,
		Long: `Look for damage in the store, changing nothing: through the daemon if it runs,
in the file itself if not. Every problem is listed; any makes the exit code
14.`,
		RunE: func(c *cobra.Command, _ []string) error {
			r := wire.CheckStoreResult{Problems: []string{}}
			if a.daemonRuns(c.Context()) {
				there, err := call[wire.CheckStoreResult](c.Context(), a, wire.MethodCheckStore, wire.Empty{})
				if err != nil {
					return err
				}
				r = there.Value
			} else if err := checkHere(c.Context(), a.state(), &r); err != nil {
				return err
			}
			if err := a.show(r, func(w io.Writer) { problemText(w, r.Problems) }); err != nil || len(r.Problems) == 0 {
				return err
			}
			return hint(&codedError{exitIntegrity, fmt.Errorf("the store has %d problems", len(r.Problems))},
				"keep a copy of the state directory, then 'lockplate restore' the last backup into an empty one")
		},
	}
}

// checkHere checks the file of the store, which no process may have open.
func checkHere(ctx context.Context, state string, r *wire.CheckStoreResult) error {
	if _, err := os.Stat(cluster.StorePath(state)); errors.Is(err, fs.ErrNotExist) {
		return hint(fmt.Errorf("there is no store in %s: %w", state, err), "name the state directory with --state")
	}
	problems, err := cluster.CheckState(ctx, state)
	r.Problems = append(r.Problems, problems...)
	return err
}

// problemText writes one line for each problem.
func problemText(w io.Writer, problems []string) {
	if len(problems) == 0 {
		fmt.Fprintln(w, "no problems found")
	}
	for _, p := range problems {
		fmt.Fprintln(w, p)
	}
}
