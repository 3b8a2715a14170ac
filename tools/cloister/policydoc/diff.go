package policydoc

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/cloister-cc/cloister/enforcer/entry"
)

// Change is one difference between two policies that can make them decide differently.
type Change struct {
	// Path is the place: a rule's name, or a list with the entry's name or number and the field.
	Path string `json:"path"`
	Kind Kind   `json:"kind"`
	From string `json:"from,omitempty"`
	To   string `json:"to,omitempty"`
}

// Kind says what became of a thing.
type Kind string

// The kinds of changes.
const (
	Added   Kind = "added"
	Removed Kind = "removed"
	Changed Kind = "changed"
)

type changes []Change

func (c *changes) text(path, from, to string) {
	if from != to {
		*c = append(*c, Change{path, Changed, from, to})
	}
}

// sets compares lists whose order does not matter, entry by entry.
func (c *changes) sets(path string, from, to []string) {
	count := map[string]int{}
	for _, s := range from {
		count[s]--
	}
	for _, s := range to {
		count[s]++
	}
	for _, s := range slices.Sorted(maps.Keys(count)) {
		for n := count[s]; n < 0; n++ {
			*c = append(*c, Change{path, Removed, s, ""})
		}
		for n := count[s]; n > 0; n-- {
			*c = append(*c, Change{path, Added, "", s})
		}
	}
}

// Diff returns what makes two policies decide differently. White space, comments, the order of entries, and names that are
// for people do not.
func Diff(a, b *Policy) []Change {
	var c changes
	c.text("api_version", orAbsent(a.APIVersion), orAbsent(b.APIVersion))
	c.text("framework_version", orAbsent(a.FrameworkVersion), orAbsent(b.FrameworkVersion))
	for i := range a.Flags {
		c.text(a.Flags[i].Name, strconv.FormatBool(a.Flags[i].Set), strconv.FormatBool(b.Flags[i].Set))
	}
	for i := range a.Points {
		c.text(string(a.Points[i].Point), a.ruleText(i), b.ruleText(i))
	}
	c.text("reason", a.reasonText(), b.reasonText())
	c.custom(a, b)
	c.containers(a.Containers, b.Containers)
	c.external(a.ExternalProcesses, b.ExternalProcesses)
	c.keyed("fragments", texts(a.Fragments, fragmentText), texts(b.Fragments, fragmentText))
	c.keyed("transparency_trust_lists", texts(a.TrustLists, trustListText), texts(b.TrustLists, trustListText))
	c.sets("platform_rules", platformTexts(a.PlatformRules), platformTexts(b.PlatformRules))
	return c
}

func orAbsent(s string) string {
	if s == "" {
		return "absent"
	}
	return s
}

func (p *Policy) ruleText(i int) string {
	r := p.Points[i]
	switch r.Rule {
	case Own:
		return p.Custom[string(r.Point)]
	case Absent:
		return "absent: " + r.Default
	}
	return string(r.Rule)
}

func (p *Policy) reasonText() string {
	switch {
	case p.Custom["reason"] != "":
		return p.Custom["reason"]
	case p.HasReason:
		return "the framework's"
	}
	return "absent"
}

// custom compares the rules that are nothing but themselves. Rules at points and the reason were compared before.
func (c *changes) custom(a, b *Policy) {
	names := map[string]bool{}
	for _, p := range []*Policy{a, b} {
		for name := range p.Custom {
			names[name] = true
		}
		for _, r := range p.Points {
			delete(names, string(r.Point))
		}
		delete(names, "reason")
	}
	for _, name := range slices.Sorted(maps.Keys(names)) {
		known := a.known[name] != nil && b.known[name] != nil
		if !known && !slices.Contains(FlagNames(), name) && !slices.Contains(versionNames, name) {
			c.text(name, orAbsent(a.Custom[name]), orAbsent(b.Custom[name]))
		}
	}
}

// pair is an entry of one policy and that of the other which stands for the same container; nil where there is none.
type pair struct{ a, b *entry.Container }

// pairs matches containers by their name where it is the only one of its policy, else by layers and command.
func pairs(a, b []*entry.Container) []pair {
	other := map[*entry.Container]*entry.Container{}
	match := func(key func(*entry.Container) string, unique bool) {
		left := map[string][]*entry.Container{}
		seen := map[string]int{}
		for _, c := range b {
			if k := key(c); other[c] == nil && k != "" {
				left[k] = append(left[k], c)
			}
		}
		for _, c := range a {
			if other[c] == nil {
				seen[key(c)]++
			}
		}
		for _, c := range a {
			k := key(c)
			if other[c] != nil || len(left[k]) == 0 || unique && (len(left[k]) > 1 || seen[k] > 1) {
				continue
			}
			other[c], other[left[k][0]] = left[k][0], c
			left[k] = left[k][1:]
		}
	}
	match(ContainerName, true)
	match(func(c *entry.Container) string { return "=" + strings.Join(layersAndCommand(c), "\x00") }, false)
	var list []pair
	for _, c := range a {
		list = append(list, pair{c, other[c]})
	}
	for _, c := range b {
		if other[c] == nil {
			list = append(list, pair{nil, c})
		}
	}
	return list
}

func layersAndCommand(c *entry.Container) []string {
	return slices.Concat(c.Layers, []string{"", strconv.FormatBool(c.CommandNull)}, c.Command)
}

// ContainerName is what people call a container of a policy.
func ContainerName(c *entry.Container) string {
	if c.Name != "" {
		return c.Name
	}
	return c.ID
}

func containerPath(c *entry.Container) string {
	if name := ContainerName(c); name != "" {
		return fmt.Sprintf("containers[%q]", name)
	}
	return fmt.Sprintf("containers[%d]", c.Index)
}

func (c *changes) containers(a, b []*entry.Container) {
	for _, p := range pairs(a, b) {
		switch {
		case p.b == nil:
			*c = append(*c, Change{containerPath(p.a), Removed, Words(p.a.Command), ""})
		case p.a == nil:
			*c = append(*c, Change{containerPath(p.b), Added, "", Words(p.b.Command)})
		default:
			*c = append(*c, DiffContainers(containerPath(p.a), p.a, p.b)...)
		}
	}
}

// DiffContainers returns what makes two container definitions allow different things. Their names are not looked at.
func DiffContainers(path string, a, b *entry.Container) []Change {
	var c changes
	field := func(name string, bit entry.Fields, text func(*entry.Container) string) {
		value := func(x *entry.Container) string {
			if x.Present&bit == 0 {
				return "absent"
			}
			return text(x)
		}
		c.text(path+"."+name, value(a), value(b))
	}
	field("command", entry.FieldCommand, commandText)
	field("working_dir", entry.FieldWorkingDir, func(x *entry.Container) string { return strconv.Quote(x.WorkingDir) })
	c.layers(path+".layers", a.Layers, b.Layers)
	field("user", entry.FieldUser, func(x *entry.Container) string { return userText(x.User) })
	field("allow_elevated", entry.FieldAllowElevated, func(x *entry.Container) string { return strconv.FormatBool(x.AllowElevated) })
	field("allow_stdio_access", entry.FieldAllowStdioAccess, func(x *entry.Container) string { return strconv.FormatBool(x.AllowStdioAccess) })
	field("no_new_privileges", entry.FieldNoNewPrivileges, func(x *entry.Container) string { return strconv.FormatBool(x.NoNewPrivileges) })
	field("seccomp_profile_sha256", entry.FieldSeccomp, func(x *entry.Container) string { return strconv.Quote(x.SeccompProfileSHA256) })
	c.capabilities(path+".capabilities", a, b)
	c.sets(path+".env_rules", texts(a.EnvRules, EnvRuleText), texts(b.EnvRules, EnvRuleText))
	c.sets(path+".mounts", texts(a.Mounts, MountText), texts(b.Mounts, MountText))
	c.sets(path+".exec_processes", texts(a.ExecProcesses, execText), texts(b.ExecProcesses, execText))
	c.sets(path+".signals", texts(a.Signals, signalText), texts(b.Signals, signalText))
	return c
}

func (c *changes) layers(path string, a, b []string) {
	if len(a) != len(b) {
		before := len(*c)
		c.sets(path, a, b)
		if len(*c) > before {
			return
		}
	}
	for i := range min(len(a), len(b)) {
		c.text(fmt.Sprintf("%s[%d]", path, i), a[i], b[i])
	}
}

func (c *changes) capabilities(path string, a, b *entry.Container) {
	if a.Capabilities == nil || b.Capabilities == nil {
		value := func(x *entry.Container) string {
			switch {
			case x.Present&entry.FieldCapabilities == 0:
				return "absent"
			case x.Capabilities == nil:
				return "null: the default ones"
			}
			return "listed"
		}
		c.text(path, value(a), value(b))
		return
	}
	from, to := a.Capabilities, b.Capabilities
	c.sets(path+".bounding", from.Bounding, to.Bounding)
	c.sets(path+".effective", from.Effective, to.Effective)
	c.sets(path+".inheritable", from.Inheritable, to.Inheritable)
	c.sets(path+".permitted", from.Permitted, to.Permitted)
	c.sets(path+".ambient", from.Ambient, to.Ambient)
}

func (c *changes) external(a, b []*entry.ExternalProcess) {
	text := func(e *entry.ExternalProcess) string {
		rules := texts(e.EnvRules, EnvRuleText)
		slices.Sort(rules)
		return fmt.Sprintf("%s in %q, stdio %v, env rules: %s", Words(e.Command), e.WorkingDir, e.AllowStdioAccess, strings.Join(rules, "; "))
	}
	c.sets("external_processes", texts(a, text), texts(b, text))
}

// keyed compares entries whose text begins with their key and a line break.
func (c *changes) keyed(path string, a, b []string) {
	byKey := func(list []string) map[string][]string {
		m := map[string][]string{}
		for _, s := range list {
			key, rest, _ := strings.Cut(s, "\n")
			m[key] = append(m[key], rest)
		}
		return m
	}
	from, to := byKey(a), byKey(b)
	keys := map[string]bool{}
	for _, m := range []map[string][]string{from, to} {
		for key := range m {
			keys[key] = true
		}
	}
	for _, key := range slices.Sorted(maps.Keys(keys)) {
		at := path + "[" + key + "]"
		if len(from[key]) == 1 && len(to[key]) == 1 {
			c.text(at, from[key][0], to[key][0])
			continue
		}
		c.sets(at, from[key], to[key])
	}
}
