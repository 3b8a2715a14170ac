package boot

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"

	"github.com/cloister-cc/cloister/shim/vm"
	"github.com/cloister-cc/cloister/shim/vm/qemu"
	"github.com/cloister-cc/cloister/snp/emulator"
	"github.com/cloister-cc/cloister/snp/measure"
)

// sevDevice is the host kernel's interface to the security processor.
const sevDevice = "/dev/sev"

// ErrNoSNP says that this host cannot launch an SNP VM.
var ErrNoSNP = errors.New("no SEV-SNP on this host")

// TEE is what a launch needs besides the VM's own configuration.
type TEE struct {
	// Guest is what is measured, whichever form of the kernel is booted.
	Guest Guest
	// Emulator is the directory of the software SNP processor's authority; empty: the user's.
	Emulator string
	// Params changes what the software processor is told, after the launch's own values: another processor, a fault script. Nil: nothing.
	Params func(*emulator.Authority, *emulator.TEEParams) error
	// LaunchID is the signer's ID block of an SNP launch, or nil.
	LaunchID *vm.LaunchID
}

// Prepare does what c's kind of TEE needs of the host before a launch; files go to c's directory. The kind is never guessed: a pod that was meant for
// SNP must not come up on a software processor because a device node was missing.
func (t *TEE) Prepare(ctx context.Context, c *vm.Config) error {
	switch c.TEE {
	case vm.TEEEmulated:
		c.TEEDisk = filepath.Join(c.Dir, "tee.img")
		return t.writeDisk(c)
	case vm.TEESNP:
		if c.Kernel != t.Guest.Kernel {
			return fmt.Errorf("launch with tee %q: got kernel %q, want the guest image's own, which is measured", c.TEE, c.Kernel)
		}
		if _, err := os.Stat(sevDevice); err != nil {
			return fmt.Errorf("launch with tee %q: %w: %w", c.TEE, ErrNoSNP, err)
		}
		if c.Firmware == "" {
			return fmt.Errorf("launch with tee %q: no firmware given: want the OVMF image whose measurement the verifier knows", c.TEE)
		}
		c.LaunchID = t.LaunchID
		return checkQEMU(ctx)
	case vm.TEENone:
		return nil
	}
	return fmt.Errorf("launch with tee %q: want %q, %q or %q", c.TEE, vm.TEESNP, vm.TEEEmulated, vm.TEENone)
}

// writeDisk tells the software processor what a real one would know from the launch: HOST_DATA and the measurement.
func (t *TEE) writeDisk(c *vm.Config) error {
	authority, err := t.authority()
	if err != nil {
		return err
	}
	params, err := authority.Params(emulator.DefaultIdentity())
	if err != nil {
		return fmt.Errorf("software processor: %w", err)
	}
	hashes, err := measure.HashFiles(t.Guest.Kernel, t.Guest.Initrd, t.Guest.Cmdline)
	if err != nil {
		return fmt.Errorf("measure guest: %w", err)
	}
	params.HostData, params.Measurement = c.HostData, hashes.Emulated()
	if t.Params != nil {
		if err := t.Params(authority, &params); err != nil {
			return fmt.Errorf("software processor: %w", err)
		}
	}
	return emulator.WriteTEEDisk(c.TEEDisk, params)
}

func (t *TEE) authority() (*emulator.Authority, error) {
	dir := t.Emulator
	if dir == "" {
		var err error
		if dir, err = emulator.DefaultDir(); err != nil {
			return nil, err
		}
	}
	return emulator.LoadOrInit(dir)
}

// QEMU knows SNP guests since 9.1.
const snpMajor, snpMinor = 9, 1

var qemuVersion = regexp.MustCompile(`version (\d+)\.(\d+)`)

// checkQEMU asks QEMU for its version: an old one would only say that it does not know an object.
func checkQEMU(ctx context.Context) error {
	out, err := exec.CommandContext(ctx, qemu.Program, "-version").Output()
	if err != nil {
		return fmt.Errorf("launch with tee %q: ask %s for its version: %w", vm.TEESNP, qemu.Program, err)
	}
	return checkQEMUVersion(string(out))
}

func checkQEMUVersion(text string) error {
	m := qemuVersion.FindStringSubmatch(text)
	if m == nil {
		return fmt.Errorf("launch with tee %q: %s does not say its version", vm.TEESNP, qemu.Program)
	}
	major, _ := strconv.Atoi(m[1])
	minor, _ := strconv.Atoi(m[2])
	if major < snpMajor || major == snpMajor && minor < snpMinor {
		return fmt.Errorf("launch with tee %q: QEMU got version %d.%d, want %d.%d or later: %w", vm.TEESNP, major, minor, snpMajor, snpMinor, ErrNoSNP)
	}
	return nil
}
