package sandbox

import (
	"time"

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
}

// Container is one container to create.
type Container struct {
	ID     string
	Spec   *specs.Spec
	Rootfs rootfs.Rootfs // empty only for the sandbox container: the agent's built-in pause
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
	// Lost says that the VM ended, not the process: Status is 255 then, and Err why.
	Err error
}
