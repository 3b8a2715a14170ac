package fit

import (
	"regexp"
	"slices"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/cloister-cc/cloister/shim/spec"
)

// plan is what fitting a specification to one container of the policy would change, and what would still be refused.
type plan struct {
	container *containerRule
	mounts    []mountPlan     // one for each mount of the specification
	env       map[string]bool // variables to leave out

	refused int // what no rule allows and nobody may leave out
	changed int // what is left out, or has another name than usual
}

type mountPlan struct {
	source  string   // "" leaves it
	options []string // nil leaves them
	drop    string   // why it is left out; "" keeps it
}

// best is the plan with the least that would be refused, then with the least changed, then the first of the policy. nil without a container of these layers.
func (p *Policy) best(s *specs.Spec, roots []string) *plan {
	if s == nil || s.Process == nil {
		return nil
	}
	var best *plan
	for _, c := range p.of(roots) {
		made := p.plan(s, c)
		if best == nil || made.refused < best.refused || made.refused == best.refused && made.changed < best.changed {
			best = made
		}
	}
	return best
}

func (p *Policy) plan(s *specs.Spec, c *containerRule) *plan {
	out := &plan{container: c}
	for _, wrong := range []bool{
		c.command == nil || !slices.Equal(c.command, s.Process.Args),
		!c.hasDir || c.workingDir != s.Process.Cwd,
		c.noNewPrivileges && !s.Process.NoNewPrivileges,
	} {
		if wrong {
			out.refused++
		}
	}
	for _, m := range s.Mounts {
		change := p.mountPlan(s, c, m, out)
		if change.drop != "" {
			out.changed++
		}
		out.mounts = append(out.mounts, change)
	}
	refused, env := p.envPlan(c, s.Process.Env)
	out.env = env
	out.refused += refused
	out.changed += len(env)
	return out
}

// Why a mount of the runtime's own is left out.
const (
	notListed = "the runtime adds it, and no container of the policy with these layers lists it"
	notFiles  = "the policy wants a directory of the guest's there, or other options, and the runtime's files cannot be that"
)

func (p *Policy) mountPlan(s *specs.Spec, c *containerRule, m specs.Mount, out *plan) mountPlan {
	v := spec.VolumeOf(m, s.Annotations)
	if v.Kind != spec.Directory && v.Kind != spec.Copy || m.Destination == "/etc/hosts" {
		return mountPlan{} // what the agent has its own of, or what create refuses by name
	}
	listed := false
	for _, rule := range c.mounts {
		if rule.destination != m.Destination || rule.kind != "bind" {
			continue
		}
		listed = true
		options, ok := sameOptions(m.Options, rule.options)
		if !ok {
			continue
		}
		change := mountPlan{options: options}
		switch {
		case v.Kind == spec.Directory:
			change.source = p.directory(rule, v)
			ok = change.source != ""
			if change.source != v.Default() {
				out.changed++
			}
		default:
			ok = p.accepts(rule, "/shared/"+spec.CopyName(m.Destination))
		}
		if ok {
			return change
		}
	}
	switch {
	case v.Own && listed:
		return mountPlan{drop: notFiles}
	case v.Own:
		return mountPlan{drop: notListed}
	}
	out.refused++
	return mountPlan{}
}

// runtimeVariable are those that kubelet and containerd add to a container by themselves: those of services, the host's name, a terminal's.
var runtimeVariable = regexp.MustCompile(
	`^(?:HOSTNAME=.*|TERM=xterm|KUBERNETES_[A-Z0-9_]+=.*|[A-Z0-9_]+_SERVICE_HOST=[0-9a-fA-F.:]*|[A-Z0-9_]+_SERVICE_PORT(?:_[A-Z0-9_]+)?=[0-9]*|` +
		`[A-Z0-9_]+_PORT(?:_[0-9]+_(?:TCP|UDP|SCTP))?=(?:tcp|udp|sctp)://.*|[A-Z0-9_]+_PORT_[0-9]+_(?:TCP|UDP|SCTP)_(?:PROTO|PORT|ADDR)=.*)$`)

// envPlan says which variables are left out, and how many would be refused. Where the policy lets the agent drop variables nothing is left to do. A variable that the
// pod's author wrote is never left out, nor one that the policy names: the agent's refusal names it.
func (p *Policy) envPlan(c *containerRule, env []string) (refused int, out map[string]bool) {
	out = map[string]bool{}
	for _, e := range env {
		if p.dropping || p.envListed(c, e) {
			continue
		}
		if name, _, _ := strings.Cut(e, "="); runtimeVariable.MatchString(e) && !c.named(name) {
			out[e] = true
			continue
		}
		refused++
	}
	for _, r := range c.env {
		if r.required && !slices.ContainsFunc(env, func(e string) bool { return p.envOK(r, e) }) {
			refused++
		}
	}
	return refused, out
}
