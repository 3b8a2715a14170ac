package entry

import (
	"github.com/open-policy-agent/opa/v1/ast"

	"github.com/cloister-cc/cloister/enforcer/aci"
)

// Container is one container definition (policy contract, section 3.2). Parts of different containers that are written
// the same are the same pointers: tools repeat rules, users and capabilities in every container, and memory and work follow the
// distinct ones. Different pointers may still be equal. Nobody may change an entry or what it points to. A list that is
// present is never nil, so that absent and empty can be told apart where there is no Present.
type Container struct {
	// Index is the position in the list the container was read from, from 0.
	Index int
	// Origin is the fragment that the list is from; nil is the policy's own text.
	Origin   *Origin
	ID, Name string
	// Command is nil with CommandNull when the policy says null: an image without a command, which nothing matches.
	Command     []string
	CommandNull bool
	EnvRules    []*EnvRule
	// Layers are root hashes, base first.
	Layers        []string
	Mounts        []*Mount
	ExecProcesses []*ExecProcess
	Signals       []int64
	User          *User
	// Capabilities is nil for null: the default sets, by privilege.
	Capabilities         *Capabilities
	SeccompProfileSHA256 string
	WorkingDir           string
	AllowElevated        bool
	AllowStdioAccess     bool
	NoNewPrivileges      bool
	// Present says which fields the text has. What is absent has its zero value above.
	Present Fields
}

// Origin is a loaded fragment.
type Origin struct {
	Issuer, Feed string
	SVN          string   // the text of the number or version that the policy compared
	Digest       [32]byte // SHA-256 of the fragment's text
}

// Fields is a set of container fields.
type Fields uint32

// The fields of a container definition.
const (
	FieldID Fields = 1 << iota
	FieldName
	FieldCommand
	FieldEnvRules
	FieldLayers
	FieldMounts
	FieldExecProcesses
	FieldSignals
	FieldUser
	FieldCapabilities
	FieldSeccomp
	FieldWorkingDir
	FieldAllowElevated
	FieldAllowStdioAccess
	FieldNoNewPrivileges
)

// EnvRule allows environment variables: by a pattern over the whole "K=V" (Whole), by name and value apart (Split), or both.
type EnvRule struct {
	Whole             bool
	Pattern, Strategy string

	Split                bool
	Name, NameStrategy   string
	Value, ValueStrategy string

	// Required is meaningful with HasRequired; an absent one means false.
	Required, HasRequired bool
}

// Mount constrains one mount of a container.
type Mount = aci.Mount

// ExecProcess is a command that may be executed in a container, with the signals it may get.
type ExecProcess struct {
	Command []string
	Signals []int64
}

// User constrains user, groups and umask of a process.
type User struct {
	UserIDName   IDName
	GroupIDNames []IDName
	Umask        string
}

// IDName is a constraint on a user or group: strategy any, id, name or re2 (of the name).
type IDName struct {
	Pattern, Strategy string
}

// Capabilities are the five sets a process may have, exactly.
type Capabilities struct {
	Bounding, Effective, Inheritable, Permitted, Ambient []string
}

// ExternalProcess is a process that may run in the utility VM itself.
type ExternalProcess struct {
	Command          []string
	EnvRules         []*EnvRule
	WorkingDir       string
	AllowStdioAccess bool
}

// Fragment is a fragment that may be loaded.
type Fragment struct {
	Issuer, Feed string
	// MinimumSVN is the text of the number (MinimumNumber) or string.
	MinimumSVN    string
	MinimumNumber bool
	Includes      []string
	// RequiredReceipts are ledgers, TTL:<subject> or *; nil when the entry does not have the key.
	RequiredReceipts []string
	// Parameterized is set when the entry has parameters: Parameters, a constant object.
	Parameterized bool
	Parameters    ast.Value
}

// PlatformRule adds environment rules and mounts to every container (framework 0.5.0). A list is nil when the rule does not
// have the key.
type PlatformRule struct {
	EnvRules []*EnvRule
	Mounts   []*Mount
}

// TrustList is a transparency trust list that may be loaded.
type TrustList struct {
	Issuer, Subject string
	MinimumSVN      int64
	AllowedLedgers  []string
}

// Data are the lists of one policy or fragment.
type Data struct {
	Containers        []*Container
	ExternalProcesses []*ExternalProcess
	Fragments         []*Fragment
	PlatformRules     []*PlatformRule
	TrustLists        []*TrustList
}

// Reason says what a policy answers when it is asked why.
type Reason int

// The forms of the reason rule that tools write.
const (
	ReasonNone   Reason = iota // no rule
	ReasonErrors               // {"errors": data.framework.errors}
	ReasonFull                 // data.framework.reason
)

// Flags are the policy's switches; an absent one is false.
type Flags struct {
	PropertiesAccess, DumpStacks, RuntimeLogging bool
	EnvironmentVariableDropping                  bool
	CapabilityDropping                           bool
	UnencryptedScratch                           bool
	HostNetwork                                  bool
	LogProviderDropping                          bool
}

// Policy is a plain policy: data, and rules that only delegate to the framework.
type Policy struct {
	// APIVersion and FrameworkVersion are as written, under either of their names; empty when absent.
	APIVersion, FrameworkVersion string
	Flags                        Flags
	Reason                       Reason
	// Delegated are the enforcement points that have a rule `X := data.framework.X`.
	Delegated map[string]bool
	Data      Data
	// Skeleton is the text with the lists that were read fast replaced by empty ones of the same kind; the fragments, trust lists
	// and platform rules are always in it as written.
	Skeleton string
}
