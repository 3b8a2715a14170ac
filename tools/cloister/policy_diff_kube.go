package main

import (
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"github.com/cloister-cc/cloister/tools/cloister/kube"
)

// diff compares the policies in a Kubernetes document's annotations with those that would be written into them.
func (g *podGenerate) diff(cmd *cobra.Command, group *groupGenerate, asJSON bool) error {
	kubeOnly := slices.Concat(podFlagNames, kubeFlagNames(), podImageFlags(), []string{"file", "images", "cache", "json"})
	err := refuseFlags(cmd, "with -f", func(name string) bool { return !slices.Contains(kubeOnly, name) })
	if err == nil {
		for _, name := range givenFlags(cmd, "annotate", "in-place", "initdata-algorithm", "save-lock") {
			err = usage(cmd, "%s does nothing: diff writes nothing", name)
		}
	}
	if err == nil && g.kube.target == targetRun {
		err = usage(cmd, "--target run has no policy in its document")
	}
	if err == nil {
		g.kube.target = targetCluster
		err = g.kube.check(g)
	}
	g.images, g.cache = group.images, group.cache
	if err == nil {
		err = g.lookup(cmd, group)
	}
	if err != nil {
		return asFailure(cmd, err)
	}
	list, err := g.diffs(cmd)
	if isUsage(err) {
		return asFailure(cmd, err)
	}
	if err == nil {
		err = printDiffs(cmd, list, asJSON)
	}
	if err != nil {
		return fail(cmd, err)
	}
	return differs(list)
}

func (g *podGenerate) diffs(cmd *cobra.Command) ([]groupDiff, error) {
	doc, err := readKubeFile(g.file)
	if err != nil {
		return nil, err
	}
	file, err := g.kube.read(doc)
	if err != nil {
		return nil, err
	}
	picked, err := g.kube.pick(file)
	if err != nil {
		return nil, err
	}
	images, err := g.podImages()
	if err != nil {
		return nil, err
	}
	defer images.close()
	var list []groupDiff
	for _, w := range picked {
		have, err := policyOf(w)
		if err != nil {
			return nil, err
		}
		made, err := g.generateWorkload(cmd.Context(), w, images)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", w, err)
		}
		d := groupDiff{Group: w.String()}
		if d.shownDiff, err = compare(cmd.Context(), have, made.text); err != nil {
			return nil, fmt.Errorf("%s: %w", w, err)
		}
		list = append(list, d)
	}
	return list, images.done()
}

// policyOf is the policy that a workload's template has in one of the two annotations.
func policyOf(w *kube.Workload) ([]byte, error) {
	for _, key := range []string{kube.PolicyAnnotation, kube.InitdataAnnotation} {
		policy, err := w.Policy(key)
		if err != nil || len(policy) > 0 {
			return policy, err
		}
	}
	return nil, fmt.Errorf("%s has no policy: neither annotation %s nor %s; \"policy generate -f FILE --annotate policy\" writes one", w, kube.PolicyAnnotation, kube.InitdataAnnotation)
}
