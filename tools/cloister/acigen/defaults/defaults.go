package defaults

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// Defaults is what the platform adds to each container, whatever its document says.
type Defaults struct {
	Name    string `json:"name"`
	Version int    `json:"version"` // of this file
	About   string `json:"about"`

	ACI         Additions `json:"aci"`
	VirtualNode Additions `json:"virtual_node"`
	// WorkloadIdentity is added to the containers of a virtual node's pod that has the label.
	WorkloadIdentity LabelledAdditions `json:"workload_identity"`

	Capabilities CapabilityDefaults `json:"capabilities"`
	// SidecarImages are names of the platform's own images, without tag or digest: their containers get nothing added.
	SidecarImages []string `json:"sidecar_images"`
	// Debug are the commands that debug mode allows in every container.
	Debug []Process `json:"debug_exec_processes"`
	// Pause is appended to every policy, unless all containers are the platform's own.
	Pause *Container `json:"pause_container"`
	// Infrastructure is the first fragment of every policy. Without a minimum_svn it has the level's.
	Infrastructure *Fragment `json:"infrastructure_fragment"`
}

// Additions are rules for every container of a platform.
type Additions struct {
	Env              []EnvRule `json:"env_rules"`
	Mounts           []Mount   `json:"mounts"`
	PrivilegedMounts []Mount   `json:"privileged_mounts"` // for privileged containers besides
}

// LabelledAdditions are rules for the containers of a pod with a label.
type LabelledAdditions struct {
	Label string `json:"label"`
	Value string `json:"value"`
	Additions
}

// CapabilityDefaults are the names a container has before its document adds and drops.
type CapabilityDefaults struct {
	Unprivileged []string `json:"unprivileged"` // bounding, effective, permitted
	Privileged   []string `json:"privileged"`   // those and inheritable
}

// Sidecar says whether an image is one of the platform's own.
func (d *Defaults) Sidecar(reference string) bool {
	name, _, _ := strings.Cut(reference, "@")
	if i := strings.LastIndexByte(name, ':'); i > strings.LastIndexByte(name, '/') {
		name = name[:i]
	}
	return slices.Contains(d.SidecarImages, name)
}

// EnvName is the variable that a rule is about, as its pattern spells it.
func (r EnvRule) EnvName() string {
	name, _, _ := strings.Cut(r.Pattern, "=")
	return name
}

// check refuses what an agent would not understand, and what is most likely a slip of the pen.
func (d *Defaults) check() error {
	if d.Name == "" || d.Version < 1 {
		return errors.New("name or version is missing")
	}
	for name, a := range map[string]Additions{
		"aci": d.ACI, "virtual_node": d.VirtualNode, "workload_identity": d.WorkloadIdentity.Additions,
	} {
		if err := a.check(); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	if len(d.Capabilities.Unprivileged) == 0 || len(d.Capabilities.Privileged) == 0 {
		return errors.New("capabilities: unprivileged or privileged is missing")
	}
	if d.Pause != nil {
		if err := d.Pause.Check(); err != nil {
			return fmt.Errorf("pause_container: %w", err)
		}
	}
	if d.Infrastructure != nil && (d.Infrastructure.Feed == "" || d.Infrastructure.Issuer == "" || len(d.Infrastructure.Includes) == 0) {
		return errors.New("infrastructure_fragment: feed, issuer or includes is missing")
	}
	return nil
}

func (a Additions) check() error {
	for i, r := range a.Env {
		if err := r.Check(); err != nil {
			return fmt.Errorf("env_rules[%d]: %w", i, err)
		}
	}
	for i, m := range slices.Concat(a.Mounts, a.PrivilegedMounts) {
		if m.Destination == "" || m.Source == "" || m.Type == "" {
			return fmt.Errorf("mount %d: destination, source or type is missing", i)
		}
	}
	return nil
}

// Check refuses a rule that no variable can match.
func (r EnvRule) Check() error {
	switch r.Strategy {
	case "string":
		if !strings.Contains(r.Pattern, "=") {
			return errors.New("pattern has no \"=\"")
		}
	case "re2":
		if _, err := regexp.Compile(r.Pattern); err != nil {
			return fmt.Errorf("pattern is not RE2: %w", err)
		}
	default:
		return fmt.Errorf("strategy is %.40q, want \"string\" or \"re2\"", r.Strategy)
	}
	return nil
}

var rootHash = regexp.MustCompile(`^[0-9a-f]{64}$`)

// Check refuses an entry that no agent could match with a request, whatever the request.
func (c *Container) Check() error {
	for i, r := range c.EnvRules {
		if err := r.Check(); err != nil {
			return fmt.Errorf("env_rules[%d]: %w", i, err)
		}
	}
	if len(c.Layers) == 0 {
		return errors.New("layers is empty")
	}
	for i, l := range c.Layers {
		if !rootHash.MatchString(l) {
			return fmt.Errorf("layers[%d] is %.80q, want 64 lower-case hex digits", i, l)
		}
	}
	for i, p := range c.ExecProcesses {
		if len(p.Command) == 0 {
			return fmt.Errorf("exec_processes[%d]: command is empty", i)
		}
	}
	for i, s := range c.Signals {
		if s < 1 || s > 64 {
			return fmt.Errorf("signals[%d] is %d, want 1 to 64", i, s)
		}
	}
	strategies := []string{"id", "name", "re2", "any"}
	for _, u := range append([]IDName{c.User.User}, c.User.Groups...) {
		if !slices.Contains(strategies, u.Strategy) {
			return fmt.Errorf("user: strategy is %.40q, want one of %s", u.Strategy, strings.Join(strategies, ", "))
		}
	}
	return nil
}
