package measure

import (
	"errors"
	"fmt"
)

// Attributes and limits of the flat 32-bit segments in which an SVSM starts.
const (
	attrFlatCode = 0xC9B
	attrFlatData = 0xC93
	flatLimit    = 0xFFFFFFFF
	svsmCode     = 8
	svsmData     = 16
	svsmCR0      = resetCR0 | 1 // protected mode
)

// SVSM is a COCONUT-SVSM image beside the firmware it will start at a lower privilege level, as QEMU's SVSM branch launches a flat image.
type SVSM struct {
	Image *Firmware
	// VarsSize is the length in bytes of the variable store that lies between SVSM and firmware.
	VarsSize uint32
}

// DigestsUnderSVSM is Digests for a guest whose processors start in an SVSM. The SVSM's image ends below the firmware and its variable store, which is
// not measured; sections are those of the SVSM's own metadata; every processor starts at its entry point, in flat 32-bit mode. There are no
// kernel hashes, and only QEMU is known to launch so.
//
// The order of pages and the registers are those of QEMU's SVSM branch as public tools describe it; no vector was at hand to check the result
// against, see tests/vectors/measure.
func (l Launch) DigestsUnderSVSM(fw *Firmware, svsm SVSM, vcpus int) ([]Digest, error) {
	if err := l.check(vcpus); err != nil {
		return nil, err
	}
	switch {
	case l.VMM != QEMU:
		return nil, fmt.Errorf("measure svsm: got vmm %.32q, want %q", string(l.VMM), QEMU)
	case l.Kernel != nil:
		return nil, errors.New("measure svsm: kernel hashes are not launched under an SVSM")
	case svsm.Image.SVSMEntry == nil:
		return nil, errors.New("measure svsm: the image does not say where it starts (no SVSM info block)")
	case fw.SVSMEntry != nil:
		return nil, errors.New("measure svsm: the firmware is an SVSM, want OVMF")
	}
	below := uint64(len(fw.image)) + uint64(svsm.VarsSize) + uint64(len(svsm.Image.image))
	if svsm.VarsSize%PageSize != 0 || svsm.VarsSize > MaxFirmware || uint64(*svsm.Image.SVSMEntry) >= uint64(len(svsm.Image.image)) {
		return nil, fmt.Errorf("measure svsm: got %#x bytes of variables and entry %#x, want whole pages up to %#x, and an entry in the image of %#x bytes",
			svsm.VarsSize, *svsm.Image.SVSMEntry, MaxFirmware, len(svsm.Image.image))
	}
	end := fourGiB - uint64(len(fw.image)) - uint64(svsm.VarsSize)
	c := Context{digest: svsm.Image.digestBelow(fw.seed(l.Firmware), end)}
	if err := l.sections(&c, svsm.Image); err != nil {
		return nil, err
	}
	area, err := l.svsmArea(fourGiB - below + uint64(*svsm.Image.SVSMEntry))
	if err != nil {
		return nil, err
	}
	page := area.Page()
	return c.vmsas(page, page, vcpus), nil
}

func (l Launch) svsmArea(entry uint64) (*SaveArea, error) {
	r, err := l.registers(bspEntry)
	if err != nil {
		return nil, err
	}
	data := Segment{Selector: svsmData, Attributes: attrFlatData, Limit: flatLimit}
	s := l.commonArea(r)
	s.ES, s.SS, s.DS, s.FS = data, data, data, data
	s.CS = Segment{Selector: svsmCode, Attributes: attrFlatCode, Limit: flatLimit}
	s.GS = Segment{Attributes: attrData, Limit: resetLimit}
	s.CR0, s.RIP = svsmCR0, entry
	return s, nil
}
