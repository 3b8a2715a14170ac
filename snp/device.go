package snp

import (
	"context"
	"crypto/rand"
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

var (
	// ErrNoDevice says that neither interface exists: this is not an SNP guest, or its driver is not loaded.
	ErrNoDevice = errors.New("no SEV-SNP report device")
	// ErrKeyLost says that the kernel wiped the key it shares with the firmware, as it does after an unclear failure. No report can be had until the
	// guest is started anew.
	ErrKeyLost = errors.New("the kernel wiped its message key (VMPCK): no reports until the VM restarts")
	// ErrBusy says that the host throttled the request for longer than the kernel is willing to wait.
	ErrBusy = errors.New("the host kept the report request waiting")
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

// OpenOptions says where to look. Empty paths mean the kernel's own.
type OpenOptions struct {
	DevicePath string
	TSMRoot    string
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

// Open finds the report device: configfs-tsm when its provider is sev_guest, else the ioctl device. The result's String method says which was taken. An
// interface that is there and does not work is an error with its cause, never a silent ErrNoDevice.
func Open(ctx context.Context, opts OpenOptions) (Device, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	opts = opts.withDefaults()
	tsm, tsmErr := openTSM(opts.TSMRoot)
	if tsmErr == nil {
		return tsm, nil
	}
	dev, devErr := openIoctl(opts.DevicePath)
	if devErr == nil {
		return dev, nil
	}
	if absent(tsmErr) && absent(devErr) {
		return nil, fmt.Errorf("open report device %q, %q: %w", opts.TSMRoot, opts.DevicePath, ErrNoDevice)
	}
	return nil, fmt.Errorf("open report device: %w", errors.Join(tsmErr, devErr))
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

// Self asks for a report over a fresh nonce and returns its fields. They may be believed, because the device is the guest's own and
// the nonce rules out an answer given to an earlier question.
func Self(ctx context.Context, dev Device) (*Report, error) {
	var nonce [64]byte
	if _, err := rand.Read(nonce[:]); err != nil {
		return nil, fmt.Errorf("self report: %w", err)
	}
	ev, err := dev.Report(ctx, nonce)
	if err != nil {
		return nil, fmt.Errorf("self report: %w", err)
	}
	r, err := ParseReport(ev.Report)
	if err != nil {
		return nil, fmt.Errorf("self report: %w", err)
	}
	if r.ReportData != nonce {
		return nil, errors.New("self report: the report carries another nonce")
	}
	if r.VMPL > 3 {
		return nil, fmt.Errorf("self report: got vmpl %#x, want 0 to 3", r.VMPL)
	}
	return r, nil
}

// turn is the queue before a device: one holder at a time, and waiting ends with the caller's context.
type turn chan struct{}

func newTurn() turn { return make(turn, 1) }

// do runs f alone. The kernel cannot be interrupted in the middle of a request (it must keep message numbers in step), so when ctx ends first
// the caller is released while f runs to its end and only then gives the turn away.
func (t turn) do(ctx context.Context, f func() (Evidence, error)) (Evidence, error) {
	if err := ctx.Err(); err != nil {
		return Evidence{}, err
	}
	select {
	case t <- struct{}{}:
	case <-ctx.Done():
		return Evidence{}, ctx.Err()
	}
	type result struct {
		ev  Evidence
		err error
	}
	done := make(chan result, 1)
	go func() {
		defer func() { <-t }()
		ev, err := f()
		done <- result{ev, err}
	}()
	select {
	case r := <-done:
		return r.ev, r.err
	case <-ctx.Done():
		return Evidence{}, ctx.Err()
	}
}
