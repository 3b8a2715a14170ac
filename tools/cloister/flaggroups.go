package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// flagGroup is a part of a long command's help: its title and its flags, in the order they are shown.
type flagGroup struct {
	title string
	flags []string
}

// helpGroup is the last one of every command: what no group names.
const helpGroup = "Output and help"

// groupFlags shows a command's flags under titles instead of in one list by their names. Flags that no group names come last, under
// helpGroup. A name that the command does not have is a mistake of ours, and panics.
func groupFlags(cmd *cobra.Command, groups ...flagGroup) {
	rest := flagGroup{title: helpGroup}
	named := map[string]bool{}
	for _, g := range groups {
		for _, name := range g.flags {
			if cmd.Flags().Lookup(name) == nil || named[name] {
				panic(fmt.Sprintf("%s: no flag, or one twice: %q", cmd.Name(), name))
			}
			named[name] = true
		}
	}
	cmd.InitDefaultHelpFlag()
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		if !named[f.Name] {
			rest.flags = append(rest.flags, f.Name)
		}
	})
	groups = append(slices.Clone(groups), rest)
	cmd.SetUsageFunc(func(cmd *cobra.Command) error {
		var b strings.Builder
		fmt.Fprintf(&b, "Usage:\n  %s\n", cmd.UseLine())
		if cmd.HasExample() {
			fmt.Fprintf(&b, "\nExamples:\n%s\n", cmd.Example)
		}
		for _, g := range groups {
			fmt.Fprintf(&b, "\n%s:\n%s", g.title, g.usages(cmd))
		}
		_, err := fmt.Fprint(cmd.OutOrStderr(), b.String())
		return err
	})
}

func (g flagGroup) usages(cmd *cobra.Command) string {
	set := pflag.NewFlagSet(g.title, pflag.ContinueOnError)
	set.SortFlags = false
	for _, name := range g.flags {
		set.AddFlag(cmd.Flags().Lookup(name))
	}
	return set.FlagUsages()
}
