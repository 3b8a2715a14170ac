package cases

import (
	"slices"

	"github.com/cloister-cc/cloister/enforcer"
)

// policy is what a policy text is written from.
type policy struct {
	family        Family
	points        []enforcer.Point
	flags         []flag
	containers    []*container
	external      []*external
	platform      []*platformRule
	reason        string
	defaultMounts bool
	grouped       bool
}

type flag struct {
	name string
	set  bool
}

type container struct {
	name, id   string
	command    []string
	env        []word
	layers     []string
	mounts     []mountWord
	execs      []process
	signals    []int
	elevated   bool
	stdio, nnp bool
	workingDir string
	user       user
	caps       *enforcer.Capabilities
	seccomp    string
}

// process is an entry of exec_processes.
type process struct {
	command []string
	signals []int
}

type external struct {
	command    []string
	env        []word
	workingDir string
	stdio      bool
}

type platformRule struct {
	env    []word
	mounts []mountWord
}

type user struct {
	who    idname
	groups []idname
	umask  string
}

type idname struct{ pattern, strategy string }

type envRule struct {
	pattern, strategy string
	split             bool

	name, nameStrategy, value, valueStrategy string

	required bool
}

type mount struct {
	destination, source, kind string
	options                   []string
}

func newPolicy(s *source, opt Options) *policy {
	p := &policy{family: family(s, opt), grouped: opt.Grouped, defaultMounts: s.chance(30)}
	p.points = points(s, p.family.API)
	p.reason = pick(s, "", "errors", "errors", "full")
	for _, f := range []struct {
		name    string
		percent int
	}{
		{"allow_properties_access", 50},
		{"allow_dump_stacks", 50},
		{"allow_runtime_logging", 50},
		{"allow_unencrypted_scratch", 30},
		{"allow_environment_variable_dropping", 40},
		{"allow_capability_dropping", 40},
		{"allow_host_network", 50},
	} {
		if !s.chance(8) {
			p.flags = append(p.flags, flag{f.name, s.chance(f.percent)})
		}
	}
	for range 1 + s.IntN(6) {
		p.containers = append(p.containers, p.nextContainer(s))
	}
	for range s.IntN(3) {
		p.external = append(p.external, p.nextExternal(s))
	}
	if s.chance(50) && !before(p.family.Framework, "0.5.0") || s.chance(3) {
		for range 1 + s.IntN(2) {
			p.platform = append(p.platform, &platformRule{env: p.envRules(s, s.IntN(3)), mounts: p.mountRules(s, s.IntN(2))})
		}
	}
	return p
}

// set says whether a flag is true in the text.
func (p *policy) set(name string) bool {
	return slices.Contains(p.flags, flag{name, true})
}

// nextContainer is a near-twin of an earlier one, one with the same image, or an unrelated one.
func (p *policy) nextContainer(s *source) *container {
	c := p.freshContainer(s)
	if len(p.containers) == 0 {
		return c
	}
	other := pick(s, p.containers...)
	switch n := s.IntN(100); {
	case n < 60:
		twin := *other
		twin.name, twin.id = c.name, c.id
		p.twin(s, &twin, c)
		return &twin
	case n < 80:
		c.layers = other.layers
	case n < 90:
		c.layers = plus(other.layers[:1+s.IntN(len(other.layers))], s.id())
	}
	return c
}

func (p *policy) freshContainer(s *source) *container {
	c := &container{
		name: pick(s, "web", "db", "sidecar", "pause"), id: pick(s, "mcr.example/web:1", "mcr.example/db:2"),
		command: pick(s, commands...), env: p.envRules(s, 1+s.IntN(5)), mounts: p.mountRules(s, s.IntN(4)),
		elevated: s.chance(30), stdio: s.chance(70), nnp: s.chance(40), workingDir: pick(s, workingDirs...),
		user: p.nextUser(s), caps: nextCaps(s),
	}
	for range 1 + s.IntN(4) {
		c.layers = append(c.layers, s.id())
	}
	for range s.IntN(3) {
		c.execs = append(c.execs, nextProcess(s))
	}
	c.signals = nextSignals(s)
	if s.chance(40) {
		c.seccomp = s.id()
	}
	return c
}

// twin changes exactly one field of a copy. The new value is that of fresh, or next to the old one.
func (p *policy) twin(s *source, twin, fresh *container) {
	// Twins with as many capabilities, but not the same, are what dropping has to refuse to choose between.
	if c := twin.caps; p.set("allow_capability_dropping") && c != nil && len(c.Bounding) > 0 && s.chance(25) {
		changed := *c
		changed.Bounding = with(c.Bounding, s.IntN(len(c.Bounding)), p.otherCap(s, c.Bounding))
		twin.caps = &changed
		return
	}
	switch s.IntN(14) {
	case 0, 1:
		p.twinEnv(s, twin)
	case 2:
		twin.stdio = !twin.stdio
	case 3, 4:
		twin.caps = p.twinCaps(s, twin.caps)
	case 5:
		twin.seccomp = pick(s, s.id(), "")
	case 6:
		twin.user = p.twinUser(s, twin.user)
	case 7:
		if len(twin.execs) == 0 {
			twin.execs = []process{nextProcess(s)}
			return
		}
		i := s.IntN(len(twin.execs))
		e := twin.execs[i]
		if s.chance(50) {
			e.signals = nextSignals(s)
		} else {
			e.command = pick(s, execCommands...)
		}
		twin.execs = with(twin.execs, i, e)
	case 8:
		twin.signals = nextSignals(s)
	case 9:
		twin.mounts = p.twinMounts(s, twin.mounts)
	case 10:
		twin.workingDir = pick(s, workingDirs...)
	case 11:
		twin.nnp = !twin.nnp
	case 12:
		twin.elevated = !twin.elevated
	case 13:
		twin.command = fresh.command
	}
}

func (p *policy) twinEnv(s *source, twin *container) {
	if len(twin.env) == 0 || s.chance(30) {
		twin.env = plus(twin.env, p.envRules(s, 1)...)
		return
	}
	i := s.IntN(len(twin.env))
	switch s.IntN(3) {
	case 0:
		w := twin.env[i]
		w.rule.required = !w.rule.required
		twin.env = with(twin.env, i, w)
	case 1:
		twin.env = without(twin.env, i)
	case 2:
		twin.env = with(twin.env, i, p.envRules(s, 1)[0])
	}
}

func (p *policy) twinMounts(s *source, list []mountWord) []mountWord {
	if len(list) == 0 || s.chance(40) {
		return plus(list, p.mountRules(s, 1)...)
	}
	i := s.IntN(len(list))
	if s.chance(40) {
		return without(list, i)
	}
	m := list[i]
	if slices.Equal(m.constraint.options, shared) {
		m.constraint.options = private
	} else {
		m.constraint.options = shared
	}
	return with(list, i, m)
}

func (p *policy) twinUser(s *source, u user) user {
	switch s.IntN(3) {
	case 0:
		u.umask = pick(s, umasks...)
	case 1:
		u.who = p.nextIDName(s)
	case 2:
		u.groups = plus(u.groups, p.nextIDName(s))
	}
	return u
}

// envRules picks n different rules.
func (p *policy) envRules(s *source, n int) []word {
	list := groupedWords
	if !p.grouped && s.chance(25) {
		list = looseWords
	}
	if !before(p.family.Framework, "0.5.0") && s.chance(35) {
		list = splitWords
	}
	out := make([]word, 0, n)
	for _, i := range s.Perm(len(list))[:min(n, len(list))] {
		w := list[i]
		w.rule.required = s.chance(25)
		if w.rule.split && s.chance(10) {
			w.rule.pattern, w.rule.strategy = "BOTH=1", "string"
		}
		out = append(out, w)
	}
	return out
}

func (p *policy) mountRules(s *source, n int) []mountWord {
	list := mountWords
	if !p.grouped && s.chance(15) {
		list = plus(mountWords, looseMounts...)
	}
	var out []mountWord
	for _, i := range s.Perm(len(list))[:n] {
		out = append(out, list[i])
	}
	return out
}

func (p *policy) nextUser(s *source) user {
	u := user{who: p.nextIDName(s), umask: pick(s, umasks...)}
	for range 1 + s.IntN(2) {
		u.groups = append(u.groups, p.nextIDName(s))
	}
	return u
}

func (p *policy) nextIDName(s *source) idname {
	switch pick(s, "any", "any", "id", "name", "re2") {
	case "id":
		return idname{pick(s, ids...), "id"}
	case "name":
		return idname{pick(s, names...), "name"}
	case "re2":
		if !p.grouped && s.chance(30) {
			return idname{"root|app", "re2"}
		}
		return idname{pick(s, "app[0-9]*", "(root|app)", "[a-z]+", "^staff$"), "re2"}
	}
	return idname{"", "any"}
}

func nextProcess(s *source) process {
	return process{pick(s, execCommands...), nextSignals(s)}
}

func nextSignals(s *source) []int {
	return some(s, signalNumbers, 70)
}

func nextCaps(s *source) *enforcer.Capabilities {
	if s.chance(35) {
		return nil
	}
	list := some(s, capNames, 50)
	c := &enforcer.Capabilities{Bounding: list, Effective: some(s, list, 30), Inheritable: []string{}, Permitted: list, Ambient: []string{}}
	if s.chance(20) {
		c.Inheritable, c.Ambient = some(s, capNames, 70), some(s, capNames, 80)
	}
	return c
}

// twinCaps exchanges one capability, which leaves the size as it is, or changes the size by one.
func (p *policy) twinCaps(s *source, old *enforcer.Capabilities) *enforcer.Capabilities {
	if old == nil || s.chance(15) {
		return nextCaps(s)
	}
	c := *old
	set := pick(s, &c.Bounding, &c.Effective, &c.Permitted, &c.Ambient)
	*set = changeList(s, *set, []string{p.otherCap(s, *set)})
	return &c
}

// otherCap is a capability that is not in list yet; now and then one that is, where a judge may count instead of compare.
func (p *policy) otherCap(s *source, list []string) string {
	name := pick(s, capNames...)
	for i := 0; i < 9 && slices.Contains(list, name) && (p.grouped || !s.chance(5)); i++ {
		name = pick(s, capNames...)
	}
	if p.grouped && slices.Contains(list, name) {
		return "CAP_WAKE_ALARM"
	}
	return name
}

// changeList adds, removes or exchanges one entry.
func changeList(s *source, list, from []string) []string {
	if len(list) == 0 || s.chance(40) {
		return plus(list, pick(s, from...))
	}
	i := s.IntN(len(list))
	if s.chance(40) {
		return without(list, i)
	}
	return with(list, i, pick(s, from...))
}

func (p *policy) nextExternal(s *source) *external {
	if len(p.external) > 0 && s.chance(60) {
		twin := *pick(s, p.external...)
		switch s.IntN(3) {
		case 0:
			twin.stdio = !twin.stdio
		case 1:
			twin.env = p.envRules(s, 1)
		case 2:
			twin.workingDir = pick(s, workingDirs...)
		}
		return &twin
	}
	return &external{
		command: pick(s, execCommands...), env: p.envRules(s, 1+s.IntN(2)), workingDir: pick(s, workingDirs...), stdio: s.chance(50),
	}
}
