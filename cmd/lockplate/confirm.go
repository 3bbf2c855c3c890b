package main

import (
	"bufio"
	"fmt"
	"strings"
)

// confirm asks the user to type word before something is destroyed. what says
// what will happen. yes is the --yes flag.
func (a *app) confirm(yes bool, what, word string) error {
	if yes {
		return nil
	}
	if !a.term.Interactive() {
		return hint(usagef("%s needs a confirmation, and standard input is not a terminal", what), "add --yes")
	}
	fmt.Fprintf(a.err, "%s\ntype %q to go on: ", what, word)
	line, err := bufio.NewReader(a.in).ReadString('\n')
	if err != nil {
		return fmt.Errorf("read confirmation: %w", err)
	}
	if strings.TrimSpace(line) != word {
		return usagef("not confirmed, nothing was done")
	}
	return nil
}
