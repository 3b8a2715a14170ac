package run

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"google.golang.org/protobuf/proto"

	"github.com/cloister-cc/cloister/agent/api"
	"github.com/cloister-cc/cloister/shim/boot"
	"github.com/cloister-cc/cloister/shim/pod"
	"github.com/cloister-cc/cloister/shim/vm"
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
	layers  *boot.Layers

	mu         sync.Mutex
	containers []*Container // in the order of their creation
	opened     bool         // CreateSandbox was answered
}

// startVM starts the VM, nil means QEMU; tests put another in its place.
var startVM func(context.Context, vm.Config) (vm.VM, error)

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
	s := &Sandbox{options: o, id: boot.NewID(), lock: lock}
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
	guest, err := boot.OpenGuest(o.Guest)
	if err != nil {
		return vm.Config{}, err
	}
	carried, err := boot.Carry(o.Carrier, o.Policy)
	if err != nil {
		return vm.Config{}, err
	}
	c := vm.Config{
		ID: s.id, Dir: o.StateDir, Kernel: guest.Kernel, Initrd: guest.Initrd, Cmdline: guest.Cmdline,
		VCPUs: o.VCPUs, MemoryMiB: o.MemoryMiB, TEE: o.TEE, HostData: carried.HostData,
		Network: o.Network, Forward: o.Forward, Console: filepath.Join(o.StateDir, consoleFile),
		Firmware: o.Firmware, Detached: o.Detached,
	}
	if o.Kernel != "" {
		c.Kernel = o.Kernel
	}
	if o.HostData != nil {
		c.HostData = *o.HostData
	}
	if carried.Initdata != nil {
		c.InitdataDisk = filepath.Join(o.StateDir, "initdata.img")
		if err := boot.WriteInitdata(c.InitdataDisk, carried.Initdata); err != nil {
			return vm.Config{}, err
		}
	}
	tee := boot.TEE{Guest: guest, Emulator: o.Emulator, Params: o.TEEParams}
	if err := tee.Prepare(ctx, &c); err != nil {
		return vm.Config{}, err
	}
	return c, nil
}

// boot starts the VM and waits for the agent.
func (s *Sandbox) boot(ctx context.Context, c vm.Config) error {
	machine, client, err := s.launcher().Boot(ctx, c)
	if err != nil {
		return err
	}
	s.vm, s.client, s.layers = machine, client, boot.NewLayers(machine)
	return nil
}

func (s *Sandbox) launcher() *boot.Launcher {
	return &boot.Launcher{Start: startVM, Log: s.options.Log}
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
	return configureNetwork(ctx, s.client, vm.MAC)
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
