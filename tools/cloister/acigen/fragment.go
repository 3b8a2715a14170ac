package acigen

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/cloister-cc/cloister/tools/cloister/acigen/defaults"
	"github.com/cloister-cc/cloister/tools/cloister/images"
	"github.com/cloister-cc/cloister/tools/cloister/workload"
)

// FragmentOptions are what makes a fragment of a group. A fragment has no pause container, no flags, no decision points and
// no fragment of the platform's.
type FragmentOptions struct {
	Options
	Namespace string // of the Rego package
	SVN       string // decimal, 0 or more
}

var (
	namespaceForm = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]{0,127}$`)
	svnForm       = regexp.MustCompile(`^(0|[1-9][0-9]{0,9})$`)
)

// reserved are packages of the agent's own, and words of the language.
var reserved = []string{
	"framework", "api", "policy", "metadata", "package", "import", "default", "not", "with", "as", "some", "else", "every", "in", "if",
	"contains", "true", "false", "null", "data", "input",
}

// CheckNamespace refuses a name that no agent loads as a fragment's package.
func CheckNamespace(name string) error {
	if !namespaceForm.MatchString(name) {
		return fmt.Errorf("namespace is %.80q, want letters, digits and _", name)
	}
	if slices.Contains(reserved, name) {
		return fmt.Errorf("namespace %q is reserved", name)
	}
	return nil
}

// CheckSVN refuses what is not a whole number of 0 or more.
func CheckSVN(svn string) error {
	if !svnForm.MatchString(svn) {
		return fmt.Errorf("svn is %.80q, want a whole number of 0 or more", svn)
	}
	return nil
}

// Fragment writes the text of a fragment with the group's containers.
func Fragment(ctx context.Context, g *workload.Group, source images.Source, o FragmentOptions) (*Policy, error) {
	p, err := fragment(ctx, g, source, o)
	if err != nil {
		return nil, fmt.Errorf("generate fragment%s: %w", ofGroup(g), err)
	}
	return p, nil
}

func fragment(ctx context.Context, g *workload.Group, source images.Source, o FragmentOptions) (*Policy, error) {
	if err := CheckNamespace(o.Namespace); err != nil {
		return nil, err
	}
	if err := CheckSVN(o.SVN); err != nil {
		return nil, err
	}
	o.NoDefaultFragments = true
	b, err := newBuilder(g, source, o.Options)
	if err != nil {
		return nil, err
	}
	if err := b.fragments(); err != nil {
		return nil, err
	}
	if err := b.containers(ctx); err != nil {
		return nil, err
	}
	if len(b.out.Containers) == 0 {
		return nil, fmt.Errorf("there are no containers")
	}
	b.out.namespace, b.out.svn = o.Namespace, o.SVN
	return &b.out, nil
}

// fragments are the platform's, then those of the document, then those of the options.
func (b *builder) fragments() error {
	if f := b.defaults.Infrastructure; f != nil && !b.o.NoDefaultFragments {
		platform := *f
		source, at := FromDefault, b.defaultsAt("infrastructure_fragment")
		switch {
		case b.o.InfrastructureSVN != "":
			platform.MinimumSVN, source = b.o.InfrastructureSVN, FromOption
		case platform.MinimumSVN == "":
			platform.MinimumSVN = b.out.Level.InfrastructureSVN
		}
		if err := b.fragment(platform, source, at); err != nil {
			return err
		}
	}
	for _, f := range b.group.Fragments {
		if err := b.fragment(ofWorkload(f), FromTemplate, originText(b.group.Origin)); err != nil {
			return err
		}
	}
	for _, f := range b.o.Fragments {
		if err := b.fragment(ofWorkload(f), FromOption, "fragments"); err != nil {
			return err
		}
	}
	return nil
}

func ofWorkload(f workload.Fragment) defaults.Fragment {
	return defaults.Fragment{Feed: f.Feed, Includes: empty(slices.Clone(f.Includes)), Issuer: f.Issuer, MinimumSVN: f.MinimumSVN}
}

var includable = []string{"containers", "fragments", "external_processes", "transparency_trust_lists", "platform_rules", "namespace"}

func (b *builder) fragment(f defaults.Fragment, source, at string) error {
	if f.Feed == "" || f.Issuer == "" {
		return fmt.Errorf("fragment %.200q: feed is %.200q and issuer %.200q, want both", f.Feed, f.Feed, f.Issuer)
	}
	if err := CheckSVN(f.MinimumSVN); err != nil {
		return fmt.Errorf("fragment %.200q: minimum %w", f.Feed, err)
	}
	for _, i := range f.Includes {
		if !slices.Contains(includable, i) {
			return fmt.Errorf("fragment %.200q: includes %.80q, want only %s", f.Feed, i, strings.Join(includable, ", "))
		}
	}
	same := func(other defaults.Fragment) bool {
		return other.Feed == f.Feed && other.Issuer == f.Issuer && other.MinimumSVN == f.MinimumSVN && slices.Equal(other.Includes, f.Includes)
	}
	if slices.ContainsFunc(b.out.Fragments, same) {
		return nil
	}
	b.rule(index("fragments", len(b.out.Fragments)), f.Feed+" from "+f.MinimumSVN, source, at)
	b.out.Fragments = append(b.out.Fragments, f)
	return nil
}

// flags notes where the switches come from.
func (b *builder) flags() {
	for _, f := range b.out.Level.Flags {
		source, at := FromDefault, "level "+b.out.Level.Name
		if b.out.debug && f.Debug != f.Value {
			source, at = FromOption, "debug mode"
		}
		b.rule(f.Name, show(b.out.flag(f)), source, at)
	}
}
