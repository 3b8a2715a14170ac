package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/cloister-cc/cloister/tools/cloister/nodeinstall"
)

func newNodeCommand() *cobra.Command {
	cmd := asGroup(&cobra.Command{
		Use:   "node",
		Short: "Set up a containerd node for confidential pods, and look at it",
		Long: `Commands for the operator of a node. Nothing here is trusted by a pod's guest: a node that is set up wrongly runs no pods, or
pods whose evidence says so.`,
	})
	cmd.AddCommand(newNodeInstallCommand(), newNodeUninstallCommand(), newNodeCheckCommand(), newNodeMetricsCommand(), newNodeRuntimeClassCommand())
	return cmd
}

// nodeHint puts the next step of a refused installation on a line of its own.
func nodeHint(what string, err error) error {
	var hint *nodeinstall.HintError
	if errors.As(err, &hint) {
		return &plainError{fmt.Sprintf("%s: %s\n  what to do: %s", what, hint.What, hint.Next), err}
	}
	return fmt.Errorf("%s: %w", what, err)
}
