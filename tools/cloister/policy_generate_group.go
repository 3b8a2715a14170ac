package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/cloister-cc/cloister/tools/cloister/acigen"
	"github.com/cloister-cc/cloister/tools/cloister/acigen/defaults"
	"github.com/cloister-cc/cloister/tools/cloister/images"
	"github.com/cloister-cc/cloister/tools/cloister/workload"
)

// groupGenerate writes the policies of documents that describe groups of containers.
type groupGenerate struct {
	template, config, virtualNode, image string
	parameters, with                     []string
	group                                string

	compat, svn, fragments, defaults, format string
	noFragments, debug, stdioOff, stdioOn    bool
	wildcards, exactWildcards, omitID        bool

	imageSources
	outputFlags
}

// outputFlags say where a policy goes.
type outputFlags struct {
	out                                    string
	base64, json, outraw, pretty, existing bool
	explain, yes, saveLock                 bool
}

// bind adds the flags that say what is generated; "policy diff" has them, too.
func (g *groupGenerate) bind(f *pflag.FlagSet) {
	f.StringVarP(&g.template, "template-file", "a", "", "deployment template (ARM, JSON) with container groups or profiles")
	f.StringArrayVarP(&g.parameters, "parameters", "p", nil, "parameters file of the template; may be given again")
	f.StringVar(&g.virtualNode, "virtual-node-yaml", "", "Kubernetes document for ACI's virtual nodes")
	f.StringVar(&g.group, "group", "", "only this group of the document, by name or number (from 0)")

	f.StringVar(&g.compat, "compat", acigen.Latest, "age of the policy: "+strings.Join(defaults.Levels(), ", "))
	f.StringVar(&g.defaults, "defaults", "", "file of defaults instead of the level's own (\"policy defaults\" prints that)")
	f.StringVar(&g.svn, "infrastructure-svn", "", "smallest version of the platform's fragment")
	f.BoolVarP(&g.noFragments, "exclude-default-fragments", "e", false, "leave the platform's fragment out")
	f.StringVarP(&g.fragments, "fragments-json", "j", "", "JSON file {\"fragments\": [{\"feed\", \"issuer\", \"minimum_svn\", \"includes\", \"path\"}]}; containers that the\nfragment at \"path\" has are left out of the policy")
	f.BoolVar(&g.debug, "debug-mode", false, "allow shells, stack dumps and the agent's log")
	f.BoolVar(&g.stdioOff, "disable-stdio", false, "keep the containers' output inside the VM")
	f.BoolVar(&g.stdioOn, "enable-stdio", false, "let the containers' output out of the VM (the default)")
	f.BoolVar(&g.omitID, "omit-id", false, "leave the images' references out of the policy")
	f.StringVar(&g.format, "layer-format", acigen.Ext4, "whose layer roots are written: ext4, erofs or both")
	f.BoolVarP(&g.wildcards, "approve-wildcards", "y", false, "accept patterns for parameters without a value, without asking")
	f.BoolVar(&g.exactWildcards, "exact-wildcards", false, "keep the known parts around a parameter without a value in its pattern")
	g.imageSources.bind(f)
}

// bindOutput adds the flags that only "policy generate" has.
func (g *groupGenerate) bindOutput(f *pflag.FlagSet) {
	f.StringVarP(&g.config, "input", "i", "", "JSON configuration of az confcom")
	f.StringVar(&g.image, "image", "", "reference of an image, for a group of one container")
	f.StringArrayVar(&g.with, "with-containers", nil, "containers made elsewhere: a JSON object or list, or a file of one; may be given again")
	f.BoolVar(&g.outraw, "outraw", false, "print the policy (Rego)")
	f.BoolVar(&g.pretty, "outraw-pretty-print", false, "print the policy with each member of a container on its own line")
	f.BoolVar(&g.existing, "print-existing-policy", false, "print the policy that is in the document")
	f.BoolVar(&g.explain, "explain", false, "print where each rule comes from")
	f.BoolVar(&g.yes, "yes", false, "replace a policy that is in the document, without asking (with -f: with --in-place)")
	f.BoolVar(&g.saveLock, "save-lock", false, "write what was found of the images into the lock file (default "+defaultLock+")")
}

// sources are the flags that name a document.
func (g *groupGenerate) sources() []string {
	var out []string
	for _, s := range []struct{ flag, value string }{
		{"-a", g.template}, {"-i", g.config}, {"--virtual-node-yaml", g.virtualNode}, {"--image", g.image},
	} {
		if s.value != "" {
			out = append(out, s.flag)
		}
	}
	if len(g.with) > 0 {
		out = append(out, "--with-containers")
	}
	return out
}

// check refuses contradictions, before anything is read.
func (g *groupGenerate) check(cmd *cobra.Command) error {
	exclusive := func(set map[string]bool) []string {
		var out []string
		for name, on := range set {
			if on {
				out = append(out, name)
			}
		}
		slices.Sort(out)
		return out
	}
	if on := exclusive(map[string]bool{
		"--outraw": g.outraw, "--outraw-pretty-print": g.pretty, "--base64": g.base64, "--print-existing-policy": g.existing, "--json": g.json,
	}); len(on) > 1 {
		return usage(cmd, "%s are given, want one output", strings.Join(on, " and "))
	}
	inPlace := g.template != "" || g.virtualNode != ""
	switch {
	case g.stdioOff && g.stdioOn:
		return usage(cmd, "--disable-stdio and --enable-stdio contradict each other")
	case g.svn != "" && g.noFragments:
		return usage(cmd, "--infrastructure-svn and --exclude-default-fragments contradict each other")
	case g.svn != "" && acigen.CheckSVN(g.svn) != nil:
		return usage(cmd, "--infrastructure-svn: %v", acigen.CheckSVN(g.svn))
	case len(g.parameters) > 0 && g.template == "":
		return usage(cmd, "--parameters needs --template-file")
	case !inPlace && (g.existing || g.yes):
		return usage(cmd, "--print-existing-policy and --yes need --template-file or --virtual-node-yaml")
	case !slices.Contains(defaults.Levels(), g.compat):
		return usage(cmd, "--compat is %.80q, want one of %s", g.compat, strings.Join(defaults.Levels(), ", "))
	case !slices.Contains([]string{acigen.Ext4, acigen.EROFS, acigen.Both}, g.format):
		return usage(cmd, "--layer-format is %.40q, want ext4, erofs or both", g.format)
	case g.out != "" && g.existing:
		return usage(cmd, "--output goes with a policy, not with --print-existing-policy")
	}
	return g.imageSources.check(cmd, g.saveLock)
}

func (g *groupGenerate) run(cmd *cobra.Command) error {
	if err := g.check(cmd); err != nil {
		return err
	}
	doc, err := g.read(cmd)
	if err != nil {
		return fail(cmd, err)
	}
	if g.existing {
		return fail(cmd, g.printExisting(cmd, doc))
	}
	policies, err := g.generate(cmd, doc)
	if err != nil {
		return fail(cmd, err)
	}
	return fail(cmd, g.write(cmd, doc, policies))
}

// fail names the command in an error that is none of the command line's.
func fail(cmd *cobra.Command, err error) error {
	if err == nil {
		return nil
	}
	if isUsage(err) {
		return err
	}
	return fmt.Errorf("%s: %w", commandName(cmd), err)
}

// generated is one group's policy; group counts as the document's reader counts.
type generated struct {
	group int
	of    *workload.Group
	*acigen.Policy
}

// generate writes the policies of the document's groups and has their wildcards approved.
func (g *groupGenerate) generate(cmd *cobra.Command, doc *document) ([]generated, error) {
	options, err := g.options(cmd, doc)
	if err != nil {
		return nil, err
	}
	if err := g.digests(cmd, doc); err != nil {
		return nil, err
	}
	source, err := g.open(cmd, g.format)
	if err != nil {
		return nil, err
	}
	defer source.Close()
	if err := prefetch(cmd.Context(), source, doc); err != nil {
		return nil, err
	}
	var out []generated
	for i := range doc.groups {
		if !doc.chosen(i) {
			continue
		}
		p, err := acigen.Generate(cmd.Context(), &doc.groups[i], source, options)
		if err != nil {
			return nil, err
		}
		out = append(out, generated{i, &doc.groups[i], p})
	}
	if err := g.approve(cmd, out); err != nil {
		return nil, err
	}
	if g.saveLock {
		return out, writeLock(cmd, source, g.lockPath())
	}
	return out, nil
}

// prefetch lets the images' layers be read side by side.
func prefetch(ctx context.Context, source *images.Resolver, doc *document) error {
	var references []string
	for i := range doc.groups {
		for _, c := range doc.groups[i].Containers {
			if doc.chosen(i) && !c.Image.Wildcard && c.Image.Value != "" && !slices.Contains(references, c.Image.Value) {
				references = append(references, c.Image.Value)
			}
		}
	}
	_, err := source.All(ctx, references)
	return err
}

// options are the flags as the generator takes them.
func (g *groupGenerate) options(cmd *cobra.Command, doc *document) (acigen.Options, error) {
	o := acigen.Options{
		Compat: g.compat, Debug: g.debug, InfrastructureSVN: g.svn, NoDefaultFragments: g.noFragments, OmitID: g.omitID, Format: g.format,
		With: doc.with,
	}
	if g.stdioOff || g.stdioOn {
		o.Stdio = &g.stdioOn
	}
	if g.defaults != "" {
		text, err := readInput(g.defaults, cmd.InOrStdin(), defaults.MaxFile)
		if err != nil {
			return o, err
		}
		if o.Defaults, err = defaults.Parse(text); err != nil {
			return o, fmt.Errorf("%s: %w", g.defaults, err)
		}
	}
	if g.fragments != "" {
		f, err := readFragments(cmd, g.fragments)
		if err != nil {
			return o, err
		}
		o.Fragments, o.Covered = f.references, f.covers(cmd.Context(), g.compat)
	}
	return o, nil
}
