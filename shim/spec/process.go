package spec

import (
	"slices"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/cloister-cc/cloister/agent/api"
)

// maxOOMScore is the kernel's; what is below 0 would put the workload before the guest's own processes, and the agent refuses it.
const maxOOMScore = 1000

// Process is a process of a container or an exec, as the agent takes it.
func Process(p *specs.Process) (*api.Process, error) {
	switch {
	case p == nil:
		return nil, refuse("Process", "is missing")
	case p.CommandLine != "":
		return nil, refuse("Process.CommandLine", "is for Windows")
	case len(p.Args) == 0:
		return nil, refuse("Process.Args", "is empty")
	}
	out := &api.Process{
		Terminal: p.Terminal, Args: slices.Clone(p.Args), Env: slices.Clone(p.Env), Cwd: p.Cwd, NoNewPrivileges: p.NoNewPrivileges,
		User: &api.User{UID: p.User.UID, GID: p.User.GID, AdditionalGids: slices.Clone(p.User.AdditionalGids), Username: p.User.Username},
	}
	if b := p.ConsoleSize; b != nil {
		out.ConsoleSize = &api.Box{Height: uint32(min(b.Height, 65535)), Width: uint32(min(b.Width, 65535))}
	}
	if c := p.Capabilities; c != nil {
		out.Capabilities = &api.LinuxCapabilities{
			Bounding: slices.Clone(c.Bounding), Effective: slices.Clone(c.Effective), Inheritable: slices.Clone(c.Inheritable),
			Permitted: slices.Clone(c.Permitted), Ambient: slices.Clone(c.Ambient),
		}
	}
	for _, l := range p.Rlimits {
		out.Rlimits = append(out.Rlimits, &api.POSIXRlimit{Type: l.Type, Hard: l.Hard, Soft: l.Soft})
	}
	if p.OOMScoreAdj != nil {
		out.OOMScoreAdj = int64(min(max(*p.OOMScoreAdj, 0), maxOOMScore))
	}
	return out, nil
}
