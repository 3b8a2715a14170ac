package run

import (
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/cloister-cc/cloister/shim/pod"
	"github.com/cloister-cc/cloister/shim/vm"
	"github.com/cloister-cc/cloister/snp/emulator"
)

// Defaults of a VM that nothing else is said about.
const (
	DefaultVCPUs     = 2
	DefaultMemoryMiB = 1024
)

// Options says what to boot.
type Options struct {
	Name    string // of the pod; also its host name unless Hostname is set
	Policy  []byte
	Carrier Carrier // empty: CarrierSetPolicy
	TEE     vm.TEE
	// HostData replaces the value that belongs to the policy: a launcher that lies. The guest must refuse.
	HostData *[32]byte

	Guest string // directory that `cloister guest build` wrote
	// Kernel is booted in place of the guest's vmlinuz: the same kernel unpacked, which saves two seconds under emulation. It
	// is not what an SNP launch measures, so it cannot be used there.
	Kernel   string
	Firmware string // for SNP
	Emulator string // directory of the software SNP processor's authority; empty: the user's
	// TEEParams changes what the software processor is told, after the launch's own values: another processor, a fault script. Nil: nothing.
	TEEParams func(*emulator.Authority, *emulator.TEEParams) error
	StateDir  string // made, and removed by Stop unless Keep
	Keep      bool
	VCPUs     int
	MemoryMiB int
	Network   bool
	Forward   []vm.PortForward
	Hostname  string
	// HostAliases are lines for the containers' hosts file; the agent reads them line by line and writes the file itself.
	HostAliases []pod.HostAlias
	// Detached lets the VM outlive this process.
	Detached bool

	Log   io.Writer   // progress for a person; nil: none
	Stage func(Stage) // called after each stage; nil: not called
}

// Stage is one finished part of a run.
type Stage struct {
	Name string
	Took time.Duration
}

func (o *Options) setDefaults() {
	if o.Carrier == "" {
		o.Carrier = CarrierSetPolicy
	}
	if o.VCPUs == 0 {
		o.VCPUs = DefaultVCPUs
	}
	if o.MemoryMiB == 0 {
		o.MemoryMiB = DefaultMemoryMiB
	}
	if o.Hostname == "" {
		o.Hostname = o.Name
	}
	if o.Log == nil {
		o.Log = io.Discard
	}
	if len(o.Forward) > 0 {
		o.Network = true
	}
}

func (o *Options) check() error {
	switch {
	case o.Name == "":
		return errors.New("start sandbox: no name")
	case len(o.Policy) == 0:
		return fmt.Errorf("start sandbox %q: no policy", o.Name)
	case o.StateDir == "":
		return fmt.Errorf("start sandbox %q: no state directory", o.Name)
	case o.TEE == vm.TEESNP && o.Kernel != "":
		return fmt.Errorf("start sandbox %q: an SNP launch measures the guest image's own kernel: no other can be given", o.Name)
	case o.Carrier != CarrierSetPolicy && o.Carrier != CarrierInitdata:
		return fmt.Errorf("start sandbox %q: carrier got %q, want %q or %q", o.Name, o.Carrier, CarrierSetPolicy, CarrierInitdata)
	}
	return nil
}

// stage runs one stage and reports how long it took.
func (o *Options) stage(name string, do func() error) error {
	start := time.Now()
	err := do()
	if err == nil && o.Stage != nil {
		o.Stage(Stage{Name: name, Took: time.Since(start)})
	}
	return err
}
