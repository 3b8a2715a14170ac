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
			host := nodecheck.Host{Node: c, Containerd: socket, Shim: nodeinstall.Programs[0], Quick: quick}
			found = append(found, host.Run(cmd.Context())...)
			found = append(found, dropInFinding(containerdVersion(cmd.Context())))
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
	f.BoolVar(&quick, "quick", false, "boot no kernel under KVM")
	f.BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

// dropInFinding says whether containerd's configuration is what an installation would write now.
func dropInFinding(version string) nodecheck.Finding {
	f := nodecheck.Finding{What: "drop-in", Level: nodecheck.OK, Got: "up to date"}
	switch state, err := nodeinstall.DropIn("", version); {
	case err != nil:
		f.Level, f.Got, f.Follows = nodecheck.Warn, err.Error(), "whether containerd's configuration is up to date was not found out"
	case state == nodeinstall.NotInstalled:
		f.Level, f.Got = nodecheck.Note, "none of \"cloister node install\""
		f.Follows = "containerd's configuration is somebody else's work, and was not looked at"
	case state == nodeinstall.Missing:
		f.Level, f.Got, f.Follows, f.Next = nodecheck.Fail, "it is gone, or containerd does not import it", "there is no runtime handler for these pods", "cloister node install"
	case state == nodeinstall.Stale:
		f.Level, f.Got, f.Next = nodecheck.Warn, "not what an installation would write now", "cloister node install, with the flags of the last time"
		f.Follows = "containerd, its configuration or this program changed since, and what was changed may not count"
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
