package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/cloister-cc/cloister/agent/api"
	"github.com/cloister-cc/cloister/shim/node"
	podrun "github.com/cloister-cc/cloister/shim/run"
	"github.com/cloister-cc/cloister/shim/sandbox"
)

func newLogsCommand() *cobra.Command {
	var l podLogs
	cmd := &cobra.Command{
		Use:   "logs POD|ID",
		Short: "Show the guest's console, or its agent's log",
		Long: `Logs shows what a pod's guest says of itself, not what its containers print: that is with kubectl, crictl or ctr. POD is a pod that "cloister run"
started, ID that of a pod of containerd or the beginning of one ("crictl pods" lists them).

The console (--console, the default) is a file on the host: boot steps, and nothing of requests once the policy is bound unless it allows runtime
logging. The agent's log (--agent) is a ring in the guest's memory, given out only where the policy allows runtime logging.`,
		Example: `  cloister logs demo
  cloister logs -f 4f1c2a
  cloister logs --agent 4f1c2a`,
		Args: exactly("POD|ID"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if l.console && l.agent {
				return &usageError{errors.New("logs: --console and --agent are two logs: give one")}
			}
			if l.agent && l.follow {
				return &usageError{errors.New("logs: the agent's log is given as a whole, so --follow goes with the console only")}
			}
			dir, err := l.find(args[0])
			if err != nil {
				return err
			}
			if l.agent {
				return explain(cmd.Context(), agentLog(cmd.Context(), dir, cmd.OutOrStdout()))
			}
			return explain(cmd.Context(), l.showConsole(cmd.Context(), dir, cmd.OutOrStdout()))
		},
	}
	cmd.Flags().BoolVar(&l.console, "console", false, "the guest's serial console (the default)")
	cmd.Flags().BoolVar(&l.agent, "agent", false, "the agent's log")
	cmd.Flags().BoolVarP(&l.follow, "follow", "f", false, "go on until the pod ends")
	cmd.Flags().StringVar(&l.stateDir, "state-dir", "", "directory of the pod, as given to run, or of containerd's pods")
	cmd.Flags().StringVar(&l.config, "config", "", "the node's configuration (default "+node.Path+")")
	return cmd
}

// podLogs is one use of the command.
type podLogs struct {
	console, agent, follow bool
	stateDir, config       string
}

// find gives the state directory of a pod: one that "cloister run" started, or one of containerd's by the beginning of its id.
func (l *podLogs) find(pod string) (string, error) {
	if l.stateDir != "" {
		if _, err := os.Stat(filepath.Join(l.stateDir, sandbox.ConsoleFile)); err == nil {
			return l.stateDir, nil
		}
		return findPod(l.stateDir, pod)
	}
	if dir, err := podrun.StateDir(pod); err == nil {
		if _, err := podrun.ReadState(dir); err == nil {
			return dir, nil
		}
	}
	c, err := node.Load(l.config)
	if err != nil {
		return "", fmt.Errorf("logs: %w", err)
	}
	return findPod(c.StateDir, pod)
}

// findPod looks through the directories of a node's pods.
func findPod(parent, id string) (string, error) {
	entries, err := os.ReadDir(parent)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("logs: %w", err)
	}
	var found []string
	for _, e := range entries {
		state, err := sandbox.ReadState(filepath.Join(parent, e.Name()))
		switch {
		case err != nil: // of another program, or on its way out
		case state.ID == id:
			return filepath.Join(parent, e.Name()), nil
		case strings.HasPrefix(state.ID, id):
			found = append(found, e.Name())
		}
	}
	switch len(found) {
	case 0:
		return "", fmt.Errorf("logs: no pod %.64q runs here (neither by \"cloister run\" nor in %q; \"crictl pods\" lists containerd's)", id, parent)
	case 1:
		return filepath.Join(parent, found[0]), nil
	}
	slices.Sort(found)
	return "", &usageError{fmt.Errorf("logs: %d pods have ids that begin with %.64q (%s): give more of it", len(found), id, strings.Join(found[:min(4, len(found))], ", "))}
}

// agentLog prints the agent's ring, asked for over a channel that the pod's own shim does not use.
func agentLog(ctx context.Context, dir string, w io.Writer) error {
	client, err := dialFreePort(ctx, dir)
	if err != nil {
		return fmt.Errorf("logs: %w", err)
	}
	defer client.Close()
	answer, err := client.Cloister.Logs(ctx, &api.LogsRequest{})
	if err != nil {
		return fmt.Errorf("logs: %w", err)
	}
	_, err = printableText{w}.Write(answer.Data)
	return err
}

// showConsole prints the console's file, and what is added to it until the pod ends when it is followed.
func (l *podLogs) showConsole(ctx context.Context, dir string, w io.Writer) error {
	path := filepath.Join(dir, sandbox.ConsoleFile)
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("logs: %w", err)
	}
	defer f.Close()
	if l.follow {
		err = follow(ctx, f, printableText{w})
	} else {
		_, err = io.Copy(printableText{w}, f)
	}
	if err != nil {
		return fmt.Errorf("logs: console %q: %w", path, err)
	}
	return nil
}

// printableText keeps a guest's bytes from being a terminal's commands.
type printableText struct{ w io.Writer }

func (p printableText) Write(b []byte) (int, error) {
	out := slices.Clone(b)
	out = slices.DeleteFunc(out, func(c byte) bool { return c == '\r' })
	for i, c := range out {
		if c < ' ' && c != '\n' && c != '\t' || c >= 0x7f {
			out[i] = '.'
		}
	}
	if _, err := p.w.Write(out); err != nil {
		return 0, err
	}
	return len(b), nil
}
