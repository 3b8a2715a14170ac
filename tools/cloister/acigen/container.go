package acigen

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/cloister-cc/cloister/tools/cloister/acigen/defaults"
	"github.com/cloister-cc/cloister/tools/cloister/images"
	"github.com/cloister-cc/cloister/tools/cloister/workload"
)

func (b *builder) containers(ctx context.Context) error {
	for i := range b.group.Containers {
		c := &b.group.Containers[i]
		if err := b.container(ctx, c); err != nil {
			return fmt.Errorf("container %.80q (%s): %w", c.Name, originText(c.Origin), err)
		}
	}
	for i, text := range b.o.With {
		if err := b.given(text); err != nil {
			return fmt.Errorf("given container %d: %w", i+1, err)
		}
	}
	return nil
}

// container adds one container, once for each format of its layers that is asked for.
func (b *builder) container(ctx context.Context, c *workload.Container) error {
	if c.Image.Wildcard {
		return fmt.Errorf("image (%s): %q is not known before deployment, and so are not its layers", originText(c.Image.Origin), c.Image.Value)
	}
	var image *images.Image
	if len(c.Layers) == 0 || c.Image.Value != "" {
		var err error
		if image, err = b.image(ctx, c.Image.Value); err != nil {
			return err
		}
	} else {
		image = &images.Image{}
	}
	lists, err := b.layers(c, image)
	if err != nil {
		return err
	}
	t := translation{builder: b, c: c, image: image, explained: explained{name: nameOf(c.Name, c.ID)}}
	entry, err := t.entry()
	if err != nil {
		return err
	}
	for i, list := range lists {
		e := *entry
		e.Layers = list.value
		rules := explained{name: t.name, rules: slices.Clone(t.rules)}
		for j, l := range list.value {
			rules.explain(index("layers", j), l, list.source, list.place)
		}
		if i == 0 {
			rules.wildcards = t.wildcards
		}
		if err := b.append(e, rules); err != nil {
			return err
		}
	}
	return nil
}

// append adds a finished container unless a fragment has it.
func (b *builder) append(e Container, rules explained) error {
	if err := checkText(&e); err != nil {
		return err
	}
	if err := e.Check(); err != nil {
		return err
	}
	if b.o.OmitID {
		e.ID = ""
	}
	if b.o.Covered != nil {
		covered, err := b.o.Covered(&e)
		if err != nil {
			return err
		}
		if covered {
			b.out.LeftOut = append(b.out.LeftOut, rules.name)
			return nil
		}
	}
	b.out.Containers = append(b.out.Containers, e)
	b.out.rules = append(b.out.rules, rules.rules...)
	b.out.wildcards = append(b.out.wildcards, rules.wildcards...)
	return nil
}

func nameOf(name, id string) string {
	if name != "" {
		return name
	}
	return id
}

func index(field string, i int) string { return field + "[" + strconv.Itoa(i) + "]" }

// layers are the roots, base first, in each format that is asked for.
func (b *builder) layers(c *workload.Container, image *images.Image) ([]sourced[[]string], error) {
	if len(c.Layers) > 0 {
		return []sourced[[]string]{fromTemplate(slices.Clone(c.Layers), c.Origin)}, nil
	}
	formats := []string{b.o.Format}
	switch b.o.Format {
	case "":
		formats = []string{Ext4}
	case Both:
		formats = []string{Ext4, EROFS}
	}
	var out []sourced[[]string]
	for _, f := range formats {
		list := sourced[[]string]{source: FromImage, place: imageAt(image, f+" layers")}
		for i, l := range image.Layers {
			root := l.Ext4
			if f == EROFS {
				root = l.EROFS
			}
			if root == "" {
				return nil, fmt.Errorf("image %.200q: layer %d has no %s root", image.Reference, i, f)
			}
			list.value = append(list.value, root)
		}
		if len(list.value) == 0 {
			return nil, fmt.Errorf("image %.200q has no layers", image.Reference)
		}
		out = append(out, list)
	}
	return out, nil
}

func imageAt(i *images.Image, field string) string {
	at := i.Reference
	if i.Digest != "" {
		at += " (" + i.Digest + ")"
	}
	return at + ": " + field
}

// translation is one container on its way into the policy.
type translation struct {
	*builder
	c     *workload.Container
	image *images.Image
	explained
}

// entry is the container but for its layers.
func (t *translation) entry() (*Container, error) {
	c := t.c
	e := &Container{ID: c.ID, Name: c.Name}
	t.explain("id", e.ID, FromTemplate, originText(c.Image.Origin))
	t.explain("name", e.Name, FromTemplate, originText(c.Origin))
	for _, step := range []struct {
		name string
		fill func(*Container) error
	}{
		{"command", t.command},
		{"environment", t.env},
		{"mounts", t.mounts},
		{"execution", t.exec},
		{"signals", t.signals},
		{"working directory", t.workingDir},
		{"security", t.security},
	} {
		if err := step.fill(e); err != nil {
			return nil, fmt.Errorf("%s: %w", step.name, err)
		}
	}
	t.stdio(e)
	return e, nil
}

func (t *translation) stdio(e *Container) {
	switch {
	case t.c.AllowStdio != nil:
		e.AllowStdioAccess = *t.c.AllowStdio
		t.explain("allow_stdio_access", show(e.AllowStdioAccess), FromTemplate, originText(t.c.Origin))
	case t.o.Stdio != nil:
		e.AllowStdioAccess = *t.o.Stdio
		t.explain("allow_stdio_access", show(e.AllowStdioAccess), FromOption, "stdio")
	default:
		e.AllowStdioAccess = true
		t.explain("allow_stdio_access", "true", FromDefault, "output leaves the VM unless it is said otherwise")
	}
}

// given adds a container that was made elsewhere.
func (b *builder) given(text []byte) error {
	var e Container
	if err := defaults.Decode(text, &e); err != nil {
		return err
	}
	e.EnvRules, e.ExecProcesses, e.Mounts = empty(e.EnvRules), empty(e.ExecProcesses), empty(e.Mounts)
	e.Signals, e.User.Groups = empty(e.Signals), empty(e.User.Groups)
	rules := explained{name: nameOf(e.Name, e.ID)}
	rules.explain("containers", "the whole container", FromOption, "given containers")
	return b.append(e, rules)
}

// pause appends the container that holds the group's namespaces.
func (b *builder) pause() {
	if b.defaults.Pause == nil {
		return
	}
	e := *b.defaults.Pause
	e.EnvRules, e.ExecProcesses, e.Mounts = empty(e.EnvRules), empty(e.ExecProcesses), empty(e.Mounts)
	e.Signals, e.User.Groups = empty(e.Signals), empty(e.User.Groups)
	if len(e.Signals) == 0 && b.out.Level.Signals != defaults.StopSignal {
		e.Signals = []int{sigKill, sigTerm}
	}
	b.out.Containers = append(b.out.Containers, e)
	name := nameOf(e.Name, e.ID)
	b.out.rules = append(b.out.rules, Rule{
		Container: name, Field: "containers", Value: "the whole container", Source: FromDefault, Place: b.defaultsAt("pause_container"),
	})
}

// empty is the slice as JSON shall show it: [], not null.
func empty[T any](s []T) []T {
	if s == nil {
		return []T{}
	}
	return s
}

// checkText refuses text that JSON would change: the policy would then never match the request.
func checkText(e *Container) error {
	texts := slices.Concat(e.Command, []string{e.ID, e.Name, e.WorkingDir, e.User.User.Pattern})
	for _, r := range e.EnvRules {
		texts = append(texts, r.Pattern)
	}
	for _, m := range e.Mounts {
		texts = append(texts, m.Destination, m.Source)
	}
	for _, p := range e.ExecProcesses {
		texts = append(texts, p.Command...)
	}
	for _, t := range texts {
		if !utf8.ValidString(t) || strings.ContainsRune(t, 0) {
			return fmt.Errorf("a text of it is not UTF-8 or holds a zero byte")
		}
	}
	return nil
}
