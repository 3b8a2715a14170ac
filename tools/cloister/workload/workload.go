package workload

import "fmt"

// Platform is where a group of containers will run; it decides which defaults a policy adds.
type Platform string

// The platforms a document can be written for.
const (
	ACI         Platform = "aci"          // container groups and their profiles
	VirtualNode Platform = "virtual-node" // Kubernetes documents that ACI's virtual nodes run
)

// Origin is the place in a document that a value comes from.
type Origin struct {
	File string `json:"file,omitempty"`
	Path string `json:"path"`           // resources[0].properties.containers[1].properties.command
	Line int    `json:"line,omitempty"` // 1 is the first; 0 is not known
}

func (o Origin) String() string {
	if o.Line == 0 {
		return fmt.Sprintf("%s: %s", o.File, o.Path)
	}
	return fmt.Sprintf("%s:%d: %s", o.File, o.Line, o.Path)
}

// Text is a string that the document gives in full, or, where a part is known at deployment time only, the pattern it leaves.
type Text struct {
	Value string
	// Wildcard says that Value is an RE2 pattern because a parameter without a value, or a function of one, stands in it. A
	// generator lists each and asks before it writes one into a policy.
	Wildcard bool
	Secret   bool `json:",omitempty"` // a part of it must not be shown
	Origin   Origin
}

// Group is what one policy is about: the containers that start together in one VM.
type Group struct {
	Name       string
	Platform   Platform
	Containers []Container // in the order of the document, those that run before the others after them (as the peers' tools do)
	Fragments  []Fragment  // that the document itself asks for
	Labels     map[string]string
	// Existing is the policy that the document carries now, as it stands there (base64), nil when there is none.
	Existing *Text
	Origin   Origin
}

// Container is one container as its document describes it, before its image is looked at. A nil field was not said.
type Container struct {
	ID     string // the image as the document writes it, unless the document gives an id of its own
	Name   string
	Image  Text
	Init   bool
	Origin Origin

	// Command replaces the image's entry point and arguments as a whole (ACI). Entrypoint and Args replace one each, by
	// Kubernetes' rules (virtual nodes). Both forms in one container do not occur.
	Command    []Text
	Entrypoint []Text
	Args       []Text

	Env        []Env
	Mounts     []Mount
	Exec       []Exec
	Signals    []int
	WorkingDir *Text
	Layers     []string // root hashes, base first, where the document itself names them

	Security   Security
	AllowStdio *bool
	// NoDefaults is a sidecar of the platform: no default rules are added.
	NoDefaults bool
}

// Env is one variable.
type Env struct {
	Name     string
	Value    Text
	Strategy string // "string" or "re2"; "" is string, or re2 where Value is a wildcard
	Required bool
	Secret   bool // must not be shown
	Origin   Origin
}

// Mount is one entry as the policy contract, section 3.3, has it.
type Mount struct {
	Destination string
	Source      string // a pattern, as policies carry it
	Type        string // "bind"
	Options     []string
	Origin      Origin
}

// Exec is a command that may be started inside.
type Exec struct {
	Command []string
	Signals []int
	Secret  bool `json:",omitempty"` // a part of the command must not be shown
	Origin  Origin
}

// Security is the security context; a nil field was not said.
type Security struct {
	Privileged               *bool
	AllowPrivilegeEscalation *bool
	AddCapabilities          []string // as the document spells them
	DropCapabilities         []string
	RunAsUser                *int64
	RunAsGroup               *int64
	SeccompProfile           []byte // the profile's JSON; nil is none
	Origin                   Origin
}

// Fragment is a reference to a signed addition to the policy.
type Fragment struct {
	Feed       string   `json:"feed"`
	Includes   []string `json:"includes"`
	Issuer     string   `json:"issuer"`
	MinimumSVN string   `json:"minimum_svn"`
	Path       string   `json:"-"` // a local file with the fragment itself, where the document names one
}
