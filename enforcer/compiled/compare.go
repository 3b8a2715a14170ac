package compiled

import (
	"github.com/cloister-cc/cloister/enforcer/entry"
	"github.com/cloister-cc/cloister/enforcer/point"
)

// maxCompared bounds how many containers are handed out to be compared with a refused request.
const maxCompared = 256

// Comparison is what a refused request was held against.
type Comparison struct {
	Containers []*entry.Container
	// The policy's flags.
	DropEnvironment, DropCapabilities bool
	// DefaultMounts and PrivilegedMounts are accepted without being named in the policy.
	DefaultMounts, PrivilegedMounts []point.Mount
	// Privileged says how the container was created.
	Privileged bool
}

// Comparison returns the containers that the request's container id can still be, at most 256. It is empty at a point that
// compares none.
func (j *Judge) Comparison(in point.Input) Comparison {
	id, ok := point.ContainerOf(in)
	if !ok {
		return Comparison{}
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	c := Comparison{
		DropEnvironment: j.flags.EnvironmentVariableDropping, DropCapabilities: j.flags.CapabilityDropping,
		DefaultMounts: j.opts.DefaultMounts, PrivilegedMounts: j.opts.PrivilegedMounts,
		Privileged: j.state.at(tableStarted, id).value.flag,
	}
	if matches := j.state.at(tableMatches, id); matches.present {
		for _, m := range matches.value.set.members[:min(len(matches.value.set.members), maxCompared)] {
			c.Containers = append(c.Containers, m.Container)
		}
	}
	return c
}
