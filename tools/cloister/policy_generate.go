package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/cloister-cc/cloister/shim/pod"
	"github.com/cloister-cc/cloister/tools/cloister/images/signature"
	"github.com/cloister-cc/cloister/tools/cloister/policygen"
)

// policyGenerate is one call of the command: exactly one of its halves does the work.
type policyGenerate struct {
	pod   podGenerate
	group groupGenerate
}

func newPolicyGenerateCommand() *cobra.Command {
	var g policyGenerate
	cmd := &cobra.Command{
		Use:   "generate -f POD | -a TEMPLATE | -i CONFIG | --virtual-node-yaml YAML | --image REF | --with-containers JSON",
		Short: "Write the policy that allows a deployment and nothing else",
		Long: `Generate writes the ACI policy (Rego) of a deployment. Its SHA-256 is the HOST_DATA of a VM that runs it.

With -f it is that of a Kubernetes document, on standard output or in a file, HOST_DATA on standard error. Layers are
converted once and kept in the cache. Annotations add what a Pod has no field for: io.cloister.exec/CONTAINER (JSON list of
commands that may be executed), io.cloister.env/CONTAINER (JSON list of {"pattern", "strategy": "string" or "re2", "required"}
for variables whose value is known at run time only), io.cloister.grants/CONTAINER (attest).

With the other sources it is what az confcom acipolicygen writes, at the age that --compat names. A deployment template (-a)
or virtual-node document gets the policy in its place unless another output is asked for; a template of several groups has
several policies. Parameters without a value become patterns, each of which has to be approved.

Images come from the lock file (--lock), then from --images, --tar and --containerd, then from their registry: with -f only if
--registry is given, else unless --offline is. With --locked nothing but the lock file is asked. With --require-signature an image is used only if somebody
signed it whom the flag names (docs/signatures.md).

` + signature.Syntax,
		Example: `  cloister policy generate -f demo/pod.yaml --images out/images -o policy.rego
  cloister policy generate -a template.json -p parameters.json
  cloister policy generate -a template.json --save-lock --explain
  cloister policy generate --lock cloister.lock.json --compat confcom-2 -a template.json --outraw
  cloister policy generate --image registry.example/app:1 --base64`,
		Args: noFileArguments,
		RunE: func(cmd *cobra.Command, _ []string) error { return g.run(cmd) },
	}
	f := cmd.Flags()
	g.pod.bind(f)
	g.group.bind(f)
	g.group.bindOutput(f)
	f.StringVarP(&g.pod.out, "output", "o", "", "file to write the policy to, instead of standard output or the template")
	f.StringVar(&g.pod.images, "images", "", "directory of OCI layouts (with -f: default "+pod.ImagesDirName+" in the user's data directory, where no other place is named)")
	f.StringVar(&g.pod.cache, "cache", "", "directory of what is known of layers (default in the user's cache directory)")
	f.BoolVar(&g.pod.base64, "base64", false, "write the policy in base64, as templates and annotations carry it")
	f.BoolVar(&g.pod.json, "json", false, "print the result as JSON")
	groupFlags(cmd, generateGroups...)
	return cmd
}

// podFlagNames are flags that only Kubernetes documents have.
var podFlagNames = []string{"api-version", "no-stdio", "drop-unlisted-env", "allow-runtime-logging", "allow-dump-stacks"}

// generateGroups is the order of the command's flags in its help.
var generateGroups = []flagGroup{
	{"Source, one of", []string{"file", "template-file", "parameters", "input", "virtual-node-yaml", "image", "with-containers", "group"}},
	{"Policy of container groups", []string{
		"compat", "defaults", "debug-mode", "enable-stdio", "disable-stdio", "infrastructure-svn", "exclude-default-fragments", "fragments-json",
		"omit-id", "approve-wildcards", "exact-wildcards", "layer-format",
	}},
	{"Policy of Kubernetes documents (-f)", slices.Concat(podFlagNames, kubeFlagNames())},
	{"Images", []string{
		"lock", "locked", "save-lock", "update-lock", "images", "tar", "containerd", "containerd-namespace", "offline", "mirror", "plain-http",
		"require-signature", "signature-bundle", "cache",
	}},
}

func (g *podGenerate) bind(f *pflag.FlagSet) {
	f.StringVarP(&g.file, "file", "f", "", "Kubernetes document")
	f.StringVar(&g.options.APIVersion, "api-version", policygen.DefaultAPIVersion, "with -f: API version, "+strings.Join(policygen.APIVersions(), " or "))
	f.BoolVar(&g.options.NoStdio, "no-stdio", false, "with -f: keep the containers' output inside the VM")
	f.BoolVar(&g.options.DropUnlistedEnv, "drop-unlisted-env", false, "with -f: drop variables that the policy does not list, instead of refusing the container")
	f.BoolVar(&g.options.AllowLogs, "allow-runtime-logging", false, "with -f: let the host read the agent's log")
	f.BoolVar(&g.options.AllowStacks, "allow-dump-stacks", false, "with -f: let the host read the agent's stacks")
	g.kube.addKubeFlags(f)
}

func (g *policyGenerate) run(cmd *cobra.Command) error {
	collectLess()
	sources := append(g.group.sources(), givenFlags(cmd, "file")...)
	switch {
	case len(sources) == 0:
		return usage(cmd, "no Pod document given (-f FILE), and no other source: -a, -i, --virtual-node-yaml, --image, --with-containers")
	case len(sources) > 1:
		return usage(cmd, "%s are given, want one source", strings.Join(sources, " and "))
	}
	// A flag that would do nothing is one that the user thinks does something.
	podOnly := slices.Concat(podFlagNames, kubeFlagNames())
	if g.pod.file != "" {
		if err := refuseFlags(cmd, "with -f", func(name string) bool {
			return !slices.Contains(slices.Concat(podOnly, podImageFlags(), []string{"yes", "file", "output", "images", "cache", "base64", "json"}), name)
		}); err != nil {
			return err
		}
		if err := g.pod.lookup(cmd, &g.group); err != nil {
			return err
		}
		g.pod.yes = g.group.yes
		return g.pod.run(cmd)
	}
	if err := refuseFlags(cmd, "with "+sources[0], func(name string) bool { return slices.Contains(podOnly, name) }); err != nil {
		return err
	}
	g.group.out, g.group.base64, g.group.json = g.pod.out, g.pod.base64, g.pod.json
	g.group.images, g.group.cache = g.pod.images, g.pod.cache
	return g.group.run(cmd)
}

// givenFlags returns those of the flags that were given, as the user writes them.
func givenFlags(cmd *cobra.Command, names ...string) []string {
	var out []string
	for _, n := range names {
		if cmd.Flags().Changed(n) {
			out = append(out, "--"+n)
		}
	}
	return out
}

func refuseFlags(cmd *cobra.Command, when string, refused func(name string) bool) error {
	var err error
	cmd.Flags().Visit(func(f *pflag.Flag) {
		if err == nil && refused(f.Name) {
			err = usage(cmd, "--%s does nothing %s", f.Name, when)
		}
	})
	return err
}

func usage(cmd *cobra.Command, format string, args ...any) error {
	return &usageError{errors.New(commandName(cmd) + ": " + fmt.Sprintf(format, args...))}
}
