package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"
)

// version is the program's, as CHANGELOG.md names it.
const version = "0.1.0"

func newVersionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := fmt.Fprintln(cmd.OutOrStdout(), "cloister "+version)
			return err
		},
	}
}

// asGroup makes a command that only has subcommands: alone it prints its help. A mistyped subcommand is a usage error, not help and success,
// which a script would take for the work done.
func asGroup(cmd *cobra.Command) *cobra.Command {
	cmd.SuggestionsMinimumDistance = 2
	cmd.Args = func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 {
			return nil
		}
		text := fmt.Sprintf("unknown command %.64q for %q", args[0], cmd.CommandPath())
		if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
			text += " (did you mean " + strings.Join(near, " or ") + "?)"
		}
		return &usageError{fmt.Errorf("%s", text)}
	}
	cmd.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
	return cmd
}

// exactly wants one argument for each word of names.
func exactly(names ...string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) != len(names) {
			return &usageError{fmt.Errorf("%s: got %d arguments, want %s", commandName(cmd), len(args), strings.Join(names, " "))}
		}
		return nil
	}
}

func noArguments(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return &usageError{fmt.Errorf("%s: unexpected argument %.64q", commandName(cmd), args[0])}
	}
	return nil
}

// commandName is the command as messages name it, without the program.
func commandName(cmd *cobra.Command) string {
	_, name, _ := strings.Cut(cmd.CommandPath(), " ")
	return name
}
