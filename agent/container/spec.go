package container

import (
	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// Namespaces are the pod's own, as paths of bind-mounted namespace files; the other namespaces are new for each container.
type Namespaces struct {
	IPC, UTS string
}

// Plan is everything a container is started with: the request as the decision left it, and the agent's own parts.
type Plan struct {
	Request      *Request
	Env          []string     // as the decision left it
	Capabilities Capabilities // as the decision left them
	Umask        uint32

	Rootfs      string        // the agent's own path
	Mounts      []specs.Mount // in order, sources resolved by the agent
	Namespaces  Namespaces
	CgroupsPath string
	Hostname    string
	Devices     []specs.LinuxDevice // the agent's own grants, e.g. /dev/sev-guest
}

// Spec is the runtime specification that crun gets. It is built from nothing: a field not written here does not exist
// (policy contract section 0, point 3).
func (p *Plan) Spec() *specs.Spec {
	r := p.Request
	s := &specs.Spec{
		Version: "1.0.2",
		Root:    &specs.Root{Path: p.Rootfs, Readonly: r.Readonly},
		Mounts:  p.Mounts,
		Process: ProcessSpec(&r.Process, p.Env, p.Capabilities, p.Umask),
		Linux: &specs.Linux{
			CgroupsPath:       p.CgroupsPath,
			Resources:         p.resources(),
			Seccomp:           r.Seccomp,
			Devices:           p.Devices,
			RootfsPropagation: "private",
			Namespaces: []specs.LinuxNamespace{
				{Type: specs.MountNamespace},
				{Type: specs.PIDNamespace},
				{Type: specs.CgroupNamespace},
				{Type: specs.IPCNamespace, Path: p.Namespaces.IPC},
				{Type: specs.UTSNamespace, Path: p.Namespaces.UTS},
			},
		},
	}
	if p.Namespaces.UTS == "" {
		s.Hostname = p.Hostname
	}
	if !r.Privileged {
		// Exactly these: a path that the host could add would be a file of the workload's made empty, which no policy is asked about.
		s.Linux.MaskedPaths, s.Linux.ReadonlyPaths = defaultMasked, defaultReadonly
	}
	return s
}

// resources adds the device rules to the limits that were taken: nothing but the nodes every container has and the grants.
func (p *Plan) resources() *specs.LinuxResources {
	out := *p.Request.Resources
	deny := specs.LinuxDeviceCgroup{Allow: false, Access: "rwm"}
	out.Devices = []specs.LinuxDeviceCgroup{deny}
	for _, n := range []struct{ major, minor int64 }{
		{1, 3}, {1, 5}, {1, 7}, {1, 8}, {1, 9}, {5, 0}, {5, 2},
	} {
		out.Devices = append(out.Devices, specs.LinuxDeviceCgroup{Allow: true, Type: "c", Major: &n.major, Minor: &n.minor, Access: "rwm"})
	}
	anyMinor := int64(-1)
	pts := int64(136)
	out.Devices = append(out.Devices, specs.LinuxDeviceCgroup{Allow: true, Type: "c", Major: &pts, Minor: &anyMinor, Access: "rwm"})
	for _, d := range p.Devices {
		out.Devices = append(out.Devices, specs.LinuxDeviceCgroup{Allow: true, Type: d.Type, Major: &d.Major, Minor: &d.Minor, Access: "rw"})
	}
	return &out
}

// ProcessSpec is the process section of a create or an exec.
func ProcessSpec(r *ProcessRequest, env []string, caps Capabilities, umask uint32) *specs.Process {
	out := &specs.Process{
		Terminal: r.Terminal,
		Args:     r.Args,
		Env:      env,
		Cwd:      r.Cwd,
		User:     specs.User{UID: r.UID, GID: r.GID, AdditionalGids: r.AdditionalGIDs, Umask: &umask},
		Capabilities: &specs.LinuxCapabilities{
			Bounding: caps.Bounding, Effective: caps.Effective, Inheritable: caps.Inheritable,
			Permitted: caps.Permitted, Ambient: caps.Ambient,
		},
		Rlimits:         r.Rlimits,
		NoNewPrivileges: r.NoNewPrivileges,
		OOMScoreAdj:     &r.OOMScoreAdj,
	}
	if r.Rows != 0 || r.Columns != 0 {
		out.ConsoleSize = &specs.Box{Height: r.Rows, Width: r.Columns}
	}
	return out
}
