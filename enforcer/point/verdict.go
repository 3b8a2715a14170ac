package point

import "fmt"

// Verdict is what a judge says of one input. Nothing has changed yet: Pending makes the state change.
type Verdict struct {
	Allowed bool
	// Env is what remains of the request's environment, in the request's order, duplicates included.
	Env []string
	// Capabilities is what remains of the request's capabilities; nil at points that have none.
	Capabilities *Capabilities
	AllowStdio   bool
	// Ledgers are those of a transparency trust list that may be trusted.
	Ledgers []string
	// SVN is the security version of a fragment, as the text of a number or version.
	SVN string
	// Pending is nil when an allowed verdict changes nothing.
	Pending Pending
	// Refusal is set when the verdict is not allowed.
	Refusal *Refusal
}

// Pending is the state change of an allowed verdict.
type Pending interface {
	// Commit makes the change. It fails, and changes nothing, when the state the verdict rests on is no longer the present one.
	// undo takes exactly this change back; it fails when something else changed what it touched.
	Commit() (undo func() error, err error)
}

// Refusal says why.
type Refusal struct {
	// Reasons are the policy's own words, sorted.
	Reasons []string
	// Text stands in for reasons that no rule gave.
	Text string
	// PolicyError is the engine's error while it looked for reasons.
	PolicyError string
	// ByDefault is set when the policy has no rule for the point and its version's default refused.
	ByDefault bool
	// Container is the policy's name for the container, when only one could be meant.
	Container string
	// Document is the policy's whole answer to why, as encoding/json's generic types; nil when there is none. It is called when
	// someone asks, because it may be large.
	Document func() any
}

// TextNoReason stands in for the reason of a policy that gives none (policy contract, section 2.5).
const TextNoReason = "Security policy is either not valid or did not provide a reason for denial. "

// What a rule that is missing from the policy leads to.
const (
	noVersionReason = "policy does not define api_version"
	missingReason   = "rule for %s is missing from policy"
)

// Missing says what becomes of a point that the policy has no rule for: a refusal with a reason, or the default of the policy's
// time (policy contract, section 2.1). strict refuses what only an old version's default would allow.
func (r *Row) Missing(api Version, strict bool) (reason string, use Fallback) {
	since, _ := ParseVersion(r.Since)
	if !api.Less(since) || strict {
		return fmt.Sprintf(missingReason, r.Point), FallbackDeny
	}
	return "", r.Default
}

// Before is the refusal of a point before any rule is asked, or "".
func (r *Row) Before(apiVersion string) string {
	switch {
	case r.Unsupported != "":
		return r.Unsupported
	case apiVersion == "":
		return noVersionReason
	}
	return ""
}

// DefaultVerdict is the verdict where the policy is older than the point and has no rule for it.
func (r *Row) DefaultVerdict(in Input) *Verdict {
	if r.Default != FallbackAllow {
		return &Verdict{Refusal: &Refusal{ByDefault: true}}
	}
	v := &Verdict{Allowed: true}
	if r.Outputs.Env {
		v.Env = append(make([]string, 0, len(EnvOf(in))), EnvOf(in)...)
	}
	if r.Outputs.Caps {
		v.Capabilities = CapabilitiesOf(in).Clone()
	}
	return v
}

// EnvOf is the environment an input asks for.
func EnvOf(in Input) []string {
	switch in := in.(type) {
	case CreateContainerInput:
		return in.EnvList
	case ExecInContainerInput:
		return in.EnvList
	case ExecExternalInput:
		return in.EnvList
	}
	return nil
}

// CapabilitiesOf are the capabilities an input asks for.
func CapabilitiesOf(in Input) Capabilities {
	switch in := in.(type) {
	case CreateContainerInput:
		return in.Capabilities
	case ExecInContainerInput:
		return in.Capabilities
	}
	return Capabilities{}
}

// Clone copies the sets; a nil set becomes an empty one.
func (c Capabilities) Clone() *Capabilities {
	list := func(set []string) []string { return append(make([]string, 0, len(set)), set...) }
	return &Capabilities{
		Bounding: list(c.Bounding), Effective: list(c.Effective), Inheritable: list(c.Inheritable),
		Permitted: list(c.Permitted), Ambient: list(c.Ambient),
	}
}

// ContainerOf is the container id an input of a process or container point names.
func ContainerOf(in Input) (id string, ok bool) {
	switch in := in.(type) {
	case CreateContainerInput:
		return in.ContainerID, true
	case ExecInContainerInput:
		return in.ContainerID, true
	case SignalContainerProcessInput:
		return in.ContainerID, true
	case ShutdownContainerInput:
		return in.ContainerID, true
	}
	return "", false
}
