package explain

import (
	"fmt"
	"slices"
	"strings"

	"github.com/cloister-cc/cloister/enforcer"
	"github.com/cloister-cc/cloister/enforcer/aci"
	"github.com/cloister-cc/cloister/enforcer/entry"
)

// sandboxSysfs is accepted of the sandbox container, whatever the policy lists (policy contract, section 7.1).
var sandboxSysfs = enforcer.Mount{
	Type: "sysfs", Source: "sysfs", Destination: "/sys", Options: []string{"nosuid", "noexec", "nodev", "rw"},
}

func (c *comparison) mounts(want *entry.Container, in enforcer.CreateContainerInput) {
	for i := range in.Mounts {
		mount := &in.Mounts[i]
		if differing := c.mount(want, mount, in); len(differing) > 0 {
			c.weight += weightMount
			c.found = append(c.found, differing...)
		}
		if c.over() {
			return
		}
	}
}

// mount compares with the constraint of the same destination that differs least.
func (c *comparison) mount(want *entry.Container, got *enforcer.Mount, in enforcer.CreateContainerInput) []Difference {
	field := "mounts[" + quote(got.Destination) + "]"
	var nearest []Difference
	seen := false
	try := func(constraint *enforcer.Mount) bool {
		if constraint == nil || got.Destination == "" || constraint.Destination != got.Destination {
			return false
		}
		differing := c.constraint(field, constraint, got, in)
		if !seen || len(differing) < len(nearest) {
			nearest, seen = differing, true
		}
		return len(differing) == 0
	}
	for _, constraint := range want.Mounts {
		if try(constraint) {
			return nil
		}
	}
	for i := range c.opts.DefaultMounts {
		if try(&c.opts.DefaultMounts[i]) {
			return nil
		}
	}
	for i := range c.opts.PrivilegedMounts {
		if want.AllowElevated && try(&c.opts.PrivilegedMounts[i]) {
			return nil
		}
	}
	if in.IsSandboxContainer && try(&sandboxSysfs) {
		return nil
	}
	if !seen {
		return []Difference{{
			Field: field, Wanted: "no mount at this destination",
			Got: fmt.Sprintf("type %s source %s options %s", quote(got.Type), quote(got.Source), listText(got.Options)),
		}}
	}
	return nearest
}

func (c *comparison) constraint(field string, want, got *enforcer.Mount, in enforcer.CreateContainerInput) []Difference {
	var found []Difference
	if want.Type != got.Type {
		found = append(found, Difference{field + ".type", quote(want.Type), orAbsent(got.Type)})
	}
	if !sameOptions(want.Options, got.Options) {
		found = append(found, optionsDifference(field+".options", want.Options, got.Options))
	}
	if !c.source(want.Source, got.Source, in) {
		found = append(found, Difference{field + ".source", quote(want.Source), orAbsent(got.Source)})
	}
	return found
}

func sameOptions(want, got []string) bool {
	return len(want) == len(got) && len(without(want, got)) == 0 && len(without(got, want)) == 0
}

func optionsDifference(field string, want, got []string) Difference {
	missing, added := without(want, got), without(got, want)
	d := Difference{Field: field, Wanted: "nothing more", Got: "nothing else"}
	if len(missing) > 0 {
		d.Wanted = "also " + listText(missing)
	}
	if len(added) > 0 {
		d.Got = "also " + listText(added)
	}
	if len(missing) == 0 && len(added) == 0 {
		d.Wanted, d.Got = fmt.Sprintf("%d options", len(want)), fmt.Sprintf("%d options, some given twice", len(got))
	}
	return d
}

func (c *comparison) source(want, got string, in enforcer.CreateContainerInput) bool {
	switch {
	case strings.HasPrefix(want, aci.SandboxPrefix):
		return c.re2(in.SandboxDir+strings.TrimPrefix(want, aci.SandboxPrefix), got)
	case strings.HasPrefix(want, aci.HugePagesPrefix):
		return c.re2(in.HugePagesDir+strings.TrimPrefix(want, aci.HugePagesPrefix), got)
	case strings.HasPrefix(want, aci.Plan9Prefix):
		owner, ok := c.opts.Shares[got]
		return ok && owner == in.ContainerID
	}
	return want == got
}

// overlay tells which layers are missing, too many or others; the request's paths are top first, the policy's layers base
// first.
func (c *comparison) overlay(want, paths []string) {
	got := make([]string, 0, len(paths))
	for _, path := range slices.Backward(paths) {
		hash, ok := c.opts.Devices[path]
		if !ok {
			c.differ(weightLayer, fmt.Sprintf("layers[%d]", len(got)), "a mounted layer", "nothing is mounted at "+quote(path))
			return
		}
		got = append(got, hash)
	}
	for _, e := range edits(want, got) {
		field, wanted, had := fmt.Sprintf("layers[%d]", e.at), "no layer here", "no layer here"
		if e.want != nil {
			wanted = quote(*e.want)
		}
		if e.got != nil {
			had = quote(*e.got)
		}
		c.differ(weightLayer, field, wanted, had)
		if c.over() {
			return
		}
	}
}

// edit turns one layer of the policy into one of the request; a nil side means that there is none.
type edit struct {
	at        int // of the policy's layer, base first
	want, got *string
}

// maxAligned bounds the table of the alignment; above it layers are compared place by place. No image has as many.
const maxAligned = 256

// edits is a shortest list of changes from want to got.
func edits(want, got []string) []edit {
	if len(want) > maxAligned || len(got) > maxAligned {
		return placewise(want, got)
	}
	// cost[i][j] is what it takes to turn want[i:] into got[j:].
	cost := make([][]int, len(want)+1)
	for i := len(want); i >= 0; i-- {
		cost[i] = make([]int, len(got)+1)
		for j := len(got); j >= 0; j-- {
			switch {
			case i == len(want):
				cost[i][j] = len(got) - j
			case j == len(got):
				cost[i][j] = len(want) - i
			case want[i] == got[j]:
				cost[i][j] = cost[i+1][j+1]
			default:
				cost[i][j] = 1 + min(cost[i+1][j+1], cost[i+1][j], cost[i][j+1])
			}
		}
	}
	var list []edit
	for i, j := 0, 0; i < len(want) || j < len(got); {
		switch {
		case i < len(want) && j < len(got) && want[i] == got[j]:
			i, j = i+1, j+1
		case i < len(want) && j < len(got) && cost[i][j] == 1+cost[i+1][j+1]:
			list = append(list, edit{i, &want[i], &got[j]})
			i, j = i+1, j+1
		case i < len(want) && cost[i][j] == 1+cost[i+1][j]:
			list = append(list, edit{i, &want[i], nil})
			i++
		default:
			list = append(list, edit{i, nil, &got[j]})
			j++
		}
	}
	return list
}

func placewise(want, got []string) []edit {
	var list []edit
	for i := range max(len(want), len(got)) {
		e := edit{at: i}
		if i < len(want) {
			e.want = &want[i]
		}
		if i < len(got) {
			e.got = &got[i]
		}
		if e.want == nil || e.got == nil || *e.want != *e.got {
			list = append(list, e)
		}
	}
	return list
}
