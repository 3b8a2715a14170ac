package sandbox

import (
	"context"
	"os"
	"sync"

	"github.com/cloister-cc/cloister/shim/boot"
	"github.com/cloister-cc/cloister/shim/fit"
	"github.com/cloister-cc/cloister/shim/share"
	"github.com/cloister-cc/cloister/shim/spec"
	"github.com/cloister-cc/cloister/shim/vm"
)

// Pod is one running pod. Its methods may be called from several goroutines: what is done to different containers is done at the same time, what is done
// to one container one after another.
type Pod struct {
	config Config
	host   host
	guest  string // the sandbox's id in the guest

	made   undo     // what Stop takes away
	lock   *os.File // of the state directory; nil when that is not ours
	state  State
	policy *fit.Policy
	sysctl map[string]string
	notes  []spec.Note

	machine vm.VM
	client  *boot.Client
	layers  *boot.Layers
	share   *share.Set

	// life ends when the VM is lost or the pod was taken down; its cause says why. Whatever waits for the guest ends with it.
	life context.Context
	end  context.CancelCauseFunc
	// open ends when the pod is being stopped: what is under way gives up. A pod whose VM is lost is still open: its containers are removed.
	open context.Context
	shut context.CancelFunc

	loops sync.WaitGroup // that watch the VM and its processes, until life ends
	ops   sync.WaitGroup // that change something, until open ends
	oom   chan string
	ill   chan struct{} // a call had no answer in time: look at the agent now

	mu         sync.Mutex
	stopping   bool
	containers map[string]*container
	created    int // how many there were
	size       vm.Size

	growing sync.Mutex // held while the VM grows
	stopMu  sync.Mutex // held by Stop, from its first step to its last
}

func newPod(c Config, h host) *Pod {
	p := &Pod{config: c, host: h, containers: map[string]*container{}, oom: make(chan string, 16), ill: make(chan struct{}, 1)}
	p.life, p.end = context.WithCancelCause(context.Background())
	p.open, p.shut = context.WithCancel(context.Background())
	return p
}

// Notes say what of the pod is not as containerd asked.
func (p *Pod) Notes() []spec.Note { return p.notes }

// OOM names a container each time the kernel killed a process of it for memory. It is closed when the pod ends.
func (p *Pod) OOM() <-chan string { return p.oom }

// Done is closed when the VM has ended or is lost, and after Stop.
func (p *Pod) Done() <-chan struct{} { return p.life.Done() }

// Err says why the VM was lost; nil before that and after Stop.
func (p *Pod) Err() error {
	cause := context.Cause(p.life)
	if cause == errStopped {
		return nil
	}
	return cause
}

// PID is the VM's process on the host; 0 when there is none.
func (p *Pod) PID() int {
	if p.machine == nil || p.life.Err() != nil {
		return 0
	}
	return pidOf(p.machine)
}

// Size is what the VM has now.
func (p *Pod) Size() vm.Size {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.size
}

func pidOf(machine vm.VM) int {
	if m, ok := machine.(interface{ Pid() int }); ok {
		return m.Pid()
	}
	return 0
}

func (p *Pod) alive() bool { return p.life.Err() == nil }
