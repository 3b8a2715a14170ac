package sandbox

import (
	"context"
	"errors"
	"io"

	"github.com/containerd/cgroups/v3/cgroup2/stats"
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/cloister-cc/cloister/shim/spec"
)

var errNotBuilt = errors.New("not built yet")

// Pod is one running pod.
type Pod struct{}

// Start boots the pod's VM.
func Start(ctx context.Context, c Config) (*Pod, error) { return nil, errNotBuilt }

// Create creates a container. Notes say what its specification lost.
func (p *Pod) Create(ctx context.Context, c Container) ([]spec.Note, error) { return nil, errNotBuilt }

// Start starts a created container.
func (p *Pod) Start(ctx context.Context, id string) error { return errNotBuilt }

// Exec starts one more process in a running container.
func (p *Pod) Exec(ctx context.Context, process Process, s *specs.Process, stdin bool) error {
	return errNotBuilt
}

// Wait returns how a process ended, once it has. The error is the context's, or NotFound.
func (p *Pod) Wait(ctx context.Context, process Process) (Exit, error) { return Exit{}, errNotBuilt }

// Signal sends a signal; all sends it to all of a container's processes. A process that has ended is no error.
func (p *Pod) Signal(ctx context.Context, process Process, signal uint32, all bool) error {
	return errNotBuilt
}

// Resize sets the size of a process's terminal.
func (p *Pod) Resize(ctx context.Context, process Process, width, height uint32) error {
	return errNotBuilt
}

// Stdout copies a process's output to w until it ends.
func (p *Pod) Stdout(ctx context.Context, process Process, w io.Writer) error { return errNotBuilt }

// Stderr is Stdout for the other stream.
func (p *Pod) Stderr(ctx context.Context, process Process, w io.Writer) error { return errNotBuilt }

// Stdin copies r to a process's input, and ends that at the end of r.
func (p *Pod) Stdin(ctx context.Context, process Process, r io.Reader) error { return errNotBuilt }

// CloseStdin ends a process's input.
func (p *Pod) CloseStdin(ctx context.Context, process Process) error { return errNotBuilt }

// Forget forgets an exec that has ended.
func (p *Pod) Forget(ctx context.Context, process Process) error { return errNotBuilt }

// Pids answers the processes of the host that stand for a container's.
func (p *Pod) Pids(ctx context.Context, id string) ([]uint32, error) { return nil, errNotBuilt }

// Stats answers a container's counters.
func (p *Pod) Stats(ctx context.Context, id string) (*stats.Metrics, error) { return nil, errNotBuilt }

// Pause stops all processes of a container.
func (p *Pod) Pause(ctx context.Context, id string) error { return errNotBuilt }

// Resume lets them go on.
func (p *Pod) Resume(ctx context.Context, id string) error { return errNotBuilt }

// Update changes a container's limits.
func (p *Pod) Update(ctx context.Context, id string, r *specs.LinuxResources) error {
	return errNotBuilt
}

// Remove takes a created or ended container away.
func (p *Pod) Remove(ctx context.Context, id string) error { return errNotBuilt }

// OOM names a container each time the kernel killed a process of it for memory. It is closed when the pod ends.
func (p *Pod) OOM() <-chan string { return nil }

// Notes say what of the pod is not as containerd asked.
func (p *Pod) Notes() []spec.Note { return nil }

// Done is closed when the VM has ended or is lost.
func (p *Pod) Done() <-chan struct{} { return nil }

// Err says why; nil after Stop.
func (p *Pod) Err() error { return nil }

// Stop takes the pod down.
func (p *Pod) Stop(ctx context.Context) error { return errNotBuilt }

// PID is the VM's process.
func (p *Pod) PID() int { return 0 }

// Cleanup removes what a shim that was killed left of the pod in a state directory.
func Cleanup(ctx context.Context, dir string) error { return errNotBuilt }
