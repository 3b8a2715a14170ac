package snp

import (
	"context"
	"errors"
	"fmt"
	"syscall"

	"github.com/cloister-cc/cloister/snp/internal/sevguest"
)

// requester is the part of sevguest.Device that is used here; the kernel's side of it is played in tests.
type requester interface {
	Report(data [64]byte, vmpl uint32) ([]byte, error)
	ExtReport(data [64]byte, vmpl uint32, certs []byte) (report []byte, need uint32, err error)
	Close() error
}

// ioctlDevice asks /dev/sev-guest.
type ioctlDevice struct {
	turn  turn
	dev   requester
	path  string
	certs int // size of the host's certificates at the last request; guarded by turn
}

func openIoctl(path string) (*ioctlDevice, error) {
	dev, err := sevguest.Open(path)
	if err != nil {
		return nil, err
	}
	return &ioctlDevice{turn: newTurn(), dev: dev, path: path}, nil
}

func (d *ioctlDevice) String() string { return "ioctl " + d.path }

// Close closes the device; no request may follow.
func (d *ioctlDevice) Close() error { return d.dev.Close() }

func (d *ioctlDevice) Report(ctx context.Context, data [64]byte) (Evidence, error) {
	return d.turn.do(ctx, func() (Evidence, error) {
		ev, err := d.extended(data)
		return ev, explain(err)
	})
}

// extended follows the kernel's protocol for the certificates: an ask with too little room is answered with EIO, the hypervisor code "length" and
// the room that is needed. The size is remembered, so that a report normally costs one request. A host that wants more room than the kernel
// ever allows, or keeps changing its mind, gets its certificates left out: they are its own word, the report is not.
func (d *ioctlDevice) extended(data [64]byte) (Evidence, error) {
	for range 3 {
		buf := make([]byte, d.certs)
		report, need, err := d.dev.ExtReport(data, 0, buf)
		if err == nil {
			return Evidence{Report: report, Certs: trimCerts(buf)}, nil
		}
		var e *sevguest.Error
		if !errors.As(err, &e) || !errors.Is(err, syscall.EIO) || e.VMM() != sevguest.VMMErrLength {
			return Evidence{}, err
		}
		if int(need) <= len(buf) || need > sevguest.MaxCertsLen || need%sevguest.PageSize != 0 {
			break
		}
		d.certs = int(need)
	}
	d.certs = 0
	report, err := d.dev.Report(data, 0)
	return Evidence{Report: report}, err
}

// explain names the two failures that callers act upon.
func explain(err error) error {
	switch {
	case errors.Is(err, syscall.ENOTTY):
		return fmt.Errorf("%w: %w", ErrKeyLost, err)
	case errors.Is(err, syscall.ETIMEDOUT), errors.Is(err, syscall.EAGAIN):
		return fmt.Errorf("%w: %w", ErrBusy, err)
	}
	return err
}
