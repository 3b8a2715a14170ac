package defaults

// Container is one entry of a policy's list of containers, as the policy contract has it (section 3.2), its members in the
// order of their names. The pause container of a file of defaults has this form, too.
type Container struct {
	AllowElevated    bool          `json:"allow_elevated"`
	AllowStdioAccess bool          `json:"allow_stdio_access"`
	Capabilities     *Capabilities `json:"capabilities"`
	Command          []string      `json:"command"` // nil is written as null: no command matches it
	EnvRules         []EnvRule     `json:"env_rules"`
	ExecProcesses    []Process     `json:"exec_processes"`
	ID               string        `json:"id,omitempty"`
	Layers           []string      `json:"layers"` // root hashes, base first
	Mounts           []Mount       `json:"mounts"`
	Name             string        `json:"name,omitempty"`
	NoNewPrivileges  bool          `json:"no_new_privileges"`
	SeccompSHA256    string        `json:"seccomp_profile_sha256"`
	Signals          []int         `json:"signals"`
	User             User          `json:"user"`
	WorkingDir       string        `json:"working_dir"`
}

// Capabilities are a container's five sets.
type Capabilities struct {
	Ambient     []string `json:"ambient"`
	Bounding    []string `json:"bounding"`
	Effective   []string `json:"effective"`
	Inheritable []string `json:"inheritable"`
	Permitted   []string `json:"permitted"`
}

// EnvRule allows one variable or, with strategy re2, those that match.
type EnvRule struct {
	Pattern  string `json:"pattern"` // of NAME=VALUE
	Required bool   `json:"required"`
	Strategy string `json:"strategy"` // "string" or "re2"
}

// Process is a command that may be executed in a running container, and the signals it may get.
type Process struct {
	Command []string `json:"command"`
	Signals []int    `json:"signals"`
}

// Mount is one mount that a container may have.
type Mount struct {
	Destination string   `json:"destination"`
	Options     []string `json:"options"`
	Source      string   `json:"source"`
	Type        string   `json:"type"`
}

// User is whom a container runs as.
type User struct {
	Groups []IDName `json:"group_idnames"`
	Umask  string   `json:"umask"`
	User   IDName   `json:"user_idname"`
}

// IDName is a user or a group: by id, by name, by pattern of the name, or any.
type IDName struct {
	Pattern  string `json:"pattern"`
	Strategy string `json:"strategy"` // "id", "name", "re2" or "any"
}

// Fragment is a reference to a signed addition to a policy.
type Fragment struct {
	Feed       string   `json:"feed"`
	Includes   []string `json:"includes"`
	Issuer     string   `json:"issuer"`
	MinimumSVN string   `json:"minimum_svn"`
}
