package compiled

import (
	"slices"
	"strings"

	"github.com/cloister-cc/cloister/enforcer/aci"
	"github.com/cloister-cc/cloister/enforcer/entry"
	"github.com/cloister-cc/cloister/enforcer/point"
)

// How one field of a request is held against one field of a container definition. An absent field satisfies no comparison.

func (c *container) has(f entry.Fields) bool { return c.Present&f == f }

func (c *container) commandOK(args []string) bool {
	return c.has(entry.FieldCommand) && !c.CommandNull && slices.Equal(c.Command, args)
}

func (c *container) workingDirOK(dir string) bool {
	return c.has(entry.FieldWorkingDir) && c.WorkingDir == dir
}

// A container that must not gain privileges cannot ask to; one that may, need not.
func (c *container) noNewPrivilegesOK(asked bool) bool {
	return c.has(entry.FieldNoNewPrivileges) && (asked || !c.NoNewPrivileges)
}

func (c *container) privilegedOK(asked bool) bool {
	return c.has(entry.FieldAllowElevated) && (!asked || c.AllowElevated)
}

func (c *container) seccompOK(digest string) bool {
	return c.has(entry.FieldSeccomp) && c.SeccompProfileSHA256 == digest
}

func (c *container) userOK(q *question, user point.User, groups []point.User, umask string) bool {
	return c.has(entry.FieldUser) && q.userOK(c.User, user, groups, umask)
}

func (q *question) userOK(rule *entry.User, user point.User, groups []point.User, umask string) bool {
	if rule.Umask != umask || !q.idNameOK(&rule.UserIDName, &user) {
		return false
	}
	for i := range groups {
		if !slices.ContainsFunc(rule.GroupIDNames, func(allowed entry.IDName) bool { return q.idNameOK(&allowed, &groups[i]) }) {
			return false
		}
	}
	return true
}

func (q *question) idNameOK(rule *entry.IDName, subject *point.User) bool {
	if !q.work(len(subject.Name)) {
		return false
	}
	switch rule.Strategy {
	case "any":
		return true
	case "id":
		return rule.Pattern == subject.ID
	case "name":
		return rule.Pattern == subject.Name
	case "re2":
		return q.judge.matchers.pattern(rule.Pattern).matches(subject.Name)
	}
	return false
}

// execOK is the first exec entry with the command, if there is one.
func (c *container) execOK(args []string) bool {
	return slices.ContainsFunc(c.ExecProcesses, func(p *entry.ExecProcess) bool { return slices.Equal(p.Command, args) })
}

func (c *container) signalOK(in *point.SignalContainerProcessInput) bool {
	signal := int64(in.Signal)
	if in.IsInitProcess {
		return slices.Contains(c.Signals, signal)
	}
	return slices.ContainsFunc(c.ExecProcesses, func(p *entry.ExecProcess) bool {
		return slices.Equal(p.Command, in.ArgList) && slices.Contains(p.Signals, signal)
	})
}

// sandboxSysfs is what containerd 2.0 asks for in the pause container and older policies do not list; the agent answers with its
// own read-only view.
var sandboxSysfs = entry.Mount{Type: "sysfs", Source: "sysfs", Destination: "/sys", Options: []string{"nosuid", "noexec", "nodev", "rw"}}

func (c *container) mountsOK(q *question, in *point.CreateContainerInput) bool {
	for i := range in.Mounts {
		m := &in.Mounts[i]
		if !q.mountKnown(in, m, c.has(entry.FieldAllowElevated) && c.AllowElevated) && !q.mountOK(in, m, c.Mounts) {
			return false
		}
	}
	return true
}

// mountKnown says whether a mount is one that no container has to list.
func (q *question) mountKnown(in *point.CreateContainerInput, m *point.Mount, elevated bool) bool {
	for i := range q.judge.opts.DefaultMounts {
		if q.constraintOK(in, m, &q.judge.opts.DefaultMounts[i]) {
			return true
		}
	}
	if elevated {
		for i := range q.judge.opts.PrivilegedMounts {
			if q.constraintOK(in, m, &q.judge.opts.PrivilegedMounts[i]) {
				return true
			}
		}
	}
	return in.IsSandboxContainer && q.constraintOK(in, m, &sandboxSysfs)
}

func (q *question) mountOK(in *point.CreateContainerInput, m *point.Mount, constraints []*entry.Mount) bool {
	for _, c := range constraints {
		if q.constraintOK(in, m, c) {
			return true
		}
	}
	return false
}

func (q *question) constraintOK(in *point.CreateContainerInput, m *point.Mount, c *entry.Mount) bool {
	return q.work(len(m.Source)) && m.Destination != "" && m.Destination == c.Destination && m.Type == c.Type &&
		sameOptions(m.Options, c.Options) && q.sourceOK(in, m, c)
}

// sameOptions compares as sets, with equal counts. The usual case is the same order.
func sameOptions(a, b []string) bool {
	if len(a) != len(b) {
		return false
	}
	if slices.Equal(a, b) {
		return true
	}
	if len(a) > 32 {
		return newCapSet(a).equal(newCapSet(b))
	}
	within := func(a, b []string) bool {
		for _, s := range a {
			if !slices.Contains(b, s) {
				return false
			}
		}
		return true
	}
	return within(a, b) && within(b, a)
}

func (q *question) sourceOK(in *point.CreateContainerInput, m *point.Mount, c *entry.Mount) bool {
	matchers := &q.judge.matchers
	if path, ok := strings.CutPrefix(c.Source, aci.SandboxPrefix); ok {
		return matchers.beneath(in.SandboxDir, path, m.Source)
	}
	if path, ok := strings.CutPrefix(c.Source, aci.HugePagesPrefix); ok {
		return matchers.beneath(in.HugePagesDir, path, m.Source)
	}
	if strings.HasPrefix(c.Source, aci.Plan9Prefix) {
		owner := q.get(tablePlan9, m.Source)
		return owner.present && owner.value.text == in.ContainerID
	}
	return c.Source == m.Source
}
