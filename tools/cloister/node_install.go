package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/cloister-cc/cloister/shim/vm"
	"github.com/cloister-cc/cloister/tools/cloister/nodeinstall"
)

// nodeInstall is one use of the command.
type nodeInstall struct {
	nodeinstall.Options
	tee            string
	dryRun, asJSON bool
}

func newNodeInstallCommand() *cobra.Command {
	n := nodeInstall{Options: nodeinstall.Defaults()}
	cmd := &cobra.Command{
		Use:   "install",
		Short: "Put the shim, the snapshotter and their configuration onto this node",
		Long: `Install copies the programs, writes a service for cloister-snapshotter, a node.toml with comments where there is none, and one drop-in file for
containerd. containerd's own file gets at most one line, an import of the drop-in, with a backup beside it. What is there already and was not written by
an installation is refused, not replaced. Containers that run are not touched; nothing is restarted: what is left to do is printed.

A second installation brings everything up to date: do that after a change of containerd's configuration ("node check" says when), and after an
upgrade. "node uninstall" removes what was written and not changed since.`,
		Example: `  cloister node install --dry-run
  cloister node install --tee emulated --guest /opt/cloister/guest
  cloister node install --root /host --from /usr/local/bin --containerd-version 2.4.2`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error { return n.run(cmd) },
	}
	f := cmd.Flags()
	f.BoolVar(&n.dryRun, "dry-run", false, "only say what would be done")
	f.BoolVar(&n.asJSON, "json", false, "print JSON")
	f.StringVar(&n.Root, "root", "", "directory that stands for the node's /, as in a DaemonSet")
	f.StringVar(&n.From, "from", "", "directory with the programs (default: this one's)")
	f.StringVar(&n.Prefix, "prefix", n.Prefix, "programs go to bin below it")
	f.StringVar(&n.Containerd, "containerd-config", n.Containerd, "containerd's main configuration")
	f.StringVar(&n.Version, "containerd-version", "", "containerd's version (default: what containerd says)")
	f.StringVar(&n.Guest, "guest", n.Guest, "guest image, for a new node.toml")
	f.StringVar(&n.tee, "tee", string(n.TEE), "snp, or emulated (for trials, with a guest built with --dev), for a new node.toml")
	f.StringVar(&n.MetricsDir, "metrics-dir", n.MetricsDir, "directory of the shims' metrics, for a new node.toml")
	f.StringVar(&n.Handler, "handler", n.Handler, "name of the runtime handler")
	f.StringVar(&n.Sandboxer, "sandboxer", n.Sandboxer, "podsandbox, or shim for containerd's sandbox API")
	f.StringVar(&n.Socket, "snapshotter", n.Socket, "socket of cloister-snapshotter")
	f.StringVar(&n.LayersRoot, "snapshotter-root", n.LayersRoot, "directory for layers")
	groupFlags(cmd,
		flagGroup{"What is installed", []string{"from", "prefix", "handler", "sandboxer", "snapshotter", "snapshotter-root"}},
		flagGroup{"The node", []string{"root", "containerd-config", "containerd-version"}},
		flagGroup{"A new node.toml", []string{"tee", "guest", "metrics-dir"}})
	return cmd
}

func (n *nodeInstall) run(cmd *cobra.Command) error {
	n.TEE = vm.TEE(n.tee)
	if n.From == "" {
		self, err := os.Executable()
		if err != nil {
			return fmt.Errorf("node install: %w", err)
		}
		n.From = filepath.Dir(self)
	}
	for _, path := range []*string{&n.From, &n.Root} {
		if *path == "" {
			continue
		}
		absolute, err := filepath.Abs(*path)
		if err != nil {
			return fmt.Errorf("node install: %w", err)
		}
		*path = absolute
	}
	if n.Version == "" && n.Root == "" {
		n.Version = containerdVersion(cmd.Context())
	}
	plan, err := nodeinstall.NewPlan(n.Options)
	if err != nil {
		return nodeHint("node install", err)
	}
	if !n.dryRun {
		if err := plan.Apply(); err != nil {
			return nodeHint("node install", err)
		}
	}
	if n.asJSON {
		return encodeJSON(cmd.OutOrStdout(), plan)
	}
	return n.print(cmd.OutOrStdout(), plan)
}

func (n *nodeInstall) print(w io.Writer, plan *nodeinstall.Plan) error {
	var b strings.Builder
	writeChanges(&b, plan.Changes)
	for _, note := range plan.Notes {
		fmt.Fprintf(&b, "note: %s\n", note)
	}
	switch {
	case n.dryRun:
		b.WriteString("nothing was written (--dry-run)\n")
	case n.Root != "":
		b.WriteString("next, on the node:\n" + nextSteps(plan.Restart))
	default:
		b.WriteString("next:\n" + nextSteps(plan.Restart))
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func nextSteps(restart bool) string {
	steps := "  systemctl daemon-reload\n  systemctl enable cloister-snapshotter\n  systemctl restart cloister-snapshotter\n"
	if restart {
		steps += "  systemctl restart containerd    # containers go on\n"
	}
	return steps + "  cloister node check\n"
}

// writeChanges prints a line a path, and below it the lines of a file that are edited.
func writeChanges(w io.Writer, changes []nodeinstall.Change) {
	for _, c := range changes {
		line := fmt.Sprintf("%-7s %s", c.Action, c.Path)
		switch {
		case strings.HasPrefix(c.Note, "->"):
			line += " " + c.Note
		case c.Note != "":
			line += " (" + c.Note + ")"
		}
		fmt.Fprintln(w, line)
		for _, d := range c.Diff {
			fmt.Fprintf(w, "        %s\n", d)
		}
	}
}

// containerdVersion asks the program; "" if there is none, or it says something else.
func containerdVersion(ctx context.Context) string {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, "containerd", "--version").Output()
	fields := strings.Fields(string(out))
	if err != nil || len(fields) < 3 {
		return ""
	}
	return strings.TrimPrefix(fields[2], "v")
}

func newNodeUninstallCommand() *cobra.Command {
	var root string
	var dryRun, asJSON bool
	cmd := &cobra.Command{
		Use:   "uninstall",
		Short: "Remove what \"node install\" wrote",
		Long: `Uninstall removes the files that an installation wrote and nobody changed since, and takes the import out of containerd's configuration. Changed
files stay and are named; layers and pods are not touched: stop the pods first, since their shim's program goes.`,
		Example: `  cloister node uninstall --dry-run
  cloister node uninstall`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			changes, err := nodeinstall.Uninstall(root, dryRun)
			if err != nil {
				return nodeHint("node uninstall", err)
			}
			if asJSON {
				return encodeJSON(cmd.OutOrStdout(), append([]nodeinstall.Change{}, changes...))
			}
			var b strings.Builder
			writeChanges(&b, changes)
			switch {
			case len(changes) == 0:
				b.WriteString("nothing was installed\n")
			case dryRun:
				b.WriteString("nothing was removed (--dry-run)\n")
			default:
				b.WriteString("next:\n  systemctl disable --now cloister-snapshotter; systemctl daemon-reload\n  systemctl restart containerd    # containers go on\n")
			}
			_, err = io.WriteString(cmd.OutOrStdout(), b.String())
			return err
		},
	}
	cmd.Flags().StringVar(&root, "root", "", "directory that stands for the node's /")
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "only say what would be done")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}
