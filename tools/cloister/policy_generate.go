package main

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/cloister-cc/cloister/shim/pod"
	"github.com/cloister-cc/cloister/tools/cloister/policygen"
	"github.com/cloister-cc/cloister/verity/layer"
)

type policyGenerate struct {
	file, images, cache, out string
	base64, json             bool
	options                  policygen.Options
}

// policyResult is what --json prints.
type policyResult struct {
	SHA256     string `json:"sha256"`    // of the text, in hex: HOST_DATA
	HostData   string `json:"host_data"` // base64
	HexData    string `json:"host_data_hex"`
	APIVersion string `json:"api_version"`
	Bytes      int    `json:"bytes"`
	Output     string `json:"output,omitempty"`
	Policy     string `json:"policy,omitempty"` // base64, when it was not written to a file
}

func newPolicyGenerateCommand() *cobra.Command {
	var g policyGenerate
	cmd := &cobra.Command{
		Use:   "generate -f POD [--images DIR] [-o FILE]",
		Short: "Write the policy that allows one pod and nothing else",
		Long: `Generate writes the ACI policy (Rego) of a Kubernetes Pod to standard output or a file, and its SHA-256, which is the
HOST_DATA of a VM that runs the pod, to standard error. Layers are converted once and kept in the cache, because their
root hashes are part of the policy.

Annotations add what a Pod has no field for: io.cloister.exec/CONTAINER (JSON list of commands that may be executed),
io.cloister.env/CONTAINER (JSON list of {"pattern", "strategy": "string" or "re2", "required"} for variables whose value is
known at run time only), io.cloister.grants/CONTAINER (attest).`,
		Example: `  cloister policy generate -f demo/pod.yaml --images out/images -o policy.rego
  cloister policy generate -f demo/pod.yaml --images out/images --base64
  cloister policy generate -f demo/pod.yaml --images out/images -o policy.rego --json`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return &usageError{fmt.Errorf("policy generate: unexpected argument %q", args[0])}
			}
			return g.run(cmd.Context(), cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	f := cmd.Flags()
	f.StringVarP(&g.file, "file", "f", "", "Pod document")
	f.StringVar(&g.images, "images", "", "directory of OCI layouts (default "+pod.ImagesDirName+" in the user's data directory)")
	f.StringVar(&g.cache, "cache", "", "directory of converted layers (default cloister/layers in the user's cache directory)")
	f.StringVarP(&g.out, "output", "o", "", "file to write, instead of standard output")
	f.BoolVar(&g.base64, "base64", false, "write the policy in base64, as annotations carry it")
	f.BoolVar(&g.json, "json", false, "print the result as JSON")
	f.StringVar(&g.options.APIVersion, "api-version", policygen.DefaultAPIVersion, "API version: "+strings.Join(policygen.APIVersions(), " or "))
	f.BoolVar(&g.options.NoStdio, "no-stdio", false, "keep the containers' output inside the VM")
	f.BoolVar(&g.options.DropUnlistedEnv, "drop-unlisted-env", false, "drop variables that the policy does not list, instead of refusing the container")
	f.BoolVar(&g.options.AllowLogs, "allow-runtime-logging", false, "let the host read the agent's log")
	f.BoolVar(&g.options.AllowStacks, "allow-dump-stacks", false, "let the host read the agent's stacks")
	return cmd
}

func (g *policyGenerate) run(ctx context.Context, stdout, stderr io.Writer) error {
	if g.file == "" {
		return &usageError{errors.New("policy generate: no Pod document given (-f FILE)")}
	}
	if !slices.Contains(policygen.APIVersions(), g.options.APIVersion) {
		return &usageError{fmt.Errorf("policy generate: --api-version is %q, want %s", g.options.APIVersion, strings.Join(policygen.APIVersions(), " or "))}
	}
	text, err := g.generate(ctx)
	if err != nil {
		return err
	}
	digest := sha256.Sum256(text)
	result := policyResult{
		SHA256: hex.EncodeToString(digest[:]), HostData: base64.StdEncoding.EncodeToString(digest[:]), HexData: hex.EncodeToString(digest[:]),
		APIVersion: g.options.APIVersion, Bytes: len(text), Output: g.out,
	}
	written := text
	if g.base64 {
		written = []byte(base64.StdEncoding.EncodeToString(text) + "\n")
	}
	switch {
	case g.out != "":
		err = os.WriteFile(g.out, written, 0o644)
	case g.json:
		result.Policy = base64.StdEncoding.EncodeToString(text)
	default:
		_, err = stdout.Write(written)
	}
	if err != nil {
		return fmt.Errorf("policy generate: %w", err)
	}
	if g.json {
		return encodeJSON(stdout, result)
	}
	_, err = fmt.Fprintf(stderr, "HOST_DATA %s\n", result.SHA256)
	return err
}

func (g *policyGenerate) generate(ctx context.Context) ([]byte, error) {
	p, err := pod.Load(g.file)
	if err != nil {
		return nil, err
	}
	containers, err := resolvePod(ctx, p, g.images)
	if err != nil {
		return nil, err
	}
	cache, err := layerCache(g.cache)
	if err != nil {
		return nil, err
	}
	return policygen.Generate(ctx, containers, cachedRoots(cache), g.options)
}

// cachedRoots converts each layer once; the launcher plugs the same files later.
func cachedRoots(cache layer.Cache) policygen.Roots {
	return func(ctx context.Context, l pod.Layer) (string, error) {
		_, root, err := cache.Get(ctx, l.DiffID, l.Open)
		return root.String(), err
	}
}
