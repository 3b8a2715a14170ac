package explain

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/cloister-cc/cloister/enforcer"
	"github.com/cloister-cc/cloister/enforcer/aci"
	"github.com/cloister-cc/cloister/enforcer/entry"
	"github.com/cloister-cc/cloister/enforcer/point"
)

// quote is how a string of the host or the policy is told: on one line, ASCII, cut at a length.
func quote(s string) string { return point.Quote(s) }

// absent is what is told of a field that the request does not have.
const absent = "absent"

func orAbsent(s string) string {
	if s == "" {
		return absent
	}
	return quote(s)
}

// texts tells two different strings apart, also where they differ behind what is told of them.
func (c *comparison) texts(weight int, field, want, got string) {
	wanted, had := quote(want), quote(got)
	if wanted == had {
		at := 0
		for at < len(want) && at < len(got) && want[at] == got[at] {
			at++
		}
		wanted = fmt.Sprintf("%s (%d bytes)", wanted, len(want))
		had = fmt.Sprintf("%s (%d bytes, another from byte %d on)", had, len(got), at)
	}
	c.differ(weight, field, wanted, had)
}

// command tells the first argument that differs.
func (c *comparison) command(want *entry.Container, got []string) {
	if want.CommandNull {
		c.differ(weightCommand, "process.args", "nothing: the policy's command is null, which no request equals", c.arguments(got))
		return
	}
	c.args(want.Command, got)
}

func (c *comparison) execCommand(want *entry.Container, got []string) {
	p := nearestProcess(want.ExecProcesses, got)
	if p == nil {
		c.differ(weightCommand, "process.args", "nothing: no command may be executed in this container", c.arguments(got))
		return
	}
	c.args(p.Command, got)
}

// nearestProcess is the exec entry that has the most first arguments in common with the request.
func nearestProcess(processes []*entry.ExecProcess, got []string) *entry.ExecProcess {
	var nearest *entry.ExecProcess
	most, longer := -1, 0
	for _, p := range processes {
		if p == nil {
			continue
		}
		n, excess := common(p.Command, got), abs(len(p.Command)-len(got))
		if n > most || n == most && excess < longer {
			nearest, most, longer = p, n, excess
		}
	}
	return nearest
}

func common(a, b []string) int {
	n := 0
	for n < len(a) && n < len(b) && a[n] == b[n] {
		n++
	}
	return n
}

func abs(n int) int { return max(n, -n) }

func (c *comparison) args(want, got []string) {
	at := common(want, got)
	if at == len(want) && at == len(got) {
		return
	}
	weight := weightArgs
	if at == 0 {
		weight = weightCommand
	}
	field := fmt.Sprintf("process.args[%d]", at)
	if at < len(want) && at < len(got) && !c.opts.Redact {
		c.texts(weight, field, want[at], got[at])
		return
	}
	c.differ(weight, field, c.argument(want, at), c.argument(got, at))
}

func (c *comparison) argument(list []string, at int) string {
	switch {
	case at >= len(list):
		return fmt.Sprintf("nothing (%d arguments in all)", len(list))
	case c.opts.Redact:
		return fmt.Sprintf("argument of %d bytes", len(list[at]))
	}
	return quote(list[at])
}

func (c *comparison) arguments(list []string) string {
	if c.opts.Redact || len(list) == 0 {
		return fmt.Sprintf("%d arguments", len(list))
	}
	return fmt.Sprintf("%s (%d arguments in all)", quote(list[0]), len(list))
}

func (c *comparison) user(want *entry.User, user enforcer.User, groups []enforcer.User, umask string) {
	if want == nil {
		c.differ(weightUser, "process.user", "nothing: the policy's container has no user", userText(user))
		return
	}
	if want.Umask != umask {
		c.differ(weightUser, "process.user.umask", quote(want.Umask), orAbsent(umask))
	}
	if !c.idName(want.UserIDName, user) {
		c.differ(weightUser, "process.user", ruleText(want.UserIDName), userText(user))
	}
	for i, group := range groups {
		if slices.ContainsFunc(want.GroupIDNames, func(n entry.IDName) bool { return c.idName(n, group) }) {
			continue
		}
		var wanted []string
		for j, n := range want.GroupIDNames {
			if j == mostListed {
				wanted = append(wanted, fmt.Sprintf("%d others", len(want.GroupIDNames)-j))
				break
			}
			wanted = append(wanted, ruleText(n))
		}
		if len(wanted) == 0 {
			wanted = []string{"no group"}
		}
		c.differ(weightOther, fmt.Sprintf("process.user.groups[%d]", i), strings.Join(wanted, " or "), userText(group))
	}
}

func (c *comparison) idName(want entry.IDName, got enforcer.User) bool {
	switch want.Strategy {
	case "any":
		return true
	case "id":
		return want.Pattern == got.ID
	case "name":
		return want.Pattern == got.Name
	case "re2":
		return c.re2(want.Pattern, got.Name)
	}
	return false
}

func ruleText(n entry.IDName) string {
	switch n.Strategy {
	case "any":
		return "anybody"
	case "id", "name", "re2":
		return n.Strategy + " " + quote(n.Pattern)
	}
	return "nothing: strategy " + quote(n.Strategy) + " does not exist"
}

func userText(u enforcer.User) string {
	if u == (enforcer.User{}) {
		return absent
	}
	return "id " + orAbsent(u.ID) + " name " + orAbsent(u.Name)
}

// re2 matches as the framework does: the pattern is valid by itself, and holds for the whole value.
func (c *comparison) re2(pattern, value string) bool {
	re, known := c.patterns[pattern]
	if !known {
		if _, err := regexp.Compile(pattern); err == nil {
			re, _ = regexp.Compile("^(?:" + pattern + ")$")
		}
		c.patterns[pattern] = re
	}
	return re != nil && re.MatchString(value)
}

func (c *comparison) strategy(name, pattern, value string) bool {
	switch name {
	case "string":
		return pattern == value
	case "re2":
		return c.re2(pattern, value)
	}
	return false
}

// capabilities tells what is missing and what is too much, once for all sets in which it is the same.
func (c *comparison) capabilities(want *entry.Container, privileged bool, got enforcer.Capabilities) {
	allowed := want.Capabilities
	if allowed == nil {
		caps := aci.UnprivilegedCapabilities()
		allowed = &entry.Capabilities{Bounding: caps, Effective: caps, Permitted: caps}
		if privileged && want.AllowElevated {
			caps = aci.PrivilegedCapabilities()
			allowed = &entry.Capabilities{Bounding: caps, Effective: caps, Inheritable: caps, Permitted: caps}
		}
	}
	sets := []struct {
		name      string
		want, got []string
	}{
		{"bounding", allowed.Bounding, got.Bounding},
		{"effective", allowed.Effective, got.Effective},
		{"inheritable", allowed.Inheritable, got.Inheritable},
		{"permitted", allowed.Permitted, got.Permitted},
		{"ambient", allowed.Ambient, got.Ambient},
	}
	var order []Difference
	names := map[Difference][]string{}
	note := func(set string, d Difference) {
		if len(names[d]) == 0 {
			order = append(order, d)
		}
		names[d] = append(names[d], set)
	}
	for _, s := range sets {
		if missing := without(s.want, s.got); len(missing) > 0 {
			note(s.name, Difference{Wanted: listText(missing), Got: "not there"})
		}
		// With dropping, what the policy does not list is taken away instead.
		if added := without(s.got, s.want); len(added) > 0 && !c.opts.DropCapabilities {
			note(s.name, Difference{Wanted: "not there", Got: listText(added)})
		}
	}
	for _, d := range order {
		c.differ(weightOther, "process.capabilities."+strings.Join(names[d], ","), d.Wanted, d.Got)
	}
}

// without is the set a without the set b, sorted.
func without(a, b []string) []string {
	in := make(map[string]bool, len(b))
	for _, s := range b {
		in[s] = true
	}
	var left []string
	for _, s := range a {
		if !in[s] {
			left = append(left, s)
		}
	}
	slices.Sort(left)
	return slices.Compact(left)
}

// mostListed bounds what is told of a list.
const mostListed = 8

// listText is a list of short names; the host may have sent any number of any length.
func listText(list []string) string {
	var parts []string
	for i, s := range list {
		if i == mostListed {
			parts = append(parts, fmt.Sprintf("and %d more", len(list)-i))
			break
		}
		parts = append(parts, point.QuoteLine(s))
	}
	return strings.Join(parts, " ")
}
