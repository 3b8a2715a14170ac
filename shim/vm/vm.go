// Package vm says what the host side needs of a virtual machine monitor: boot, plug a disk, unplug it, open a channel, stop. Package qemu is the first
// to provide it.
//
// The host side is not trusted by anything in the guest: what is checked here (a missing file, a wrong size) is checked for the
// user's sake. What the guest relies on is measured at launch or comes with a policy.
package vm

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
)

// TEE says what stands behind the guest's report device.
type TEE string

const (
	TEESNP      TEE = "snp"      // AMD SEV-SNP
	TEEEmulated TEE = "emulated" // the development image's software SNP processor
	TEENone     TEE = "none"
)

// MAC is the hardware address of the only network interface a VM has. It never leaves QEMU's user network.
const MAC = "52:54:00:c1:01:5e"

// Ports is the number of virtio-serial ports: 0 belongs to whoever runs the pod, the others to commands that join later.
const Ports = 4

// TEEDiskSerial is how the development image knows the disk with its processor's keys.
const TEEDiskSerial = "cloister-tee"

// PortName is the guest's name of a virtio-serial port.
func PortName(port int) string { return fmt.Sprintf("cloister.agent.%d", port) }

// Transport is a channel between host and agent.
type Transport string

// The channels of the agent. Its image takes whichever device it finds.
const (
	TransportVsock  Transport = "vsock"
	TransportSerial Transport = "virtio-serial"
)

// Tap is one network interface of a VM, backed by a tap device of the host.
type Tap struct {
	MAC string // of the guest's interface
	MTU int    // bytes; 0 says nothing about it to the guest
	// File is the open tap, one queue with a virtio-net header. It stays the caller's, who closes it when the VM has ended, or at once after its start.
	File *os.File
}

// PortForward lets TCP connections to a host address reach a port of the pod.
type PortForward struct {
	HostIP    string // "" is 127.0.0.1
	HostPort  int
	GuestPort int
}

// LaunchID is an SNP launch's ID block and the signatures over it, as the firmware reads them.
type LaunchID struct {
	Block, Auth []byte // 96 and 4096 bytes
	AuthorKey   bool   // an author's key signed the id key
}

func (l *LaunchID) validate(tee TEE) error {
	switch {
	case l == nil:
		return nil
	case tee != TEESNP:
		return fmt.Errorf("id block: got tee %q, want %q", tee, TEESNP)
	case len(l.Block) != 96 || len(l.Auth) != 4096:
		return fmt.Errorf("id block: got %d bytes and %d of authentication, want 96 and 4096", len(l.Block), len(l.Auth))
	}
	return nil
}

// Config is all there is to say about a VM before it boots. Paths are absolute.
type Config struct {
	ID  string // shows in the process list
	Dir string // directory of this VM alone: sockets and locks

	Kernel  string // bzImage, or an ELF vmlinux with a PVH entry
	Initrd  string
	Cmdline string

	VCPUs     int
	MemoryMiB int
	// MaxVCPUs and MaxMemoryMiB are as far as the VM can grow while it runs; 0: not at all. The size of an SNP guest is fixed at launch.
	MaxVCPUs     int
	MaxMemoryMiB int

	TEE      TEE
	HostData [32]byte // HOST_DATA; only an SNP launch hands it to the processor
	Firmware string   // needed for SNP, which measures it
	// LaunchID ties an SNP launch to what a signer allowed. The processor ends a launch that it does not fit.
	LaunchID *LaunchID

	TEEDisk      string // read-only, found by TEEDiskSerial
	InitdataDisk string // read-only, found by its first bytes

	Network bool // QEMU's user network, for hosts that give us no other
	Forward []PortForward
	Taps    []Tap

	// User is the numeric user and group that the monitor runs as, without supplementary groups; 0: ours. Every file comes to it as a descriptor, so this
	// user needs no right on any of them.
	User int
	// Cgroups are directories of control groups, made by the caller, that the monitor is in before its first instruction: one of version 2, any number of
	// version 1.
	Cgroups []string

	// Transport is how the agent is reached; empty: vsock where the host's kernel offers it, else virtio-serial.
	Transport Transport

	Console string // file that takes the serial console, up to 16 MiB of it
	Accel   string // "kvm", "tcg", or "" to find out

	// Detached lets the VM outlive the process that started it. Tests that kill the host side want that; everybody else wants a VM to end with
	// whoever can stop it.
	Detached bool
}

// Validate reports the first thing about c that no VM can be made of.
func (c *Config) Validate() error {
	switch c.TEE {
	case TEESNP, TEEEmulated, TEENone:
	default:
		return fmt.Errorf("tee: got %q, want %q, %q or %q", c.TEE, TEESNP, TEEEmulated, TEENone)
	}
	switch c.Accel {
	case "", "kvm", "tcg":
	default:
		return fmt.Errorf("accelerator: got %q, want \"kvm\" or \"tcg\"", c.Accel)
	}
	if c.TEE == TEESNP && c.Firmware == "" {
		return errors.New("firmware: an SNP launch needs one")
	}
	if c.TEE == TEESNP && c.Accel == "tcg" {
		return errors.New("accelerator: SNP needs kvm")
	}
	if err := c.LaunchID.validate(c.TEE); err != nil {
		return err
	}
	if c.VCPUs < 1 || c.VCPUs > 255 {
		return fmt.Errorf("vcpus: got %d, want 1 to 255", c.VCPUs)
	}
	if c.MemoryMiB < 64 || c.MemoryMiB > 16<<20 {
		return fmt.Errorf("memory: got %d MiB, want 64 to %d", c.MemoryMiB, 16<<20)
	}
	if err := c.validateGrowth(); err != nil {
		return err
	}
	if c.User < 0 || c.User > 1<<31-2 {
		return fmt.Errorf("user: got %d, want 0 to %d", c.User, 1<<31-2)
	}
	switch c.Transport {
	case "", TransportVsock, TransportSerial:
	default:
		return fmt.Errorf("transport: got %q, want %q or %q", c.Transport, TransportVsock, TransportSerial)
	}
	for i, t := range c.Taps {
		if err := t.validate(); err != nil {
			return fmt.Errorf("tap %d: %w", i, err)
		}
	}
	if !c.Network && len(c.Forward) > 0 {
		return errors.New("port forward: the VM has no network")
	}
	for _, f := range c.Forward {
		if err := f.validate(); err != nil {
			return err
		}
	}
	return c.validatePaths()
}

// validateGrowth checks the maxima. Zero, or the present size, means a VM that does not grow.
func (c *Config) validateGrowth() error {
	if c.MaxVCPUs != 0 && (c.MaxVCPUs < c.VCPUs || c.MaxVCPUs > 255) {
		return fmt.Errorf("maximum of vcpus: got %d, want %d to 255", c.MaxVCPUs, c.VCPUs)
	}
	if c.MaxMemoryMiB != 0 && (c.MaxMemoryMiB < c.MemoryMiB || c.MaxMemoryMiB > 16<<20) {
		return fmt.Errorf("maximum of memory: got %d MiB, want %d to %d", c.MaxMemoryMiB, c.MemoryMiB, 16<<20)
	}
	if c.TEE == TEESNP && (c.MaxVCPUs > c.VCPUs || c.MaxMemoryMiB > c.MemoryMiB) {
		return errors.New("size: an SNP guest's is measured at launch and cannot grow")
	}
	return nil
}

func (t Tap) validate() error {
	if mac, err := net.ParseMAC(t.MAC); err != nil || len(mac) != 6 || mac[0]&1 != 0 {
		return fmt.Errorf("got hardware address %q, want six bytes of one station", t.MAC)
	}
	if t.MTU != 0 && (t.MTU < 68 || t.MTU > 65535) {
		return fmt.Errorf("got MTU %d, want 68 to 65535", t.MTU)
	}
	if t.File == nil {
		return errors.New("got no open device")
	}
	return nil
}

func (f PortForward) validate() error {
	if f.HostIP != "" {
		if a, err := netip.ParseAddr(f.HostIP); err != nil || !a.Is4() {
			return fmt.Errorf("port forward: got host address %q, want an IPv4 address", f.HostIP)
		}
	}
	for _, p := range []int{f.HostPort, f.GuestPort} {
		if p < 1 || p > 65535 {
			return fmt.Errorf("port forward: got port %d, want 1 to 65535", p)
		}
	}
	return nil
}

func (c *Config) validatePaths() error {
	for _, p := range []struct {
		name, path string
		needed     bool
	}{
		{"dir", c.Dir, true},
		{"kernel", c.Kernel, true},
		{"initrd", c.Initrd, true},
		{"console", c.Console, true},
		{"firmware", c.Firmware, false},
		{"tee disk", c.TEEDisk, false},
		{"initdata disk", c.InitdataDisk, false},
	} {
		if p.path == "" && !p.needed {
			continue
		}
		if err := validatePath(p.name, p.path); err != nil {
			return err
		}
	}
	for _, dir := range c.Cgroups {
		if err := validatePath("cgroup", dir); err != nil {
			return err
		}
	}
	return nil
}

func validatePath(name, path string) error {
	if !filepath.IsAbs(path) {
		return fmt.Errorf("%s: got path %q, want an absolute one", name, path)
	}
	if strings.ContainsAny(path, "\x00\n") {
		return fmt.Errorf("%s: path %q has a control character", name, path)
	}
	return nil
}

// Disk is a file, or a block device of the host, to plug in. The file may lose its name while it is plugged.
type Disk struct {
	Path     string
	ReadOnly bool
}

// Size is what a VM has.
type Size struct {
	VCPUs     int
	MemoryMiB int
}

// Growable is a VM that can be given more while it runs. What is given is not taken back before it ends.
type Growable interface {
	// Resize adds processors and memory until the VM has at least as much as asked for, and returns what it has, also after an error. The guest uses
	// them once its agent has brought them online (OnlineCPUMem).
	Resize(ctx context.Context, vcpus, memoryMiB int) (Size, error)
}

// Address is where a plugged disk is, as the agent names it.
type Address struct {
	Bus int
	LUN int
}

// String is the form the agent's scsi driver reads.
func (a Address) String() string { return fmt.Sprintf("%d:%d", a.Bus, a.LUN) }

// VM is a running machine. Its methods may be called from any goroutine.
type VM interface {
	// Plug adds a disk. The guest may see it a little later.
	Plug(ctx context.Context, disk Disk) (Address, error)
	// Unplug removes a disk and returns when its file is no longer in use.
	Unplug(ctx context.Context, address Address) error
	// Dial opens a session on a port; it waits for a guest that still boots.
	Dial(ctx context.Context, port int) (net.Conn, error)
	// Stop ends the machine now. It returns when the process is gone.
	Stop(ctx context.Context) error
	// Done is closed when the machine has ended.
	Done() <-chan struct{}
	// Err says why it ended: nil after Stop or when the guest powered off.
	Err() error
}
