package policydoc

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"

	"github.com/cloister-cc/cloister/enforcer/entry"
	"github.com/cloister-cc/cloister/enforcer/point"
)

// lists reads the policy's lists.
func (p *Policy) lists(e *evaluation) {
	p.Containers = readList(p, e, "containers", p.container)
	p.ExternalProcesses = readList(p, e, "external_processes", p.externalProcess)
	p.Fragments = readList(p, e, "fragments", p.fragment)
	p.PlatformRules = readList(p, e, "platform_rules", p.platformRule)
	p.TrustLists = readList(p, e, "transparency_trust_lists", p.trustList)
	for i, c := range p.Containers {
		c.Index = i
	}
}

// plainLists takes what the fast reader has read. It accepts no unknown field and no wrong type; of a container, fields may be
// absent.
func (p *Policy) plainLists(e *evaluation, data *entry.Data) {
	p.Data = *data
	for i, c := range p.Containers {
		if missing := MissingFields(c, p.FrameworkVersion); len(missing) > 0 {
			p.problem(MissingField, fmt.Sprintf("containers[%d]", i), "no %s", strings.Join(missing, ", "))
		}
	}
	keep(p, e, "containers", p.Containers, (*entry.Container).Value)
	keep(p, e, "external_processes", p.ExternalProcesses, (*entry.ExternalProcess).Value)
	keep(p, e, "fragments", p.Fragments, (*entry.Fragment).Value)
	keep(p, e, "platform_rules", p.PlatformRules, (*entry.PlatformRule).Value)
	keep(p, e, "transparency_trust_lists", p.TrustLists, (*entry.TrustList).Value)
}

// keep remembers a list that the policy has, to be written out again when it is asked for.
func keep[T any](p *Policy, e *evaluation, name string, list []T, value func(T) ast.Value) {
	if !e.defines(name) {
		return
	}
	p.known[name] = func() any {
		out := make([]any, 0, len(list))
		for _, item := range list {
			if v, err := ast.JSON(value(item)); err == nil {
				out = append(out, v)
			}
		}
		return out
	}
}

// duplicates reports keys that are written twice in one object. The syntax tree has both, side by side.
func (p *Policy) duplicates(path string, t *ast.Term) {
	switch v := t.Value.(type) {
	case *ast.Array:
		for i := range v.Len() {
			p.duplicates(fmt.Sprintf("%s[%d]", path, i), v.Elem(i))
		}
	case ast.Object:
		seen := map[string]bool{}
		v.Foreach(func(k, value *ast.Term) {
			key := k.String()
			if s, ok := k.Value.(ast.String); ok {
				key = string(s)
			}
			inner := path + "." + key
			if seen[key] {
				p.problem(DuplicateKey, inner, "%.64q is there twice, and the later one counts", key)
			}
			seen[key] = true
			p.duplicates(inner, value)
		})
	}
}

func readList[T any](p *Policy, e *evaluation, name string, read func(object) T) []T {
	v, known := e.value(name)
	if !known {
		if e.defines(name) {
			p.Unread = append(p.Unread, name)
		}
		return nil
	}
	list, ok := v.([]any)
	if !ok {
		p.problem(WrongType, name, "got %s, want a list", typeName(v))
		return nil
	}
	p.known[name] = func() any { return list }
	out := make([]T, 0, len(list))
	for i, item := range list {
		out = append(out, read(p.object(fmt.Sprintf("%s[%d]", name, i), item)))
	}
	return out
}

// object is one JSON object of a policy on its way to a struct. What is not taken from it in the end is unknown.
type object struct {
	p      *Policy
	path   string
	fields map[string]any
	taken  map[string]bool
}

func (p *Policy) object(path string, v any) object {
	fields, ok := v.(map[string]any)
	if !ok {
		p.problem(WrongType, path, "got %s, want an object", typeName(v))
	}
	return object{p, path, fields, map[string]bool{}}
}

// take returns a field; ok is false when it is absent.
func (o object) take(key string) (v any, ok bool) {
	o.taken[key] = true
	v, ok = o.fields[key]
	return v, ok
}

func (o object) wrong(key string, v any, want string) {
	o.p.problem(WrongType, o.path+"."+key, "got %s, want %s", typeName(v), want)
}

// need reports fields that are looked for and absent.
func (o object) need(keys ...string) {
	if o.fields == nil {
		return
	}
	var missing []string
	for _, key := range keys {
		if _, ok := o.fields[key]; !ok {
			missing = append(missing, key)
		}
	}
	if len(missing) > 0 {
		o.p.problem(MissingField, o.path, "no %s", strings.Join(missing, ", "))
	}
}

// done reports fields that nobody looked at.
func (o object) done() {
	for _, key := range slices.Sorted(maps.Keys(o.fields)) {
		if !o.taken[key] {
			o.p.problem(UnknownField, o.path+"."+key, "no such field in the contract")
		}
	}
}

func (o object) str(key string) string {
	v, ok := o.take(key)
	if !ok {
		return ""
	}
	s, ok := v.(string)
	if !ok {
		o.wrong(key, v, "a string")
	}
	return s
}

func (o object) bool(key string) bool {
	v, ok := o.take(key)
	if !ok {
		return false
	}
	b, ok := v.(bool)
	if !ok {
		o.wrong(key, v, "true or false")
	}
	return b
}

func (o object) list(key string) []any {
	v, ok := o.take(key)
	if !ok {
		return nil
	}
	list, ok := v.([]any)
	if !ok {
		o.wrong(key, v, "a list")
	}
	return list
}

func (o object) strings(key string) []string {
	list := o.list(key)
	if list == nil {
		return nil
	}
	out := make([]string, 0, len(list))
	for i, v := range list {
		s, ok := v.(string)
		if !ok {
			o.wrong(fmt.Sprintf("%s[%d]", key, i), v, "a string")
		}
		out = append(out, s)
	}
	return out
}

func (o object) signals(key string) []int64 {
	list := o.list(key)
	out := make([]int64, 0, len(list))
	for i, v := range list {
		n, ok := wholeNumber(v)
		if !ok {
			o.wrong(fmt.Sprintf("%s[%d]", key, i), v, "a whole number")
			continue
		}
		out = append(out, n)
	}
	return out
}

func (o object) objects(key string, each func(object)) {
	for i, v := range o.list(key) {
		each(o.p.object(fmt.Sprintf("%s.%s[%d]", o.path, key, i), v))
	}
}

func wholeNumber(v any) (int64, bool) {
	n, ok := v.(json.Number)
	if !ok {
		return 0, false
	}
	i, err := n.Int64()
	return i, err == nil
}

func typeName(v any) string {
	switch v := v.(type) {
	case nil:
		return "null"
	case bool:
		return "a boolean"
	case string:
		return "a string"
	case json.Number:
		return "a number"
	case []any:
		return "a list"
	case map[string]any:
		return "an object"
	default:
		return fmt.Sprintf("%T", v)
	}
}

// containerFields are the fields of a container, with the framework version that introduced each (policy contract, sections
// 3.2 and 3.4); id and name are for people.
var containerFields = []struct {
	name, since string
	bit         entry.Fields
}{
	{"id", "", entry.FieldID},
	{"name", "", entry.FieldName},
	{"command", "0.1.0", entry.FieldCommand},
	{"env_rules", "0.1.0", entry.FieldEnvRules},
	{"layers", "0.1.0", entry.FieldLayers},
	{"mounts", "0.1.0", entry.FieldMounts},
	{"exec_processes", "0.1.0", entry.FieldExecProcesses},
	{"signals", "0.1.0", entry.FieldSignals},
	{"allow_elevated", "0.1.0", entry.FieldAllowElevated},
	{"working_dir", "0.1.0", entry.FieldWorkingDir},
	{"allow_stdio_access", "0.1.0", entry.FieldAllowStdioAccess},
	{"no_new_privileges", "0.2.0", entry.FieldNoNewPrivileges},
	{"user", "0.2.1", entry.FieldUser},
	{"capabilities", "0.2.2", entry.FieldCapabilities},
	{"seccomp_profile_sha256", "0.2.3", entry.FieldSeccomp},
}

func (p *Policy) container(o object) *entry.Container {
	c := &entry.Container{
		ID: o.str("id"), Name: o.str("name"), WorkingDir: o.str("working_dir"),
		SeccompProfileSHA256: o.str("seccomp_profile_sha256"), AllowElevated: o.bool("allow_elevated"),
		AllowStdioAccess: o.bool("allow_stdio_access"), NoNewPrivileges: o.bool("no_new_privileges"),
		EnvRules: o.envRules("env_rules"), Layers: o.strings("layers"), Mounts: o.mounts("mounts"), Signals: o.signals("signals"),
	}
	if v, ok := o.take("command"); ok && v == nil {
		c.CommandNull = true
	} else {
		c.Command = o.strings("command")
	}
	o.objects("exec_processes", func(e object) {
		c.ExecProcesses = append(c.ExecProcesses, &entry.ExecProcess{Command: e.strings("command"), Signals: e.signals("signals")})
		e.need("command", "signals")
		e.done()
	})
	if v, ok := o.take("user"); ok {
		c.User = user(p.object(o.path+".user", v))
	}
	if v, ok := o.take("capabilities"); ok && v != nil {
		c.Capabilities = capabilities(p.object(o.path+".capabilities", v))
	}
	for _, f := range containerFields {
		if _, ok := o.fields[f.name]; ok {
			c.Present |= f.bit
		}
	}
	o.need(MissingFields(c, p.FrameworkVersion)...)
	o.done()
	return c
}

// MissingFields are the fields a container of the given framework version has to have and has not.
func MissingFields(c *entry.Container, framework string) []string {
	version, ok := point.ParseVersion(framework)
	if !ok {
		return nil
	}
	var names []string
	for _, f := range containerFields {
		if f.since == "" || c.Present&f.bit != 0 {
			continue
		}
		if since, _ := point.ParseVersion(f.since); !version.Less(since) {
			names = append(names, f.name)
		}
	}
	return names
}

func user(o object) *entry.User {
	u := &entry.User{Umask: o.str("umask")}
	if v, ok := o.take("user_idname"); ok {
		u.UserIDName = idName(o.p.object(o.path+".user_idname", v))
	}
	o.objects("group_idnames", func(g object) { u.GroupIDNames = append(u.GroupIDNames, idName(g)) })
	o.need("user_idname", "group_idnames", "umask")
	o.done()
	return u
}

func idName(o object) entry.IDName {
	n := entry.IDName{Pattern: o.str("pattern"), Strategy: o.str("strategy")}
	o.need("pattern", "strategy")
	o.done()
	return n
}

func capabilities(o object) *entry.Capabilities {
	c := &entry.Capabilities{
		Bounding: o.strings("bounding"), Effective: o.strings("effective"), Inheritable: o.strings("inheritable"),
		Permitted: o.strings("permitted"), Ambient: o.strings("ambient"),
	}
	o.need("bounding", "effective", "inheritable", "permitted", "ambient")
	o.done()
	return c
}

func (o object) envRules(key string) []*entry.EnvRule {
	var rules []*entry.EnvRule
	o.objects(key, func(e object) {
		r := &entry.EnvRule{
			Pattern: e.str("pattern"), Strategy: e.str("strategy"), Name: e.str("name"), NameStrategy: e.str("name_strategy"),
			Value: e.str("value"), ValueStrategy: e.str("value_strategy"), Required: e.bool("required"),
		}
		_, r.Whole = e.fields["pattern"]
		_, r.Split = e.fields["name"]
		_, r.HasRequired = e.fields["required"]
		switch {
		case r.Whole:
			e.need("strategy")
		case r.Split:
			e.need("name_strategy", "value", "value_strategy")
		}
		e.done()
		rules = append(rules, r)
	})
	return rules
}

func (o object) mounts(key string) []*entry.Mount {
	var mounts []*entry.Mount
	o.objects(key, func(m object) {
		mounts = append(mounts, &entry.Mount{
			Destination: m.str("destination"), Source: m.str("source"), Options: m.strings("options"), Type: m.str("type"),
		})
		m.need("destination", "source", "options", "type")
		m.done()
	})
	return mounts
}

func (p *Policy) externalProcess(o object) *entry.ExternalProcess {
	e := &entry.ExternalProcess{
		Command: o.strings("command"), EnvRules: o.envRules("env_rules"), WorkingDir: o.str("working_dir"),
		AllowStdioAccess: o.bool("allow_stdio_access"),
	}
	o.need("command", "env_rules", "working_dir", "allow_stdio_access")
	o.done()
	return e
}

func (p *Policy) fragment(o object) *entry.Fragment {
	f := &entry.Fragment{
		Issuer: o.str("issuer"), Feed: o.str("feed"), Includes: o.strings("includes"), RequiredReceipts: o.strings("required_receipts"),
	}
	if v, ok := o.take("minimum_svn"); ok {
		switch v := v.(type) {
		case string:
			f.MinimumSVN = v
		case json.Number:
			f.MinimumSVN = v.String()
		default:
			o.wrong("minimum_svn", v, "a string or a number")
		}
	}
	_, f.Parameterized = o.take("parameters")
	o.need("issuer", "feed", "minimum_svn", "includes")
	o.done()
	return f
}

func (p *Policy) platformRule(o object) *entry.PlatformRule {
	r := &entry.PlatformRule{EnvRules: o.envRules("env_rules"), Mounts: o.mounts("mounts")}
	o.done()
	return r
}

func (p *Policy) trustList(o object) *entry.TrustList {
	t := &entry.TrustList{Issuer: o.str("issuer"), Subject: o.str("subject"), AllowedLedgers: o.strings("allowed_ledgers")}
	if v, ok := o.take("minimum_svn"); ok {
		n, ok := wholeNumber(v)
		if !ok {
			o.wrong("minimum_svn", v, "a whole number")
		}
		t.MinimumSVN = n
	}
	o.need("issuer", "subject", "minimum_svn", "allowed_ledgers")
	o.done()
	return t
}
