package main

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"lockplate/api/wire"
)

// completeTime bounds what the shell waits for after a press of the Tab key.
const completeTime = 2 * time.Second

// completer is cobra's function for dynamic completion.
type completer = func(*cobra.Command, []string, string) ([]cobra.Completion, cobra.ShellCompDirective)

// completeVolumes completes the first argument with names of volumes.
func (a *app) completeVolumes(c *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
	return completeFirst(c, args, func(ctx context.Context) (out []cobra.Completion, err error) {
		r, err := call[wire.ListVolumesResult](ctx, a, wire.MethodListVolumes, wire.Empty{})
		for _, v := range r.Value.Volumes {
			out = append(out, cobra.CompletionWithDesc(v.Name, formatSize(v.TotalSize)+" "+v.Lockplate.State))
		}
		return out, err
	})
}

// completeDrives completes the first argument with numbers of drives.
func (a *app) completeDrives(c *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
	return completeFirst(c, args, a.driveCompletions)
}

// driveCompletions offers the numbers of drives, with their addresses.
func (a *app) driveCompletions(ctx context.Context) (out []cobra.Completion, err error) {
	r, err := call[wire.ListDrivesResult](ctx, a, wire.MethodListDrives, wire.Empty{})
	for _, d := range r.Value.Drives {
		out = append(out, cobra.CompletionWithDesc(id(d.DriveID), d.Lockplate.URI))
	}
	return out, err
}

// completeUsers completes the first argument with names of users.
func (a *app) completeUsers(c *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
	return completeFirst(c, args, func(ctx context.Context) (out []cobra.Completion, err error) {
		r, err := call[wire.ListClusterAdminsResult](ctx, a, wire.MethodListClusterAdmins, wire.Empty{})
		for _, u := range r.Value.ClusterAdmins {
			out = append(out, u.Username)
		}
		return out, err
	})
}

// completeJobs completes the first argument with numbers of jobs.
func (a *app) completeJobs(c *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
	return completeFirst(c, args, func(ctx context.Context) (out []cobra.Completion, err error) {
		r, err := call[wire.ListAsyncResultsResult](ctx, a, wire.MethodListAsyncResults, wire.Empty{})
		for _, h := range r.Value.AsyncHandles {
			out = append(out, cobra.CompletionWithDesc(id(h.AsyncResultID), h.ResultType+" "+jobState(h)))
		}
		return out, err
	})
}

// completeMethods completes the first argument with API methods.
func (a *app) completeMethods(c *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
	return completeFirst(c, args, func(ctx context.Context) ([]cobra.Completion, error) {
		r, err := call[wire.GetAPIResult](ctx, a, wire.MethodGetAPI, wire.Empty{})
		return r.Value.Methods, err
	})
}

// completeFirst offers something for the first argument only.
func completeFirst(c *cobra.Command, args []string, list func(context.Context) ([]cobra.Completion, error)) ([]cobra.Completion, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return complete(c, list)
}

// complete asks the daemon, and offers nothing if it does not answer in time.
func complete(c *cobra.Command, list func(context.Context) ([]cobra.Completion, error)) ([]cobra.Completion, cobra.ShellCompDirective) {
	parent := c.Context()
	if parent == nil {
		parent = context.Background()
	}
	ctx, cancel := context.WithTimeout(parent, completeTime)
	defer cancel()
	out, err := list(ctx)
	if err != nil {
		cobra.CompErrorln(err.Error())
		return nil, cobra.ShellCompDirectiveError | cobra.ShellCompDirectiveNoFileComp
	}
	return out, cobra.ShellCompDirectiveNoFileComp
}

// oneOf completes a flag with fixed words.
func oneOf(words ...string) completer {
	return func(*cobra.Command, []string, string) ([]cobra.Completion, cobra.ShellCompDirective) {
		return words, cobra.ShellCompDirectiveNoFileComp
	}
}

// completeFlag attaches a completer to a flag that was just made.
func completeFlag(c *cobra.Command, flag string, f completer) {
	if err := c.RegisterFlagCompletionFunc(flag, f); err != nil {
		panic("lockplate: completion of --" + flag + ": " + err.Error())
	}
}
