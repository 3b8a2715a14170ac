package policylint

import (
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/cloister-cc/cloister/enforcer/aci"
	"github.com/cloister-cc/cloister/enforcer/entry"
	"github.com/cloister-cc/cloister/enforcer/point"
	"github.com/cloister-cc/cloister/tools/cloister/policydoc"
)

func at(list string, i int) string { return fmt.Sprintf("%s[%d]", list, i) }

func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 {
			return '?'
		}
		return r
	}, s)
}

var rootHash = regexp.MustCompile(`^[0-9a-f]{64}$`)

func (l *linter) container(c *entry.Container) {
	place := at("containers", c.Index)
	switch {
	case c.Present&entry.FieldCommand == 0: // told as a missing field
	case c.CommandNull:
		l.add(commandNever, place+".command", "the command is null, as of an image without one: no request equals it")
	case len(c.Command) == 0:
		l.add(commandNever, place+".command", "the command is empty: no process starts without a program")
	}
	if c.Present&entry.FieldLayers != 0 && len(c.Layers) == 0 {
		l.add(layersEmpty, place+".layers", "the container has no layers")
	}
	for i, hash := range c.Layers {
		if !rootHash.MatchString(hash) {
			l.add(layerForm, at(place+".layers", i), "%.80q is not 64 lower-case hex digits", hash)
		}
	}
	if c.AllowElevated {
		l.add(elevated, place+".allow_elevated", "the container may be privileged, and mount /sys and cgroups for writing")
	}
	if c.AllowStdioAccess {
		l.add(stdioOpen, place+".allow_stdio_access", "the host reads and writes the container's standard streams")
	}
	l.commandSecrets(place+".command", c.Command)
	for i, e := range c.ExecProcesses {
		l.exec(at(place+".exec_processes", i), e)
	}
	if c.User != nil && l.knows(point.Version{0, 2, 1}) {
		l.once(c.User, place+".user", func() { l.user("", c.User) })
	}
	if c.Capabilities != nil && l.knows(point.Version{0, 2, 2}) {
		l.capabilities(place+".capabilities", c)
	}
	l.envRules(place, c.EnvRules)
	l.mounts(place, c.Mounts)
}

var shells = []string{"sh", "bash", "dash", "ash", "zsh", "ksh", "busybox", "pwsh"}

func (l *linter) exec(place string, e *entry.ExecProcess) {
	if len(e.Command) == 0 {
		l.add(commandNever, place+".command", "the command is empty: no process starts without a program")
		return
	}
	if slices.Contains(shells, path.Base(e.Command[0])) {
		l.add(shell, place+".command", "%s runs a shell, which runs anything", printable(policydoc.Words(e.Command)))
	}
	l.commandSecrets(place+".command", e.Command)
}

var (
	umaskForm = regexp.MustCompile(`^0[0-7]{3}$`)
	idForm    = regexp.MustCompile(`^(0|[1-9][0-9]{0,9})$`)
)

func (l *linter) user(place string, u *entry.User) {
	if !umaskForm.MatchString(u.Umask) {
		l.add(userNever, place+".umask", "the umask is %.16q, requests have four octal digits, as in 0022", u.Umask)
	}
	if u.UserIDName.Strategy == "any" {
		l.add(anyUser, place+".user_idname", "any user is allowed, root included")
	}
	l.idName(place+".user_idname", u.UserIDName)
	for i, g := range u.GroupIDNames {
		l.idName(at(place+".group_idnames", i), g)
	}
	if len(u.GroupIDNames) == 0 {
		l.add(userNever, place+".group_idnames", "no group is allowed, and every process has one")
	}
}

func (l *linter) idName(place string, n entry.IDName) {
	switch n.Strategy {
	case "any", "name":
	case "id":
		if !idForm.MatchString(n.Pattern) {
			l.add(userNever, place+".pattern", "%.64q is no decimal id", n.Pattern)
		}
	case "re2":
		l.pattern(place+".pattern", n.Pattern)
	default:
		l.add(userNever, place+".strategy", "%.32q is no strategy: any, id, name or re2", n.Strategy)
	}
}

// strongCapabilities let a process out of its container, or into the kernel.
var strongCapabilities = []string{
	"CAP_SYS_ADMIN", "CAP_SYS_MODULE", "CAP_SYS_RAWIO", "CAP_SYS_PTRACE", "CAP_BPF", "CAP_DAC_READ_SEARCH", "CAP_MAC_ADMIN",
	"CAP_MAC_OVERRIDE", "CAP_SYS_BOOT",
}

func (l *linter) capabilities(place string, c *entry.Container) {
	known := aci.PrivilegedCapabilities()
	told := map[string]bool{}
	for _, set := range []struct {
		name string
		caps []string
	}{
		{"bounding", c.Capabilities.Bounding},
		{"effective", c.Capabilities.Effective},
		{"inheritable", c.Capabilities.Inheritable},
		{"permitted", c.Capabilities.Permitted},
		{"ambient", c.Capabilities.Ambient},
	} {
		for i, name := range set.caps {
			switch {
			case told[name]:
			case !slices.Contains(known, name):
				told[name] = true
				l.add(unknownCapability, at(place+"."+set.name, i), "the kernel has no capability %.64q", name)
			case !c.AllowElevated && slices.Contains(strongCapabilities, name):
				told[name] = true
				l.add(strongCapability, at(place+"."+set.name, i), "%s in a container that is not elevated", name)
			}
		}
	}
}

func (l *linter) mounts(place string, mounts []*entry.Mount) {
	for i, m := range mounts {
		l.once(m, at(place+".mounts", i), func() { l.mount(m) })
	}
}

func (l *linter) mount(m *entry.Mount) {
	if m.Destination == "" {
		l.add(mountNever, ".destination", "the destination is empty")
	}
	rest, isPattern := "", false
	for _, prefix := range []string{aci.SandboxPrefix, aci.HugePagesPrefix} {
		if tail, ok := strings.CutPrefix(m.Source, prefix); ok {
			rest, isPattern = tail, true
		}
	}
	switch {
	case isPattern:
		if l.pattern(".source", rest) && matchesAll(rest, "/x", "/etc/../y", "/a/b c") {
			l.add(anySource, ".source", "%.64q allows any directory", m.Source)
		}
	case strings.HasPrefix(m.Source, "uvm://"):
		l.add(mountNever, ".source", "a source that begins with uvm:// is compared literally, and requests have the resolved path")
	case m.Source == "":
		l.add(mountNever, ".source", "the source is empty")
	}
}

// twins finds containers that are the same, or that requests cannot tell apart where a decision needs it.
func (l *linter) twins() {
	same, byStdio, byDropping := map[policydoc.Identity]int{}, map[policydoc.Identity]int{}, map[policydoc.Identity]int{}
	names := map[string]int{}
	for i, c := range l.doc.Containers {
		place := at("containers", i)
		if name := policydoc.ContainerName(c); name != "" {
			if first, ok := names[name]; ok {
				l.add(sameName, place, "%.64q is the name of containers[%d], too", name, first)
			} else {
				names[name] = i
			}
		}
		id := policydoc.IdentityOf(c)
		if first, ok := same[id]; ok {
			l.add(identical, place, "it allows what containers[%d] allows, and nothing more", first)
			continue
		}
		same[id] = i
		id.Stdio = false
		if first, ok := byStdio[id]; ok {
			l.add(stdioTwins, place, "it differs from containers[%d] in allow_stdio_access alone, and what cannot be told apart is refused", first)
			continue
		}
		byStdio[id] = i
		if l.doc.Flag("allow_environment_variable_dropping") {
			id.EnvRules = ""
		}
		if l.doc.DropsCapabilities() {
			id.Capabilities = ""
		}
		if first, ok := byDropping[id]; ok {
			l.add(droppingTwins, place, "it differs from containers[%d] only in what is dropped: the one that keeps more wins, a tie is refused", first)
			continue
		}
		byDropping[id] = i
	}
}
