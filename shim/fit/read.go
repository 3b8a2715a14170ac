package fit

import (
	"errors"
	"fmt"
	"strings"
)

// The rule by which a policy leaves create_container to the framework; with another one its lists may mean anything.
const delegates = "create_container"

// newestFramework is the last version whose lists are known; a policy that is ahead of it lists nothing.
var newestFramework = [3]int{0, 5, 0}

// Read reads a policy's text. A policy with rules of its own, in another dialect or of a newer framework is no error: it is not Known. The error is for a text that
// is no policy at all.
func Read(policy []byte) (*Policy, error) {
	switch {
	case len(policy) == 0:
		return nil, errors.New("read policy: the text is empty")
	case len(policy) > maxText:
		return &Policy{}, nil
	}
	r := reader{text: text{s: string(policy), seen: map[string]string{}}}
	if !r.module() {
		return &Policy{}, nil
	}
	return r.policy(), nil
}

// reader collects what a module defines.
type reader struct {
	text
	containers []*containerRule
	platform   []*containerRule // rules of the platform: environment and mounts only
	framework  string
	dropping   bool
	delegated  bool
	defined    map[string]bool
}

// module reads a policy: its package, imports, and definitions that are a literal or the framework's. Anything else is a rule of its own.
func (r *reader) module() bool {
	if r.word() != "package" || r.word() != "policy" {
		return false
	}
	r.defined = map[string]bool{}
	for {
		r.space()
		if r.pos == len(r.s) {
			return true
		}
		name := r.word()
		if name == "import" {
			if path := r.word(); !strings.HasPrefix(path, "future.keywords") && path != "rego.v1" {
				return false
			}
			continue
		}
		if !r.definition(name) {
			return false
		}
	}
}

func (r *reader) definition(name string) bool {
	if name == "" || strings.Contains(name, ".") || r.defined[name] {
		return false
	}
	r.defined[name] = true
	r.space()
	if r.next() == ':' {
		r.pos++
	}
	if r.next() != '=' {
		return false
	}
	r.pos++
	return r.value(name) && r.endOfLine()
}

// endOfLine holds where nothing else follows a definition: an operator there would make it another one.
func (r *reader) endOfLine() bool {
	rest := r.s[r.pos:]
	if end := strings.IndexByte(rest, '\n'); end >= 0 {
		rest = rest[:end]
	}
	rest = strings.TrimLeft(rest, " \t\r")
	return rest == "" || rest[0] == '#'
}

func (r *reader) value(name string) (ok bool) {
	switch name {
	case "containers":
		return r.containerList(&r.containers)
	case "platform_rules":
		return r.containerList(&r.platform)
	case "framework_version", "framework_svn":
		if r.framework != "" {
			return false
		}
		r.framework, ok = r.str()
		return ok
	case "allow_environment_variable_dropping":
		r.dropping, ok = r.bool()
		return ok
	case delegates:
		r.delegated = true
		return r.word() == "data.framework."+delegates
	}
	return r.skip(0)
}

func (r *reader) containerList(into *[]*containerRule) bool {
	return r.list(func() bool {
		c := &containerRule{}
		*into = append(*into, c)
		return r.object(func(key string) bool { return r.member(c, key) })
	})
}

func (r *reader) member(c *containerRule, key string) (ok bool) {
	switch key {
	case "command":
		if r.null() {
			return true
		}
		c.command, ok = r.strings()
	case "layers":
		c.layers, ok = r.strings()
	case "working_dir":
		c.workingDir, ok = r.str()
		c.hasDir = ok
	case "seccomp_profile_sha256":
		c.seccomp, ok = r.str()
	case "allow_elevated":
		c.elevated, ok = r.bool()
	case "no_new_privileges":
		c.noNewPrivileges, ok = r.bool()
	case "env_rules":
		ok = r.list(func() bool {
			e := &envRule{}
			c.env = append(c.env, e)
			return r.object(func(key string) bool { return r.envMember(e, key) })
		})
	case "mounts":
		ok = r.list(func() bool {
			m := &mountRule{}
			c.mounts = append(c.mounts, m)
			return r.object(func(key string) bool { return r.mountMember(m, key) })
		})
	default:
		return r.skip(0)
	}
	return ok
}

func (r *reader) envMember(e *envRule, key string) (ok bool) {
	switch key {
	case "pattern":
		e.whole.text, ok = r.str()
		e.hasWhole = true
	case "strategy":
		e.whole.strategy, ok = r.str()
	case "name":
		e.name.text, ok = r.str()
		e.hasSplit = true
	case "name_strategy":
		e.name.strategy, ok = r.str()
	case "value":
		e.value.text, ok = r.str()
	case "value_strategy":
		e.value.strategy, ok = r.str()
	case "required":
		e.required, ok = r.bool()
	default:
		return r.skip(0)
	}
	return ok
}

func (r *reader) mountMember(m *mountRule, key string) (ok bool) {
	switch key {
	case "destination":
		m.destination, ok = r.str()
	case "source":
		m.source, ok = r.str()
	case "type":
		m.kind, ok = r.str()
	case "options":
		m.options, ok = r.strings()
	default:
		return r.skip(0)
	}
	return ok
}

// policy is what was read, as the framework of its version takes it.
func (r *reader) policy() *Policy {
	version, ok := parseVersion(r.framework)
	if !ok || !r.delegated || newer(version, newestFramework) {
		return &Policy{}
	}
	if newer(newestFramework, version) {
		r.platform = nil // nobody wrote any before 0.5.0
	}
	if why := tooCostly(append(r.containers[:len(r.containers):len(r.containers)], r.platform...)...); why != "" {
		return &Policy{why: why}
	}
	p := &Policy{known: true, dropping: r.dropping, patterns: map[string]*pattern{}}
	rules := 0
	for _, c := range r.containers {
		if len(r.platform) == 0 {
			p.containers = append(p.containers, c)
		}
		for _, rule := range r.platform {
			if rules += 1 + len(c.env) + len(rule.env) + len(c.mounts) + len(rule.mounts); rules > maxRules {
				return &Policy{why: tooWide}
			}
			variant := *c
			variant.env = append(c.env[:len(c.env):len(c.env)], rule.env...)
			variant.mounts = append(c.mounts[:len(c.mounts):len(c.mounts)], rule.mounts...)
			p.containers = append(p.containers, &variant)
			if len(p.containers) > maxEntries {
				return &Policy{}
			}
		}
	}
	return p
}

func parseVersion(s string) (v [3]int, ok bool) {
	var rest string
	n, _ := fmt.Sscanf(s+" ", "%d.%d.%d%s", &v[0], &v[1], &v[2], &rest)
	return v, n == 3 && v[0] >= 0 && v[1] >= 0 && v[2] >= 0
}

func newer(a, b [3]int) bool {
	for i := range a {
		if a[i] != b[i] {
			return a[i] > b[i]
		}
	}
	return false
}
