//go:build wip

package run

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/cloister-cc/cloister/agent/initdata"
	"github.com/cloister-cc/cloister/shim/vm"
	"github.com/cloister-cc/cloister/snp/emulator"
	"github.com/cloister-cc/cloister/snp/measure"
)

// sevDevice is the host kernel's interface to the security processor.
const sevDevice = "/dev/sev"

// ErrNoSNP says that this host cannot launch an SNP VM.
var ErrNoSNP = errors.New("no SEV-SNP on this host")

// prepareTEE does what the chosen kind of TEE needs of the host before a launch. The kind is never guessed: a pod that was
// meant for SNP must not come up on a software processor because a device node was missing.
func (s *Sandbox) prepareTEE(c *vm.Config, g guestFiles) error {
	switch c.TEE {
	case vm.TEEEmulated:
		c.TEEDisk = filepath.Join(s.options.StateDir, "tee.img")
		return s.writeTEEDisk(c, g)
	case vm.TEESNP:
		if _, err := os.Stat(sevDevice); err != nil {
			return fmt.Errorf("launch with tee %q: %w: %w", c.TEE, ErrNoSNP, err)
		}
		return nil
	case vm.TEENone:
		return nil
	}
	return fmt.Errorf("launch with tee %q: want %q, %q or %q", c.TEE, vm.TEESNP, vm.TEEEmulated, vm.TEENone)
}

func (s *Sandbox) writeTEEDisk(c *vm.Config, g guestFiles) error {
	return errors.New("not yet")
}

func writeInitdata(path string, raw []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("write initdata disk: %w", err)
	}
	return errors.Join(initdata.WriteDisk(f, raw), f.Close())
}

var _ = emulator.LoadOrInit
var _ = measure.Emulated
