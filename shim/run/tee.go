package run

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"

	"github.com/cloister-cc/cloister/agent/initdata"
	"github.com/cloister-cc/cloister/shim/vm"
	"github.com/cloister-cc/cloister/shim/vm/qemu"
	"github.com/cloister-cc/cloister/snp/emulator"
	"github.com/cloister-cc/cloister/snp/measure"
)

// sevDevice is the host kernel's interface to the security processor.
const sevDevice = "/dev/sev"

// ErrNoSNP says that this host cannot launch an SNP VM.
var ErrNoSNP = errors.New("no SEV-SNP on this host")

// prepareTEE does what the chosen kind of TEE needs of the host before a launch. The kind is never guessed: a pod that was
// meant for SNP must not come up on a software processor because a device node was missing.
func (s *Sandbox) prepareTEE(ctx context.Context, c *vm.Config, g guestFiles) error {
	switch c.TEE {
	case vm.TEEEmulated:
		c.TEEDisk = filepath.Join(s.options.StateDir, "tee.img")
		return s.writeTEEDisk(c, g)
	case vm.TEESNP:
		if _, err := os.Stat(sevDevice); err != nil {
			return fmt.Errorf("launch with tee %q: %w: %w", c.TEE, ErrNoSNP, err)
		}
		if c.Firmware == "" {
			return fmt.Errorf("launch with tee %q: no firmware given: want the OVMF image whose measurement the verifier knows", c.TEE)
		}
		return checkQEMU(ctx)
	case vm.TEENone:
		return nil
	}
	return fmt.Errorf("launch with tee %q: want %q, %q or %q", c.TEE, vm.TEESNP, vm.TEEEmulated, vm.TEENone)
}

// writeTEEDisk tells the software processor what a real one would know from the launch: HOST_DATA and the measurement. It
// measures the files of the guest build, whichever form of the kernel is booted.
func (s *Sandbox) writeTEEDisk(c *vm.Config, g guestFiles) error {
	authority, err := s.authority()
	if err != nil {
		return err
	}
	params, err := authority.Params(emulator.DefaultIdentity())
	if err != nil {
		return fmt.Errorf("software processor: %w", err)
	}
	hashes, err := measure.HashFiles(g.kernel, g.initrd, g.cmdline)
	if err != nil {
		return fmt.Errorf("measure guest: %w", err)
	}
	params.HostData, params.Measurement = c.HostData, hashes.Emulated()
	if change := s.options.TEEParams; change != nil {
		if err := change(authority, &params); err != nil {
			return fmt.Errorf("software processor: %w", err)
		}
	}
	return emulator.WriteTEEDisk(c.TEEDisk, params)
}

func (s *Sandbox) authority() (*emulator.Authority, error) {
	dir := s.options.Emulator
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

func writeInitdata(path string, raw []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("write initdata disk: %w", err)
	}
	return errors.Join(initdata.WriteDisk(f, raw), f.Close())
}
