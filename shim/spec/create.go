package spec

import (
	"errors"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/cloister-cc/cloister/agent/api"
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

// Create makes the agent's create request. What was changed is in the notes; what the guest cannot do is an error that names the field.
func Create(in Input) (*api.CreateContainerRequest, []Note, error) {
	return nil, nil, errors.New("not built yet")
}

// Process is a process of an exec.
func Process(p *specs.Process) (*api.Process, error) { return nil, errors.New("not built yet") }

// Resources are the limits of an update: memory, CPU, pids and huge pages.
func Resources(r *specs.LinuxResources) (*api.LinuxResources, error) {
	return nil, errors.New("not built yet")
}

// Sandbox makes the request that creates the pod: its host name, and the name servers of the resolv.conf that the specification mounts.
func Sandbox(sandboxID string, s *specs.Spec) (*api.CreateSandboxRequest, []Note, error) {
	return nil, nil, errors.New("not built yet")
}

// PodSysctl are the sysctls of a sandbox container's specification that containers of the pod get.
func PodSysctl(s *specs.Spec) (map[string]string, []Note, error) {
	return nil, nil, errors.New("not built yet")
}

// IsSandbox says whether the specification is of a pod's sandbox container, by containerd's annotation.
func IsSandbox(s *specs.Spec) bool {
	return s.Annotations["io.kubernetes.cri.container-type"] == "sandbox"
}

// SandboxID is the pod that the specification belongs to, by containerd's annotation; "" when it does not say.
func SandboxID(s *specs.Spec) string { return s.Annotations["io.kubernetes.cri.sandbox-id"] }

// Copied are the mounts whose files the guest must be given as copies, in the specification's order: ConfigMaps, Secrets, tokens, the termination log, kubelet's hosts file.
func Copied(s *specs.Spec) ([]specs.Mount, error) { return nil, errors.New("not built yet") }
