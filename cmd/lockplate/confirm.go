package main

import (
	"bufio"
	"context"
	"fmt"
	"strings"
)

// confirm asks the user to type word before something is destroyed. what says
// what will happen. yes is the --yes flag.
func (a *app) confirm(ctx context.Context, yes bool, what, word string) error {
	if yes {
		return nil
	}
	if !a.term.Interactive() {
		return hint(usagef("%s needs a confirmation, and standard input is not a terminal", what), "add --yes")
	}
	fmt.Fprintf(a.err, "%s\ntype %q to go on: ", what, word)
	line, err := interruptibly(ctx, func() (string, error) { return bufio.NewReader(a.in).ReadString('\n') })
	if err != nil {
		return fmt.Errorf("read confirmation: %w", err)
	}
	if strings.TrimSpace(line) != word {
		return usagef("not confirmed, nothing was done")
	}
	return nil
}

// interruptibly runs a question that waits for the user. When ctx ends first
// it gives up the wait: the question's goroutine then ends with the process.
func interruptibly[T any](ctx context.Context, ask func() (T, error)) (T, error) {
	type result struct {
		value T
		err   error
	}
	done := make(chan result, 1)
	go func() {
		v, err := ask()
		done <- result{v, err}
	}()
	select {
	case r := <-done:
		return r.value, r.err
	case <-ctx.Done():
		var none T
		return none, ctx.Err()
	}
}
