package snp

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"syscall"
)

// Guest is the one opener of this machine's report device: every request to the firmware goes through it, one at a time. The kernel numbers the
// messages of its key and wipes it when they get out of step, which ends attestation for everybody until the VM restarts.
type Guest struct {
	turn    turn
	reports reporter
	vmpl    uint32
	ioctl   *ioctlDevice // nil where there is none: devErr says why
	devErr  error
	tsm     *tsmDevice // nil where there is none: tsmErr says why
	tsmErr  error

	// Guarded by turn.
	lost   error // the first ErrKeyLost: the key does not come back
	closed bool
}

// reporter is one of the kernel's two interfaces. It is called by one goroutine at a time.
type reporter interface {
	fmt.Stringer
	report(data [64]byte, vmpl uint32) (Evidence, error)
}

var (
	_ Device   = (*Guest)(nil)
	_ reporter = (*ioctlDevice)(nil)
	_ reporter = (*tsmDevice)(nil)
)

// String says which interface was taken, and why the other was not.
func (g *Guest) String() string {
	level := ""
	if g.vmpl != 0 {
		level = fmt.Sprintf(" at vmpl %d", g.vmpl)
	}
	switch {
	case g.ioctl == nil:
		return fmt.Sprintf("%s%s (no ioctl device, so no derived keys: %v)", g.reports, level, g.devErr)
	case g.tsm == nil:
		return fmt.Sprintf("%s%s (no configfs-tsm: %v)", g.reports, level, g.tsmErr)
	}
	return fmt.Sprintf("%s%s (%s is there too, and not needed)", g.reports, level, g.tsm)
}

// Close waits for the request that is under way and closes the device. Later requests fail with fs.ErrClosed.
func (g *Guest) Close() error {
	_, err := alone(context.Background(), g.turn, func() (struct{}, error) {
		if g.closed {
			return struct{}{}, errClosed
		}
		g.closed = true
		if g.ioctl == nil {
			return struct{}{}, nil
		}
		return struct{}{}, g.ioctl.dev.Close()
	})
	return err
}

// Report asks for a report over data, with the host's certificates. Errors to act upon are ErrKeyLost, which is for good and answered without asking
// again, and ErrBusy. When ctx ends the caller is released; the request itself goes on, and the next one waits for it.
func (g *Guest) Report(ctx context.Context, data [64]byte) (Evidence, error) {
	return alone(ctx, g.turn, func() (Evidence, error) {
		return asking(g, func() (Evidence, error) {
			ev, err := g.reports.report(data, g.vmpl)
			if err == nil {
				err = checkAnswer(ev.Report, data, g.vmpl)
			}
			if err != nil {
				return Evidence{}, err
			}
			return ev, nil
		})
	})
}

// asking asks the kernel unless that is known to be in vain, and names the failures that callers act upon. The caller holds the turn.
func asking[T any](g *Guest, f func() (T, error)) (T, error) {
	var zero T
	switch {
	case g.closed:
		return zero, errClosed
	case g.lost != nil:
		return zero, g.lost
	}
	v, err := f()
	if err == nil {
		return v, nil
	}
	err = explain(err)
	if errors.Is(err, ErrKeyLost) {
		g.lost = err
	}
	return zero, err
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

// checkAnswer refuses a report that answers another request. These fields are where they are in all versions; whether the rest can be read is for
// whoever parses it.
func checkAnswer(report []byte, data [64]byte, vmpl uint32) error {
	if len(report) != ReportSize {
		return fmt.Errorf("report: got %d bytes, want %d", len(report), ReportSize)
	}
	if !bytes.Equal(report[0x050:0x090], data[:]) {
		return errors.New("report: got another request's REPORT_DATA")
	}
	if got := binary.LittleEndian.Uint32(report[0x030:]); got != vmpl {
		return fmt.Errorf("report: got vmpl %#x, want %d", got, vmpl)
	}
	return nil
}
