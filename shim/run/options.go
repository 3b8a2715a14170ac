package run

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/cloister-cc/cloister/agent/initdata"
	"github.com/cloister-cc/cloister/shim/pod"
	"github.com/cloister-cc/cloister/shim/vm"
	"github.com/cloister-cc/cloister/snp/emulator"
)

// Carrier is how the policy reaches the guest.
type Carrier string

// The two carriers of the policy contract.
const (
	CarrierSetPolicy Carrier = "setpolicy" // a request; HOST_DATA is the SHA-256 of the policy
	CarrierInitdata  Carrier = "initdata"  // a disk; HOST_DATA is the digest of the document
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

// guestFiles are the parts of a guest build that a boot needs.
type guestFiles struct {
	kernel, initrd, cmdline string
}

func openGuest(dir string) (guestFiles, error) {
	g := guestFiles{kernel: filepath.Join(dir, "vmlinuz"), initrd: filepath.Join(dir, "initrd.img")}
	line, err := os.ReadFile(filepath.Join(dir, "cmdline"))
	if err != nil {
		return guestFiles{}, fmt.Errorf("open guest image: %w", err)
	}
	g.cmdline = strings.TrimSuffix(string(line), "\n")
	for _, path := range []string{g.kernel, g.initrd} {
		if _, err := os.Stat(path); err != nil {
			return guestFiles{}, fmt.Errorf("open guest image: %w", err)
		}
	}
	return g, nil
}

// carried is a policy as its carrier brings it: what HOST_DATA must be and, for initdata, the document of the disk.
type carried struct {
	hostData [32]byte
	document *initdata.Document
}

func carry(carrier Carrier, policy []byte) (carried, error) {
	if carrier == CarrierSetPolicy {
		return carried{hostData: sha256.Sum256(policy)}, nil
	}
	doc, err := initdata.Build("sha256", map[string]string{initdata.PolicyKey: string(policy)})
	if err != nil {
		return carried{}, err
	}
	return carried{hostData: doc.HostData(), document: doc}, nil
}
