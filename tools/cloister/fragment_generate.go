package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/cloister-cc/cloister/enforcer/fragment"
	"github.com/cloister-cc/cloister/tools/cloister/fragmentgen"
)

type fragmentGenerate struct {
	signerFlags
	fragmentImages
	namespace, svn, framework, out, signed string

	containers, allow []string
	pretty, json      bool

	makeImport           bool
	fragment, minimumSVN string
	includes             []string
}

func newFragmentGenerateCommand() *cobra.Command {
	var g fragmentGenerate
	cmd := &cobra.Command{
		Use:   "generate --namespace NAME --svn N {--image IMAGE | --input FILE | --containers FILE} [-o FILE]",
		Short: "Write a fragment's text, sign it at once, or print what a policy needs to accept one",
		Long: `Generate writes the Rego text of a fragment, of images, of a JSON configuration, or of containers that policies, fragments and JSON lists have
already. A fragment has no pause container and no flags: it only adds to a policy. With --key, --chain, --feed and --signed the signed
document is written, too. Images come from the lock file (--lock), then from --images, --tar and --containerd, then from their registry.
With --locked nothing but the lock file is asked, with --offline no registry.

With --generate-import it prints the entry by which a policy accepts a signed fragment: that of --fragment-path, or the one it has
just signed. Without --minimum-svn the entry wants the fragment's own SVN or a newer one, without --includes the lists that
the fragment has now.`,
		Example: `  cloister fragment generate --namespace side --svn 1 --image registry.example/side:1.27 --save-lock -o side.rego
  cloister fragment generate --namespace side --svn 1 --containers containers.json -o side.rego
  cloister fragment generate --namespace side --svn 2 --containers policy.rego --key key.pem --chain chain.pem --feed registry.example/side --signed side.cose
  cloister fragment generate --generate-import --fragment-path side.cose --minimum-svn 1`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error { return g.run(cmd) },
	}
	g.signerFlags.add(cmd)
	g.fragmentImages.add(cmd)
	f := cmd.Flags()
	f.StringVarP(&g.namespace, "namespace", "n", "", "Rego package of the fragment; not one of "+strings.Join(fragment.Reserved[:4], ", "))
	f.StringVar(&g.svn, "svn", "", "security version, an integer, 0 or more: policies name the smallest they accept")
	f.StringArrayVar(&g.containers, "containers", nil, "policy or fragment (Rego), or JSON list, whose containers are taken, a file or the JSON itself; may be given again\n(--with-containers is another name of it)")
	f.StringArrayVar(&g.allow, "fragments", nil, "JSON document {\"fragments\": [...]} with entries of fragments that this one allows; may be given again")
	f.StringVar(&g.framework, "framework-version", "", "framework that the containers are for (default: that of --containers, else "+fragmentgen.DefaultFramework+")")
	f.BoolVar(&g.pretty, "pretty", false, "put each member of a container on a line of its own")
	f.StringVarP(&g.out, "output", "o", "", "file to write the text to, instead of standard output")
	f.StringVar(&g.signed, "signed", "", "file to write the signed fragment to")
	f.BoolVar(&g.makeImport, "generate-import", false, "print the entry for policies instead of the text")
	f.StringVarP(&g.fragment, "fragment-path", "p", "", "signed fragment to print the entry of")
	f.StringVar(&g.minimumSVN, "minimum-svn", "", "smallest SVN that the entry accepts (default: the fragment's)")
	f.StringSliceVar(&g.includes, "includes", nil, "what the entry takes over: "+strings.Join(fragmentgen.Includes(), ", ")+" (default: the lists that are there)")
	f.BoolVar(&g.json, "json", false, "print the result of signing as JSON")
	// The peers' name for containers that were made elsewhere.
	f.SetNormalizeFunc(func(_ *pflag.FlagSet, name string) pflag.NormalizedName {
		if name == "with-containers" {
			name = "containers"
		}
		return pflag.NormalizedName(name)
	})
	groupFlags(cmd, generateFragmentGroups...)
	return cmd
}

// generateFragmentGroups is the order of the command's flags in its help.
var generateFragmentGroups = []flagGroup{
	{"Fragment", []string{"namespace", "svn", "image", "input", "containers", "fragments", "framework-version", "pretty"}},
	{"Containers of images", fragmentContainerFlags},
	{"Images", fragmentPlaceFlags},
	{"Signature", []string{"key", "chain", "algo", "feed", "did-policy", "issuer", "claims", "header-svn", "now", "no-load", "signed"}},
	{"Entry for policies", []string{"generate-import", "fragment-path", "minimum-svn", "includes"}},
}

// check finds contradictions before anything is read.
func (g *fragmentGenerate) check(cmd *cobra.Command) error {
	signing := g.key != "" || g.chain != "" || g.signed != ""
	switch {
	case g.fragment != "" && !g.makeImport:
		return usage(cmd, "--fragment-path needs --generate-import")
	case g.fragment != "":
		return refuseFlags(cmd, "with --fragment-path, whose fragment is made already", func(name string) bool {
			return name != "generate-import" && name != "fragment-path" && name != "minimum-svn" && name != "includes"
		})
	case g.makeImport && !signing:
		return usage(cmd, "--generate-import needs a signed fragment: --fragment-path FILE, or --key, --chain, --feed and --signed")
	case !g.makeImport && (g.minimumSVN != "" || len(g.includes) > 0):
		return usage(cmd, "--minimum-svn and --includes need --generate-import")
	case signing && g.signed == "":
		return usage(cmd, "no file for the signed fragment given (--signed FILE)")
	case g.namespace == "":
		return usage(cmd, "no namespace given (--namespace NAME)")
	case g.svn == "":
		return usage(cmd, "no SVN given (--svn N)")
	case !g.asked() && len(g.containers) == 0 && len(g.allow) == 0:
		return usage(cmd, "nothing to put into the fragment given (--image, --input or --containers)")
	case g.asked() && g.framework != "":
		return usage(cmd, "--framework-version is for --containers alone; with images it follows from --compat")
	}
	if err := errors.Join(fragmentgen.CheckNamespace(g.namespace), fragmentgen.CheckSVN(g.svn)); err != nil {
		return usage(cmd, "%v", err)
	}
	return errors.Join(g.fragmentImages.check(cmd), oneStdin(cmd, slices.Concat(g.inputs, g.containers, g.allow)...))
}

func (g *fragmentGenerate) run(cmd *cobra.Command) error {
	if err := g.check(cmd); err != nil {
		return err
	}
	if g.fragment != "" {
		raw, err := readSigned(g.fragment, cmd.InOrStdin())
		if err != nil {
			return err
		}
		return g.printImport(cmd, raw)
	}
	var signer fragmentgen.SignOptions
	var err error
	if g.signed != "" {
		if signer, err = g.options(cmd); err != nil {
			return err
		}
	}
	text, err := g.text(cmd)
	if err != nil {
		return fmt.Errorf("fragment generate: %w", err)
	}
	switch {
	case g.out != "":
		err = writeDocument(g.out, text)
	case g.signed == "":
		_, err = cmd.OutOrStdout().Write(text)
	}
	if err != nil || g.signed == "" {
		return err
	}
	return g.sign(cmd, text, signer)
}

func (g *fragmentGenerate) sign(cmd *cobra.Command, text []byte, signer fragmentgen.SignOptions) error {
	if !g.makeImport {
		return signText(cmd, text, signer, g.signed, g.json)
	}
	signed, err := fragmentgen.Sign(cmd.Context(), text, signer)
	if err != nil {
		return fmt.Errorf("fragment generate: %w", hintDID(err))
	}
	if err := writeDocument(g.signed, signed.Raw); err != nil {
		return err
	}
	return g.printImport(cmd, signed.Raw)
}

func (g *fragmentGenerate) printImport(cmd *cobra.Command, raw []byte) error {
	entry, err := fragmentgen.EntryFor(cmd.Context(), raw, g.minimumSVN, g.includes)
	if err != nil {
		return fmt.Errorf("fragment generate: %w", err)
	}
	return encodeJSON(cmd.OutOrStdout(), fragmentgen.Import{Fragments: []fragmentgen.Entry{entry}})
}

// text reads what goes into the fragment and writes it.
func (g *fragmentGenerate) text(cmd *cobra.Command) ([]byte, error) {
	var lists []fragmentgen.Containers
	for _, name := range g.containers {
		list, err := g.read(cmd, name)
		if err != nil {
			return nil, fmt.Errorf("containers of %.128q: %w", name, err)
		}
		lists = append(lists, list)
	}
	all, err := fragmentgen.Join(lists...)
	if err != nil {
		return nil, err
	}
	if g.framework != "" {
		all.FrameworkVersion = g.framework
	}
	t := fragmentgen.Text{Namespace: g.namespace, SVN: g.svn, FrameworkVersion: all.FrameworkVersion, Containers: all.Objects}
	for _, name := range g.allow {
		data, err := readInput(name, cmd.InOrStdin(), fragment.MaxSize)
		if err != nil {
			return nil, err
		}
		entries, err := fragmentgen.ReadImport(data)
		if err != nil {
			return nil, fmt.Errorf("fragments of %q: %w", name, err)
		}
		t.Fragments = append(t.Fragments, entries...)
	}
	text, err := g.write(cmd, t)
	if err != nil {
		return nil, err
	}
	_, err = fragmentgen.Check(cmd.Context(), text)
	return text, err
}

// read takes containers from a file, or from JSON that stands on the command line.
func (g *fragmentGenerate) read(cmd *cobra.Command, name string) (fragmentgen.Containers, error) {
	data := []byte(name)
	if !strings.HasPrefix(name, "{") && !strings.HasPrefix(name, "[") {
		var err error
		if data, err = readInput(name, cmd.InOrStdin(), fragment.MaxSize); err != nil {
			return fragmentgen.Containers{}, err
		}
	}
	return fragmentgen.ReadContainers(cmd.Context(), data)
}

func (g *fragmentGenerate) write(cmd *cobra.Command, t fragmentgen.Text) ([]byte, error) {
	if g.asked() {
		return g.fragmentImages.text(cmd, t, g.pretty)
	}
	return t.Rego(g.pretty)
}
