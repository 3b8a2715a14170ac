package acigen

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/cloister-cc/cloister/tools/cloister/acigen/defaults"
	"github.com/cloister-cc/cloister/tools/cloister/images"
	"github.com/cloister-cc/cloister/tools/cloister/workload"
)

// Latest is the compatibility level that is written unless another is asked for.
const Latest = "latest"

// The formats of layers whose roots a policy can have.
const (
	Ext4  = "ext4"
	EROFS = "erofs"
	Both  = "both"
)

// Container is one entry of a policy's list of containers.
type Container = defaults.Container

// Options are what a document does not say.
type Options struct {
	Compat string // a level's name (defaults.Levels); "" is Latest
	// Debug allows stack dumps, the agent's log, and the shells that the file of defaults names.
	Debug bool
	// Stdio says of every container whose document does not whether its output leaves the VM; nil is yes.
	Stdio *bool
	// InfrastructureSVN replaces the smallest version of the platform's fragment; decimal, "" keeps the level's.
	InfrastructureSVN string
	// NoDefaultFragments leaves the platform's fragment out.
	NoDefaultFragments bool
	// Fragments are added after those that the document asks for.
	Fragments []workload.Fragment
	// OmitID leaves the member id out of every container.
	OmitID bool
	// Format chooses whose roots are written: Ext4 (also ""), EROFS, or Both (each container once for each).
	Format string
	// Defaults replaces the defaults of the level; nil is the level's own.
	Defaults *defaults.Defaults
	// With are containers made elsewhere, a JSON object each; they follow those of the group and stay as they are.
	With [][]byte
	// Covered says of a container whether an included fragment has it already: it is left out then. nil is never.
	Covered func(*Container) (bool, error)
}

// Generate writes the policy of one group.
func Generate(ctx context.Context, g *workload.Group, source images.Source, o Options) (*Policy, error) {
	p, err := generate(ctx, g, source, o)
	if err != nil {
		return nil, fmt.Errorf("generate policy%s: %w", ofGroup(g), err)
	}
	return p, nil
}

func ofGroup(g *workload.Group) string {
	if g.Name == "" {
		return ""
	}
	return fmt.Sprintf(" of %.80q", g.Name)
}

func generate(ctx context.Context, g *workload.Group, source images.Source, o Options) (*Policy, error) {
	b, err := newBuilder(g, source, o)
	if err != nil {
		return nil, err
	}
	if err := b.fragments(); err != nil {
		return nil, err
	}
	if err := b.containers(ctx); err != nil {
		return nil, err
	}
	// A policy of the platform's own containers only is for a group that gets its pause container elsewhere.
	if ours := slices.ContainsFunc(g.Containers, func(c workload.Container) bool { return !b.sidecar(&c) }); ours || len(o.With) > 0 {
		b.pause()
	}
	if len(b.out.Containers) == 0 {
		return nil, fmt.Errorf("there are no containers")
	}
	b.flags()
	return &b.out, nil
}

// builder collects one policy.
type builder struct {
	group     *workload.Group
	source    images.Source
	o         Options
	defaults  *defaults.Defaults
	additions []place[defaults.Additions] // of the group's platform
	seen      map[string]*images.Image    // by reference: a source is asked once
	out       Policy
}

// place is something with the name of its place in a file of defaults.
type place[T any] struct {
	at    string
	value T
}

func newBuilder(g *workload.Group, source images.Source, o Options) (*builder, error) {
	if o.Compat == "" {
		o.Compat = Latest
	}
	level, err := defaults.LoadLevel(o.Compat)
	if err != nil {
		return nil, err
	}
	b := &builder{group: g, source: source, o: o, defaults: o.Defaults, seen: map[string]*images.Image{}}
	if b.defaults == nil {
		if b.defaults, err = defaults.Load(level.Defaults); err != nil {
			return nil, err
		}
	}
	if o.Format != "" && !slices.Contains([]string{Ext4, EROFS, Both}, o.Format) {
		return nil, fmt.Errorf("layer format is %.40q, want %q, %q or %q", o.Format, Ext4, EROFS, Both)
	}
	if b.additions, err = b.platform(); err != nil {
		return nil, err
	}
	b.out = Policy{Level: level, Defaults: b.defaults.Name, Containers: []Container{}, Fragments: []defaults.Fragment{}, debug: o.Debug}
	return b, nil
}

// platform chooses what is added to each container of the group.
func (b *builder) platform() ([]place[defaults.Additions], error) {
	d := b.defaults
	switch b.group.Platform {
	case workload.ACI, "":
		return []place[defaults.Additions]{{"aci", d.ACI}}, nil
	case workload.VirtualNode:
		out := []place[defaults.Additions]{{"virtual_node", d.VirtualNode}}
		if w := d.WorkloadIdentity; w.Label != "" && b.group.Labels[w.Label] == w.Value {
			out = append(out, place[defaults.Additions]{"workload_identity", w.Additions})
		}
		return out, nil
	}
	return nil, fmt.Errorf("platform is %.40q, want %q or %q", b.group.Platform, workload.ACI, workload.VirtualNode)
}

// sidecar says whether a container is the platform's own, which gets nothing added.
func (b *builder) sidecar(c *workload.Container) bool {
	return c.NoDefaults || b.defaults.Sidecar(c.Image.Value)
}

// rule notes where a rule of the whole policy comes from.
func (b *builder) rule(field, value, source, at string) {
	b.out.rules = append(b.out.rules, Rule{Field: field, Value: value, Source: source, Place: at})
}

func (b *builder) defaultsAt(at string) string {
	return fmt.Sprintf("defaults %s version %d: %s", b.defaults.Name, b.defaults.Version, at)
}

// image asks the source once for each reference.
func (b *builder) image(ctx context.Context, reference string) (*images.Image, error) {
	if i := b.seen[reference]; i != nil {
		return i, nil
	}
	if b.source == nil {
		return nil, fmt.Errorf("image %.200q: there is no source of images", reference)
	}
	i, err := b.source.Image(ctx, reference)
	if err != nil {
		return nil, err // a source's errors name the image
	}
	if p := i.Platform; p != "" && !strings.HasPrefix(p, "linux/amd64") {
		return nil, fmt.Errorf("image %.200q is for %.40q, want linux/amd64", reference, p)
	}
	b.seen[reference] = i
	return i, nil
}
