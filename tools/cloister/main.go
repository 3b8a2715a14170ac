// Command cloister generates policies, builds guest images and layers, runs pods in a utility VM and verifies what ran.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/containerd/log"
	"github.com/spf13/cobra"
)

// Exit codes of every command that does not document its own.
const (
	exitFailed = 1 // refused or failed
	exitUsage  = 2 // the command line was wrong
)

// exitError carries the exit code of commands that have their own (attest verify, policy diff).
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string { return e.err.Error() }
func (e *exitError) Unwrap() error { return e.err }

// usageError marks an error of the command line itself.
type usageError struct{ err error }

func (e *usageError) Error() string { return e.err.Error() }
func (e *usageError) Unwrap() error { return e.err }

func newRoot() *cobra.Command {
	root := asGroup(&cobra.Command{
		Use:           "cloister",
		Version:       version,
		Short:         "Confidential containers: nothing runs that the workload's owner did not allow",
		SilenceUsage:  true,
		SilenceErrors: true,
	})
	root.SetVersionTemplate("cloister {{.Version}}\n")
	root.SetFlagErrorFunc(hintForFlag)
	root.AddCommand(commands()...)
	root.SetHelpCommand(newHelpCommand(root))
	onceOnly(root)
	return root
}

// commands lists every subcommand; each lives in a file of its own name.
func commands() []*cobra.Command {
	return []*cobra.Command{
		newAttestCommand(),
		newDevCommand(),
		newExecCommand(),
		newFragmentCommand(),
		newGuestCommand(),
		newLayerCommand(),
		newLogsCommand(),
		newMeasureCommand(),
		newNodeCommand(),
		newPolicyCommand(),
		newRunCommand(),
		newVersionCommand(),
	}
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	// ttrpc logs answers to calls that were given up, as happens whenever a pod is ended. What a user has to know is in errors.
	log.L.Logger.SetOutput(io.Discard)
	os.Exit(run(ctx, os.Args[1:]))
}

func run(ctx context.Context, args []string) int {
	root := newRoot()
	root.SetArgs(args)
	cmd, err := root.ExecuteContextC(ctx)
	if err == nil {
		return 0
	}
	if text := err.Error(); text != "" {
		fmt.Fprintln(os.Stderr, "cloister: "+text)
	}
	var usage *usageError
	var exit *exitError
	switch {
	case errors.As(err, &exit):
		return exit.code
	case errors.As(err, &usage):
		fmt.Fprintf(os.Stderr, "Run '%s --help' for usage.\n", cmd.CommandPath())
		return exitUsage
	}
	return exitFailed
}
