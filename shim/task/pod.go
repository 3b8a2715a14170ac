package task

import (
	"context"
	"io"

	"github.com/containerd/cgroups/v3/cgroup2/stats"
	"github.com/containerd/containerd/api/types"
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/cloister-cc/cloister/shim/node"
	"github.com/cloister-cc/cloister/shim/rootfs"
	"github.com/cloister-cc/cloister/shim/sandbox"
	"github.com/cloister-cc/cloister/shim/spec"
)

// Pod is what this package needs of *sandbox.Pod. Each call but Wait and the streams ends in bounded time, also when the agent hangs.
type Pod interface {
	Create(ctx context.Context, c sandbox.Container) ([]spec.Note, error)
	Start(ctx context.Context, id string) error
	Exec(ctx context.Context, p sandbox.Process, process *specs.Process, stdin bool) error
	Wait(ctx context.Context, p sandbox.Process) (sandbox.Exit, error)
	Signal(ctx context.Context, p sandbox.Process, signal uint32, all bool) error
	Resize(ctx context.Context, p sandbox.Process, width, height uint32) error
	Stdout(ctx context.Context, p sandbox.Process, w io.Writer) error
	Stderr(ctx context.Context, p sandbox.Process, w io.Writer) error
	Stdin(ctx context.Context, p sandbox.Process, r io.Reader) error
	Stats(ctx context.Context, id string) (*stats.Metrics, error)
	Pause(ctx context.Context, id string) error
	Resume(ctx context.Context, id string) error
	Update(ctx context.Context, id string, resources *specs.LinuxResources) error
	Remove(ctx context.Context, id string) error
	OOM() <-chan string
	Done() <-chan struct{}
	Err() error
	// Lose ends the machine for a reason, as if it had crashed.
	Lose(why error)
	Stop(ctx context.Context) error
	PID() int
}

// Config is what a Service works with.
type Config struct {
	Namespace string // containerd's
	Sandbox   string // the id that the pod's containers are grouped by
	Bundle    string // the directory of that id's bundle
	Node      node.Config
	Metrics   string // path of the socket with the pod's metrics, which is not served here; "" for none

	// Boot starts the pod. Rootfs reads what a container's root is made of from containerd's mounts.
	Boot   func(ctx context.Context, c sandbox.Config) (Pod, error)
	Rootfs func(mounts []*types.Mount) (rootfs.Rootfs, error)
	// Send gives one event to containerd. It is called from one goroutine, again and again for one event until that is taken.
	Send func(ctx context.Context, topic string, event Event) error
	// Exit is called once, when the shim has nothing left to do.
	Exit func()
}
