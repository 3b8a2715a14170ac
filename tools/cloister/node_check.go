package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/cloister-cc/cloister/shim/node"
	"github.com/cloister-cc/cloister/tools/cloister/nodecheck"
	"github.com/cloister-cc/cloister/tools/cloister/nodeinstall"
)

func newNodeCheckCommand() *cobra.Command {
	var config, socket string
	var asJSON, quick bool
	install := nodeinstall.Defaults()
	cmd := &cobra.Command{
		Use:   "check",
		Short: "Say what this node has and lacks for confidential pods, and what follows",
		Long: `Check looks at processor, KVM, QEMU, guest image, network, containerd and its plugins, and says for each what was found, what follows from that and what
to do. KVM is tried with a kernel, the network with an interface of its own namespace; nothing of it stays.

Exit codes: 0 pods can run here as node.toml says (warnings may be left), 1 they cannot, 2 usage.`,
		Example: `  cloister node check
  cloister node check --json`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var found []nodecheck.Finding
			c, err := node.Load(config)
			if err != nil {
				found = append(found, nodecheck.Finding{What: "node.toml", Level: nodecheck.Fail, Got: err.Error(), Follows: "no pod starts; the rest is told for the defaults", Next: "correct it"})
				c = node.Default()
			}
			install.Root = ""
			if install.Version == "" {
				install.Version = containerdVersion(cmd.Context())
			}
			host := nodecheck.Host{Node: c, Containerd: socket, Shim: nodeinstall.Programs[0], Quick: quick}
			found = append(found, host.Run(cmd.Context())...)
			found = append(found, dropInFinding(install))
			if asJSON {
				err = encodeJSON(cmd.OutOrStdout(), struct {
					Usable   bool                `json:"usable"`
					Findings []nodecheck.Finding `json:"findings"`
				}{nodecheck.Usable(found), found})
			} else {
				err = printFindings(cmd.OutOrStdout(), found)
			}
			if err == nil && !nodecheck.Usable(found) {
				return &exitError{code: exitFailed, err: errSilent}
			}
			return err
		},
	}
	f := cmd.Flags()
	f.StringVar(&config, "config", "", "the node's configuration (default "+node.Path+")")
	f.StringVar(&socket, "containerd", "/run/containerd/containerd.sock", "containerd's socket")
	f.StringVar(&install.Containerd, "containerd-config", install.Containerd, "containerd's main configuration")
	f.StringVar(&install.Handler, "handler", install.Handler, "as given to \"node install\"")
	f.StringVar(&install.Sandboxer, "sandboxer", install.Sandboxer, "as given to \"node install\"")
	f.StringVar(&install.Prefix, "prefix", install.Prefix, "as given to \"node install\"")
	f.BoolVar(&quick, "quick", false, "boot no kernel under KVM")
	f.BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

// dropInFinding says whether containerd's configuration is what an installation would write now.
func dropInFinding(o nodeinstall.Options) nodecheck.Finding {
	f := nodecheck.Finding{What: "drop-in", Level: nodecheck.OK, Got: "up to date"}
	switch stale, missing, err := nodeinstall.Stale(o); {
	case err != nil:
		f.Level, f.Got, f.Follows = nodecheck.Warn, err.Error(), "whether containerd's configuration is up to date was not found out"
	case missing:
		f.Level, f.Got, f.Follows, f.Next = nodecheck.Fail, "containerd's configuration has none", "no runtime handler for these pods", "cloister node install"
	case stale:
		f.Level, f.Got, f.Next = nodecheck.Warn, "not what an installation would write now", "cloister node install, with the flags of the last time"
		f.Follows = "containerd's configuration was changed since, and what was changed may not count"
	}
	return f
}

// printFindings prints a report, in colour on a terminal only.
func printFindings(w io.Writer, found []nodecheck.Finding) error {
	u := newUI(w)
	colours := map[nodecheck.Level]string{nodecheck.Warn: yellow, nodecheck.Fail: red, nodecheck.Note: faint}
	counts := map[nodecheck.Level]int{}
	for _, f := range found {
		counts[f.Level]++
		u.line(colours[f.Level], fmt.Sprintf("%-5s %-21s %s", f.Level, f.What, f.Got))
		for _, more := range []struct{ name, text string }{{"follows", f.Follows}, {"next", f.Next}} {
			if more.text != "" {
				u.line("", fmt.Sprintf("      %-8s %s", more.name, strings.TrimSpace(more.text)))
			}
		}
	}
	verdict := "pods can run here"
	if counts[nodecheck.Fail] > 0 {
		verdict = "pods cannot run here"
	}
	_, err := fmt.Fprintf(w, "%s: %d failed, %d warnings\n", verdict, counts[nodecheck.Fail], counts[nodecheck.Warn])
	return err
}
