package emulator

import (
	"context"
	"fmt"
	"syscall"

	"github.com/cloister-cc/cloister/snp"
)

// Device returns the processor as a report device in this process, without kernel interfaces: for tests of what stands above package snp.
func (p *Processor) Device() snp.Device { return inProcess{p} }

type inProcess struct{ proc *Processor }

func (inProcess) String() string { return "software SNP processor in this process" }

// Report answers with what a client makes of the kernel's answers: a table that is too large is left out, as by ioctl.
func (d inProcess) Report(ctx context.Context, data [64]byte) (snp.Evidence, error) {
	if err := ctx.Err(); err != nil {
		return snp.Evidence{}, err
	}
	room := uint32(anyRoom)
	a := d.proc.report(ctx, data, 0, &room)
	if a.need > room {
		a = d.proc.report(ctx, data, 0, nil)
	}
	switch {
	case a.errno == syscall.ENOTTY:
		return snp.Evidence{}, fmt.Errorf("software report: %w: %w", snp.ErrKeyLost, a.errno)
	case a.errno == syscall.ETIMEDOUT:
		return snp.Evidence{}, fmt.Errorf("software report: %w: %w", snp.ErrBusy, a.errno)
	case ctx.Err() != nil:
		return snp.Evidence{}, ctx.Err()
	case a.errno != 0:
		return snp.Evidence{}, fmt.Errorf("software report: %w", a.errno)
	case a.status != 0:
		return snp.Evidence{}, fmt.Errorf("software report: got firmware status %#x, want 0", a.status)
	}
	return snp.Evidence{Report: a.report, Certs: a.certs}, nil
}
