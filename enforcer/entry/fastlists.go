package entry

// What the fast reader reads: containers and external processes. The other lists of a policy have a few entries and are read
// from the syntax tree.

func (r *reader) stringList() ([]string, bool) {
	return interned(r, &r.lists, func(r *reader) ([]string, bool) { return array(r, (*reader).string) })
}

func (r *reader) signalList() ([]int64, bool) {
	return interned(r, &r.signals, func(r *reader) ([]int64, bool) { return array(r, (*reader).int) })
}

func (r *reader) envRuleList() ([]*EnvRule, bool) {
	return array(r, func(r *reader) (*EnvRule, bool) { return interned(r, &r.envRules, (*reader).envRule) })
}

func (r *reader) mountList() ([]*Mount, bool) {
	return array(r, func(r *reader) (*Mount, bool) { return interned(r, &r.mounts, (*reader).mount) })
}

func (r *reader) processList() ([]*ExecProcess, bool) {
	return array(r, func(r *reader) (*ExecProcess, bool) { return interned(r, &r.processes, (*reader).execProcess) })
}

// containerList reads the list of containers at pos.
func (r *reader) containerList() ([]*Container, bool) {
	list, ok := array(r, (*reader).container)
	for i, c := range list {
		c.Index = i
	}
	return list, ok
}

func (r *reader) container() (*Container, bool) {
	c := &Container{}
	ok := r.object(func(key []byte) (ok bool) {
		field, known := containerField(string(key))
		return known && once(&c.Present, field) && r.containerMember(c, field)
	})
	return c, ok
}

func (r *reader) containerMember(c *Container, field Fields) (ok bool) {
	switch field {
	case FieldID:
		c.ID, ok = r.string()
	case FieldName:
		c.Name, ok = r.string()
	case FieldCommand:
		if r.word("null") {
			c.CommandNull = true
			return true
		}
		c.Command, ok = r.stringList()
	case FieldEnvRules:
		c.EnvRules, ok = r.envRuleList()
	case FieldLayers:
		c.Layers, ok = r.stringList()
	case FieldMounts:
		c.Mounts, ok = r.mountList()
	case FieldExecProcesses:
		c.ExecProcesses, ok = r.processList()
	case FieldSignals:
		c.Signals, ok = r.signalList()
	case FieldUser:
		c.User, ok = interned(r, &r.users, (*reader).user)
	case FieldCapabilities:
		if r.word("null") {
			return true
		}
		c.Capabilities, ok = interned(r, &r.capabilities, (*reader).capabilitySets)
	case FieldSeccomp:
		c.SeccompProfileSHA256, ok = r.string()
	case FieldWorkingDir:
		c.WorkingDir, ok = r.string()
	case FieldAllowElevated:
		c.AllowElevated, ok = r.bool()
	case FieldAllowStdioAccess:
		c.AllowStdioAccess, ok = r.bool()
	case FieldNoNewPrivileges:
		c.NoNewPrivileges, ok = r.bool()
	}
	return ok
}

func (r *reader) envRule() (*EnvRule, bool) {
	e := &EnvRule{}
	var seen envFields
	ok := r.object(func(key []byte) (ok bool) {
		field, known := envField(string(key))
		if !known || !once(&seen, field) {
			return false
		}
		if field == envRequired {
			e.HasRequired = true
			e.Required, ok = r.bool()
			return ok
		}
		*e.member(field), ok = r.string()
		return ok
	})
	return e, ok && e.complete(seen)
}

func (r *reader) mount() (*Mount, bool) {
	m := &Mount{}
	const destination, source, options, kind, all = 1, 2, 4, 8, 15
	var seen uint32
	ok := r.object(func(key []byte) (ok bool) {
		switch string(key) {
		case "destination":
			m.Destination, ok = r.string()
			return ok && once(&seen, destination)
		case "source":
			m.Source, ok = r.string()
			return ok && once(&seen, source)
		case "options":
			m.Options, ok = r.stringList()
			return ok && once(&seen, options)
		case "type":
			m.Type, ok = r.string()
			return ok && once(&seen, kind)
		}
		return false
	})
	return m, ok && seen == all
}

func (r *reader) execProcess() (*ExecProcess, bool) {
	p := &ExecProcess{}
	const command, signals, all = 1, 2, 3
	var seen uint32
	ok := r.object(func(key []byte) (ok bool) {
		switch string(key) {
		case "command":
			p.Command, ok = r.stringList()
			return ok && once(&seen, command)
		case "signals":
			p.Signals, ok = r.signalList()
			return ok && once(&seen, signals)
		}
		return false
	})
	return p, ok && seen == all
}

func (r *reader) user() (*User, bool) {
	u := &User{}
	const user, groups, umask, all = 1, 2, 4, 7
	var seen uint32
	ok := r.object(func(key []byte) (ok bool) {
		switch string(key) {
		case "user_idname":
			u.UserIDName, ok = r.idName()
			return ok && once(&seen, user)
		case "group_idnames":
			u.GroupIDNames, ok = array(r, (*reader).idName)
			return ok && once(&seen, groups)
		case "umask":
			u.Umask, ok = r.string()
			return ok && once(&seen, umask)
		}
		return false
	})
	return u, ok && seen == all
}

func (r *reader) idName() (n IDName, ok bool) {
	const pattern, strategy, all = 1, 2, 3
	var seen uint32
	ok = r.object(func(key []byte) (ok bool) {
		switch string(key) {
		case "pattern":
			n.Pattern, ok = r.string()
			return ok && once(&seen, pattern)
		case "strategy":
			n.Strategy, ok = r.string()
			return ok && once(&seen, strategy)
		}
		return false
	})
	return n, ok && seen == all
}

func (r *reader) capabilitySets() (*Capabilities, bool) {
	c := &Capabilities{}
	var seen uint32
	ok := r.object(func(key []byte) (ok bool) {
		set, bit := c.set(string(key))
		if set == nil || !once(&seen, bit) {
			return false
		}
		*set, ok = r.stringList()
		return ok
	})
	return c, ok && seen == allSets
}

// externalList reads the list of external processes at pos.
func (r *reader) externalList() ([]*ExternalProcess, bool) { return array(r, (*reader).external) }

func (r *reader) external() (*ExternalProcess, bool) {
	p := &ExternalProcess{}
	const command, envRules, workingDir, stdio, all = 1, 2, 4, 8, 15
	var seen uint32
	ok := r.object(func(key []byte) (ok bool) {
		switch string(key) {
		case "command":
			p.Command, ok = r.stringList()
			return ok && once(&seen, command)
		case "env_rules":
			p.EnvRules, ok = r.envRuleList()
			return ok && once(&seen, envRules)
		case "working_dir":
			p.WorkingDir, ok = r.string()
			return ok && once(&seen, workingDir)
		case "allow_stdio_access":
			p.AllowStdioAccess, ok = r.bool()
			return ok && once(&seen, stdio)
		}
		return false
	})
	return p, ok && seen == all
}
