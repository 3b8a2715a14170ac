package entry

// The keys of the entries, spelt as the policy contract does, for both readers and for the way back.

var containerKeys = []struct {
	key   string
	field Fields
	// since is the framework version that introduced the field; empty for what the framework ignores.
	since string
}{
	{"command", FieldCommand, "0.1.0"},
	{"env_rules", FieldEnvRules, "0.1.0"},
	{"layers", FieldLayers, "0.1.0"},
	{"mounts", FieldMounts, "0.1.0"},
	{"exec_processes", FieldExecProcesses, "0.1.0"},
	{"signals", FieldSignals, "0.1.0"},
	{"allow_elevated", FieldAllowElevated, "0.1.0"},
	{"working_dir", FieldWorkingDir, "0.1.0"},
	{"allow_stdio_access", FieldAllowStdioAccess, "0.1.0"},
	{"no_new_privileges", FieldNoNewPrivileges, "0.2.0"},
	{"user", FieldUser, "0.2.1"},
	{"capabilities", FieldCapabilities, "0.2.2"},
	{"seccomp_profile_sha256", FieldSeccomp, "0.2.3"},
	{"id", FieldID, ""},
	{"name", FieldName, ""},
}

func containerField(key string) (Fields, bool) {
	// A switch would be a second list of the same names; fifteen comparisons, most by length alone, are fast enough.
	for i := range containerKeys {
		if containerKeys[i].key == key {
			return containerKeys[i].field, true
		}
	}
	return 0, false
}

// envFields is a set of keys of an environment rule.
type envFields uint32

const (
	envPattern envFields = 1 << iota
	envStrategy
	envName
	envNameStrategy
	envValue
	envValueStrategy
	envRequired
)

const (
	envWhole = envPattern | envStrategy
	envSplit = envName | envNameStrategy | envValue | envValueStrategy
)

func envField(key string) (envFields, bool) {
	switch key {
	case "pattern":
		return envPattern, true
	case "strategy":
		return envStrategy, true
	case "name":
		return envName, true
	case "name_strategy":
		return envNameStrategy, true
	case "value":
		return envValue, true
	case "value_strategy":
		return envValueStrategy, true
	case "required":
		return envRequired, true
	}
	return 0, false
}

// member is where a key other than required has its value.
func (e *EnvRule) member(field envFields) *string {
	switch field {
	case envPattern:
		return &e.Pattern
	case envStrategy:
		return &e.Strategy
	case envName:
		return &e.Name
	case envNameStrategy:
		return &e.NameStrategy
	case envValue:
		return &e.Value
	}
	return &e.ValueStrategy
}

// complete answers false for half a constraint: which half was there could not be told from the rule.
func (e *EnvRule) complete(seen envFields) bool {
	e.Whole, e.Split = seen&envWhole == envWhole, seen&envSplit == envSplit
	return (e.Whole || seen&envWhole == 0) && (e.Split || seen&envSplit == 0)
}

const allSets = 1<<5 - 1

// set is the capability set of a key, with a bit of its own, or nil.
func (c *Capabilities) set(key string) (set *[]string, bit uint32) {
	switch key {
	case "bounding":
		return &c.Bounding, 1
	case "effective":
		return &c.Effective, 2
	case "inheritable":
		return &c.Inheritable, 4
	case "permitted":
		return &c.Permitted, 8
	case "ambient":
		return &c.Ambient, 16
	}
	return nil, 0
}
