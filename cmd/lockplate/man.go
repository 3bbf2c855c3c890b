package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
)

// manCommand makes pages from the same texts as --help, so that they cannot
// differ.
func (a *app) manCommand() *cobra.Command {
	var dir string
	var markdown bool
	c := &cobra.Command{
		Use: "man", Short: "Write the man pages", Args: cobra.NoArgs,
		Example: "  lockplate man --dir /usr/local/share/man/man1",
		RunE: func(c *cobra.Command, _ []string) error {
			if err := os.MkdirAll(dir, 0o755); err != nil {
				return fmt.Errorf("make directory: %w", err)
			}
			if err := writePages(c.Root(), dir, markdown); err != nil {
				return fmt.Errorf("write man pages: %w", err)
			}
			pages, err := filepath.Glob(filepath.Join(dir, "lockplate*"))
			if err != nil {
				return err
			}
			return a.show(map[string]any{"dir": dir, "pages": len(pages)}, func(w io.Writer) {
				fmt.Fprintf(w, "%d pages in %s\n", len(pages), dir)
			})
		},
	}
	c.Flags().StringVar(&dir, "dir", ".", "directory to write to")
	c.Flags().BoolVar(&markdown, "markdown", false, "write Markdown instead")
	return c
}

// writePages writes a page for each command. The first page also has the exit
// codes, which are no command of their own.
func writePages(root *cobra.Command, dir string, markdown bool) error {
	root.Long += "\n\nExit codes, which keep their meaning:\n\n" + strings.TrimRight(exitTable(), "\n")
	root.DisableAutoGenTag = true
	if markdown {
		return doc.GenMarkdownTree(root, dir)
	}
	return doc.GenManTree(root, &doc.GenManHeader{Title: "LOCKPLATE", Section: "1", Source: "lockplate " + readVersion().Version}, dir)
}
