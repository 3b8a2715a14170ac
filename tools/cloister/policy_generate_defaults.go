package main

import (
	"github.com/spf13/cobra"

	"github.com/cloister-cc/cloister/tools/cloister/acigen"
	"github.com/cloister-cc/cloister/tools/cloister/acigen/defaults"
)

// newPolicyDefaultsCommand prints the data that policies are made with.
func newPolicyDefaultsCommand() *cobra.Command {
	var compat string
	var level bool
	cmd := &cobra.Command{
		Use:   "defaults [--compat LEVEL] [--level]",
		Short: "Print what the platform adds to each container",
		Long: `Defaults prints the file of defaults that policies of a level are made with: the environment rules, mounts, capabilities, pause
container and fragment that the platform adds. A changed copy can be given to "policy generate" with --defaults.

With --level it prints the level itself: versions, switches, decision points, and how the text is spelled.`,
		Example: `  cloister policy defaults > my-defaults.json
  cloister policy defaults --compat confcom-1.2.7 --level`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			l, err := defaults.LoadLevel(compat)
			if err != nil {
				return usage(cmd, "--compat: %v", err)
			}
			text, err := defaults.File(l.Defaults)
			if level {
				text, err = defaults.LevelFile(compat)
			}
			if err == nil {
				_, err = cmd.OutOrStdout().Write(text)
			}
			return fail(cmd, err)
		},
	}
	cmd.Flags().StringVar(&compat, "compat", acigen.Latest, "the level")
	cmd.Flags().BoolVar(&level, "level", false, "print the level instead of its defaults")
	return cmd
}
