package run

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/cloister-cc/cloister/agent/api"
	"github.com/cloister-cc/cloister/shim/pod"
	"github.com/cloister-cc/cloister/shim/vm"
	"github.com/cloister-cc/cloister/shim/vm/qemu"
)

// consoleFile is the serial console's log in the state directory.
const consoleFile = "console.log"

// Sandbox is one pod's VM and what was made in it. Its methods may be called from several goroutines.
type Sandbox struct {
	options Options
	id      string
	lock    *os.File
	vm      vm.VM
	client  *Client
	layers  *layerSet

	mu         sync.Mutex
	containers []*Container // in the order of their creation
	opened     bool         // CreateSandbox was answered
}

// bootVM starts the VM; tests put another in its place.
var bootVM = func(ctx context.Context, c vm.Config) (vm.VM, error) { return qemu.Start(ctx, c) }

// Start boots a VM, binds the policy, configures the network and creates the sandbox. On an error nothing is left behind.
func Start(ctx context.Context, o Options) (*Sandbox, error) {
	s, err := Boot(ctx, o)
	if err != nil {
		return nil, err
	}
	if err := s.prepare(ctx); err != nil {
		return nil, errors.Join(err, s.Stop(context.WithoutCancel(ctx)))
	}
	return s, nil
}

func (s *Sandbox) prepare(ctx context.Context) error {
	if s.options.Carrier == CarrierSetPolicy {
		if err := s.options.stage("policy", func() error { return s.SetPolicy(ctx, s.options.Policy) }); err != nil {
			return err
		}
	}
	if s.options.Network {
		if err := s.options.stage("network", func() error { return s.ConfigureNetwork(ctx) }); err != nil {
			return err
		}
	}
	return s.options.stage("sandbox", func() error { return s.Open(ctx) })
}

// Boot boots a VM and waits for the agent's first answer. Nothing is asked of the agent yet: tests go on from here in their
// own way. On an error nothing is left behind.
func Boot(ctx context.Context, o Options) (_ *Sandbox, err error) {
	o.setDefaults()
	if err := o.check(); err != nil {
		return nil, err
	}
	lock, err := claim(o.StateDir)
	if err != nil {
		return nil, err
	}
	s := &Sandbox{options: o, id: newID(), lock: lock}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.Stop(context.WithoutCancel(ctx)))
		}
	}()
	config, err := s.config(ctx)
	if err != nil {
		return nil, err
	}
	fmt.Fprintf(o.Log, "booting %s (tee %s, HOST_DATA %x)\n", o.Name, config.TEE, config.HostData)
	err = o.stage("boot", func() error { return s.boot(ctx, config) })
	if err != nil {
		return nil, fmt.Errorf("boot %q: %w", o.Name, err)
	}
	return s, nil
}

// config writes the disks that belong to the boot and says what to boot.
func (s *Sandbox) config(ctx context.Context) (vm.Config, error) {
	o := &s.options
	guest, err := openGuest(o.Guest)
	if err != nil {
		return vm.Config{}, err
	}
	carried, err := carry(o.Carrier, o.Policy)
	if err != nil {
		return vm.Config{}, err
	}
	c := vm.Config{
		ID: s.id, Dir: o.StateDir, Kernel: guest.kernel, Initrd: guest.initrd, Cmdline: guest.cmdline,
		VCPUs: o.VCPUs, MemoryMiB: o.MemoryMiB, TEE: o.TEE, HostData: carried.hostData,
		Network: o.Network, Forward: o.Forward, Console: filepath.Join(o.StateDir, consoleFile),
		Firmware: o.Firmware, Detached: o.Detached,
	}
	if o.Kernel != "" {
		c.Kernel = o.Kernel
	}
	if o.HostData != nil {
		c.HostData = *o.HostData
	}
	if carried.document != nil {
		c.InitdataDisk = filepath.Join(o.StateDir, "initdata.img")
		if err := writeInitdata(c.InitdataDisk, carried.document.Raw); err != nil {
			return vm.Config{}, err
		}
	}
	if err := s.prepareTEE(ctx, &c, guest); err != nil {
		return vm.Config{}, err
	}
	return c, nil
}

// boot starts the VM and waits for the agent. Where no SNP processor is behind it, a guest whose kernel stops before it says anything is
// started once more: an emulated processor on a busy machine can lose the interrupt that a booting kernel waits for.
func (s *Sandbox) boot(ctx context.Context, c vm.Config) error {
	err := s.bootOnce(ctx, c)
	if !errors.Is(err, errSilent) {
		return err
	}
	fmt.Fprintf(s.options.Log, "%v: starting it again\n", err)
	if err := s.vm.Stop(ctx); err != nil {
		return err
	}
	return s.bootOnce(ctx, c)
}

func (s *Sandbox) bootOnce(ctx context.Context, c vm.Config) error {
	machine, err := bootVM(ctx, c)
	if err != nil {
		return err
	}
	s.vm = machine
	s.layers = newLayerSet(machine)
	if c.TEE == vm.TEESNP { // its boot takes what its memory takes, and it is never started twice
		return s.connect(ctx)
	}
	watched, stop := watchSilence(ctx, machine, c.Console)
	defer stop()
	if err := s.connect(watched); err != nil {
		if silent := context.Cause(watched); errors.Is(silent, errSilent) {
			return silent
		}
		return err
	}
	return nil
}

// connect opens the first port and waits for the agent. A VM that dies meanwhile ends the wait.
func (s *Sandbox) connect(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		select {
		case <-s.vm.Done():
			cancel()
		case <-ctx.Done():
		}
	}()
	defer func() { cancel(); <-watched }()
	client, err := s.dial(ctx)
	if err != nil {
		return errors.Join(s.endOfVM(), err)
	}
	s.client = client
	return nil
}

func (s *Sandbox) dial(ctx context.Context) (*Client, error) {
	conn, err := s.vm.Dial(ctx, 0)
	if err != nil {
		return nil, errors.Join(err, context.Cause(ctx))
	}
	client := NewClient(conn)
	if err := client.Check(ctx); err != nil {
		client.Close()
		return nil, errors.Join(err, context.Cause(ctx))
	}
	return client, nil
}

// endOfVM is the better reason for a broken channel: that the VM has ended, which its process may take a moment to show.
func (s *Sandbox) endOfVM() error {
	moment := time.NewTimer(time.Second)
	defer moment.Stop()
	select {
	case <-s.vm.Done():
		return errors.Join(errVMEnded, s.vm.Err())
	case <-moment.C:
		return nil
	}
}

// ID is the sandbox's id on the wire.
func (s *Sandbox) ID() string { return s.id }

// Client is the connection to the agent.
func (s *Sandbox) Client() *Client { return s.client }

// VM is the machine.
func (s *Sandbox) VM() vm.VM { return s.vm }

// Console is the path of the serial console's log.
func (s *Sandbox) Console() string { return filepath.Join(s.options.StateDir, consoleFile) }

// SetPolicy hands a policy to the agent.
func (s *Sandbox) SetPolicy(ctx context.Context, policy []byte) error {
	if _, err := s.client.SetPolicy(ctx, &api.SetPolicyRequest{Policy: string(policy)}); err != nil {
		return fmt.Errorf("set policy: %w", err)
	}
	return nil
}

// ConfigureNetwork gives the guest its address on QEMU's user network.
func (s *Sandbox) ConfigureNetwork(ctx context.Context) error {
	return s.client.configureNetwork(ctx, vm.MAC)
}

// Open creates the sandbox in the guest and makes it known to other commands.
func (s *Sandbox) Open(ctx context.Context) error {
	request := &api.CreateSandboxRequest{SandboxId: s.id, Hostname: s.options.Hostname}
	if s.options.Network {
		request.Dns = []string{resolver}
	}
	if _, err := s.client.CreateSandbox(ctx, request); err != nil {
		return fmt.Errorf("create sandbox: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.opened = true
	return s.writeState()
}

// writeState is called with the lock held.
func (s *Sandbox) writeState() error {
	state := State{Version: stateVersion, Name: s.options.Name, Sandbox: s.id, Containers: map[string]ContainerState{}}
	for _, c := range s.containers {
		process, err := proto.Marshal(c.OCI(pod.Names{SandboxID: s.id, ContainerID: c.ID}).Process)
		if err != nil {
			return fmt.Errorf("write sandbox state: %w", err)
		}
		state.Containers[c.Name] = ContainerState{ID: c.ID, Encoded: process}
	}
	return state.write(s.options.StateDir)
}

// newID makes an id of the form container runtimes use, which the agent takes as it is.
func newID() string {
	var b [32]byte
	rand.Read(b[:])
	return hex.EncodeToString(b[:])
}
