package compiled

import (
	"slices"

	"github.com/cloister-cc/cloister/enforcer/entry"
	"github.com/cloister-cc/cloister/enforcer/point"
)

// none are the candidates of an id without an overlay.
var none = &candidates{}

// possible are the containers an id can still be.
func (q *question) possible(id string) *candidates {
	if m := q.get(tableMatches, id); m.present {
		return m.value.set
	}
	return none
}

// containerStarted answers whether an id was created, and whether as privileged.
func (q *question) containerStarted(id string) (started, privileged bool) {
	s := q.get(tableStarted, id)
	return s.present, s.value.flag
}

func (q *question) rulesOf(list []*container) []*envRules {
	var rules []*envRules
	for _, c := range list {
		rules = append(rules, q.envOf(c))
	}
	return rules
}

// stdio is the one answer of all containers about their standard streams. ok is false when there are none or two.
func stdio(list []*container) (answer, ok bool, differ bool) {
	for _, c := range list {
		if !c.has(entry.FieldAllowStdioAccess) {
			continue
		}
		if ok && c.AllowStdioAccess != answer {
			return false, false, true
		}
		answer, ok = c.AllowStdioAccess, true
	}
	return answer, ok, false
}

// narrowing is what a request to run a process leaves of the candidates, step by step.
type narrowing struct {
	initial []*container // all fields but environment and capabilities
	kept    []string     // the environment
	keptOK  bool
	env     []*container
	asked   *capSets
	caps    *capSets
	capsOK  bool
	final   []*container
}

func (q *question) narrow(initial []*container, envs []string, caps *point.Capabilities, privileged bool) narrowing {
	n := narrowing{initial: initial}
	n.kept, n.keptOK = envs, true
	if q.judge.flags.EnvironmentVariableDropping {
		n.kept, n.keptOK = q.keptEnvs(q.rulesOf(initial), envs)
	}
	if n.keptOK {
		n.env = filter(initial, func(c *container) bool { return q.envsOK(q.envOf(c), n.kept) })
	}
	if len(n.env) == 0 {
		return n
	}
	n.asked = newCapSets(caps)
	n.caps, n.capsOK = q.keptCaps(n.env, privileged, n.asked)
	if n.capsOK {
		n.final = q.withCaps(n.env, privileged, n.caps)
	}
	return n
}

func (q *question) createInitial(in *point.CreateContainerInput, possible *candidates) []*container {
	return filter(possible.withCommand(in.ArgList), func(c *container) bool {
		return q.step() && c.commandOK(in.ArgList) && c.seccompOK(in.SeccompProfileSHA256) && q.createFieldsOK(in, c)
	})
}

// createFieldsOK are the comparisons of a create besides command, seccomp, environment and capabilities.
func (q *question) createFieldsOK(in *point.CreateContainerInput, c *container) bool {
	return c.workingDirOK(in.WorkingDir) && c.noNewPrivilegesOK(in.NoNewPrivileges) && c.privilegedOK(in.Privileged) &&
		c.userOK(q, in.User, in.Groups, in.Umask) && c.mountsOK(q, in)
}

func (q *question) createContainer(in *point.CreateContainerInput) *point.Verdict {
	possible := q.possible(in.ContainerID)
	started, _ := q.containerStarted(in.ContainerID)
	if started || len(in.Devices) > 0 {
		return nil
	}
	n := q.narrow(q.createInitial(in, possible), in.EnvList, &in.Capabilities, in.Privileged)
	allow, ok, _ := stdio(n.final)
	if len(n.final) == 0 || !ok {
		return nil
	}
	v := allowed(q.change(
		q.add(tableMatches, in.ContainerID, value{set: &candidates{members: n.final}}),
		q.add(tableStarted, in.ContainerID, value{flag: in.Privileged}),
	))
	v.Env, v.Capabilities, v.AllowStdio = slices.Clone(n.kept), q.keptLists(&in.Capabilities, n.caps), allow
	if v.Env == nil {
		v.Env = []string{}
	}
	return v
}

func (q *question) execInitial(in *point.ExecInContainerInput, possible *candidates) []*container {
	members := possible.members
	if possible.bucket != nil && len(members) >= bigBucket {
		members = q.summaryOf(possible).withExec(in.ArgList)
	}
	return filter(members, func(c *container) bool {
		return q.step() && c.workingDirOK(in.WorkingDir) && c.noNewPrivilegesOK(in.NoNewPrivileges) && c.execOK(in.ArgList) &&
			c.userOK(q, in.User, in.Groups, in.Umask)
	})
}

func (q *question) execInContainer(in *point.ExecInContainerInput) *point.Verdict {
	started, privileged := q.containerStarted(in.ContainerID)
	if !started {
		return nil
	}
	n := q.narrow(q.execInitial(in, q.possible(in.ContainerID)), in.EnvList, &in.Capabilities, privileged)
	if len(n.final) == 0 {
		return nil
	}
	v := allowed(q.change(q.add(tableMatches, in.ContainerID, value{set: &candidates{members: n.final}})))
	v.Env, v.Capabilities = slices.Clone(n.kept), q.keptLists(&in.Capabilities, n.caps)
	if v.Env == nil {
		v.Env = []string{}
	}
	return v
}

func (q *question) externalInitial(in *point.ExecExternalInput) []*external {
	var list []*external
	for _, p := range q.judge.externals {
		if q.step() && p.WorkingDir == in.WorkingDir && slices.Equal(p.Command, in.ArgList) {
			list = append(list, p)
		}
	}
	return list
}

// externalNarrow is the same as narrow for processes of the utility VM: kept environment and what is left.
func (q *question) externalNarrow(initial []*external, envs []string) (kept []string, final []*external) {
	rules := make([]*envRules, len(initial))
	for i, p := range initial {
		rules[i] = q.envOfExternal(p)
	}
	kept, ok := q.keptEnvs(rules, envs)
	if !ok {
		return nil, nil
	}
	for i, p := range initial {
		if q.envsOK(rules[i], kept) {
			final = append(final, p)
		}
	}
	return kept, final
}

func externalStdio(list []*external) (answer, ok bool) {
	for i, p := range list {
		if i > 0 && p.AllowStdioAccess != answer {
			return false, false
		}
		answer = p.AllowStdioAccess
	}
	return answer, len(list) > 0
}

func (q *question) execExternal(in *point.ExecExternalInput) *point.Verdict {
	kept, final := q.externalNarrow(q.externalInitial(in), in.EnvList)
	allow, ok := externalStdio(final)
	if !ok {
		return nil
	}
	return &point.Verdict{Allowed: true, Env: append(make([]string, 0, len(kept)), kept...), AllowStdio: allow}
}

func (q *question) signalFinal(in *point.SignalContainerProcessInput, possible *candidates) []*container {
	return filter(possible.members, func(c *container) bool { return q.step() && c.signalOK(in) })
}

func (q *question) signal(in point.SignalContainerProcessInput) *point.Verdict {
	if started, _ := q.containerStarted(in.ContainerID); !started {
		return nil
	}
	final := q.signalFinal(&in, q.possible(in.ContainerID))
	if len(final) == 0 {
		return nil
	}
	return allowed(q.change(q.add(tableMatches, in.ContainerID, value{set: &candidates{members: final}})))
}

func (q *question) shutdown(in point.ShutdownContainerInput) *point.Verdict {
	if started, _ := q.containerStarted(in.ContainerID); !started {
		return nil
	}
	return allowed(q.change(q.remove(tableMatches, in.ContainerID)))
}
