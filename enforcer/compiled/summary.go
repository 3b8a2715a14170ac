package compiled

import (
	"slices"

	"github.com/cloister-cc/cloister/enforcer/entry"
	"github.com/cloister-cc/cloister/enforcer/point"
)

// summary is what a refusal has to say about all candidates together: for each field, the distinct values any of them allows.
// It is made once for a bucket, when the first refusal needs it, and anew for a list that was narrowed, which is short.
type summary struct {
	members     []*container
	commands    map[uint64][][]string
	execs       map[uint64][]*container
	workingDirs map[string]struct{}
	seccomps    map[string]struct{}
	users       map[*entry.User]struct{}
	mounts      map[string][]*entry.Mount
	initSignals map[int64]struct{}
	env         envSummary
	// The booleans say whether any candidate has such a value.
	gainsPrivileges, noNewPrivileges bool
	elevated, ordinary               bool
}

// envSummary is the union of environment rules, found by what a variable begins with.
type envSummary struct {
	exact map[string]struct{}
	// prefixed are patterns by their literal prefix, whose distinct lengths are in lengths; open ones have none.
	prefixed map[string][]*pattern
	lengths  []int
	open     []*pattern
	split    []envRule
	seen     map[*pattern]struct{}
}

func (q *question) summaryOf(c *candidates) *summary {
	if c.bucket == nil {
		return q.summarise(c.members)
	}
	if c.bucket.summary == nil {
		c.bucket.summary = q.summarise(c.members)
	}
	return c.bucket.summary
}

func (q *question) summarise(members []*container) *summary {
	s := &summary{
		members: members, commands: map[uint64][][]string{}, execs: map[uint64][]*container{},
		workingDirs: map[string]struct{}{}, seccomps: map[string]struct{}{}, users: map[*entry.User]struct{}{},
		mounts: map[string][]*entry.Mount{}, initSignals: map[int64]struct{}{},
		env: envSummary{exact: map[string]struct{}{}, prefixed: map[string][]*pattern{}, seen: map[*pattern]struct{}{}},
	}
	rules, mounts := map[*entry.EnvRule]struct{}{}, map[*entry.Mount]struct{}{}
	for _, c := range members {
		s.addFields(c)
		for _, p := range c.ExecProcesses {
			h := hashOf(p.Command)
			if list := s.execs[h]; len(list) == 0 || list[len(list)-1] != c {
				s.execs[h] = append(list, c)
			}
		}
		for _, m := range c.Mounts {
			if _, dup := mounts[m]; !dup {
				mounts[m] = struct{}{}
				s.mounts[m.Destination] = append(s.mounts[m.Destination], m)
			}
		}
		for _, r := range c.EnvRules {
			if _, dup := rules[r]; !dup {
				rules[r] = struct{}{}
				s.env.add(q.judge.matchers.envRule(r))
			}
		}
	}
	return s
}

func (s *summary) addFields(c *container) {
	if c.has(entry.FieldCommand) && !c.CommandNull {
		h := hashOf(c.Command)
		if !slices.ContainsFunc(s.commands[h], func(o []string) bool { return slices.Equal(o, c.Command) }) {
			s.commands[h] = append(s.commands[h], c.Command)
		}
	}
	if c.has(entry.FieldWorkingDir) {
		s.workingDirs[c.WorkingDir] = struct{}{}
	}
	if c.has(entry.FieldSeccomp) {
		s.seccomps[c.SeccompProfileSHA256] = struct{}{}
	}
	if c.has(entry.FieldUser) {
		s.users[c.User] = struct{}{}
	}
	if c.has(entry.FieldNoNewPrivileges) {
		s.noNewPrivileges = true
		s.gainsPrivileges = s.gainsPrivileges || !c.NoNewPrivileges
	}
	if c.has(entry.FieldAllowElevated) {
		s.ordinary = true
		s.elevated = s.elevated || c.AllowElevated
	}
	for _, signal := range c.Signals {
		s.initSignals[signal] = struct{}{}
	}
}

func (e *envSummary) add(r envRule) {
	if r.split {
		e.split = append(e.split, r)
	}
	switch m := r.all; {
	case !r.whole:
	case m.exact:
		e.exact[m.text] = struct{}{}
	case m.re != nil:
		e.addPattern(m.re)
	}
}

func (e *envSummary) addPattern(p *pattern) {
	if _, dup := e.seen[p]; dup {
		return
	}
	e.seen[p] = struct{}{}
	if p.prefix == "" {
		e.open = append(e.open, p)
		return
	}
	list, known := e.prefixed[p.prefix]
	if !known && !slices.Contains(e.lengths, len(p.prefix)) {
		e.lengths = append(e.lengths, len(p.prefix))
	}
	e.prefixed[p.prefix] = append(list, p)
}

// known says whether any rule of any candidate allows a variable.
func (e *envSummary) known(q *question, env string) bool {
	if _, ok := e.exact[env]; ok {
		return true
	}
	for _, n := range e.lengths {
		if n > len(env) {
			continue
		}
		for _, p := range e.prefixed[env[:n]] {
			if q.work(len(env)) && p.matches(env) {
				return true
			}
		}
	}
	for _, p := range e.open {
		if q.work(len(env)) && p.matches(env) {
			return true
		}
	}
	for i := range e.split {
		if q.work(len(env)) && e.split[i].matches(env) {
			return true
		}
	}
	return false
}

func (s *summary) hasCommand(args []string) bool {
	return slices.ContainsFunc(s.commands[hashOf(args)], func(c []string) bool { return slices.Equal(c, args) })
}

// withExec are the members that can have an exec entry with the command, in their order.
func (s *summary) withExec(args []string) []*container { return s.execs[hashOf(args)] }

func (s *summary) hasExec(args []string) bool {
	return slices.ContainsFunc(s.withExec(args), func(c *container) bool { return c.execOK(args) })
}

func (s *summary) hasUser(q *question, user point.User, groups []point.User, umask string) bool {
	for rule := range s.users {
		if q.userOK(rule, user, groups, umask) {
			return true
		}
	}
	return false
}

func (s *summary) hasNoNewPrivileges(asked bool) bool {
	return s.gainsPrivileges || s.noNewPrivileges && asked
}

func (s *summary) hasPrivileged(asked bool) bool { return s.elevated || s.ordinary && !asked }

func (s *summary) hasMount(q *question, in *point.CreateContainerInput, m *point.Mount) bool {
	return len(s.members) > 0 && (q.mountKnown(in, m, s.elevated) || q.mountOK(in, m, s.mounts[m.Destination]))
}

// hasSignal says whether any candidate allows the signal.
func (s *summary) hasSignal(in *point.SignalContainerProcessInput) bool {
	if in.IsInitProcess {
		_, ok := s.initSignals[int64(in.Signal)]
		return ok
	}
	return slices.ContainsFunc(s.withExec(in.ArgList), func(c *container) bool { return c.signalOK(in) })
}
