package snp

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
)

// Where the kernel puts its two interfaces.
const (
	DefaultDevicePath = "/dev/sev-guest"
	DefaultTSMRoot    = "/sys/kernel/config/tsm"

	platformDevice = "/sys/devices/platform/sev-guest"
)

// maxVMPL is the least privileged level. A report that says 0xFFFFFFFF was asked for by the host.
const maxVMPL = 3

var (
	// ErrNoDevice says that neither interface exists: this is not an SNP guest, or its driver is not loaded.
	ErrNoDevice = errors.New("no SEV-SNP report device")
	// ErrKeyLost says that the kernel wiped the key it shares with the firmware, as it does after an unclear failure. No report can be had until the
	// guest is started anew.
	ErrKeyLost = errors.New("the kernel wiped its message key (VMPCK): no reports until the VM restarts")
	// ErrBusy says that the host throttled the request for longer than the kernel is willing to wait. Asking again later may help; a kernel that
	// wipes its key when it gives up answers ErrKeyLost then.
	ErrBusy = errors.New("the host kept the report request waiting")
	// ErrLevel says that the guest has no key for the privilege level asked for.
	ErrLevel = errors.New("privilege level (VMPL) not available")
	// ErrNoDerivedKeys says that the ioctl device, the only one that gives derived keys, is not there.
	ErrNoDerivedKeys = errors.New("derived keys need the ioctl device")
	// errClosed is for requests after Close.
	errClosed = fmt.Errorf("report device: %w", fs.ErrClosed)
)

// Evidence is a report and the certificate table the host gave with it, which may be empty and is not to be trusted.
type Evidence struct {
	Report []byte
	Certs  []byte
}

// Device gives reports over 64 bytes of the caller's. It may be used concurrently; requests are taken one at a time.
type Device interface {
	Report(ctx context.Context, data [64]byte) (Evidence, error)
}

// OpenOptions says where to look and for whom to ask.
type OpenOptions struct {
	// DevicePath and TSMRoot are where the interfaces are; empty means the kernel's own places.
	DevicePath string
	TSMRoot    string
	// VMPL is the privilege level that reports are asked for, 0 to 3. Below the level the guest runs at (under an SVSM: 2) there are none.
	VMPL uint32
}

func (o OpenOptions) withDefaults() OpenOptions {
	if o.DevicePath == "" {
		o.DevicePath = DefaultDevicePath
	}
	if o.TSMRoot == "" {
		o.TSMRoot = DefaultTSMRoot
	}
	return o
}

// Open finds the report device: the ioctl device where there is one, else configfs-tsm when its provider is sev_guest. Behind both is the same firmware; the
// ioctl needs one call for a report where configfs needs an entry and eight, gives derived keys, and tells a certificate table that is too
// large from the loss of the key. The result's String method says which was taken and why not the other, and is meant to be logged.
//
// An interface that is there and does not work is an error with its cause, never a silent ErrNoDevice; a privilege level that the guest has no key for
// is ErrLevel.
func Open(ctx context.Context, opts OpenOptions) (*Guest, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if opts.VMPL > maxVMPL {
		return nil, fmt.Errorf("open report device: %w: got %d, want 0 to %d", ErrLevel, opts.VMPL, maxVMPL)
	}
	opts = opts.withDefaults()
	tsm, tsmErr := openTSM(opts.TSMRoot)
	if tsmErr == nil {
		if err := tsm.checkLevel(opts.VMPL); err != nil {
			return nil, fmt.Errorf("open report device: %w", err) // the other interface leads to the same firmware
		}
	}
	g := &Guest{turn: newTurn(), vmpl: opts.VMPL, tsm: tsm, tsmErr: tsmErr}
	g.ioctl, g.devErr = openIoctl(opts.DevicePath)
	switch {
	case g.devErr == nil:
		g.reports = g.ioctl
	case tsmErr == nil:
		g.reports = tsm
	case absent(tsmErr) && absent(g.devErr):
		return nil, fmt.Errorf("open report device %q, %q: %w", opts.DevicePath, opts.TSMRoot, ErrNoDevice)
	default:
		return nil, fmt.Errorf("open report device: %w", errors.Join(g.devErr, tsmErr))
	}
	return g, nil
}

func absent(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, errOtherProvider)
}

// Present says whether this machine has an SNP report device, working or not. It errs on the side of yes: the answer keeps a
// development mode from being used where there is real hardware.
func Present() bool { return present(OpenOptions{}.withDefaults(), platformDevice) }

func present(opts OpenOptions, platform string) bool {
	for _, path := range []string{opts.DevicePath, platform} {
		if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
			return true
		}
	}
	_, err := openTSM(opts.TSMRoot)
	return !absent(err)
}
