package main

import (
	"bytes"
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
	"github.com/spf13/pflag"

	"github.com/cloister-cc/cloister/tools/cloister/acigen"
	"github.com/cloister-cc/cloister/tools/cloister/kube"
	"github.com/cloister-cc/cloister/tools/cloister/policygen"
	"github.com/cloister-cc/cloister/tools/cloister/workload"
)

// Who starts the pods of a document.
const (
	targetRun     = "run"     // cloister run
	targetCluster = "cluster" // Kubernetes, with a shim on the node
)

// How the policy gets into the document.
const (
	carrierPolicy   = "policy"
	carrierInitdata = "initdata"
)

// kubeFlags are those that only Kubernetes documents have.
type kubeFlags struct {
	target, namespace, annotate, algorithm string

	configMaps, workloads, seccomp []string
	inPlace, registry              bool
}

// addKubeFlags declares the flags of Kubernetes documents.
func (k *kubeFlags) addKubeFlags(f *pflag.FlagSet) {
	f.StringVar(&k.target, "target", "", "with -f: who starts the pods: run (cloister run) or cluster (default run for a file that is one Pod, unless a flag that only a cluster has is given; else cluster)")
	f.StringVar(&k.namespace, "namespace", "", "with -f: namespace of documents that name none")
	f.StringArrayVar(&k.configMaps, "config-map", nil, "with -f: file with ConfigMaps, Secrets and ServiceAccounts that the pods use; may be given again")
	f.StringArrayVar(&k.workloads, "workload", nil, "with -f: only this one of the file, as KIND/NAME; may be given again")
	f.StringArrayVar(&k.seccomp, "seccomp", nil, "with -f: NAME=FILE: the profile that the nodes have for RuntimeDefault or a localhostProfile; NAME=none: the runtime sends none")
	f.StringVar(&k.annotate, "annotate", "", "with -f: write the policy into the pod templates: policy (as it is) or initdata (packed).\nIt is for Cloister's agent (package policy); Kata's own wants package agent_policy and refuses it")
	f.StringVar(&k.algorithm, "initdata-algorithm", "", "with -f: digest of --annotate initdata: sha256, sha384 or sha512 (default the present document's, else sha256)")
	f.BoolVar(&k.registry, "registry", false, "with -f: look for images in their registry, too; no other flag does")
	f.BoolVar(&k.inPlace, "in-place", false, "with --annotate: change the file itself")
}

// kubeFlagNames lists them.
func kubeFlagNames() []string {
	var names []string
	f := pflag.NewFlagSet("", pflag.ContinueOnError)
	new(kubeFlags).addKubeFlags(f)
	f.VisitAll(func(flag *pflag.Flag) { names = append(names, flag.Name) })
	return names
}

// check refuses what does not go together.
func (k *kubeFlags) check(g *podGenerate) error {
	switch {
	case !slices.Contains([]string{"", targetRun, targetCluster}, k.target):
		return fmt.Errorf("--target got %q, want run or cluster", k.target)
	case !slices.Contains([]string{"", carrierPolicy, carrierInitdata}, k.annotate):
		return fmt.Errorf("--annotate got %q, want policy or initdata", k.annotate)
	case k.annotate == "" && k.inPlace:
		return errors.New("--in-place is for --annotate")
	case !k.inPlace && g.yes:
		return errors.New("--yes is for --annotate with --in-place")
	case k.annotate != carrierInitdata && k.algorithm != "":
		return errors.New("--initdata-algorithm is for --annotate initdata")
	case !slices.Contains([]string{"", "sha256", "sha384", "sha512"}, k.algorithm):
		return fmt.Errorf("--initdata-algorithm got %q, want sha256, sha384 or sha512", k.algorithm)
	case k.annotate != "" && g.base64:
		return errors.New("--base64 and --annotate exclude each other")
	case k.inPlace && g.out != "":
		return errors.New("--in-place and --output exclude each other")
	case k.annotate != "" && g.json && g.out == "" && !k.inPlace:
		return errors.New("--json with --annotate wants --output or --in-place")
	case k.target == targetRun && k.forCluster():
		return errors.New("--target run is for one Pod as it is: no --annotate, --config-map, --namespace, --seccomp or --workload")
	}
	return nil
}

// forCluster tells whether a flag was given that only a cluster's pods have.
func (k *kubeFlags) forCluster() bool {
	return k.annotate != "" || k.namespace != "" || len(k.configMaps)+len(k.seccomp)+len(k.workloads) > 0
}

// clusters tells whether the pods of a file are a cluster's.
func (k *kubeFlags) clusters(doc workload.Document) bool {
	return k.target == targetCluster || k.target == "" && (k.forCluster() || !kube.IsPod(doc))
}

// maxKubeFile bounds what is read of a file; the reader has the same limit.
const maxKubeFile = 64 << 20

func readKubeFile(path string) (workload.Document, error) {
	f, err := os.Open(path)
	if err != nil {
		return workload.Document{}, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxKubeFile+1))
	return workload.Document{Name: path, Data: data}, err
}

func (k *kubeFlags) read(doc workload.Document) (*kube.File, error) {
	o := kube.Options{Namespace: k.namespace, Seccomp: map[string]string{}}
	for _, text := range k.seccomp {
		name, file, ok := strings.Cut(text, "=")
		if !ok || name == "" || file == "" {
			return nil, &usageError{fmt.Errorf("policy generate: --seccomp %q: want NAME=FILE or NAME=none", text)}
		}
		o.Seccomp[name] = ""
		if file == "none" {
			continue
		}
		profile, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		if o.Seccomp[name], err = acigen.SeccompSHA256(profile); err != nil {
			return nil, fmt.Errorf("--seccomp %s: %w", text, err)
		}
	}
	var others []workload.Document
	for _, path := range k.configMaps {
		other, err := readKubeFile(path)
		if err != nil {
			return nil, err
		}
		others = append(others, other)
	}
	return kube.Read(doc, others, o)
}

// pick chooses the workloads that were asked for.
func (k *kubeFlags) pick(file *kube.File) ([]*kube.Workload, error) {
	wanted := map[string]bool{}
	for _, name := range k.workloads {
		wanted[strings.ToLower(name)] = true
	}
	var out []*kube.Workload
	var names []string
	for i := range file.Workloads {
		w := &file.Workloads[i]
		names = append(names, w.String())
		if len(k.workloads) == 0 || wanted[w.String()] {
			out = append(out, w)
			delete(wanted, w.String())
		}
	}
	for name := range wanted {
		return nil, &usageError{fmt.Errorf("policy generate: --workload %q is not in the file, which has %s", name, strings.Join(names, ", "))}
	}
	return out, nil
}

// kubePolicy is one workload's policy.
type kubePolicy struct {
	workload *kube.Workload
	text     []byte
	carrier  kube.Carrier
}

// kubeResult is what --json prints of one workload.
type kubeResult struct {
	Workload string `json:"workload"` // kind/name
	policyResult
}

// runKube writes the policies of a file whose pods a cluster starts.
func (g *podGenerate) runKube(cmd *cobra.Command, doc workload.Document) error {
	file, err := g.kube.read(doc)
	if err != nil {
		return err
	}
	picked, err := g.kube.pick(file)
	if err != nil {
		return err
	}
	if len(picked) > 1 && g.kube.annotate == "" && (!g.json || g.out != "") {
		var names []string
		for _, w := range picked {
			names = append(names, w.String())
		}
		return &usageError{fmt.Errorf("policy generate: the file has %d workloads (%s): want one by --workload, or --annotate, or --json on standard output",
			len(picked), strings.Join(names, ", "))}
	}
	images, err := g.podImages()
	if err != nil {
		return err
	}
	defer images.close()
	var made []kubePolicy
	for _, w := range picked {
		p, err := g.generateWorkload(cmd.Context(), w, images)
		if err != nil {
			return fmt.Errorf("%s: %w", w, err)
		}
		if g.kube.annotate != "" && w.Pod.RuntimeClass() == "" {
			newUI(cmd.ErrOrStderr()).warn("%s has no runtimeClassName: without Cloister's (docs/kubernetes.md) a cluster runs it unprotected, and nobody reads its policy", w)
		}
		if secrets := w.Pod.SecretVariables(); len(secrets) > 0 {
			fmt.Fprintf(cmd.ErrOrStderr(), "note: values of Secrets stand in the policy of %s, which is not secret: %s\n", w, strings.Join(secrets, ", "))
		}
		made = append(made, p)
	}
	if err := images.done(); err != nil {
		return err
	}
	for _, w := range picked {
		g.warnOfIdentities(cmd, w.String(), w.Pod, true)
	}
	return g.writeKube(cmd, doc, file, made)
}

func (g *podGenerate) generateWorkload(ctx context.Context, w *kube.Workload, images *podImages) (kubePolicy, error) {
	containers, err := w.Pod.Resolve(ctx, images.source)
	if err != nil {
		return kubePolicy{}, err
	}
	out := kubePolicy{workload: w}
	if out.text, err = policygen.Generate(ctx, containers, images.roots, g.options); err != nil {
		return kubePolicy{}, err
	}
	if g.kube.annotate == carrierInitdata {
		out.carrier, err = kube.InitdataCarrier(w, out.text, g.kube.algorithm)
	} else {
		out.carrier, err = kube.PolicyCarrier(w, out.text)
		if g.kube.annotate == "" {
			err = nil // nothing is carried: only HOST_DATA is wanted
		}
	}
	return out, err
}

// mayReplace asks before a policy that somebody wrote is lost.
func (g *podGenerate) mayReplace(cmd *cobra.Command, made []kubePolicy) error {
	for _, m := range made {
		old, err := m.workload.Policy(m.carrier.Key)
		if err != nil {
			return err
		}
		if g.yes || len(old) == 0 || bytes.Equal(old, m.text) {
			continue
		}
		if err := confirmReplace(cmd, printable(g.file)+": "+m.workload.String(), "leave --in-place out to print the document"); err != nil {
			return err
		}
	}
	return nil
}

func (g *podGenerate) writeKube(cmd *cobra.Command, doc workload.Document, file *kube.File, made []kubePolicy) error {
	written := made[0].text
	if g.base64 {
		written = []byte(base64.StdEncoding.EncodeToString(written) + "\n")
	}
	if g.kube.annotate != "" {
		carriers := map[*kube.Workload]kube.Carrier{}
		for _, m := range made {
			carriers[m.workload] = m.carrier
		}
		var err error
		if written, err = file.Annotate(carriers); err != nil {
			return err
		}
	}
	var err error
	switch {
	case g.kube.inPlace:
		if err = g.mayReplace(cmd, made); err == nil {
			err = rewrite(cmd, g.file, doc.Data, written)
		}
	case g.out != "":
		err = os.WriteFile(g.out, written, 0o644)
	case !g.json:
		_, err = cmd.OutOrStdout().Write(written)
	}
	if err != nil {
		return fmt.Errorf("policy generate: %w", err)
	}
	return g.tellKube(made, cmd.OutOrStdout(), cmd.ErrOrStderr())
}

// tellKube prints each HOST_DATA.
func (g *podGenerate) tellKube(made []kubePolicy, stdout, stderr io.Writer) error {
	results := []kubeResult{}
	for _, m := range made {
		digest, sum := m.carrier.HostData, sha256.Sum256(m.text)
		r := kubeResult{Workload: m.workload.String(), policyResult: policyResult{
			SHA256: hex.EncodeToString(sum[:]), HostData: base64.StdEncoding.EncodeToString(digest[:]), HexData: hex.EncodeToString(digest[:]),
			APIVersion: g.options.APIVersion, Bytes: len(m.text), Output: g.out,
		}}
		if g.kube.inPlace {
			r.Output = g.file
		}
		if r.Output == "" {
			r.Policy = base64.StdEncoding.EncodeToString(m.text)
		}
		results = append(results, r)
		if !g.json {
			if _, err := fmt.Fprintf(stderr, "HOST_DATA %s %s\n", r.HexData, r.Workload); err != nil {
				return err
			}
		}
	}
	if g.json {
		return encodeJSON(stdout, results)
	}
	return nil
}
