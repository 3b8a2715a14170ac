package boot

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/containerd/ttrpc"

	"github.com/cloister-cc/cloister/shim/vm"
	"github.com/cloister-cc/cloister/shim/vm/qemu"
)

// ErrVMEnded says that the machine ended before its agent answered, or while it was in use.
var ErrVMEnded = errors.New("the VM ended")

// Launcher boots VMs. The zero Launcher is the one for QEMU.
type Launcher struct {
	// Start starts a machine; nil: QEMU. Tests put another in its place.
	Start func(context.Context, vm.Config) (vm.VM, error)
	// Silence is how long a guest may take to its first words where no SNP processor is behind it; 0: a minute.
	Silence time.Duration
	Log     io.Writer          // progress for a person; nil: none
	Client  []ttrpc.ClientOpts // of the connection to the agent
}

// BootVM boots c under QEMU and returns when its agent has answered. On an error nothing is left of the VM but its console.
func BootVM(ctx context.Context, c vm.Config, log io.Writer, opts ...ttrpc.ClientOpts) (vm.VM, *Client, error) {
	return (&Launcher{Log: log, Client: opts}).Boot(ctx, c)
}

// Boot starts the VM and waits for the agent's first answer. Where no SNP processor is behind it, a guest whose kernel stops before it says anything
// is started once more: an emulated processor on a busy machine can lose the interrupt that a booting kernel waits for. On an error the VM is stopped.
func (l *Launcher) Boot(ctx context.Context, c vm.Config) (vm.VM, *Client, error) {
	machine, client, err := l.once(ctx, c)
	if !errors.Is(err, ErrSilent) {
		return machine, client, err
	}
	if l.Log != nil {
		fmt.Fprintf(l.Log, "%v: starting it again\n", err)
	}
	return l.once(ctx, c)
}

func (l *Launcher) once(ctx context.Context, c vm.Config) (vm.VM, *Client, error) {
	start := l.Start
	if start == nil {
		start = func(ctx context.Context, c vm.Config) (vm.VM, error) { return qemu.Start(ctx, c) }
	}
	machine, err := start(ctx, c)
	if err != nil {
		return nil, nil, err
	}
	client, err := l.firstAnswer(ctx, c, machine)
	if err == nil {
		return machine, client, nil
	}
	if stop := machine.Stop(context.WithoutCancel(ctx)); stop != nil {
		err = errors.Join(err, fmt.Errorf("stop VM: %w", stop))
	}
	return nil, nil, err
}

func (l *Launcher) firstAnswer(ctx context.Context, c vm.Config, machine vm.VM) (*Client, error) {
	if c.TEE == vm.TEESNP { // its boot takes what its memory takes, and it is never started twice
		return l.connect(ctx, machine)
	}
	limit := l.Silence
	if limit == 0 {
		limit = silence
	}
	watched, stop := watchSilence(ctx, machine, c.Console, limit)
	defer stop()
	client, err := l.connect(watched, machine)
	if silent := context.Cause(watched); err != nil && errors.Is(silent, ErrSilent) {
		return nil, silent
	}
	return client, err
}

// connect opens the first port and waits for the agent. A VM that dies meanwhile ends the wait.
func (l *Launcher) connect(ctx context.Context, machine vm.VM) (*Client, error) {
	ctx, cancel := context.WithCancel(ctx)
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		select {
		case <-machine.Done():
			cancel()
		case <-ctx.Done():
		}
	}()
	defer func() { cancel(); <-watched }()
	client, err := l.dial(ctx, machine)
	if err != nil {
		return nil, errors.Join(endOf(machine), err)
	}
	return client, nil
}

func (l *Launcher) dial(ctx context.Context, machine vm.VM) (*Client, error) {
	conn, err := machine.Dial(ctx, 0)
	if err != nil {
		return nil, errors.Join(err, context.Cause(ctx))
	}
	client := NewClient(conn, l.Client...)
	if err := client.Check(ctx); err != nil {
		client.Close()
		return nil, errors.Join(err, context.Cause(ctx))
	}
	return client, nil
}

// endOf is the better reason for a broken channel: that the VM has ended, which its process may take a moment to show.
func endOf(machine vm.VM) error {
	moment := time.NewTimer(time.Second)
	defer moment.Stop()
	select {
	case <-machine.Done():
		return errors.Join(ErrVMEnded, machine.Err())
	case <-moment.C:
		return nil
	}
}
