package sandbox

import (
	"time"

	"github.com/containerd/ttrpc"
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/cloister-cc/cloister/shim/node"
	"github.com/cloister-cc/cloister/shim/rootfs"
)

// Config says which pod to start.
type Config struct {
	ID        string      // containerd's id of the sandbox
	Namespace string      // containerd's
	Spec      *specs.Spec // of the sandbox container: annotations, network namespace, cgroup, resources
	Netns     string      // path of the pod's network namespace; "" has no network
	Dir       string      // the pod's state directory, made here
	Node      node.Config

	Metrics Metrics            // nil: nobody counts
	Client  []ttrpc.ClientOpts // of the connection to the agent: interceptors that count or trace
}

// Metrics is told what happens to the pod. Its methods may be called from any goroutine.
type Metrics interface {
	Boot(took time.Duration)      // from the start of the VM to the agent's first answer
	Containers(n int)             // how many there are now, the sandbox's own included
	VM(pid, vcpus, memoryMiB int) // the VM's process and size; pid 0 when it has ended
	Refusal(point string)         // a request was refused by the policy
}

// Container is one container to create.
type Container struct {
	ID     string
	Spec   *specs.Spec
	Rootfs rootfs.Rootfs // unused for the sandbox container of a CRI pod: it is the agent's built-in pause
	Stdin  bool
}

// Process names a process: the container's first one when Exec is empty.
type Process struct {
	Container string
	Exec      string
}

// Exit is how a process ended.
type Exit struct {
	Status uint32 // the exit code, or 128 and the signal
	At     time.Time
	// Err says that the VM ended, not the process, and why: Status is 255 then.
	Err error
}
