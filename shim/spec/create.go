package spec

import (
	"maps"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/cloister-cc/cloister/agent/api"
	"github.com/cloister-cc/cloister/shim/boot"
)

// Input is what a create request is made of. The order is: (*fit.Policy).Fit changes Spec, Copied says what share.Set must bring, Create.
type Input struct {
	Spec        *specs.Spec // not changed
	Sandbox     bool        // the sandbox container: the agent's built-in pause
	SandboxID   string
	ContainerID string
	Storages    []*api.Storage // boot.Storages; none for the sandbox container
	// Copies are the guest's names of what was copied, by destination, for each mount that Copied returns.
	Copies map[string]string
	// Sysctl are the sysctls of the sandbox container (PodSysctl): Kubernetes sets them for the pod, the guest for each container.
	Sysctl map[string]string
	// KeepSeccomp sends the runtime's default seccomp profile, because the policy names its digest ((*fit.Policy).Seccomp). Otherwise it is left out: the
	// guest has its own defaults. Other profiles are always sent.
	KeepSeccomp bool
}

// Create makes the agent's create request. What was changed is in the notes; what the guest cannot do is a *RefusedError that names the field.
func Create(in Input) (*api.CreateContainerRequest, []Note, error) {
	request := &api.CreateContainerRequest{ContainerId: in.ContainerID, ExecId: in.ContainerID, Storages: in.Storages}
	if err := check(in.Spec); err != nil {
		return nil, nil, err
	}
	if in.Sandbox {
		request.Storages, request.OCI = nil, in.pause()
		return request, nil, nil
	}
	notes := dropped(in.Spec)
	process, err := Process(in.Spec.Process)
	if err != nil {
		return nil, nil, err
	}
	mounts, more, err := in.mounts()
	if err != nil {
		return nil, nil, err
	}
	notes = append(notes, more...)
	linux, more, err := in.linux()
	if err != nil {
		return nil, nil, err
	}
	request.OCI = &api.Spec{
		Version: specs.Version, Process: process, Mounts: mounts, Annotations: in.annotations(), Linux: linux,
		Root: &api.Root{Path: boot.RootPath(in.ContainerID), Readonly: in.Spec.Root != nil && in.Spec.Root.Readonly},
	}
	return request, append(notes, more...), nil
}

// pause is the sandbox container: the agent runs its own and reads no more than this.
func (in *Input) pause() *api.Spec {
	return &api.Spec{
		Version: specs.Version, Process: &api.Process{Args: []string{"/pause"}, Cwd: "/", User: &api.User{}},
		Root: &api.Root{Path: boot.RootPath(in.ContainerID), Readonly: true}, Linux: &api.Linux{}, Annotations: in.annotations(),
	}
}

func (in *Input) linux() (*api.Linux, []Note, error) {
	out := &api.Linux{}
	// No network namespace: the network is the VM's.
	for _, t := range []string{"pid", "ipc", "uts", "mount", "cgroup"} {
		out.Namespaces = append(out.Namespaces, &api.LinuxNamespace{Type: t})
	}
	if !isPrivileged(in.Spec) {
		out.MaskedPaths, out.ReadonlyPaths = maskedPaths, readonlyPaths
	}
	l := in.Spec.Linux
	if l == nil {
		l = &specs.Linux{}
	}
	var err error
	if out.Resources, err = Resources(l.Resources); err != nil {
		return nil, nil, err
	}
	if err := checkSysctl(l.Sysctl); err != nil {
		return nil, nil, err
	}
	if len(in.Sysctl)+len(l.Sysctl) > 0 {
		out.Sysctl = map[string]string{}
		maps.Copy(out.Sysctl, in.Sysctl)
		maps.Copy(out.Sysctl, l.Sysctl)
	}
	if l.Seccomp != nil && !in.KeepSeccomp && IsRuntimeDefault(l.Seccomp) {
		return out, []Note{{"Linux.Seccomp", "left out", "it is the runtime's default profile, and the policy names no profile or another"}}, nil
	}
	if out.Seccomp, err = seccomp(l.Seccomp); err != nil {
		return nil, nil, err
	}
	return out, nil, nil
}

// maskedPaths and readonlyPaths say no more than that the container is not privileged; the agent has its own lists.
var (
	maskedPaths   = []string{"/proc/acpi", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list", "/proc/scsi", "/sys/firmware"}
	readonlyPaths = []string{"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"}
)
