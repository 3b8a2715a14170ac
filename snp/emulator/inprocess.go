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

func (d inProcess) Report(ctx context.Context, data [64]byte) (snp.Evidence, error) {
	a, err := d.proc.report(data, 0)
	switch {
	case err != nil:
		return snp.Evidence{}, err
	case a.wiped:
		return snp.Evidence{}, fmt.Errorf("software report: %w: %w", snp.ErrKeyLost, syscall.ENOTTY)
	case a.status != 0:
		return snp.Evidence{}, fmt.Errorf("software report: got firmware status %#x, want 0", a.status)
	}
	if errno := hostWaits(ctx, a.busy); errno != 0 {
		return snp.Evidence{}, fmt.Errorf("software report: %w: %w", snp.ErrBusy, errno)
	}
	if a.huge {
		a.certs = nil
	}
	return snp.Evidence{Report: a.report, Certs: a.certs}, ctx.Err()
}
