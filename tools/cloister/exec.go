package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	podrun "github.com/cloister-cc/cloister/shim/run"
	"github.com/cloister-cc/cloister/shim/vm"
	"github.com/cloister-cc/cloister/shim/vm/qemu"
)

func newExecCommand() *cobra.Command {
	var stateDir string
	var interactive bool
	cmd := &cobra.Command{
		Use:   "exec POD CONTAINER -- COMMAND [ARGUMENT...]",
		Short: "Run one more command in a container of a running pod",
		Long: `Exec runs a command in a container that "cloister run" started, with the container's own user, environment,
working directory and capabilities: the policy allows a command only with these. The exit code is the command's.`,
		Example: `  cloister exec demo nginx -- /usr/sbin/nginx -t
  cloister exec -i demo nginx -- /usr/sbin/nginx -t < /dev/null`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) < 3 {
				return &usageError{fmt.Errorf("exec: got %d arguments, want POD CONTAINER -- COMMAND [ARGUMENT...]", len(args))}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			var stdin io.Reader
			if interactive {
				stdin = cmd.InOrStdin()
			}
			dir := stateDir
			if dir == "" {
				var err error
				if dir, err = podrun.StateDir(args[0]); err != nil {
					return &usageError{err}
				}
			}
			stdio := podrun.ProcessIO{Stdin: stdin, Stdout: cmd.OutOrStdout(), Stderr: cmd.ErrOrStderr()}
			code, err := execIn(cmd.Context(), dir, args[1], args[2:], stdio)
			switch {
			case err != nil:
				return explain(cmd.Context(), err)
			case code != 0:
				return &exitError{code: code, err: errSilent}
			}
			return nil
		},
	}
	cmd.SetFlagErrorFunc(func(_ *cobra.Command, err error) error {
		return &usageError{fmt.Errorf("exec: %w (options of the command go behind --: exec POD CONTAINER -- COMMAND)", err)}
	})
	cmd.Flags().BoolVarP(&interactive, "interactive", "i", false, "forward standard input")
	cmd.Flags().StringVar(&stateDir, "state-dir", "", "directory of the running VM, as given to run")
	return cmd
}

// errSilent ends a command whose exit code says all there is to say.
var errSilent = errors.New("")

// execIn runs a command through a port of its own, so that it does not share a connection with the pod's run.
func execIn(ctx context.Context, dir, container string, argv []string, stdio podrun.ProcessIO) (int, error) {
	state, err := readState(dir)
	if err != nil {
		return 0, err
	}
	c, ok := state.Containers[container]
	if !ok {
		return 0, fmt.Errorf("exec: pod %q has no container %q that runs (these do: %s)", state.Name, container,
			strings.Join(slices.Sorted(maps.Keys(state.Containers)), ", "))
	}
	client, err := dialFreePort(ctx, dir)
	if err != nil {
		return 0, fmt.Errorf("exec: %w", err)
	}
	defer client.Close()
	process, err := c.Process()
	if err != nil {
		return 0, fmt.Errorf("exec: %w", err)
	}
	process.Args = argv
	code, err := client.Exec(ctx, c.ID, process, stdio)
	return code, execHint(err, state.Name, container)
}

// dialFreePort takes the first port that no other command holds; port 0 is the run's.
func dialFreePort(ctx context.Context, dir string) (*podrun.Client, error) {
	for port := 1; port < vm.Ports; port++ {
		conn, err := qemu.DialPort(ctx, dir, port)
		if errors.Is(err, qemu.ErrPortBusy) {
			continue
		}
		if err != nil {
			return nil, err
		}
		return podrun.NewClient(conn), nil
	}
	return nil, fmt.Errorf("all %d ports for commands are in use", vm.Ports-1)
}
