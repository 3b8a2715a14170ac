package cases

import (
	"slices"
	"strings"

	"github.com/cloister-cc/cloister/enforcer"
	"github.com/cloister-cc/cloister/enforcer/aci"
)

// The agent's own patterns of where things may be mounted.
const (
	layerPaths   = "/run/mounts/scsi/m[0-9]+"
	scratchPaths = "/run/gcs/c/[0-9a-fA-F]{64}"
	plan9Root    = "/run/gcs/c"
	plan9Paths   = "/mounts/m[0-9]+"
)

// create is a request that container c allows, as far as one field at a time tells; share has the mount targets of the
// container's plan9 shares.
func (w *walk) create(c *container, id string, share string) enforcer.CreateContainerInput {
	s := w.s
	in := enforcer.CreateContainerInput{
		ContainerID: id, ArgList: c.command, WorkingDir: c.workingDir,
		SandboxDir: plan9Root + "/" + w.sandbox + "/sandboxMounts", HugePagesDir: plan9Root + "/" + w.sandbox + "/hugepages",
		Privileged: c.elevated && s.chance(40), SeccompProfileSHA256: c.seccomp,
		Devices: []enforcer.Device{}, Mounts: []enforcer.Mount{},
	}
	if before(w.p.family.Framework, "0.2.3") {
		in.SeccompProfileSHA256 = ""
	}
	env, mounts := c.env, c.mounts
	if len(w.p.platform) > 0 {
		rule := pick(s, w.p.platform...)
		env, mounts = plus(env, rule.env...), plus(mounts, rule.mounts...)
	}
	in.EnvList = w.env(env)
	for _, m := range mounts {
		if s.chance(75) {
			in.Mounts = append(in.Mounts, resolve(s, m, in, share))
		}
	}
	if w.p.defaultMounts {
		in.Mounts = append(in.Mounts, some(s, aci.DefaultMounts(), 60)...)
		if in.Privileged && s.chance(50) {
			in.Mounts = append(in.Mounts, pick(s, aci.PrivilegedMounts()...))
		}
	}
	p := w.process(c, in.Privileged && c.elevated)
	in.NoNewPrivileges, in.User, in.Groups, in.Umask, in.Capabilities = p.NoNewPrivileges, p.User, p.Groups, p.Umask, p.Capabilities
	return in
}

// exec is a request to run one of the container's exec entries.
func (w *walk) exec(r *running) enforcer.ExecInContainerInput {
	in := w.process(r.container, r.privileged)
	in.ContainerID, in.ArgList, in.WorkingDir = r.id, []string{"/bin/none"}, r.container.workingDir
	in.EnvList = w.env(r.container.env)
	if len(r.container.execs) > 0 {
		in.ArgList = pick(w.s, r.container.execs...).command
	}
	return in
}

// process fills in what create and exec have in common: who runs, and with what rights.
func (w *walk) process(c *container, privileged bool) (in enforcer.ExecInContainerInput) {
	s, framework := w.s, w.p.family.Framework
	u, nnp, caps := c.user, c.nnp, c.caps
	if before(framework, "0.2.0") {
		nnp = false
	}
	if before(framework, "0.2.1") {
		u = user{who: idname{"", "any"}, groups: []idname{{"", "any"}}, umask: "0022"}
	}
	if before(framework, "0.2.2") {
		caps = nil
	}
	in.NoNewPrivileges = nnp || s.chance(30)
	in.User, in.Umask, in.Groups = who(s, u.who), u.umask, []enforcer.User{}
	for range s.IntN(3) {
		in.Groups = append(in.Groups, who(s, pick(s, u.groups...)))
	}
	switch {
	case caps != nil:
		in.Capabilities = enforcer.Capabilities{
			Bounding: shuffled(s, caps.Bounding), Effective: shuffled(s, caps.Effective), Inheritable: shuffled(s, caps.Inheritable),
			Permitted: shuffled(s, caps.Permitted), Ambient: shuffled(s, caps.Ambient),
		}
	case privileged:
		in.Capabilities = privilegedCaps(s)
	default:
		in.Capabilities = defaultCaps(aci.UnprivilegedCapabilities())
	}
	if w.p.set("allow_capability_dropping") && s.chance(50) {
		// What another container has besides, so that more than one may be meant.
		if other := pick(s, w.p.containers...).caps; other != nil && s.chance(60) {
			in.Capabilities = union(in.Capabilities, *other)
			return in
		}
		more := some(s, capNames, 60)
		in.Capabilities = union(in.Capabilities, pick(s,
			enforcer.Capabilities{Bounding: more}, enforcer.Capabilities{Effective: more}, enforcer.Capabilities{Ambient: more}))
	}
	return in
}

func union(a, b enforcer.Capabilities) enforcer.Capabilities {
	join := func(x, y []string) []string {
		out := plus(x, y...)
		slices.Sort(out)
		return slices.Compact(out)
	}
	return enforcer.Capabilities{
		Bounding: join(a.Bounding, b.Bounding), Effective: join(a.Effective, b.Effective), Inheritable: join(a.Inheritable, b.Inheritable),
		Permitted: join(a.Permitted, b.Permitted), Ambient: join(a.Ambient, b.Ambient),
	}
}

// privilegedCaps are a privileged container's defaults. Runtimes stopped to make them inheritable at some time.
func privilegedCaps(s *source) enforcer.Capabilities {
	caps := defaultCaps(aci.PrivilegedCapabilities())
	if s.chance(50) {
		caps.Inheritable = aci.PrivilegedCapabilities()
	}
	return caps
}

func defaultCaps(list []string) enforcer.Capabilities {
	return enforcer.Capabilities{Bounding: list, Effective: list, Inheritable: []string{}, Permitted: list, Ambient: []string{}}
}

// env is an environment that the rules allow, with strangers where they are dropped.
func (w *walk) env(rules []word) []string {
	s := w.s
	out := []string{}
	for _, r := range rules {
		if len(r.allow) > 0 && (r.rule.required || s.chance(60)) {
			out = append(out, pick(s, r.allow...))
		}
	}
	if w.p.set("allow_environment_variable_dropping") && s.chance(50) {
		out = append(out, w.someoneElses())
	}
	if s.chance(40) {
		out = shuffled(s, out)
	}
	return out
}

// someoneElses is a variable that another container's rules may know.
func (w *walk) someoneElses() string {
	rules := pick(w.s, w.p.containers...).env
	if len(rules) == 0 || w.s.chance(40) {
		return w.stranger()
	}
	r := pick(w.s, rules...)
	if len(r.allow) == 0 {
		return w.stranger()
	}
	return pick(w.s, r.allow...)
}

// stranger is a variable few rules know.
func (w *walk) stranger() string {
	env := pick(w.s, strangers...)
	if w.p.grouped {
		env = strings.ToValidUTF8(env, "?") // a judge behind JSON does not see the same bytes
	}
	return env
}

func resolve(s *source, m mountWord, in enforcer.CreateContainerInput, share string) enforcer.Mount {
	c := m.constraint
	out := enforcer.Mount{Destination: c.destination, Source: pick(s, m.allow...), Options: c.options, Type: c.kind}
	switch {
	case strings.HasPrefix(out.Source, "S"):
		out.Source = in.SandboxDir + out.Source[1:]
	case strings.HasPrefix(out.Source, "H"):
		out.Source = in.HugePagesDir + out.Source[1:]
	case out.Source == "P":
		out.Source = share
	}
	if s.chance(30) {
		out.Options = shuffled(s, out.Options)
	}
	return out
}

// who is a user or group that a constraint allows.
func who(s *source, want idname) enforcer.User {
	u := enforcer.User{ID: pick(s, ids...), Name: pick(s, names...)}
	switch want.strategy {
	case "id":
		u.ID = want.pattern
	case "name":
		u.Name = want.pattern
	case "re2":
		u.Name = map[string]string{"app[0-9]*": "app2", "(root|app)": "app", "[a-z]+": "staff", "^staff$": "staff", "root|app": "rootapp"}[want.pattern]
		if want.pattern == "root|app" && s.chance(80) {
			u.Name = pick(s, "root", "app")
		}
	}
	return u
}

// hasShare says whether a container mounts a plan9 share.
func hasShare(c *container) bool {
	return slices.ContainsFunc(c.mounts, func(m mountWord) bool { return m.constraint.source == "plan9://" })
}
