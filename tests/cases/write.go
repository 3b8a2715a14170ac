package cases

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/cloister-cc/cloister/enforcer"
)

// document is one JSON object on its way into a policy text.
type document map[string]any

// fieldsSince are the fields of a container that not every framework had.
var fieldsSince = map[string]string{
	"no_new_privileges": "0.2.0", "user": "0.2.1", "capabilities": "0.2.2", "seccomp_profile_sha256": "0.2.3",
}

func (p *policy) text(s *source, opt Options) string {
	var b strings.Builder
	b.WriteString("package policy\n\n")
	if s.chance(60) {
		b.WriteString("import future.keywords.every\nimport future.keywords.in\n\n")
	}
	assign := ":="
	if s.chance(5) {
		assign = "="
	}
	line := func(name, value string) { fmt.Fprintf(&b, "%s %s %s\n", name, assign, value) }
	p.writeVersions(line)
	if s.chance(70) {
		line("fragments", "[]")
	}
	style := s.IntN(3)
	if w := p.containerList(s, opt); w != nil {
		line("containers", list(s, style, w, opt))
	}
	if len(p.external) > 0 || s.chance(50) {
		line("external_processes", list(s, style, p.externalList(), opt))
	}
	if len(p.platform) > 0 {
		line("platform_rules", list(s, style, p.platformList(), opt))
	}
	b.WriteString("\n")
	for _, f := range p.flags {
		line(f.name, oddFlag(s, opt, f.set))
	}
	b.WriteString("\n")
	own := -1
	if opt.Own && len(p.points) > 0 && s.chance(50) {
		own = s.IntN(len(p.points))
	}
	for i, point := range p.points {
		if i == own {
			b.WriteString(ownRule(s, point))
			continue
		}
		line(string(point), "data.framework."+string(point))
	}
	switch p.reason {
	case "errors":
		line("reason", `{"errors": data.framework.errors}`)
	case "full":
		line("reason", "data.framework.reason")
	}
	return b.String()
}

func (p *policy) writeVersions(line func(name, value string)) {
	api, framework := "api_version", "framework_version"
	if p.family.OldNames {
		api, framework = "api_svn", "framework_svn"
	}
	if p.family.API != "" {
		line(api, quoted(p.family.API))
	}
	if p.family.Framework != "" {
		line(framework, quoted(p.family.Framework))
	}
}

// ownRule is what a policy might say by itself about a point.
func ownRule(s *source, point enforcer.Point) string {
	return pick(s,
		fmt.Sprintf("%s := {\"allowed\": true}\n", point),
		fmt.Sprintf("%s := {\"allowed\": false}\n", point),
		fmt.Sprintf("default %[1]s := {\"allowed\": false}\n%[1]s := data.framework.%[1]s { input }\n", point),
		fmt.Sprintf("own_rule := 1\n%[1]s := data.framework.%[1]s\n", point),
	)
}

func (p *policy) containerList(s *source, opt Options) []any {
	if opt.Odd && s.chance(2) {
		return nil
	}
	all := s.chance(15)
	var out []any
	for _, c := range p.containers {
		d := c.document()
		for field, since := range fieldsSince {
			if !all && before(p.family.Framework, since) {
				delete(d, field)
			}
		}
		if opt.Odd && s.chance(40) {
			out = append(out, oddContainer(s, d))
			continue
		}
		out = append(out, d)
	}
	return out
}

func (c *container) document() document {
	d := document{
		"id": c.id, "name": c.name, "command": c.command, "env_rules": envDocuments(c.env), "layers": c.layers,
		"mounts": mountDocuments(c.mounts), "exec_processes": []any{}, "signals": c.signals, "allow_elevated": c.elevated,
		"allow_stdio_access": c.stdio, "no_new_privileges": c.nnp, "working_dir": c.workingDir,
		"seccomp_profile_sha256": c.seccomp, "capabilities": c.caps,
	}
	for _, e := range c.execs {
		d["exec_processes"] = append(d["exec_processes"].([]any), document{"command": e.command, "signals": e.signals})
	}
	groups := []any{}
	for _, g := range c.user.groups {
		groups = append(groups, document{"pattern": g.pattern, "strategy": g.strategy})
	}
	d["user"] = document{
		"user_idname":   document{"pattern": c.user.who.pattern, "strategy": c.user.who.strategy},
		"group_idnames": groups, "umask": c.user.umask,
	}
	return d
}

func envDocuments(list []word) []any {
	out := []any{}
	for _, w := range list {
		r := w.rule
		d := document{"required": r.required}
		if r.strategy != "" {
			d["pattern"], d["strategy"] = r.pattern, r.strategy
		}
		if r.split {
			d["name"], d["name_strategy"], d["value"], d["value_strategy"] = r.name, r.nameStrategy, r.value, r.valueStrategy
		}
		out = append(out, d)
	}
	return out
}

func mountDocuments(list []mountWord) []any {
	out := []any{}
	for _, m := range list {
		c := m.constraint
		out = append(out, document{"destination": c.destination, "source": c.source, "type": c.kind, "options": c.options})
	}
	return out
}

func (p *policy) externalList() []any {
	out := []any{}
	for _, e := range p.external {
		out = append(out, document{
			"command": e.command, "env_rules": envDocuments(e.env), "working_dir": e.workingDir, "allow_stdio_access": e.stdio,
		})
	}
	return out
}

func (p *policy) platformList() []any {
	out := []any{}
	for _, r := range p.platform {
		out = append(out, document{"env_rules": envDocuments(r.env), "mounts": mountDocuments(r.mounts)})
	}
	return out
}

// list writes a list as the tools do: on one line with sorted keys, with blanks, or one entry a line.
func list(s *source, style int, entries []any, opt Options) string {
	var b strings.Builder
	b.WriteString("[")
	for i, e := range entries {
		if i > 0 {
			b.WriteString(",")
		}
		switch style {
		case 0:
			b.WriteString(encoded(e, ""))
		case 1:
			b.WriteString(" " + spaced(encoded(e, "")))
		case 2:
			b.WriteString("\n" + encoded(e, "\t"))
		}
		if opt.Odd && s.chance(2) {
			b.WriteString(" # a remark\n")
		}
	}
	if opt.Odd && len(entries) > 0 && s.chance(2) {
		b.WriteString(",")
	}
	if style == 2 {
		b.WriteString("\n")
	}
	return b.String() + "]"
}

// spaced puts a blank behind commas and colons between values, as Python's json does.
func spaced(text string) string {
	var b strings.Builder
	in, escaped := false, false
	for _, r := range text {
		b.WriteRune(r)
		switch {
		case escaped:
			escaped = false
		case in && r == '\\':
			escaped = true
		case r == '"':
			in = !in
		case !in && (r == ',' || r == ':'):
			b.WriteByte(' ')
		}
	}
	return b.String()
}

// encoded is v as JSON. Lists of nothing are [], not null.
func encoded(v any, indent string) string {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", indent)
	if err := enc.Encode(v); err != nil {
		panic(err) // only maps, lists, strings, numbers and booleans get here
	}
	return strings.TrimSuffix(b.String(), "\n")
}

func quoted(text string) string { return encoded(text, "") }

// keys are a document's keys in a fixed order.
func keys(d document) []string {
	out := make([]string, 0, len(d))
	for k := range d {
		out = append(out, k)
	}
	slices.Sort(out)
	return out
}
