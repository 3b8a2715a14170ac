package main

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/cloister-cc/cloister/shim/pod"
	"github.com/cloister-cc/cloister/tools/cloister/policygen"
	"github.com/cloister-cc/cloister/verity/layer"
)

// podGenerate writes the policy of a Kubernetes document (-f).
type podGenerate struct {
	file, images, cache, out string
	base64, json, yes        bool
	saveLock                 bool
	options                  policygen.Options
	kube                     kubeFlags
	open                     func() (*podImages, error) // nil: the directory of layouts alone
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

func (g *podGenerate) run(cmd *cobra.Command) error {
	stdout, stderr := cmd.OutOrStdout(), cmd.ErrOrStderr()
	if !slices.Contains(policygen.APIVersions(), g.options.APIVersion) {
		return &usageError{fmt.Errorf("policy generate: --api-version is %q, want %s", g.options.APIVersion, strings.Join(policygen.APIVersions(), " or "))}
	}
	if err := g.kube.check(g); err != nil {
		return &usageError{fmt.Errorf("policy generate: %w", err)}
	}
	if doc, err := readKubeFile(g.file); err == nil {
		if err := refuseTemplate(cmd, "-f", g.file, doc.Data); err != nil {
			return err
		}
		if g.kube.clusters(doc) {
			return g.runKube(cmd, doc)
		}
	}
	text, err := g.generate(cmd)
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

func (g *podGenerate) generate(cmd *cobra.Command) ([]byte, error) {
	ctx := cmd.Context()
	p, err := pod.Load(g.file)
	if err != nil {
		return nil, err
	}
	images, err := g.podImages()
	if err != nil {
		return nil, err
	}
	defer images.close()
	containers, err := p.Resolve(ctx, images.source)
	if err != nil {
		return nil, err
	}
	text, err := policygen.Generate(ctx, containers, images.roots, g.options)
	if err != nil {
		return nil, err
	}
	if err := images.done(); err != nil {
		return nil, err
	}
	g.warnOfIdentities(cmd, g.file, p, false)
	return text, nil
}

// cachedRoots converts each layer once; the launcher plugs the same files later.
func cachedRoots(cache layer.Cache) policygen.Roots {
	return func(ctx context.Context, l pod.Layer) (string, error) {
		_, root, err := cache.Get(ctx, l.DiffID, l.Open)
		return root.String(), err
	}
}
